//! The project lock: one `up` or `down` at a time. The operating system drops it when its process
//! ends, however it ends, so there are no stale locks.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

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
        let path = paths.dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(FileError::of("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                return Err(StateError::Locked(holder.trim().to_owned()));
            }
            Err(TryLockError::Error(error)) => {
                return Err(FileError::of("lock", &path)(error).into());
            }
        }
        files::sweep(&paths.dir);
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
}
