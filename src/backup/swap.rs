//! The swap: restored data takes the place of live data by rename, with a way back at every step.
//!
//! A journal in `.summoner/journal/` says how far it is; it is durable before each phase begins. A
//! run that is cut off, by a power cut or `kill -9`, is finished or taken back by the next command
//! ([`recover`]): up to the moment when all folders have changed place it is taken back, from then
//! on it is finished. Live data is renamed, never deleted and never written into.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::apply::wait::{self, Need, Unmet, Watcher};
use crate::engine::{ContainerSummary, Engine, EngineError, RunState};
use crate::events::{Event, Events};
use crate::files::{self, FileError};
use crate::plan::desired::labels;
use crate::state::Paths;

/// Version of the journal's format.
const FORMAT: u32 = 1;
/// How long the old containers may take to be healthy again when a swap is taken back.
const RETURN_LIMIT: Duration = Duration::from_mins(5);

/// How far a swap is. Each phase is written down before its first step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Containers are being stopped; no folder has moved. Cut off here: started again.
    Stopping,
    /// Folders change place. Cut off here: those that did are put back.
    Swapping,
    /// All folders have changed place, containers start. Cut off here: it is finished.
    Starting,
    /// It is being taken back. Cut off here: it goes on being taken back.
    Back,
}

/// A folder that is to be replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Where the application looks.
    pub live: PathBuf,
    /// Where the live data is put aside, in the same folder.
    pub before: PathBuf,
    /// Where the restored data lies, in the same folder.
    pub fresh: PathBuf,
    /// Whether there was a live folder at all.
    pub had_live: bool,
}

/// A service whose container is stopped for the swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Service.
    pub service: String,
    /// Seconds between its stop signal and the kill.
    pub grace: u64,
    /// Whether it ran before: only what ran is started again.
    pub ran: bool,
}

/// What is written down about a swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Version of this format.
    pub format: u32,
    /// Instance.
    pub minion: String,
    /// Snapshot that is restored.
    pub snapshot: String,
    /// How far it is.
    pub phase: Phase,
    /// Services in the order in which they start.
    pub services: Vec<Stopped>,
    /// Folders.
    pub moves: Vec<Move>,
    /// Seconds a container may take until it is healthy.
    pub wait: u64,
}

impl Journal {
    /// A swap that is about to begin.
    #[must_use]
    pub fn new(
        minion: &str,
        snapshot: &str,
        services: Vec<Stopped>,
        moves: Vec<Move>,
        wait: Duration,
    ) -> Self {
        Self {
            format: FORMAT,
            minion: minion.to_owned(),
            snapshot: snapshot.to_owned(),
            phase: Phase::Stopping,
            services,
            moves,
            wait: wait.as_secs(),
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(paths: &Paths, minion: &str) -> PathBuf {
        paths
            .dir
            .join("journal")
            .join(format!("restore-{minion}.json"))
    }
}

/// How a swap went wrong.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// Everything is as it was before.
    #[error("{why}; the data from before is back in its place")]
    TakenBack {
        /// What went wrong.
        why: String,
        /// Last lines of a container's log.
        log: Vec<String>,
    },
    /// The data is as it was before, but a container is not.
    #[error("{why}; the data from before is back in its place, but {not_back}")]
    NotBack {
        /// What went wrong first.
        why: String,
        /// What is not as it was.
        not_back: String,
    },
    /// It could be neither finished nor taken back; the journal stays for the next command.
    #[error("{why}; it could not be taken back: {then}")]
    Stuck {
        /// What went wrong first.
        why: String,
        /// What stood in the way back.
        then: String,
    },
    /// Nothing was begun.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What a swap works with.
#[derive(Clone)]
pub struct Hands {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// Who listens.
    pub events: Arc<dyn Events>,
    /// Places; the folder above them owns the containers.
    pub paths: Paths,
    /// Told before each step on the disk: tests kill the run here.
    pub step: Arc<dyn Fn(&str) + Send + Sync>,
}

/// Why a step failed.
struct Trouble {
    why: String,
    log: Vec<String>,
}

impl From<EngineError> for Trouble {
    fn from(error: EngineError) -> Self {
        Self {
            why: error.to_string(),
            log: Vec::new(),
        }
    }
}

impl From<FileError> for Trouble {
    fn from(error: FileError) -> Self {
        Self {
            why: error.to_string(),
            log: Vec::new(),
        }
    }
}

/// Swaps. On success the live data of before lies in `before` of each move.
pub async fn run(hands: &Hands, mut journal: Journal) -> Result<(), SwapError> {
    enter(hands, &mut journal, Phase::Stopping)?;
    let watcher = Watcher::start(&hands.engine);
    match forward(hands, &watcher, &mut journal).await {
        Ok(()) => finish(hands, &journal).map_err(SwapError::from),
        Err(trouble) => Err(back(hands, &watcher, &mut journal, trouble).await),
    }
}

async fn forward(hands: &Hands, watcher: &Watcher, journal: &mut Journal) -> Result<(), Trouble> {
    stop_all(hands, journal).await?;
    enter(hands, journal, Phase::Swapping)?;
    for folder in &journal.moves {
        if folder.had_live {
            (hands.step)("live data aside");
            rename(&folder.live, &folder.before)?;
        }
        (hands.step)("restored data in");
        rename(&folder.fresh, &folder.live)?;
    }
    enter(hands, journal, Phase::Starting)?;
    let limit = Duration::from_secs(journal.wait);
    start_all(hands, watcher, journal, limit).await
}

/// Takes everything back; what became of it.
async fn back(
    hands: &Hands,
    watcher: &Watcher,
    journal: &mut Journal,
    trouble: Trouble,
) -> SwapError {
    let Trouble { why, log } = trouble;
    let moved = async {
        enter(hands, journal, Phase::Back)?;
        stop_all(hands, journal).await?;
        for folder in &journal.moves {
            put_back(hands, folder)?;
        }
        Ok::<_, Trouble>(())
    };
    if let Err(then) = moved.await {
        let then = then.why;
        return SwapError::Stuck { why, then };
    }
    match start_all(hands, watcher, journal, RETURN_LIMIT).await {
        Ok(()) => match finish(hands, journal) {
            Ok(()) => SwapError::TakenBack { why, log },
            Err(error) => SwapError::Stuck {
                why,
                then: error.to_string(),
            },
        },
        Err(trouble) => {
            // The data is back, and that is what the journal was for.
            let _ = finish(hands, journal);
            SwapError::NotBack {
                why,
                not_back: trouble.why,
            }
        }
    }
}

/// Puts one folder back, whatever step its swap was cut off at: what is where tells.
fn put_back(hands: &Hands, folder: &Move) -> Result<(), FileError> {
    if !folder.fresh.exists() && folder.live.exists() {
        (hands.step)("restored data out");
        rename(&folder.live, &folder.fresh)?;
    }
    if folder.had_live && folder.before.exists() && !folder.live.exists() {
        (hands.step)("live data back");
        rename(&folder.before, &folder.live)?;
    }
    Ok(())
}

/// Finishes or takes back the swaps that were cut off: of one minion, or of all; what was done, a
/// line each. For who holds the locks that a restore takes.
pub async fn recover(hands: &Hands, minion: Option<&str>) -> Result<Vec<String>, SwapError> {
    let mut told = Vec::new();
    for mut journal in journals(&hands.paths)? {
        if minion.is_some_and(|m| m != journal.minion) {
            continue;
        }
        let of = format!(
            "the restore of `{}` from {} was cut off",
            journal.minion, journal.snapshot
        );
        let watcher = Watcher::start(&hands.engine);
        let limit = Duration::from_secs(journal.wait);
        let trouble = if journal.phase == Phase::Starting {
            match start_all(hands, &watcher, &journal, limit).await {
                Ok(()) => {
                    finish(hands, &journal)?;
                    told.push(format!("{of}: finished"));
                    told.extend(kept(&journal));
                    continue;
                }
                Err(trouble) => trouble,
            }
        } else {
            Trouble {
                why: of.clone(),
                log: Vec::new(),
            }
        };
        match back(hands, &watcher, &mut journal, trouble).await {
            SwapError::TakenBack { why, .. } if why == of => {
                told.push(format!("{of}: taken back, everything is as it was before"));
            }
            SwapError::TakenBack { why, .. } => {
                told.push(format!("{of}: taken back, since {why}"));
            }
            error => return Err(error),
        }
    }
    Ok(told)
}

/// Where the live data of before lies now, with the command that deletes it: a line each.
#[must_use]
pub fn kept(journal: &Journal) -> Vec<String> {
    journal
        .moves
        .iter()
        .filter(|m| m.had_live)
        .map(|m| {
            format!(
                "the data from before is kept; when you need it no more: `rm -rf {}`",
                m.before.display()
            )
        })
        .collect()
}

/// Swaps that were cut off; one that cannot be read is an error, since data may be out of place.
pub fn journals(paths: &Paths) -> Result<Vec<Journal>, FileError> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(paths.dir.join("journal")) else {
        return Ok(found);
    };
    for path in entries.flatten().map(|e| e.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with("restore-") || !name.ends_with(".json") {
            continue;
        }
        let text = fs::read(&path).map_err(FileError::of("read", &path))?;
        let journal: Journal = serde_json::from_slice(&text)
            .map_err(std::io::Error::other)
            .map_err(FileError::of("understand", &path))?;
        found.push(journal);
    }
    found.sort_by(|a, b| a.minion.cmp(&b.minion));
    Ok(found)
}

fn enter(hands: &Hands, journal: &mut Journal, phase: Phase) -> Result<(), FileError> {
    journal.phase = phase;
    let path = Journal::path(&hands.paths, &journal.minion);
    if let Some(folder) = path.parent() {
        files::create_folder(folder, 0o700)?;
    }
    let text = serde_json::to_vec_pretty(journal).expect("a journal is plain data");
    (hands.step)("journal");
    files::write_atomic(&path, &text, 0o600)
}

fn finish(hands: &Hands, journal: &Journal) -> Result<(), FileError> {
    let path = Journal::path(&hands.paths, &journal.minion);
    (hands.step)("journal away");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::of("remove", &path)(error))
        }
        _ => path
            .parent()
            .map_or(Ok(()), files::sync_folder)
            .map_err(FileError::of("sync the folder of", &path)),
    }
}

/// Renames, durably, and never over something: an empty folder would vanish in silence.
fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
        .map_err(std::io::Error::from)
        .map_err(FileError::of("rename", from))?;
    to.parent()
        .map_or(Ok(()), files::sync_folder)
        .map_err(FileError::of("sync the folder of", to))
}

/// The containers of the services, found again by label: ids change when they are made anew.
async fn containers(
    hands: &Hands,
    journal: &Journal,
) -> Result<Vec<(Stopped, ContainerSummary)>, EngineError> {
    let all = hands.engine.containers().await?;
    let root = hands.paths.dir.parent().map(Path::to_owned);
    let root = root.unwrap_or_default();
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let ours = |c: &ContainerSummary, service: &str| {
        let label = |key: &str| c.labels.get(key).map(String::as_str);
        label(labels::MINION) == Some(&journal.minion)
            && label(labels::SERVICE) == Some(service)
            && label(labels::ONE_OFF).is_none()
            && label(labels::ROOT).is_some_and(|r| real(Path::new(r)) == real(&root))
    };
    let mut found = Vec::new();
    for stopped in &journal.services {
        for container in all.iter().filter(|c| ours(c, &stopped.service)) {
            found.push((stopped.clone(), container.clone()));
        }
    }
    Ok(found)
}

/// Stops every container of the services that runs, those that need others first.
async fn stop_all(hands: &Hands, journal: &Journal) -> Result<(), EngineError> {
    let running = |c: &ContainerSummary| {
        matches!(
            c.state,
            RunState::Running | RunState::Paused | RunState::Restarting
        )
    };
    for (stopped, container) in containers(hands, journal).await?.iter().rev() {
        if !running(container) {
            continue;
        }
        let target = format!("{}/{}", journal.minion, stopped.service);
        hands.events.event(Event::Started {
            target: target.clone(),
            action: "stop".into(),
        });
        let grace = Duration::from_secs(stopped.grace);
        hands.engine.stop(&container.id, grace).await?;
        hands.events.event(Event::Finished {
            target,
            action: "stop".into(),
        });
    }
    Ok(())
}

/// Starts what ran before, in order, each healthy before the next begins.
async fn start_all(
    hands: &Hands,
    watcher: &Watcher,
    journal: &Journal,
    limit: Duration,
) -> Result<(), Trouble> {
    let (_keep, never) = watch::channel(false);
    let found = containers(hands, journal).await?;
    for wanted in journal.services.iter().filter(|s| s.ran) {
        let target = format!("{}/{}", journal.minion, wanted.service);
        let Some((_, container)) = found.iter().find(|(s, _)| s.service == wanted.service) else {
            return Err(Trouble {
                why: format!("the container of `{target}` is not there any more"),
                log: Vec::new(),
            });
        };
        hands.events.event(Event::Started {
            target: target.clone(),
            action: "start".into(),
        });
        hands.engine.start(&container.id).await?;
        let waited = wait::container(
            hands.engine.as_ref(),
            watcher,
            hands.events.as_ref(),
            &never,
            (&target, &container.id),
            Need::Healthy,
            limit,
        )
        .await;
        let how = match waited {
            Ok(()) => {
                hands.events.event(Event::Finished {
                    target,
                    action: "start".into(),
                });
                continue;
            }
            Err(Unmet::Engine(error)) => return Err(error.into()),
            Err(Unmet::Broken(how)) => how,
            Err(Unmet::Timeout(state)) => format!("is {state} after {} s", limit.as_secs()),
            Err(Unmet::Cancelled) => unreachable!("nobody can cancel it"),
        };
        return Err(Trouble {
            why: format!("the container `{}` {how}", container.name),
            log: wait::log_tail(hands.engine.as_ref(), &container.id).await,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
