//! Of `dump`.

use clap::Args;

/// Of `dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// Only these minions (or containers); default all that have databases
    #[arg(value_name = "MINION")]
    pub minions: Vec<String>,
    /// To this destination instead of those of `backup.to`; may be given several times
    #[arg(long = "to", value_name = "DEST")]
    pub to: Vec<String>,
    /// Also databases in containers that are not ours, named as `postgresql-<app>-<domain>`
    #[arg(long)]
    pub all_containers: bool,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}
