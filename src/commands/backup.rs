//! `summoner backup`: cold, physical snapshots of whole minions.

mod summary;

use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::backup::cold::run::{self, Outcome, Report, Run, Subject};
use crate::backup::cold::volume;
use crate::backup::definition::Definition as Files;
use crate::backup::destination;
use crate::backup::error::BackupError;
use crate::backup::manifest::{Definition, ImageRecord, ManifestError};
use crate::cli::BackupArgs;
use crate::clock::{Clock as _, SystemClock};
use crate::commands::world::{self, World};
use crate::commands::{Session, exit, signals};
use crate::config::environment::Instance;
use crate::engine::EngineError;
use crate::events::Events;
use crate::plan::desired::labels;
use crate::plan::hash::sha256;
use crate::state::StateError;
use crate::storage::StorageError;

pub(super) async fn run(session: &Session, args: &BackupArgs) -> Result<u8> {
    let world = world::look(session, world::open(session)?).await?;
    let scope = world::scope(&world.project, None, &args.minions)?;
    let mut subjects = Vec::new();
    for instance in &world.project.environment.instances {
        if scope.as_ref().is_none_or(|s| s.contains(&instance.name)) {
            let subject = match subject(&world, instance, args).await {
                Ok(subject) => subject,
                Err(error) => return Ok(tell_usage(session, &error)),
            };
            subjects.extend(subject.filter(|s| scope.is_some() || !s.volumes.is_empty()));
        }
    }
    let listening = signals::listen(&session.report);
    let program = std::env::current_exe().context("failed to find our own program")?;
    let job = Run {
        id: run_id(),
        project: world.project.environment.project.clone(),
        root: world.project.environment.root.clone(),
        timezone: world.project.environment.timezone.clone(),
        paths: world.project.paths.clone(),
        engine: Arc::clone(&world.engine),
        clock: Arc::new(SystemClock),
        events: Arc::clone(&session.report) as Arc<dyn Events>,
        program,
        helper_image: world.project.environment.proxy.image.clone(),
        cancelled: listening.cancelled.clone(),
    };
    let reports = run::run(&job, subjects).await;
    session.report.finish_progress();
    if args.json {
        session.report.json(&summary::json(&job.id, &reports))?;
    } else {
        summary::print(&session.report, &reports);
    }
    summary::tell(&session.report, &reports);
    Ok(code(&reports))
}

/// What one run made carries one id.
fn run_id() -> String {
    let now = u64::try_from(SystemClock.now().as_millisecond()).unwrap_or(0);
    ulid::Ulid::from_parts(now, rand::random()).to_string()
}

fn tell_usage(session: &Session, error: &BackupError) -> u8 {
    session.report.fail(&error.to_string());
    code_of(error)
}

/// What there is to know of an instance; `None` where it has no destination and nobody asked for it.
async fn subject(
    world: &World,
    instance: &Instance,
    args: &BackupArgs,
) -> Result<Option<Subject>, BackupError> {
    let name = &instance.name;
    let desired = &world.wanted.desired;
    let Some(group) = desired.groups.iter().find(|g| g.name == *name) else {
        return Ok(None);
    };
    let names = if args.to.is_empty() {
        &instance.backup.to
    } else {
        &args.to
    };
    if names.is_empty() {
        return Err(BackupError::Usage(format!(
            "`{name}` has no destination\n  hint: name one with `--to`, or in config.yml: `destinations: {{disk: {{dir: ./backups}}}}` and `backup: {{to: [disk]}}`"
        )));
    }
    let (mut targets, mut missing) = (Vec::new(), Vec::new());
    for (name, opened) in destination::open_all(&world.project.environment, names).await {
        match opened {
            Ok(target) => targets.push(target),
            // A name that is none is a mistake of the command, not of the destination.
            Err(error @ BackupError::Usage(_)) => return Err(error),
            Err(error) => missing.push((name, Arc::new(error))),
        }
    }
    let minion = &world.project.minions[name].manifest;
    let rendered = world.wanted.rendered.iter().find(|r| r.instance == *name);
    let compose = rendered.map_or("", |r| r.compose.as_str());
    let files = |secret| Files::of(&world.project, name, compose, secret).map(|f| f.to_tar());
    Ok(Some(Subject {
        volumes: volume::all(desired, group),
        group: group.clone(),
        databases: minion
            .databases
            .iter()
            .map(|d| (d.service.clone(), d.engine.name().to_owned()))
            .collect(),
        quiesce: minion.quiesce.clone(),
        method: args
            .method
            .map_or(instance.backup.cold.method, crate::cli::MethodArg::method),
        max_downtime: instance.backup.cold.max_downtime,
        definition: definition(world, instance),
        files: (files(false)?, files(true)?),
        targets,
        missing,
    }))
}

/// What the minion is, for the manifest.
fn definition(world: &World, instance: &Instance) -> Definition {
    let project = &world.project;
    let template = &project.minions[&instance.name];
    let containers = world.observed.containers.iter();
    let images = containers
        .filter(|c| c.labels.get(labels::MINION) == Some(&instance.name))
        .filter_map(|c| {
            let record = ImageRecord {
                reference: c.image.clone(),
                digest: c.image_id.clone(),
            };
            Some((c.labels.get(labels::SERVICE)?.clone(), record))
        })
        .collect();
    Definition {
        template: template.manifest.name.clone(),
        version: project.version(instance).to_owned(),
        template_hash: template.hash.clone(),
        config_hash: sha256(&std::fs::read(&project.environment.file).unwrap_or_default()),
        domain: project.environment.domain.clone(),
        images,
    }
}

/// The exit code of it all: a container that is not back outranks everything.
fn code(reports: &[Report]) -> u8 {
    if reports.iter().any(|r| !r.not_back.is_empty()) {
        return exit::NOT_BACK;
    }
    if reports
        .iter()
        .any(|r| matches!(r.outcome, Outcome::Interrupted))
    {
        return exit::INTERRUPTED;
    }
    let codes: Vec<u8> = reports.iter().map(code_of_report).collect();
    let made = reports.iter().any(|r| r.id.is_some());
    match codes.iter().find(|c| **c != exit::OK) {
        None => exit::OK,
        Some(_) if made => exit::PARTIAL,
        // What all have in common says most.
        Some(first) if codes.iter().all(|c| c == first) => *first,
        Some(_) if codes.contains(&exit::FAILED) => exit::FAILED,
        Some(_) => exit::PARTIAL,
    }
}

fn code_of_report(report: &Report) -> u8 {
    match &report.outcome {
        Outcome::Complete => exit::OK,
        Outcome::Locked(_) => exit::LOCKED,
        Outcome::Interrupted => exit::INTERRUPTED,
        Outcome::Suspect | Outcome::Partial | Outcome::Skipped(_) | Outcome::TooLong(_) => {
            exit::PARTIAL
        }
        Outcome::Failed(error) => code_of(error),
    }
}

fn code_of(error: &BackupError) -> u8 {
    match error {
        BackupError::Storage(StorageError::NoDestination { .. })
        | BackupError::NoDestination(_) => exit::NO_DESTINATION,
        BackupError::Engine(EngineError::Absent { .. } | EngineError::TooOld { .. }) => {
            exit::ENGINE
        }
        BackupError::State(StateError::Locked(_)) => exit::LOCKED,
        BackupError::WrongKey(_) => exit::WRONG_KEY,
        BackupError::BadKey(_) | BackupError::Usage(_) => exit::USAGE,
        BackupError::Refused(_) | BackupError::Manifest(ManifestError::Newer(_)) => exit::REFUSED,
        _ => exit::FAILED,
    }
}
