//! One snapshot on its way to several destinations and back, on destinations in memory that fail
//! where the test says.

mod backup_support;

use std::sync::Arc;

use backup_support::{
    Side, body, committed, events, manifest, read_all, seconds, snapshot, to_recipient,
};
use bytes::Bytes;
use summoner::backup::destination::Target;
use summoner::backup::encryption::Key;
use summoner::backup::error::BackupError;
use summoner::backup::manifest::{Kind, MANIFEST, Manifest, Role, SnapshotId};
use summoner::backup::reader;
use summoner::backup::writer::{Compression, SnapshotWriter};
use summoner::config::environment::Encryption;
use summoner::storage::Storage as _;
use summoner::storage::memory::Memory;
use tokio::io::AsyncReadExt as _;

#[tokio::test]
async fn what_goes_in_comes_out_of_every_destination() {
    let folder = tempfile::tempdir().unwrap();
    let sides = [
        Side::plain("near"),
        Side::sealed("far", to_recipient(folder.path(), "far")),
    ];
    // Compresses well at first and not at all later.
    let mut data = vec![0; 3_000_000];
    data.extend(body(3_000_000));
    let outcomes = snapshot(&sides, &[("shop.sql", Compression::Zstd, &data)]).await;
    for (side, name) in sides.iter().zip(["shop.sql.zst", "shop.sql.zst.age"]) {
        let manifest = committed(&outcomes, &side.target.name);
        let object = &manifest.objects[0];
        assert_eq!(object.name, name);
        assert_eq!(object.plain_bytes, data.len() as u64);
        assert!(object.stored_bytes < object.plain_bytes);
        assert_eq!(read_all(&side.target, manifest).await.unwrap(), data);
        let stored = side.memory.objects();
        assert_eq!(stored.len(), 2, "{:?}", stored.keys());
        let there = Manifest::parse(&stored[&format!("{}{MANIFEST}", manifest.prefix())]).unwrap();
        assert_eq!(there, *manifest);
    }
    let plain = &sides[0].memory.objects()
        [&format!("{}shop.sql.zst", committed(&outcomes, "near").prefix())];
    assert_eq!(zstd::decode_all(&plain[..]).unwrap(), data);
}

#[tokio::test]
async fn an_empty_object_and_one_that_is_not_compressed_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let sides = [
        Side::plain("near"),
        Side::sealed("far", to_recipient(folder.path(), "far")),
    ];
    for (name, compression, data) in [
        ("none.sql", Compression::Zstd, Vec::new()),
        ("none.dump", Compression::None, Vec::new()),
        ("full.dump", Compression::None, body(700_001)),
    ] {
        let outcomes = snapshot(&sides, &[(name, compression, &data)]).await;
        for side in &sides {
            let manifest = committed(&outcomes, &side.target.name);
            assert_eq!(
                read_all(&side.target, manifest).await.unwrap(),
                data,
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn f02_nothing_is_visible_before_the_source_has_proved_itself() {
    let side = Side::plain("near");
    let (writer, _) = side.begin();
    let mut object = writer
        .object("shop.sql", Role::Database, "shop", Compression::Zstd)
        .await;
    object.write(body(5_000_000).into()).await.unwrap();
    assert!(side.memory.objects().is_empty());
    object.abort().await;
    assert!(side.memory.objects().is_empty());
    assert_eq!(side.memory.under_way(), 0);
    // A dropped one too.
    let mut object = writer
        .object("shop.sql", Role::Database, "shop", Compression::Zstd)
        .await;
    object.write(body(5_000_000).into()).await.unwrap();
    drop(object);
    writer.abort().await;
    assert!(side.memory.objects().is_empty());
    assert_eq!(side.memory.under_way(), 0);
}

#[tokio::test]
async fn f02_finished_objects_are_no_snapshot_and_are_taken_back() {
    let side = Side::plain("near");
    let (writer, _) = side.begin();
    let mut object = writer
        .object("a.sql", Role::Database, "a", Compression::Zstd)
        .await;
    object.write(body(100).into()).await.unwrap();
    object.finish().await.unwrap();
    let names: Vec<String> = side.memory.objects().into_keys().collect();
    assert!(
        names.len() == 1 && names[0].ends_with("/a.sql.zst"),
        "{names:?}"
    );
    writer.abort().await;
    assert!(side.memory.objects().is_empty());
}

/// A snapshot with two objects, all calls counted, then once for each call with that call failing.
#[tokio::test]
async fn f16_each_call_of_a_destination_may_fail_and_the_other_gets_its_snapshot() {
    let (one, two) = (body(600_000), body(10));
    let objects = [
        ("one.sql", Compression::Zstd, one.as_slice()),
        ("two.sql", Compression::None, two.as_slice()),
    ];
    let quiet = Side::plain("bad");
    snapshot(std::slice::from_ref(&quiet), &objects).await;
    let calls = quiet.memory.calls();
    assert!(calls > 8, "{calls}");
    for fault in [Memory::fail_at, Memory::lose_answer_at] {
        for at in 1..=calls {
            let sides = [Side::plain("good"), Side::plain("bad")];
            fault(&sides[1].memory, at);
            let outcomes = snapshot(&sides, &objects).await;
            let manifest = committed(&outcomes, "good");
            assert_eq!(read_all(&sides[0].target, manifest).await.unwrap(), one);
            let error = outcomes[1].result.as_ref().unwrap_err();
            assert!(matches!(error, BackupError::Storage(_)), "{at}: {error:?}");
            // Nothing that failed stays, let alone as a snapshot.
            let left = sides[1].memory.objects();
            assert!(left.is_empty(), "call {at}: {:?}", left.keys());
            // Where only the answer to its beginning was lost, nobody knows of the upload.
            sides[1].memory.sweep(seconds(4_000_000_000)).await.unwrap();
            assert_eq!(sides[1].memory.under_way(), 0, "call {at}");
        }
    }
}

#[tokio::test]
async fn f16_all_destinations_failed_is_told_while_writing_with_each_reason() {
    let sides = [Side::plain("near"), Side::plain("far")];
    sides[0].memory.unreachable(true);
    sides[1].memory.room(1_000_000);
    let (writer, manifest) = backup_support::begin(&sides);
    let mut object = writer
        .object("shop.dump", Role::Database, "shop", Compression::None)
        .await;
    let piece = Bytes::from(body(100_000));
    let mut written = 0;
    let error = loop {
        match object.write(piece.clone()).await {
            Ok(()) => written += 1,
            Err(error) => break error.to_string(),
        }
        assert!(written < 1000, "it never ends");
    };
    assert!(
        error.contains("`near`") && error.contains("`far`"),
        "{error}"
    );
    assert!(error.contains("room for 1000000 bytes"), "{error}");
    object.finish().await.unwrap_err();
    let mut object = writer
        .object("more.dump", Role::Database, "more", Compression::None)
        .await;
    object.write(piece).await.unwrap_err();
    let outcomes = writer.commit(manifest).await;
    assert!(outcomes.iter().all(|o| o.result.is_err()));
    assert!(sides.iter().all(|s| s.memory.objects().is_empty()));
}

/// Killed at every call: the next process sees a whole snapshot or none.
#[tokio::test]
async fn f02_killed_at_every_call_there_is_no_partial_snapshot() {
    let (one, two) = (body(600_000), body(10));
    let objects = [
        ("one.sql", Compression::Zstd, one.as_slice()),
        ("two.sql", Compression::None, two.as_slice()),
    ];
    let quiet = Side::plain("near");
    snapshot(std::slice::from_ref(&quiet), &objects).await;
    for at in 1..=quiet.memory.calls() + 1 {
        let side = Side::plain("near");
        side.memory.die_at(at);
        let outcomes = snapshot(std::slice::from_ref(&side), &objects).await;
        side.memory.revive();
        let visible = side.memory.objects();
        let manifests: Vec<_> = visible.keys().filter(|k| k.ends_with(MANIFEST)).collect();
        if at <= quiet.memory.calls() {
            assert!(manifests.is_empty(), "call {at}: {manifests:?}");
            assert!(outcomes[0].result.is_err());
        } else {
            assert_eq!(manifests.len(), 1);
            let manifest = Manifest::parse(&visible[manifests[0]]).unwrap();
            assert_eq!(read_all(&side.target, &manifest).await.unwrap(), one);
        }
        side.memory.sweep(seconds(4_000_000_000)).await.unwrap();
        assert_eq!(side.memory.under_way(), 0);
    }
}

/// The answer to the manifest was lost: it may lie there. Its objects must not be taken away from
/// under it when it cannot be deleted.
#[tokio::test]
async fn f02_a_manifest_that_cannot_be_taken_back_keeps_its_objects() {
    let side = Side::plain("near");
    let (writer, manifest) = side.begin();
    let data = body(1000);
    let mut object = writer
        .object("a.sql", Role::Database, "a", Compression::Zstd)
        .await;
    object.write(data.clone().into()).await.unwrap();
    object.finish().await.unwrap();
    side.memory.lose_answer_at(1);
    side.memory.refuse_deletes(true);
    let outcomes = writer.commit(manifest).await;
    assert!(outcomes[0].result.is_err());
    let visible = side.memory.objects();
    let key = visible.keys().find(|k| k.ends_with(MANIFEST)).unwrap();
    let manifest = Manifest::parse(&visible[key]).unwrap();
    assert_eq!(read_all(&side.target, &manifest).await.unwrap(), data);
}

#[tokio::test]
async fn f16_a_recipients_file_that_is_none_fails_its_destination_only() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recipients");
    std::fs::write(&file, "not a key\n").unwrap();
    let bad = Encryption::Recipients {
        file,
        identity: None,
    };
    let sides = [Side::sealed("far", bad), Side::plain("near")];
    let data = body(2_000_000);
    let outcomes = snapshot(&sides, &[("shop.sql", Compression::Zstd, &data)]).await;
    let error = outcomes[0].result.as_ref().unwrap_err();
    assert!(matches!(error, BackupError::BadKey(_)), "{error:?}");
    assert!(sides[0].memory.objects().is_empty());
    assert_eq!(
        read_all(&sides[1].target, committed(&outcomes, "near"))
            .await
            .unwrap(),
        data
    );
}

#[tokio::test]
async fn another_key_is_told_before_a_byte_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let side = Side::sealed("far", to_recipient(folder.path(), "far"));
    let outcomes = snapshot(
        std::slice::from_ref(&side),
        &[("a.sql", Compression::Zstd, b"x")],
    )
    .await;
    let manifest = committed(&outcomes, "far");
    let other = to_recipient(folder.path(), "other");
    let unable = [
        Some(other.clone()),
        None,
        Some(match to_recipient(folder.path(), "third") {
            Encryption::Recipients { file, .. } => Encryption::Recipients {
                file,
                identity: None,
            },
            other @ Encryption::Passphrase(_) => other,
        }),
    ];
    for encryption in unable {
        let target = Target {
            encryption,
            ..side.target.as_ref().clone()
        };
        let Err(error) = reader::open(&target, manifest, &manifest.objects[0]).await else {
            panic!("it was opened");
        };
        assert!(matches!(error, BackupError::WrongKey(_)), "{error:?}");
    }
    // The right one may be given by hand.
    let target = Target {
        encryption: None,
        ..side.target.as_ref().clone()
    };
    let key = Key::of("far", side.target.encryption.as_ref().unwrap()).unwrap();
    let mut plain = Vec::new();
    reader::open_with(&target, Some(Arc::new(key)), manifest, &manifest.objects[0])
        .await
        .unwrap()
        .read_to_end(&mut plain)
        .await
        .unwrap();
    assert_eq!(plain, b"x");
}

/// Cut, flipped, longer, replaced by another whole one: an error every time, with and without
/// encryption and compression.
#[tokio::test]
async fn damage_of_what_is_stored_is_never_a_clean_end() {
    let folder = tempfile::tempdir().unwrap();
    let sealed = to_recipient(folder.path(), "far");
    let data = body(1_200_000);
    for (encryption, compression) in [
        (None, Compression::None),
        (None, Compression::Zstd),
        (Some(sealed.clone()), Compression::None),
        (Some(sealed), Compression::Zstd),
    ] {
        let side = Side::new("near", encryption);
        let objects = [("a.x", compression, data.as_slice())];
        let outcomes = snapshot(std::slice::from_ref(&side), &objects).await;
        let manifest = committed(&outcomes, "near");
        let key = format!("{}{}", manifest.prefix(), manifest.objects[0].name);
        let stored = side.memory.objects()[&key].to_vec();
        let other = committed(
            &snapshot(
                std::slice::from_ref(&side),
                &[("a.x", compression, b"small")],
            )
            .await,
            "near",
        )
        .clone();
        let other =
            side.memory.objects()[&format!("{}{}", other.prefix(), other.objects[0].name)].to_vec();
        let mut flipped = stored.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        let mut longer = stored.clone();
        longer.extend_from_slice(&other);
        let cuts = [0, 1, 21, stored.len() / 2, stored.len() - 1].map(|at| stored[..at].to_vec());
        for bad in cuts.into_iter().chain([flipped, longer, other]) {
            let length = bad.len();
            side.memory.tamper(&key, bad);
            let error = read_all(&side.target, manifest).await.unwrap_err();
            assert!(
                matches!(error, BackupError::Damaged(_)),
                "{compression:?} {length} of {}: {error:?}",
                stored.len()
            );
        }
        // The connection breaks in the middle.
        side.memory.tamper(&key, stored);
        side.memory.lose_answer_at(1);
        read_all(&side.target, manifest).await.unwrap_err();
        assert_eq!(read_all(&side.target, manifest).await.unwrap(), data);
    }
}

#[tokio::test]
async fn a_reader_that_is_dropped_in_the_middle_leaves_nothing_behind() {
    let side = Side::plain("near");
    let data = body(20_000_000);
    let outcomes = snapshot(
        std::slice::from_ref(&side),
        &[("a.sql", Compression::Zstd, &data)],
    )
    .await;
    let manifest = committed(&outcomes, "near");
    let mut reading = reader::open(&side.target, manifest, &manifest.objects[0])
        .await
        .unwrap();
    let mut some = [0; 1000];
    reading.read_exact(&mut some).await.unwrap();
    drop(reading);
    // The runtime of the test ends only when its blocking threads have.
}

#[tokio::test]
async fn several_objects_are_under_way_at_once_and_progress_is_told() {
    let (listener, heard) = events();
    let side = Side::plain("near");
    let id = SnapshotId::new(seconds(1_800_000_000));
    let writer = Arc::new(SnapshotWriter::begin(
        vec![Arc::clone(&side.target)],
        "ours",
        "blog",
        Kind::Dump,
        &id,
        listener,
    ));
    let tasks: Vec<_> = (0..4)
        .map(|n| {
            let writer = Arc::clone(&writer);
            tokio::spawn(async move {
                let of = format!("db{n}");
                let mut object = writer
                    .object(&format!("{of}.sql"), Role::Database, &of, Compression::Zstd)
                    .await;
                for _ in 0..8 {
                    object.write(body(300_000).into()).await.unwrap();
                }
                object.finish().await.unwrap()
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 2_400_000);
    }
    let writer = Arc::into_inner(writer).unwrap();
    let outcomes = writer.commit(Manifest { id, ..manifest() }).await;
    let names: Vec<_> = committed(&outcomes, "near")
        .objects
        .iter()
        .map(|o| o.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["db0.sql.zst", "db1.sql.zst", "db2.sql.zst", "db3.sql.zst"]
    );
    let heard = heard.lock().unwrap();
    for n in 0..4 {
        let target = format!("blog/db{n}");
        let done: Vec<u64> = heard
            .iter()
            .filter(|(t, _)| *t == target)
            .map(|(_, d)| *d)
            .collect();
        assert!(done.len() >= 3 && done.is_sorted(), "{done:?}");
        assert_eq!(done.last(), Some(&2_400_000));
    }
}

#[tokio::test]
async fn an_object_for_encrypted_destinations_only_is_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let sides = [
        Side::plain("near"),
        Side::sealed("far", to_recipient(folder.path(), "far")),
    ];
    let (writer, manifest) = backup_support::begin(&sides);
    for (content, encrypted) in [("open", false), ("secret", true)] {
        let mut object = writer.object_where(
            "definition.tar",
            Role::Definition,
            "",
            Compression::Zstd,
            |t| t.encryption.is_some() == encrypted,
        );
        object.write(Bytes::from(content)).await.unwrap();
        object.finish().await.unwrap();
    }
    let outcomes = writer.commit(manifest).await;
    for (side, content) in sides.iter().zip(["open", "secret"]) {
        let manifest = committed(&outcomes, &side.target.name);
        assert_eq!(
            read_all(&side.target, manifest).await.unwrap(),
            content.as_bytes()
        );
    }
    // No destination wants it: nobody has failed.
    let (writer, manifest) = backup_support::begin(&sides[..1]);
    let mut object = writer.object_where("x", Role::Definition, "", Compression::Zstd, |t| {
        t.encryption.is_some()
    });
    object.write(Bytes::from("secret")).await.unwrap();
    object.finish().await.unwrap();
    assert_eq!(
        committed(&writer.commit(manifest).await, "near")
            .objects
            .len(),
        0
    );
}
