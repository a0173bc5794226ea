//! The copy of a minion of the catalogue that is kept for an instance: what it was installed from, for
//! the day a newer binary brings a newer one.

use std::fs;
use std::path::Path;

use super::{Minion, Origin, catalog};
use crate::files::{self, FileError};
use crate::problem::{Problem, Problems};

/// Reads a copy that [`keep`] made.
pub fn read(name: &str, folder: &Path) -> Result<Minion, Problems> {
    let contents = catalog::read(folder).map_err(|error| {
        let file = folder.display().to_string();
        Problem::new(
            file,
            format!("failed to read the copy of the minion: {error}"),
        )
    })?;
    catalog::load(name, Origin::Kept(folder.to_owned()), contents)
}

/// Copies a minion into `folder`, unless that is what lies there.
pub fn keep(minion: &Minion, folder: &Path) -> Result<(), FileError> {
    if catalog::read(folder).is_ok_and(|there| there == *minion.contents) {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new("."));
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    // A name that the sweep after a killed run knows.
    let temporary = parent.join(format!(".{name}.{}.tmp", std::process::id()));
    files::create_folder(parent, 0o700)?;
    for (path, content) in minion.contents.iter() {
        let path = temporary.join(path);
        files::create_folder(path.parent().unwrap_or(&temporary), 0o700)?;
        files::write_atomic(&path, content, 0o600)?;
    }
    forget(folder)?;
    // A kill between the two loses the copy: what the binary has is taken then, and the plan shows it.
    fs::rename(&temporary, folder).map_err(FileError::of("write", folder))
}

/// Removes a copy; one that is not there is no error.
pub fn forget(folder: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::of("remove", folder)(error))
        }
        _ => Ok(()),
    }
}
