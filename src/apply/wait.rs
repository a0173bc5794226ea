//! Waiting for containers: by the engine's events, which come at once, and a look every two seconds
//! in case one was missed. Every wait has an end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::ready;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, timeout_at};

use crate::engine::{Container, Engine, EngineError, Health, LogOptions, RunState};
use crate::events::{Event, Events};

/// A look at least this often.
const POLL: Duration = Duration::from_secs(2);
/// A container that the engine had to restart this often is not waited for any longer.
pub const RESTARTS: u64 = 3;
/// Lines of a log that a message shows.
const LOG_LINES: u64 = 20;

/// Hears the engine's container events for everybody who waits.
#[derive(Clone)]
pub struct Watcher {
    sender: broadcast::Sender<String>,
    /// Ends the listening task when the last watcher is gone.
    _alive: Arc<AbortOnDrop>,
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watcher {
    /// Listens from now on.
    #[must_use]
    pub fn start(engine: &Arc<dyn Engine>) -> Self {
        let (sender, _) = broadcast::channel(1024);
        let out = sender.clone();
        let mut events = engine.events();
        let task = tokio::spawn(async move {
            // An error ends the stream; those who wait still look every two seconds.
            while let Some(Ok(event)) = events.next().await {
                let _ = out.send(event.id);
            }
        });
        Self {
            sender,
            _alive: Arc::new(AbortOnDrop(task.abort_handle())),
        }
    }
}

/// What a container is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Healthy, or running where it has no healthcheck.
    Healthy,
    /// Ended with exit code 0.
    Completed,
}

/// Why a container did not come to what it was waited for.
#[derive(Debug)]
pub enum Unmet {
    /// It is broken; says how.
    Broken(String),
    /// Time is over; says its state.
    Timeout(String),
    /// The user wants to stop.
    Cancelled,
    /// The engine failed.
    Engine(EngineError),
}

/// Waits for `id` until `deadline`.
pub async fn container(
    engine: &dyn Engine,
    watcher: &Watcher,
    events: &dyn Events,
    cancelled: &watch::Receiver<bool>,
    (target, id): (&str, &str),
    need: Need,
    limit: Duration,
) -> Result<(), Unmet> {
    let deadline = Instant::now() + limit;
    let mut heard = watcher.sender.subscribe();
    let mut cancelled = cancelled.clone();
    let mut told = String::new();
    let mut last = None;
    loop {
        let mut seen = engine.inspect(id).await.map_err(Unmet::Engine)?;
        // Between two crashes it runs for a moment, and then nobody tells how the last one ended.
        last = seen.exit_code.or(last);
        seen.exit_code = last.filter(|_| seen.restarts > 0).or(seen.exit_code);
        if let Some(result) = judge(&seen, need) {
            return result.map_err(Unmet::Broken);
        }
        let state = describe(&seen);
        if state != told {
            events.event(Event::Waiting {
                target: target.to_owned(),
                state: state.clone(),
            });
            told.clone_from(&state);
        }
        if Instant::now() >= deadline {
            return Err(Unmet::Timeout(state));
        }
        let until = deadline.min(Instant::now() + POLL);
        tokio::select! {
            _ = timeout_at(until, about(&mut heard, id)) => {}
            Ok(_) = cancelled.wait_for(|c| *c) => return Err(Unmet::Cancelled),
        }
    }
}

/// Returns at the next event of container `id`.
async fn about(heard: &mut broadcast::Receiver<String>, id: &str) {
    loop {
        match heard.recv().await {
            Ok(of) if of == id => return,
            // Too many events at once: some were lost, so look.
            Err(broadcast::error::RecvError::Lagged(_)) => return,
            Ok(_) => {}
            // Nobody speaks any more: leave it to the clock.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Whether it is there yet: `None` = not yet.
fn judge(c: &Container, need: Need) -> Option<Result<(), String>> {
    let ended = |c: &Container| {
        let mut text = match (c.oom_killed, c.exit_code) {
            (true, _) => "was killed for want of memory".to_owned(),
            (_, Some(code)) => format!("ended with exit code {code}"),
            (_, None) => "ended".to_owned(),
        };
        if !c.error.is_empty() {
            text = format!("{text}: {}", c.error);
        }
        text
    };
    // Without its exit code a little longer: the next crash tells it.
    let enough = match c.exit_code {
        Some(_) => RESTARTS,
        None => 2 * RESTARTS,
    };
    if c.restarts >= enough && c.health != Health::Healthy {
        return Some(Err(format!("restarts over and over, it {}", ended(c))));
    }
    match (c.state, need) {
        (RunState::Exited | RunState::Dead, _) if c.exit_code == Some(0) => {
            // A one-off service is done; one that shall stay up is not.
            (need == Need::Completed || c.restart == "no")
                .then_some(Ok(()))
                .or_else(|| Some(Err(ended(c))))
        }
        (RunState::Exited | RunState::Dead | RunState::Removing, _) => Some(Err(ended(c))),
        (RunState::Running, Need::Healthy) => match c.health {
            Health::None | Health::Healthy => Some(Ok(())),
            Health::Unhealthy => Some(Err("is unhealthy".to_owned())),
            Health::Starting => None,
        },
        _ => None,
    }
}

fn describe(c: &Container) -> String {
    match (c.state, c.health) {
        (RunState::Running, Health::Starting) => "starting",
        (RunState::Running, Health::Healthy) => "healthy",
        (RunState::Running, Health::Unhealthy) => "unhealthy",
        (RunState::Running, Health::None) => "running",
        (RunState::Created, _) => "created",
        (RunState::Restarting, _) => "restarting",
        (RunState::Paused, _) => "paused",
        (RunState::Exited | RunState::Dead | RunState::Removing, _) => "stopped",
    }
    .to_owned()
}

/// Waits until a container that does one thing has done it; its exit code.
pub async fn ended(engine: &dyn Engine, id: &str, limit: Duration) -> Result<i64, EngineError> {
    tokio::time::timeout(limit, engine.wait(id))
        .await
        .unwrap_or_else(|_| {
            Err(EngineError::Timeout(
                limit,
                "run a helper container to its end".to_owned(),
            ))
        })
}

/// The last lines of a container's log, at most 20; empty when they cannot be had within 5 s.
pub async fn log_tail(engine: &dyn Engine, id: &str) -> Vec<String> {
    let options = LogOptions {
        tail: Some(LOG_LINES),
        ..LogOptions::default()
    };
    let lines = engine
        .logs(id, options)
        .filter_map(|l| ready(l.ok().map(|l| l.text)))
        .collect();
    tokio::time::timeout(Duration::from_secs(5), lines)
        .await
        .unwrap_or_default()
}
