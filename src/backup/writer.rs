//! One snapshot on its way to several destinations at once.
//!
//! Objects may be finished while the snapshot is not: only the manifest, written last, makes it one.
//! A destination that has failed once is out for this snapshot; the others go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::backup::destination::Target;
use crate::backup::encryption::Seal;
use crate::backup::error::BackupError;
use crate::backup::manifest::{
    Kind, MANIFEST, Manifest, ObjectRecord, Role, SnapshotId, snapshot_prefix,
};
pub use crate::backup::pipeline::Compression;
use crate::backup::pipeline::{self, PIECE, Piece, QUEUE, Stored};
use crate::events::{Event, Events};

/// Bytes between two [`Event::Bytes`] of an object.
const TELL_EVERY: u64 = 1024 * 1024;
/// How long [`SnapshotWriter::abort`] waits for uploads to be taken back.
const ABORT_PATIENCE: Duration = Duration::from_secs(30);

/// What became of a snapshot in one destination.
#[derive(Debug)]
pub struct DestinationOutcome {
    /// Its name.
    pub destination: String,
    /// The manifest as it lies there, or why there is none.
    pub result: Result<Manifest, BackupError>,
}

/// A destination of a snapshot.
struct Slot {
    target: Arc<Target>,
    seal: OnceLock<Seal>,
    failed: AtomicBool,
    error: Mutex<Option<BackupError>>,
    finished: Mutex<Vec<ObjectRecord>>,
    /// Names of all objects that are visible, also of those whose writer was dropped at its end.
    visible: Mutex<Vec<String>>,
}

impl Slot {
    fn new(target: Arc<Target>) -> Self {
        Self {
            target,
            seal: OnceLock::new(),
            failed: AtomicBool::new(false),
            error: Mutex::new(None),
            finished: Mutex::new(Vec::new()),
            visible: Mutex::new(Vec::new()),
        }
    }

    fn alive(&self) -> bool {
        !self.failed.load(Ordering::Acquire)
    }

    /// Reads the key at the first object. Blocks.
    fn seal(&self) -> Result<Option<&Seal>, BackupError> {
        let Some(encryption) = &self.target.encryption else {
            return Ok(None);
        };
        if self.seal.get().is_none() {
            let _ = self.seal.set(Seal::of(encryption)?);
        }
        Ok(self.seal.get())
    }
}

struct Inner {
    slots: Vec<Arc<Slot>>,
    prefix: String,
    minion: String,
    events: Arc<dyn Events>,
}

impl Inner {
    /// Puts a destination out; the first reason counts.
    fn fail(&self, slot: &Slot, error: BackupError) {
        if slot.failed.swap(true, Ordering::AcqRel) {
            return;
        }
        if self.slots.iter().any(|s| s.alive()) {
            self.events.event(Event::Warning(format!(
                "`{}` gets no snapshot of `{}`: {error}; the other destinations go on",
                slot.target.name, self.minion
            )));
        }
        *lock(&slot.error) = Some(error);
    }

    fn all_failed(&self) -> BackupError {
        let reasons: Vec<String> = self
            .slots
            .iter()
            .map(|slot| match &*lock(&slot.error) {
                Some(error) => format!("`{}`: {error}", slot.target.name),
                None => format!("`{}`: given up", slot.target.name),
            })
            .collect();
        BackupError::Other(format!(
            "no destination takes it any more; {}",
            reasons.join("; ")
        ))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One snapshot on its way.
pub struct SnapshotWriter {
    inner: Arc<Inner>,
    /// Every task of an object holds a clone: when none is left, nothing is under way.
    busy: mpsc::Sender<()>,
    idle: mpsc::Receiver<()>,
}

impl SnapshotWriter {
    /// Begins; nothing is written yet.
    #[must_use]
    pub fn begin(
        targets: Vec<Arc<Target>>,
        project: &str,
        minion: &str,
        kind: Kind,
        id: &SnapshotId,
        events: Arc<dyn Events>,
    ) -> Self {
        let (busy, idle) = mpsc::channel(1);
        Self {
            inner: Arc::new(Inner {
                slots: targets
                    .into_iter()
                    .map(|t| Arc::new(Slot::new(t)))
                    .collect(),
                prefix: snapshot_prefix(project, minion, kind, id),
                minion: minion.to_owned(),
                events,
            }),
            busy,
            idle,
        }
    }

    /// Whether a destination is left that takes anything.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.inner.slots.iter().any(|s| s.alive())
    }

    /// Begins an object in all destinations; several may be under way. `name` is without the
    /// endings `.zst` and `.age`, which are added as they apply.
    #[expect(
        clippy::unused_async,
        reason = "a limit of objects under way would be waited for here"
    )]
    pub async fn object(
        &self,
        name: &str,
        role: Role,
        of: &str,
        compression: Compression,
    ) -> ObjectWriter {
        self.object_where(name, role, of, compression, |_| true)
    }

    /// The same in those destinations only of which `wanted` is true.
    #[must_use]
    pub fn object_where(
        &self,
        name: &str,
        role: Role,
        of: &str,
        compression: Compression,
        wanted: impl Fn(&Target) -> bool,
    ) -> ObjectWriter {
        let name = match compression {
            Compression::None => name.to_owned(),
            Compression::Zstd => format!("{name}.zst"),
        };
        let (input, pieces) = mpsc::channel(QUEUE);
        let mut entries = Vec::new();
        let mut lanes = Vec::new();
        for slot in &self.inner.slots {
            if !slot.alive() || !wanted(&slot.target) {
                continue;
            }
            let (entry, pieces) = mpsc::channel(QUEUE);
            entries.push(entry);
            let lane = lane(
                Arc::clone(&self.inner),
                Arc::clone(slot),
                name.clone(),
                pieces,
                self.busy.clone(),
            );
            lanes.push((Arc::clone(slot), tokio::spawn(lane)));
        }
        let nobody = lanes.is_empty() && self.inner.slots.iter().any(|s| wanted(&s.target));
        let stage = spawn_blocking(move || pipeline::compress(compression, pieces, entries));
        ObjectWriter {
            inner: Arc::clone(&self.inner),
            role,
            of: of.to_owned(),
            name,
            input: (!nobody).then_some(input),
            stage,
            lanes,
            plain: 0,
            told: 0,
        }
    }

    /// Writes the manifest in every destination that has everything, and takes back what lies in
    /// the others. `manifest.objects` is filled in here, for each destination its own.
    pub async fn commit(self, manifest: Manifest) -> Vec<DestinationOutcome> {
        let Self {
            inner,
            busy,
            mut idle,
        } = self;
        drop(busy);
        // An object that is still under way would be missing in the manifest.
        let _ = tokio::time::timeout(ABORT_PATIENCE, idle.recv()).await;
        join_all(inner.slots.iter().map(|slot| {
            let mut manifest = manifest.clone();
            let inner = &inner;
            async move {
                let result = if slot.alive() {
                    manifest.objects.clone_from(&lock(&slot.finished));
                    manifest.objects.sort_by(|a, b| a.name.cmp(&b.name));
                    write_manifest(&inner.prefix, slot, &manifest)
                        .await
                        .map(|()| manifest)
                } else {
                    Err(lock(&slot.error)
                        .take()
                        .unwrap_or_else(|| BackupError::Other("given up".into())))
                };
                if result.is_err() {
                    take_back(&inner.prefix, slot).await;
                }
                DestinationOutcome {
                    destination: slot.target.name.clone(),
                    result,
                }
            }
        }))
        .await
    }

    /// Takes back everything that was finished, in all destinations. Objects under way are waited
    /// for: drop or abort their writers first.
    pub async fn abort(self) {
        let Self {
            inner,
            busy,
            mut idle,
        } = self;
        drop(busy);
        for slot in &inner.slots {
            slot.failed.store(true, Ordering::Release);
        }
        let _ = tokio::time::timeout(ABORT_PATIENCE, idle.recv()).await;
        join_all(
            inner
                .slots
                .iter()
                .map(|slot| take_back(&inner.prefix, slot)),
        )
        .await;
    }
}

async fn write_manifest(prefix: &str, slot: &Slot, manifest: &Manifest) -> Result<(), BackupError> {
    let storage = &slot.target.storage;
    let key = format!("{prefix}{MANIFEST}");
    storage
        .put(&key, manifest.to_bytes().into())
        .await
        .map_err(BackupError::from)
}

/// Deletes what was finished. The manifest first: its answer may have been lost and not itself, and
/// while it is there the objects must be.
async fn take_back(prefix: &str, slot: &Slot) {
    let storage = &slot.target.storage;
    if storage
        .delete(&format!("{prefix}{MANIFEST}"))
        .await
        .is_err()
    {
        return;
    }
    let names = std::mem::take(&mut *lock(&slot.visible));
    for name in names {
        // What stays has no manifest: no snapshot, only litter.
        let _ = storage.delete(&format!("{prefix}{name}")).await;
    }
}

/// An object on its way into one destination: encrypts, uploads. Under which name it lies there.
async fn lane(
    inner: Arc<Inner>,
    slot: Arc<Slot>,
    name: String,
    pieces: mpsc::Receiver<Piece>,
    busy: mpsc::Sender<()>,
) -> Option<(String, Stored)> {
    let (name, pieces, sealing) = if slot.target.encryption.is_some() {
        let (output, sealed) = mpsc::channel(QUEUE);
        let own = Arc::clone(&slot);
        let sealing = spawn_blocking(move || match own.seal()? {
            Some(seal) => pipeline::encrypt(seal, pieces, &output),
            None => Err(BackupError::Other("no key".into())),
        });
        (format!("{name}.age"), sealed, Some(sealing))
    } else {
        (name, pieces, None)
    };
    let key = format!("{}{name}", inner.prefix);
    let given_up = || !slot.alive();
    let delivered = pipeline::deliver(&slot.target.storage, &key, pieces, given_up).await;
    // A key that is none explains why nothing arrived.
    let sealed = match sealing {
        Some(sealing) => sealing
            .await
            .unwrap_or_else(|_| Err(BackupError::Other("failed to encrypt".into()))),
        None => Ok(()),
    };
    if let Ok(Some(_)) = delivered {
        lock(&slot.visible).push(name.clone());
    }
    drop(busy);
    match (sealed, delivered) {
        (Err(error), _) | (Ok(()), Err(error)) => {
            inner.fail(&slot, error);
            None
        }
        (Ok(()), Ok(stored)) => stored.map(|stored| (name, stored)),
    }
}

/// The task of one destination, which gives the name and size of what lies there.
type Lane = (Arc<Slot>, JoinHandle<Option<(String, Stored)>>);

/// An object on its way. Dropping it gives it up: it appears nowhere.
pub struct ObjectWriter {
    inner: Arc<Inner>,
    name: String,
    role: Role,
    of: String,
    input: Option<mpsc::Sender<Piece>>,
    stage: JoinHandle<std::io::Result<()>>,
    lanes: Vec<Lane>,
    plain: u64,
    told: u64,
}

impl ObjectWriter {
    /// Takes the next bytes; waits while the slowest destination is behind. An error only when
    /// every destination has failed.
    pub async fn write(&mut self, mut chunk: Bytes) -> Result<(), BackupError> {
        self.plain += chunk.len() as u64;
        while !chunk.is_empty() {
            let piece = chunk.split_to(chunk.len().min(PIECE));
            let sent = match &self.input {
                Some(input) => input.send(Piece::Data(piece)).await.is_ok(),
                None => false,
            };
            if !sent {
                self.input = None;
                // Their reasons.
                for (_, lane) in self.lanes.drain(..) {
                    let _ = lane.await;
                }
                return Err(self.inner.all_failed());
            }
        }
        if self.plain >= self.told + TELL_EVERY {
            self.tell();
        }
        Ok(())
    }

    fn tell(&mut self) {
        self.told = self.plain;
        self.inner.events.event(Event::Bytes {
            target: format!("{}/{}", self.inner.minion, self.of),
            done: self.plain,
            total: None,
        });
    }

    /// Name in a destination without encryption.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes the object whole in every destination that is left; its plain bytes. Only to be
    /// called when the source has proved itself. An error when every destination has failed.
    pub async fn finish(mut self) -> Result<u64, BackupError> {
        self.tell();
        let Some(input) = self.input.take() else {
            return Err(self.inner.all_failed());
        };
        let _ = input.send(Piece::End).await;
        drop(input);
        let compressed = (&mut self.stage).await;
        let mut stored = self.lanes.is_empty();
        for (slot, lane) in self.lanes.drain(..) {
            let Ok(Some((name, object))) = lane.await else {
                // Not told why: the stage before it has given up.
                let error = match &compressed {
                    Ok(Err(error)) => BackupError::Other(format!("failed to compress: {error}")),
                    _ => BackupError::Other("the upload ended in the middle".into()),
                };
                self.inner.fail(&slot, error);
                continue;
            };
            // Another object may have failed here meanwhile; noted all the same, to be taken back.
            stored |= slot.alive();
            lock(&slot.finished).push(ObjectRecord {
                name,
                role: self.role,
                of: self.of.clone(),
                plain_bytes: self.plain,
                stored_bytes: object.bytes,
                sha256: object.sha256,
            });
        }
        if stored {
            Ok(self.plain)
        } else {
            Err(self.inner.all_failed())
        }
    }

    /// Gives it up, and waits until nothing of it is under way.
    pub async fn abort(mut self) {
        self.input = None;
        let _ = (&mut self.stage).await;
        for (_, lane) in self.lanes.drain(..) {
            let _ = lane.await;
        }
    }
}
