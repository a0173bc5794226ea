//! What a destination holds: whole, broken, half-done; and which one is meant by what was typed.

mod snapshot_support;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;
use snapshot_support::{PROJECT, at, dump, manifest, target, write};
use summoner::backup::catalog::{self, ChoiceError, Entry, Listing, Verification, Which, choose};
use summoner::backup::destination::Target;
use summoner::backup::manifest::{Kind, Manifest, SnapshotId, Status, snapshot_prefix};
use summoner::storage::memory::Memory;

async fn list(target: &Target, minion: Option<&str>) -> Listing {
    catalog::list(target, PROJECT, minion).await.unwrap()
}

fn ids(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|e| e.manifest.id.to_string()).collect()
}

fn passed(how: &str, when: &str, good: bool) -> Verification {
    Verification {
        at: at(when),
        how: how.into(),
        good,
        details: json!({"tables": 3}),
        summoner: "0.1.0".into(),
    }
}

#[tokio::test]
async fn snapshots_are_listed_by_minion_with_what_checks_found() {
    let memory = Memory::new();
    let disk = target("disk", memory.clone());
    let all = [Arc::clone(&disk)];
    let wiki = dump(&all, "wiki", "2026-11-18T02:30:00Z").await;
    let first = dump(&all, "blog", "2026-11-19T02:30:00Z").await;
    let second = dump(&all, "blog", "2026-11-20T02:30:00Z").await;
    // A minion whose name begins as another's is another.
    dump(&all, "blog2", "2026-11-20T02:30:00Z").await;
    let cold = write(
        &all,
        manifest("blog", Kind::Backup, at("2026-11-20T04:00:00Z")),
    )
    .await;

    assert_eq!(list(&disk, None).await.entries.len(), 5);
    let blog = list(&disk, Some("blog")).await;
    assert_eq!(
        ids(&blog.entries),
        [cold.id.as_str(), first.id.as_str(), second.id.as_str()]
    );
    let entry = &blog.entries[1];
    assert_eq!(entry.manifest, first);
    assert_eq!((entry.verdict(), entry.pinned), (None, false));
    assert_eq!(entry.destination, "disk");
    assert!(
        catalog::list(&disk, "example.net", None)
            .await
            .unwrap()
            .entries
            .is_empty()
    );

    for check in [
        passed("read-data", "2026-11-20T05:00:00Z", true),
        passed("read-data", "2026-11-20T05:00:00Z", true),
        passed("drill", "2026-11-20T06:00:00Z", false),
    ] {
        catalog::note_verified(&disk, &wiki, &check).await.unwrap();
    }
    let entry = &list(&disk, Some("wiki")).await.entries[0];
    // Two within one second are two; a drill that failed is not healed by reading.
    assert_eq!(entry.verified.len(), 3);
    assert_eq!(entry.verdict(), Some(false));
    assert_eq!(entry.latest_check().unwrap().how, "drill");
    let check = passed("drill", "2026-11-20T07:00:00Z", true);
    catalog::note_verified(&disk, &wiki, &check).await.unwrap();
    assert_eq!(
        list(&disk, Some("wiki")).await.entries[0].verdict(),
        Some(true)
    );
}

#[tokio::test]
async fn what_is_half_there_does_not_count_and_is_not_hidden() {
    let memory = Memory::new();
    let disk = target("disk", memory.clone());
    let all = [Arc::clone(&disk)];
    let whole = dump(&all, "blog", "2026-11-20T02:30:00Z").await;
    let doomed = dump(&all, "blog", "2026-11-19T02:30:00Z").await;
    let cut = dump(&all, "blog", "2026-11-18T02:30:00Z").await;
    let headless = dump(&all, "blog", "2026-11-17T02:30:00Z").await;
    memory.tamper(&format!("{}tombstone.json", doomed.prefix()), "{}");
    memory.lose(&format!("{}manifest.json", cut.prefix()));
    memory.lose(&format!("{}manifest.json", headless.prefix()));
    memory.tamper(&format!("{}pinned.json", headless.prefix()), "");
    // None of ours, or none at all.
    for key in [
        "v1/example.org/blog/dump/notes/x",
        "v1/example.org/README",
        "v2/example.org/x",
    ] {
        memory.tamper(key, "x");
    }
    let listing = list(&disk, None).await;
    assert_eq!(ids(&listing.entries), [whole.id.as_str()]);
    let remains: Vec<(&str, bool, usize)> = listing
        .remains
        .iter()
        .map(|r| (r.id.as_str(), r.doomed, r.objects.len()))
        .collect();
    assert_eq!(
        remains,
        [(cut.id.as_str(), false, 2), (doomed.id.as_str(), true, 4)]
    );
    // It was a snapshot once: somebody pinned it.
    assert_eq!(listing.broken.len(), 1);
    assert_eq!(listing.broken[0].id, headless.id);
    assert_eq!(listing.broken[0].reason, "its manifest is gone");
}

#[tokio::test]
async fn broken_ones_are_told_and_stop_nobody() {
    let memory = Memory::new();
    let disk = target("disk", memory.clone());
    let all = [Arc::clone(&disk)];
    let good = dump(&all, "blog", "2026-11-20T02:30:00Z").await;
    let spoil = async |when: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let manifest = dump(&all, "blog", when).await;
        let mut value = serde_json::to_value(&manifest).unwrap();
        change(&mut value);
        memory.tamper(
            &format!("{}manifest.json", manifest.prefix()),
            value.to_string(),
        );
        manifest
    };
    spoil("2026-11-10T02:30:00Z", &|v| v["schema_version"] = json!(99)).await;
    spoil("2026-11-11T02:30:00Z", &|v| *v = json!("no manifest")).await;
    spoil("2026-11-12T02:30:00Z", &|v| {
        v["objects"][0]["name"] = json!("../../x");
    })
    .await;
    spoil("2026-11-13T02:30:00Z", &|v| v["minion"] = json!("wiki")).await;
    spoil("2026-11-14T02:30:00Z", &|v| {
        v["project"] = json!("example.net");
    })
    .await;
    let cut = dump(&all, "blog", "2026-11-15T02:30:00Z").await;
    memory.tamper(
        &format!("{}manifest.json", cut.prefix()),
        "{\"schema_version\": 1,",
    );
    memory.tamper(&format!("{}verified-x.json", good.prefix()), "nonsense");
    let listing = list(&disk, Some("blog")).await;
    assert_eq!(ids(&listing.entries), [good.id.as_str()]);
    assert_eq!(listing.entries[0].verdict(), None);
    let reasons: Vec<&str> = listing.broken.iter().map(|b| b.reason.as_str()).collect();
    let expected = [
        "format 99",
        "no `schema_version`",
        "`../../x` is no name",
        "copied or renamed",
        "copied or renamed",
        "damaged",
        "`verified-x.json` is damaged",
    ];
    assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
    for (reason, expected) in reasons.iter().zip(expected) {
        assert!(reason.contains(expected), "{reason} / {expected}");
    }
    // All of it was read, and so it may be thinned out.
    assert!(listing.is_whole());
}

#[tokio::test]
async fn what_could_not_be_read_is_told_apart_from_what_is_broken() {
    let memory = Memory::new();
    let disk = target("disk", memory.clone());
    let all = [Arc::clone(&disk)];
    let one = dump(&all, "blog", "2026-11-19T02:30:00Z").await;
    dump(&all, "blog", "2026-11-20T02:30:00Z").await;
    catalog::note_verified(&disk, &one, &passed("drill", "2026-11-20T05:00:00Z", true))
        .await
        .unwrap();
    // One call lists, three read: two manifests and a finding.
    for call in 2..=4 {
        memory.fail_at(call);
        let listing = list(&disk, None).await;
        assert_eq!(listing.broken.len(), 1, "call {call}: {:?}", listing.broken);
        assert!(!listing.is_whole());
        // A finding that cannot be read loses no snapshot.
        let finding = listing.broken[0].reason.contains("`verified-");
        assert_eq!(listing.entries.len(), if finding { 2 } else { 1 });
    }
    assert!(list(&disk, None).await.is_whole());
    memory.fail_at(1);
    assert!(catalog::list(&disk, PROJECT, None).await.is_err());
    memory.missing(true);
    let error = catalog::list(&disk, PROJECT, None).await.unwrap_err();
    assert!(error.to_string().contains("is not there"), "{error}");
}

#[tokio::test]
async fn a_snapshot_that_goes_while_it_is_read_is_gone() {
    let memory = Memory::new();
    let disk = target("disk", memory.clone());
    let manifest = dump(&[Arc::clone(&disk)], "blog", "2026-11-20T02:30:00Z").await;
    let objects = memory.objects();
    memory.lose(&format!("{}manifest.json", manifest.prefix()));
    // The listing of before, the content of after.
    let stale = Stale {
        objects: objects
            .iter()
            .map(|(key, content)| summoner::storage::Object {
                key: key.clone(),
                size: content.len() as u64,
            })
            .collect(),
        inner: memory,
    };
    let listing = list(&target("disk", stale), None).await;
    assert_eq!(listing, Listing::default());
}

/// A store whose listing is older than its content.
struct Stale {
    objects: Vec<summoner::storage::Object>,
    inner: Memory,
}

#[async_trait::async_trait]
impl summoner::storage::Storage for Stale {
    fn place(&self) -> String {
        self.inner.place()
    }
    async fn upload(
        &self,
        key: &str,
    ) -> Result<Box<dyn summoner::storage::Upload>, summoner::storage::StorageError> {
        self.inner.upload(key).await
    }
    async fn read(
        &self,
        key: &str,
    ) -> Result<summoner::storage::Reading, summoner::storage::StorageError> {
        self.inner.read(key).await
    }
    async fn stat(&self, key: &str) -> Result<Option<u64>, summoner::storage::StorageError> {
        self.inner.stat(key).await
    }
    async fn list(
        &self,
        _: &str,
    ) -> Result<Vec<summoner::storage::Object>, summoner::storage::StorageError> {
        Ok(self.objects.clone())
    }
    async fn delete(&self, key: &str) -> Result<(), summoner::storage::StorageError> {
        self.inner.delete(key).await
    }
    async fn sweep(&self, before: Timestamp) -> Result<usize, summoner::storage::StorageError> {
        self.inner.sweep(before).await
    }
    async fn probe(&self, now: Timestamp) -> Vec<summoner::storage::Probe> {
        self.inner.probe(now).await
    }
}

// Choosing.

fn entry(destination: &str, manifest: Manifest) -> Entry {
    Entry {
        destination: destination.into(),
        manifest,
        verified: Vec::new(),
        pinned: false,
        objects: Vec::new(),
    }
}

fn nights() -> Vec<Entry> {
    ["2026-11-18", "2026-11-19", "2026-11-20"]
        .iter()
        .map(|day| {
            entry(
                "disk",
                manifest("blog", Kind::Dump, at(&format!("{day}T02:30:00Z"))),
            )
        })
        .collect()
}

#[test]
fn the_latest_is_the_newest_good_one() {
    let mut entries = nights();
    let chosen = |entries: &[Entry]| choose(entries, &Which::Latest).unwrap().manifest.id.clone();
    assert_eq!(chosen(&entries), entries[2].manifest.id);
    entries[2].manifest.status = Status::Suspect;
    assert_eq!(chosen(&entries), entries[1].manifest.id);
    entries[1]
        .verified
        .push(passed("drill", "2026-11-20T05:00:00Z", false));
    assert_eq!(chosen(&entries), entries[0].manifest.id);
    // Nothing better: the newest of what there is.
    entries[0].manifest.status = Status::Suspect;
    assert_eq!(chosen(&entries), entries[2].manifest.id);
    assert_eq!(choose(&[], &Which::Latest), Err(ChoiceError::Empty));
}

#[test]
fn the_one_of_a_time_is_not_younger() {
    let entries = nights();
    let when = |time: &str| choose(&entries, &Which::At(at(time))).map(|e| &e.manifest.id);
    assert_eq!(when("2026-11-20T02:29:59Z"), Ok(&entries[1].manifest.id));
    assert_eq!(when("2026-11-20T02:30:00Z"), Ok(&entries[2].manifest.id));
    assert_eq!(
        when("2026-11-01T00:00:00Z").unwrap_err().to_string(),
        "there is no snapshot of 2026-11-01T00:00:00Z or before, the oldest is of 2026-11-18T02:30:00Z"
    );
}

#[test]
fn an_id_may_be_shortened_at_either_end() {
    let mut entries = nights();
    let id = entries[1].manifest.id.clone();
    for given in [
        id.as_str(),
        id.short(),
        &id.short().to_lowercase(),
        "20261119",
    ] {
        let found = choose(&entries, &Which::Id(given.into())).unwrap();
        assert_eq!(found.manifest.id, id, "{given}");
    }
    // In two destinations it is still one; the first is taken.
    entries.push(entry("offsite", entries[1].manifest.clone()));
    let found = choose(&entries, &Which::Id(id.short().into())).unwrap();
    assert_eq!(found.destination, "disk");
    let error = choose(&entries, &Which::Id("202611".into())).unwrap_err();
    assert!(
        matches!(&error, ChoiceError::Ambiguous { ids, .. } if ids.len() == 3),
        "{error}"
    );
    for nothing in ["", "ZZZZZZZZ", "../.."] {
        let error = choose(&entries, &Which::Id(nothing.into())).unwrap_err();
        assert_eq!(error, ChoiceError::Unknown(nothing.into()));
        assert!(error.hint().contains("summoner snapshots"));
    }
}

#[tokio::test]
async fn a_pin_counts_whatever_is_in_it() {
    let memory = Memory::new();
    let disk = target("disk", memory.clone());
    let manifest = dump(&[Arc::clone(&disk)], "blog", "2026-11-20T02:30:00Z").await;
    let get = async || list(&disk, None).await.entries.remove(0);
    let now = at("2026-11-20T12:00:00Z");
    assert!(
        summoner::backup::pin::pin(&disk, &get().await, now)
            .await
            .unwrap()
    );
    assert!(
        !summoner::backup::pin::pin(&disk, &get().await, now)
            .await
            .unwrap()
    );
    assert!(get().await.pinned);
    memory.tamper(
        &format!("{}pinned.json", manifest.prefix()),
        Bytes::from_static(b"\xff\xff"),
    );
    assert!(get().await.pinned);
    assert!(
        summoner::backup::pin::unpin(&disk, &get().await)
            .await
            .unwrap()
    );
    assert!(
        !summoner::backup::pin::unpin(&disk, &get().await)
            .await
            .unwrap()
    );
    assert!(!get().await.pinned);
}

#[test]
fn an_id_tells_its_time_itself() {
    let when = at("2026-11-20T02:30:00Z");
    let id = SnapshotId::new(when);
    assert_eq!(id.time(), Some(when));
    assert!(snapshot_prefix(PROJECT, "blog", Kind::Dump, &id).ends_with('/'));
}
