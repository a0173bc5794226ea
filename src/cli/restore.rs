//! Bringing snapshots back: `restore`, `drill`, `rebuild`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::backup::manifest::Kind;

/// Of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// What to restore; need not be in config.yml any more with --to-dir
    #[arg(value_name = "MINION")]
    pub minion: String,
    /// Snapshot: its id, the end of it as `summoner snapshots` shows it, or `latest`
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    pub from: String,
    /// The newest snapshot of this time or before: `2026-11-20`, `2026-11-20 14:30`, RFC 3339
    #[arg(long, value_name = "TIME", conflicts_with = "from")]
    pub at: Option<String>,
    /// Only dumps (databases) or backups (databases and volumes); default the newest of both
    #[arg(long, value_name = "KIND")]
    pub kind: Option<KindArg>,
    /// Only this destination; default all
    #[arg(long, value_name = "DEST")]
    pub destination: Option<String>,
    /// `live`: takes the place of what is there. `scratch`: restored and checked beside it, and left
    /// there
    #[arg(long, value_name = "WHERE", default_value = "live")]
    pub into: Into,
    /// Replace the data of this minion without asking
    #[arg(long, value_name = "MINION")]
    pub yes_overwrite: Option<String>,
    /// Only unpack the snapshot's files into this folder, decrypted and decompressed
    #[arg(long, value_name = "DIR", conflicts_with_all = ["into", "yes_overwrite"])]
    pub to_dir: Option<PathBuf>,
    /// Age identity that opens the snapshot, instead of the one in config.yml
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Seconds a container may take until it is healthy
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub wait_timeout: u64,
}

/// A kind of snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// Hot and logical: databases
    Dump,
    /// Cold and physical: databases and volumes
    Backup,
}

impl KindArg {
    /// As in manifests.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Dump => Kind::Dump,
            Self::Backup => Kind::Backup,
        }
    }
}

/// Where restored data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Into {
    /// Beside the live data
    Scratch,
    /// Instead of it
    Live,
}

/// Of `drill`.
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// Only these minions
    #[arg(value_name = "MINION")]
    pub minions: Vec<String>,
    /// Only this destination; default all
    #[arg(long, value_name = "DEST")]
    pub destination: Option<String>,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
    /// Seconds a container may take until it is healthy
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub wait_timeout: u64,
}

/// Of `rebuild`.
#[derive(Debug, Args)]
pub struct RebuildArgs {
    /// Where the snapshots are: a folder, or `s3://BUCKET/PREFIX?endpoint=URL&region=REGION` with
    /// credentials from the environment
    #[arg(long, value_name = "DEST")]
    pub from: String,
    /// Age identity that opens the snapshots
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_file")]
    pub identity: Option<PathBuf>,
    /// File with the passphrase that opens the snapshots
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Which project, where there are several
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Seconds a container may take until it is healthy
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub wait_timeout: u64,
    /// Folder to rebuild the project in; must be empty or missing
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
}
