//! `summoner verify`: are snapshots what was stored? Every one is looked at: a later good one does
//! not hide an older bad one.

use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};

use crate::backup::catalog::{Entry, Which, choose};
use crate::backup::destination::Target;
use crate::backup::error::BackupError;
use crate::backup::verify::{self, Checked, Problem};
use crate::cli::VerifyArgs;
use crate::clock::{Clock as _, SystemClock};
use crate::commands::shelf::{self, Shelf};
use crate::commands::{Session, exit, world};
use crate::events::{Event, Events};

/// A snapshot that was looked at.
struct Look {
    entry: Entry,
    checked: Checked,
    /// Why the result could not be written down.
    unnoted: Option<BackupError>,
}

pub(super) async fn run(session: &Session, args: &VerifyArgs) -> Result<u8> {
    let project = world::open(session)?;
    let minion = args.minion.as_deref();
    let shelf = shelf::look(session, &project, args.from.as_deref(), minion).await?;
    if let Some(minion) = minion {
        shelf::known(session, &project, &shelf, minion).await?;
    }
    let only = match args.snapshot.as_deref() {
        None => None,
        Some(given) => {
            let which = match given {
                "latest" => Which::Latest,
                id => Which::Id(id.to_owned()),
            };
            Some(choose(&shelf.entries(), &which)?.manifest.id.clone())
        }
    };
    let mut looks = Vec::new();
    for (target, listing) in &shelf.shelves {
        for entry in &listing.entries {
            if only.as_ref().is_none_or(|id| entry.manifest.id == *id) {
                looks.push(check(session, target, entry, args.read_data).await);
            }
        }
    }
    session.report.finish_progress();
    // Asked for one snapshot, what is wrong with others is not the answer.
    let broken = only.is_none()
        && shelf
            .shelves
            .iter()
            .any(|(_, l)| l.broken.iter().any(|b| !b.unread));
    if args.json {
        session.report.json(&document(&shelf, &looks))?;
    } else {
        print(session, &shelf, &looks, only.is_none());
    }
    Ok(code(&shelf, &looks, broken))
}

async fn check(session: &Session, target: &Arc<Target>, entry: &Entry, read: bool) -> Look {
    let (checked, unnoted) = if read {
        let events: Arc<dyn Events> = Arc::clone(&session.report) as Arc<dyn Events>;
        let name = format!("{}/{}", entry.manifest.minion, entry.manifest.id.short());
        let action = "verify".to_owned();
        events.event(Event::Started {
            target: name.clone(),
            action: action.clone(),
        });
        let found = verify::data(target, entry, &events, &|| SystemClock.now()).await;
        events.event(Event::Finished {
            target: name,
            action,
        });
        found
    } else {
        (verify::structure(entry), None)
    };
    Look {
        entry: entry.clone(),
        checked,
        unnoted,
    }
}

/// Damage outranks what could not be found out.
fn code(shelf: &Shelf, looks: &[Look], broken: bool) -> u8 {
    let problems = || {
        looks
            .iter()
            .flat_map(|l| l.checked.problems.iter().map(|(_, p)| p))
    };
    let unread = shelf.shelves.iter().any(|(_, l)| !l.is_whole());
    if problems().any(|p| matches!(p, Problem::Damaged(_))) || broken {
        exit::VERIFY
    } else if problems().any(|p| matches!(p, Problem::WrongKey(_))) {
        exit::WRONG_KEY
    } else if unread
        || problems().next().is_some()
        || !shelf.down.is_empty()
        || looks.iter().any(|l| l.unnoted.is_some())
    {
        exit::PARTIAL
    } else {
        exit::OK
    }
}

fn print(session: &Session, shelf: &Shelf, looks: &[Look], broken_too: bool) {
    let report = &session.report;
    let of = |look: &Look| {
        let m = &look.entry.manifest;
        format!(
            "{} of `{}`, {} in `{}`",
            m.kind.name(),
            m.minion,
            m.id.short(),
            look.entry.destination
        )
    };
    for look in looks {
        let checked = &look.checked;
        let read = match checked.bytes {
            0 => String::new(),
            bytes => format!(", {} read", shelf::size(bytes)),
        };
        let objects = match checked.good {
            1 => "1 object".to_owned(),
            n => format!("{n} objects"),
        };
        if checked.is_good() {
            let good = report.good("good");
            report.line(&format!("{}: {good}, {objects}{read}", of(look)));
        } else {
            let bad = report.bad("BAD");
            report.line(&format!("{}: {bad}", of(look)));
            for (object, problem) in &checked.problems {
                report.line(&format!("  `{object}`: {}", problem.text()));
            }
        }
        if checked.sealed > 0 {
            report.note(&format!(
                "{}: hashed but not decrypted, no key to it is at hand",
                of(look)
            ));
        }
        if let Some(error) = &look.unnoted {
            report.warn(&format!(
                "{}: failed to write the result down: {error}",
                of(look)
            ));
        }
    }
    for (target, listing) in shelf.shelves.iter().filter(|_| broken_too) {
        for b in &listing.broken {
            let bad = report.bad("BAD");
            report.line(&format!(
                "{} of `{}`, {} in `{}`: {bad}\n  {}",
                b.kind.name(),
                b.minion,
                b.id.short(),
                target.name,
                b.reason
            ));
        }
    }
    if looks.is_empty() {
        report.note("no snapshot to look at");
    }
}

fn document(shelf: &Shelf, looks: &[Look]) -> Value {
    let snapshot = |look: &Look| {
        let m = &look.entry.manifest;
        let problems: Vec<Value> = look
            .checked
            .problems
            .iter()
            .map(|(object, problem)| {
                let kind = match problem {
                    Problem::Damaged(_) => "damaged",
                    Problem::WrongKey(_) => "wrong_key",
                    Problem::Unread(_) => "unread",
                };
                json!({"object": object, "kind": kind, "problem": problem.text()})
            })
            .collect();
        json!({
            "id": m.id,
            "minion": m.minion,
            "kind": m.kind,
            "destination": look.entry.destination,
            "good": look.checked.is_good(),
            "objects": look.checked.good,
            "bytes_read": look.checked.bytes,
            "not_decrypted": look.checked.sealed,
            "problems": problems,
            "not_noted": look.unnoted.as_ref().map(ToString::to_string),
        })
    };
    let broken: Vec<Value> = shelf
        .shelves
        .iter()
        .flat_map(|(t, l)| l.broken.iter().map(move |b| (t, b)))
        .map(|(t, b)| json!({"destination": t.name, "id": b.id, "minion": b.minion, "kind": b.kind, "reason": b.reason}))
        .collect();
    let down: Vec<Value> = shelf
        .down
        .iter()
        .map(|(name, error)| json!({"name": name, "error": error.to_string()}))
        .collect();
    json!({
        "schema_version": 1,
        "snapshots": looks.iter().map(snapshot).collect::<Vec<_>>(),
        "broken": broken,
        "down": down,
    })
}
