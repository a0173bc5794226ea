//! `summoner prune`: deletes what the rules of `keep:` do not want, with a reason on every line.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};

use crate::backup::catalog::{self, Listing};
use crate::backup::destination::Target;
use crate::backup::manifest::{Kind, SnapshotId};
use crate::backup::prune::{self, Done, Fate, Plan};
use crate::cli::PruneArgs;
use crate::clock::{Clock as _, SystemClock};
use crate::commands::{Session, exit, shelf, world};
use crate::config::environment::Keep;
use crate::project::Project;
use crate::state::StateError;
use crate::state::lock::Lock;
use crate::storage::Object;

/// One line of what is told.
struct Line {
    destination: String,
    minion: String,
    kind: Kind,
    id: SnapshotId,
    bytes: u64,
    action: &'static str,
    reason: String,
}

/// What came of a run.
#[derive(Default)]
struct Told {
    lines: Vec<Line>,
    failures: Vec<String>,
    refused: bool,
    locked: usize,
    swept: usize,
}

pub(super) async fn run(session: &Session, args: &PruneArgs) -> Result<u8> {
    let project = world::open(session)?;
    let mut shelf = shelf::look(session, &project, None, None).await?;
    for minion in &args.minions {
        shelf::known(session, &project, &shelf, minion).await?;
    }
    let mut minions = shelf.minions();
    minions.retain(|m| args.minions.is_empty() || args.minions.contains(m));
    let mut told = Told::default();
    for minion in &minions {
        let lock = if args.dry_run {
            None
        } else {
            match Lock::take_minion(&project.paths, minion, "prune") {
                Ok(lock) => Some(lock),
                Err(error @ StateError::Locked(_)) => {
                    told.locked += 1;
                    told.failures
                        .push(format!("`{minion}` is left alone: {error}"));
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
        };
        for (target, listing) in &mut shelf.shelves {
            prune(&project, args, target, listing, minion, &mut told).await;
        }
        drop(lock);
    }
    if !args.dry_run {
        let before = SystemClock.now() - prune::LEFT;
        for (target, _) in &shelf.shelves {
            match target.storage.sweep(before).await {
                Ok(swept) => told.swept += swept,
                Err(error) => told
                    .failures
                    .push(format!("destination `{}`: {error}", target.name)),
            }
        }
    }
    if args.json {
        let down: Vec<Value> = shelf
            .down
            .iter()
            .map(|(name, error)| json!({"name": name, "error": error.to_string()}))
            .collect();
        session.report.json(&document(args, &told, &down))?;
    } else {
        print(session, args, &told);
    }
    for failure in &told.failures {
        session.report.fail(failure);
    }
    if told.refused && args.dry_run {
        session.report.note("more than half of these would go at once: `summoner prune` does that only with `--force`");
    } else if told.refused {
        session.report.fail(
            "more than half of the snapshots would go at once: nothing of these was deleted\n  \
             hint: look at `summoner prune --dry-run`; if that is what you want: `summoner prune --force`",
        );
    }
    Ok(if told.refused && !args.dry_run {
        exit::REFUSED
    } else if told.locked > 0 && told.locked == minions.len() {
        exit::LOCKED
    } else if !told.failures.is_empty() || !shelf.down.is_empty() {
        exit::PARTIAL
    } else {
        exit::OK
    })
}

/// One minion in one destination.
async fn prune(
    project: &Project,
    args: &PruneArgs,
    target: &Arc<Target>,
    seen: &mut Listing,
    minion: &str,
    told: &mut Told,
) {
    let listing = if args.dry_run {
        take(seen, minion)
    } else {
        // Anew: what is decided now must not rest on what was there before we had the lock.
        match catalog::list(target, &project.environment.project, Some(minion)).await {
            Ok(listing) => listing,
            Err(error) => {
                told.failures
                    .push(format!("destination `{}`: {error}", target.name));
                return;
            }
        }
    };
    let now = SystemClock.now();
    let keep = |minion: &str, kind: Kind| keep(project, minion, kind);
    for broken in listing.broken.iter().filter(|b| !b.unread) {
        told.lines.push(Line {
            destination: target.name.clone(),
            minion: broken.minion.clone(),
            kind: broken.kind,
            id: broken.id.clone(),
            bytes: 0,
            action: "keep",
            reason: format!(
                "{}: look at it, then delete its folder by hand",
                broken.reason
            ),
        });
    }
    let plan = prune::plan(listing, keep, now, &project.environment.timezone);
    if let Some(reason) = &plan.blocked {
        told.failures.push(format!(
            "destination `{}`: nothing of `{minion}` is deleted, since not everything could be read: {reason}",
            target.name
        ));
    }
    let done = if args.dry_run {
        Vec::new()
    } else {
        prune::carry_out(target, &plan, args.force, now).await
    };
    tell(told, args, target, &plan, &done);
}

/// What a listing of everything holds of one minion.
fn take(seen: &mut Listing, minion: &str) -> Listing {
    let of = |m: &str| m == minion;
    Listing {
        entries: seen
            .entries
            .extract_if(.., |e| of(&e.manifest.minion))
            .collect(),
        broken: seen.broken.extract_if(.., |b| of(&b.minion)).collect(),
        remains: seen.remains.extract_if(.., |r| of(&r.minion)).collect(),
    }
}

/// The rules of a minion; those of the project for what is not in config.yml (any more).
fn keep(project: &Project, minion: &str, kind: Kind) -> Option<Keep> {
    let environment = &project.environment;
    let instance = environment.instances.iter().find(|i| i.name == minion);
    let backup = instance.map_or(&environment.backup, |i| &i.backup);
    match kind {
        Kind::Dump => backup.dump.keep.clone(),
        Kind::Backup => backup.cold.keep.clone(),
    }
}

/// A folder of the plan.
struct Case<'a> {
    minion: &'a str,
    kind: Kind,
    id: &'a SnapshotId,
    objects: &'a [Object],
    remove: bool,
    /// More than half of its group would go.
    drastic: bool,
    reason: String,
}

fn tell(told: &mut Told, args: &PruneArgs, target: &Target, plan: &Plan, done: &[Done]) {
    let fates: BTreeMap<&str, &Fate> = done.iter().map(|d| (d.id.as_str(), &d.fate)).collect();
    let snapshots = plan.groups.iter().flat_map(|group| {
        group.lines.iter().map(|(entry, decision)| Case {
            minion: &group.minion,
            kind: group.kind,
            id: &entry.manifest.id,
            objects: &entry.objects,
            remove: !decision.keep,
            drastic: group.drastic,
            reason: decision.reasons.join(", "),
        })
    });
    let remains = plan.remains.iter().map(|leftover| Case {
        minion: &leftover.remains.minion,
        kind: leftover.remains.kind,
        id: &leftover.remains.id,
        objects: &leftover.remains.objects,
        remove: leftover.remove,
        drastic: false,
        reason: leftover.reason.to_owned(),
    });
    for case in snapshots.chain(remains) {
        let (action, instead) = match fates.get(case.id.as_str()) {
            _ if !case.remove => ("keep", None),
            None if plan.blocked.is_some() => ("keep", Some("not everything could be read")),
            None | Some(Fate::Refused) if case.drastic && !args.force => ("refuse", None),
            None | Some(Fate::Removed | Fate::Refused) => ("remove", None),
            Some(Fate::Held(why)) => ("held", Some(why.as_str())),
            Some(Fate::Failed(why)) => ("failed", Some(why.as_str())),
            Some(Fate::Spared(why)) => ("keep", Some(*why)),
        };
        told.refused |= action == "refuse";
        if let ("held" | "failed", Some(why)) = (action, instead) {
            told.failures.push(format!(
                "destination `{}`: {} {} of `{}` is not deleted: {why}",
                target.name,
                case.kind.name(),
                case.id.short(),
                case.minion
            ));
        }
        told.lines.push(Line {
            destination: target.name.clone(),
            minion: case.minion.to_owned(),
            kind: case.kind,
            id: case.id.clone(),
            bytes: case.objects.iter().map(|o| o.size).sum(),
            action,
            reason: instead.map_or(case.reason, str::to_owned),
        });
    }
}

fn print(session: &Session, args: &PruneArgs, told: &Told) {
    let report = &session.report;
    let rows = told
        .lines
        .iter()
        .map(|l| {
            let action = match l.action {
                "keep" => l.action.to_owned(),
                action => report.bad(action),
            };
            vec![
                action,
                l.id.short().to_owned(),
                l.minion.clone(),
                l.kind.name().to_owned(),
                // By the id: remains have no manifest that could tell.
                l.id.as_str().get(..16).unwrap_or_default().to_owned(),
                shelf::size(l.bytes),
                l.destination.clone(),
                l.reason.clone(),
            ]
        })
        .collect();
    if told.lines.is_empty() {
        report.note("no snapshot yet: nothing to prune");
        return;
    }
    report.table(
        &[
            "ACTION",
            "ID",
            "MINION",
            "KIND",
            "TIME (UTC)",
            "SIZE",
            "DESTINATION",
            "WHY",
        ],
        rows,
    );
    let removed = || told.lines.iter().filter(|l| l.action == "remove");
    let bytes = shelf::size(removed().map(|l| l.bytes).sum());
    let kept = told.lines.len() - removed().count();
    let (would, word) = if args.dry_run {
        ("would be ", "would stay")
    } else {
        ("", "stay")
    };
    report.note(&format!(
        "{} {would}removed ({bytes}), {kept} {word}",
        removed().count()
    ));
    if told.swept > 0 {
        report.note(&format!(
            "{} unfinished uploads of killed runs were taken away",
            told.swept
        ));
    }
}

fn document(args: &PruneArgs, told: &Told, down: &[Value]) -> Value {
    let line = |l: &Line| {
        json!({
            "action": l.action,
            "id": l.id,
            "minion": l.minion,
            "kind": l.kind,
            "destination": l.destination,
            "bytes": l.bytes,
            "reason": l.reason,
        })
    };
    json!({
        "schema_version": 1,
        "dry_run": args.dry_run,
        "snapshots": told.lines.iter().map(line).collect::<Vec<_>>(),
        "swept_uploads": told.swept,
        "failures": told.failures,
        "down": down,
    })
}
