//! Snapshots for tests, written by the code that writes real ones.
#![allow(
    dead_code,
    reason = "each test file includes this module and uses a part of it"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use summoner::backup::destination::Target;
use summoner::backup::manifest::{
    Definition, Kind, Manifest, Role, SCHEMA_VERSION, SnapshotId, Status,
};
use summoner::backup::writer::{Compression, SnapshotWriter};
use summoner::events::Silent;
use summoner::storage::Storage;
use summoner::storage::local::Dir;

/// Name of the project of all these snapshots.
pub const PROJECT: &str = "example.org";

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A destination without encryption.
pub fn target(name: &str, storage: impl Storage + 'static) -> Arc<Target> {
    Arc::new(Target {
        name: name.to_owned(),
        storage: Arc::new(storage),
        encryption: None,
    })
}

/// A folder as a destination, as config.yml would open it.
pub fn folder(name: &str, path: &Path) -> Arc<Target> {
    target(name, Dir::new(path))
}

/// A manifest without objects.
pub fn manifest(minion: &str, kind: Kind, started: Timestamp) -> Manifest {
    Manifest {
        schema_version: SCHEMA_VERSION,
        id: SnapshotId::new(started),
        run: "01ARZ3NDEKTSV4RRFFQ69G5FAV".into(),
        project: PROJECT.into(),
        minion: minion.into(),
        kind,
        status: Status::Complete,
        started,
        finished: started,
        slot: started,
        timezone: "Europe/Paris".into(),
        summoner: env!("CARGO_PKG_VERSION").into(),
        definition: Definition {
            template: minion.into(),
            version: "1.0.0".into(),
            domain: PROJECT.into(),
            images: BTreeMap::new(),
            ..Definition::default()
        },
        databases: Vec::new(),
        objects: Vec::new(),
        outage: None,
        remarks: Vec::new(),
    }
}

/// Writes a snapshot of two objects.
pub async fn write(targets: &[Arc<Target>], manifest: Manifest) -> Manifest {
    let sql = format!(
        "-- dump of {}\n{}",
        manifest.minion,
        "SELECT 1;\n".repeat(500)
    );
    let objects = [
        ("app.sql", Role::Database, sql),
        ("globals.sql", Role::Globals, "CREATE ROLE app;\n".into()),
    ];
    write_objects(targets, manifest, &objects).await
}

/// Writes a snapshot; its manifest as the first destination has it.
pub async fn write_objects(
    targets: &[Arc<Target>],
    manifest: Manifest,
    objects: &[(&str, Role, String)],
) -> Manifest {
    let writer = SnapshotWriter::begin(
        targets.to_vec(),
        &manifest.project,
        &manifest.minion,
        manifest.kind,
        &manifest.id,
        Arc::new(Silent),
    );
    for (name, role, content) in objects {
        let mut object = writer.object(name, *role, "app", Compression::Zstd).await;
        object.write(Bytes::from(content.clone())).await.unwrap();
        object.finish().await.unwrap();
    }
    let mut outcomes = writer.commit(manifest).await;
    for outcome in &outcomes {
        assert!(outcome.result.is_ok(), "{outcome:?}");
    }
    outcomes.remove(0).result.unwrap()
}

/// A dump of `minion` in each of the destinations.
pub async fn dump(targets: &[Arc<Target>], minion: &str, started: &str) -> Manifest {
    write(targets, manifest(minion, Kind::Dump, at(started))).await
}
