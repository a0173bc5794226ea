//! A snapshot becomes data again, beside the live data and checked: never in it.
//!
//! A dump is restored into a throwaway container over an empty folder, a backup is unpacked and its
//! databases are started on it. Either way the database must come up, take today's passwords, fit
//! the counts of its snapshot and the minion's own `asserts`, and end cleanly. Only then may the
//! folders take the place of the live ones ([`swap`](super::swap)).

mod databases;
mod passwords;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use tokio::io::AsyncReadExt as _;
use tokio::runtime::Handle;

use crate::apply;
use crate::backup::cold::archive;
use crate::backup::destination::Target;
use crate::backup::encryption::Key;
use crate::backup::error::BackupError;
use crate::backup::manifest::{Kind, Manifest, ObjectRecord, Role};
use crate::backup::reader;
use crate::backup::scratch::Scratch;
use crate::events::{Event, Events};
use crate::files::FileError;
use crate::minion;
use crate::plan::desired::{Folder, Group};
use crate::secret::Secret;
use crate::storage::Reading;

pub use self::databases::CheckedDatabase;
pub use crate::backup::scratch::RestoreError;

/// Roles and tablespaces are read as a whole.
const LARGEST_TEXT: usize = 64 << 20;

/// A snapshot that is to be restored, and the minion it is to become.
pub struct Job<'a> {
    /// Engine, events, places.
    pub context: &'a apply::Context,
    /// The instance as it is rendered today.
    pub group: &'a Group,
    /// Its minion.
    pub minion: &'a minion::Manifest,
    /// Its secrets of today by their names in `.env`.
    pub secrets: &'a BTreeMap<String, Secret>,
    /// Where the snapshot is.
    pub target: &'a Target,
    /// Another key than the destination's own.
    pub key: Option<Arc<Key>>,
    /// The snapshot.
    pub manifest: &'a Manifest,
    /// Services whose databases are not wanted, since something newer comes.
    pub without: BTreeSet<String>,
}

/// What was restored into scratch.
#[derive(Debug, Default)]
pub struct Restored {
    /// Live folder and scratch folder.
    pub folders: Vec<(Folder, PathBuf)>,
    /// What was looked at.
    pub checked: Checked,
}

/// What a restore or drill looked at, and found well.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Checked {
    /// Databases.
    pub databases: Vec<CheckedDatabase>,
    /// Volumes: name and number of entries.
    pub volumes: BTreeMap<String, u64>,
    /// The minion's `asserts` that were true.
    pub asserts: Vec<String>,
    /// Milliseconds it took.
    pub milliseconds: u64,
}

/// Restores a snapshot into scratch and checks it. Whatever it returns, `scratch` is the caller's to
/// keep or leave.
pub async fn into_scratch(
    job: &Job<'_>,
    scratch: &mut Scratch<'_>,
) -> Result<Restored, RestoreError> {
    let begin = Instant::now();
    let mut restored = Restored::default();
    match job.manifest.kind {
        Kind::Dump => databases::from_dump(job, scratch, &mut restored).await?,
        Kind::Backup => {
            volumes(job, scratch, &mut restored).await?;
            databases::from_backup(job, scratch, &mut restored).await?;
        }
    }
    if restored.folders.is_empty() {
        return Err(RestoreError::Invalid(format!(
            "the snapshot {} holds nothing that `{}` keeps today",
            job.manifest.id, job.group.name
        )));
    }
    restored.checked.milliseconds = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(restored)
}

/// The data folder of an instance that a volume of a backup belongs to: by its last name, or by its
/// path below one of the data roots where two have the same last name.
fn folder_of<'a>(job: &'a Job<'_>, name: &str) -> Option<&'a Folder> {
    let (_, path) = name.split_once('/').unwrap_or(("", name));
    let fits = |f: &&Folder| f.path.ends_with(path);
    job.group.folders.iter().find(fits)
}

/// The data folder of a database service. Those of databases come after those of volumes.
fn database_folder<'a>(job: &'a Job<'_>, service: &str) -> Option<&'a Folder> {
    let fits = |f: &&Folder| f.path.file_name().is_some_and(|n| n == service);
    job.group.folders.iter().rev().find(fits)
}

/// Unpacks the volumes of a backup, one after the other.
async fn volumes(
    job: &Job<'_>,
    scratch: &mut Scratch<'_>,
    restored: &mut Restored,
) -> Result<(), RestoreError> {
    for object in &job.manifest.objects {
        if object.role != Role::Volume {
            continue;
        }
        let Some(live) = folder_of(job, &object.of) else {
            job.context.events.event(Event::Warning(format!(
                "the snapshot has a volume `{}`, which `{}` does not have today; it is left out",
                object.of, job.group.name
            )));
            continue;
        };
        let comes_later = |service: &String| database_folder(job, service) == Some(live);
        if job.without.iter().any(comes_later) {
            continue;
        }
        let folder = scratch.folder(live).await?;
        let target = format!("{}/{}", job.group.name, object.of);
        let reading = open(job, object).await?;
        let counted = Counted::new(reading, target, object.plain_bytes, &job.context.events);
        let unpacked = unpack(counted, &folder).await?;
        restored
            .checked
            .volumes
            .insert(object.of.clone(), unpacked.entries);
        restored.folders.push((live.clone(), folder));
    }
    Ok(())
}

/// Opens an object for its plain bytes.
async fn open(job: &Job<'_>, object: &ObjectRecord) -> Result<Reading, BackupError> {
    reader::open_with(job.target, job.key.clone(), job.manifest, object).await
}

async fn unpack(counted: Counted, folder: &Path) -> Result<archive::Unpacked, RestoreError> {
    let folder = folder.to_owned();
    let handle = Handle::current();
    let task = tokio::task::spawn_blocking(move || {
        let mut blocking = Blocking { handle, counted };
        let unpacked = archive::unpack(&mut blocking, &folder);
        (unpacked, blocking.counted.error)
    });
    let (unpacked, error) = task
        .await
        .map_err(|e| BackupError::Other(format!("unpacking ended by itself: {e}")))?;
    // What is wrong with the bytes explains what the archive says of them.
    match (unpacked, error) {
        (_, Some(error)) => Err(error.into()),
        (Ok(unpacked), None) => Ok(unpacked),
        (Err(error), None) => Err(RestoreError::Invalid(format!(
            "failed to unpack a volume: {error}"
        ))),
    }
}

/// An object on its way, which tells how far it is and remembers why it broke off.
struct Counted {
    reading: Reading,
    target: String,
    total: u64,
    done: u64,
    told: u64,
    events: Arc<dyn Events>,
    error: Option<BackupError>,
}

impl Counted {
    fn new(reading: Reading, target: String, total: u64, events: &Arc<dyn Events>) -> Self {
        Self {
            reading,
            target,
            total,
            done: 0,
            told: 0,
            events: Arc::clone(events),
            error: None,
        }
    }

    /// The next bytes; 0 is the proven end.
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, io::Error> {
        match self.reading.read(buffer).await {
            Ok(count) => {
                self.done += count as u64;
                if count == 0 || self.done - self.told >= 1 << 20 {
                    self.told = self.done;
                    self.events.event(Event::Bytes {
                        target: self.target.clone(),
                        done: self.done,
                        total: Some(self.total),
                    });
                }
                Ok(count)
            }
            Err(error) => {
                let error = BackupError::of_io(error);
                let told = io::Error::other(error.to_string());
                self.error = Some(error);
                Err(told)
            }
        }
    }
}

impl Counted {
    /// All of it, where it is small.
    async fn text(&mut self) -> Result<String, RestoreError> {
        let mut text = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match self.read(&mut buffer).await {
                Ok(0) => return Ok(String::from_utf8_lossy(&text).into_owned()),
                Ok(count) if text.len() + count <= LARGEST_TEXT => {
                    text.extend_from_slice(&buffer[..count]);
                }
                Ok(_) => {
                    return Err(BackupError::Damaged(format!(
                        "`{}` is larger than any list of roles",
                        self.target
                    ))
                    .into());
                }
                Err(error) => {
                    let known = self.error.take();
                    return Err(known
                        .unwrap_or(BackupError::Other(error.to_string()))
                        .into());
                }
            }
        }
    }
}

/// [`Counted`] for code that blocks.
struct Blocking {
    handle: Handle,
    counted: Counted,
}

impl Read for &mut Blocking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let handle = self.handle.clone();
        handle.block_on(self.counted.read(buffer))
    }
}

/// Unpacks all objects of a snapshot into a folder as files: decrypted and decompressed. Their names.
pub async fn to_folder(
    target: &Target,
    key: Option<Arc<Key>>,
    manifest: &Manifest,
    folder: &Path,
    events: &Arc<dyn Events>,
) -> Result<Vec<String>, RestoreError> {
    use tokio::io::AsyncWriteExt as _;
    crate::files::create_folder(folder, 0o700)?;
    let mut names = Vec::new();
    for object in &manifest.objects {
        let name = object.name.strip_suffix(".age").unwrap_or(&object.name);
        let name = name.strip_suffix(".zst").unwrap_or(name);
        let path = folder.join(name);
        let reading = reader::open_with(target, key.clone(), manifest, object).await?;
        let mut counted = Counted::new(reading, name.to_owned(), object.plain_bytes, events);
        let part = folder.join(format!(".{name}.part"));
        let written = async {
            let mut options = tokio::fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&part).await?;
            let mut buffer = vec![0; 1 << 16];
            loop {
                let count = counted.read(&mut buffer).await?;
                if count == 0 {
                    break;
                }
                file.write_all(&buffer[..count]).await?;
            }
            file.sync_all().await?;
            tokio::fs::rename(&part, &path).await
        }
        .await;
        if let Err(error) = written {
            let _ = tokio::fs::remove_file(&part).await;
            return Err(match counted.error.take() {
                Some(error) => error.into(),
                None => FileError::of("write", &path)(error).into(),
            });
        }
        names.push(name.to_owned());
    }
    let path = folder.join(crate::backup::manifest::MANIFEST);
    crate::files::write_atomic(&path, &manifest.to_bytes(), 0o600)?;
    Ok(names)
}
