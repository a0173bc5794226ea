//! Containers brought back as a journal tells: found by their labels, since they may have been made
//! anew meanwhile; only those that were running.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::journal::{self, Journal, Phase, Stopped};
use super::staging;
use crate::apply::wait::{self, Need, Unmet, Watcher};
use crate::backup::error::BackupError;
use crate::engine::{Container, ContainerSummary, Engine, EngineError, ExecSpec, RunState};
use crate::events::{Event, Events};
use crate::plan::desired::labels;
use crate::state::lock::Lock;
use crate::state::{Paths, StateError};

/// How long containers may take to get well again before the command after them is run anyway.
const HEALTH: Duration = Duration::from_mins(5);
/// How often a start is tried before a container counts as not coming back.
const TRIES: u32 = 5;

/// What became of one journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// Nobody needs to do anything: it is gone, or its owner lives.
    Nothing,
    /// Everything that ran before runs again; the services that had to be started.
    Back(Vec<String>),
    /// These are not back, and why. The journal stays.
    NotBack(Vec<(String, String)>),
}

/// The container of a service: of several with its labels the one of its name, else the one that
/// runs, else the youngest by the engine's own order.
#[must_use]
pub fn find<'a>(
    all: &'a [ContainerSummary],
    root: &Path,
    minion: &str,
    stopped: &Stopped,
) -> Option<&'a ContainerSummary> {
    let label = |c: &'a ContainerSummary, key: &str| c.labels.get(key).map(String::as_str);
    let same_root = |c: &ContainerSummary| {
        c.labels.get(labels::ROOT).is_some_and(|theirs| {
            let theirs = Path::new(theirs);
            let real = |path: &Path| std::fs::canonicalize(path).ok();
            theirs == root || real(theirs).is_some_and(|t| real(root) == Some(t))
        })
    };
    let ours: Vec<&ContainerSummary> = all
        .iter()
        .filter(|c| label(c, labels::ONE_OFF).is_none())
        .filter(|c| label(c, labels::MINION) == Some(minion))
        .filter(|c| label(c, labels::SERVICE) == Some(&stopped.service))
        .filter(|c| same_root(c))
        .collect();
    ours.iter()
        .find(|c| c.name == stopped.name)
        .or_else(|| ours.iter().find(|c| c.state == RunState::Running))
        .or_else(|| ours.first())
        .copied()
}

/// Finishes the journal of a minion if its owner is dead: starts what was running, runs what
/// belongs after, deletes copies. `patient` waits for the lock that long, else a held one means
/// that somebody is at it.
pub async fn recover(
    engine: &Arc<dyn Engine>,
    paths: &Paths,
    minion: &str,
    patient: Duration,
    command: &str,
    events: &dyn Events,
) -> Result<Recovery, BackupError> {
    let begin = Instant::now();
    let _lock = loop {
        match Lock::take_minion(paths, minion, command) {
            Ok(lock) => break lock,
            Err(StateError::Locked(_)) if begin.elapsed() < patient => {
                sleep(Duration::from_millis(20)).await;
            }
            Err(StateError::Locked(_)) => return Ok(Recovery::Nothing),
            Err(error) => return Err(error.into()),
        }
    };
    let Some(journal) = Journal::read(&journal::path(paths, minion))? else {
        return Ok(Recovery::Nothing);
    };
    finish(engine, paths, &journal, events).await
}

/// The same for who holds the minion's lock already.
pub async fn finish(
    engine: &Arc<dyn Engine>,
    paths: &Paths,
    journal: &Journal,
    events: &dyn Events,
) -> Result<Recovery, BackupError> {
    let mut started = Vec::new();
    let mut lost = Vec::new();
    let services = if journal.phase == Phase::Live {
        &[][..]
    } else {
        &journal.services
    };
    for stopped in services {
        match bring_back(engine.as_ref(), journal, stopped).await {
            Ok(true) => started.push(stopped.service.clone()),
            Ok(false) => {}
            Err(why) => lost.push((stopped.service.clone(), why)),
        }
    }
    if !lost.is_empty() {
        return Ok(Recovery::NotBack(lost));
    }
    if let Some(after) = &journal.after {
        // A maintenance mode ends only where the application answers.
        healthy(engine, journal, events).await;
        if let Err(why) = run_after(engine.as_ref(), journal).await {
            events.event(Event::Warning(format!(
                "{}: `{}` failed after the backup: {why}\n  hint: run it by hand: `summoner exec {}/{} {}`",
                journal.minion,
                after.command.join(" "),
                journal.minion,
                after.service,
                after.command.join(" ")
            )));
        }
    }
    for folder in &journal.staging {
        staging::sweep(folder)?;
    }
    Journal::remove(paths, &journal.minion)?;
    Ok(Recovery::Back(started))
}

/// Makes one service run again; whether it had to be started.
async fn bring_back(
    engine: &dyn Engine,
    journal: &Journal,
    stopped: &Stopped,
) -> Result<bool, String> {
    let mut started = false;
    let mut last = "it has no container any more".to_owned();
    let mut settled = !stopped.asked;
    for attempt in 0..TRIES {
        if attempt > 0 {
            sleep(Duration::from_millis(200)).await;
        }
        let all = match engine.containers().await {
            Ok(all) => all,
            Err(error) => {
                last = error.to_string();
                continue;
            }
        };
        let Some(found) = find(&all, &journal.root, &journal.minion, stopped) else {
            continue;
        };
        if !settled && journal.phase == Phase::Stopping {
            // Its stop may be under way still, and would strike after our start: wait for its end.
            if let Err(error) = engine.stop(&found.id, stopped.grace()).await {
                last = error.to_string();
                continue;
            }
            settled = true;
        } else if matches!(found.state, RunState::Running | RunState::Restarting) {
            return Ok(started);
        }
        match engine.start(&found.id).await {
            Ok(()) => started = true,
            Err(error) => {
                last = error.to_string();
                continue;
            }
        }
        match engine.inspect(&found.id).await {
            Ok(container) if is_up(&container) => return Ok(true),
            Ok(container) => last = format!("it is {:?} after its start", container.state),
            Err(EngineError::NotFound { .. }) => {}
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

fn is_up(container: &Container) -> bool {
    matches!(container.state, RunState::Running | RunState::Restarting)
}

/// Waits until everything of the journal is healthy, or long enough; what is not, and how it is.
pub(super) async fn healthy(
    engine: &Arc<dyn Engine>,
    journal: &Journal,
    events: &dyn Events,
) -> Vec<(String, String)> {
    let watcher = Watcher::start(engine);
    let (_keep, never) = watch::channel(false);
    let mut unwell = Vec::new();
    let Ok(all) = engine.containers().await else {
        return unwell;
    };
    for stopped in &journal.services {
        let Some(found) = find(&all, &journal.root, &journal.minion, stopped) else {
            continue;
        };
        let target = format!("{}/{}", journal.minion, stopped.service);
        let waited = wait::container(
            engine.as_ref(),
            &watcher,
            events,
            &never,
            (&target, &found.id),
            Need::Healthy,
            HEALTH,
        )
        .await;
        match waited {
            Ok(()) | Err(Unmet::Cancelled) => {}
            Err(Unmet::Broken(how)) => unwell.push((stopped.service.clone(), how)),
            Err(Unmet::Timeout(state)) => unwell.push((
                stopped.service.clone(),
                format!("is {state} after {} s", HEALTH.as_secs()),
            )),
            Err(Unmet::Engine(error)) => unwell.push((stopped.service.clone(), error.to_string())),
        }
    }
    unwell
}

/// Runs the command that belongs after a backup.
pub(super) async fn run_after(engine: &dyn Engine, journal: &Journal) -> Result<(), String> {
    match &journal.after {
        Some(after) => run_in(engine, journal, &after.service, &after.command).await,
        None => Ok(()),
    }
}

/// Runs a command in a service of the journal; an exit code other than 0 is an error.
pub(super) async fn run_in(
    engine: &dyn Engine,
    journal: &Journal,
    service: &str,
    command: &[String],
) -> Result<(), String> {
    let all = engine.containers().await.map_err(|e| e.to_string())?;
    let Some(stopped) = journal.services.iter().find(|s| s.service == service) else {
        return Err(format!("`{service}` does not run"));
    };
    let Some(found) = find(&all, &journal.root, &journal.minion, stopped) else {
        return Err(format!("`{service}` has no container"));
    };
    let spec = ExecSpec {
        command: command.to_vec(),
        ..ExecSpec::default()
    };
    let output = engine
        .exec(&found.id, &spec)
        .await
        .map_err(|e| e.to_string())?;
    if output.code == 0 {
        return Ok(());
    }
    let said = String::from_utf8_lossy(if output.stderr.is_empty() {
        &output.stdout
    } else {
        &output.stderr
    })
    .trim()
    .to_owned();
    Err(format!("exit code {}: {said}", output.code))
}
