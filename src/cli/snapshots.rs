//! Looking after snapshots: `snapshots`, `verify`, `pin`, `unpin`, `prune`.

use clap::Args;

/// Of `snapshots`.
#[derive(Debug, Args)]
pub struct SnapshotsArgs {
    /// Only this minion; it need not be in config.yml any more
    #[arg(value_name = "MINION")]
    pub minion: Option<String>,
    /// Only this destination; default all
    #[arg(long, value_name = "DEST")]
    pub from: Option<String>,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Only this minion; it need not be in config.yml any more
    #[arg(value_name = "MINION")]
    pub minion: Option<String>,
    /// Only this snapshot: its id, the end of it as `summoner snapshots` shows it, or `latest`
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: Option<String>,
    /// Read, hash, decrypt and decompress every byte, and write the result down beside the snapshot
    #[arg(long)]
    pub read_data: bool,
    /// Only in this destination; default all
    #[arg(long, value_name = "DEST")]
    pub from: Option<String>,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Of `pin` and `unpin`.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// Its id, or the end of it as `summoner snapshots` shows it
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: String,
    /// Only in this destination; default all that have it
    #[arg(long, value_name = "DEST")]
    pub from: Option<String>,
}

/// Of `prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Only these minions; they need not be in config.yml any more
    #[arg(value_name = "MINION")]
    pub minions: Vec<String>,
    /// Only show what stays and what goes, and why
    #[arg(long)]
    pub dry_run: bool,
    /// Delete even where that is more than half of a minion's snapshots
    #[arg(long)]
    pub force: bool,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}
