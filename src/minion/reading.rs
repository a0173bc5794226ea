//! Reads `minion.yml`: types, then what only makes sense together.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::manifest::{
    Database, DatabaseEngine, Expose, Manifest, Parameter, ParameterKind, Quiesce, Requires, Volume,
};
use crate::config::names::{self, accept};
use crate::problem::{Position, Problems};
use crate::yaml::{Document, Field, MapReader, Reading, Value};

const CATEGORIES: [&str; 11] = [
    "storage",
    "publishing",
    "organise",
    "talk",
    "code",
    "quality",
    "logs",
    "monitor",
    "business",
    "data",
    "network",
];

/// What the template sees beside the parameters; a parameter of that name would hide it.
const TAKEN: [&str; 16] = [
    "minion", "domain", "host", "hosts", "url", "version", "vsroot", "dbsroot", "timezone", "env",
    "smtp", "volume", "database", "file", "true", "false",
];

/// Characters of a generated secret unless `length` says otherwise: 190 bits.
const LENGTH: u64 = 32;

/// Reads and checks a `minion.yml`; `file` names it in problems.
pub fn parse(file: &str, text: &str) -> Result<Manifest, Problems> {
    let document = Document::parse(file, text)?;
    let reading = Reading::new(file);
    let manifest = manifest(&reading.root(&document));
    // A value is missing only where something was reported.
    let problem = crate::problem::Problem::new(file, "the file is not complete");
    reading.finish(manifest)?.ok_or_else(|| problem.into())
}

fn manifest(root: &Field<'_>) -> Option<Manifest> {
    let mut map = root.map();
    let name = map.require("name").and_then(|field| {
        let text = field.string()?;
        accept(&field, names::name(&text)).map(|()| text)
    });
    let title = map.require("title").and_then(|field| line(&field));
    let summary = map.require("summary").and_then(|field| line(&field));
    let category = map
        .require("category")
        .and_then(|field| field.choice(&CATEGORIES));
    let website = map
        .require("website")
        .and_then(|field| accept(&field, names::url(&field.string()?)));
    let version = map.require("version").and_then(|field| version(&field));
    let requires = map.map("requires").map(requires).unwrap_or_default();
    let parameters = map.entries("parameters");
    let parameters: BTreeMap<_, _> = parameters
        .iter()
        .filter_map(|(name, place, field)| {
            Some(((*name).to_owned(), parameter(name, *place, field)?))
        })
        .collect();
    let expose = map.list("expose");
    // An instance has one set of host names, and a host name leads to one service.
    if let Some(second) = expose.get(1) {
        second.fail_with(
            "a minion exposes one service, and there is one before this",
            "let that one serve both, or make the other a minion of its own",
        );
    }
    let expose = expose.iter().map(self::expose).collect();
    let databases = map.list("databases");
    let databases: Vec<_> = databases
        .iter()
        .filter_map(|field| Some((database(field, &parameters)?, field)))
        .collect();
    twice(&databases, |database| &database.service, "service");
    let volumes = map.list("volumes");
    let volumes: Vec<_> = volumes
        .iter()
        .filter_map(|field| Some((volume(field)?, field)))
        .collect();
    twice(&volumes, |volume| &volume.name, "volume");
    let asserts = map.list("asserts").iter().filter_map(assertion).collect();
    let quiesce = map.map("quiesce").and_then(quiesce);
    let upgrade_stops = map.map("upgrade").map(|mut upgrade| {
        let stops = upgrade.strings("stops");
        upgrade.finish();
        stops
    });
    let notes = map.string("notes");
    map.finish();
    Some(Manifest {
        name: name?,
        title: title?,
        summary: summary?,
        category: category?.to_owned(),
        website: website?,
        version: version?,
        requires,
        parameters,
        expose,
        databases: databases
            .into_iter()
            .map(|(database, _)| database)
            .collect(),
        volumes: volumes.into_iter().map(|(volume, _)| volume).collect(),
        asserts,
        quiesce,
        upgrade_stops: upgrade_stops.unwrap_or_default(),
        notes,
    })
}

/// One line of text.
fn line(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    if text.trim().is_empty() || text.contains('\n') {
        return field.wrong("one line of text", None);
    }
    Some(text)
}

fn version(field: &Field<'_>) -> Option<String> {
    let tag = accept(field, names::tag(&field.text()?))?;
    if names::is_floating(&tag) {
        field.fail_with(
            format!("the tag `{tag}` moves: what is tested today is not what runs tomorrow"),
            "write the whole version, such as `31.0.8`",
        );
        return None;
    }
    Some(tag)
}

fn requires(mut map: MapReader<'_>) -> Requires {
    let requires = Requires {
        memory: map.size("memory").unwrap_or(0),
        disk: map.size("disk").unwrap_or(0),
        sysctl: map
            .entries("sysctl")
            .iter()
            .filter_map(|(name, _, field)| Some(((*name).to_owned(), field.text()?)))
            .collect(),
        https: map.bool("https").unwrap_or(false),
    };
    map.finish();
    requires
}

fn parameter(name: &str, place: Position, field: &Field<'_>) -> Option<Parameter> {
    parameter_name(name, place, field);
    let mut map = field.map();
    let kind = map.require("type");
    let kind =
        kind.and_then(|field| field.choice(&["string", "integer", "boolean", "secret", "choice"]));
    let length = map.get("length");
    let choices = map.get("choices");
    let default = map.get("default");
    let optional = map.get("optional");
    let description = map.string("description");
    map.finish();

    if let Some(length) = length
        .as_ref()
        .filter(|_| kind.is_some_and(|kind| kind != "secret"))
    {
        length.fail("only a secret has a `length`");
    }
    if let Some(choices) = choices
        .as_ref()
        .filter(|_| kind.is_some_and(|kind| kind != "choice"))
    {
        choices.fail_with("only a choice has `choices`", "write `type: choice`");
    }
    let kind = match kind? {
        "string" => ParameterKind::String,
        "integer" => ParameterKind::Integer,
        "boolean" => ParameterKind::Boolean,
        "secret" => {
            let length = length.and_then(|field| match field.u64()? {
                length @ 8..=128 => Some(length),
                _ => field.wrong("a length from 8 to 128", None),
            });
            ParameterKind::Secret {
                length: usize::try_from(length.unwrap_or(LENGTH)).ok()?,
            }
        }
        _ => {
            let Some(choices) = choices else {
                field.fail_with("a choice needs `choices`", "write `choices: [a, b]`");
                return None;
            };
            ParameterKind::Choice(choices.list().iter().filter_map(Field::text).collect())
        }
    };
    if let (Some(default), Some(_)) = (&default, &optional) {
        default.fail_with(
            "a parameter with a default is never missing",
            "remove `optional`",
        );
    }
    let default = default.and_then(|field| default_value(&field, &kind));
    let optional = optional.and_then(|field| field.bool()).unwrap_or(false);
    Some(Parameter {
        kind,
        default,
        optional,
        description,
    })
}

/// The name is a variable of the template and, in capitals, of `.env`.
fn parameter_name(name: &str, place: Position, field: &Field<'_>) {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let message = if !name.starts_with(|c: char| c.is_ascii_lowercase())
        || !name.chars().all(good)
        || name.len() > 40
    {
        format!("`{name}` is not a parameter's name: up to 40 of a-z, 0-9 and `_`, a letter first")
    } else if TAKEN.contains(&name) {
        format!("the template sees something else as `{name}`")
    } else if name.starts_with("env_") {
        // `ENV_…` in `.env` are the user's own variables.
        "a parameter's name cannot start with `env_`".to_owned()
    } else {
        return;
    };
    let mut problem = field.problem(message);
    problem.position = Some(place);
    field.push(problem);
}

fn default_value(field: &Field<'_>, kind: &ParameterKind) -> Option<Json> {
    match kind {
        ParameterKind::String => field.string().map(Json::from),
        ParameterKind::Integer => field.i64().map(Json::from),
        ParameterKind::Boolean => field.bool().map(Json::from),
        ParameterKind::Secret { .. } => {
            field.fail_with(
                "a secret has no default: it would be the same everywhere",
                "remove `default`",
            );
            None
        }
        ParameterKind::Choice(choices) => {
            let text = field.text()?;
            if !choices.contains(&text) {
                return field.wrong("one of the `choices`", None);
            }
            Some(Json::from(text))
        }
    }
}

fn expose(field: &Field<'_>) -> Expose {
    let mut map = field.map();
    let service = service(&mut map);
    let port = map.require("port").and_then(|field| field.port());
    let health = map
        .get("health")
        .map_or(Some("/".to_owned()), |field| path(&field));
    let paths = |fields: Vec<Field<'_>>| fields.iter().filter_map(path).collect();
    let expose = Expose {
        service: service.unwrap_or_default(),
        port: port.unwrap_or_default(),
        health: health.unwrap_or_default(),
        max_body: map.size("max_body"),
        stream_uploads: map.bool("stream_uploads").unwrap_or(false),
        websocket_paths: paths(map.list("websocket_paths")),
        auth_paths: paths(map.list("auth_paths")),
        overlap: map.bool("overlap").unwrap_or(false),
    };
    map.finish();
    expose
}

/// A path that may stand in nginx's configuration as it is.
fn path(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    let bad = |c: char| c.is_whitespace() || c.is_control() || ";{}\"'$\\".contains(c);
    if !text.starts_with('/') || text.contains(bad) {
        return field.wrong("a path such as `/status.php`", None);
    }
    Some(text)
}

fn service(map: &mut MapReader<'_>) -> Option<String> {
    let field = map.require("service")?;
    let text = field.string()?;
    accept(&field, names::name(&text)).map(|()| text)
}

fn database(field: &Field<'_>, parameters: &BTreeMap<String, Parameter>) -> Option<Database> {
    let mut map = field.map();
    let service = service(&mut map);
    let engine = map.require("engine");
    let engine = engine.and_then(|field| field.choice(&["postgres", "mysql", "mariadb", "mongo"]));
    let name = map.require("name").and_then(|field| line(&field));
    let user = map.require("user").and_then(|field| line(&field));
    let password = map
        .get("password")
        .and_then(|field| secret_parameter(&field, parameters));
    let admin = map.map("admin").and_then(|mut admin| {
        let user = admin.require("user").and_then(|field| line(&field));
        let password = admin.require("password");
        let password = password.and_then(|field| secret_parameter(&field, parameters));
        admin.finish();
        Some((user?, password?))
    });
    let uid = id(&mut map, "uid", 999);
    let gid = id(&mut map, "gid", 999);
    let mode = map.get("mode").map_or(Some(0o700), |field| mode(&field));
    map.finish();
    Some(Database {
        service: service?,
        engine: match engine? {
            "postgres" => DatabaseEngine::Postgres,
            "mysql" => DatabaseEngine::Mysql,
            "mariadb" => DatabaseEngine::Mariadb,
            _ => DatabaseEngine::Mongo,
        },
        name: name?,
        user: user?,
        password,
        admin,
        uid: uid?,
        gid: gid?,
        mode: mode?,
    })
}

/// The name of a parameter that is a secret.
fn secret_parameter(field: &Field<'_>, parameters: &BTreeMap<String, Parameter>) -> Option<String> {
    let name = field.string()?;
    match parameters.get(&name) {
        Some(Parameter {
            kind: ParameterKind::Secret { .. },
            ..
        }) => return Some(name),
        Some(_) => field.fail_with(
            format!("the parameter `{name}` is not a secret"),
            "write `type: secret` there",
        ),
        None => field.fail_with(
            format!("there is no parameter `{name}`"),
            format!("add `{name}: {{type: secret}}` to `parameters`"),
        ),
    }
    None
}

fn volume(field: &Field<'_>) -> Option<Volume> {
    let mut map = field.map();
    let name = map.require("name").and_then(|field| {
        let text = field.string()?;
        accept(&field, names::name(&text)).map(|()| text)
    });
    let uid = id(&mut map, "uid", 0);
    let gid = id(&mut map, "gid", 0);
    let mode = map.get("mode").map_or(Some(0o750), |field| mode(&field));
    map.finish();
    Some(Volume {
        name: name?,
        uid: uid?,
        gid: gid?,
        mode: mode?,
    })
}

fn id(map: &mut MapReader<'_>, key: &'static str, default: u32) -> Option<u32> {
    let Some(field) = map.get(key) else {
        return Some(default);
    };
    match u32::try_from(field.u64()?) {
        Ok(id) => Some(id),
        Err(_) => field.wrong("a user or group number", None),
    }
}

/// Permission bits in octal, quoted or not: YAML itself would read `0750` as 750.
fn mode(field: &Field<'_>) -> Option<u32> {
    let text = match field.value() {
        Value::String(text) => text,
        Value::Integer(_) => &field.node().text,
        _ => "",
    };
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if octal => Some(mode),
        _ => field.wrong("permission bits such as `\"0750\"`", None),
    }
}

fn assertion(field: &Field<'_>) -> Option<String> {
    let mut map = field.map();
    let kind = map.exactly_one(&["sql", "mongo"]);
    let statement = kind.and_then(|kind| map.string(kind));
    map.finish();
    statement
}

fn quiesce(mut map: MapReader<'_>) -> Option<Quiesce> {
    let service = service(&mut map);
    let (before, after) = (map.strings("before"), map.strings("after"));
    if before.is_empty() || after.is_empty() {
        map.fail("`before` and `after` belong together: what is stopped must go on");
    }
    map.finish();
    Some(Quiesce {
        service: service?,
        before,
        after,
    })
}

fn twice<T>(items: &[(T, &Field<'_>)], name: fn(&T) -> &String, what: &str) {
    for (index, (item, field)) in items.iter().enumerate() {
        if items[..index]
            .iter()
            .any(|(other, _)| name(other) == name(item))
        {
            field.fail(format!("the {what} `{}` is there twice", name(item)));
        }
    }
}

#[cfg(test)]
mod tests;
