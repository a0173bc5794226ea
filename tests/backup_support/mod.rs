//! Snapshots in destinations in memory.

#![allow(dead_code, reason = "each test binary uses its part of this")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use summoner::backup::destination::Target;
use summoner::backup::encryption;
use summoner::backup::error::BackupError;
use summoner::backup::manifest::{
    Definition, Kind, Manifest, ObjectRecord, Role, SCHEMA_VERSION, SnapshotId, Status,
};
use summoner::backup::reader;
use summoner::backup::writer::{Compression, DestinationOutcome, SnapshotWriter};
use summoner::config::environment::Encryption;
use summoner::events::{Event, Events, Silent};
use summoner::storage::memory::Memory;
use tokio::io::AsyncReadExt as _;

/// A destination in memory.
pub struct Side {
    pub memory: Memory,
    pub target: Arc<Target>,
}

impl Side {
    pub fn new(name: &str, encryption: Option<Encryption>) -> Self {
        let memory = Memory::new();
        let target = Arc::new(Target {
            name: name.to_owned(),
            storage: Arc::new(memory.clone()),
            encryption,
        });
        Self { memory, target }
    }

    pub fn plain(name: &str) -> Self {
        Self::new(name, None)
    }

    pub fn sealed(name: &str, encryption: Encryption) -> Self {
        Self::new(name, Some(encryption))
    }

    pub fn begin(&self) -> (SnapshotWriter, Manifest) {
        begin(std::slice::from_ref(self))
    }
}

/// Writes a new identity and its recipients file.
pub fn to_recipient(folder: &Path, name: &str) -> Encryption {
    let (identity, recipient) = encryption::generate();
    let (file, own) = (folder.join(name), folder.join(format!("{name}.key")));
    std::fs::write(&file, format!("{recipient}\n")).unwrap();
    std::fs::write(&own, format!("{}\n", identity.expose())).unwrap();
    Encryption::Recipients {
        file,
        identity: Some(own),
    }
}

/// A time.
pub fn seconds(since_1970: i64) -> Timestamp {
    Timestamp::from_second(since_1970).unwrap()
}

/// Bytes that do not compress, always the same.
pub fn body(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A manifest of the dump of `blog` in project `ours`, with a new id.
pub fn manifest() -> Manifest {
    let now = seconds(1_800_000_000);
    Manifest {
        schema_version: SCHEMA_VERSION,
        id: SnapshotId::new(now),
        run: "run".into(),
        project: "ours".into(),
        minion: "blog".into(),
        kind: Kind::Dump,
        status: Status::Complete,
        started: now,
        finished: now,
        slot: now,
        timezone: "UTC".into(),
        summoner: "test".into(),
        definition: Definition::default(),
        databases: Vec::new(),
        objects: Vec::new(),
        outage: None,
        remarks: Vec::new(),
    }
}

/// Begins a snapshot of `blog`, and its manifest.
pub fn begin(sides: &[Side]) -> (SnapshotWriter, Manifest) {
    let manifest = manifest();
    (begin_as(sides, &manifest.id), manifest)
}

fn begin_as(sides: &[Side], id: &SnapshotId) -> SnapshotWriter {
    SnapshotWriter::begin(
        sides.iter().map(|s| Arc::clone(&s.target)).collect(),
        "ours",
        "blog",
        Kind::Dump,
        id,
        Arc::new(Silent),
    )
}

/// A whole snapshot of these objects.
pub async fn snapshot(
    sides: &[Side],
    objects: &[(&str, Compression, &[u8])],
) -> Vec<DestinationOutcome> {
    let manifest = manifest();
    let writer = begin_as(sides, &manifest.id);
    for (name, compression, data) in objects {
        let mut object = writer
            .object(name, Role::Database, name, *compression)
            .await;
        let mut failed = false;
        for piece in data.chunks(100_000) {
            if object.write(piece.to_vec().into()).await.is_err() {
                failed = true;
                break;
            }
        }
        if failed {
            object.abort().await;
        } else {
            let _ = object.finish().await;
        }
    }
    writer.commit(manifest).await
}

/// The manifest that a destination has got.
pub fn committed<'a>(outcomes: &'a [DestinationOutcome], name: &str) -> &'a Manifest {
    let outcome = outcomes.iter().find(|o| o.destination == name).unwrap();
    outcome
        .result
        .as_ref()
        .unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The plain bytes of the first object.
pub async fn read_all(target: &Target, manifest: &Manifest) -> Result<Vec<u8>, BackupError> {
    read_object(target, manifest, &manifest.objects[0]).await
}

/// The plain bytes of an object.
pub async fn read_object(
    target: &Target,
    manifest: &Manifest,
    object: &ObjectRecord,
) -> Result<Vec<u8>, BackupError> {
    let mut plain = Vec::new();
    reader::open(target, manifest, object)
        .await?
        .read_to_end(&mut plain)
        .await
        .map_err(BackupError::of_io)?;
    Ok(plain)
}

/// What was heard of bytes: target and count.
pub type Heard = Arc<Mutex<Vec<(String, u64)>>>;

struct Listener(Heard);

impl Events for Listener {
    fn event(&self, event: Event) {
        if let Event::Bytes { target, done, .. } = event {
            self.0.lock().unwrap().push((target, done));
        }
    }
}

/// Somebody who listens.
pub fn events() -> (Arc<dyn Events>, Heard) {
    let heard = Heard::default();
    (Arc::new(Listener(Arc::clone(&heard))), heard)
}
