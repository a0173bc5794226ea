//! `summoner plan`: what `up` would do, and why. Nothing is written.

use anyhow::Result;

use crate::cli::PlanArgs;
use crate::commands::{Session, exit, world};
use crate::plan::reconcile;

pub(super) async fn run(session: &Session, args: &PlanArgs) -> Result<u8> {
    let result = show(session, args).await;
    match result {
        // Scripts that ask for the detailed code know three: 2 must never mean an error to them.
        Err(error) if args.detailed_exitcode => {
            session
                .report
                .error_with(&error, super::hint(&error).as_deref());
            Ok(exit::FAILED)
        }
        other => other,
    }
}

async fn show(session: &Session, args: &PlanArgs) -> Result<u8> {
    let mut project = world::open(session)?;
    let scope = world::scope(&project, None, &args.minions)?;
    if args.upgrade {
        project.upgrade(scope.as_ref());
    }
    let mut world = world::look(session, project).await?;
    world::ask_registries(&mut world).await;
    let plan = reconcile::plan(&world.wanted.desired, &world.observed, scope.as_ref())?;
    if args.json {
        session.report.json(&plan.to_json())?;
    } else {
        session.report.plan(&plan.to_text());
    }
    let changed = args.detailed_exitcode && !plan.is_empty();
    Ok(if changed { 2 } else { exit::OK })
}
