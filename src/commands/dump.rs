//! `summoner dump`: hot, logical snapshots of databases.

mod summary;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use futures_util::future::join_all;

use crate::backup::definition;
use crate::backup::destination::{self, Target};
use crate::backup::discover::{self, Server};
use crate::backup::dump::live::Live;
use crate::backup::dump::{self, Files, MinionReport, Outcome, Run, Subject};
use crate::backup::error::BackupError;
use crate::backup::manifest::{Definition, ImageRecord, SnapshotId};
use crate::cli::dump::DumpArgs;
use crate::clock::{Clock as _, SystemClock};
use crate::commands::world::{self, World};
use crate::commands::{Session, exit, exit_code, signals};
use crate::engine::Container;
use crate::events::Events;
use crate::plan::hash::sha256;
use crate::secret::Secret;

pub(super) async fn run(session: &Session, args: &DumpArgs) -> Result<u8> {
    let world = world::look(session, world::open(session)?).await?;
    let servers = find(&world, args).await?;
    session.report.redact(
        servers
            .iter()
            .filter_map(|s| Some(s.access.password.as_ref()?.expose().to_owned())),
    );
    if servers.is_empty() {
        session
            .report
            .note("no databases: no minion of config.yml declares one, and none runs");
        if args.json {
            session.report.json(&summary::json("", &[]))?;
        }
        return Ok(exit::OK);
    }
    let mut destinations = Destinations::default();
    let mut subjects = Vec::new();
    for (minion, servers) in by_minion(servers) {
        let names = wanted(&world, &minion, args)?;
        let (targets, missing) = destinations.open(&world, &names).await?;
        subjects.push(Subject {
            definition: definition(&world, &minion, &servers),
            files: files(&world, &minion)?,
            minion,
            servers,
            targets,
            missing,
        });
    }
    let listening = signals::listen(&session.report);
    let run = Run {
        id: SnapshotId::new(SystemClock.now()).to_string(),
        project: world.project.environment.project.clone(),
        timezone: world.project.environment.timezone.clone(),
        paths: world.project.paths.clone(),
        clock: Arc::new(SystemClock),
        events: Arc::clone(&session.report) as Arc<dyn Events>,
        dumper: Arc::new(Live::new(Arc::clone(&world.engine))),
        cancelled: listening.cancelled.clone(),
    };
    let reports = dump::run(&run, subjects).await;
    session.report.finish_progress();
    if args.json {
        session.report.json(&summary::json(&run.id, &reports))?;
    } else {
        summary::print(&session.report, &reports);
    }
    if *listening.cancelled.borrow() {
        return Ok(exit::INTERRUPTED);
    }
    Ok(code(reports))
}

/// The databases that were asked for.
async fn find(world: &World, args: &DumpArgs) -> Result<Vec<Server>> {
    let secrets: BTreeMap<String, BTreeMap<String, Secret>> = world
        .wanted
        .rendered
        .iter()
        .map(|r| (r.instance.clone(), r.secrets.clone()))
        .collect();
    let mut servers = discover::own(&world.project, &secrets, &world.observed.containers);
    if args.all_containers {
        let named: Vec<String> = world
            .engine
            .containers()
            .await?
            .into_iter()
            .filter(|c| discover::by_name(&c.name).is_some())
            .map(|c| c.id)
            .collect();
        let looked = join_all(named.iter().map(|id| world.engine.inspect(id))).await;
        let looked: Vec<Container> = looked.into_iter().flatten().collect();
        servers.extend(discover::foreign(
            &looked,
            &world.project.environment.project,
        ));
    }
    for name in &args.minions {
        if servers.iter().any(|s| s.minion == *name) {
            continue;
        }
        let instances = &world.project.environment.instances;
        if instances.iter().any(|i| i.name == *name) {
            return Err(BackupError::Usage(format!(
                "`{name}` has no database\n  hint: `summoner backup {name}` saves its volumes"
            ))
            .into());
        }
        let known: Vec<&str> = servers.iter().map(|s| s.minion.as_str()).collect();
        return Err(world::unknown(name, known.iter().copied()).into());
    }
    if !args.minions.is_empty() {
        servers.retain(|s| args.minions.contains(&s.minion));
    }
    Ok(servers)
}

fn by_minion(servers: Vec<Server>) -> Vec<(String, Vec<Server>)> {
    let mut groups: Vec<(String, Vec<Server>)> = Vec::new();
    for server in servers {
        match groups.iter_mut().find(|(name, _)| *name == server.minion) {
            Some((_, group)) => group.push(server),
            None => groups.push((server.minion.clone(), vec![server])),
        }
    }
    groups
}

/// Names of the destinations of a minion.
fn wanted(world: &World, minion: &str, args: &DumpArgs) -> Result<Vec<String>, BackupError> {
    if !args.to.is_empty() {
        return Ok(args.to.clone());
    }
    let environment = &world.project.environment;
    let instance = environment.instances.iter().find(|i| i.name == minion);
    let to = &instance.map_or(&environment.backup, |i| &i.backup).to;
    if to.is_empty() {
        return Err(BackupError::Usage(format!(
            "`{minion}` has no destination\n  hint: name one with `--to`, or in config.yml: `destinations: {{disk: {{dir: ./backups}}}}` and `backup: {{to: [disk]}}`"
        )));
    }
    Ok(to.clone())
}

type Opened = (Vec<Arc<Target>>, Vec<(String, Arc<BackupError>)>);

/// Destinations are opened once for all minions.
#[derive(Default)]
struct Destinations(BTreeMap<String, Result<Arc<Target>, Arc<BackupError>>>);

impl Destinations {
    async fn open(&mut self, world: &World, names: &[String]) -> Result<Opened, BackupError> {
        let (mut targets, mut missing) = (Vec::new(), Vec::new());
        let new: Vec<String> = names
            .iter()
            .filter(|n| !self.0.contains_key(*n))
            .cloned()
            .collect();
        for (name, result) in destination::open_all(&world.project.environment, &new).await {
            match result {
                // A name that is none is a mistake of the command, not of the destination.
                Err(error @ BackupError::Usage(_)) => return Err(error),
                other => drop(self.0.insert(name, other.map_err(Arc::new))),
            }
        }
        for name in names {
            match self.0.get(name) {
                Some(Ok(target)) => targets.push(Arc::clone(target)),
                Some(Err(error)) => missing.push((name.clone(), Arc::clone(error))),
                None => {}
            }
        }
        Ok((targets, missing))
    }
}

/// What the minion is, for the manifest.
fn definition(world: &World, minion: &str, servers: &[Server]) -> Definition {
    let project = &world.project;
    let environment = &project.environment;
    let config = std::fs::read(&environment.file).unwrap_or_default();
    let containers: Vec<&Container> = world
        .observed
        .containers
        .iter()
        .filter(|c| {
            c.labels
                .get(crate::plan::desired::labels::MINION)
                .is_some_and(|m| m == minion)
        })
        .chain(servers.iter().filter_map(|s| s.container.as_ref()))
        .collect();
    let service = |c: &Container| {
        let label = c.labels.get(crate::plan::desired::labels::SERVICE);
        label.unwrap_or(&c.name).clone()
    };
    let mut found = Definition {
        config_hash: sha256(&config),
        domain: environment.domain.clone(),
        images: containers
            .iter()
            .map(|c| {
                let record = ImageRecord {
                    reference: c.image.clone(),
                    digest: c.image_id.clone(),
                };
                (service(c), record)
            })
            .collect(),
        ..Definition::default()
    };
    if let Some(instance) = environment.instances.iter().find(|i| i.name == minion) {
        let template = &project.minions[minion];
        found.template.clone_from(&template.manifest.name);
        project.version(instance).clone_into(&mut found.version);
        found.template_hash.clone_from(&template.hash);
    }
    found
}

/// Its files, without and with secrets.
fn files(world: &World, minion: &str) -> Result<Option<Files>, BackupError> {
    let Some(rendered) = world.wanted.rendered.iter().find(|r| r.instance == minion) else {
        return Ok(None);
    };
    let tar = |with_secrets: bool| {
        definition::Definition::of(&world.project, minion, &rendered.compose, with_secrets)
            .map(|d| d.to_tar())
    };
    Ok(Some(Files {
        open: tar(false)?,
        secret: tar(true)?,
    }))
}

/// The exit code of it all.
fn code(reports: Vec<MinionReport>) -> u8 {
    let made = reports.iter().any(|r| r.id.is_some());
    let whole = |r: &MinionReport| matches!(r.outcome, Outcome::Complete);
    if reports.iter().all(whole) {
        return exit::OK;
    }
    if made {
        return exit::PARTIAL;
    }
    let codes: Vec<u8> = reports.into_iter().map(code_of).collect();
    match codes.first() {
        // What all have in common says most.
        Some(first) if codes.iter().all(|c| c == first) => *first,
        _ if codes.contains(&exit::FAILED) => exit::FAILED,
        _ => exit::PARTIAL,
    }
}

fn code_of(report: MinionReport) -> u8 {
    match report.outcome {
        Outcome::Locked(_) => exit::LOCKED,
        Outcome::Skipped(_) | Outcome::Partial | Outcome::Suspect => exit::PARTIAL,
        Outcome::Complete => exit::OK,
        Outcome::Failed(error) => {
            let errors = report
                .destinations
                .into_iter()
                .filter_map(|d| d.result.err());
            // Each destination has failed in its own way.
            let mut codes: Vec<u8> = errors
                .map(|e| match Arc::try_unwrap(e) {
                    Ok(error) => exit_code(&error.into()),
                    Err(_) => exit::FAILED,
                })
                .collect();
            codes.dedup();
            match codes.as_slice() {
                [] => exit_code(&error.into()),
                [one] => *one,
                _ => exit::FAILED,
            }
        }
    }
}
