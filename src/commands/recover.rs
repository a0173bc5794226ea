//! `summoner recover`: finishes what a killed backup or a power cut left behind. Every verb that
//! looks at the engine does the same first.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use crate::backup::cold::journal;
use crate::backup::cold::revive::{self, Recovery};
use crate::backup::cold::staging;
use crate::commands::{Session, exit, world};
use crate::engine::Engine;
use crate::events::Events;
use crate::project::Project;
use crate::state::lock::Lock;

/// How long the verb itself waits for somebody who is at it: a guard needs seconds.
const PATIENCE: Duration = Duration::from_mins(2);

pub(super) async fn run(session: &Session) -> Result<u8> {
    let project = world::open(session)?;
    if journal::minions(&project.paths).is_empty() {
        sweep(&project);
        session
            .report
            .note("nothing to recover: no backup was cut off");
        return Ok(exit::OK);
    }
    let (engine, _) = world::engine().await?;
    let back = journals(session, &project, &engine, PATIENCE).await?;
    sweep(&project);
    Ok(if back { exit::OK } else { exit::NOT_BACK })
}

/// Finishes journals whose owners are dead; those of living ones are left alone. Whether everything
/// is back.
pub(super) async fn leftovers(
    session: &Session,
    project: &Project,
    engine: &Arc<dyn Engine>,
) -> Result<bool> {
    journals(session, project, engine, Duration::ZERO).await
}

async fn journals(
    session: &Session,
    project: &Project,
    engine: &Arc<dyn Engine>,
    patience: Duration,
) -> Result<bool> {
    let report = &session.report;
    let mut back = true;
    for minion in journal::minions(&project.paths) {
        let events: &dyn Events = report.as_ref();
        let recovered =
            revive::recover(engine, &project.paths, &minion, patience, "recover", events).await;
        report.finish_progress();
        match recovered? {
            Recovery::Nothing => {}
            Recovery::Back(started) if started.is_empty() => report.note(&format!(
                "a backup of `{minion}` was cut off; everything that ran before runs"
            )),
            Recovery::Back(started) => report.note(&format!(
                "a backup of `{minion}` was cut off; started again: {}",
                started.join(", ")
            )),
            Recovery::NotBack(lost) => {
                back = false;
                for (service, why) in lost {
                    report.fail(&format!(
                        "`{minion}/{service}`, stopped by a backup that was cut off, is not back: {why}\n  hint: `summoner up {minion}` makes it run, then `summoner recover`"
                    ));
                }
            }
        }
    }
    Ok(back)
}

/// Deletes copies that nobody needs any more.
fn sweep(project: &Project) {
    let environment = &project.environment;
    for instance in &environment.instances {
        let Ok(_lock) = Lock::take_minion(&project.paths, &instance.name, "recover") else {
            continue;
        };
        for root in [&environment.vsroot, &environment.dbsroot] {
            let _ = staging::sweep(&staging::of(root, &instance.name));
        }
    }
}
