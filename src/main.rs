//! The binary: parse, run, print the error, exit.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use summoner::cli::Cli;
use summoner::commands;
use summoner::report::Report;
use tokio::runtime;

/// The engine does the work and we wait for it: more threads, on a machine with more cores, would
/// only take time to start.
const THREADS: usize = 4;

fn main() -> ExitCode {
    // `--help` and mistakes end here, before there is any thread.
    let cli = Cli::parse();
    let report = Arc::new(Report::new(cli.color));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(THREADS))
        .enable_all()
        .build();
    let code = runtime
        .map_err(Into::into)
        .and_then(|r| r.block_on(commands::run(cli, Arc::clone(&report))));
    match code {
        Ok(commands::exit::OK) if report.is_lost() => {
            report.fail("what was asked for could not be written to standard output\n  hint: is the disk full? `df -h`");
            ExitCode::from(commands::exit::FAILED)
        }
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report.error_with(&error, commands::hint(&error).as_deref());
            ExitCode::from(commands::exit_code(&error))
        }
    }
}
