//! What containers of an instance are called.

use std::collections::{BTreeMap, BTreeSet};

use crate::compose::Project;
use crate::config::environment::{Environment, Instance};
use crate::minion::Minion;

/// The service that stands for the whole minion: the first exposed one, else the first that is no database.
#[must_use]
pub fn main_service<'a>(project: &'a Project, minion: &'a Minion) -> Option<&'a str> {
    let manifest = &minion.manifest;
    let exposed = manifest
        .expose
        .iter()
        .map(|e| e.service.as_str())
        .find(|s| project.services.contains_key(*s));
    let is_database = |name: &str| manifest.databases.iter().any(|d| d.service == name);
    exposed.or_else(|| {
        project
            .services
            .keys()
            .map(String::as_str)
            .find(|name| !is_database(name))
    })
}

/// Names of an instance's project and containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Compose project.
    pub project: String,
    /// Container by service.
    pub containers: BTreeMap<String, String>,
}

impl Names {
    /// Names for the services of `project`: `<instance>-<domain>` for the main one,
    /// `<engine>-<instance>-<domain>` for a database, `<service>-<instance>-<domain>` for the rest.
    #[must_use]
    pub fn new(
        project: &Project,
        minion: &Minion,
        instance: &Instance,
        environment: &Environment,
    ) -> Self {
        let base = format!("{}-{}", instance.name, environment.domain);
        let main = main_service(project, minion);
        let mut containers = BTreeMap::new();
        let mut taken = BTreeSet::new();
        let mut give = |service: &str, name: String| {
            let mut name = name;
            // Two databases of one engine, or a further service that is called like an engine.
            while !taken.insert(name.clone()) {
                name = format!("{service}-{name}");
            }
            containers.insert(service.to_owned(), name);
        };
        let databases = minion
            .manifest
            .databases
            .iter()
            .filter(|d| project.services.contains_key(&d.service));
        let mut named = BTreeSet::new();
        for database in databases {
            if named.insert(database.service.as_str()) {
                give(
                    &database.service,
                    format!("{}-{base}", database.engine.name()),
                );
            }
        }
        for service in project
            .services
            .keys()
            .filter(|s| !named.contains(s.as_str()))
        {
            if Some(service.as_str()) == main {
                give(service, base.clone());
            } else {
                give(service, format!("{service}-{base}"));
            }
        }
        Self {
            project: project_name(&base),
            containers,
        }
    }
}

/// A name as Compose wants it: small letters, digits, `-`, `_`; a letter or digit first.
fn project_name(base: &str) -> String {
    let mapped = base.chars().map(|c| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() || c == '_' => c,
        _ => '-',
    });
    let name: String = mapped.collect();
    name.trim_start_matches(['-', '_']).to_owned()
}

/// Name of an instance on the network it shares with the proxy. Docker asks public DNS for names that
/// it does not know, and it knows no name of a container that is down: under a name somebody can
/// register, requests would go to a stranger. `.internal` is reserved and never delegated.
#[must_use]
pub fn inside_name(instance: &str) -> String {
    format!("{instance}.internal")
}
