//! Of `backup`, `recover` and the guard.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::environment::ColdMethod;

/// Of `backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Only these minions; default all that have data
    #[arg(value_name = "MINION")]
    pub minions: Vec<String>,
    /// To this destination instead of those of `backup.to`; may be given several times
    #[arg(long = "to", value_name = "DEST")]
    pub to: Vec<String>,
    /// How to copy, instead of `backup.cold.method`
    #[arg(long, value_name = "METHOD")]
    pub method: Option<MethodArg>,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// How a cold backup copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum MethodArg {
    /// The best there is
    Auto,
    /// Copies that share blocks with the original (XFS, btrfs)
    Reflink,
    /// A copy while everything runs, then only what changed
    TwoPass,
    /// Straight into the archive while everything is stopped
    Copy,
    /// The same by a helper container
    Container,
}

impl MethodArg {
    /// What it stands for.
    #[must_use]
    pub fn method(self) -> ColdMethod {
        match self {
            Self::Auto => ColdMethod::Auto,
            Self::Reflink => ColdMethod::Reflink,
            Self::TwoPass => ColdMethod::TwoPass,
            Self::Copy => ColdMethod::Copy,
            Self::Container => ColdMethod::Container,
        }
    }
}

/// Of the guard, which `backup` starts.
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// Folder of config.yml
    #[arg(long)]
    pub root: PathBuf,
    /// Minion to watch over
    #[arg(long)]
    pub minion: String,
    /// Folders of copies
    #[arg(long)]
    pub staging: Vec<PathBuf>,
}
