//! One file a verb: it orchestrates, and decides nothing.

mod backup;
mod check;
mod containers;
mod doctor;
mod down;
mod drill;
mod guard;
mod init;
mod key;
mod minion;
mod pin;
mod plan;
mod prune;
mod rebuild;
mod recover;
mod render;
mod restore;
mod shelf;
mod shell;
mod signals;
mod snapshots;
mod status;
mod up;
mod verify;
mod world;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;

use crate::cli::{Cli, Command};
use crate::report::{AskError, Report};

/// Exit codes, the same for every verb.
pub mod exit {
    /// Well.
    pub const OK: u8 = 0;
    /// Failed, nothing was done.
    pub const FAILED: u8 = 1;
    /// Wrong usage or configuration.
    pub const USAGE: u8 = 2;
    /// Part of it failed.
    pub const PARTIAL: u8 = 3;
    /// A check of a snapshot failed.
    pub const VERIFY: u8 = 4;
    /// Refused, to keep something safe.
    pub const REFUSED: u8 = 5;
    /// A container is not back in its prior state: outranks all others.
    pub const NOT_BACK: u8 = 6;
    /// Nothing as young as asked for.
    pub const STALE: u8 = 7;
    /// A destination is not there.
    pub const NO_DESTINATION: u8 = 10;
    /// Another run holds the lock.
    pub const LOCKED: u8 = 11;
    /// The key does not open the snapshot.
    pub const WRONG_KEY: u8 = 12;
    /// No engine, or one that is too old.
    pub const ENGINE: u8 = 13;
    /// A port is taken.
    pub const PORT: u8 = 14;
    /// Interrupted.
    pub const INTERRUPTED: u8 = 130;
}

/// What every verb gets.
#[derive(Clone)]
pub struct Session {
    /// `config.yml` as the user named it, below `--directory`.
    pub file: PathBuf,
    /// The only place that prints.
    pub report: Arc<Report>,
}

/// Runs a verb; its exit code.
pub async fn run(cli: Cli, report: Arc<Report>) -> Result<u8> {
    let file = match &cli.directory {
        Some(directory) => directory.join(&cli.file),
        None => cli.file.clone(),
    };
    let session = Session { file, report };
    match cli.command {
        Command::Init => init::run(&session),
        Command::Check => check::run(&session),
        Command::Plan(args) => plan::run(&session, &args).await,
        Command::Up(args) => up::run(&session, &args).await,
        Command::Down(args) => down::run(&session, &args).await,
        Command::Status(args) => status::run(&session, &args).await,
        Command::Logs(args) => containers::logs(&session, &args).await,
        Command::Exec(args) => containers::exec(&session, &args).await,
        Command::Run(args) => containers::one_off(&session, &args).await,
        Command::Restart(args) => containers::restart(&session, &args).await,
        Command::Backup(args) => backup::run(&session, &args).await,
        Command::Recover => recover::run(&session).await,
        Command::Guard(args) => guard::run(&args).await,
        Command::Restore(args) => restore::run(&session, &args).await,
        Command::Drill(args) => drill::run(&session, &args).await,
        Command::Rebuild(args) => rebuild::run(&session, &args).await,
        Command::Snapshots(args) => snapshots::run(&session, &args).await,
        Command::Verify(args) => verify::run(&session, &args).await,
        Command::Pin(args) => pin::run(&session, &args, true).await,
        Command::Unpin(args) => pin::run(&session, &args, false).await,
        Command::Prune(args) => prune::run(&session, &args).await,
        Command::Render(args) => render::run(&session, &args),
        Command::Minion(args) => minion::run(&session, &args),
        Command::Schema(args) => Ok(shell::schema(&session, &args)),
        Command::Doctor(args) => doctor::run(&session, &args).await,
        Command::Key(args) => key::run(&session, cli.directory.as_deref(), &args),
        Command::Completions(args) => Ok(shell::completions(&session, &args)),
        Command::Man(args) => shell::man(&args),
    }
}

/// The exit code of an error: the one place that maps them.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    use crate::backup::catalog::ChoiceError;
    use crate::backup::error::BackupError;
    use crate::backup::manifest::ManifestError;
    use crate::backup::restore::RestoreError;
    use crate::backup::swap::SwapError;
    use crate::engine::EngineError;
    use crate::problem::Problems;
    use crate::project::ProjectError;
    use crate::state::StateError;
    use crate::storage::StorageError;
    let engine = |error: &EngineError| match error {
        EngineError::Absent { .. } | EngineError::TooOld { .. } => exit::ENGINE,
        EngineError::PortTaken { .. } => exit::PORT,
        _ => exit::FAILED,
    };
    if let Some(error) = error.downcast_ref::<EngineError>() {
        return engine(error);
    }
    let state = |error: &StateError| match error {
        StateError::Locked(_) => exit::LOCKED,
        // Going on would overwrite what is not understood.
        StateError::Newer { .. } | StateError::Damaged { .. } => exit::REFUSED,
        StateError::File(_) => exit::FAILED,
    };
    if let Some(error) = error.downcast_ref::<StateError>() {
        return state(error);
    }
    let backup = |error: &BackupError| match error {
        BackupError::Storage(StorageError::NoDestination { .. })
        | BackupError::NoDestination(_) => exit::NO_DESTINATION,
        BackupError::Engine(error) => engine(error),
        BackupError::State(error) => state(error),
        BackupError::WrongKey(_) => exit::WRONG_KEY,
        BackupError::BadKey(_) | BackupError::Usage(_) => exit::USAGE,
        BackupError::Refused(_) | BackupError::Manifest(ManifestError::Newer(_)) => exit::REFUSED,
        BackupError::Damaged(_) | BackupError::Manifest(ManifestError::Damaged(_)) => exit::VERIFY,
        BackupError::Storage(_) | BackupError::File(_) | BackupError::Other(_) => exit::FAILED,
    };
    if let Some(error) = error.downcast_ref::<BackupError>() {
        return backup(error);
    }
    if let Some(error) = error.downcast_ref::<ProjectError>() {
        return match error {
            ProjectError::Problems(_) | ProjectError::Routes(_) => exit::USAGE,
            ProjectError::SecretsLost { .. } => exit::REFUSED,
            ProjectError::State(error) => state(error),
        };
    }
    if let Some(error) = error.downcast_ref::<RestoreError>() {
        return match error {
            RestoreError::Backup(error) => backup(error),
            RestoreError::Invalid(_) => exit::VERIFY,
            RestoreError::Swap(SwapError::TakenBack { .. }) => exit::PARTIAL,
            RestoreError::Swap(SwapError::NotBack { .. } | SwapError::Stuck { .. }) => {
                exit::NOT_BACK
            }
            RestoreError::Swap(SwapError::File(_)) => exit::FAILED,
        };
    }
    if let Some(AskError::Unanswered(_)) = error.downcast_ref::<AskError>() {
        return exit::INTERRUPTED;
    }
    if error.is::<Problems>() || error.is::<world::UnknownMinion>() || error.is::<ChoiceError>() {
        return exit::USAGE;
    }
    if error.is::<crate::plan::reconcile::Refusals>() {
        return exit::REFUSED;
    }
    exit::FAILED
}

/// What to type next after an error, where its own text does not say so.
#[must_use]
pub fn hint(error: &anyhow::Error) -> Option<String> {
    use crate::backup::catalog::ChoiceError;
    use crate::backup::error::BackupError;
    use crate::engine::EngineError;
    use crate::project::ProjectError;
    use crate::state::StateError;
    error
        .downcast_ref::<EngineError>()
        .and_then(EngineError::hint)
        .or_else(|| {
            error
                .downcast_ref::<StateError>()
                .and_then(StateError::hint)
        })
        .or_else(|| {
            error
                .downcast_ref::<crate::backup::restore::RestoreError>()
                .and_then(crate::backup::restore::RestoreError::hint)
        })
        .or_else(|| {
            error
                .downcast_ref::<ProjectError>()
                .and_then(ProjectError::hint)
        })
        .or_else(|| {
            error
                .downcast_ref::<BackupError>()
                .and_then(BackupError::hint)
        })
        .or_else(|| error.downcast_ref::<ChoiceError>().map(ChoiceError::hint))
}
