//! What restores and drills that were cut off have left: finished, taken back, thrown away.

use super::{Arc, Events, Lock, Project, Purpose, Result, Session, scratch};
use crate::backup::restore::RestoreError;
use crate::backup::swap::{self, Hands};
use crate::commands::world;
use crate::engine::Engine;

/// Whether there is anything to settle: needs no engine.
pub(in crate::commands) fn due(project: &Project) -> Result<bool> {
    Ok(!swap::journals(&project.paths)?.is_empty() || !scratch::left(&project.paths).is_empty())
}

/// Takes the project's lock and settles it.
pub(in crate::commands) async fn lock(
    session: &Session,
    project: &mut Project,
    command: &str,
) -> Result<Lock> {
    let lock = project.lock(command)?;
    settle(session, project).await?;
    Ok(lock)
}

/// Settles it. For who holds the project's lock, as every restore does. How many things it were.
pub(in crate::commands) async fn settle(session: &Session, project: &Project) -> Result<usize> {
    if !due(project)? {
        return Ok(0);
    }
    let (engine, _) = world::engine().await?;
    let hands = Hands {
        engine: Arc::clone(&engine),
        events: Arc::clone(&session.report) as Arc<dyn Events>,
        paths: project.paths.clone(),
        step: Arc::new(|_| {}),
    };
    let told = swap::recover(&hands, None)
        .await
        .map_err(RestoreError::from);
    session.report.finish_progress();
    let told = told?;
    for line in &told {
        session.report.warn(line);
    }
    Ok(told.len() + sweep(session, project, engine).await?)
}

async fn sweep(session: &Session, project: &Project, engine: Arc<dyn Engine>) -> Result<usize> {
    let (_keep, never) = tokio::sync::watch::channel(false);
    let context = scratch::context(
        engine,
        Arc::clone(&session.report) as Arc<dyn Events>,
        &project.environment,
        &project.paths,
        never,
    );
    let mut swept = 0;
    for (minion, purpose) in scratch::left(&project.paths) {
        // A drill may be at work: it does not hold the project's lock.
        let lock = (purpose == Purpose::Drill)
            .then(|| Lock::take_minion(&project.paths, &format!("{minion}.drill"), "recover"));
        if matches!(lock, Some(Err(_))) {
            continue;
        }
        let count = scratch::sweep(&context, &minion, purpose).await?;
        if count > 0 {
            session.report.note(&format!(
                "threw away what a {} of `{minion}` that was cut off had left",
                purpose.name()
            ));
        }
        swept += count;
    }
    Ok(swept)
}
