//! How a dump is told: a table for people, one document for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::backup::dump::{MinionReport, Outcome};
use crate::report::Report;

/// `1.5 MiB`: two digits that matter are enough.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = bytes * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A table with one line for each minion and destination, then what is to be said.
pub(super) fn print(report: &Report, minions: &[MinionReport]) {
    let mut rows = Vec::new();
    for minion in minions {
        let databases = minion.databases.iter();
        let databases: Vec<String> = databases
            .filter(|(d, _)| !d.database.is_empty())
            .map(|(d, _)| d.database.clone())
            .collect();
        let begin = |destination: &str, stored: String, outcome: String| {
            vec![
                minion.minion.clone(),
                databases.join(", "),
                size(minion.plain_bytes()),
                stored,
                format!("{:.1}", minion.seconds),
                destination.to_owned(),
                outcome,
            ]
        };
        for destination in &minion.destinations {
            let (stored, outcome) = match &destination.result {
                Ok(bytes) => {
                    let name = match minion.outcome {
                        Outcome::Suspect => report.bad("suspect"),
                        _ => report.good("complete"),
                    };
                    (size(*bytes), name)
                }
                Err(_) => (String::new(), report.bad("failed")),
            };
            rows.push(begin(&destination.destination, stored, outcome));
        }
        if minion.destinations.is_empty() {
            let name = report.bad(minion.outcome.name());
            rows.push(begin("", String::new(), name));
        }
    }
    report.table(
        &[
            "minion",
            "databases",
            "plain",
            "stored",
            "seconds",
            "destination",
            "outcome",
        ],
        rows,
    );
    for minion in minions {
        tell(report, minion);
    }
}

fn tell(report: &Report, minion: &MinionReport) {
    let name = &minion.minion;
    for destination in &minion.destinations {
        if let Err(error) = &destination.result {
            let hint = error.hint();
            report.fail(&with_hint(
                &format!("`{name}` is not in `{}`: {error}", destination.destination),
                hint.as_deref(),
            ));
        }
    }
    for remark in &minion.remarks {
        report.warn(&format!("`{name}` is suspect: {remark}"));
    }
    match &minion.outcome {
        Outcome::Skipped(why) => report.warn(&format!(
            "`{name}` was skipped: {why}\n  hint: `summoner up {name}` makes it run"
        )),
        Outcome::Locked(holder) => report.fail(&format!(
            "`{name}` was not dumped: another summoner works on it: {holder}\n  hint: wait until it is done, or end that process"
        )),
        Outcome::Failed(error) if minion.destinations.is_empty() => {
            let hint = error.hint();
            report.fail(&with_hint(
                &format!("`{name}` was not dumped: {error}"),
                hint.as_deref(),
            ));
        }
        _ => {}
    }
}

fn with_hint(message: &str, hint: Option<&str>) -> String {
    let mut text = message.to_owned();
    if let Some(hint) = hint {
        let _ = write!(text, "\n  hint: {hint}");
    }
    text
}

/// The same as a document.
pub(super) fn json(run: &str, minions: &[MinionReport]) -> Value {
    let minions: Vec<Value> = minions.iter().map(minion).collect();
    json!({"schema_version": 1, "run": run, "minions": minions})
}

fn minion(report: &MinionReport) -> Value {
    let reason = match &report.outcome {
        Outcome::Skipped(why) | Outcome::Locked(why) => Some(why.clone()),
        Outcome::Failed(error) => Some(error.to_string()),
        _ => None,
    };
    let databases = report.databases.iter().map(|(record, plain)| {
        json!({
            "service": record.service,
            "engine": record.engine,
            "database": record.database,
            "object": record.object,
            "plain_bytes": plain,
            "transport": record.transport,
            "end_check": record.end_check,
            "tables": record.tables,
        })
    });
    let destinations = report.destinations.iter().map(|d| match &d.result {
        Ok(stored) => json!({
            "destination": d.destination,
            "outcome": if matches!(report.outcome, Outcome::Suspect) { "suspect" } else { "complete" },
            "stored_bytes": stored,
        }),
        Err(error) => json!({
            "destination": d.destination,
            "outcome": "failed",
            "error": error.to_string(),
        }),
    });
    json!({
        "minion": report.minion,
        "outcome": report.outcome.name(),
        "reason": reason,
        "snapshot": report.id.as_ref().map(ToString::to_string),
        "databases": databases.collect::<Vec<_>>(),
        "plain_bytes": report.plain_bytes(),
        "seconds": report.seconds,
        "destinations": destinations.collect::<Vec<_>>(),
        "remarks": report.remarks,
    })
}
