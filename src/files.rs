//! Files: every write is a temporary file, fsync, rename, fsync of the folder. A reader, and a
//! machine that lost its power, see the old content or the new, never half of it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A file operation that failed, with the path it failed on.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} `{}`: {source}", path.display())]
pub struct FileError {
    /// `read`, `write`, `create`, ….
    pub action: &'static str,
    /// The path as given.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// Names action and path of an I/O error: `.map_err(FileError::of("read", path))`.
    pub fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self {
            action,
            path,
            source,
        }
    }

    /// What to type next, where the reason tells.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let folder = self.path.parent().unwrap_or(&self.path).display();
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(format!(
                "make room and run it again, nothing is half written: `df -h {folder}` shows the disk"
            )),
            io::ErrorKind::ReadOnlyFilesystem => Some(format!(
                "the disk is mounted read-only: `findmnt -T {folder}` shows it"
            )),
            io::ErrorKind::PermissionDenied => Some(format!(
                "run it as the owner of the files (`ls -ld {folder}`), or with sudo"
            )),
            _ => None,
        }
    }
}

/// Writes `content` to `path` with `mode`, atomically and durably.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let result = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        // `mode` above is cut by the umask, and an older temporary file keeps its own.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_folder(folder)
    })();
    result.map_err(|source| {
        // Best effort: the error that made us come here is the one to tell.
        let _ = fs::remove_file(&temporary);
        FileError {
            action: "write",
            path: path.to_owned(),
            source,
        }
    })
}

/// Writes only when the content or the mode differs; tells whether it wrote.
pub fn write_if_changed(path: &Path, content: &[u8], mode: u32) -> Result<bool, FileError> {
    let same = fs::read(path).is_ok_and(|old| old == content)
        && fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o7777 == mode);
    if !same {
        write_atomic(path, content, mode)?;
    }
    Ok(!same)
}

/// Creates `path` and its parents; a folder that is new gets `mode`, one that exists is left as it is.
pub fn create_folder(path: &Path, mode: u32) -> Result<(), FileError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        create_folder(parent, mode)?;
    }
    match fs::create_dir(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(FileError::of("set the permissions of", path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(FileError::of("create the folder", path)(error)),
    }
}

/// Points the symlink `link` at `target` in one step: no moment without a link.
pub fn replace_symlink(link: &Path, target: &Path) -> Result<(), FileError> {
    let folder = link.parent().unwrap_or(Path::new("."));
    let temporary = folder.join(format!(".link.{}.tmp", std::process::id()));
    let _ = fs::remove_file(&temporary);
    std::os::unix::fs::symlink(target, &temporary)
        .and_then(|()| fs::rename(&temporary, link))
        .and_then(|()| sync_folder(folder))
        .map_err(FileError::of("replace the link", link))
}

/// Removes the temporary files that a killed run has left anywhere below `folder`, some of which
/// hold passwords. Only for who holds the lock: those of a living run look the same. What cannot
/// be removed stays, as litter does.
pub fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // `.<name>.<pid>.tmp` as written above, and folders such as `.gen-<number>.tmp`.
        let temporary = name
            .strip_prefix('.')
            .and_then(|n| n.strip_suffix(".tmp"))
            .is_some_and(|n| n.ends_with(|c: char| c.is_ascii_digit()));
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        match (folder, temporary) {
            (true, true) => drop(fs::remove_dir_all(entry.path())),
            (true, false) => sweep(&entry.path()),
            (false, true) => drop(fs::remove_file(entry.path())),
            (false, false) => {}
        }
    }
}

/// Makes what was renamed, made or removed in a folder durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_content_and_mode_and_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.yml");
        write_atomic(&path, b"old", 0o644).unwrap();
        write_atomic(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn unchanged_content_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        assert!(write_if_changed(&path, b"a", 0o600).unwrap());
        assert!(!write_if_changed(&path, b"a", 0o600).unwrap());
        assert!(write_if_changed(&path, b"b", 0o600).unwrap());
    }

    #[test]
    fn a_sweep_takes_temporary_files_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("below")).unwrap();
        let kept = ["lock", ".env", "x.tmp", ".mine.tmp", "below/.env"];
        for name in kept.iter().chain(&[".env.17.tmp", "below/.env.4711.tmp"]) {
            fs::write(path(name), "").unwrap();
        }
        std::os::unix::fs::symlink("lock", path(".link.3.tmp")).unwrap();
        fs::create_dir_all(path(".gen-2.tmp/sites")).unwrap();
        sweep(folder.path());
        assert!(kept.iter().all(|name| path(name).exists()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5);
        assert_eq!(fs::read_dir(path("below")).unwrap().count(), 1);
    }

    #[test]
    fn a_link_is_replaced_in_one_step() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("current");
        replace_symlink(&link, Path::new("gen-1")).unwrap();
        replace_symlink(&link, Path::new("gen-2")).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("gen-2"));
    }
}
