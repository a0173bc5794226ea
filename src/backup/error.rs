//! What can go wrong with snapshots.

use std::io;

use crate::backup::manifest::ManifestError;
use crate::engine::EngineError;
use crate::files::FileError;
use crate::state::StateError;
use crate::storage::StorageError;

/// Why a snapshot could not be made, found, read or trusted.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A destination said no.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The engine said no.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A manifest that cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file on this machine.
    #[error(transparent)]
    File(#[from] FileError),
    /// Our own state, or a lock that another run holds.
    #[error(transparent)]
    State(#[from] StateError),
    /// The key at hand does not open it, or there is none at hand.
    #[error("{0}")]
    WrongKey(String),
    /// What config.yml names as key is none: recipients file, identity, passphrase.
    #[error("{0}")]
    BadKey(String),
    /// A destination that config.yml does not know, or none at all.
    #[error("{0}")]
    NoDestination(String),
    /// Wrong usage or configuration: names, credentials, containers that do not fit together.
    #[error("{0}")]
    Usage(String),
    /// Refused, to keep something safe.
    #[error("{0}")]
    Refused(String),
    /// What is stored is not what was stored, or what a database gave is not whole.
    #[error("{0}")]
    Damaged(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl BackupError {
    /// What to type next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Storage(error) => storage_hint(error),
            Self::Engine(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::State(error) => error.hint(),
            Self::Manifest(ManifestError::Newer(_)) => {
                Some("use the newer summoner that made it".into())
            }
            Self::WrongKey(_) => Some(
                "give the identity that belongs to the recipients of that time: `identity:` of the destination, or `--identity FILE`".into(),
            ),
            Self::BadKey(_) => Some(
                "`summoner key generate` makes an identity and its recipients file".into(),
            ),
            Self::NoDestination(_) => {
                Some("see `destinations:` in config.yml; `summoner doctor` tries each of them".into())
            }
            Self::Damaged(_) => Some(
                "`summoner snapshots` lists others; `summoner verify --read-data` tells which are whole".into(),
            ),
            Self::Manifest(_) | Self::Usage(_) | Self::Refused(_) | Self::Other(_) => None,
        }
    }

    /// An I/O error that carries this one through code that knows of I/O errors only;
    /// [`Self::of_io`] takes it out again.
    #[must_use]
    pub fn into_io(self) -> io::Error {
        io::Error::other(self)
    }

    /// What an I/O error of a [`Reading`](crate::storage::Reading) stands for.
    #[must_use]
    pub fn of_io(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(inner) => inner,
            Err(error) => Self::Damaged(format!("what is stored cannot be read: {error}")),
        }
    }
}

fn storage_hint(error: &StorageError) -> Option<String> {
    Some(match error {
        StorageError::NoDestination { .. } => {
            "mount it, or make the folder or bucket; `summoner doctor` tries every destination".into()
        }
        StorageError::Denied { .. } => {
            "see its credentials and rights; `summoner doctor` tells which right is missing".into()
        }
        StorageError::Skew { .. } => "set this machine's clock: `timedatectl set-ntp true`".into(),
        StorageError::Full { .. } => {
            "make room, or thin out: `summoner prune --dry-run` shows what the rules of `keep:` would take".into()
        }
        StorageError::Held { .. } => "it can be deleted when its lock has run out".into(),
        StorageError::Unreachable { .. } => {
            "try again when it answers; `summoner doctor` tries every destination".into()
        }
        StorageError::Missing(_) | StorageError::Exists(_) | StorageError::Other { .. } => {
            return None;
        }
    })
}
