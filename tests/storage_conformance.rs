//! Every promise of the trait `Storage`, kept by every destination: in memory, a folder, and two
//! S3 servers (s3s-fs, which honours `If-None-Match`; Garage, which is strict with everything else).

mod s3_support;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use jiff::{Timestamp, ToSpan as _};
use s3_support::S3;
use summoner::secret::{Secret, SecretSource};
use summoner::storage::local::Dir;
use summoner::storage::memory::Memory;
use summoner::storage::s3::{Bucket, Checksums, PART, Settings};
use summoner::storage::{Storage, StorageError};
use tokio::io::AsyncReadExt as _;

/// A destination, with what it needs to live.
struct Place {
    storage: Arc<dyn Storage>,
    /// Whether it can list uploads that were never completed.
    sweeps: bool,
    /// s3s-fs keeps objects as files: the folder above them looks to it like an object.
    folders_show: bool,
    _alive: Box<dyn std::any::Any>,
}

fn memory() -> impl Future<Output = Option<Place>> {
    std::future::ready(Some(Place {
        storage: Arc::new(Memory::new()),
        sweeps: true,
        folders_show: false,
        _alive: Box::new(()),
    }))
}

fn dir() -> impl Future<Output = Option<Place>> {
    let home = tempfile::tempdir().unwrap();
    std::future::ready(Some(Place {
        storage: Arc::new(Dir::new(&home.path().join("backups"))),
        // Its leftovers are swept, but a living upload never is: storage_local.rs has the test.
        sweeps: false,
        folders_show: false,
        _alive: Box::new(home),
    }))
}

fn settings(server: &S3, prefix: &str, checksums: Checksums) -> Settings {
    let secret = |text: &str| SecretSource::Plain(Secret::new(text));
    Settings {
        bucket: server.bucket().to_owned(),
        prefix: prefix.to_owned(),
        region: Some(server.region().to_owned()),
        endpoint: Some(server.endpoint()),
        credentials: Some((secret(server.access_key()), secret(server.secret_key()))),
        checksums,
        ..Settings::default()
    }
}

async fn bucket(server: Option<S3>, prefix: &str, checksums: Checksums) -> Option<Place> {
    let server = server?;
    let bucket = Bucket::connect(&settings(&server, prefix, checksums)).await;
    Some(Place {
        storage: Arc::new(bucket.unwrap()),
        sweeps: server.name() == "garage",
        folders_show: server.name() == "s3s-fs",
        _alive: Box::new(server),
    })
}

async fn s3s() -> Option<Place> {
    bucket(S3::s3s(), "", Checksums::Auto).await
}

async fn s3s_checksums() -> Option<Place> {
    bucket(S3::s3s(), "some/prefix", Checksums::On).await
}

async fn garage() -> Option<Place> {
    bucket(S3::garage(), "some/prefix", Checksums::Auto).await
}

async fn garage_checksums() -> Option<Place> {
    bucket(S3::garage(), "", Checksums::On).await
}

macro_rules! promises {
    ($($promise:ident),* $(,)?) => {
        promises!(@ memory [$($promise),*]);
        promises!(@ dir [$($promise),*]);
        promises!(@ s3s [$($promise),*]);
        promises!(@ s3s_checksums [$($promise),*]);
        promises!(@ garage [$($promise),*]);
        promises!(@ garage_checksums [$($promise),*]);
    };
    (@ $place:ident [$($promise:ident),*]) => {
        mod $place {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $promise() {
                    if let Some(place) = super::$place().await {
                        super::$promise(place).await;
                    }
                }
            )*
        }
    };
}

promises![
    what_is_uploaded_comes_back_whole,
    nothing_is_visible_before_it_is_finished,
    what_is_dropped_or_aborted_never_appears,
    nothing_is_overwritten,
    of_two_uploads_of_a_key_the_second_loses,
    what_is_missing_is_told_as_missing,
    lists_are_whole_sorted_and_below_their_prefix,
    a_delete_takes_one_object,
    keys_that_lead_elsewhere_are_refused,
    unusual_keys_come_back,
    a_sweep_leaves_what_is_visible_and_what_is_young,
    several_uploads_at_once,
    a_reader_may_leave_early,
    a_probe_finds_nothing_bad_and_leaves_nothing,
];

/// Bytes that do not repeat at part boundaries.
fn noise(size: usize, seed: u64) -> Bytes {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}

async fn upload(storage: &dyn Storage, key: &str, content: &Bytes, step: usize) -> u64 {
    let mut upload = storage.upload(key).await.unwrap();
    let mut left = content.clone();
    while !left.is_empty() {
        let chunk = left.split_to(step.min(left.len()));
        upload.write(chunk).await.unwrap();
    }
    upload.finish().await.unwrap()
}

async fn read(storage: &dyn Storage, key: &str) -> Bytes {
    let mut all = Vec::new();
    let mut reading = storage.read(key).await.unwrap();
    reading.read_to_end(&mut all).await.unwrap();
    all.into()
}

async fn keys(storage: &dyn Storage, prefix: &str) -> Vec<String> {
    let listed = storage.list(prefix).await.unwrap();
    listed.into_iter().map(|o| o.key).collect()
}

async fn what_is_uploaded_comes_back_whole(place: Place) {
    let storage = place.storage.as_ref();
    let sizes = [
        (0, 1),
        (1, 1),
        (100_000, 32 << 10),
        (PART - 1, 1 << 20),
        (PART, PART),
        (PART + 1, 999_983),
        (2 * PART, 1 << 20),
        (5 * PART + 12_345, 3 * PART),
    ];
    for (size, step) in sizes {
        let key = format!("v1/p/m/dump/x/size-{size}");
        let content = noise(size, size as u64);
        assert_eq!(upload(storage, &key, &content, step).await, size as u64);
        assert_eq!(storage.stat(&key).await.unwrap(), Some(size as u64));
        assert!(read(storage, &key).await == content, "{key} differs");
    }
    storage
        .put("v1/p/small", Bytes::from_static(b"{}"))
        .await
        .unwrap();
    assert_eq!(read(storage, "v1/p/small").await, "{}");
    storage.put("v1/p/empty", Bytes::new()).await.unwrap();
    assert_eq!(read(storage, "v1/p/empty").await, "");
    let announced = storage
        .upload_sized("v1/p/announced", 100 << 30)
        .await
        .unwrap();
    assert_eq!(announced.finish().await.unwrap(), 0);
}

async fn nothing_is_visible_before_it_is_finished(place: Place) {
    let storage = place.storage.as_ref();
    let mut upload = storage.upload("v1/a/x").await.unwrap();
    for _ in 0..3 {
        upload.write(noise(PART, 3)).await.unwrap();
        assert_eq!(storage.stat("v1/a/x").await.unwrap(), None);
        assert_eq!(storage.list("").await.unwrap(), []);
        let error = storage.read("v1/a/x").await.err().unwrap();
        assert!(matches!(error, StorageError::Missing(_)), "{error}");
    }
    assert_eq!(upload.finish().await.unwrap(), 3 * PART as u64);
    assert_eq!(keys(storage, "").await, ["v1/a/x"]);
}

async fn what_is_dropped_or_aborted_never_appears(place: Place) {
    let storage = place.storage.as_ref();
    for size in [10, 2 * PART + 5] {
        let mut aborted = storage.upload("v1/a/x").await.unwrap();
        aborted.write(noise(size, 5)).await.unwrap();
        aborted.abort().await;
        let mut dropped = storage.upload("v1/a/x").await.unwrap();
        dropped.write(noise(size, 6)).await.unwrap();
        drop(dropped);
        assert_eq!(storage.list("").await.unwrap(), []);
        assert_eq!(storage.stat("v1/a/x").await.unwrap(), None);
    }
    // The key is free, and nothing comes after.
    storage
        .put("v1/a/x", Bytes::from_static(b"mine"))
        .await
        .unwrap();
    assert_eq!(read(storage, "v1/a/x").await, "mine");
}

async fn nothing_is_overwritten(place: Place) {
    let storage = place.storage.as_ref();
    storage
        .put("v1/a", Bytes::from_static(b"first"))
        .await
        .unwrap();
    let again = storage.put("v1/a", Bytes::from_static(b"other")).await;
    assert!(matches!(again, Err(StorageError::Exists(k)) if k == "v1/a"));
    // The same content is no excuse.
    let same = storage.put("v1/a", Bytes::from_static(b"first")).await;
    assert!(matches!(same, Err(StorageError::Exists(_))));
    let upload = storage.upload("v1/a").await;
    assert!(matches!(upload, Err(StorageError::Exists(_))));
    assert_eq!(read(storage, "v1/a").await, "first");
}

async fn of_two_uploads_of_a_key_the_second_loses(place: Place) {
    let storage = place.storage.as_ref();
    for size in [7, PART + 7] {
        let key = format!("v1/size-{size}");
        let (first, second) = (noise(size, 1), noise(size, 2));
        let mut one = storage.upload(&key).await.unwrap();
        let mut two = storage.upload(&key).await.unwrap();
        one.write(first.clone()).await.unwrap();
        two.write(second).await.unwrap();
        one.finish().await.unwrap();
        let error = two.finish().await.unwrap_err();
        assert!(matches!(error, StorageError::Exists(_)), "{error}");
        assert!(read(storage, &key).await == first, "the first one stays");
    }
}

async fn what_is_missing_is_told_as_missing(place: Place) {
    let storage = place.storage.as_ref();
    storage.put("v1/a/b/c", Bytes::new()).await.unwrap();
    let mut missing = vec!["v1/none", "x"];
    if !place.folders_show {
        missing.extend(["v1/a/b", "v1/a/b/c/d"]);
    }
    for key in missing {
        assert_eq!(storage.stat(key).await.unwrap(), None, "{key}");
        let error = storage.read(key).await.err().unwrap();
        assert!(
            matches!(&error, StorageError::Missing(k) if k == key),
            "{key}: {error}"
        );
        storage.delete(key).await.unwrap();
    }
    assert_eq!(storage.list("v1/none/").await.unwrap(), []);
    assert_eq!(keys(storage, "").await, ["v1/a/b/c"]);
}

async fn lists_are_whole_sorted_and_below_their_prefix(place: Place) {
    let storage = &place.storage;
    // S3 gives them by the thousand.
    let many = 1_100;
    let puts = futures_util::stream::iter(0..many).map(|n| {
        let storage = Arc::clone(storage);
        async move {
            let content = Bytes::from(vec![b'x'; n % 3]);
            storage.put(&format!("v1/many/{n:05}"), content).await
        }
    });
    puts.buffer_unordered(16)
        .for_each(async |put| put.unwrap())
        .await;
    for key in ["v1/many-more", "v1/manx/a", "v1/many.json", "v1/many/sub/x"] {
        storage.put(key, Bytes::from_static(b"abc")).await.unwrap();
    }
    let listed = storage.list("v1/many/").await.unwrap();
    assert_eq!(listed.len(), many + 1);
    assert!(listed.is_sorted(), "sorted by key");
    assert!(listed.iter().all(|o| o.key.starts_with("v1/many/")));
    for (n, object) in listed[..many].iter().enumerate() {
        assert_eq!(
            (object.key.as_str(), object.size),
            (format!("v1/many/{n:05}").as_str(), n as u64 % 3)
        );
    }
    assert_eq!(
        keys(storage.as_ref(), "v1/many/sub/").await,
        ["v1/many/sub/x"]
    );
    assert_eq!(storage.list("").await.unwrap().len(), many + 4);
}

async fn a_delete_takes_one_object(place: Place) {
    let storage = place.storage.as_ref();
    for key in ["v1/a", "v1/ab", "v1/a.b/c", "v1/d/e"] {
        storage.put(key, Bytes::from_static(b"x")).await.unwrap();
    }
    storage.delete("v1/a").await.unwrap();
    storage.delete("v1/a").await.unwrap();
    assert_eq!(storage.stat("v1/a").await.unwrap(), None);
    if !place.folders_show {
        storage.delete("v1/d").await.unwrap();
    }
    assert_eq!(keys(storage, "").await, ["v1/a.b/c", "v1/ab", "v1/d/e"]);
    // A key is free again after a delete; that nobody uses it twice is the layout's business.
    storage.put("v1/a", Bytes::from_static(b"y")).await.unwrap();
}

async fn keys_that_lead_elsewhere_are_refused(place: Place) {
    let storage = place.storage.as_ref();
    for key in [
        "",
        "/etc/passwd",
        "../a",
        "v1/../../a",
        "v1//a",
        "v1/a/",
        "v1/a\0",
        "v1\\a",
    ] {
        assert!(storage.put(key, Bytes::new()).await.is_err(), "{key:?}");
        assert!(storage.upload(key).await.is_err(), "{key:?}");
        assert!(storage.read(key).await.is_err(), "{key:?}");
        assert!(storage.stat(key).await.is_err(), "{key:?}");
        assert!(storage.delete(key).await.is_err(), "{key:?}");
    }
    for prefix in ["/", "..", "../", "v1", "v1/../"] {
        assert!(storage.list(prefix).await.is_err(), "{prefix:?}");
    }
    assert_eq!(storage.list("").await.unwrap(), []);
}

async fn unusual_keys_come_back(place: Place) {
    let storage = place.storage.as_ref();
    let mut odd = vec![
        "v1/with space/a+b",
        "v1/äöü/日本語 🐢",
        "v1/100%/%41",
        "v1/a&b=c;d",
        "v1/q?x#y",
        "v1/'\"<>",
        "v1/.hidden/..double",
        "v1/~!@$^*()[]{}|,",
        "v1/CASE",
        "v1/case",
    ];
    for key in &odd {
        storage
            .put(key, Bytes::from((*key).to_owned()))
            .await
            .unwrap();
    }
    for key in &odd {
        assert_eq!(read(storage, key).await, *key);
        assert_eq!(storage.stat(key).await.unwrap(), Some(key.len() as u64));
    }
    odd.sort_unstable();
    assert_eq!(keys(storage, "v1/").await, odd);
    for key in &odd {
        storage.delete(key).await.unwrap();
    }
    assert_eq!(storage.list("").await.unwrap(), []);
}

async fn a_sweep_leaves_what_is_visible_and_what_is_young(place: Place) {
    let storage = place.storage.as_ref();
    storage
        .put("v1/kept", Bytes::from_static(b"x"))
        .await
        .unwrap();
    let mut living = storage.upload("v1/living").await.unwrap();
    living.write(noise(PART + 1, 9)).await.unwrap();
    assert_eq!(storage.sweep(Timestamp::now() - 1.hour()).await.unwrap(), 0);
    assert_eq!(living.finish().await.unwrap(), PART as u64 + 1);
    let mut killed = storage.upload("v1/killed").await.unwrap();
    killed.write(noise(PART + 1, 9)).await.unwrap();
    let swept = storage.sweep(Timestamp::now() + 1.hour()).await.unwrap();
    assert_eq!(swept, usize::from(place.sweeps));
    if place.sweeps {
        assert!(killed.finish().await.is_err(), "it was swept away");
    } else {
        killed.abort().await;
    }
    assert_eq!(keys(storage, "").await, ["v1/kept", "v1/living"]);
}

async fn several_uploads_at_once(place: Place) {
    let tasks: Vec<_> = (0..4_usize)
        .map(|n| {
            let storage = Arc::clone(&place.storage);
            tokio::spawn(async move {
                let content = noise(PART + n * 1_000_003, n as u64 + 1);
                let key = format!("v1/at-once/{n}");
                upload(storage.as_ref(), &key, &content, 700_001).await;
                assert!(
                    read(storage.as_ref(), &key).await == content,
                    "{key} differs"
                );
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(place.storage.list("v1/at-once/").await.unwrap().len(), 4);
}

async fn a_reader_may_leave_early(place: Place) {
    let storage = place.storage.as_ref();
    let content = noise(2 * PART, 4);
    upload(storage, "v1/a", &content, PART).await;
    for _ in 0..3 {
        let mut reading = storage.read("v1/a").await.unwrap();
        let mut head = vec![0; 100_000];
        reading.read_exact(&mut head).await.unwrap();
        assert!(head == content[..100_000]);
    }
    assert!(read(storage, "v1/a").await == content);
}

async fn a_probe_finds_nothing_bad_and_leaves_nothing(place: Place) {
    let probes = place.storage.probe(Timestamp::now()).await;
    for what in ["write", "read back", "conditional put", "delete"] {
        assert!(probes.iter().any(|p| p.what == what), "{what}: {probes:?}");
    }
    let bad: Vec<_> = probes.iter().filter(|p| p.good == Some(false)).collect();
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(place.storage.list("").await.unwrap(), []);
    let shown = place.storage.place();
    assert!(!shown.contains("GK5f") && !shown.is_empty(), "{shown}");
}
