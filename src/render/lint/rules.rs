//! The rules themselves.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::{FILES, argv};
use crate::compose::{Condition, Project, Service, Source};
use crate::config::Environment;
use crate::config::names::is_floating;
use crate::minion::Minion;
use crate::problem::Problem;
use crate::render::{Rendered, TEMPLATE};

/// Quick enough to notice, slow enough not to be a load.
const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(2)..=Duration::from_secs(10);

/// Rules that every way to render the minion keeps.
pub(super) fn each(minion: &Minion, project: &Project, environment: &Environment) -> Vec<Problem> {
    let mut problems = Vec::new();
    let finishing: BTreeSet<&str> = project
        .services
        .values()
        .flat_map(|s| &s.depends_on)
        .filter(|(_, condition)| **condition == Condition::Completed)
        .map(|(name, _)| name.as_str())
        .collect();
    for (name, service) in &project.services {
        let mut told: Vec<(&str, String, &str)> = Vec::new();
        if !finishing.contains(name.as_str()) {
            told.extend(healthcheck(service));
        }
        told.extend(image(&service.image));
        if service.mem_limit.is_none() {
            told.push((
                "mem_limit",
                "there is no memory limit".to_owned(),
                "`mem_limit: 256m`",
            ));
        }
        if !service.ports.is_empty() {
            told.push((
                "ports",
                "a minion publishes no ports of the host".to_owned(),
                "name the service under `expose:` of minion.yml",
            ));
        }
        if minion.manifest.databases.iter().any(|d| d.service == *name)
            && service.init != Some(true)
        {
            told.push((
                "init",
                "a database needs an init process".to_owned(),
                "`init: true`",
            ));
        }
        told.extend(added(service));
        told.extend(plain_secrets(service));
        told.extend(argv::check(service).into_iter().map(|(key, message)| {
            (
                key,
                message,
                "pass it with `environment`, and write `$$NAME` where a shell reads it",
            )
        }));
        if service
            .depends_on
            .values()
            .any(|condition| *condition == Condition::Started)
        {
            told.push((
                "depends_on",
                "started is not ready".to_owned(),
                "`{condition: service_healthy}`",
            ));
        }
        told.extend(mounts(service, minion, environment));
        problems.extend(told.into_iter().map(|(key, message, hint)| {
            Problem::new(minion.file(TEMPLATE), message)
                .at(None, format!("services.{name}.{key}"))
                .hint(hint)
        }));
    }
    problems.extend(missing_services(minion, project));
    problems
}

type Told = (&'static str, String, &'static str);

fn healthcheck(service: &Service) -> Vec<Told> {
    let Some(check) = service
        .healthcheck
        .as_ref()
        .filter(|c| !c.test.is_empty() && c.test != ["NONE"])
    else {
        return vec![(
            "healthcheck",
            "there is no healthcheck".to_owned(),
            "`healthcheck: {test: …, interval: 5s, start_period: 60s}`",
        )];
    };
    let mut told = Vec::new();
    if !check
        .interval
        .is_some_and(|interval| INTERVALS.contains(&interval))
    {
        told.push((
            "healthcheck.interval",
            "the interval is not between 2s and 10s".to_owned(),
            "`interval: 5s`",
        ));
    }
    if check.start_period.is_none() {
        told.push((
            "healthcheck.start_period",
            "there is no start period: a slow first start would count as failure".to_owned(),
            "`start_period: 60s`",
        ));
    }
    told
}

fn image(image: &str) -> Option<Told> {
    if image.contains('@') {
        return None;
    }
    // A colon before the last slash is the port of a registry.
    let name = image.rsplit('/').next().unwrap_or_default();
    match name.split_once(':') {
        None => Some((
            "image",
            format!("`{image}` has no tag"),
            "`image: name:{{ version }}`",
        )),
        Some((_, tag)) if is_floating(tag) => Some((
            "image",
            format!("the tag `{tag}` is another image tomorrow"),
            "name a release",
        )),
        Some(_) => None,
    }
}

/// Keys that Summoner writes itself.
fn added(service: &Service) -> Vec<Told> {
    [
        ("container_name", service.container_name.is_some()),
        ("environment.TZ", service.environment.contains_key("TZ")),
        ("hostname", service.hostname.is_some()),
        ("labels", !service.labels.is_empty()),
        ("logging", service.logging.is_some()),
        ("networks", !service.networks.is_empty()),
        ("restart", service.restart.is_some()),
    ]
    .into_iter()
    .filter(|(_, there)| *there)
    .map(|(key, _)| (key, "Summoner adds this itself".to_owned(), "take it out"))
    .collect()
}

/// Passwords written into the environment as they are.
fn plain_secrets(service: &Service) -> Vec<Told> {
    let telling = |name: &str| {
        let name = name.to_ascii_uppercase();
        [
            "PASSWORD",
            "PASSWD",
            "SECRET",
            "TOKEN",
            "API_KEY",
            "PRIVATE_KEY",
        ]
        .iter()
        .any(|word| name.ends_with(word))
    };
    let plain = |value: &str| {
        !value.is_empty()
            && !value.contains("${")
            && !matches!(value, "true" | "false" | "yes" | "no" | "0" | "1")
    };
    let found = service
        .environment
        .iter()
        .filter(|(name, value)| telling(name) && plain(value));
    found
        .map(|(name, _)| {
            (
                "environment",
                format!("`{name}` is a secret in plain text"),
                "declare a parameter of type `secret`",
            )
        })
        .collect()
}

fn mounts(service: &Service, minion: &Minion, environment: &Environment) -> Vec<Told> {
    let mut told = Vec::new();
    let own = own_folders(minion, environment);
    for mount in &service.volumes {
        match &mount.source {
            Source::Volume(name) => told.push((
                "volumes",
                format!("no backup would save the named volume `{name}`"),
                "declare it under `volumes:` of minion.yml and mount `{{ volume('…') }}`",
            )),
            Source::Bind(path) if Path::new(path).starts_with(FILES) => {
                if !mount.read_only {
                    told.push((
                        "volumes",
                        format!("`{}` could be written to", mount.target),
                        "mount extra files with `:ro`",
                    ));
                }
            }
            Source::Bind(path)
                if !own
                    .iter()
                    .any(|(_, folder)| Path::new(path).starts_with(folder)) =>
            {
                told.push((
                    "volumes",
                    format!("`{path}` of the host is none of the minion's"),
                    "use `volume('…')`, `database('…')` or `file('…')`",
                ));
            }
            Source::Bind(_) => {}
        }
    }
    told
}

/// What is declared in minion.yml, where, and the folder it has in the sample.
fn own_folders(minion: &Minion, environment: &Environment) -> Vec<(String, String)> {
    let instance = &environment.instances[0].name;
    let folder = |root: &Path, name: &str| root.join(instance).join(name).display().to_string();
    let volumes = minion.manifest.volumes.iter().map(|v| {
        (
            format!("volumes.{}", v.name),
            folder(&environment.vsroot, &v.name),
        )
    });
    let databases = minion.manifest.databases.iter().map(|d| {
        (
            format!("databases.{}", d.service),
            folder(&environment.dbsroot, &d.service),
        )
    });
    volumes.chain(databases).collect()
}

/// Services that minion.yml names and the template does not have.
fn missing_services(minion: &Minion, project: &Project) -> Vec<Problem> {
    let manifest = &minion.manifest;
    let exposed = manifest
        .expose
        .iter()
        .enumerate()
        .map(|(i, e)| (format!("expose[{i}].service"), &e.service));
    let databases = manifest
        .databases
        .iter()
        .enumerate()
        .map(|(i, d)| (format!("databases[{i}].service"), &d.service));
    let quiesce = manifest
        .quiesce
        .iter()
        .map(|q| ("quiesce.service".to_owned(), &q.service));
    let named = exposed.chain(databases).chain(quiesce);
    named
        .filter(|(_, service)| !project.services.contains_key(*service))
        .map(|(path, service)| {
            Problem::new(
                minion.file("minion.yml"),
                format!("the template has no service `{service}`"),
            )
            .at(None, path)
            .hint(format!("add it to {TEMPLATE}"))
        })
        .collect()
}

/// Rules that hold over all ways to render the minion: everything declared is mounted in one of them.
pub(super) fn together(
    minion: &Minion,
    rendered: &[Rendered],
    environment: &Environment,
) -> Vec<Problem> {
    let mut mounted: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (name, service) in rendered.iter().flat_map(|one| &one.project.services) {
        mounted.extend(
            service
                .volumes
                .iter()
                .filter_map(|mount| match &mount.source {
                    Source::Bind(path) => Some((name.as_str(), path.as_str())),
                    Source::Volume(_) => None,
                }),
        );
    }
    let mut problems = Vec::new();
    for (path, folder) in own_folders(minion, environment) {
        // A database's folder belongs to its own service.
        let owner = path.strip_prefix("databases.");
        let used = mounted.iter().any(|(service, source)| {
            Path::new(source).starts_with(&folder) && owner.is_none_or(|owner| owner == *service)
        });
        if !used {
            let kind = if owner.is_some() {
                "database"
            } else {
                "volume"
            };
            let problem = Problem::new(
                minion.file("minion.yml"),
                format!("no service mounts this {kind}"),
            );
            problems.push(problem.at(None, path).hint("mount it, or take it out"));
        }
    }
    for file in minion.files.keys() {
        let target = Path::new(FILES).join(file.strip_suffix(".j2").unwrap_or(file));
        if !mounted.iter().any(|(_, source)| target.starts_with(source)) {
            let problem = Problem::new(
                minion.file(&format!("files/{file}")),
                "no service mounts this file",
            );
            problems.push(problem.hint("mount it with `file('…')`, or take it out"));
        }
    }
    problems
}
