//! What can be typed. Types only, no behaviour.

mod backup;
pub mod key;
mod restore;
mod snapshots;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::report::Color;

pub use self::backup::{BackupArgs, GuardArgs, MethodArg};
pub use self::restore::{DrillArgs, Into, KindArg, RebuildArgs, RestoreArgs};
pub use self::snapshots::{PinArgs, PruneArgs, SnapshotsArgs, VerifyArgs};

/// One config.yml becomes a team's self-hosted toolbox, and keeps it safe.
#[derive(Debug, Parser)]
#[command(
    name = "summoner",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(
    after_help = "Start here: `summoner init` writes a config.yml; then `summoner plan` and `summoner up`.",
    after_long_help = "Start here: `summoner init` writes a config.yml; then `summoner plan` and `summoner up`.

Exit codes: 0 well, 1 failed, 2 usage or configuration, 3 part of it failed, 4 a snapshot is damaged, 5 refused to
keep something safe, 6 a container is not back as it was, 10 a destination is not there, 11 another run is at work, 13 no engine or too old, 14 port taken, 130 interrupted.
`exec` and `run` exit as the command does."
)]
pub struct Cli {
    /// Work in this folder, as if started there
    #[arg(short = 'C', long = "directory", value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,
    /// The configuration
    #[arg(
        long = "file",
        value_name = "FILE",
        default_value = "config.yml",
        global = true
    )]
    pub file: PathBuf,
    /// Colours
    #[arg(long, value_name = "WHEN", default_value = "auto", global = true)]
    pub color: Color,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a config.yml to begin with, and a .gitignore beside it
    Init,
    /// Check config.yml and every minion it uses; needs no engine
    Check,
    /// Show what `up` would do, and why
    Plan(PlanArgs),
    /// Make everything run as config.yml says
    Up(UpArgs),
    /// Stop and remove minions; their data stays
    Down(DownArgs),
    /// Show what runs, how it is, and where to reach it
    Status(StatusArgs),
    /// Show logs of minions
    Logs(LogsArgs),
    /// Run a command in a running container
    Exec(ExecArgs),
    /// Run a command in a container of its own, removed afterwards
    Run(ExecArgs),
    /// Restart the containers of minions
    Restart(RestartArgs),
    /// Save whole minions: stop, copy, start, upload
    Backup(BackupArgs),
    /// Start what a backup that was cut off had stopped
    Recover,
    /// Watch over a backup (started by it)
    #[command(hide = true)]
    Guard(GuardArgs),
    /// Bring a snapshot back: beside what is there, checked, then in its place
    Restore(RestoreArgs),
    /// Restore the newest snapshots where nobody sees it, check them, throw it all away
    Drill(DrillArgs),
    /// Bring a whole project back on an empty server, from nothing but a destination
    Rebuild(RebuildArgs),
    /// List snapshots: where they are, what they are worth
    Snapshots(SnapshotsArgs),
    /// Check that snapshots are what was stored
    Verify(VerifyArgs),
    /// Keep a snapshot, whatever `keep:` says
    Pin(PinArgs),
    /// Let `keep:` decide on a snapshot again
    Unpin(PinArgs),
    /// Delete the snapshots that no rule of `keep:` wants
    Prune(PruneArgs),
    /// Print the Compose files that would run; secrets stay `${NAME}`
    Render(RenderArgs),
    /// Look into the catalogue
    Minion(MinionArgs),
    /// Print the JSON Schema of config.yml or minion.yml
    Schema(SchemaArgs),
    /// Check engine, ports, memory, disk, kernel settings and our own files
    Doctor(DoctorArgs),
    /// Make keys of encrypted snapshots
    Key(key::KeyArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Write man pages into a folder
    #[command(hide = true)]
    Man(ManArgs),
}

/// Of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Only these minions
    #[arg(value_name = "MINION")]
    pub minions: Vec<String>,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
    /// As `up --upgrade` would do
    #[arg(long)]
    pub upgrade: bool,
    /// Exit with 0 when there is nothing to do, 2 when there are changes, 1 on any error
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// Of `up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Only these minions (the proxy always)
    #[arg(value_name = "MINION")]
    pub minions: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Only show the plan
    #[arg(long)]
    pub dry_run: bool,
    /// Take the newest template and default version that this binary has, for the named minions or all
    #[arg(long)]
    pub upgrade: bool,
    /// Seconds a container may take until it is healthy
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub wait_timeout: u64,
}

/// Of `down`.
#[derive(Debug, Args)]
pub struct DownArgs {
    /// Only these minions; default all, and the proxy
    #[arg(value_name = "MINION")]
    pub minions: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Only show the plan
    #[arg(long)]
    pub dry_run: bool,
    /// Delete the data of the named minions too; asks for each name
    #[arg(long, requires = "minions")]
    pub purge: bool,
    /// Take this minion down and delete its data, without asking; may be given several times
    #[arg(long, value_name = "MINION")]
    pub yes_purge: Vec<String>,
}

/// Of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Only these minions
    #[arg(value_name = "MINION")]
    pub minions: Vec<String>,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Minions, or `minion/service`; default all
    #[arg(value_name = "MINION")]
    pub minions: Vec<String>,
    /// Stay and show new lines
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last lines of each container
    #[arg(short = 'n', long, value_name = "LINES", default_value_t = 100)]
    pub tail: u64,
    /// The time before each line
    #[arg(short, long)]
    pub timestamps: bool,
}

/// Of `exec` and `run`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// Minion, or `minion/service`; default its main service
    #[arg(value_name = "MINION")]
    pub target: String,
    /// As this user
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// No terminal, even when there is one
    #[arg(short = 'T', long)]
    pub no_tty: bool,
    /// Command and its arguments
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub command: Vec<String>,
}

/// Of `restart`.
#[derive(Debug, Args)]
pub struct RestartArgs {
    /// Minions, or `minion/service`; default all
    #[arg(value_name = "MINION")]
    pub minions: Vec<String>,
    /// Seconds a container may take until it is healthy
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub wait_timeout: u64,
}

/// Of `render`.
#[derive(Debug, Args)]
pub struct RenderArgs {
    /// Only this minion; default all, as one YAML document each
    #[arg(value_name = "MINION")]
    pub minion: Option<String>,
}

/// Of `minion`.
#[derive(Debug, Args)]
pub struct MinionArgs {
    /// What to look at
    #[command(subcommand)]
    pub command: MinionCommand,
}

/// Of `minion`.
#[derive(Debug, Subcommand)]
pub enum MinionCommand {
    /// List the catalogue
    List {
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Show a minion: what it is, needs, keeps, and its parameters
    Show {
        /// Its name
        name: String,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Check minions by rendering them with defaults and with every parameter
    Lint {
        /// Names, of the catalogue or of folders in ./minions; default all
        names: Vec<String>,
    },
}

/// Of `schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Which file
    pub of: SchemaOf,
}

/// A file that has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// config.yml
    Config,
    /// minion.yml
    Minion,
}

/// Of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    pub shell: clap_complete::Shell,
}

/// Of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Where to write them
    pub folder: PathBuf,
}
