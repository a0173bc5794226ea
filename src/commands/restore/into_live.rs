//! From a snapshot to what runs.

use super::{
    Arc, Container, Duration, Entry, Events, Group, Into, Lock, Project, Purpose, RestoreArgs,
    Result, Scratch, Session, SystemClock, Target, UpArgs, World, bail, exit, key, labels, restore,
    scratch, show, signals, up,
};
use crate::apply;
use crate::backup::error::BackupError;
use crate::backup::restore::{Job, RestoreError, Restored};
use crate::backup::swap::{self, Hands, Journal, Move, Stopped, SwapError};
use crate::clock::Clock as _;
use crate::engine::RunState;
use crate::plan::service::start_order;
use crate::plan::{Action, reconcile};
use crate::project::Rendered;

/// What is restored, and into what.
pub(in crate::commands) struct Subject<'a> {
    pub(in crate::commands) project: &'a Project,
    pub(in crate::commands) group: &'a Group,
    pub(in crate::commands) rendered: &'a Rendered,
    /// Containers of the minion.
    pub(in crate::commands) containers: Vec<&'a Container>,
}

impl<'a> Subject<'a> {
    /// The minion as it is rendered today; it is in config.yml.
    pub(in crate::commands) fn of(world: &'a World, minion: &str) -> Result<Self> {
        let group = world
            .wanted
            .desired
            .groups
            .iter()
            .find(|g| g.name == minion);
        let rendered = world.wanted.rendered.iter().find(|r| r.instance == minion);
        let (Some(group), Some(rendered)) = (group, rendered) else {
            bail!(super::world::unknown(
                minion,
                world.wanted.desired.groups.iter().map(|g| g.name.as_str())
            ));
        };
        let ours = |c: &&Container| c.labels.get(labels::MINION).is_some_and(|m| m == minion);
        Ok(Self {
            project: &world.project,
            group,
            rendered,
            containers: world.observed.containers.iter().filter(ours).collect(),
        })
    }
}

pub(super) async fn run(
    session: &Session,
    args: &RestoreArgs,
    world: World,
    target: &Target,
    entry: &Entry,
    locks: (Lock, Lock),
) -> Result<u8> {
    let report = &session.report;
    let subject = Subject::of(&world, &args.minion)?;
    let live = args.into == Into::Live;
    if live {
        refuse_half_done(&world, &args.minion)?;
    }
    show::what(session, &subject, entry, args);
    if live && args.yes_overwrite.is_none() {
        let question = format!(
            "this replaces the data of `{0}` that is named above; type `{0}` to go on",
            args.minion
        );
        if !report.ask_name(&question, &args.minion, "--yes-overwrite")? {
            report.note("nothing was done");
            return Ok(exit::OK);
        }
    }
    // Passwords before anything that is made with them.
    world.project.paths.create()?;
    world.project.secrets.save(&world.project.paths)?;
    let listening = signals::listen(report);
    let context = scratch::context(
        Arc::clone(&world.engine),
        Arc::clone(report) as Arc<dyn Events>,
        &world.project.environment,
        &world.project.paths,
        listening.cancelled.clone(),
    );
    let limit = Duration::from_secs(args.wait_timeout);
    let job = Job {
        context: &context,
        group: subject.group,
        minion: &world.project.minions[&args.minion].manifest,
        secrets: &subject.rendered.secrets,
        target,
        key: key(args)?,
        manifest: &entry.manifest,
        without: std::collections::BTreeSet::new(),
    };
    let now = SystemClock.now();
    let mut scratch = Scratch::new(&context, subject.group, Purpose::Restore, now, limit);
    let restored = match restore::into_scratch(&job, &mut scratch).await {
        Ok(restored) => restored,
        Err(error) => {
            report.finish_progress();
            scratch.leave().await?;
            return Err(error.into());
        }
    };
    report.finish_progress();
    show::checked(session, &restored.checked);
    if !live {
        for (folder, path) in &restored.folders {
            report.line(&format!(
                "{}  would be {}",
                path.display(),
                folder.path.display()
            ));
        }
        scratch.keep().await?;
        report.note(
            "restored and checked; nothing live was touched. It is yours to look at and to delete",
        );
        return Ok(exit::OK);
    }
    if *listening.cancelled.borrow() {
        scratch.leave().await?;
        report.fail("interrupted; nothing live was touched");
        return Ok(exit::INTERRUPTED);
    }
    swap_in(
        session,
        &context,
        &subject,
        entry.manifest.id.as_str(),
        scratch,
        restored,
        limit,
    )
    .await?;
    drop(listening);
    drop(locks);
    if subject.containers.is_empty() {
        let up = UpArgs {
            minions: vec![args.minion.clone()],
            yes: true,
            dry_run: false,
            upgrade: false,
            wait_timeout: args.wait_timeout,
        };
        return Box::pin(up::run(session, &up)).await;
    }
    Ok(exit::OK)
}

/// A container that is in the middle of an update, or that `up` would make anew, belongs to other
/// data than what is restored for the configuration of today.
fn refuse_half_done(world: &World, minion: &str) -> Result<()> {
    let scope = [minion.to_owned()].into();
    let plan = reconcile::plan(&world.wanted.desired, &world.observed, Some(&scope))?;
    let changes = plan.operations.iter().find(|o| {
        o.minion == minion
            && matches!(
                o.action,
                Action::Replace { .. } | Action::Finish { .. } | Action::Restore { .. }
            )
    });
    match changes {
        None => Ok(()),
        Some(operation) => bail!(BackupError::Refused(format!(
            "`{}` does not run as config.yml says ({}), and a restore is made for what it says\n  \
             hint: `summoner up {minion}` first; or `summoner down {minion}`, which keeps its data, and restore again",
            operation.target, operation.cause
        ))),
    }
}

/// Swaps the folders, and throws away or keeps what there is then.
pub(in crate::commands) async fn swap_in(
    session: &Session,
    context: &apply::Context,
    subject: &Subject<'_>,
    snapshot: &str,
    scratch: Scratch<'_>,
    restored: Restored,
    limit: Duration,
) -> Result<()> {
    let moves = restored
        .folders
        .iter()
        .map(|(live, fresh)| {
            let name = live.path.file_name().unwrap_or_default().to_string_lossy();
            Move {
                live: live.path.clone(),
                before: live
                    .path
                    .with_file_name(format!("{name}.before-{}", scratch.tag())),
                fresh: fresh.clone(),
                had_live: live.path.exists(),
            }
        })
        .collect();
    let services = start_order(subject.group)
        .into_iter()
        .filter_map(|service| {
            let container = subject.containers.iter().find(|c| c.name == service.name)?;
            Some(Stopped {
                service: service.service.clone(),
                grace: service.grace().as_secs(),
                ran: matches!(
                    container.state,
                    RunState::Running | RunState::Restarting | RunState::Paused
                ),
            })
        })
        .collect();
    let journal = Journal::new(&subject.group.name, snapshot, services, moves, limit);
    let hands = Hands {
        engine: Arc::clone(&context.engine),
        events: Arc::clone(&context.events),
        paths: context.paths.clone(),
        step: Arc::new(|_| {}),
    };
    let swapped = swap::run(&hands, journal.clone()).await;
    session.report.finish_progress();
    match swapped {
        Ok(()) => {
            scratch.keep().await?;
            session.report.line(&format!(
                "`{}` has the data of {snapshot}",
                subject.group.name
            ));
            for line in kept(&journal) {
                session.report.note(&line);
            }
            Ok(())
        }
        Err(error) => {
            if let SwapError::TakenBack { log, .. } = &error {
                for line in log {
                    session.report.note(&format!("| {line}"));
                }
            }
            // Stuck: some of it may be in use; the next command sees to it.
            if !matches!(error, SwapError::Stuck { .. }) {
                scratch.leave().await?;
            }
            Err(RestoreError::from(error).into())
        }
    }
}

/// What is kept of before; a folder that was empty is not worth a word.
fn kept(journal: &Journal) -> Vec<String> {
    for folder in &journal.moves {
        // Only an empty one goes.
        let _ = std::fs::remove_dir(&folder.before);
    }
    let mut journal = journal.clone();
    journal.moves.retain(|m| m.before.exists());
    swap::kept(&journal)
}
