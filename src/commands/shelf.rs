//! What the verbs about snapshots begin with: the destinations, opened and listed, and the words
//! for sizes, times and ages.

use std::sync::Arc;

use anyhow::{Result, bail};
use futures_util::future::join_all;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::backup::catalog::{self, Entry, Listing};
use crate::backup::destination::{self, Target};
use crate::backup::error::BackupError;
use crate::commands::{Session, world};
use crate::project::Project;

/// What the destinations hold.
pub(super) struct Shelf {
    /// Those that answered.
    pub(super) shelves: Vec<(Arc<Target>, Listing)>,
    /// Those that did not.
    pub(super) down: Vec<(String, BackupError)>,
}

impl Shelf {
    /// All snapshots, in the order of the destinations.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let all = self.shelves.iter().flat_map(|(_, l)| &l.entries);
        all.cloned().collect()
    }

    /// Names of all minions that have left anything.
    pub(super) fn minions(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .shelves
            .iter()
            .flat_map(|(_, l)| {
                let entries = l.entries.iter().map(|e| &e.manifest.minion);
                let broken = l.broken.iter().map(|b| &b.minion);
                entries
                    .chain(broken)
                    .chain(l.remains.iter().map(|r| &r.minion))
            })
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// Opens the destinations of config.yml, or the one named.
pub(super) async fn open(
    project: &Project,
    from: Option<&str>,
) -> Result<Vec<(String, Result<Arc<Target>, BackupError>)>> {
    let environment = &project.environment;
    let names = match from {
        Some(name) => vec![destination::find(environment, name)?.name.clone()],
        None => environment
            .destinations
            .iter()
            .map(|d| d.name.clone())
            .collect(),
    };
    if names.is_empty() {
        bail!(BackupError::Usage(
            "config.yml has no `destinations:`\n  hint: add `destinations: {disk: {dir: ./backups}}`".into()
        ));
    }
    Ok(destination::open_all(environment, &names).await)
}

/// Lists the destinations, all at once. One that is down is said, and the others are listed; an
/// error only when none answers.
pub(super) async fn look(
    session: &Session,
    project: &Project,
    from: Option<&str>,
    minion: Option<&str>,
) -> Result<Shelf> {
    let name = project.environment.project.as_str();
    let looks = open(project, from)
        .await?
        .into_iter()
        .map(|(dest, opened)| async move {
            let result = match opened {
                Ok(target) => {
                    let listed = catalog::list(&target, name, minion).await;
                    listed.map(|listing| (target, listing))
                }
                Err(error) => Err(error),
            };
            (dest, result)
        });
    let mut shelf = Shelf {
        shelves: Vec::new(),
        down: Vec::new(),
    };
    for (name, result) in join_all(looks).await {
        match result {
            Ok(found) => shelf.shelves.push(found),
            Err(error) => shelf.down.push((name, error)),
        }
    }
    if shelf.shelves.is_empty() && !shelf.down.is_empty() {
        let (name, error) = shelf.down.swap_remove(0);
        for (name, error) in &shelf.down {
            say_down(session, name, error);
        }
        return Err(anyhow::Error::new(error).context(format!("destination `{name}`")));
    }
    for (name, error) in &shelf.down {
        say_down(session, name, error);
    }
    Ok(shelf)
}

fn say_down(session: &Session, name: &str, error: &BackupError) {
    session
        .report
        .fail(&format!("destination `{name}`: {error}"));
    if let Some(hint) = error.hint() {
        session.report.hint(&hint);
    }
}

/// The minion exists: in config.yml, or in what was found anywhere.
pub(super) async fn known(
    session: &Session,
    project: &Project,
    shelf: &Shelf,
    minion: &str,
) -> Result<()> {
    let instances = || project.environment.instances.iter().map(|i| &i.name);
    if instances().any(|n| n == minion) || shelf.minions().iter().any(|n| n == minion) {
        return Ok(());
    }
    // For the hint: what else there is.
    let all = look(session, project, None, None).await?.minions();
    let mut names: Vec<&str> = instances().chain(&all).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    bail!(world::unknown(minion, names.into_iter()));
}

/// `1.2 MB`, three digits at most.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (bytes / 100, 0);
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    if tenths < 100 {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{} {}", tenths / 10, UNITS[unit])
    }
}

/// `2026-11-20 03:30` in the project's zone.
pub(super) fn time(project: &Project, time: Timestamp) -> String {
    let zone = TimeZone::get(&project.environment.timezone).unwrap_or(TimeZone::UTC);
    time.to_zoned(zone).strftime("%Y-%m-%d %H:%M").to_string()
}

/// `5 min`, `7 h`, `3 d`: how long ago.
pub(super) fn age(time: Timestamp, now: Timestamp) -> String {
    let age = now.duration_since(time).max(SignedDuration::ZERO);
    match (age.as_mins(), age.as_hours()) {
        (0, _) => "now".to_owned(),
        (minutes, 0) => format!("{minutes} min"),
        (_, hours) if hours < 48 => format!("{hours} h"),
        (_, hours) => format!("{} d", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_short() {
        let sizes = [
            0,
            999,
            1000,
            1234,
            99_949,
            1_234_567,
            999_999_999,
            5_300_000_000,
        ];
        let words: Vec<String> = sizes.into_iter().map(size).collect();
        assert_eq!(
            words,
            [
                "0 B", "999 B", "1.0 kB", "1.2 kB", "99 kB", "1.2 MB", "999 MB", "5.3 GB"
            ]
        );
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let ages = [-5, 30, 300, 3600, 47 * 3600, 49 * 3600]
            .map(|seconds| age(now - SignedDuration::from_secs(seconds), now));
        assert_eq!(ages, ["now", "now", "5 min", "1 h", "47 h", "2 d"]);
    }
}
