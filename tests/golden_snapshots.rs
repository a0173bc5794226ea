//! Snapshots of format 1, made once and kept in the repository: every version has to list, verify
//! and read them. They are never changed.
//!
//! Their databases are real: `pg_dump -Fc` and `pg_dumpall` 17.12, `mariadb-dump` 11.8.6.
//! `make_the_set` wrote them with the code of the day.

mod snapshot_support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use snapshot_support::{PROJECT, at};
use summoner::backup::catalog::{self, Entry, Verification};
use summoner::backup::destination::Target;
use summoner::backup::manifest::{DatabaseRecord, Kind, Manifest, Outage, Role, Status};
use summoner::backup::writer::{Compression, SnapshotWriter};
use summoner::backup::{pin, reader, verify};
use summoner::config::environment::Encryption;
use summoner::events::{Events, Silent};
use summoner::storage::local::Dir;
use tokio::io::AsyncReadExt as _;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The key is part of the set: it opens nothing else.
fn encryption() -> Encryption {
    Encryption::Recipients {
        file: fixtures().join("snapshots-recipients.txt"),
        identity: Some(fixtures().join("snapshots-identity.txt")),
    }
}

fn destination(root: &Path, encryption: Option<Encryption>) -> Arc<Target> {
    Arc::new(Target {
        name: "golden".into(),
        storage: Arc::new(Dir::new(root)),
        encryption,
    })
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn entries(target: &Target) -> BTreeMap<String, Entry> {
    let listing = catalog::list(target, PROJECT, None).await.unwrap();
    assert_eq!((listing.broken.len(), listing.remains.len()), (0, 0));
    let all = listing.entries.into_iter();
    all.map(|e| (e.manifest.minion.clone(), e)).collect()
}

#[tokio::test]
async fn format_1_is_listed() {
    let target = destination(&fixtures().join("snapshots"), None);
    let entries = entries(&target).await;
    let found: Vec<_> = entries
        .values()
        .map(|e| {
            let m = &e.manifest;
            (m.minion.as_str(), m.kind, m.status, e.verdict(), e.pinned)
        })
        .collect();
    assert_eq!(
        found,
        [
            ("files", Kind::Backup, Status::Suspect, None, false),
            ("shop", Kind::Dump, Status::Complete, Some(false), false),
            ("wiki", Kind::Dump, Status::Complete, Some(true), true),
        ]
    );
    let wiki = &entries["wiki"].manifest;
    assert_eq!(wiki.started, at("2026-11-20T01:30:05Z"));
    assert_eq!(
        (wiki.slot, wiki.timezone.as_str()),
        (at("2026-11-20T01:30:00Z"), "Europe/Paris")
    );
    assert_eq!(wiki.databases[0].client_version, "17.12");
    assert_eq!(wiki.databases[0].tables, Some(1));
    let files = &entries["files"].manifest;
    assert_eq!(files.outage.as_ref().unwrap().downtime_ms, 2150);
    assert_eq!(files.remarks, ["`app` was killed after 10 s"]);
}

/// SHA-256 of the plain bytes, and what is in them.
const PLAIN: [(&str, &str, &str, &str); 6] = [
    (
        "files",
        "content.tar.zst",
        "b2ff1ef7ab98da807beaeb9d36de434181770e35601c4d95327d8c8f3f8d6754",
        "a file\n",
    ),
    (
        "files",
        "definition.tar.zst",
        "17c69b7e0a8c3133220db2cca42377e0e1dffb18a00756e763c4ce86e02a39d9",
        "use: mediawiki",
    ),
    (
        "shop",
        "shop.sql.zst.age",
        "153f573918f003b181da482a3e2ec9756e779bd277c5cc2038142c3f0bb5cd18",
        "-- Dump completed on 2026-11-20",
    ),
    (
        "wiki",
        "definition.tar.zst",
        "17c69b7e0a8c3133220db2cca42377e0e1dffb18a00756e763c4ce86e02a39d9",
        "use: mediawiki",
    ),
    (
        "wiki",
        "globals.sql.zst",
        "d15f512fbea3a090af7f5cedea4c37880a6a96262527b217eaa836fb04152859",
        "CREATE ROLE wiki;",
    ),
    (
        "wiki",
        "wiki.dump",
        "d6506bc2cefdebe271987719a819fc6a46c097f342a6810b3475b387282fe320",
        "PGDMP",
    ),
];

#[tokio::test]
async fn format_1_is_read() {
    let target = destination(&fixtures().join("snapshots"), Some(encryption()));
    let entries = entries(&target).await;
    let mut seen = 0;
    for (minion, object, sum, text) in PLAIN {
        let manifest = &entries[minion].manifest;
        let record = manifest.objects.iter().find(|o| o.name == object).unwrap();
        let mut plain = Vec::new();
        let mut reading = reader::open(&target, manifest, record).await.unwrap();
        reading.read_to_end(&mut plain).await.unwrap();
        let found: Vec<String> = Sha256::digest(&plain)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let found = found.concat();
        assert_eq!(found, sum, "{minion}/{object}");
        assert!(
            plain.windows(text.len()).any(|w| w == text.as_bytes()),
            "{minion}/{object}"
        );
        assert_eq!(record.plain_bytes, plain.len() as u64);
        seen += 1;
    }
    let all: usize = entries.values().map(|e| e.manifest.objects.len()).sum();
    assert_eq!(seen, all, "every object is read here");
}

#[tokio::test]
async fn format_1_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    copy(&fixtures().join("snapshots"), folder.path());
    let target = destination(folder.path(), Some(encryption()));
    let silent: Arc<dyn Events> = Arc::new(Silent);
    for entry in entries(&target).await.values() {
        assert!(verify::structure(entry).is_good());
        let now = || at("2027-01-01T00:00:00Z");
        let (checked, unnoted) = verify::data(&target, entry, &silent, &now).await;
        assert!(checked.is_good() && unnoted.is_none(), "{checked:?}");
        assert_eq!(checked.sealed, 0);
    }
    let verdicts: Vec<_> = entries(&target)
        .await
        .values()
        .map(Entry::verdict)
        .collect();
    // The drill that `shop` failed is not undone by reading it.
    assert_eq!(verdicts, [Some(true), Some(false), Some(true)]);
}

/// Only for a new set, of a new format: `SUMMONER_GOLDEN=FOLDER cargo test --test golden_snapshots --
/// --ignored`, where FOLDER holds `wiki.dump globals.sql shop.sql definition.tar content.tar` of real
/// databases.
#[tokio::test]
#[ignore = "writes the set anew; the one that is there is never changed"]
async fn make_the_set() {
    let source = PathBuf::from(std::env::var("SUMMONER_GOLDEN").expect("SUMMONER_GOLDEN"));
    let root = fixtures().join("snapshots");
    assert!(!root.exists(), "there is a set already");
    fs::create_dir_all(fixtures()).unwrap();
    let (identity, recipient) = summoner::backup::encryption::generate();
    let note = "# Of the snapshots beside it, for tests: it opens nothing else.\n";
    let identity = format!("{note}{}\n", identity.expose());
    fs::write(fixtures().join("snapshots-identity.txt"), identity).unwrap();
    fs::write(
        fixtures().join("snapshots-recipients.txt"),
        format!("{recipient}\n"),
    )
    .unwrap();
    let plain = destination(&root, None);
    let sealed = destination(&root, Some(encryption()));

    let mut wiki = manifest("wiki", Kind::Dump, "2026-11-20T01:30:05Z");
    wiki.slot = at("2026-11-20T01:30:00Z");
    wiki.databases = vec![database(
        "wiki.dump",
        "postgres",
        "wiki",
        "17.12",
        "pg_restore read all of it",
    )];
    let objects = [
        ("wiki.dump", Role::Database, "wiki", Compression::None),
        ("globals.sql", Role::Globals, "db", Compression::Zstd),
        (
            "definition.tar",
            Role::Definition,
            "wiki",
            Compression::Zstd,
        ),
    ];
    let wiki = write(&plain, wiki, &objects, &source).await;
    let mut shop = manifest("shop", Kind::Dump, "2026-11-20T01:30:09Z");
    shop.databases = vec![database(
        "shop.sql.zst.age",
        "mariadb",
        "shop",
        "11.8.6",
        "-- Dump completed",
    )];
    let objects = [("shop.sql", Role::Database, "shop", Compression::Zstd)];
    let shop = write(&sealed, shop, &objects, &source).await;
    let mut files = manifest("files", Kind::Backup, "2026-11-20T03:00:00Z");
    files.status = Status::Suspect;
    files.remarks = vec!["`app` was killed after 10 s".into()];
    files.outage = Some(Outage {
        method: "two_pass".into(),
        stopped: vec!["app".into()],
        were_stopped: vec!["cron".into()],
        downtime_ms: 2150,
        copy_ms: 310,
    });
    let objects = [
        ("content.tar", Role::Volume, "content", Compression::Zstd),
        (
            "definition.tar",
            Role::Definition,
            "files",
            Compression::Zstd,
        ),
    ];
    write(&plain, files, &objects, &source).await;

    for (manifest, how, good) in [
        (&wiki, "read-data", true),
        (&wiki, "drill", true),
        (&shop, "drill", false),
    ] {
        let verification = Verification {
            at: at("2026-11-21T05:00:00Z"),
            how: how.into(),
            good,
            details: serde_json::json!({"tables": 1}),
            summoner: "0.1.0".into(),
        };
        catalog::note_verified(&plain, manifest, &verification)
            .await
            .unwrap();
    }
    let entries = entries(&plain).await;
    pin::pin(&plain, &entries["wiki"], at("2026-11-21T06:00:00Z"))
        .await
        .unwrap();
}

fn manifest(minion: &str, kind: Kind, started: &str) -> Manifest {
    let mut manifest = snapshot_support::manifest(minion, kind, at(started));
    manifest.summoner = "0.1.0".into();
    manifest
}

fn database(object: &str, engine: &str, name: &str, version: &str, check: &str) -> DatabaseRecord {
    DatabaseRecord {
        service: "db".into(),
        engine: engine.into(),
        database: name.into(),
        object: object.into(),
        server_version: version.into(),
        client_version: version.into(),
        command: vec!["dump".into(), name.into()],
        exit_code: 0,
        end_check: check.into(),
        consistency: "snapshot".into(),
        transport: "stream".into(),
        tables: Some(1),
    }
}

async fn write(
    target: &Arc<Target>,
    manifest: Manifest,
    objects: &[(&str, Role, &str, Compression)],
    source: &Path,
) -> Manifest {
    let writer = SnapshotWriter::begin(
        vec![Arc::clone(target)],
        &manifest.project,
        &manifest.minion,
        manifest.kind,
        &manifest.id,
        Arc::new(Silent),
    );
    for (name, role, of, compression) in objects {
        let mut object = writer.object(name, *role, of, *compression).await;
        let content = fs::read(source.join(name)).unwrap();
        object.write(content.into()).await.unwrap();
        object.finish().await.unwrap();
    }
    writer.commit(manifest).await.remove(0).result.unwrap()
}
