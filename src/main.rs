//! The binary: parse, run, print the error, exit.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use summoner::cli::Cli;
use summoner::commands;
use summoner::report::Report;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let report = Arc::new(Report::new(cli.color));
    match commands::run(cli, Arc::clone(&report)).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report.error_with(&error, commands::hint(&error).as_deref());
            ExitCode::from(commands::exit_code(&error))
        }
    }
}
