//! Verifying: whatever is changed in a snapshot is found, named and written down; what could not be
//! looked at is neither good nor bad.

mod snapshot_support;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::json;
use snapshot_support::{PROJECT, at, dump, target};
use summoner::backup::catalog::{self, Entry};
use summoner::backup::destination::Target;
use summoner::backup::encryption;
use summoner::backup::manifest::Manifest;
use summoner::backup::verify::{Checked, Problem, data, structure};
use summoner::config::environment::Encryption;
use summoner::events::{Event, Events, Silent};
use summoner::storage::memory::Memory;

const NOW: &str = "2026-11-20T12:00:00Z";

async fn only(target: &Target) -> Entry {
    let mut listing = catalog::list(target, PROJECT, None).await.unwrap();
    assert_eq!((listing.entries.len(), listing.broken.len()), (1, 0));
    listing.entries.remove(0)
}

async fn read(target: &Target) -> Checked {
    let silent: Arc<dyn Events> = Arc::new(Silent);
    let (checked, unnoted) = data(target, &only(target).await, &silent, &|| at(NOW)).await;
    assert!(unnoted.is_none(), "{unnoted:?}");
    checked
}

fn damaged(checked: &Checked) -> Vec<(&str, &str)> {
    checked
        .problems
        .iter()
        .map(|(object, problem)| {
            assert!(matches!(problem, Problem::Damaged(_)), "{problem:?}");
            (object.as_str(), problem.text())
        })
        .collect()
}

fn key(manifest: &Manifest, name: &str) -> String {
    format!("{}{name}", manifest.prefix())
}

#[tokio::test]
async fn a_good_one_is_read_to_its_end_and_written_down() {
    let memory = Memory::new();
    let disk = target("disk", memory.clone());
    let manifest = dump(&[Arc::clone(&disk)], "blog", "2026-11-20T02:30:00Z").await;
    let entry = only(&disk).await;
    let checked = structure(&entry);
    assert!(checked.is_good());
    assert_eq!((checked.good, checked.bytes), (2, 0));
    // Looking at the structure is no proof, and writes nothing down.
    assert_eq!(entry.verdict(), None);

    let told = Arc::new(Told::default());
    let events: Arc<dyn Events> = Arc::clone(&told) as Arc<dyn Events>;
    let (checked, unnoted) = data(&disk, &entry, &events, &|| at(NOW)).await;
    assert!(checked.is_good() && unnoted.is_none());
    assert_eq!((checked.good, checked.sealed), (2, 0));
    assert_eq!(checked.bytes, manifest.stored_bytes());
    let told = told.0.lock().unwrap().clone();
    let last = told
        .iter()
        .rfind(|(target, ..)| target.ends_with("/app.sql.zst"))
        .unwrap();
    assert_eq!(last.1, manifest.objects[0].plain_bytes);

    let entry = only(&disk).await;
    assert_eq!(entry.verdict(), Some(true));
    let check = entry.latest_check().unwrap();
    assert_eq!((check.how.as_str(), check.at), ("read-data", at(NOW)));
    assert_eq!(check.details["objects"], json!(2));
    assert_eq!(check.details["not_decrypted"], json!(0));
}

#[derive(Default)]
struct Told(Mutex<Vec<(String, u64)>>);

impl Events for Told {
    fn event(&self, event: Event) {
        if let Event::Bytes { target, done, .. } = event {
            self.0.lock().unwrap().push((target, done));
        }
    }
}

#[tokio::test]
async fn what_is_missing_or_of_another_size_is_named() {
    let memory = Memory::new();
    let disk = target("disk", memory.clone());
    let manifest = dump(&[Arc::clone(&disk)], "blog", "2026-11-20T02:30:00Z").await;
    memory.tamper(&key(&manifest, "app.sql.zst"), "short");
    memory.lose(&key(&manifest, "globals.sql.zst"));
    let size = manifest.objects[0].stored_bytes;
    let expected = format!("it has 5 bytes, and had {size} when it was stored");
    let checked = structure(&only(&disk).await);
    assert_eq!(
        damaged(&checked),
        [
            ("app.sql.zst", expected.as_str()),
            ("globals.sql.zst", "it is not there")
        ]
    );
    assert_eq!(read(&disk).await.problems, checked.problems);
    let entry = only(&disk).await;
    assert_eq!(entry.verdict(), Some(false));
    assert_eq!(
        entry.latest_check().unwrap().details["problems"][1],
        json!({"object": "globals.sql.zst", "problem": "it is not there"})
    );
    // None of its objects in the manifest: nothing could ever be restored from it.
    let mut empty = manifest.clone();
    empty.objects.clear();
    memory.tamper(&key(&manifest, "manifest.json"), empty.to_bytes());
    assert!(!structure(&only(&disk).await).is_good());
}

/// Any byte of any object: the size is the same, the content is not.
#[tokio::test]
async fn any_changed_byte_is_found() {
    for encrypted in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new();
        let disk = Arc::new(Target {
            name: "disk".into(),
            storage: Arc::new(memory.clone()),
            encryption: encrypted.then(|| keys(folder.path(), "own")),
        });
        let manifest = dump(&[Arc::clone(&disk)], "blog", "2026-11-20T02:30:00Z").await;
        let object = &manifest.objects[1];
        let key = key(&manifest, &object.name);
        let content = memory.objects()[&key].clone();
        for at in (0..content.len()).step_by(7).chain([content.len() - 1]) {
            let mut spoiled = content.to_vec();
            spoiled[at] ^= 0x20;
            memory.tamper(&key, spoiled);
            assert!(structure(&only(&disk).await).is_good());
            let checked = read(&disk).await;
            let found = damaged(&checked);
            assert_eq!(found.len(), 1, "byte {at}");
            assert_eq!(found[0].0, object.name, "byte {at}");
            for check in memory
                .objects()
                .into_keys()
                .filter(|k| k.contains("/verified-"))
            {
                memory.lose(&check);
            }
        }
        memory.tamper(&key, content);
        assert!(read(&disk).await.is_good());
    }
}

/// The manifest itself vouches for bytes that no tool can unpack.
#[tokio::test]
async fn what_cannot_be_unpacked_is_found_although_the_sum_is_right() {
    use sha2::Digest as _;
    let memory = Memory::new();
    let disk = target("disk", memory.clone());
    let mut manifest = dump(&[Arc::clone(&disk)], "blog", "2026-11-20T02:30:00Z").await;
    let content = memory.objects()[&key(&manifest, "app.sql.zst")].clone();
    let cut = content.slice(..content.len() - 3);
    let sum: Vec<String> = sha2::Sha256::digest(&cut)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let object = &mut manifest.objects[0];
    object.stored_bytes = cut.len() as u64;
    object.sha256 = sum.concat();
    memory.tamper(&key(&manifest, "app.sql.zst"), cut);
    memory.tamper(&key(&manifest, "manifest.json"), manifest.to_bytes());
    let checked = read(&disk).await;
    assert_eq!(damaged(&checked)[0].0, "app.sql.zst");
    assert_eq!(only(&disk).await.verdict(), Some(false));
}

fn keys(folder: &Path, name: &str) -> Encryption {
    let (identity, recipient) = encryption::generate();
    let (public, private) = (folder.join(format!("{name}.pub")), folder.join(name));
    fs::write(&public, format!("{recipient}\n")).unwrap();
    fs::write(&private, format!("{}\n", identity.expose())).unwrap();
    Encryption::Recipients {
        file: public,
        identity: Some(private),
    }
}

#[tokio::test]
async fn without_the_key_bytes_are_hashed_and_with_a_wrong_one_nothing_is_claimed() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::new();
    let with = |encryption| {
        Arc::new(Target {
            name: "offsite".into(),
            storage: Arc::new(memory.clone()),
            encryption,
        })
    };
    let own = keys(folder.path(), "own");
    let Encryption::Recipients { file, .. } = own.clone() else {
        unreachable!()
    };
    dump(&[with(Some(own.clone()))], "blog", "2026-11-20T02:30:00Z").await;
    let checked = read(&with(Some(own))).await;
    assert!(checked.is_good() && checked.sealed == 0, "{checked:?}");

    let absent = folder.path().join("nowhere");
    for identity in [None, Some(absent)] {
        let file = file.clone();
        let checked = read(&with(Some(Encryption::Recipients { file, identity }))).await;
        assert!(checked.is_good());
        assert_eq!((checked.good, checked.sealed), (2, 2));
    }
    assert_eq!(read(&with(None)).await.sealed, 2);
    let before = memory.objects().len();
    let checked = read(&with(Some(keys(folder.path(), "other")))).await;
    assert!(
        checked
            .problems
            .iter()
            .all(|(_, p)| matches!(p, Problem::WrongKey(_))),
        "{checked:?}"
    );
    assert_eq!(checked.problems.len(), 2);
    assert_eq!(memory.objects().len(), before, "nothing is written down");
}

#[tokio::test]
async fn what_could_not_be_read_is_neither_good_nor_bad() {
    let memory = Memory::new();
    let disk = target("disk", memory.clone());
    dump(&[Arc::clone(&disk)], "blog", "2026-11-20T02:30:00Z").await;
    let entry = only(&disk).await;
    let silent: Arc<dyn Events> = Arc::new(Silent);
    for broken_off in [false, true] {
        if broken_off {
            memory.lose_answer_at(1);
        } else {
            memory.fail_at(1);
        }
        let (checked, unnoted) = data(&disk, &entry, &silent, &|| at(NOW)).await;
        assert!(unnoted.is_none());
        assert_eq!(checked.problems.len(), 1, "{checked:?}");
        assert!(
            matches!(checked.problems[0].1, Problem::Unread(_)),
            "{checked:?}"
        );
    }
    assert_eq!(only(&disk).await.verdict(), None);
    // Good, and it could not be written down: said, and not mixed up with damage.
    memory.fail_at(3);
    let (checked, unnoted) = data(&disk, &entry, &silent, &|| at(NOW)).await;
    assert!(checked.is_good() && unnoted.is_some());
    assert!(
        disk.storage
            .stat(&key(&entry.manifest, "manifest.json"))
            .await
            .unwrap()
            .is_some()
    );
}
