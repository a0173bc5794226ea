//! How a backup is told: a table for people, one document for programs.

use serde_json::{Value, json};

use crate::backup::cold::run::{Outcome, Report as Made};
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

/// One word for how it ended.
fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Complete => "complete",
        Outcome::Suspect => "suspect",
        Outcome::Partial => "partial",
        Outcome::Skipped(_) => "skipped",
        Outcome::TooLong(_) => "too long",
        Outcome::Locked(_) => "locked",
        Outcome::Interrupted => "interrupted",
        Outcome::Failed(_) => "failed",
    }
}

/// A line for each minion and destination.
pub(super) fn print(report: &Report, all: &[Made]) {
    let mut rows = Vec::new();
    for made in all {
        let plain: u64 = made.volumes.iter().map(|v| v.bytes).sum();
        let outage = made.outage.as_ref();
        let row = |stored: String, destination: &str, outcome: String| {
            vec![
                made.minion.clone(),
                outage.map_or_else(String::new, |o| {
                    format!("{}.{} s", o.downtime_ms / 1000, o.downtime_ms % 1000 / 100)
                }),
                outage.map_or_else(String::new, |o| o.method.clone()),
                size(plain),
                stored,
                destination.to_owned(),
                outcome,
            ]
        };
        for (destination, result) in &made.destinations {
            rows.push(match result {
                Ok(bytes) => {
                    let told = match made.outcome {
                        Outcome::Suspect => report.bad("suspect"),
                        _ => report.good("complete"),
                    };
                    row(size(*bytes), destination, told)
                }
                Err(_) => row(String::new(), destination, report.bad("failed")),
            });
        }
        if made.destinations.is_empty() {
            rows.push(row(String::new(), "", report.bad(word(&made.outcome))));
        }
    }
    if !rows.is_empty() {
        let heads = [
            "minion",
            "outage",
            "method",
            "plain",
            "stored",
            "destination",
            "outcome",
        ];
        report.table(&heads, rows);
    }
}

/// What is to be said beside it.
pub(super) fn tell(report: &Report, all: &[Made]) {
    if all.is_empty() {
        report.note("nothing to save: no minion of config.yml keeps data");
    }
    for made in all {
        let name = &made.minion;
        for note in &made.notes {
            report.note(&format!("{name}: {note}"));
        }
        for remark in &made.remarks {
            report.warn(&format!("`{name}` is suspect: {remark}"));
        }
        for (destination, result) in &made.destinations {
            if let Err(error) = result {
                let text = format!("`{name}` is not in `{destination}`: {error}");
                report.fail(&with_hint(&text, error.hint()));
            }
        }
        match &made.outcome {
            Outcome::Skipped(why) => report.warn(&format!("`{name}` was skipped: {why}")),
            Outcome::TooLong(most) => report.fail(&format!(
                "`{name}` was not saved: the outage became longer than `max_downtime` of {} s, so it was started again\n  hint: `--method two_pass` or `reflink` stop it only for what changed; or raise `backup.cold.max_downtime`",
                most.as_secs_f64()
            )),
            Outcome::Locked(holder) => report.fail(&format!(
                "`{name}` was not saved: another summoner works on it: {holder}\n  hint: wait until it is done, or end that process"
            )),
            Outcome::Interrupted => report.fail(&format!(
                "`{name}` was not saved: interrupted\n  hint: `summoner backup {name}` begins anew"
            )),
            Outcome::Failed(error) if made.destinations.is_empty() => {
                report.fail(&with_hint(&format!("`{name}` was not saved: {error}"), error.hint()));
            }
            Outcome::Complete | Outcome::Suspect | Outcome::Partial | Outcome::Failed(_) => {}
        }
        for (service, why) in &made.not_back {
            report.fail(&format!(
                "`{name}/{service}` is not as it was before the backup: {why}\n  hint: see why with `summoner logs {name}`; then `summoner recover`"
            ));
        }
    }
}

fn with_hint(text: &str, hint: Option<String>) -> String {
    match hint {
        Some(hint) if !text.contains("hint:") => format!("{text}\n  hint: {hint}"),
        _ => text.to_owned(),
    }
}

/// All of it for programs.
pub(super) fn json(run: &str, all: &[Made]) -> Value {
    let minions: Vec<Value> = all.iter().map(minion).collect();
    json!({"schema_version": 1, "run": run, "minions": minions})
}

fn minion(made: &Made) -> Value {
    let reason = match &made.outcome {
        Outcome::Skipped(why) | Outcome::Locked(why) => Some(why.clone()),
        Outcome::Failed(error) => Some(error.to_string()),
        Outcome::TooLong(most) => Some(format!("longer than {} s", most.as_secs_f64())),
        _ => None,
    };
    let destinations: Vec<Value> = made
        .destinations
        .iter()
        .map(|(name, result)| match result {
            Ok(bytes) => json!({"destination": name, "stored_bytes": bytes}),
            Err(error) => json!({"destination": name, "error": error.to_string()}),
        })
        .collect();
    let volumes: Vec<Value> = made
        .volumes
        .iter()
        .map(|v| {
            json!({
                "volume": v.of,
                "method": v.method,
                "plain_bytes": v.bytes,
                "outage_bytes": v.outage_bytes,
            })
        })
        .collect();
    let not_back: Vec<Value> = made
        .not_back
        .iter()
        .map(|(service, why)| json!({"service": service, "reason": why}))
        .collect();
    json!({
        "minion": made.minion,
        "snapshot": made.id,
        "outcome": word(&made.outcome),
        "reason": reason,
        "outage": made.outage,
        "volumes": volumes,
        "destinations": destinations,
        "remarks": made.remarks,
        "not_back": not_back,
        "seconds": made.seconds,
    })
}
