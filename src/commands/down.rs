//! `summoner down`: stops and removes; data stays unless its own name is given.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use crate::apply;
use crate::cli::DownArgs;
use crate::clock::SystemClock;
use crate::commands::{Session, exit, restore, signals, up, world};
use crate::events::Events;
use crate::minion::kept;
use crate::plan::desired::{PROXY, labels};
use crate::plan::removal;
use crate::project::Project;

pub(super) async fn run(session: &Session, args: &DownArgs) -> Result<u8> {
    let report = &session.report;
    let mut project = world::open(session)?;
    project.forgiving = true;
    let lock = if args.dry_run {
        None
    } else {
        Some(restore::settle::lock(session, &mut project, "down").await?)
    };
    let world = world::look(session, project).await?;
    let mut names = args.minions.clone();
    names.extend(args.yes_purge.iter().cloned());
    let scope = world::scope(&world.project, Some(&world.observed), &names)?;
    let minions: BTreeSet<String> = scope.clone().unwrap_or_else(|| {
        let running = world
            .observed
            .containers
            .iter()
            .filter_map(|c| c.labels.get(labels::MINION).cloned());
        running
            .chain(world.observed.built.iter().cloned())
            .filter(|m| m != PROXY)
            .collect()
    });
    let mut purge: BTreeSet<String> = args.yes_purge.iter().cloned().collect();
    if args.purge {
        purge.extend(args.minions.iter().cloned());
    }
    let plan = removal::down(
        &world.wanted.desired,
        &world.observed,
        &minions,
        scope.is_none(),
        &purge,
    )?;
    if plan.is_empty() && purge.is_empty() {
        report.note("nothing to do: none of it is there");
        return Ok(exit::OK);
    }
    report.plan(&plan.to_text());
    let Some(lock) = lock else {
        return Ok(exit::OK);
    };
    for minion in purge.iter().filter(|m| !args.yes_purge.contains(m)) {
        let question =
            format!("this deletes all data of `{minion}` for good; type its name to go on");
        if !report.ask_name(&question, minion, "--yes-purge")? {
            report.note("nothing was done");
            return Ok(exit::OK);
        }
    }
    // Whose name was typed, on the command line or just now, needs no further word.
    let asked = minions.iter().any(|m| !purge.contains(m)) || minions.is_empty();
    if !args.yes && asked && !report.confirm("carry out this plan?")? {
        report.note("nothing was done");
        return Ok(exit::OK);
    }
    let changed = plan.operations.iter().map(|o| o.minion.as_str());
    let purged = purge.iter().map(String::as_str);
    let _minions = world::lock_minions(&world.project.paths, changed.chain(purged), "down")?;
    let world::World {
        mut project,
        engine,
        wanted,
        observed,
        ..
    } = world;
    // What was recovered from containers or their files must not go with them.
    project.paths.create()?;
    project.secrets.save(&project.paths)?;
    let listening = signals::listen(report);
    let context = apply::Context {
        engine,
        clock: Arc::new(SystemClock),
        events: Arc::clone(report) as Arc<dyn Events>,
        desired: wanted.desired,
        observed,
        paths: project.paths.clone(),
        wait_timeout: Duration::from_mins(1),
        helper_image: project.environment.proxy.image.clone(),
        cancelled: listening.cancelled.clone(),
    };
    // What config.yml does not name any more does not come back.
    let back = minions
        .iter()
        .any(|m| project.environment.instances.iter().any(|i| i.name == *m));
    let outcome = apply::apply(&plan, context).await;
    report.finish_progress();
    up::tell(session, &outcome);
    if outcome.interrupted {
        return Ok(exit::INTERRUPTED);
    }
    if !outcome.failures.is_empty() {
        return Ok(exit::PARTIAL);
    }
    forget(session, &mut project, &purge)?;
    drop(lock);
    if back {
        report.note("`summoner up` brings it back");
    }
    Ok(exit::OK)
}

/// Forgets what was purged, and names the data that purge has no business with.
fn forget(session: &Session, project: &mut Project, purged: &BTreeSet<String>) -> Result<()> {
    for minion in purged {
        let remembered = project.state.minions.remove(minion);
        let folders = remembered.into_iter().flat_map(|r| r.folders);
        for folder in folders.filter(|f| f.exists()) {
            session.report.note(&format!(
                "`{}` is kept: it is not below the vsroot and dbsroot of config.yml",
                folder.display()
            ));
        }
        project.secrets.book.remove(minion);
        kept::forget(&project.paths.minion(minion))?;
    }
    if !purged.is_empty() {
        project.state.save(&project.paths)?;
        project.secrets.save(&project.paths)?;
    }
    Ok(())
}
