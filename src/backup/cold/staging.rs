//! Folders for copies: beside the data, on the same file system, closed to everybody else (0700),
//! and recognised by their place and name, so that nothing else is ever swept away.

use std::fs;
use std::path::{Path, PathBuf};

use super::tree;
use crate::files::{self, FileError};

/// Folder of all copies below `vsroot` and `dbsroot`. No instance has such a name.
const FOLDER: &str = ".summoner-staging";

/// Folder of the copies of one minion below a data root.
#[must_use]
pub fn of(data_root: &Path, minion: &str) -> PathBuf {
    data_root.join(FOLDER).join(minion)
}

/// Makes it, empty.
pub fn make(folder: &Path) -> Result<(), FileError> {
    tree::delete(folder)?;
    if let Some(parent) = folder.parent() {
        files::create_folder(parent, 0o700)?;
    }
    files::create_folder(folder, 0o700)
}

/// Deletes it, and the folder around it when it is empty then.
pub fn sweep(folder: &Path) -> Result<(), FileError> {
    if !is_one(folder) {
        return Ok(());
    }
    tree::delete(folder)?;
    if let Some(parent) = folder.parent() {
        // Another minion's copies may be there.
        let _ = fs::remove_dir(parent);
    }
    Ok(())
}

/// Whether this is such a folder: `…/.summoner-staging/<minion>`.
#[must_use]
pub fn is_one(folder: &Path) -> bool {
    folder.is_absolute()
        && folder
            .parent()
            .and_then(Path::file_name)
            .is_some_and(|n| n == FOLDER)
        && folder.file_name().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_copies_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let copy = of(folder.path(), "blog");
        make(&copy).unwrap();
        fs::write(copy.join("file"), "x").unwrap();
        let precious = folder.path().join("blog");
        fs::create_dir(&precious).unwrap();
        assert!(is_one(&copy) && !is_one(&precious));
        sweep(&precious).unwrap();
        sweep(&copy).unwrap();
        assert!(precious.exists());
        assert!(!copy.exists() && !folder.path().join(FOLDER).exists());
        for wrong in [
            "/",
            "/data",
            "/data/.summoner-staging",
            "data/.summoner-staging/x",
        ] {
            assert!(!is_one(Path::new(wrong)), "{wrong}");
        }
    }
}
