//! Which databases there are: declared by minions, recognised in other containers of the project,
//! and, when asked for, in foreign containers by their names. Pure: what was seen comes in.

use std::collections::BTreeMap;

pub use crate::database::by_name;
use crate::database::{Access, DatabaseEngine, recognise};
use crate::engine::{Container, RunState};
use crate::minion::Minion;
use crate::minion::parameters;
use crate::plan::desired::labels;
use crate::plan::service::{NEXT, PREVIOUS};
use crate::project::Project;
use crate::secret::Secret;

/// A database server in a container.
#[derive(Debug, Clone)]
pub struct Server {
    /// Instance; for a foreign container its name.
    pub minion: String,
    /// Service; for a foreign container its name.
    pub service: String,
    /// What runs there.
    pub engine: DatabaseEngine,
    /// Who may dump everything, and how.
    pub access: Access,
    /// The container; `None` where there is none.
    pub container: Option<Container>,
}

impl Server {
    /// The container, if it runs.
    #[must_use]
    pub fn running(&self) -> Option<&Container> {
        self.container
            .as_ref()
            .filter(|c| c.state == RunState::Running)
    }

    /// `minion/service` for people.
    #[must_use]
    pub fn target(&self) -> String {
        if self.minion == self.service {
            return self.minion.clone();
        }
        format!("{}/{}", self.minion, self.service)
    }
}

/// Databases of the project, by minion in the order of config.yml; then those of containers that
/// are no minion's any more. `secrets` are the values of each instance's `.env`.
#[must_use]
pub fn own(
    project: &Project,
    secrets: &BTreeMap<String, BTreeMap<String, Secret>>,
    containers: &[Container],
) -> Vec<Server> {
    let mut found = Vec::new();
    for instance in &project.environment.instances {
        if let Some(minion) = project.minions.get(&instance.name) {
            let values = secrets.get(&instance.name);
            found.extend(declared(&instance.name, minion, values, containers));
        }
    }
    let rank = |name: &str| {
        let instances = &project.environment.instances;
        instances.iter().position(|i| i.name == name)
    };
    for container in containers {
        let (Some(minion), Some(service)) = (
            container.labels.get(labels::MINION),
            container.labels.get(labels::SERVICE),
        ) else {
            continue;
        };
        let known = found
            .iter()
            .any(|s| s.minion == *minion && s.service == *service);
        if known || is_passing(container) {
            continue;
        }
        if let Some((engine, access)) = recognise(&container.image, &container.environment) {
            let container = Some(container.clone());
            found.push(server(minion, service, engine, access, container));
        }
    }
    found.sort_by_key(|s| rank(&s.minion).unwrap_or(usize::MAX));
    found
}

/// Databases in containers of others: by name, `<engine>-<app>-<domain>`, and by what runs there.
#[must_use]
pub fn foreign(containers: &[Container], project: &str) -> Vec<Server> {
    containers
        .iter()
        .filter(|c| c.labels.get(labels::PROJECT).is_none_or(|p| p != project))
        .filter(|c| !c.labels.contains_key(labels::ONE_OFF) && !is_passing(c))
        .filter_map(|container| {
            // The name says that it is a database, what runs there says which one.
            by_name(&container.name)?;
            let (engine, access) = recognise(&container.image, &container.environment)?;
            let name = &container.name;
            Some(server(name, name, engine, access, Some(container.clone())))
        })
        .collect()
}

/// The other half of an update under way.
fn is_passing(container: &Container) -> bool {
    container.name.ends_with(NEXT) || container.name.ends_with(PREVIOUS)
}

fn server(
    minion: &str,
    service: &str,
    engine: DatabaseEngine,
    access: Access,
    container: Option<Container>,
) -> Server {
    Server {
        minion: minion.to_owned(),
        service: service.to_owned(),
        engine,
        access,
        container,
    }
}

fn declared<'a>(
    instance: &'a str,
    minion: &'a Minion,
    secrets: Option<&'a BTreeMap<String, Secret>>,
    containers: &'a [Container],
) -> impl Iterator<Item = Server> + 'a {
    minion.manifest.databases.iter().map(move |database| {
        let container = containers.iter().find(|c| {
            c.labels.get(labels::MINION).is_some_and(|m| m == instance)
                && c.labels.get(labels::SERVICE) == Some(&database.service)
                && !c.labels.contains_key(labels::ONE_OFF)
                && !is_passing(c)
        });
        let value = |parameter: &str| secrets?.get(&parameters::env_name(parameter)).cloned();
        let (user, password) = match &database.admin {
            Some((user, parameter)) => (user.clone(), value(parameter)),
            None => (
                database.user.clone(),
                database.password.as_deref().and_then(value),
            ),
        };
        // What the server was made with outranks what a later config.yml would give it.
        let made_with = container
            .and_then(|c| recognise(&c.image, &c.environment))
            .filter(|(_, access)| access.user == user)
            .and_then(|(_, access)| access.password);
        let access = Access {
            user,
            password: made_with.or(password),
            database: database.name.clone(),
        };
        let container = container.cloned();
        server(
            instance,
            &database.service,
            database.engine,
            access,
            container,
        )
    })
}
