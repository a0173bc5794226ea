//! A folder: of a second disk, of a mounted share, or simply beside the data.
//!
//! An object is written to a hidden temporary file in the folder where it will lie, synced, and then
//! renamed by a call that refuses to replace anything; the folder is synced last. All I/O runs on
//! blocking threads, in blocks of [`BLOCK`].
//!
//! **A disk that is not mounted** must not become a folder on the root disk that fills it up while
//! everybody believes the backups to be elsewhere. So:
//!
//! - only the last step of the path is ever created; its parent has to be there;
//! - a destination carries a marker, [`MARKER`], made at its first use. Where the marker is missing
//!   and `/etc/fstab` names a mount point at or above the folder that is not mounted, it is
//!   [`StorageError::NoDestination`];
//! - whoever knows that snapshots were made there before says so with [`Dir::known`]: then a folder
//!   without the marker is [`StorageError::NoDestination`], too, and nothing is created.

mod mount;
mod upload;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::exact::Exact;
use super::{Object, Probe, Reading, Storage, StorageError, Upload, key, probe};

/// Says "this is a destination of snapshots", so that an empty mount point is not taken for one.
pub const MARKER: &str = ".summoner-destination";

const MARKER_TEXT: &[u8] = b"Summoner keeps snapshots in this folder. This file tells the folder from an empty mount point: leave it here.\n";

/// End of the names of temporary files; they begin with [`key::OWN`].
const TEMPORARY: &str = ".part";

/// Bytes handed to a blocking thread at once.
const BLOCK: usize = 1 << 20;

/// A folder as a destination.
#[derive(Debug, Clone)]
pub struct Dir {
    root: PathBuf,
    known: bool,
}

impl Dir {
    /// The folder `path`, absolute. Nothing is touched until the first call.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            root: path.to_owned(),
            known: false,
        }
    }

    /// Whether snapshots were made there before: then the folder must be there with its [`MARKER`].
    #[must_use]
    pub fn known(mut self, known: bool) -> Self {
        self.known = known;
        self
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let this = self.clone();
        blocking(&self.root, move || work(&this)).await
    }

    fn path(&self, key: &str) -> Result<PathBuf, StorageError> {
        key::check(&self.place(), key)?;
        Ok(self.root.join(key))
    }

    /// The destination is there, or can be said to be empty: for calls that only look.
    fn look(&self) -> Result<(), StorageError> {
        if self.root.join(MARKER).exists() {
            return Ok(());
        }
        self.not_somewhere_else()?;
        match fs::metadata(&self.root) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(self.missing("it is not a folder".to_owned())),
            // Not used yet: the first write makes it.
            Err(error) if is_absent(&error) => self.has_parent(),
            Err(error) => Err(self.failed("open the folder", &error)),
        }
    }

    fn has_parent(&self) -> Result<(), StorageError> {
        let parent = self.root.parent().unwrap_or(Path::new("/"));
        if parent.is_dir() {
            return Ok(());
        }
        Err(self.missing(format!("`{}` does not exist", parent.display())))
    }

    /// The destination is there, made if need be: for calls that write.
    fn arrive(&self) -> Result<(), StorageError> {
        if self.root.join(MARKER).exists() {
            return Ok(());
        }
        self.not_somewhere_else()?;
        let failed = |error: io::Error| self.failed("create the folder", &error);
        if !self.root.is_dir() {
            self.has_parent()?;
            make_folder(&self.root).map_err(failed)?;
        }
        let marker = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.root.join(MARKER));
        match marker {
            Ok(mut file) => file
                .write_all(MARKER_TEXT)
                .and_then(|()| file.sync_all())
                .and_then(|()| sync_folder(&self.root))
                .map_err(|error| self.failed("write", &error)),
            // Somebody else arrives at the same time.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(self.failed("write", &error)),
        }
    }

    /// Without the marker: is this the place that was meant?
    fn not_somewhere_else(&self) -> Result<(), StorageError> {
        if let Some(point) = mount::absent(&self.root) {
            return Err(self.missing(format!(
                "`{}` is in /etc/fstab and not mounted",
                point.display()
            )));
        }
        if self.known {
            let what = if self.root.is_dir() {
                "it is not the folder that holds the earlier snapshots"
            } else {
                "the folder that holds the earlier snapshots is gone"
            };
            return Err(self.missing(format!("{what} (they have a file `{MARKER}` beside them)")));
        }
        Ok(())
    }

    fn missing(&self, reason: String) -> StorageError {
        StorageError::NoDestination {
            place: self.place(),
            reason,
        }
    }

    fn failed(&self, action: &str, error: &io::Error) -> StorageError {
        use io::ErrorKind as Kind;
        let (place, reason) = (self.place(), error.to_string());
        let errno = rustix::io::Errno::from_io_error(error);
        let gone = [
            rustix::io::Errno::IO,
            rustix::io::Errno::NOTCONN,
            rustix::io::Errno::NODEV,
            rustix::io::Errno::NXIO,
            rustix::io::Errno::HOSTDOWN,
        ];
        match error.kind() {
            Kind::StorageFull | Kind::QuotaExceeded => StorageError::Full { place, reason },
            Kind::PermissionDenied | Kind::ReadOnlyFilesystem => StorageError::Denied {
                place,
                action: action.to_owned(),
                reason,
            },
            Kind::NotFound if !self.root.is_dir() => self.missing(reason),
            Kind::StaleNetworkFileHandle | Kind::TimedOut | Kind::HostUnreachable => {
                StorageError::Unreachable { place, reason }
            }
            _ if errno.is_some_and(|e| gone.contains(&e)) => {
                StorageError::Unreachable { place, reason }
            }
            _ => StorageError::Other {
                place,
                action: action.to_owned(),
                reason,
            },
        }
    }

    fn stat_now(&self, key: &str, path: &Path) -> Result<Option<u64>, StorageError> {
        match fs::metadata(path) {
            Ok(found) => Ok(found.is_file().then_some(found.len())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.failed(&format!("look at `{key}`"), &error)),
        }
    }

    fn delete_now(&self, key: &str, path: &Path) -> Result<(), StorageError> {
        if self.stat_now(key, path)?.is_none() {
            return Ok(());
        }
        let failed = |error: io::Error| self.failed(&format!("delete `{key}`"), &error);
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(failed(error)),
        }
        match sync_folder(self.drop_empty_folders(path)) {
            Err(error) if !is_absent(&error) => Err(failed(error)),
            _ => Ok(()),
        }
    }

    /// Empty folders are no objects: they go. A folder in use holds a temporary file and stays.
    /// The one that is left.
    fn drop_empty_folders<'a>(&'a self, path: &'a Path) -> &'a Path {
        let mut folder = path.parent().unwrap_or(&self.root);
        while folder != self.root && fs::remove_dir(folder).is_ok() {
            folder = folder.parent().unwrap_or(&self.root);
        }
        folder
    }

    /// Calls `found` for every file below `folder`: its path, its name below the root, what it is.
    fn walk(
        &self,
        folder: &Path,
        found: &mut dyn FnMut(&Path, &str, &fs::Metadata),
    ) -> Result<(), StorageError> {
        let failed = |error: io::Error| self.failed("list", &error);
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            // What is not text is not ours.
            let Some(name) = path.strip_prefix(&self.root).ok().and_then(Path::to_str) else {
                continue;
            };
            // Made by mkfs, readable by root only.
            if name == "lost+found" {
                continue;
            }
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                self.walk(&path, found)?;
                continue;
            }
            // A link to a file is that file; a link to a folder could lead in circles.
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => found(&path, name, &metadata),
                Ok(_) => {}
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Storage for Dir {
    fn place(&self) -> String {
        self.root.display().to_string()
    }

    async fn upload(&self, key: &str) -> Result<Box<dyn Upload>, StorageError> {
        let path = self.path(key)?;
        let key = key.to_owned();
        self.run(move |dir| upload::begin(dir, key, path)).await
    }

    async fn read(&self, key: &str) -> Result<Reading, StorageError> {
        let path = self.path(key)?;
        let name = key.to_owned();
        let (file, length) = self
            .run(move |dir| {
                dir.look()?;
                let opened = File::open(&path).and_then(|f| f.metadata().map(|m| (f, m)));
                match opened {
                    Ok((file, found)) if found.is_file() => Ok((file, found.len())),
                    Ok(_) => Err(StorageError::Missing(name)),
                    Err(error) if is_absent(&error) => Err(StorageError::Missing(name)),
                    Err(error) => Err(dir.failed(&format!("read `{name}`"), &error)),
                }
            })
            .await?;
        Ok(Box::new(Exact::new(
            tokio::fs::File::from_std(file),
            key,
            length,
        )))
    }

    async fn stat(&self, key: &str) -> Result<Option<u64>, StorageError> {
        let path = self.path(key)?;
        let key = key.to_owned();
        self.run(move |dir| {
            dir.look()?;
            dir.stat_now(&key, &path)
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StorageError> {
        key::check_prefix(&self.place(), prefix)?;
        let prefix = prefix.to_owned();
        self.run(move |dir| {
            dir.look()?;
            let mut objects = Vec::new();
            dir.walk(&dir.root.join(&prefix), &mut |_, name, metadata| {
                if key::check("", name).is_ok() {
                    objects.push(Object {
                        key: name.to_owned(),
                        size: metadata.len(),
                    });
                }
            })?;
            objects.sort_unstable();
            Ok(objects)
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let path = self.path(key)?;
        let key = key.to_owned();
        self.run(move |dir| {
            dir.look()?;
            dir.delete_now(&key, &path)
        })
        .await
    }

    /// A file that a living run still writes is locked by it and stays, however old.
    async fn sweep(&self, before: Timestamp) -> Result<usize, StorageError> {
        self.run(move |dir| {
            dir.look()?;
            let before = SystemTime::from(before);
            let mut stale = Vec::new();
            dir.walk(&dir.root, &mut |path, _, metadata| {
                if is_temporary(path) && metadata.modified().is_ok_and(|at| at < before) {
                    stale.push(path.to_owned());
                }
            })?;
            let mut swept = 0;
            for path in stale {
                let in_use = File::open(&path)
                    .is_ok_and(|file| matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)));
                if !in_use {
                    match fs::remove_file(&path) {
                        Ok(()) => swept += 1,
                        Err(error) if is_absent(&error) => {}
                        Err(error) => return Err(dir.failed("sweep", &error)),
                    }
                }
            }
            Ok(swept)
        })
        .await
    }

    async fn probe(&self, now: Timestamp) -> Vec<Probe> {
        probe::basics(self, now).await
    }

    async fn put(&self, key: &str, content: Bytes) -> Result<(), StorageError> {
        let path = self.path(key)?;
        let key = key.to_owned();
        self.run(move |dir| upload::put(dir, &key, &path, &content))
            .await
    }
}

/// Runs on a blocking thread; a panic there is an error here.
async fn blocking<T: Send + 'static>(
    root: &Path,
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(StorageError::Other {
                place: root.display().to_string(),
                action: "work".to_owned(),
                reason: error.to_string(),
            })
        })
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn is_temporary(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with(key::OWN) && name.ends_with(TEMPORARY))
}

/// Makes one folder for us alone, durably.
fn make_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_folder),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Network file systems may have no fsync for folders and say `EINVAL`: they are durable without.
fn sync_folder(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}
