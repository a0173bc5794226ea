//! `summoner restore`: shows what will be replaced, restores beside it, checks, swaps.

mod into_live;
pub(super) mod settle;
pub(super) mod show;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use jiff::Timestamp;
use jiff::civil;
use jiff::tz::TimeZone;

use crate::backup::catalog::{self, Entry, Which};
use crate::backup::destination::Target;
use crate::backup::encryption::Key;
use crate::backup::error::BackupError;
use crate::backup::manifest::Kind;
use crate::backup::restore;
use crate::backup::scratch::{self, Purpose, Scratch};
use crate::cli::{Into, RestoreArgs, UpArgs};
use crate::clock::SystemClock;
use crate::commands::shelf::{self, Shelf};
use crate::commands::world::{self, World};
use crate::commands::{Session, exit, signals, up};
use crate::engine::Container;
use crate::events::Events;
use crate::plan::desired::{Group, labels};
use crate::project::Project;
use crate::state::lock::Lock;

pub(super) use self::into_live::{Subject, swap_in};

pub(super) async fn run(session: &Session, args: &RestoreArgs) -> Result<u8> {
    if let Some(name) = args.yes_overwrite.as_ref().filter(|n| **n != args.minion) {
        bail!(BackupError::Usage(format!(
            "`--yes-overwrite {name}` answers for another minion than `{}`",
            args.minion
        )));
    }
    let mut project = world::open(session)?;
    if let Some(folder) = &args.to_dir {
        let (shelf, entry) = find(session, &project, args).await?;
        let target = target_of(&shelf, &entry)?;
        let events = Arc::clone(&session.report) as Arc<dyn Events>;
        let key = key(args)?;
        let names = restore::to_folder(&target, key, &entry.manifest, folder, &events).await?;
        session.report.finish_progress();
        for name in names {
            session
                .report
                .line(&folder.join(name).display().to_string());
        }
        return Ok(exit::OK);
    }
    // `up` and a restore would pull at the same containers.
    let lock = settle::lock(session, &mut project, "restore").await?;
    let minion_lock = Lock::take_minion(&project.paths, &args.minion, "restore")?;
    let (shelf, entry) = find(session, &project, args).await?;
    if !project
        .environment
        .instances
        .iter()
        .any(|i| i.name == args.minion)
    {
        return show::not_in_config(session, &project, &shelf, &entry, key(args)?).await;
    }
    let world = world::look(session, project).await?;
    let target = target_of(&shelf, &entry)?;
    let locks = (lock, minion_lock);
    into_live::run(session, args, world, &target, &entry, locks).await
}

/// Finds the snapshot that is meant.
async fn find(session: &Session, project: &Project, args: &RestoreArgs) -> Result<(Shelf, Entry)> {
    let from = args.destination.as_deref();
    let shelf = shelf::look(session, project, from, Some(&args.minion)).await?;
    shelf::known(session, project, &shelf, &args.minion).await?;
    let kind = args.kind.map(crate::cli::KindArg::kind);
    let mut entries = shelf.entries();
    entries.retain(|e| e.manifest.minion == args.minion);
    entries.retain(|e| kind.is_none_or(|k| e.manifest.kind == k));
    let which = match &args.at {
        Some(text) => Which::At(time(project, text)?),
        None if args.from == "latest" => Which::Latest,
        None => Which::Id(args.from.clone()),
    };
    match catalog::choose(&entries, &which) {
        Ok(entry) => Ok((shelf, entry.clone())),
        Err(error) => bail!(BackupError::Usage(format!(
            "`{}`: {error}\n  hint: {}",
            args.minion,
            error.hint()
        ))),
    }
}

fn target_of(shelf: &Shelf, entry: &Entry) -> Result<Arc<Target>> {
    let found = shelf
        .shelves
        .iter()
        .find(|(target, _)| target.name == entry.destination);
    match found {
        Some((target, _)) => Ok(Arc::clone(target)),
        None => bail!("the destination `{}` is gone", entry.destination),
    }
}

fn key(args: &RestoreArgs) -> Result<Option<Arc<Key>>> {
    Ok(match &args.identity {
        Some(file) => Some(Arc::new(Key::of_file(file)?)),
        None => None,
    })
}

/// A time as people write it, in the project's zone; a day alone is its end.
fn time(project: &Project, text: &str) -> Result<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let zone = TimeZone::get(&project.environment.timezone).unwrap_or(TimeZone::UTC);
    let day_end = text
        .parse::<civil::Date>()
        .ok()
        .filter(|_| !text.contains(':'))
        .map(|day| day.at(23, 59, 59, 0));
    let civil = day_end.or_else(|| text.parse::<civil::DateTime>().ok());
    match civil.and_then(|c| c.to_zoned(zone).ok()) {
        Some(zoned) => Ok(zoned.timestamp()),
        None => bail!(BackupError::Usage(format!(
            "`{text}` is no time\n  hint: write it as `2026-11-20`, `2026-11-20 14:30` or `2026-11-20T14:30:00Z`"
        ))),
    }
}
