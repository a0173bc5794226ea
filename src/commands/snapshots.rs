//! `summoner snapshots`: what is there, where, and what it is worth. Reads only.

use anyhow::Result;
use serde_json::{Value, json};

use crate::backup::catalog::{Broken, Entry};
use crate::backup::manifest::Status;
use crate::cli::SnapshotsArgs;
use crate::clock::{Clock as _, SystemClock};
use crate::commands::shelf::{self, Shelf};
use crate::commands::{Session, exit, world};
use crate::project::Project;

pub(super) async fn run(session: &Session, args: &SnapshotsArgs) -> Result<u8> {
    let project = world::open(session)?;
    let minion = args.minion.as_deref();
    let shelf = shelf::look(session, &project, args.from.as_deref(), minion).await?;
    if let Some(minion) = minion {
        shelf::known(session, &project, &shelf, minion).await?;
    }
    let mut entries = shelf.entries();
    entries.sort_by(|a, b| {
        let key = |e: &Entry| {
            (
                e.manifest.minion.clone(),
                std::cmp::Reverse(e.manifest.started),
            )
        };
        key(a).cmp(&key(b))
    });
    if args.json {
        session.report.json(&document(&shelf, &entries))?;
    } else {
        print(session, &project, &shelf, &entries, minion);
    }
    let whole = shelf.down.is_empty() && shelf.shelves.iter().all(|(_, l)| l.is_whole());
    Ok(if whole { exit::OK } else { exit::PARTIAL })
}

fn print(
    session: &Session,
    project: &Project,
    shelf: &Shelf,
    entries: &[Entry],
    minion: Option<&str>,
) {
    let now = SystemClock.now();
    let rows = entries
        .iter()
        .map(|e| {
            let m = &e.manifest;
            vec![
                m.id.short().to_owned(),
                m.minion.clone(),
                m.kind.name().to_owned(),
                shelf::time(project, m.started),
                shelf::age(m.started, now),
                shelf::size(m.stored_bytes()),
                e.destination.clone(),
                status(m.status).to_owned(),
                worth(e, now),
            ]
        })
        .collect();
    let report = &session.report;
    if !entries.is_empty() {
        report.table(
            &[
                "ID",
                "MINION",
                "KIND",
                "TIME",
                "AGE",
                "SIZE",
                "DESTINATION",
                "STATUS",
                "CHECKED",
            ],
            rows,
        );
    }
    for entry in entries {
        for remark in &entry.manifest.remarks {
            report.note(&format!("`{}`: {remark}", entry.manifest.id.short()));
        }
    }
    for (target, listing) in &shelf.shelves {
        for broken in &listing.broken {
            report.warn(&format!(
                "`{}` in `{}`, {} of `{}`: {}",
                broken.id,
                target.name,
                broken.kind.name(),
                broken.minion,
                broken.reason
            ));
        }
    }
    if entries.is_empty() && shelf.shelves.iter().all(|(_, l)| l.broken.is_empty()) {
        let minion = minion.map_or_else(String::new, |m| format!(" {m}"));
        report.note(&format!(
            "no snapshot yet; `summoner dump{minion}` makes one"
        ));
    }
}

/// What checks say, and whether it is pinned.
fn worth(entry: &Entry, now: jiff::Timestamp) -> String {
    let checked = match (entry.verdict(), entry.latest_check()) {
        (Some(good), Some(check)) => {
            // The latest may have passed while one of another kind has not.
            let word = if good { "" } else { "FAILED " };
            let failed = entry.verified.iter().rev().find(|v| v.good == good);
            let check = failed.unwrap_or(check);
            format!("{word}{} {}", check.how, shelf::age(check.at, now))
        }
        _ => String::new(),
    };
    match (checked.is_empty(), entry.pinned) {
        (_, false) => checked,
        (true, true) => "pinned".to_owned(),
        (false, true) => format!("{checked}, pinned"),
    }
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Complete => "complete",
        Status::Suspect => "suspect",
    }
}

fn document(shelf: &Shelf, entries: &[Entry]) -> Value {
    let snapshots: Vec<Value> = entries.iter().map(snapshot).collect();
    let broken = |(name, b): (&String, &Broken)| {
        json!({
            "destination": name, "minion": b.minion, "kind": b.kind, "id": b.id,
            "key": b.prefix, "reason": b.reason,
        })
    };
    let broken: Vec<Value> = shelf
        .shelves
        .iter()
        .flat_map(|(t, l)| l.broken.iter().map(move |b| (&t.name, b)))
        .map(broken)
        .collect();
    let up = shelf.shelves.iter().map(
        |(target, _)| json!({"name": target.name, "place": target.storage.place(), "error": null}),
    );
    let down = shelf
        .down
        .iter()
        .map(|(name, error)| json!({"name": name, "error": error.to_string()}));
    json!({
        "schema_version": 1,
        "destinations": up.chain(down).collect::<Vec<_>>(),
        "snapshots": snapshots,
        "broken": broken,
    })
}

fn snapshot(entry: &Entry) -> Value {
    let m = &entry.manifest;
    json!({
        "id": m.id,
        "short": m.id.short(),
        "minion": m.minion,
        "kind": m.kind,
        "started": m.started,
        "finished": m.finished,
        "slot": m.slot,
        "timezone": m.timezone,
        "status": m.status,
        "remarks": m.remarks,
        "destination": entry.destination,
        "stored_bytes": m.stored_bytes(),
        "plain_bytes": m.objects.iter().map(|o| o.plain_bytes).sum::<u64>(),
        "objects": m.objects.len(),
        "run": m.run,
        "verified": entry.verdict(),
        "checks": entry.verified,
        "pinned": entry.pinned,
    })
}
