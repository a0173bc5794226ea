//! Pruning: what goes goes whole, what stays stays whole, whenever a run is killed, whatever fails.

mod snapshot_support;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use snapshot_support::{PROJECT, at, dump, manifest, target, write};
use summoner::backup::catalog::{self, Listing};
use summoner::backup::destination::Target;
use summoner::backup::manifest::{Kind, Manifest};
use summoner::backup::prune::{Done, Fate, Plan, carry_out, plan};
use summoner::config::environment::Keep;
use summoner::storage::Storage as _;
use summoner::storage::memory::Memory;

const NOW: &str = "2026-11-20T12:00:00Z";

fn last(number: u64) -> Keep {
    Keep {
        last: number,
        ..Keep::default()
    }
}

async fn list(target: &Target) -> Listing {
    catalog::list(target, PROJECT, None).await.unwrap()
}

fn decide(listing: Listing, keep: &Keep) -> Plan {
    plan(listing, |_, _| Some(keep.clone()), at(NOW), "UTC")
}

async fn prune(target: &Target, keep: &Keep, force: bool) -> Vec<Done> {
    let plan = decide(list(target).await, keep);
    carry_out(target, &plan, force, at(NOW)).await
}

async fn ids(target: &Target) -> BTreeSet<String> {
    let entries = list(target).await.entries;
    entries.iter().map(|e| e.manifest.id.to_string()).collect()
}

/// Four nights, the oldest of which is pinned and the next one verified.
async fn nights(disk: &Arc<Target>) -> Vec<Manifest> {
    let all = [Arc::clone(disk)];
    let mut nights = Vec::new();
    for day in ["2026-11-17", "2026-11-18", "2026-11-19", "2026-11-20"] {
        nights.push(dump(&all, "blog", &format!("{day}T02:30:00Z")).await);
    }
    nights
}

/// Every snapshot that counts has all its objects.
async fn assert_whole(target: &Target, context: &str) {
    for entry in list(target).await.entries {
        let checked = summoner::backup::verify::structure(&entry);
        assert!(checked.is_good(), "{context}: {checked:?}");
    }
}

#[tokio::test]
async fn what_goes_goes_whole_and_what_stays_is_untouched() {
    let memory = Memory::new();
    let disk = target("disk", memory.clone());
    let nights = nights(&disk).await;
    let wiki = dump(&[Arc::clone(&disk)], "wiki", "2025-01-01T02:30:00Z").await;
    let cold = manifest("blog", Kind::Backup, at("2025-01-01T04:00:00Z"));
    let cold = write(&[Arc::clone(&disk)], cold).await;
    let before = memory.objects();
    let done = prune(&disk, &last(2), false).await;
    // Oldest last: the order of the plan is newest first.
    let gone: Vec<_> = done.iter().map(|d| (&d.id, &d.fate)).collect();
    assert_eq!(
        gone,
        [
            (&nights[1].id, &Fate::Removed),
            (&nights[0].id, &Fate::Removed)
        ]
    );
    assert!(done.iter().all(|d| d.bytes > 1000));
    let stays = [&nights[2], &nights[3], &wiki, &cold].map(Manifest::prefix);
    let expected: Vec<_> = before
        .into_iter()
        .filter(|(key, _)| stays.iter().any(|p| key.starts_with(p)))
        .collect();
    assert_eq!(memory.objects().into_iter().collect::<Vec<_>>(), expected);
    // Nothing is left to do.
    assert_eq!(prune(&disk, &last(2), false).await, []);
}

#[tokio::test]
async fn more_than_half_needs_force_for_each_group() {
    let memory = Memory::new();
    let disk = target("disk", memory.clone());
    nights(&disk).await;
    for day in ["2026-11-18", "2026-11-19", "2026-11-20"] {
        dump(&[Arc::clone(&disk)], "wiki", &format!("{day}T02:30:00Z")).await;
    }
    // Two of three wikis would stay, but only one of four blogs.
    let keep = |minion: &str, _| Some(last(if minion == "wiki" { 2 } else { 1 }));
    let plan = plan(list(&disk).await, keep, at(NOW), "UTC");
    let done = carry_out(&disk, &plan, false, at(NOW)).await;
    let refused = done.iter().filter(|d| d.fate == Fate::Refused).count();
    let removed = done.iter().filter(|d| d.fate == Fate::Removed).count();
    assert_eq!((refused, removed), (3, 1));
    assert_eq!(ids(&disk).await.len(), 6);
    let done = carry_out(&disk, &plan, true, at(NOW)).await;
    assert!(done.iter().all(|d| d.fate == Fate::Removed), "{done:?}");
    assert_eq!(ids(&disk).await.len(), 3);
}

/// Whatever call a run is killed at: nothing that should stay is touched, nothing half-deleted
/// counts, and the next run brings it to its end.
#[tokio::test]
async fn killed_at_every_call_it_loses_nothing_and_the_next_run_finishes() {
    for keep in [last(2), last(1)] {
        let mut killed = 0;
        for call in 1.. {
            let memory = Memory::new();
            let disk = target("disk", memory.clone());
            let nights = nights(&disk).await;
            let stays: BTreeSet<String> = nights
                .iter()
                .rev()
                .take(usize::try_from(keep.last).unwrap())
                .map(|m| m.id.to_string())
                .collect();
            memory.die_at(call);
            let listed = catalog::list(&disk, PROJECT, None).await;
            if let Ok(listing) = listed {
                carry_out(&disk, &decide(listing, &keep), true, at(NOW)).await;
            }
            let done = !memory.is_dead();
            memory.revive();
            let context = format!("killed at call {call}");
            assert_whole(&disk, &context).await;
            assert!(ids(&disk).await.is_superset(&stays), "{context}");
            prune(&disk, &keep, true).await;
            assert_eq!(ids(&disk).await, stays, "{context}");
            assert_whole(&disk, &context).await;
            // No litter either.
            assert_eq!(memory.objects().len(), stays.len() * 3, "{context}");
            if done {
                break;
            }
            killed += 1;
        }
        assert!(killed > 15, "only {killed} calls");
    }
}

/// A call that fails, or whose answer is lost, is no different, and it is told.
#[tokio::test]
async fn failing_at_every_call_it_tells_and_the_next_run_finishes() {
    for lose in [false, true] {
        for call in 1.. {
            let memory = Memory::new();
            let disk = target("disk", memory.clone());
            let nights = nights(&disk).await;
            let plan = decide(list(&disk).await, &last(2));
            let calls = memory.calls();
            if lose {
                memory.lose_answer_at(call);
            } else {
                memory.fail_at(call);
            }
            let done = carry_out(&disk, &plan, false, at(NOW)).await;
            let hit = memory.calls() - calls >= call;
            let told = done.iter().any(|d| matches!(d.fate, Fate::Failed(_)));
            assert_eq!(told, hit, "call {call}, answer lost {lose}: {done:?}");
            if !hit {
                assert!(call > 12, "only {call} calls");
                break;
            }
            assert_whole(&disk, &format!("call {call}")).await;
            prune(&disk, &last(2), false).await;
            let stays: BTreeSet<String> = nights[2..].iter().map(|m| m.id.to_string()).collect();
            assert_eq!(ids(&disk).await, stays);
            assert_eq!(memory.objects().len(), 6, "call {call}");
        }
    }
}

/// A failure of the one does not keep the others from being pruned.
#[tokio::test]
async fn a_failure_stops_only_its_own_snapshot() {
    let memory = Memory::new();
    let disk = target("disk", memory.clone());
    let nights = nights(&disk).await;
    let plan = decide(list(&disk).await, &last(2));
    memory.fail_at(1);
    let done = carry_out(&disk, &plan, false, at(NOW)).await;
    assert!(matches!(done[0].fate, Fate::Failed(_)), "{done:?}");
    assert_eq!(done[1].fate, Fate::Removed);
    assert_eq!(ids(&disk).await.len(), 3);
    assert!(ids(&disk).await.contains(nights[1].id.as_str()));
}

#[tokio::test]
async fn f14_what_the_store_holds_is_told_and_never_counted_as_pruned() {
    let memory = Memory::new();
    let disk = target("disk", memory.clone());
    nights(&disk).await;
    memory.refuse_deletes(true);
    let done = prune(&disk, &last(2), false).await;
    assert_eq!(done.len(), 2, "it keeps going: {done:?}");
    for d in &done {
        assert!(
            matches!(&d.fate, Fate::Held(why) if why.contains("locked")),
            "{d:?}"
        );
    }
    // Until the lock has run out: told each time, and finished then.
    let again = prune(&disk, &last(2), false).await;
    assert!(again.iter().all(|d| matches!(d.fate, Fate::Held(_))) && again.len() == 2);
    memory.refuse_deletes(false);
    let done = prune(&disk, &last(2), false).await;
    assert!(done.iter().all(|d| d.fate == Fate::Removed) && done.len() == 2);
    assert_eq!(memory.objects().len(), 6);
}

#[tokio::test]
async fn nothing_is_deleted_where_not_everything_could_be_read() {
    let memory = Memory::new();
    let disk = target("disk", memory.clone());
    let nights = nights(&disk).await;
    memory.tamper(&format!("{}tombstone.json", nights[0].prefix()), "{}");
    let before = memory.objects();
    // The newest cannot be read just now: by the others alone, an older one would be the newest.
    memory.fail_at(4);
    let plan = decide(list(&disk).await, &last(1));
    assert!(plan.blocked.is_some());
    assert_eq!(carry_out(&disk, &plan, true, at(NOW)).await, []);
    assert_eq!(memory.objects(), before);
}

#[tokio::test]
async fn broken_snapshots_are_left_to_people() {
    let memory = Memory::new();
    let disk = target("disk", memory.clone());
    let nights = nights(&disk).await;
    memory.tamper(&format!("{}manifest.json", nights[0].prefix()), "{");
    prune(&disk, &last(2), false).await;
    let left = memory.objects();
    let of = |m: &Manifest| left.keys().filter(|k| k.starts_with(&m.prefix())).count();
    assert_eq!([of(&nights[0]), of(&nights[1])], [3, 0]);
}

#[tokio::test]
async fn what_killed_runs_left_goes_after_a_day_and_not_before() {
    let memory = Memory::new();
    let disk = target("disk", memory.clone());
    let all = [Arc::clone(&disk)];
    dump(&all, "blog", "2026-11-20T02:30:00Z").await;
    let hours = |h: i64| (at(NOW) - SignedDuration::from_hours(h)).to_string();
    let (old, young) = (
        dump(&all, "blog", &hours(25)).await,
        dump(&all, "blog", &hours(23)).await,
    );
    for m in [&old, &young] {
        memory.lose(&format!("{}manifest.json", m.prefix()));
    }
    let done = prune(&disk, &last(5), false).await;
    assert_eq!(done.len(), 1);
    assert_eq!((&done[0].id, &done[0].fate), (&old.id, &Fate::Removed));
    let left = memory.objects();
    assert!(left.keys().any(|k| k.starts_with(&young.prefix())));
    assert!(!left.keys().any(|k| k.starts_with(&old.prefix())));
    // Uploads that nobody sees: the same.
    let upload = disk
        .storage
        .upload("v1/example.org/blog/dump/x/y")
        .await
        .unwrap();
    std::mem::forget(upload);
    assert_eq!(
        memory
            .sweep(Timestamp::now() - SignedDuration::from_hours(24))
            .await
            .unwrap(),
        0
    );
    assert_eq!(memory.under_way(), 1);
}

#[tokio::test]
async fn what_changed_since_the_look_is_spared() {
    let memory = Memory::new();
    let disk = target("disk", memory.clone());
    let all = [Arc::clone(&disk)];
    let nights = nights(&disk).await;
    let late = dump(&all, "blog", "2026-11-10T02:30:00Z").await;
    let key = format!("{}manifest.json", late.prefix());
    memory.lose(&key);
    let plan = decide(list(&disk).await, &last(2));
    memory.tamper(&format!("{}pinned.json", nights[0].prefix()), "{}");
    memory.tamper(&key, late.to_bytes());
    let done = carry_out(&disk, &plan, false, at(NOW)).await;
    let fate = |m: &Manifest| done.iter().find(|d| d.id == m.id).map(|d| d.fate.clone());
    assert_eq!(
        fate(&nights[0]),
        Some(Fate::Spared("it was pinned meanwhile"))
    );
    assert_eq!(
        fate(&late),
        Some(Fate::Spared("it has become whole since we looked"))
    );
    assert_eq!(fate(&nights[1]), Some(Fate::Removed));
    assert_eq!(ids(&disk).await.len(), 4);
}

/// When the store last touched an object plays no role: everything here was written just now, in
/// the wrong order.
#[tokio::test]
async fn f12_when_objects_were_written_plays_no_role() {
    let folder = tempfile::tempdir().unwrap();
    let disk = snapshot_support::folder("disk", &folder.path().join("backups"));
    let all = [Arc::clone(&disk)];
    let mut written = Vec::new();
    for day in ["2026-11-20", "2026-11-17", "2026-11-19", "2026-11-18"] {
        written.push(dump(&all, "blog", &format!("{day}T02:30:00Z")).await);
    }
    // The oldest looks the youngest, and the newest as if it were of 1980.
    let touch = |m: &Manifest, seconds: u64| {
        let path = folder
            .path()
            .join("backups")
            .join(m.prefix())
            .join("manifest.json");
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        std::fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    };
    touch(&written[0], 315_532_800);
    touch(&written[1], 4_102_444_800);
    prune(&disk, &last(2), false).await;
    let stays = [&written[0], &written[2]].map(|m| m.id.to_string());
    assert_eq!(ids(&disk).await, BTreeSet::from(stays));
}
