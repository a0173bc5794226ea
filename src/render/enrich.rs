//! What Summoner adds to every service, so that no template has to: names, restarts, log limits,
//! networks, labels, and the user's own environment and limits.

use std::collections::{BTreeMap, BTreeSet};

use super::{Names, Rendered, inside_name, main_service};
use crate::compose::{Condition, Logging, Network, Project, Service, interpolate};
use crate::config::environment::{Environment, Instance};
use crate::minion::Minion;

/// Longest label of a host name (RFC 1035).
const LONGEST_HOSTNAME: usize = 63;

/// The project as it shall run, still the raw model.
#[must_use]
pub fn enrich(
    rendered: &Rendered,
    minion: &Minion,
    instance: &Instance,
    environment: &Environment,
) -> Project {
    let mut project = rendered.project.clone();
    let names = Names::new(&project, minion, instance, environment);
    let exposed: BTreeSet<&str> = minion
        .manifest
        .expose
        .iter()
        .map(|e| e.service.as_str())
        .collect();
    let finishing = finishing(&rendered.project);
    for (name, service) in &mut project.services {
        let container = &names.containers[name];
        service.container_name = Some(container.clone());
        service
            .hostname
            .get_or_insert_with(|| name.chars().take(LONGEST_HOSTNAME).collect());
        // A container that has done its work must not do it again and again.
        let restart = if finishing.contains(name) {
            "no"
        } else {
            "unless-stopped"
        };
        service.restart.get_or_insert_with(|| restart.to_owned());
        service.logging.get_or_insert_with(log_limits);
        let zone = interpolate::escape(&environment.timezone);
        service.environment.entry("TZ".to_owned()).or_insert(zone);
        join(service, "default", name);
        if exposed.contains(name.as_str()) {
            join(service, "edge", container);
            let first = minion.manifest.expose.first();
            if first.is_some_and(|e| e.service == *name) {
                join(service, "edge", &inside_name(&instance.name));
            }
        }
        service
            .labels
            .extend(labels(name, minion, instance, environment));
    }
    // Where nothing but a database runs, it is what the user means.
    let target = main_service(&rendered.project, minion)
        .or_else(|| rendered.project.services.keys().next().map(String::as_str));
    if let Some(service) = target.and_then(|name| project.services.get_mut(name)) {
        service.environment.extend(rendered.env.clone());
        // Here only: on its database a new version of the application would be a change too.
        let version = interpolate::escape(&rendered.version);
        service
            .labels
            .insert("io.summoner.version".to_owned(), version);
        service.mem_limit = instance.memory.or(service.mem_limit);
        service.cpus = instance.cpus.or(service.cpus);
    }
    project.networks.entry("default".to_owned()).or_default();
    if !exposed.is_empty() {
        project
            .networks
            .insert("edge".to_owned(), edge(&environment.project));
    }
    project.name = Some(names.project);
    project
}

/// The network that exposed services share with the proxy.
fn edge(project: &str) -> Network {
    Network {
        name: Some(format!("summoner-{project}-edge")),
        external: true,
        internal: false,
    }
}

/// Services that others wait for until they are done.
fn finishing(project: &Project) -> BTreeSet<String> {
    let waits = project
        .services
        .values()
        .flat_map(|service| &service.depends_on);
    waits
        .filter(|(_, condition)| **condition == Condition::Completed)
        .map(|(name, _)| name.clone())
        .collect()
}

/// Three files of ten megabytes: the engine's default keeps everything for ever.
fn log_limits() -> Logging {
    let options = [("max-file", "3"), ("max-size", "10m")];
    Logging {
        driver: "json-file".to_owned(),
        options: options
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    }
}

fn join(service: &mut Service, network: &str, alias: &str) {
    let aliases = service.networks.entry(network.to_owned()).or_default();
    if !aliases.iter().any(|a| a == alias) {
        aliases.push(alias.to_owned());
    }
}

fn labels(
    service: &str,
    minion: &Minion,
    instance: &Instance,
    environment: &Environment,
) -> BTreeMap<String, String> {
    [
        ("project", environment.project.as_str()),
        ("minion", &instance.name),
        ("service", service),
        ("template", &minion.manifest.name),
    ]
    .into_iter()
    .map(|(key, value)| (format!("io.summoner.{key}"), interpolate::escape(value)))
    .collect()
}
