//! Which databases there are: declared by minions, recognised in other containers of the project,
//! and, when asked for, in foreign containers by their names. Pure: what was seen comes in.

use std::collections::BTreeMap;

use crate::database::DatabaseEngine;
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
    /// Who may dump everything.
    pub user: String,
    /// The password, where one is known.
    pub password: Option<Secret>,
    /// A database that is sure to be there.
    pub database: String,
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

/// How one gets in.
#[derive(Debug, Clone)]
struct Credentials {
    engine: DatabaseEngine,
    user: String,
    password: Option<Secret>,
    database: String,
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
        if let Some(credentials) = recognise(container) {
            found.push(server(
                minion,
                service,
                credentials,
                Some(container.clone()),
            ));
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
            let engine = by_name(&container.name)?;
            let mut credentials =
                recognise(container).unwrap_or_else(|| credentials(engine, &container.environment));
            // MariaDB runs in containers that were named for MySQL.
            if credentials.engine != engine && !related(credentials.engine, engine) {
                credentials = self::credentials(engine, &container.environment);
            }
            let name = &container.name;
            Some(server(name, name, credentials, Some(container.clone())))
        })
        .collect()
}

/// The engine a container's name speaks of: `postgresql-`, `mysql-`, `mariadb-`, `mongodb-<app>-<domain>`
/// of the founding design, and our own `postgres-`, `mongo-`.
#[must_use]
pub fn by_name(name: &str) -> Option<DatabaseEngine> {
    let (first, rest) = name.split_once('-')?;
    let (app, domain) = rest.split_once('-')?;
    if app.is_empty() || !domain.contains('.') {
        return None;
    }
    Some(match first {
        "postgresql" | "postgres" => DatabaseEngine::Postgres,
        "mysql" => DatabaseEngine::Mysql,
        "mariadb" => DatabaseEngine::Mariadb,
        "mongodb" | "mongo" => DatabaseEngine::Mongo,
        _ => return None,
    })
}

fn related(a: DatabaseEngine, b: DatabaseEngine) -> bool {
    use DatabaseEngine::{Mariadb, Mysql};
    a == b || matches!((a, b), (Mysql, Mariadb) | (Mariadb, Mysql))
}

/// The other half of an update under way.
fn is_passing(container: &Container) -> bool {
    container.name.ends_with(NEXT) || container.name.ends_with(PREVIOUS)
}

fn server(
    minion: &str,
    service: &str,
    credentials: Credentials,
    container: Option<Container>,
) -> Server {
    Server {
        minion: minion.to_owned(),
        service: service.to_owned(),
        engine: credentials.engine,
        user: credentials.user,
        password: credentials.password,
        database: credentials.database,
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
        let password = container
            .and_then(|c| credentials(database.engine, &c.environment).password_of(&user))
            .or(password);
        let credentials = Credentials {
            engine: database.engine,
            user,
            password,
            database: database.name.clone(),
        };
        server(instance, &database.service, credentials, container.cloned())
    })
}

impl Credentials {
    fn password_of(self, user: &str) -> Option<Secret> {
        (self.user == user).then_some(self.password).flatten()
    }
}

/// What runs in a container, by its image, else by the environment that only such an image reads.
fn recognise(container: &Container) -> Option<Credentials> {
    let environment = &container.environment;
    let engine = by_image(&container.image).or_else(|| by_environment(environment))?;
    Some(credentials(engine, environment))
}

/// Tools around a database carry its name too.
const TOOLS: [&str; 8] = [
    "exporter", "admin", "backup", "express", "operator", "proxy", "client", "bouncer",
];

fn by_image(reference: &str) -> Option<DatabaseEngine> {
    let path = reference.split('@').next().unwrap_or(reference);
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.split(':').next().unwrap_or(name);
    if TOOLS.iter().any(|tool| name.contains(tool)) {
        return None;
    }
    let any = |names: &[&str]| names.iter().any(|n| name.contains(n));
    if any(&["postgres", "postgis", "timescale", "pgvector"]) {
        Some(DatabaseEngine::Postgres)
    } else if any(&["mariadb"]) {
        Some(DatabaseEngine::Mariadb)
    } else if any(&["mysql", "percona"]) && !any(&["mongo"]) {
        Some(DatabaseEngine::Mysql)
    } else if any(&["mongo"]) {
        Some(DatabaseEngine::Mongo)
    } else {
        None
    }
}

fn by_environment(environment: &BTreeMap<String, String>) -> Option<DatabaseEngine> {
    // Set by the images themselves; passwords alone are also given to applications.
    let has = |key: &str| environment.contains_key(key);
    if has("PG_MAJOR") && has("PGDATA") {
        Some(DatabaseEngine::Postgres)
    } else if has("MARIADB_VERSION") {
        Some(DatabaseEngine::Mariadb)
    } else if has("MYSQL_MAJOR") && has("MYSQL_VERSION") {
        Some(DatabaseEngine::Mysql)
    } else if has("MONGO_VERSION") && has("MONGO_MAJOR") {
        Some(DatabaseEngine::Mongo)
    } else {
        None
    }
}

/// The credentials that the official images are given by their environment.
fn credentials(engine: DatabaseEngine, environment: &BTreeMap<String, String>) -> Credentials {
    let value = |keys: &[&str]| {
        keys.iter()
            .find_map(|k| environment.get(*k))
            .filter(|v| !v.is_empty())
            .cloned()
    };
    let secret = |keys: &[&str]| value(keys).map(Secret::new);
    let (user, password, database) = match engine {
        DatabaseEngine::Postgres => {
            let user = value(&["POSTGRES_USER"]).unwrap_or_else(|| "postgres".into());
            let password = secret(&["POSTGRES_PASSWORD"]);
            (user, password, "postgres".to_owned())
        }
        DatabaseEngine::Mysql | DatabaseEngine::Mariadb => {
            match secret(&["MARIADB_ROOT_PASSWORD", "MYSQL_ROOT_PASSWORD"]) {
                Some(password) => ("root".to_owned(), Some(password), "mysql".to_owned()),
                None => (
                    value(&["MARIADB_USER", "MYSQL_USER"]).unwrap_or_else(|| "root".into()),
                    secret(&["MARIADB_PASSWORD", "MYSQL_PASSWORD"]),
                    value(&["MARIADB_DATABASE", "MYSQL_DATABASE"])
                        .unwrap_or_else(|| "mysql".into()),
                ),
            }
        }
        DatabaseEngine::Mongo => (
            value(&["MONGO_INITDB_ROOT_USERNAME"]).unwrap_or_default(),
            secret(&["MONGO_INITDB_ROOT_PASSWORD"]),
            "admin".to_owned(),
        ),
    };
    Credentials {
        engine,
        user,
        password,
        database,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_founding_design_and_our_own_are_recognised() {
        use DatabaseEngine::{Mariadb, Mongo, Mysql, Postgres};
        for (name, engine) in [
            ("postgresql-wiki-example.org", Some(Postgres)),
            ("postgres-wiki-example.org", Some(Postgres)),
            ("mysql-blog-example.org", Some(Mysql)),
            ("mariadb-my-blog-example.org", Some(Mariadb)),
            ("mongodb-chat-example.org", Some(Mongo)),
            ("mysql", None),
            ("mysql-backup", None),
            ("mysql-exporter-1", None),
            ("redis-blog-example.org", None),
        ] {
            assert_eq!(by_name(name), engine, "{name}");
        }
    }

    #[test]
    fn images_are_recognised_and_tools_around_them_are_not() {
        use DatabaseEngine::{Mariadb, Mongo, Mysql, Postgres};
        for (image, engine) in [
            ("postgres:17", Some(Postgres)),
            (
                "registry.example.org:5000/db/postgis:16-3.4",
                Some(Postgres),
            ),
            ("timescale/timescaledb-ha:pg17", Some(Postgres)),
            ("pgvector/pgvector:pg17@sha256:00", Some(Postgres)),
            ("mariadb", Some(Mariadb)),
            ("mysql:8.4", Some(Mysql)),
            ("percona/percona-server:8.0", Some(Mysql)),
            ("percona/percona-server-mongodb:7", Some(Mongo)),
            ("mongo:7", Some(Mongo)),
            ("mongo-express:1", None),
            ("prom/mysqld-exporter", None),
            ("phpmyadmin:5", None),
            ("dpage/pgadmin4", None),
            ("mysql-repository.example.org/blog:1", None),
            ("wordpress:6", None),
        ] {
            assert_eq!(by_image(image), engine, "{image}");
        }
    }

    #[test]
    fn credentials_are_those_the_image_was_given() {
        let environment = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let found = credentials(
            DatabaseEngine::Mariadb,
            &environment(&[("MARIADB_USER", "u"), ("MYSQL_ROOT_PASSWORD", "r")]),
        );
        assert_eq!(
            (found.user.as_str(), found.password.unwrap().expose()),
            ("root", "r")
        );
        let found = credentials(
            DatabaseEngine::Mysql,
            &environment(&[
                ("MYSQL_USER", "u"),
                ("MYSQL_PASSWORD", "p"),
                ("MYSQL_DATABASE", "d"),
            ]),
        );
        assert_eq!((found.user.as_str(), found.database.as_str()), ("u", "d"));
        let found = credentials(DatabaseEngine::Postgres, &environment(&[]));
        assert!(found.user == "postgres" && found.password.is_none());
        assert_eq!(
            by_environment(&environment(&[("MYSQL_PASSWORD", "an application's")])),
            None
        );
    }
}
