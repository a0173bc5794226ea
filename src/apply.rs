//! Executes a plan. No decisions here: what is done, and in which order, the plan says.
//!
//! Operations run in parallel as far as their prerequisites allow; one that fails takes along only
//! what comes after it. Nothing is written down about progress: names and states of containers are
//! the journal (see `plan::service`), so a run that was killed is finished by the next one.

mod files;
pub mod folders;
pub mod routes;
mod service;
mod under_way;
pub mod wait;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::compose::Condition;
use crate::engine::{Engine, EngineError};
use crate::events::{Event, Events};
use crate::files::FileError;
use crate::plan::desired::Desired;
use crate::plan::observed::Observed;
use crate::plan::{Action, Operation, Plan};
use crate::state::Paths;

/// Engine calls that make or start containers at the same time. Measured on two cores: 30 containers
/// take 9.8 s one by one, 5.7 s by four, and no less with more.
const PARALLEL_STARTS: usize = 4;

/// Everything an operation may need.
pub struct Context {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who listens.
    pub events: Arc<dyn Events>,
    /// What shall be.
    pub desired: Desired,
    /// What was when the plan was made.
    pub observed: Observed,
    /// Places.
    pub paths: Paths,
    /// How long a container may take until it is healthy.
    pub wait_timeout: Duration,
    /// Image with a shell, for folders when we are not root.
    pub helper_image: String,
    /// Turns true when the user wants to stop.
    pub cancelled: watch::Receiver<bool>,
}

/// Why an operation failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failure {
    /// What it worked on.
    pub target: String,
    /// What happened, lowercase.
    pub message: String,
    /// What to type next.
    pub hint: Option<String>,
    /// Last lines of the container's log.
    pub log: Vec<String>,
    /// Exit code that this failure asks for, when it is not the usual 3.
    pub code: Option<u8>,
}

impl Failure {
    fn new(target: &str, message: impl Into<String>) -> Self {
        Self {
            target: target.to_owned(),
            message: message.into(),
            ..Self::default()
        }
    }

    fn file(target: &str, error: &FileError) -> Self {
        Self {
            hint: error.hint(),
            ..Self::new(target, error.to_string())
        }
    }

    fn engine(target: &str, error: &EngineError) -> Self {
        Self {
            hint: error.hint(),
            code: match error {
                EngineError::PortTaken { .. } => Some(14),
                EngineError::Absent { .. } | EngineError::TooOld { .. } => Some(13),
                _ => None,
            },
            ..Self::new(target, error.to_string())
        }
    }
}

/// What became of a plan.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Operations that ended well.
    pub done: usize,
    /// Operations that failed.
    pub failures: Vec<Failure>,
    /// Targets that were not begun because something before them failed.
    pub skipped: Vec<String>,
    /// The user stopped it.
    pub interrupted: bool,
}

impl Outcome {
    /// Whether something of an instance failed or was not begun.
    #[must_use]
    pub fn failed(&self, instance: &str) -> bool {
        let of = |target: &str| target.split('/').next() == Some(instance);
        self.failures.iter().any(|f| of(&f.target)) || self.skipped.iter().any(|t| of(t))
    }
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    Pending,
    Started,
    Done,
    Failed,
}

enum Ended {
    Done,
    Failed(Box<Failure>),
    Skipped(String),
}

/// Executes `plan`; every operation is tried whose prerequisites ended well.
pub async fn apply(plan: &Plan, context: Context) -> Outcome {
    let context = Arc::new(context);
    let watcher = wait::Watcher::start(&context.engine);
    let starts = Arc::new(Semaphore::new(PARALLEL_STARTS));
    let channels: Vec<_> = plan
        .operations
        .iter()
        .map(|_| watch::channel(Progress::Pending))
        .collect();
    let receivers: Vec<_> = channels.iter().map(|(_, r)| r.clone()).collect();
    let mut tasks = JoinSet::new();
    for (operation, (progress, _)) in plan.operations.iter().zip(channels) {
        let run = Run {
            context: Arc::clone(&context),
            watcher: watcher.clone(),
            starts: Arc::clone(&starts),
            operation: operation.clone(),
            gates: operation
                .after
                .iter()
                .map(|(i, c)| (receivers[*i].clone(), *c))
                .collect(),
            progress,
        };
        tasks.spawn(run.execute());
    }
    let mut outcome = Outcome::default();
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(Ended::Done) => outcome.done += 1,
            Ok(Ended::Failed(failure)) => outcome.failures.push(*failure),
            Ok(Ended::Skipped(target)) => outcome.skipped.push(target),
            Err(error) => {
                outcome.failures.push(Failure::new(
                    "summoner",
                    format!("an operation panicked: {error}"),
                ));
            }
        }
    }
    outcome.failures.sort_by(|a, b| a.target.cmp(&b.target));
    outcome.skipped.sort();
    outcome.skipped.dedup();
    outcome.interrupted = *context.cancelled.borrow();
    outcome
}

/// One operation on its way.
struct Run {
    context: Arc<Context>,
    watcher: wait::Watcher,
    starts: Arc<Semaphore>,
    operation: Operation,
    gates: Vec<(watch::Receiver<Progress>, Condition)>,
    progress: watch::Sender<Progress>,
}

impl Run {
    async fn execute(self) -> Ended {
        let target = self.operation.target.clone();
        let result = self.perform().await;
        let (progress, ended) = match result {
            Ok(true) => (Progress::Done, Ended::Done),
            Ok(false) => (Progress::Failed, Ended::Skipped(target)),
            Err(failure) => {
                self.context.events.event(Event::Failed {
                    target,
                    message: failure.message.clone(),
                });
                (Progress::Failed, Ended::Failed(failure))
            }
        };
        self.progress.send_replace(progress);
        ended
    }

    /// Waits for what must come first; false when that failed or the user wants to stop.
    async fn gate(&self) -> bool {
        for (receiver, condition) in &self.gates {
            let mut receiver = receiver.clone();
            let wanted = match condition {
                Condition::Started => Progress::Started,
                Condition::Healthy | Condition::Completed => Progress::Done,
            };
            match receiver.wait_for(|p| *p >= wanted).await {
                Ok(progress) if *progress != Progress::Failed => {}
                _ => return false,
            }
        }
        !*self.context.cancelled.borrow()
    }

    async fn perform(&self) -> Result<bool, Box<Failure>> {
        // The container of a service is made before its turn to start comes; all else waits first.
        if matches!(
            self.operation.action,
            Action::Create | Action::Replace { .. }
        ) {
            return service::perform(self).await;
        }
        if !self.gate().await {
            return Ok(false);
        }
        if matches!(
            self.operation.action,
            Action::Start { .. } | Action::Finish { .. } | Action::Restore { .. }
        ) {
            return service::perform(self).await;
        }
        let target = &self.operation.target;
        let verb = self.operation.action.verb().to_owned();
        self.context.events.event(Event::Started {
            target: target.clone(),
            action: verb.clone(),
        });
        if let Action::Pull { image } = &self.operation.action {
            let mut cancelled = self.context.cancelled.clone();
            // Gigabytes may be on their way. Who cannot hear of it any more is not cancelled.
            let stop = async move {
                if cancelled.wait_for(|c| *c).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let pull = self
                .context
                .engine
                .pull(image, self.context.events.as_ref());
            tokio::select! {
                pulled = pull => pulled.map_err(|e| Failure::engine(target, &e))?,
                () = stop => return Ok(false),
            }
            self.context.events.event(Event::Finished {
                target: target.clone(),
                action: verb,
            });
            return Ok(true);
        }
        match self.on_engine().await? {
            Some(result) => result.map_err(|e| Failure::engine(target, &e))?,
            None => self.on_disk().await?,
        }
        self.context.events.event(Event::Finished {
            target: target.clone(),
            action: verb,
        });
        Ok(true)
    }

    /// What is one call of the engine, or a few that belong together; `None` for all else.
    async fn on_engine(&self) -> Result<Option<Result<(), EngineError>>, Failure> {
        let engine = &self.context.engine;
        Ok(Some(match &self.operation.action {
            Action::CreateNetwork(spec) => under_way::network(engine.as_ref(), spec).await,
            Action::RemoveNetwork { id } => engine.remove_network(id).await,
            Action::Update { id } => engine.update(id, &self.service()?.spec).await,
            Action::Rename { id } => engine.rename(id, &self.service()?.name).await,
            Action::Connect {
                id,
                network,
                endpoint,
                stale,
            } => {
                if *stale {
                    // If this fails, so does the connect, and its reason is the better one.
                    let _ = engine.disconnect(network, id).await;
                }
                engine.connect(network, id, endpoint).await
            }
            Action::Remove { id, grace } => {
                match engine.stop(id, Duration::from_secs(*grace)).await {
                    Ok(()) | Err(EngineError::NotFound { .. }) => engine.remove(id).await,
                    Err(error) => Err(error),
                }
            }
            _ => return Ok(None),
        }))
    }

    /// What happens to files and folders, and to the proxy through them.
    async fn on_disk(&self) -> Result<(), Box<Failure>> {
        let context = &self.context;
        let target = &self.operation.target;
        let minion = &self.operation.minion;
        let said = |message: String| Box::new(Failure::new(target, message));
        match &self.operation.action {
            Action::CreateFolder {
                path,
                uid,
                gid,
                mode,
            } => folders::create(context, path, (*uid, *gid), *mode)
                .await
                .map_err(said),
            Action::Purge { folders } => folders::purge(context, folders).await.map_err(said),
            Action::WriteFiles => {
                files::write(context, minion).map_err(|e| Box::new(Failure::file(target, &e)))
            }
            Action::Forget => {
                files::forget(context, minion).map_err(|e| Box::new(Failure::file(target, &e)))
            }
            Action::Certificate { site, hosts } => {
                routes::certificate(context, site, hosts).map_err(said)
            }
            Action::Authority { hosts } => routes::authority(context, hosts).map_err(said),
            Action::InstallCertificate {
                site,
                hosts,
                certificate,
                key,
            } => routes::install(context, site, hosts, (certificate, key)).map_err(said),
            Action::Routes => routes::switch(context).await,
            Action::Reload => routes::reload(context).await,
            _ => unreachable!("an operation of the engine or of a service"),
        }
    }

    fn service(&self) -> Result<&crate::plan::desired::Service, Failure> {
        let (minion, service) = self
            .operation
            .target
            .split_once('/')
            .unwrap_or((&self.operation.target, ""));
        self.context
            .desired
            .service(minion, service)
            .ok_or_else(|| {
                Failure::new(
                    &self.operation.target,
                    "the plan names a service that is not there",
                )
            })
    }
}

impl From<Failure> for String {
    fn from(failure: Failure) -> Self {
        failure.message
    }
}
