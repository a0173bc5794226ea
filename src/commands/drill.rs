//! `summoner drill`: the newest snapshots are restored where nobody sees it, checked, thrown away.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::backup::catalog::{self, Entry, Which};
use crate::backup::destination::Target;
use crate::backup::drill::{self, Found};
use crate::backup::manifest::Kind;
use crate::backup::restore::{Job, RestoreError};
use crate::backup::scratch::{self, Purpose, Scratch};
use crate::cli::DrillArgs;
use crate::clock::{Clock as _, SystemClock};
use crate::commands::restore::{Subject, show};
use crate::commands::world::{self, World};
use crate::commands::{Session, exit, shelf, signals};
use crate::events::Events;
use crate::state::lock::Lock;

/// One snapshot that was drilled.
struct Drilled {
    minion: String,
    entry: Entry,
    result: Result<Found, RestoreError>,
}

pub(super) async fn run(session: &Session, args: &DrillArgs) -> Result<u8> {
    let report = &session.report;
    let world = world::look(session, world::open(session)?).await?;
    let scope = world::scope(&world.project, None, &args.minions)?;
    let shelf = shelf::look(session, &world.project, args.destination.as_deref(), None).await?;
    world.project.paths.create()?;
    world.project.secrets.save(&world.project.paths)?;
    let mut all = Vec::new();
    let listening = signals::listen(report);
    let names: Vec<String> = world
        .project
        .environment
        .instances
        .iter()
        .map(|i| i.name.clone())
        .filter(|n| {
            scope
                .as_ref()
                .is_none_or(|s: &BTreeSet<String>| s.contains(n))
        })
        .collect();
    let entries = shelf.entries();
    for minion in names {
        for kind in [Kind::Dump, Kind::Backup] {
            let of: Vec<Entry> = entries
                .iter()
                .filter(|e| e.manifest.minion == minion && e.manifest.kind == kind)
                .cloned()
                .collect();
            // A minion without snapshots of a kind has none to be drilled; `status` says so.
            let Ok(entry) = catalog::choose(&of, &newest(&of)) else {
                continue;
            };
            let Some((target, _)) = shelf
                .shelves
                .iter()
                .find(|(t, _)| t.name == entry.destination)
            else {
                continue;
            };
            let _lock =
                Lock::take_minion(&world.project.paths, &format!("{minion}.drill"), "drill")?;
            let cancelled = listening.cancelled.clone();
            let result = one(session, args, &world, target, entry, cancelled).await?;
            report.finish_progress();
            tell(session, args, &minion, entry, &result);
            all.push(Drilled {
                minion: minion.clone(),
                entry: entry.clone(),
                result,
            });
            if *listening.cancelled.borrow() {
                return Ok(exit::INTERRUPTED);
            }
        }
    }
    if all.is_empty() {
        report.note(
            "there is no snapshot to drill\n  hint: `summoner dump` and `summoner backup` make one",
        );
    }
    if args.json {
        let drills: Vec<Value> = all.iter().map(as_json).collect();
        report.json(&json!({ "schema_version": 1, "drills": drills }))?;
    }
    Ok(code(&all))
}

/// The newest one, whatever earlier checks of it said: this is one.
fn newest(entries: &[Entry]) -> Which {
    let newest = entries.iter().max_by_key(|e| e.manifest.id.clone());
    newest.map_or(Which::Latest, |e| Which::Id(e.manifest.id.to_string()))
}

async fn one(
    session: &Session,
    args: &DrillArgs,
    world: &World,
    target: &Arc<Target>,
    entry: &Entry,
    cancelled: tokio::sync::watch::Receiver<bool>,
) -> Result<Result<Found, RestoreError>> {
    let minion = &entry.manifest.minion;
    let subject = Subject::of(world, minion)?;
    let context = scratch::context(
        Arc::clone(&world.engine),
        Arc::clone(&session.report) as Arc<dyn Events>,
        &world.project.environment,
        &world.project.paths,
        cancelled,
    );
    scratch::sweep(&context, minion, Purpose::Drill).await?;
    let now = SystemClock.now();
    let limit = Duration::from_secs(args.wait_timeout);
    let scratch = Scratch::new(&context, subject.group, Purpose::Drill, now, limit);
    let job = Job {
        context: &context,
        group: subject.group,
        minion: &world.project.minions[minion].manifest,
        secrets: &subject.rendered.secrets,
        target,
        key: None,
        manifest: &entry.manifest,
        without: BTreeSet::new(),
    };
    Ok(drill::run(&job, scratch, now).await)
}

fn tell(
    session: &Session,
    args: &DrillArgs,
    minion: &str,
    entry: &Entry,
    result: &Result<Found, RestoreError>,
) {
    let report = &session.report;
    let kind = entry.manifest.kind.name();
    let id = &entry.manifest.id;
    match result {
        Ok(Found::Good(checked)) => {
            show::checked(session, checked);
            if !args.json {
                let seconds = checked.milliseconds / 1000;
                report.line(&format!(
                    "{minion}  {kind} {id}  good, restored in {seconds} s"
                ));
            }
        }
        Ok(Found::Bad(reason)) => report.fail(&format!(
            "{minion}: the {kind} {id} in `{}` cannot be restored: {reason}",
            entry.destination
        )),
        Err(error) => {
            let hint = error
                .hint()
                .map_or(String::new(), |h| format!("\n  hint: {h}"));
            report.fail(&format!(
                "{minion}: the {kind} {id} was not drilled: {error}{hint}"
            ));
        }
    }
}

fn as_json(drilled: &Drilled) -> Value {
    let manifest = &drilled.entry.manifest;
    let (outcome, checked, reason) = match &drilled.result {
        Ok(Found::Good(checked)) => ("good", Some(checked), None),
        Ok(Found::Bad(reason)) => ("bad", None, Some(reason.clone())),
        Err(error) => ("not drilled", None, Some(error.to_string())),
    };
    json!({
        "minion": drilled.minion,
        "kind": manifest.kind.name(),
        "id": manifest.id,
        "destination": drilled.entry.destination,
        "outcome": outcome,
        "checked": checked,
        "reason": reason,
    })
}

fn code(all: &[Drilled]) -> u8 {
    if all.iter().any(|d| matches!(d.result, Ok(Found::Bad(_)))) {
        return exit::VERIFY;
    }
    if all.iter().any(|d| d.result.is_err()) {
        return exit::PARTIAL;
    }
    exit::OK
}
