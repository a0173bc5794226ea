//! Requests of a run that was killed a moment ago: the engine still carries them out, and what it
//! makes then is in no list before it is made. The project's lock is ours, so what turns up under
//! our labels was left by that run.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::engine::{ContainerSpec, Engine, EngineError, NetworkSpec, RunState};
use crate::plan::desired::labels;

/// How long a name or a subnet may be taken by what is not to be seen: making a container takes a
/// second or two on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes a container; its id. One of the same name that a killed run has just made goes first: it
/// may lack the networks that are joined after it is made.
pub(super) async fn container(
    engine: &dyn Engine,
    name: &str,
    spec: &ContainerSpec,
) -> Result<String, EngineError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let error = match engine.create(name, spec).await {
            Err(error @ EngineError::Conflict(_)) => error,
            Err(error) if is_ambiguous(&error) => {
                untwin(engine, spec).await?;
                error
            }
            other => return other,
        };
        match engine.inspect(name).await {
            Ok(seen) if ours(&seen.labels, &spec.labels) && seen.state == RunState::Created => {
                engine.remove(&seen.id).await?;
            }
            Ok(_) => return Err(error),
            Err(_) => sleep(PAUSE).await,
        }
        if Instant::now() >= deadline {
            return Err(error);
        }
    }
}

/// Makes a network, or takes the one that a killed run has just made.
pub(super) async fn network(engine: &dyn Engine, spec: &NetworkSpec) -> Result<(), EngineError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let error = match engine.create_network(spec).await {
            Ok(_) => return Ok(()),
            Err(error @ EngineError::Conflict(_)) => error,
            Err(error) => return Err(error),
        };
        let all = engine.networks().await?;
        if all
            .iter()
            .any(|n| n.name == spec.name && ours(&n.labels, &spec.labels))
        {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(error);
        }
        sleep(PAUSE).await;
    }
}

/// Starts a container. Engines make a second network of a name while the first is in the making,
/// and then start nothing that is in either: one of the two goes.
pub(super) async fn start(
    engine: &dyn Engine,
    id: &str,
    spec: &ContainerSpec,
) -> Result<(), EngineError> {
    match engine.start(id).await {
        Err(error) if is_ambiguous(&error) => {
            untwin(engine, spec).await?;
            engine.start(id).await
        }
        other => other,
    }
}

fn is_ambiguous(error: &EngineError) -> bool {
    matches!(error, EngineError::Other { reason, .. } if reason.contains("is ambiguous"))
}

/// Leaves one network of each name that `spec` joins: the engine removes none that is in use.
async fn untwin(engine: &dyn Engine, spec: &ContainerSpec) -> Result<(), EngineError> {
    let all = engine.networks().await?;
    for name in spec.networks.keys() {
        let mut left: Vec<_> = all
            .iter()
            .filter(|n| n.name == *name && ours(&n.labels, &spec.labels))
            .collect();
        for _ in 1..left.len() {
            for i in 0..left.len() {
                match engine.remove_network(&left[i].id).await {
                    Ok(()) => {
                        left.remove(i);
                        break;
                    }
                    Err(EngineError::Conflict(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(())
}

fn ours(seen: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    let same = |key: &str| seen.contains_key(key) && seen.get(key) == wanted.get(key);
    same(labels::PROJECT) && same(labels::ROOT)
}
