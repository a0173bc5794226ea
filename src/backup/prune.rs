//! Deleting what the rules of `keep:` do not want any more.
//!
//! First a tombstone: from then on the snapshot does not count. Then the manifest, then the data,
//! the tombstone last. A run that is killed in between is continued by the next one. What a store
//! refuses to delete is told, and never counted as pruned.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::backup::catalog::{self, Entry, Listing, Remains};
use crate::backup::destination::Target;
use crate::backup::manifest::{Kind, MANIFEST, PINNED, SnapshotId, TOMBSTONE};
use crate::backup::retention::{self, Decision};
use crate::config::environment::Keep;
use crate::storage::StorageError;

/// What a killed run has left is taken away after so long; younger, it may be one that still runs.
pub const LEFT: SignedDuration = SignedDuration::from_hours(24);

/// What pruning would do with one destination.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Snapshots, decided group by group.
    pub groups: Vec<Group>,
    /// Half-done ones: deletions to go on with, and runs that were killed.
    pub remains: Vec<Leftover>,
    /// Why nothing may be deleted at all: something could not be read.
    pub blocked: Option<String>,
}

/// The snapshots of one minion and kind.
#[derive(Debug, Clone)]
pub struct Group {
    /// Instance.
    pub minion: String,
    /// Kind.
    pub kind: Kind,
    /// Each with what becomes of it, newest first.
    pub lines: Vec<(Entry, Decision)>,
    /// More than half would go: only when forced.
    pub drastic: bool,
}

/// A folder that is no snapshot.
#[derive(Debug, Clone)]
pub struct Leftover {
    /// What is there.
    pub remains: Remains,
    /// Whether it goes.
    pub remove: bool,
    /// Why, or why not.
    pub reason: &'static str,
}

/// What became of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is gone, all of it.
    Removed,
    /// The store holds it for a while; some of it is still there.
    Held(String),
    /// It could not be deleted, or not all of it; the next run goes on.
    Failed(String),
    /// It stays: more than half would go, and nobody said `--force`.
    Refused,
    /// It stays: it was pinned since we looked, or turned out to be whole.
    Spared(&'static str),
}

/// What became of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Instance.
    pub minion: String,
    /// Kind.
    pub kind: Kind,
    /// Snapshot.
    pub id: SnapshotId,
    /// Bytes it took.
    pub bytes: u64,
    /// What became of it.
    pub fate: Fate,
}

/// Decides what goes and what stays, for everything in `listing`. `keep` tells the rules of a minion
/// and kind; `timezone` is the project's.
pub fn plan(
    listing: Listing,
    keep: impl Fn(&str, Kind) -> Option<Keep>,
    now: Timestamp,
    timezone: &str,
) -> Plan {
    let unread = listing.broken.iter().find(|b| b.unread);
    let blocked = unread.map(|b| format!("`{}`: {}", b.id, b.reason));
    let mut groups: BTreeMap<(String, Kind), Vec<Entry>> = BTreeMap::new();
    for entry in listing.entries {
        let key = (entry.manifest.minion.clone(), entry.manifest.kind);
        groups.entry(key).or_default().push(entry);
    }
    let decide = |((minion, kind), entries): ((String, Kind), Vec<Entry>)| {
        let past: Vec<_> = entries.iter().map(Entry::past).collect();
        let decisions = retention::decide(&past, keep(&minion, kind).as_ref(), now, timezone);
        let drastic = retention::takes_more_than_half(&decisions);
        let mut by_id: BTreeMap<String, Entry> = entries
            .into_iter()
            .map(|e| (e.manifest.id.to_string(), e))
            .collect();
        let lines = decisions
            .into_iter()
            .filter_map(|d| Some((by_id.remove(&d.id)?, d)))
            .collect();
        Group {
            minion,
            kind,
            lines,
            drastic,
        }
    };
    Plan {
        groups: groups.into_iter().map(decide).collect(),
        remains: listing
            .remains
            .into_iter()
            .map(|r| leftover(r, now))
            .collect(),
        blocked,
    }
}

fn leftover(remains: Remains, now: Timestamp) -> Leftover {
    // An id whose time is none is as old as can be told: not at all.
    let begun = remains.id.time();
    let old = begun.is_some_and(|t| now.duration_since(t) > LEFT);
    let (remove, reason) = match (remains.doomed, old) {
        (true, _) => (true, "its deletion was begun by an earlier run"),
        (false, true) => (true, "a run that was killed has left it unfinished"),
        (false, false) => (false, "not finished: a run may be writing it"),
    };
    Leftover {
        remains,
        remove,
        reason,
    }
}

/// Carries out a plan; what became of everything that should go. Goes on after failures.
pub async fn carry_out(target: &Target, plan: &Plan, force: bool, now: Timestamp) -> Vec<Done> {
    let mut done = Vec::new();
    if plan.blocked.is_some() {
        return done;
    }
    for leftover in plan.remains.iter().filter(|l| l.remove) {
        let remains = &leftover.remains;
        let fate = match finish(target, remains).await {
            Ok(fate) => fate,
            Err(error) => failed(error),
        };
        done.push(Done {
            minion: remains.minion.clone(),
            kind: remains.kind,
            id: remains.id.clone(),
            bytes: remains.objects.iter().map(|o| o.size).sum(),
            fate,
        });
    }
    for group in &plan.groups {
        for (entry, decision) in group.lines.iter().filter(|(_, d)| !d.keep) {
            let fate = if group.drastic && !force {
                Fate::Refused
            } else {
                remove(target, entry, decision, now)
                    .await
                    .unwrap_or_else(failed)
            };
            done.push(Done {
                minion: group.minion.clone(),
                kind: group.kind,
                id: entry.manifest.id.clone(),
                bytes: entry.objects.iter().map(|o| o.size).sum(),
                fate,
            });
        }
    }
    done
}

fn failed(error: StorageError) -> Fate {
    match error {
        StorageError::Held { .. } => Fate::Held(error.to_string()),
        other => Fate::Failed(other.to_string()),
    }
}

/// Deletes a snapshot.
async fn remove(
    target: &Target,
    entry: &Entry,
    decision: &Decision,
    now: Timestamp,
) -> Result<Fate, StorageError> {
    let prefix = entry.manifest.prefix();
    let pinned = format!("{prefix}{PINNED}");
    if target.storage.stat(&pinned).await?.is_some() {
        return Ok(Fate::Spared("it was pinned meanwhile"));
    }
    let tombstone = format!("{prefix}{TOMBSTONE}");
    let note = json!({
        "at": now,
        "reasons": decision.reasons,
        "summoner": env!("CARGO_PKG_VERSION"),
    });
    match catalog::put_json(target, &tombstone, &note).await {
        Ok(()) | Err(StorageError::Exists(_)) => {}
        Err(error) => return Err(error),
    }
    if let Err(error) = target.storage.delete(&format!("{prefix}{MANIFEST}")).await {
        // It is as whole as before: nobody should miss it in the list for as long as it is held.
        if matches!(error, StorageError::Held { .. }) {
            let _ = target.storage.delete(&tombstone).await;
        }
        return Err(error);
    }
    empty(target, &prefix).await
}

/// Goes on with a deletion, or takes away what a killed run has left.
async fn finish(target: &Target, remains: &Remains) -> Result<Fate, StorageError> {
    let manifest = format!("{}{MANIFEST}", remains.prefix);
    if remains.doomed {
        target.storage.delete(&manifest).await?;
    } else if target.storage.stat(&manifest).await?.is_some() {
        return Ok(Fate::Spared("it has become whole since we looked"));
    }
    empty(target, &remains.prefix).await
}

/// Deletes what is in a folder whose manifest is gone; the tombstone last, so that a run that is
/// killed here is continued. A deletion that is refused does not stop the others.
async fn empty(target: &Target, prefix: &str) -> Result<Fate, StorageError> {
    let tombstone = format!("{prefix}{TOMBSTONE}");
    let mut first = None;
    // Listed anew: a check may have written down its finding since.
    for object in target.storage.list(prefix).await? {
        if object.key == tombstone {
            continue;
        }
        if let Err(error) = target.storage.delete(&object.key).await {
            first.get_or_insert(error);
        }
    }
    if let Some(error) = first {
        return Err(error);
    }
    target.storage.delete(&tombstone).await?;
    Ok(Fate::Removed)
}
