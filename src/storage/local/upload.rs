//! An object on its way into a folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::super::{StorageError, Upload, key, probe::fresh};
use super::{BLOCK, Dir, TEMPORARY, blocking, make_folder, sync_folder};

/// A file that goes when it is dropped, unless it was given its name.
struct Temporary {
    file: File,
    path: PathBuf,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the rename there is nothing of this name any more.
        let _ = fs::remove_file(&self.path);
    }
}

struct Under {
    dir: Dir,
    key: String,
    path: PathBuf,
    /// `None` while a blocking thread has it, and after a failure.
    temporary: Option<Temporary>,
    buffer: BytesMut,
}

pub(super) fn begin(
    dir: &Dir,
    key: String,
    path: PathBuf,
) -> Result<Box<dyn Upload>, StorageError> {
    let temporary = open(dir, &key, &path)?;
    Ok(Box::new(Under {
        dir: dir.clone(),
        key,
        path,
        temporary: Some(temporary),
        buffer: BytesMut::new(),
    }))
}

pub(super) fn put(dir: &Dir, key: &str, path: &Path, content: &[u8]) -> Result<(), StorageError> {
    let temporary = open(dir, key, path)?;
    commit(dir, key, path, temporary, content).map(drop)
}

fn open(dir: &Dir, key: &str, path: &Path) -> Result<Temporary, StorageError> {
    dir.arrive()?;
    // Early, so that nobody streams a database only to be refused; the rename asks again.
    if dir.stat_now(key, path)?.is_some() {
        return Err(StorageError::Exists(key.to_owned()));
    }
    let failed = |error: io::Error| dir.failed(&format!("write `{key}`"), &error);
    let folder = path.parent().unwrap_or(path);
    let mut attempts = 0;
    loop {
        let made = make_folders(dir, folder).and_then(|()| temporary(folder));
        match made {
            Ok(temporary) => return Ok(temporary),
            // A delete in another process has just removed the empty folder.
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempts < 10 => attempts += 1,
            Err(error) => return Err(failed(error)),
        }
    }
}

fn make_folders(dir: &Dir, folder: &Path) -> io::Result<()> {
    let below = folder.strip_prefix(&dir.root).unwrap_or(Path::new(""));
    let mut path = dir.root.clone();
    for step in below {
        path.push(step);
        make_folder(&path)?;
    }
    Ok(())
}

fn temporary(folder: &Path) -> io::Result<Temporary> {
    let path = folder.join(format!("{}{}{TEMPORARY}", key::OWN, fresh()));
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    // Tells `sweep` that we live; a file system without locks is left to the age of the file.
    let _ = file.try_lock();
    Ok(Temporary { file, path })
}

/// Writes the rest and gives the file its name: from here on it is an object.
fn commit(
    dir: &Dir,
    key: &str,
    path: &Path,
    mut temporary: Temporary,
    rest: &[u8],
) -> Result<u64, StorageError> {
    let failed = |error: io::Error| dir.failed(&format!("write `{key}`"), &error);
    let file = &mut temporary.file;
    let size = file
        .write_all(rest)
        .and_then(|()| file.sync_all())
        .and_then(|()| file.metadata())
        .map_err(failed)?
        .len();
    rename(&temporary.path, path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => StorageError::Exists(key.to_owned()),
        _ => failed(error),
    })?;
    let synced = path.parent().map_or(Ok(()), sync_folder);
    if let Err(error) = synced {
        // Not known to be durable: then it shall not be seen either.
        let _ = fs::remove_file(path);
        return Err(failed(error));
    }
    Ok(size)
}

/// Never replaces: `renameat2` with `RENAME_NOREPLACE`, or a second name and the first one gone
/// where the file system does not know that (NFS, some FUSE).
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link(from, to),
        other => Ok(other?),
    }
}

fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

#[async_trait]
impl Upload for Under {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StorageError> {
        if self.buffer.len() + chunk.len() < BLOCK {
            self.buffer.extend_from_slice(&chunk);
            return Ok(());
        }
        let mut temporary = self.take()?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let (dir, key) = (self.dir.clone(), self.key.clone());
        let (temporary, buffer) = blocking(&self.dir.root, move || {
            let file = &mut temporary.file;
            file.write_all(&buffer)
                .and_then(|()| file.write_all(&chunk))
                .map_err(|error| dir.failed(&format!("write `{key}`"), &error))?;
            buffer.clear();
            Ok((temporary, buffer))
        })
        .await?;
        self.temporary = Some(temporary);
        self.buffer = buffer;
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<u64, StorageError> {
        let temporary = self.take()?;
        let Self {
            dir,
            key,
            path,
            buffer,
            ..
        } = *self;
        blocking(&dir.root.clone(), move || {
            commit(&dir, &key, &path, temporary, &buffer)
        })
        .await
    }

    async fn abort(mut self: Box<Self>) {
        let Ok(temporary) = self.take() else { return };
        let dir = self.dir.clone();
        let path = self.path.clone();
        let _ = blocking(&self.dir.root, move || {
            drop(temporary);
            dir.drop_empty_folders(&path);
            Ok(())
        })
        .await;
    }
}

impl Under {
    fn take(&mut self) -> Result<Temporary, StorageError> {
        self.temporary.take().ok_or_else(|| StorageError::Other {
            place: self.dir.root.display().to_string(),
            action: format!("write `{}`", self.key),
            reason: "an earlier write has failed".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_commit_refuse_to_replace() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for way in [rename, link] {
            fs::write(at("new"), "new").unwrap();
            fs::write(at("old"), "old").unwrap();
            let error = way(&at("new"), &at("old")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(at("old")).unwrap(), b"old");
            way(&at("new"), &at("free")).unwrap();
            assert_eq!(fs::read(at("free")).unwrap(), b"new");
            assert!(!at("new").exists());
            fs::remove_file(at("free")).unwrap();
        }
    }
}
