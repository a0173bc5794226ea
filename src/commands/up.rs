//! `summoner up`: look, plan, ask, apply, tell the addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::watch;

use crate::apply::wait::{self, Need, Unmet, Watcher};
use crate::apply::{self, Failure, Outcome, routes};
use crate::cli::UpArgs;
use crate::clock::SystemClock;
use crate::commands::signals;
use crate::commands::world::{self, World};
use crate::commands::{Session, exit, restore};
use crate::engine::{Container, Engine, Health, Image, RunState};
use crate::events::Events;
use crate::plan::desired::{Desired, PROXY, Service};
use crate::plan::observed::FolderState;
use crate::plan::{Action, Plan, reconcile};
use crate::project::observe;
use crate::project::preflight::{self, Finding, Level};
use crate::state::lock::Lock;
use crate::state::{PinnedImage, State};

pub(super) async fn run(session: &Session, args: &UpArgs) -> Result<u8> {
    let report = &session.report;
    let mut project = world::open(session)?;
    let lock = if args.dry_run {
        None
    } else {
        Some(restore::settle::lock(session, &mut project, "up").await?)
    };
    let scope = world::scope(&project, None, &args.minions)?;
    if args.upgrade {
        project.upgrade(scope.as_ref());
    }
    let mut world = world::look(session, project).await?;
    if world.project.environment.backup.asked {
        report.warn(
            "nothing runs the schedules of `backup:` yet: `summoner dump` and `summoner backup` make snapshots when you, or cron, call them",
        );
    }
    if let Some(code) = refuse(session, &world).await? {
        return Ok(code);
    }
    world::ask_registries(&mut world).await;
    let plan = reconcile::plan(&world.wanted.desired, &world.observed, scope.as_ref())?;
    report.plan(&plan.to_text());
    let Some(lock) = lock else {
        return Ok(exit::OK);
    };
    if !plan.is_empty() && !args.yes && !report.confirm("carry out this plan?")? {
        report.note("nothing was done");
        return Ok(exit::OK);
    }
    let wait = Duration::from_secs(args.wait_timeout);
    let changed = plan.operations.iter().map(|o| o.minion.as_str());
    let minions = world::lock_minions(&world.project.paths, changed, "up")?;
    let locks = (lock, minions);
    carry_out(session, world, &plan, wait, locks, scope.as_ref()).await
}

/// Says what stands in the way; the exit code when `up` must not go on.
async fn refuse(session: &Session, world: &World) -> Result<Option<u8>> {
    let installed: BTreeSet<&str> = world
        .observed
        .containers
        .iter()
        .filter_map(|c| c.labels.get(crate::plan::desired::labels::MINION))
        .map(String::as_str)
        .collect();
    let mut findings = preflight::engine(&world.info);
    findings.extend(preflight::requirements(
        &world.project,
        world.info.memory,
        &|name| !installed.contains(name),
    ));
    if world.wanted.desired.routes.is_some() {
        findings.extend(preflight::port_findings(
            &world.project,
            &world.engine.containers().await?,
        ));
    }
    let errors: Vec<&Finding> = findings
        .iter()
        .filter(|f| f.level == Level::Error)
        .collect();
    for finding in findings.iter().filter(|f| f.level == Level::Warning) {
        session
            .report
            .warn(&with_hint(&finding.message, finding.mend.as_deref()));
    }
    for finding in &errors {
        session
            .report
            .fail(&with_hint(&finding.message, finding.mend.as_deref()));
    }
    Ok(errors.first().map(|f| f.code))
}

fn with_hint(message: &str, hint: Option<&str>) -> String {
    hint.map_or_else(
        || message.to_owned(),
        |hint| format!("{message}\n  hint: {hint}"),
    )
}

/// Writes down what must not be lost, applies the plan, and tells how it went. The locks are held
/// to the end; without it nothing can be applied.
async fn carry_out(
    session: &Session,
    world: World,
    plan: &Plan,
    wait: Duration,
    locks: (Lock, Vec<Lock>),
    scope: Option<&BTreeSet<String>>,
) -> Result<u8> {
    let World {
        mut project,
        engine,
        wanted,
        observed,
        ..
    } = world;
    // Passwords before anything that is made with them.
    project.paths.create()?;
    project.secrets.save(&project.paths)?;
    let mut versions = BTreeMap::new();
    for (name, remembered) in wanted.state.minions {
        if scope.is_some_and(|s| !s.contains(&name)) {
            continue;
        }
        versions.insert(name.clone(), remembered.version.clone());
        project.state.begin(&name, remembered);
    }
    project.keep_templates(scope)?;
    project.state.save(&project.paths)?;

    let listening = signals::listen(&session.report);
    let cancelled = listening.cancelled.clone();
    let report = Arc::clone(&session.report);
    let context = apply::Context {
        engine: Arc::clone(&engine),
        clock: Arc::new(SystemClock),
        events: Arc::clone(&report) as Arc<dyn Events>,
        desired: wanted.desired,
        observed,
        paths: project.paths.clone(),
        wait_timeout: wait,
        helper_image: project.environment.proxy.image.clone(),
        cancelled: cancelled.clone(),
    };
    let desired = context.desired.clone();
    let before: BTreeSet<String> = context
        .observed
        .containers
        .iter()
        .map(|c| c.id.clone())
        .collect();
    let seen = plan.is_empty().then(|| context.observed.images.clone());
    let fresh = plan.is_empty().then(|| context.observed.containers.clone());
    let outcome = apply::apply(plan, context).await;
    report.finish_progress();

    let images = match seen {
        Some(images) => images,
        // Not to know them is no failure: the next run notes them.
        None => engine.images().await.unwrap_or_default(),
    };
    remember(&mut project.state, versions, &outcome, &desired, &images);
    // Told before anything else can go wrong.
    tell(session, &outcome);
    give_up(&mut project.state, engine.as_ref(), &desired, &before).await;
    project.keep_templates(scope)?;
    project.state.save(&project.paths)?;
    drop(locks);
    if outcome.interrupted {
        return Ok(exit::INTERRUPTED);
    }
    let aftermath = Aftermath {
        engine,
        desired: &desired,
        scope,
        wait,
        fresh: fresh.as_deref(),
        cancelled,
    };
    let unwell = if outcome.failures.is_empty() {
        unwell(session, &aftermath).await?
    } else {
        Vec::new()
    };
    report.finish_progress();
    drop(listening);
    if *aftermath.cancelled.borrow() {
        report.fail("interrupted while containers get healthy; they go on\n  hint: `summoner status` shows how they are");
        return Ok(exit::INTERRUPTED);
    }
    for failure in &unwell {
        tell_failure(session, failure);
    }
    if outcome.failures.is_empty() && unwell.is_empty() {
        let urls = moved(plan, &wanted.rendered);
        if let (Some(proxy), false) = (desired.service(PROXY, PROXY), urls.is_empty()) {
            routes::found(aftermath.engine.as_ref(), &proxy.name, &urls).await;
        }
    }
    addresses(session, plan, &wanted.rendered, scope);
    Ok(match (outcome.failures.first(), unwell.is_empty()) {
        (None, true) => exit::OK,
        (
            Some(Failure {
                code: Some(code), ..
            }),
            _,
        ) => *code,
        _ => exit::PARTIAL,
    })
}

/// Which data folders hold something now: from here on an empty one is no new one; and which
/// versions and images run now.
fn remember(
    state: &mut State,
    versions: BTreeMap<String, String>,
    outcome: &Outcome,
    desired: &Desired,
    images: &[Image],
) {
    for remembered in state.minions.values_mut() {
        let filled: Vec<_> = remembered
            .folders
            .iter()
            .filter(|f| observe::folder(f) == Some(FolderState::Filled))
            .cloned()
            .collect();
        remembered.filled.extend(filled);
    }
    for (name, version) in versions {
        if outcome.failed(&name) {
            continue;
        }
        state.installed(&name, version);
        let services = desired.groups.iter().filter(|g| g.name == name);
        let pinned = services.flat_map(|g| g.services.values()).filter_map(|s| {
            let reference = s.spec.image.clone();
            let image = images.iter().find(|i| i.tags.contains(&reference))?;
            let digest = image.digest().to_owned();
            Some((s.service.clone(), PinnedImage { reference, digest }))
        });
        let pinned: BTreeMap<String, PinnedImage> = pinned.collect();
        if !pinned.is_empty() {
            state.pin(&name, pinned);
        }
    }
}

/// Ends upgrades of which nothing runs: the old containers are back, and so is what they were made from.
/// Where one of the new ones stays, the next run goes on: what it has changed must not be changed back.
async fn give_up(
    state: &mut State,
    engine: &dyn Engine,
    desired: &Desired,
    before: &BTreeSet<String>,
) {
    if state.minions.values().all(|r| r.upgrade.is_none()) {
        return;
    }
    // Whoever cannot look does not give up.
    let Ok(containers) = engine.containers().await else {
        return;
    };
    for group in &desired.groups {
        let stays = group.services.values().any(|service| {
            containers
                .iter()
                .any(|c| c.name == service.name && !before.contains(&c.id))
        });
        if !stays {
            state.given_up(&group.name);
        }
    }
}

/// Services that are not well, whether we touched them or not. One that is still starting, since the
/// engine or the machine was restarted, is waited for like one of ours.
async fn unwell(session: &Session, aftermath: &Aftermath<'_>) -> Result<Vec<Failure>> {
    let watcher = Watcher::start(&aftermath.engine);
    let looks = aftermath
        .desired
        .groups
        .iter()
        .filter(|g| aftermath.scope.is_none_or(|s| s.contains(&g.name)))
        .flat_map(|g| g.services.values())
        .map(|service| unwell_service(session, aftermath, &watcher, service));
    let mut failures = Vec::new();
    for failure in futures_util::future::join_all(looks).await {
        failures.extend(failure?);
    }
    Ok(failures)
}

async fn unwell_service(
    session: &Session,
    aftermath: &Aftermath<'_>,
    watcher: &Watcher,
    service: &Service,
) -> Result<Option<Failure>> {
    let engine = aftermath.engine.as_ref();
    let target = service.target();
    let seen = match aftermath.fresh {
        Some(containers) => containers.iter().find(|c| c.name == service.name).cloned(),
        None => engine.inspect(&service.name).await.ok(),
    };
    let how = match seen {
        // Between two crashes it runs for a moment.
        Some(c) if c.health == Health::Starting && c.restarts >= wait::RESTARTS => {
            "restarts over and over".to_owned()
        }
        Some(c) if c.state == RunState::Running && c.health == Health::Starting => {
            let cancelled = &aftermath.cancelled;
            let limit = aftermath.wait;
            let events = session.report.as_ref();
            match wait::container(
                engine,
                watcher,
                events,
                cancelled,
                (&target, &c.id),
                Need::Healthy,
                limit,
            )
            .await
            {
                Ok(()) | Err(Unmet::Cancelled) => return Ok(None),
                Err(Unmet::Broken(how)) => how,
                Err(Unmet::Timeout(state)) => format!("is {state} after {} s", limit.as_secs()),
                Err(Unmet::Engine(error)) => return Err(error.into()),
            }
        }
        Some(c) if c.state == RunState::Running && c.health == Health::Unhealthy => {
            "is unhealthy".to_owned()
        }
        Some(c) if c.state == RunState::Restarting => "restarts over and over".to_owned(),
        Some(c) if c.state == RunState::Exited && service.spec.restart != "no" => {
            "ended right after its start".to_owned()
        }
        _ => return Ok(None),
    };
    Ok(Some(Failure {
        target,
        message: format!("the container `{}` {how}", service.name),
        hint: Some(format!("see more with `summoner logs {}`", service.minion)),
        log: wait::log_tail(engine, &service.name).await,
        code: None,
    }))
}

/// What there is to look at when the plan is carried out.
struct Aftermath<'a> {
    engine: Arc<dyn Engine>,
    desired: &'a Desired,
    scope: Option<&'a BTreeSet<String>>,
    wait: Duration,
    /// What was seen a moment ago, where nothing was done since.
    fresh: Option<&'a [Container]>,
    cancelled: watch::Receiver<bool>,
}

/// Failures with their logs, and what was left out because of them.
pub(super) fn tell(session: &Session, outcome: &Outcome) {
    let report = &session.report;
    outcome
        .failures
        .iter()
        .for_each(|failure| tell_failure(session, failure));
    if !outcome.skipped.is_empty() && !outcome.interrupted {
        report.note(&format!(
            "not begun, since something before them failed: {}",
            outcome.skipped.join(", ")
        ));
    }
    if outcome.interrupted {
        report.fail("interrupted; what was begun is in a state that the next run finishes\n  hint: `summoner up` goes on from here");
    }
}

fn tell_failure(session: &Session, failure: &Failure) {
    let mut text = format!("{}: {}", failure.target, failure.message);
    for line in &failure.log {
        text.push_str("\n  | ");
        text.push_str(line);
    }
    session
        .report
        .fail(&with_hint(&text, failure.hint.as_deref()));
}

/// Addresses behind which something was started; all, when the proxy itself was.
fn moved<'a>(plan: &Plan, rendered: &'a [crate::project::Rendered]) -> Vec<&'a str> {
    let started: BTreeSet<&str> = plan
        .operations
        .iter()
        .filter(|o| o.action.starts_a_container())
        .map(|o| o.minion.as_str())
        .collect();
    rendered
        .iter()
        .filter(|r| started.contains(r.instance.as_str()) || started.contains(PROXY))
        .filter_map(|r| r.url.as_deref())
        .collect()
}

fn addresses(
    session: &Session,
    plan: &Plan,
    rendered: &[crate::project::Rendered],
    scope: Option<&BTreeSet<String>>,
) {
    if plan.is_empty() {
        return;
    }
    let created: BTreeSet<&str> = plan
        .operations
        .iter()
        .filter(|o| o.action == Action::Create)
        .map(|o| o.minion.as_str())
        .collect();
    let new_ca = |o: &crate::plan::Operation| matches!(o.action, Action::Authority { .. });
    if plan.operations.iter().any(new_ca) {
        session.report.note(
            "browsers warn until they trust `.summoner/ca/root.pem`; docs/proxy.md tells how",
        );
    }
    for minion in rendered
        .iter()
        .filter(|r| scope.is_none_or(|s| s.contains(&r.instance)))
    {
        if let Some(url) = &minion.url {
            session.report.line(&format!("{}  {url}", minion.instance));
        }
        if let Some(notes) = minion
            .notes
            .as_ref()
            .filter(|_| created.contains(minion.instance.as_str()))
        {
            session
                .report
                .note(&format!("{}: {}", minion.instance, notes.trim()));
        }
    }
}
