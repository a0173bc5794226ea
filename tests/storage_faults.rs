//! What goes wrong between us and an S3 store: with the fault proxy in front of a real server,
//! no object may be lost that was said to be there, and none said to be there that is not.

mod s3_support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::{Timestamp, ToSpan as _};
use s3_support::{Answer, Fault, FaultProxy, Habit, Request, S3, When};
use summoner::secret::{Secret, SecretSource};
use summoner::storage::s3::{
    Bucket, Checksums, LockMode, ObjectLock, PART, Patience, Settings, Sse,
};
use summoner::storage::{Storage, StorageError};
use tokio::io::AsyncReadExt as _;

const KEY: &str = "v1/shop/db/dump/x/db.dump";

/// Quick to lose it, so that tests are quick.
const PATIENCE: Patience = Patience {
    attempts: 4,
    pause: Duration::from_millis(2),
    idle: Duration::from_secs(4),
    connect: Duration::from_secs(2),
};

struct World {
    server: S3,
    proxy: FaultProxy,
    bucket: Bucket,
}

impl World {
    async fn s3s() -> Option<Self> {
        Self::with(S3::s3s(), |_| {}).await
    }

    async fn garage() -> Option<Self> {
        Self::with(S3::garage(), |_| {}).await
    }

    async fn with(server: Option<S3>, change: impl FnOnce(&mut Settings)) -> Option<Self> {
        let server = server?;
        let proxy = server.behind();
        let mut settings = settings(&server, &proxy.endpoint());
        change(&mut settings);
        let bucket = Bucket::connect_with(&settings, PATIENCE).await.unwrap();
        Some(Self {
            server,
            proxy,
            bucket,
        })
    }

    async fn write(&self, key: &str, content: &Bytes) -> Result<u64, StorageError> {
        let mut upload = self.bucket.upload(key).await?;
        let mut left = content.clone();
        while !left.is_empty() {
            let chunk = left.split_to(left.len().min(1 << 20));
            if let Err(error) = upload.write(chunk).await {
                upload.abort().await;
                return Err(error);
            }
        }
        upload.finish().await
    }

    async fn read(&self, key: &str) -> Result<Bytes, String> {
        let mut all = Vec::new();
        let reading = self.bucket.read(key).await;
        let mut reading = reading.map_err(|e| e.to_string())?;
        let read = reading.read_to_end(&mut all).await;
        read.map(|_| all.into()).map_err(|e| e.to_string())
    }

    /// Looks past the proxy: nothing may lie there, seen or unseen.
    async fn is_clean(&self) -> bool {
        let direct = settings(&self.server, &self.server.endpoint());
        let direct = Bucket::connect(&direct).await.unwrap();
        let visible = direct.list("").await.unwrap();
        let hidden = direct.sweep(Timestamp::now() + 1.hour()).await.unwrap();
        assert_eq!((visible.as_slice(), hidden), (&[][..], 0), "litter");
        true
    }
}

fn settings(server: &S3, endpoint: &str) -> Settings {
    let secret = |text: &str| SecretSource::Plain(Secret::new(text));
    Settings {
        bucket: server.bucket().to_owned(),
        region: Some(server.region().to_owned()),
        endpoint: Some(endpoint.to_owned()),
        credentials: Some((secret(server.access_key()), secret(server.secret_key()))),
        ..Settings::default()
    }
}

fn noise(size: usize) -> Bytes {
    let mut state = size as u64 | 1;
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

/// The requests of an upload in parts, and that of a small one.
fn steps() -> Vec<(&'static str, When, usize)> {
    let large = 2 * PART + 1000;
    vec![
        ("head", When::method("HEAD"), large),
        ("creation", When::creation(), large),
        ("part 1", When::part(1), large),
        ("part 3", When::part(3), large),
        ("completion", When::completion(), large),
        ("put", When::upload(), 1000),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn f15_an_error_that_passes_is_tried_again() {
    let Some(world) = World::s3s().await else {
        return;
    };
    for fault in [Fault::internal(), Fault::unavailable(), Fault::slow_down()] {
        for (step, when, size) in steps() {
            let before = world.proxy.struck();
            world.proxy.on(when.nth(1), fault.clone());
            let (key, content) = (format!("{KEY}-{before}"), noise(size));
            let written = world.write(&key, &content).await;
            assert_eq!(written.unwrap(), size as u64, "{step} {fault:?}");
            assert_eq!(world.proxy.struck(), before + 1, "{step}");
            world.proxy.heal();
            assert!(world.read(&key).await.unwrap() == content, "{step}");
        }
    }
    for when in [
        When::method("GET").query("list-type"),
        When::delete(),
        When::method("GET").key(KEY),
    ] {
        world.proxy.on(when.nth(1), Fault::slow_down());
    }
    let objects = world.bucket.list("").await.unwrap();
    assert_eq!(objects.len(), 18);
    world.read(&objects[0].key).await.unwrap();
    world.bucket.delete(&objects[0].key).await.unwrap();
    assert_eq!(world.bucket.list("").await.unwrap().len(), 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn f15_an_error_that_stays_is_a_failure_and_leaves_nothing() {
    let Some(world) = World::garage().await else {
        return;
    };
    for (step, when, size) in steps() {
        world.proxy.on(when.clone(), Fault::internal());
        let before = world.proxy.count(&when);
        let error = world.write(KEY, &noise(size)).await.unwrap_err();
        assert!(
            matches!(error, StorageError::Unreachable { .. }),
            "{step}: {error}"
        );
        let tries = world.proxy.count(&when) - before;
        assert_eq!(tries, PATIENCE.attempts as usize, "{step}");
        world.proxy.heal();
        assert!(world.is_clean().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f15_a_200_with_an_error_in_it_is_an_error() {
    let Some(world) = World::garage().await else {
        return;
    };
    let content = noise(PART + 1000);
    // Once: tried again.
    world
        .proxy
        .on(When::completion().nth(1), Fault::error_in_200());
    assert_eq!(
        world.write("v1/once", &content).await.unwrap(),
        content.len() as u64
    );
    assert!(world.read("v1/once").await.unwrap() == content);
    world.bucket.delete("v1/once").await.unwrap();
    world.proxy.heal();
    // For ever: no success, and the parts are taken back.
    world.proxy.on(When::completion(), Fault::error_in_200());
    let error = world.write("v1/never", &content).await.unwrap_err();
    assert!(error.to_string().contains("InternalError"), "{error}");
    world.proxy.heal();
    assert!(world.is_clean().await);
    // A small object.
    world.proxy.on(When::upload(), Fault::error_in_200());
    let error = world.write("v1/small", &noise(10)).await.unwrap_err();
    assert!(!error.to_string().is_empty());
    world.proxy.heal();
    assert!(world.is_clean().await);
    // An error although it was carried out: the object is found, and it is ours.
    world
        .proxy
        .on(When::completion(), Fault::error_in_200_after_all());
    assert_eq!(
        world.write("v1/after-all", &content).await.unwrap(),
        content.len() as u64
    );
    world.proxy.heal();
    assert!(world.read("v1/after-all").await.unwrap() == content);
}

/// An answer that is lost leaves it open whether the request was carried out.
#[tokio::test(flavor = "multi_thread")]
async fn f15_a_lost_answer_is_neither_a_loss_nor_a_second_object() {
    for server in [S3::s3s(), S3::garage()] {
        let Some(world) = World::with(server, |_| {}).await else {
            return;
        };
        for (step, when, size) in steps() {
            let key = format!("v1/{}", step.replace(' ', "-"));
            let content = noise(size);
            world.proxy.on(when.nth(1), Fault::LoseAnswer);
            let written = world.write(&key, &content).await;
            assert_eq!(written.unwrap(), size as u64, "{step}");
            world.proxy.heal();
            assert!(world.read(&key).await.unwrap() == content, "{step}");
        }
        // Every answer to the commit is lost: the look afterwards settles it.
        for (key, when, size) in [
            ("v1/c", When::completion(), PART + 9),
            ("v1/p", When::upload(), 9),
        ] {
            let content = noise(size);
            world.proxy.on(when, Fault::LoseAnswer);
            assert_eq!(world.write(key, &content).await.unwrap(), size as u64);
            world.proxy.heal();
            assert!(world.read(key).await.unwrap() == content);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_a_connection_that_breaks_while_we_send_loses_nothing() {
    let Some(world) = World::garage().await else {
        return;
    };
    let content = noise(PART + 300_000);
    let positions = [
        0,
        1,
        99,
        65_535,
        65_536,
        65_537,
        1 << 20,
        PART as u64 - 1,
        PART as u64,
    ];
    for position in positions {
        let key = format!("v1/at-{position}");
        world
            .proxy
            .on(When::part(1).nth(1), Fault::ResetRequest(position));
        assert_eq!(
            world.write(&key, &content).await.unwrap(),
            content.len() as u64
        );
        world.proxy.heal();
        assert!(world.read(&key).await.unwrap() == content, "{position}");
        world.bucket.delete(&key).await.unwrap();
    }
    for position in [0, 1, 500, 999] {
        let key = format!("v1/small-{position}");
        world
            .proxy
            .on(When::upload().nth(1), Fault::ResetRequest(position));
        assert_eq!(world.write(&key, &noise(1000)).await.unwrap(), 1000);
        world.proxy.heal();
        assert!(world.read(&key).await.unwrap() == noise(1000), "{position}");
    }
}

/// The sweep over an answer: whatever byte it breaks at, all bytes or an error.
#[tokio::test(flavor = "multi_thread")]
async fn f04_a_connection_that_breaks_while_we_read_is_never_a_clean_end() {
    let Some(world) = World::s3s().await else {
        return;
    };
    let content = noise(1_000_000);
    world.write(KEY, &content).await.unwrap();
    let get = || When::method("GET").key(KEY);
    let mut positions: Vec<u64> = (0..60).map(|n| n * n * 270).collect();
    positions.extend([1, 65_535, 65_536, 999_999]);
    for position in positions {
        for fault in [Fault::ResetAnswer(position), Fault::CloseAnswer(position)] {
            world.proxy.on(get().nth(1), fault.clone());
            let before = world.proxy.struck();
            let found = world.read(KEY).await;
            assert!(
                found.as_ref() == Ok(&content),
                "{fault:?}: {:?}",
                found.err()
            );
            assert_eq!(world.proxy.struck(), before + 1, "{fault:?}");
            world.proxy.heal();
        }
    }
    // For ever at the same place: it goes on where it broke, as long as it gets further.
    world.proxy.on(get(), Fault::ResetAnswer(300_000));
    assert!(world.read(KEY).await.unwrap() == content);
    world.proxy.heal();
    // It never gets further.
    for fault in [
        Fault::ResetAnswer(0),
        Fault::CloseAnswer(0),
        Fault::LoseAnswer,
    ] {
        world.proxy.on(get(), fault.clone());
        let error = world.read(KEY).await.unwrap_err();
        assert!(!error.is_empty(), "{fault:?}");
        world.proxy.heal();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f20_what_stalls_is_given_up_and_tried_again() {
    let Some(world) = World::garage().await else {
        return;
    };
    let content = noise(PART + 1000);
    let begin = Instant::now();
    for (n, when, fault) in [
        (0, When::part(1), Fault::StallRequest(100_000)),
        (1, When::part(2), Fault::StallAnswer(0)),
        (2, When::completion(), Fault::StallAnswer(10)),
        (3, When::creation(), Fault::StallRequest(0)),
    ] {
        let key = format!("v1/{n}");
        world.proxy.on(when.nth(1), fault.clone());
        let written = world.write(&key, &content).await;
        assert_eq!(written.unwrap(), content.len() as u64, "{fault:?}");
        world.proxy.heal();
        world.proxy.on(
            When::method("GET").key(&key).nth(1),
            Fault::StallAnswer(70_000),
        );
        assert!(world.read(&key).await.unwrap() == content, "{fault:?}");
        world.proxy.heal();
        world.bucket.delete(&key).await.unwrap();
    }
    world.proxy.on(When::part(1), Fault::StallRequest(100_000));
    let error = world.write("v1/never", &content).await.unwrap_err();
    assert!(matches!(error, StorageError::Unreachable { .. }), "{error}");
    world.proxy.heal();
    world.proxy.on(When::any(), Fault::StallRequest(0));
    let error = world.bucket.list("").await.unwrap_err();
    assert!(matches!(error, StorageError::Unreachable { .. }), "{error}");
    world.proxy.heal();
    assert!(world.is_clean().await);
    assert!(begin.elapsed() < Duration::from_mins(5), "it hung");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_is_named_and_not_tried_again() {
    let Some(world) = World::s3s().await else {
        return;
    };
    for seconds in [3600, -7200] {
        for (step, when, size) in steps() {
            world.proxy.on(when.clone(), Fault::skew(seconds));
            let before = world.proxy.count(&when);
            let error = world.write(KEY, &noise(size)).await.unwrap_err();
            let StorageError::Skew { seconds: found, .. } = error else {
                panic!("{step}: {error}");
            };
            // Theirs is ahead: ours is behind.
            assert!((found + seconds).abs() <= 5, "{step}: {found}");
            assert!(error.hint().unwrap().contains("timedatectl"));
            assert_eq!(world.proxy.count(&when), before + 1, "{step}");
            world.proxy.heal();
        }
    }
    world.proxy.on(When::any(), Fault::Date(5000));
    let probes = world.bucket.probe(Timestamp::now()).await;
    let clock = probes.iter().find(|p| p.what == "clock").unwrap();
    assert_eq!(clock.good, Some(false), "{clock:?}");
    assert!(clock.message.contains("behind"), "{clock:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f13_a_store_that_refuses_checksums_gets_none() {
    let Some(world) = World::s3s().await else {
        return;
    };
    world.proxy.habit(Habit::RefuseChecksums);
    for size in [0, 10, PART + 10] {
        let key = format!("v1/{size}");
        world.write(&key, &noise(size)).await.unwrap();
        assert!(world.read(&key).await.unwrap() == noise(size));
    }
    let probes = world.bucket.probe(Timestamp::now()).await;
    assert!(probes.iter().all(|p| p.good != Some(false)), "{probes:?}");
    // Asked for all the same: the probe names the setting.
    let asked = |s: &mut Settings| s.checksums = Checksums::On;
    let world = World::with(S3::s3s(), asked).await.unwrap();
    world.proxy.habit(Habit::RefuseChecksums);
    world.write("v1/x", &noise(10)).await.unwrap_err();
    let probes = world.bucket.probe(Timestamp::now()).await;
    let bad = probes.iter().find(|p| p.good == Some(false)).unwrap();
    assert_eq!(bad.what, "checksums", "{probes:?}");
    assert!(
        bad.mend.as_ref().unwrap().contains("checksums: off"),
        "{bad:?}"
    );
    world.proxy.heal();
    assert!(world.is_clean().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn f13_checksums_go_with_all_requests_or_with_none() {
    for (checksums, expected) in [
        (Checksums::On, true),
        (Checksums::Off, false),
        (Checksums::Auto, false),
    ] {
        let set = |s: &mut Settings| s.checksums = checksums;
        let Some(world) = World::with(S3::garage(), set).await else {
            return;
        };
        for size in [0, 10, 2 * PART + 10] {
            world
                .write(&format!("v1/{size}"), &noise(size))
                .await
                .unwrap();
        }
        let seen = world.proxy.seen();
        let uploads: Vec<_> = seen.iter().filter(|s| s.request.is_upload()).collect();
        assert_eq!(uploads.len(), 5);
        for upload in uploads {
            let request = &upload.request;
            assert_eq!(
                request.flexible_checksum().is_some(),
                expected,
                "{request:?}"
            );
            assert_eq!(request.header("transfer-encoding"), None, "{request:?}");
            assert_eq!(request.header("x-amz-trailer"), None, "{request:?}");
        }
    }
}

fn locked(settings: &mut Settings) {
    settings.object_lock = Some(ObjectLock {
        mode: LockMode::Governance,
        days: 30,
    });
}

/// Neither of our servers has Object Lock: the proxy speaks as Amazon's does.
#[tokio::test(flavor = "multi_thread")]
async fn f14_object_lock_by_the_fault_proxy_gets_checksums_and_dates() {
    let Some(world) = World::with(S3::s3s(), locked).await else {
        return;
    };
    world.proxy.habit(Habit::RequireChecksums);
    for size in [0, 10, PART + 10] {
        world
            .write(&format!("v1/{size}"), &noise(size))
            .await
            .unwrap();
    }
    let until = (Timestamp::now() + (29 * 24).hours()).to_string();
    let seen = world.proxy.seen();
    let made = seen.iter().map(|s| &s.request).filter(|r| {
        When::creation().means(r) || (r.is_upload() && r.query("partNumber").is_none())
    });
    let made: Vec<&Request> = made.collect();
    assert_eq!(made.len(), 3);
    for request in made {
        assert_eq!(request.header("x-amz-object-lock-mode"), Some("GOVERNANCE"));
        let date = request
            .header("x-amz-object-lock-retain-until-date")
            .unwrap();
        assert!(date > until.as_str(), "{date}");
    }
    // Without checksums the store says no, and so do we.
    let off = |s: &mut Settings| {
        locked(s);
        s.checksums = Checksums::Off;
    };
    let world = World::with(S3::s3s(), off).await.unwrap();
    world.proxy.habit(Habit::RequireChecksums);
    world.write("v1/x", &noise(10)).await.unwrap_err();
    world.proxy.heal();
    assert!(world.is_clean().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn f14_a_refused_delete_by_the_fault_proxy_is_told_and_nothing_is_gone() {
    let Some(world) = World::s3s().await else {
        return;
    };
    world.write(KEY, &noise(10)).await.unwrap();
    world.proxy.on(When::delete(), Fault::locked());
    let error = world.bucket.delete(KEY).await.unwrap_err();
    assert!(
        matches!(&error, StorageError::Held { key, .. } if key == KEY),
        "{error}"
    );
    let probes = world.bucket.probe(Timestamp::now()).await;
    let delete = probes.iter().find(|p| p.what == "delete").unwrap();
    assert_eq!(delete.good, None, "{delete:?}");
    world.proxy.heal();
    world.proxy.on(When::delete(), Fault::denied());
    let error = world.bucket.delete(KEY).await.unwrap_err();
    assert!(
        matches!(&error, StorageError::Denied { action, .. } if action.contains("delete")),
        "{error}"
    );
    let probes = world.bucket.probe(Timestamp::now()).await;
    let delete = probes.iter().find(|p| p.what == "delete").unwrap();
    assert_eq!(delete.good, Some(false), "{delete:?}");
    assert!(delete.mend.is_some());
    world.proxy.heal();
    assert_eq!(world.bucket.stat(KEY).await.unwrap(), Some(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn f15_parts_are_equal_for_stores_that_insist() {
    let Some(world) = World::s3s().await else {
        return;
    };
    world.proxy.habit(Habit::EqualParts);
    for size in [PART, PART + 1, 2 * PART, 4 * PART + 77] {
        let key = format!("v1/{size}");
        world.write(&key, &noise(size)).await.unwrap();
        assert!(world.read(&key).await.unwrap() == noise(size));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wishes_go_with_data_and_manifests_stay_readable() {
    let set = |s: &mut Settings| {
        s.storage_class = Some("STANDARD_IA".to_owned());
        s.sse = Some(Sse::Kms(Some("key-17".to_owned())));
    };
    let Some(world) = World::with(S3::s3s(), set).await else {
        return;
    };
    // s3s-fs refuses what it does not have: the request alone counts.
    world.proxy.on(When::any(), Fault::denied());
    let client = world.bucket.clone();
    world.proxy.heal();
    world.proxy.on(When::upload(), Fault::denied());
    let _ = client
        .put("v1/manifest.json", Bytes::from_static(b"{}"))
        .await;
    let _ = world.write("v1/small.dump", &noise(10)).await;
    world.proxy.on(When::creation(), Fault::denied());
    let _ = world.write("v1/large.dump", &noise(PART + 1)).await;
    let header = |key: &str, name: &str| {
        let seen = world.proxy.seen();
        let made = seen.iter().find(|s| {
            s.request.path.ends_with(key) && matches!(s.request.method.as_str(), "PUT" | "POST")
        });
        made.unwrap().request.header(name).map(str::to_owned)
    };
    for key in ["manifest.json", "small.dump", "large.dump"] {
        let class = header(key, "x-amz-storage-class");
        let data = key != "manifest.json";
        assert_eq!(class.as_deref(), data.then_some("STANDARD_IA"), "{key}");
        assert_eq!(
            header(key, "x-amz-server-side-encryption").as_deref(),
            Some("aws:kms")
        );
        let id = header(key, "x-amz-server-side-encryption-aws-kms-key-id");
        assert_eq!(id.as_deref(), Some("key-17"), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_know_conditions_is_written_to_without() {
    let Some(world) = World::garage().await else {
        return;
    };
    let conditional = |r: &Request| r.header("if-none-match").is_some();
    let unknown = Answer::new(
        501,
        "NotImplemented",
        "A header you provided is not implemented.",
    );
    world
        .proxy
        .on(When::that(conditional), Fault::Answer(unknown));
    for size in [10, PART + 10] {
        let key = format!("v1/{size}");
        world.write(&key, &noise(size)).await.unwrap();
        let error = world.bucket.put(&key, Bytes::new()).await.unwrap_err();
        assert!(matches!(error, StorageError::Exists(_)), "{error}");
        assert!(world.read(&key).await.unwrap() == noise(size));
    }
    assert_eq!(world.proxy.struck(), 1, "asked once, then known");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_named() {
    let Some(world) = World::garage().await else {
        return;
    };
    let connect = async |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings(&world.server, &world.server.endpoint());
        change(&mut settings);
        Bucket::connect_with(&settings, PATIENCE).await.unwrap()
    };
    let bucket = connect(&|s| s.bucket = "nowhere".to_owned()).await;
    for error in [
        bucket.put("v1/a", Bytes::new()).await.unwrap_err(),
        bucket.upload("v1/a").await.err().unwrap(),
        bucket.stat("v1/a").await.unwrap_err(),
        bucket.list("").await.unwrap_err(),
        bucket.read("v1/a").await.err().unwrap(),
    ] {
        assert!(
            matches!(
                error,
                StorageError::NoDestination { .. } | StorageError::Denied { .. }
            ),
            "{error}"
        );
    }
    let wrong = SecretSource::Plain(Secret::new("wrong-secret-wrong-secret"));
    let id = SecretSource::Plain(Secret::new(world.server.access_key()));
    let bucket = connect(&|s| s.credentials = Some((id.clone(), wrong.clone()))).await;
    let error = bucket.put("v1/a", Bytes::new()).await.unwrap_err();
    assert!(matches!(error, StorageError::Denied { .. }), "{error}");
    assert!(!error.to_string().contains("wrong-secret"), "{error}");
    let bucket = connect(&|s| s.endpoint = Some("http://127.0.0.1:1".to_owned())).await;
    let error = bucket.list("").await.unwrap_err();
    assert!(matches!(error, StorageError::Unreachable { .. }), "{error}");
    assert!(
        error.to_string().to_lowercase().contains("refused"),
        "{error}"
    );
}
