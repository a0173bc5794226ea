//! What is stopped, written down before it is stopped. Whoever finds a journal whose owner is dead
//! finishes it: the guard within two seconds, `summoner recover`, or the next run of any verb.
//!
//! A journal belongs to whoever holds the lock of its minion; the system gives that lock back when
//! its process ends, however it ends.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};
use crate::state::{Paths, StateError};

/// Version of the format.
pub const FORMAT: u32 = 1;

/// One minion whose containers are stopped, or about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// [`FORMAT`].
    pub format: u32,
    /// Instance.
    pub minion: String,
    /// Folder of config.yml, as in the containers' labels.
    pub root: PathBuf,
    /// What is being done, for people: `backup`, `restore`.
    pub command: String,
    /// Process that wrote it, for people: it is the lock that counts.
    pub pid: u32,
    /// How far it came.
    pub phase: Phase,
    /// Services that were running, in the order in which they start.
    pub services: Vec<Stopped>,
    /// Folders that hold copies and go away with the journal.
    pub staging: Vec<PathBuf>,
    /// What to run when it runs again, where what belongs before it was run.
    pub after: Option<After>,
}

/// How far a backup came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Everything runs still; the first copy is being made.
    Live,
    /// Services are being stopped.
    Stopping,
    /// All are stopped; the copy is brought up to date.
    Stopped,
    /// Services are being started.
    Starting,
}

/// A service that was running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Service of the minion.
    pub service: String,
    /// Name of its container: of several with the same labels it is the one meant.
    pub name: String,
    /// Seconds it may take to stop.
    pub grace: u64,
    /// Whether the engine was asked to stop it.
    pub asked: bool,
}

/// A command to be run in a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    /// Service.
    pub service: String,
    /// argv.
    pub command: Vec<String>,
}

/// Where the journals lie.
#[must_use]
pub fn folder(paths: &Paths) -> PathBuf {
    paths.dir.join("journal")
}

/// Where the journal of a minion lies.
#[must_use]
pub fn path(paths: &Paths, minion: &str) -> PathBuf {
    folder(paths).join(format!("backup-{}.json", minion.replace('/', "_")))
}

impl Journal {
    /// Writes it durably.
    ///
    /// # Panics
    /// Never: it is plain data.
    pub fn write(&self, paths: &Paths) -> Result<(), FileError> {
        let mut text = serde_json::to_string_pretty(self).expect("a journal is plain data");
        text.push('\n');
        files::create_folder(&folder(paths), 0o700)?;
        let path = path(paths, &self.minion);
        let write = || files::write_atomic(&path, text.as_bytes(), 0o600);
        match write() {
            // An `up` of another minion has just swept temporary files away.
            Err(error) if error.source.kind() == ErrorKind::NotFound => write(),
            written => written,
        }
    }

    /// Reads one; `None` when there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, StateError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::of("read", path)(error).into()),
        };
        let damaged = |reason: String| StateError::Damaged {
            path: path.to_owned(),
            reason,
        };
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(found) if found > u64::from(FORMAT) => {
                return Err(StateError::Newer {
                    path: path.to_owned(),
                    found: u32::try_from(found).unwrap_or(u32::MAX),
                });
            }
            Some(_) => {}
            None => return Err(damaged("no `format` in it".into())),
        }
        serde_json::from_value(value)
            .map(Some)
            .map_err(|e| damaged(e.to_string()))
    }

    /// Removes it: everything is as it was.
    pub fn remove(paths: &Paths, minion: &str) -> Result<(), FileError> {
        let path = path(paths, minion);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(FileError::of("delete", &path)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Minions that have a journal, whoever owns it.
#[must_use]
pub fn minions(paths: &Paths) -> Vec<String> {
    let entries = fs::read_dir(folder(paths)).into_iter().flatten().flatten();
    let mut minions: Vec<String> = entries
        .filter_map(|e| e.file_name().into_string().ok())
        // Restores keep theirs beside them.
        .filter_map(|name| {
            let minion = name.strip_prefix("backup-")?.strip_suffix(".json")?;
            Some(minion.to_owned())
        })
        .collect();
    minions.sort();
    minions
}

impl Stopped {
    /// How long it may take to stop.
    #[must_use]
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_read_back_and_a_damaged_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let journal = Journal {
            format: FORMAT,
            minion: "blog".into(),
            root: folder.path().to_owned(),
            command: "backup".into(),
            pid: 7,
            phase: Phase::Stopping,
            services: vec![Stopped {
                service: "db".into(),
                name: "mysql-blog".into(),
                grace: 60,
                asked: true,
            }],
            staging: vec!["/data/.summoner-staging/blog".into()],
            after: None,
        };
        journal.write(&paths).unwrap();
        assert_eq!(minions(&paths), ["blog"]);
        let path = path(&paths, "blog");
        assert_eq!(Journal::read(&path).unwrap(), Some(journal));
        fs::write(&path, "{\"format\": 9}").unwrap();
        assert!(matches!(
            Journal::read(&path),
            Err(StateError::Newer { found: 9, .. })
        ));
        fs::write(&path, "").unwrap();
        assert!(matches!(
            Journal::read(&path),
            Err(StateError::Damaged { .. })
        ));
        Journal::remove(&paths, "blog").unwrap();
        assert_eq!(Journal::read(&path).unwrap(), None);
    }
}
