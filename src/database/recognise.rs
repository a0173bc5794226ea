//! Databases in containers that are no minion's: by their image, else by the environment that only
//! such an image sets; and by the names of the founding design.

use std::collections::BTreeMap;

use super::{Access, DatabaseEngine};
use crate::secret::Secret;

/// What runs in a container, and how one gets in with what its environment tells.
#[must_use]
pub fn recognise(
    image: &str,
    environment: &BTreeMap<String, String>,
) -> Option<(DatabaseEngine, Access)> {
    let engine = by_image(image).or_else(|| by_environment(environment))?;
    Some((engine, access(engine, environment)))
}

/// The engine a container's name speaks of: `postgresql-`, `mysql-`, `mariadb-`,
/// `mongodb-<app>-<domain>` of the founding design, and our own `postgres-`, `mongo-`.
#[must_use]
pub fn by_name(name: &str) -> Option<DatabaseEngine> {
    let (first, rest) = name.split_once('-')?;
    let (app, domain) = rest.split_once('-')?;
    if app.is_empty() || !domain.contains('.') {
        return None;
    }
    match first {
        "postgresql" | "postgres" => Some(DatabaseEngine::Postgres),
        "mysql" => Some(DatabaseEngine::Mysql),
        "mariadb" => Some(DatabaseEngine::Mariadb),
        "mongodb" | "mongo" => Some(DatabaseEngine::Mongo),
        _ => None,
    }
}

/// Programs around databases that carry their names.
const TOOLS: [&str; 9] = [
    "exporter", "admin", "backup", "express", "operator", "proxy", "client", "bouncer", "rest",
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
    } else if any(&["mongo"]) {
        Some(DatabaseEngine::Mongo)
    } else if any(&["mysql", "percona"]) {
        Some(DatabaseEngine::Mysql)
    } else {
        None
    }
}

fn by_environment(environment: &BTreeMap<String, String>) -> Option<DatabaseEngine> {
    // Those that the images set themselves: passwords are also given to applications.
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
fn access(engine: DatabaseEngine, environment: &BTreeMap<String, String>) -> Access {
    let value = |keys: &[&str]| {
        let set = |key: &&str| environment.get(*key).filter(|v| !v.is_empty());
        keys.iter().find_map(set).cloned()
    };
    let secret = |keys: &[&str]| value(keys).map(Secret::new);
    let (user, password, database) = match engine {
        DatabaseEngine::Postgres => {
            let user = value(&["POSTGRES_USER"]).unwrap_or_else(|| "postgres".to_owned());
            (user, secret(&["POSTGRES_PASSWORD"]), "postgres".to_owned())
        }
        DatabaseEngine::Mysql | DatabaseEngine::Mariadb => {
            match secret(&["MARIADB_ROOT_PASSWORD", "MYSQL_ROOT_PASSWORD"]) {
                Some(password) => ("root".to_owned(), Some(password), "mysql".to_owned()),
                None => (
                    value(&["MARIADB_USER", "MYSQL_USER"]).unwrap_or_else(|| "root".to_owned()),
                    secret(&["MARIADB_PASSWORD", "MYSQL_PASSWORD"]),
                    value(&["MARIADB_DATABASE", "MYSQL_DATABASE"])
                        .unwrap_or_else(|| "mysql".to_owned()),
                ),
            }
        }
        DatabaseEngine::Mongo => (
            value(&["MONGO_INITDB_ROOT_USERNAME"]).unwrap_or_default(),
            secret(&["MONGO_INITDB_ROOT_PASSWORD"]),
            "admin".to_owned(),
        ),
    };
    Access {
        user,
        password,
        database,
    }
}
