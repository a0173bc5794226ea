//! Locks: one `up` or `down` of a project at a time, one dump, backup or restore of a minion. The operating system drops it when its process
//! ends, however it ends, so there are no stale locks.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::files::{self, FileError};
use crate::state::{Paths, StateError};

/// Held while it lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock for `command`, or says who holds it.
    pub fn take(paths: &Paths, command: &str) -> Result<Self, StateError> {
        files::create_folder(&paths.dir, 0o700)?;
        let lock = Self::of(&paths.dir.join("lock"), command)?;
        files::sweep(&paths.dir);
        Ok(lock)
    }

    /// Takes the lock of one minion (or container) for `command`: dumps, backups, restores. `up` and
    /// `down` take it too while they change that minion.
    pub fn take_minion(paths: &Paths, minion: &str, command: &str) -> Result<Self, StateError> {
        files::create_folder(&paths.dir, 0o700)?;
        files::create_folder(&paths.locks(), 0o700)?;
        // Names of minions and containers hold no slash.
        let path = paths.locks().join(minion.replace('/', "_"));
        Self::of(&path, command).map_err(|error| match error {
            StateError::Locked(holder) => StateError::Locked(format!("{holder}, on `{minion}`")),
            other => other,
        })
    }

    fn of(path: &Path, command: &str) -> Result<Self, StateError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(FileError::of("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                return Err(StateError::Locked(holder.trim().to_owned()));
            }
            Err(TryLockError::Error(error)) => {
                return Err(FileError::of("lock", path)(error).into());
            }
        }
        // Only for people: the lock itself is the operating system's.
        let _ = file.set_len(0);
        let _ = file.rewind();
        let _ = writeln!(file, "pid {}, `summoner {command}`", std::process::id());
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_taker_is_told_the_pid_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let first = Lock::take(&paths, "up").unwrap();
        let error = Lock::take(&paths, "down").unwrap_err();
        let wanted = format!("pid {}, `summoner up`", std::process::id());
        assert!(error.to_string().contains(&wanted), "{error}");
        drop(first);
        Lock::take(&paths, "down").unwrap();
    }

    #[test]
    fn a_minion_is_locked_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let first = Lock::take_minion(&paths, "blog", "dump").unwrap();
        let _other = Lock::take_minion(&paths, "wiki", "dump").unwrap();
        let _project = Lock::take(&paths, "up").unwrap();
        let error = Lock::take_minion(&paths, "blog", "restore").unwrap_err();
        let wanted = format!("pid {}, `summoner dump`", std::process::id());
        assert!(error.to_string().contains(&wanted), "{error}");
        drop(first);
        Lock::take_minion(&paths, "blog", "restore").unwrap();
    }
}
