//! `summoner status`: what runs, how it is, where to reach it. Reads only.

use std::collections::BTreeSet;

use anyhow::Result;
use serde::Serialize;

use crate::cli::StatusArgs;
use crate::commands::world::{self, World};
use crate::commands::{Session, exit};
use crate::engine::{Container, Health, RunState};
use crate::plan::desired::{PROXY, labels};
use crate::plan::service::{NEXT, PREVIOUS};

/// One instance.
#[derive(Debug, Serialize)]
struct MinionStatus {
    name: String,
    minion: Option<String>,
    state: &'static str,
    url: Option<String>,
    version: Option<String>,
    available: Option<String>,
    newer_template: bool,
    in_config: bool,
    protected: bool,
    expected: usize,
    missing: Vec<String>,
    services: Vec<ServiceStatus>,
}

/// One container.
#[derive(Debug, Serialize)]
struct ServiceStatus {
    name: String,
    container: String,
    state: RunState,
    health: Health,
    image: String,
    stand_in: bool,
    restarts: u64,
    since: Option<jiff::Timestamp>,
}

pub(super) async fn run(session: &Session, args: &StatusArgs) -> Result<u8> {
    let world = world::look(session, world::open(session)?).await?;
    let scope = world::scope(&world.project, Some(&world.observed), &args.minions)?;
    let minions: Vec<MinionStatus> = names(&world)
        .into_iter()
        .filter(|n| scope.as_ref().is_none_or(|s| s.contains(n)))
        .map(|name| status(&world, &name))
        .collect();
    if args.json {
        session
            .report
            .json(&serde_json::json!({"schema_version": 1, "minions": minions}))?;
        return Ok(exit::OK);
    }
    print(session, &minions);
    Ok(exit::OK)
}

/// Instances of config.yml in its order, the proxy, then what runs without being in config.yml.
fn names(world: &World) -> Vec<String> {
    let mut names: Vec<String> = world
        .wanted
        .desired
        .groups
        .iter()
        .map(|g| g.name.clone())
        .collect();
    let running: BTreeSet<&String> = world
        .observed
        .containers
        .iter()
        .filter_map(|c| c.labels.get(labels::MINION))
        .collect();
    for name in running {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn status(world: &World, name: &str) -> MinionStatus {
    let group = world.wanted.desired.groups.iter().find(|g| g.name == name);
    let containers: Vec<&Container> = world
        .observed
        .containers
        .iter()
        .filter(|c| c.labels.get(labels::MINION).is_some_and(|m| m == name))
        .filter(|c| !c.name.ends_with(NEXT) && !c.name.ends_with(PREVIOUS))
        .collect();
    let services: Vec<ServiceStatus> = containers
        .iter()
        .map(|c| ServiceStatus {
            name: c.labels.get(labels::SERVICE).cloned().unwrap_or_default(),
            container: c.name.clone(),
            state: c.state,
            health: c.health,
            image: c.image.clone(),
            stand_in: c.labels.contains_key(labels::STAND_IN),
            restarts: c.restarts,
            since: c.started,
        })
        .collect();
    let expected = group.map_or(services.len(), |g| g.services.len());
    let well = containers.iter().filter(|c| is_well(c)).count();
    let state = match (services.len(), well) {
        (0, _) => "absent",
        (_, well) if well >= expected => "running",
        _ if containers
            .iter()
            .all(|c| c.state != RunState::Running && c.state != RunState::Restarting) =>
        {
            "stopped"
        }
        _ => "degraded",
    };
    let instance = world
        .project
        .environment
        .instances
        .iter()
        .find(|i| i.name == name);
    let version = instance.map(|i| world.project.version(i).to_owned());
    let available = instance
        .filter(|i| i.version.is_none())
        .map(|i| world.project.newest[&i.name].manifest.version.clone())
        .filter(|newest| Some(newest) != version.as_ref());
    MinionStatus {
        name: name.to_owned(),
        minion: instance.map(|i| i.minion.clone()),
        state,
        url: world
            .wanted
            .rendered
            .iter()
            .find(|r| r.instance == name)
            .and_then(|r| r.url.clone()),
        version,
        available,
        newer_template: instance.is_some_and(|i| {
            world.project.newest[&i.name].hash != world.project.minions[&i.name].hash
        }),
        in_config: group.is_some(),
        protected: world
            .project
            .state
            .minions
            .get(name)
            .is_some_and(|r| r.protect),
        expected,
        missing: group.map_or_else(Vec::new, |g| {
            g.services
                .keys()
                .filter(|s| !services.is_empty() && !services.iter().any(|own| own.name == **s))
                .cloned()
                .collect()
        }),
        services,
    }
}

fn is_well(container: &Container) -> bool {
    match container.state {
        RunState::Running => matches!(container.health, Health::None | Health::Healthy),
        RunState::Exited => container.restart == "no" && container.exit_code == Some(0),
        _ => false,
    }
}

fn print(session: &Session, minions: &[MinionStatus]) {
    let rows = minions
        .iter()
        .map(|m| {
            let up = m
                .services
                .iter()
                .filter(|s| s.state == RunState::Running)
                .count();
            let detail: Vec<String> = m
                .services
                .iter()
                .filter(|s| {
                    s.state != RunState::Running
                        || matches!(s.health, Health::Starting | Health::Unhealthy)
                })
                .map(|s| format!("{} {}", s.name, word(s)))
                .chain(m.missing.iter().map(|s| format!("{s} is missing")))
                .collect();
            let place = m.url.clone().unwrap_or_default();
            vec![
                m.name.clone(),
                m.state.to_owned(),
                format!("{up}/{}", m.expected),
                if detail.is_empty() {
                    place
                } else {
                    format!("{place} {}", detail.join(", ")).trim().to_owned()
                },
            ]
        })
        .collect();
    let report = &session.report;
    report.table(&["MINION", "STATE", "UP", "ADDRESS"], rows);
    let stand_ins: BTreeSet<&str> = minions
        .iter()
        .flat_map(|m| &m.services)
        .filter(|s| s.stand_in)
        .map(|s| s.image.as_str())
        .collect();
    if !stand_ins.is_empty() {
        report.note(&format!(
                "built from Debian packages, since no image registry answered: {}; `summoner up` replaces them when one does",
            stand_ins.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    for m in minions {
        let name = &m.name;
        match (&m.available, &m.version) {
            (Some(available), Some(version)) => report.note(&format!(
                "`{name}` runs {version}; {available} is available: `summoner up {name} --upgrade`"
            )),
            _ if m.newer_template => report.note(&format!(
                "`{name}` runs as it was installed; a newer template is available: `summoner up {name} --upgrade`"
            )),
            _ => {}
        }
        if !m.in_config && m.protected {
            report.note(&format!(
                "`{}` is protected but not in config.yml: put its block back",
                m.name
            ));
        } else if !m.in_config && m.name != PROXY {
            report.note(&format!(
                "`{}` runs but is not in config.yml: `summoner up` removes it and keeps its data",
                m.name
            ));
        }
    }
    if minions
        .iter()
        .any(|m| m.state == "absent" || m.state == "stopped")
    {
        report.note("`summoner up` makes everything run");
    } else if let Some(m) = minions.iter().find(|m| m.state == "degraded") {
        report.note(&format!(
            "see what is wrong with `summoner logs {}`",
            m.name
        ));
    }
}

fn word(service: &ServiceStatus) -> &'static str {
    match (service.state, service.health) {
        (RunState::Running, Health::Starting) => "is starting",
        (RunState::Running, Health::Unhealthy) => "is unhealthy",
        (RunState::Running, _) => "runs",
        (RunState::Created, _) => "never started",
        (RunState::Restarting, _) => "restarts over and over",
        (RunState::Paused, _) => "is paused",
        (RunState::Exited | RunState::Removing | RunState::Dead, _) => "is stopped",
    }
}
