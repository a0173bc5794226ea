//! Containers of services: made, started, waited for, replaced with a way back.

use std::time::Duration;

use crate::apply::wait::{self, Need, Unmet};
use crate::apply::{Failure, Progress, Run, under_way};
use crate::compose::Condition;
use crate::engine::EngineError;
use crate::events::Event;
use crate::plan::Action;
use crate::plan::desired::Service;
use crate::plan::service::{NEXT, PREVIOUS};

/// How long the old container of a failed replacement may take to be healthy again before we
/// report without waiting longer.
const RETURN_LIMIT: Duration = Duration::from_mins(1);

/// How long the proxy may go on with addresses it looked up before: `resolver … valid=2s` in its
/// configuration, and a second for the look-up itself. Nothing tells when it has looked.
const RESOLVED: Duration = Duration::from_secs(3);

/// Performs an operation on the container of a service; false when its turn never came.
pub(super) async fn perform(run: &Run) -> Result<bool, Box<Failure>> {
    let service = run.service()?;
    let target = service.target();
    let started = |action: &str| {
        run.context.events.event(Event::Started {
            target: target.clone(),
            action: action.to_owned(),
        });
    };
    let engine = &run.context.engine;
    let engine_failure = |e: &EngineError| Box::new(Failure::engine(&target, e));
    match &run.operation.action {
        Action::Create => {
            // Networks, folders, files, image: all that is no service must be there to make it.
            if !made_of(run).await {
                return Ok(false);
            }
            started("create");
            let id = make(run, service, &service.name).await?;
            if !run.gate().await {
                // Left as made: the next run starts it.
                return Ok(false);
            }
            start(run, service, &id).await?;
        }
        Action::Start { id, paused } => {
            started("start");
            if *paused {
                engine
                    .stop(id, service.grace())
                    .await
                    .map_err(|e| engine_failure(&e))?;
            }
            start(run, service, id).await?;
        }
        Action::Replace {
            old,
            running,
            overlap,
            discard,
        } => {
            if !made_of(run).await {
                return Ok(false);
            }
            started("recreate");
            let name = format!("{}{NEXT}", service.name);
            let new = make(run, service, &name).await?;
            if !run.gate().await {
                let _ = engine.remove(&new).await;
                return Ok(false);
            }
            // Not before everything is there: a failed attempt may run, and be better than nothing.
            for id in discard {
                take_away(run, service, id)
                    .await
                    .map_err(|e| engine_failure(&e))?;
            }
            if *overlap {
                side_by_side(run, service, old, &new).await?;
            } else {
                in_place(run, service, (old, *running), &new).await?;
            }
        }
        Action::Finish { id, previous } => {
            started("finish");
            // It runs where a failed update put it back under this name: never two on the same data.
            if !service.overlaps() {
                engine
                    .stop(previous, service.grace())
                    .await
                    .map_err(|e| engine_failure(&e))?;
            }
            limited(run, under_way::start(engine.as_ref(), id, &service.spec))
                .await
                .map_err(|e| engine_failure(&e))?;
            match settle(run, service, id).await {
                Ok(()) => take_away(run, service, previous)
                    .await
                    .map_err(|e| engine_failure(&e))?,
                Err(failure) => {
                    return Err(roll_back(run, service, (previous, true), id, failure).await);
                }
            }
        }
        Action::Restore { id } => {
            started("restore");
            engine
                .rename(id, &service.name)
                .await
                .map_err(|e| engine_failure(&e))?;
            start(run, service, id).await?;
        }
        _ => unreachable!("no operation of a service"),
    }
    run.context.events.event(Event::Finished {
        target: target.clone(),
        action: run.operation.action.verb().to_owned(),
    });
    Ok(true)
}

/// Makes the container of a service under a name; its id.
async fn make(run: &Run, service: &Service, name: &str) -> Result<String, Box<Failure>> {
    let made = under_way::container(run.context.engine.as_ref(), name, &service.spec);
    limited(run, made)
        .await
        .map_err(|e| Box::new(Failure::engine(&service.target(), &e)))
}

/// Starts a container, tells those who wait for that, and waits until it is what it should be.
async fn start(run: &Run, service: &Service, id: &str) -> Result<(), Box<Failure>> {
    let started = under_way::start(run.context.engine.as_ref(), id, &service.spec);
    limited(run, started)
        .await
        .map_err(|e| Box::new(Failure::engine(&service.target(), &e)))?;
    run.progress.send_replace(Progress::Started);
    settle(run, service, id).await.map_err(Box::new)
}

/// Waits for the prerequisites that are no services: those must be there to make the container,
/// while services only have to be there to start it.
async fn made_of(run: &Run) -> bool {
    for (receiver, condition) in &run.gates {
        if *condition != Condition::Completed {
            continue;
        }
        let mut receiver = receiver.clone();
        match receiver.wait_for(|p| *p >= Progress::Done).await {
            Ok(progress) if *progress != Progress::Failed => {}
            _ => return false,
        }
    }
    !*run.context.cancelled.borrow()
}

/// At most so many makes and starts at a time.
async fn limited<T>(run: &Run, call: impl Future<Output = T>) -> T {
    let _permit = run.starts.acquire().await;
    call.await
}

/// Waits until the new container is what it should be; a failure carries its last log lines.
async fn settle(run: &Run, service: &Service, id: &str) -> Result<(), Failure> {
    let target = service.target();
    let completed = run
        .context
        .desired
        .groups
        .iter()
        .filter(|g| g.name == service.minion)
        .flat_map(|g| g.services.values())
        .any(|s| s.depends_on.get(&service.service) == Some(&Condition::Completed));
    let need = if completed {
        Need::Completed
    } else {
        Need::Healthy
    };
    let limit = run.context.wait_timeout;
    let engine = run.context.engine.as_ref();
    let result = wait::container(
        engine,
        &run.watcher,
        run.context.events.as_ref(),
        &run.context.cancelled,
        (&target, id),
        need,
        limit,
    )
    .await;
    let message = match result {
        Ok(()) => {
            super::files::applied(&run.context, service).map_err(|e| Failure::file(&target, &e))?;
            return Ok(());
        }
        Err(Unmet::Engine(error)) => return Err(Failure::engine(&target, &error)),
        Err(Unmet::Cancelled) => {
            return Err(Failure {
                code: Some(130),
                ..Failure::new(&target, "interrupted")
            });
        }
        Err(Unmet::Broken(how)) => format!("the container `{}` {how}", service.name),
        Err(Unmet::Timeout(state)) => {
            format!(
                "the container `{}` is {state} after {} s",
                service.name,
                limit.as_secs()
            )
        }
    };
    Ok(()).and(Err(Failure {
        message,
        hint: Some(format!(
            "see more with `summoner logs {}`, then `summoner up` again",
            service.minion
        )),
        log: wait::log_tail(engine, id).await,
        target,
        code: None,
    }))
}

async fn take_away(run: &Run, service: &Service, id: &str) -> Result<(), EngineError> {
    match run.context.engine.stop(id, service.grace()).await {
        Ok(()) => run.context.engine.remove(id).await,
        Err(EngineError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Old and new share data and names: the old one stops first, and comes back if the new one fails.
async fn in_place(
    run: &Run,
    service: &Service,
    (old, running): (&str, bool),
    new: &str,
) -> Result<(), Box<Failure>> {
    let engine = &run.context.engine;
    let switched = async {
        engine.stop(old, service.grace()).await?;
        step_aside(run, service, old).await?;
        engine.rename(new, &service.name).await?;
        under_way::start(engine.as_ref(), new, &service.spec).await
    }
    .await;
    let target = service.target();
    let failure = match switched {
        Ok(()) => {
            run.progress.send_replace(Progress::Started);
            match settle(run, service, new).await {
                Ok(()) => {
                    return engine
                        .remove(old)
                        .await
                        .map_err(|e| Box::new(Failure::engine(&target, &e)));
                }
                Err(failure) => failure,
            }
        }
        Err(error) => Failure::engine(&target, &error),
    };
    Err(roll_back(run, service, (old, running), new, failure).await)
}

/// Renames the old container to `<name>.previous`, unless an earlier run did.
async fn step_aside(run: &Run, service: &Service, old: &str) -> Result<(), EngineError> {
    let previous = format!("{}{PREVIOUS}", service.name);
    if run.context.engine.inspect(old).await?.name == previous {
        return Ok(());
    }
    run.context.engine.rename(old, &previous).await
}

/// Puts the old container back in its place, and says how that went.
async fn roll_back(
    run: &Run,
    service: &Service,
    (old, running): (&str, bool),
    new: &str,
    mut failure: Failure,
) -> Box<Failure> {
    let engine = &run.context.engine;
    let target = service.target();
    let back = async {
        // One that does not run any more is enough: it may resist removal for a while, and the next
        // run sees to it. Removal kills what did not stop.
        let stopped = engine.stop(new, service.grace()).await;
        if let (Err(_), Err(error)) = (stopped, engine.remove(new).await) {
            return Err(error);
        }
        engine
            .rename(old, &service.name)
            .await
            .or_else(|e| match e {
                // It never lost its name, or the new one still has it.
                EngineError::Conflict(_) | EngineError::Other { .. } => Ok(()),
                e => Err(e),
            })?;
        if running {
            under_way::start(engine.as_ref(), old, &service.spec).await
        } else {
            Ok(())
        }
    }
    .await;
    let state = match back {
        Err(error) => format!("the old container could not be put back: {error}"),
        Ok(()) if !running => "the old container is back, stopped as it was".to_owned(),
        Ok(()) => {
            // Waits even when the user wants to stop: this is what makes stopping safe.
            let (_keep, never) = tokio::sync::watch::channel(false);
            let healthy = wait::container(
                engine.as_ref(),
                &run.watcher,
                run.context.events.as_ref(),
                &never,
                (&target, old),
                Need::Healthy,
                RETURN_LIMIT,
            )
            .await;
            match healthy {
                Ok(()) => "the old container runs again".to_owned(),
                Err(_) => "the old container was started again, but is not healthy yet".to_owned(),
            }
        }
    };
    failure.message = format!("{}; {state}", failure.message);
    Box::new(failure)
}

/// Stateless: the new one gets healthy beside the old one, then the old one retires.
async fn side_by_side(
    run: &Run,
    service: &Service,
    old: &str,
    new: &str,
) -> Result<(), Box<Failure>> {
    let engine = &run.context.engine;
    let target = service.target();
    let engine_failure = |e: &EngineError| Box::new(Failure::engine(&target, e));
    let result = match under_way::start(engine.as_ref(), new, &service.spec).await {
        Ok(()) => settle(run, service, new).await,
        Err(error) => Err(Failure::engine(&target, &error)),
    };
    if let Err(mut failure) = result {
        let gone = take_away(run, service, new).await;
        failure.message = match gone {
            Ok(()) => format!("{}; the old container never stopped", failure.message),
            Err(error) => format!(
                "{}; the old container never stopped, the new one could not be removed: {error}",
                failure.message
            ),
        };
        return Err(Box::new(failure));
    }
    run.progress.send_replace(Progress::Started);
    // Both answer to the same name; the old one goes when the proxy has seen the new one too.
    tokio::time::sleep(RESOLVED).await;
    // The name passes on before the old one stops, so that a run that is cut off here is finished
    // by the next one (`Action::Finish`).
    step_aside(run, service, old)
        .await
        .map_err(|e| engine_failure(&e))?;
    engine
        .rename(new, &service.name)
        .await
        .map_err(|e| engine_failure(&e))?;
    take_away(run, service, old)
        .await
        .map_err(|e| engine_failure(&e))
}
