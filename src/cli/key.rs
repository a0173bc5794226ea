//! Of `key`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Of `key`.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// What to do
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// Of `key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make an age identity, the secret half, and its recipients file, the public half
    Generate {
        /// Where the identity goes; the recipients file gets the ending `.pub`. Default `backup.key` beside config.yml
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}
