//! Folders of which one version at a time counts: `v1/`, `v2/`, …, and the link `current`.
//!
//! Certificate and key belong together; exchanging one link exchanges both.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::{self, FileError};

/// A version's files: name, content, mode.
pub(super) type Content<'a> = [(&'a str, &'a [u8], u32)];

/// Versions kept: the current one and the one before, for a look.
const KEEP: u64 = 2;

/// The versions in one folder.
#[derive(Debug, Clone)]
pub(super) struct Versioned {
    dir: PathBuf,
}

impl Versioned {
    pub(super) fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Path of a file of the current version.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.join("current").join(name)
    }

    /// Number of the current version.
    pub(super) fn current(&self) -> Option<u64> {
        number_of(fs::read_link(self.dir.join("current")).ok()?.to_str()?)
    }

    /// Writes the next version, makes it the current one; its number.
    pub(super) fn publish(&self, content: &Content<'_>) -> Result<u64, FileError> {
        files::create_folder(&self.dir, 0o755)?;
        let numbers = self.sweep()?;
        let number = 1 + numbers
            .iter()
            .copied()
            .max()
            .unwrap_or(0)
            .max(self.current().unwrap_or(0));
        let temporary = self.dir.join(format!(".v{number}.tmp"));
        files::create_folder(&temporary, 0o755)?;
        for (name, bytes, mode) in content {
            files::write_atomic(&temporary.join(name), bytes, *mode)?;
        }
        let folder = self.dir.join(format!("v{number}"));
        fs::rename(&temporary, &folder).map_err(FileError::of("write", &folder))?;
        // Syncs the folder too, and with it the rename above.
        files::replace_symlink(&self.dir.join("current"), Path::new(&format!("v{number}")))?;
        for old in numbers.into_iter().filter(|old| old + KEEP <= number) {
            remove(&self.dir.join(format!("v{old}")))?;
        }
        Ok(number)
    }

    /// Removes what a run that was killed has left; the numbers that are there.
    fn sweep(&self) -> Result<Vec<u64>, FileError> {
        let failed = |error| FileError::of("read", &self.dir)(error);
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry
                .map_err(failed)?
                .file_name()
                .to_string_lossy()
                .into_owned();
            if name.starts_with('.') {
                remove(&self.dir.join(name))?;
            } else {
                numbers.extend(number_of(&name));
            }
        }
        Ok(numbers)
    }
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix('v')?.parse().ok()
}

fn remove(path: &Path) -> Result<(), FileError> {
    // A temporary link is no folder.
    let removed = if path.is_dir() && !path.is_symlink() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(FileError::of("remove", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_follow_each_other_and_old_ones_go() {
        let root = tempfile::tempdir().unwrap();
        let versioned = Versioned::new(root.path().join("blog"));
        assert_eq!(versioned.current(), None);
        for number in 1..=4 {
            assert_eq!(
                versioned
                    .publish(&[("a", format!("{number}").as_bytes(), 0o600)])
                    .unwrap(),
                number
            );
        }
        assert_eq!(versioned.current(), Some(4));
        assert_eq!(fs::read(versioned.file("a")).unwrap(), b"4");
        let mut left: Vec<_> = fs::read_dir(root.path().join("blog"))
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["current", "v3", "v4"]);
    }

    #[test]
    fn what_a_killed_run_left_does_not_disturb() {
        let root = tempfile::tempdir().unwrap();
        let versioned = Versioned::new(root.path());
        fs::create_dir(root.path().join(".v1.tmp")).unwrap();
        fs::write(root.path().join(".v1.tmp/a"), "half").unwrap();
        std::os::unix::fs::symlink("v1", root.path().join(".link.1.tmp")).unwrap();
        // Complete, but never made the current one.
        fs::create_dir(root.path().join("v1")).unwrap();
        assert_eq!(versioned.publish(&[("a", b"whole", 0o644)]).unwrap(), 2);
        assert_eq!(fs::read(versioned.file("a")).unwrap(), b"whole");
        assert!(!root.path().join(".v1.tmp").exists());
        assert!(!root.path().join(".link.1.tmp").is_symlink());
    }
}
