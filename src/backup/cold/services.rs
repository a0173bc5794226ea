//! Stops and starts the services of an instance, in the order in which they depend on each other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;

use super::journal::{Journal, Phase, Stopped};
use super::revive;
use crate::apply::wait::{self, Need, Unmet, Watcher};
use crate::backup::error::BackupError;
use crate::engine::{ContainerSummary, Engine, Health, RunState};
use crate::events::{Event, Events};
use crate::plan::desired::Group;
use crate::plan::service::start_order;
use crate::state::Paths;

/// Exit code of what was killed since it did not stop in time (128 + SIGKILL).
const KILLED: i64 = 137;
/// How long a service may take to be healthy again.
const HEALTH: Duration = Duration::from_mins(5);

/// A service that ran, as it was.
pub(super) struct Prior {
    pub(super) stopped: Stopped,
    pub(super) healthy: bool,
    /// How many services stand before it.
    level: usize,
}

/// Which services run, in the order in which they start, and the names of those that do not.
pub(super) async fn look(
    engine: &dyn Engine,
    root: &std::path::Path,
    group: &Group,
) -> Result<(Vec<Prior>, Vec<String>), BackupError> {
    let all = engine.containers().await?;
    let (mut running, mut others) = (Vec::new(), Vec::new());
    let mut levels: BTreeMap<&str, usize> = BTreeMap::new();
    for service in start_order(group) {
        let level = service
            .depends_on
            .keys()
            .filter_map(|d| levels.get(d.as_str()))
            .map(|l| l + 1)
            .max()
            .unwrap_or(0);
        levels.insert(&service.service, level);
        let stopped = Stopped {
            service: service.service.clone(),
            name: service.name.clone(),
            grace: service.grace().as_secs(),
            asked: false,
        };
        match find_running(&all, root, group, &stopped) {
            Some(found) => {
                let container = engine.inspect(&found.id).await?;
                running.push(Prior {
                    stopped,
                    healthy: matches!(container.health, Health::Healthy | Health::None),
                    level,
                });
            }
            None => others.push(service.service.clone()),
        }
    }
    Ok((running, others))
}

fn find_running<'a>(
    all: &'a [ContainerSummary],
    root: &std::path::Path,
    group: &Group,
    stopped: &Stopped,
) -> Option<&'a ContainerSummary> {
    revive::find(all, root, &group.name, stopped)
        .filter(|c| matches!(c.state, RunState::Running | RunState::Restarting))
}

/// Stops everything of the journal, those first that nothing depends on. Each is written down before
/// the engine is asked. Exit codes by service.
pub(super) async fn stop(
    engine: &Arc<dyn Engine>,
    paths: &Paths,
    journal: &mut Journal,
    priors: &[Prior],
    events: &dyn Events,
) -> Result<BTreeMap<String, i64>, BackupError> {
    let top = priors.iter().map(|p| p.level).max().unwrap_or(0);
    let mut codes = BTreeMap::new();
    for level in (0..=top).rev() {
        let wave: Vec<&Prior> = priors.iter().filter(|p| p.level == level).collect();
        if wave.is_empty() {
            continue;
        }
        for stopped in &mut journal.services {
            stopped.asked |= wave.iter().any(|p| p.stopped.service == stopped.service);
        }
        journal.phase = Phase::Stopping;
        journal.write(paths)?;
        let all = engine.containers().await?;
        let stops = wave.iter().map(|prior| {
            let found = revive::find(&all, &journal.root, &journal.minion, &prior.stopped).cloned();
            let target = format!("{}/{}", journal.minion, prior.stopped.service);
            async move {
                let Some(found) = found else {
                    return Ok(None);
                };
                events.event(Event::Started {
                    target: target.clone(),
                    action: "stop".into(),
                });
                engine.stop(&found.id, prior.stopped.grace()).await?;
                let code = engine.inspect(&found.id).await?.exit_code;
                events.event(Event::Finished {
                    target,
                    action: "stop".into(),
                });
                Ok::<_, BackupError>(code.map(|code| (prior.stopped.service.clone(), code)))
            }
        });
        for result in join_all(stops).await {
            codes.extend(result?);
        }
    }
    Ok(codes)
}

/// What the exit codes of stopped services say against the copy.
pub(super) fn judge(codes: &BTreeMap<String, i64>, databases: &[String]) -> Vec<String> {
    let mut remarks = Vec::new();
    for (service, code) in codes {
        if *code == KILLED {
            remarks.push(format!(
                "`{service}` did not stop within its grace period and was killed: its data may be as after a power cut"
            ));
        } else if databases.contains(service) && *code != 0 {
            remarks.push(format!(
                "the database `{service}` did not shut down cleanly (exit code {code})"
            ));
        }
    }
    remarks
}

/// Starts everything of the journal, dependencies first and healthy before what depends on them.
/// What is not as it was before, and why.
pub(super) async fn start(
    engine: &Arc<dyn Engine>,
    journal: &Journal,
    priors: &[Prior],
    events: &dyn Events,
) -> Vec<(String, String)> {
    let watcher = Watcher::start(engine);
    let top = priors.iter().map(|p| p.level).max().unwrap_or(0);
    let mut lost = Vec::new();
    for level in 0..=top {
        let wave = priors.iter().filter(|p| p.level == level);
        let starts = wave.map(|prior| start_one(engine, journal, prior, &watcher, events));
        lost.extend(join_all(starts).await.into_iter().flatten());
    }
    lost
}

async fn start_one(
    engine: &Arc<dyn Engine>,
    journal: &Journal,
    prior: &Prior,
    watcher: &Watcher,
    events: &dyn Events,
) -> Option<(String, String)> {
    let service = prior.stopped.service.clone();
    let target = format!("{}/{service}", journal.minion);
    let (_keep, never) = watch::channel(false);
    events.event(Event::Started {
        target: target.clone(),
        action: "start".into(),
    });
    let mut why = String::new();
    for attempt in 0..5u32 {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let all = match engine.containers().await {
            Ok(all) => all,
            Err(error) => {
                why = error.to_string();
                continue;
            }
        };
        let Some(found) = revive::find(&all, &journal.root, &journal.minion, &prior.stopped) else {
            "it has no container any more".clone_into(&mut why);
            continue;
        };
        if let Err(error) = engine.start(&found.id).await {
            why = error.to_string();
            continue;
        }
        if !prior.healthy {
            return None;
        }
        let waited = wait::container(
            engine.as_ref(),
            watcher,
            events,
            &never,
            (&target, &found.id),
            Need::Healthy,
            HEALTH,
        )
        .await;
        why = match waited {
            Ok(()) | Err(Unmet::Cancelled) => {
                events.event(Event::Finished {
                    target,
                    action: "start".into(),
                });
                return None;
            }
            // Made anew in between: look again.
            Err(Unmet::Engine(error)) => {
                why = error.to_string();
                continue;
            }
            Err(Unmet::Broken(how)) => how,
            Err(Unmet::Timeout(state)) => format!("is {state} after {} s", HEALTH.as_secs()),
        };
        break;
    }
    events.event(Event::Failed {
        target,
        message: format!("the container of `{service}` is not back: {why}"),
    });
    Some((service, why))
}
