//! The top of a Compose file, and what can be checked once all of it is read.

use std::collections::BTreeMap;

use super::reader::{At, Kind, Read, Reader};
use super::{Network, Project, Volume, keys, service};
use crate::problem::Problems;
use crate::secret::Secret;
use crate::yaml::Document;

pub(super) const TOP: &[(&str, Read<Project>)] = &[
    ("name", |p, at, r| {
        p.name = r.value(
            at,
            "a project name: small letters, digits, `-` and `_`",
            "my-project",
            |text| {
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
                let first = text.starts_with(plain);
                (first && text.chars().all(|c| plain(c) || matches!(c, '-' | '_')))
                    .then(|| text.to_owned())
            },
        );
    }),
    ("networks", |p, at, r| {
        for (key, at) in r.pairs(at) {
            let mut network = Network::default();
            r.table(&at, &mut network, NETWORK, keys::NETWORK);
            p.networks.insert(key.to_owned(), network);
        }
    }),
    ("services", |p, at, r| {
        for (name, at) in r.pairs(at) {
            check_name(name, &at, r);
            p.services.insert(name.to_owned(), service::read(&at, r));
        }
    }),
    // Compose itself has given it no meaning for years.
    ("version", |_, _, _| {}),
    ("volumes", |p, at, r| {
        for (key, at) in r.pairs(at) {
            let mut volume = Volume::default();
            r.table(&at, &mut volume, VOLUME, keys::VOLUME);
            p.volumes.insert(key.to_owned(), volume);
        }
    }),
];

pub(super) const NETWORK: &[(&str, Read<Network>)] = &[
    ("driver", |_, at, r| {
        r.accept(at, "a supported driver", "bridge", &["bridge"]);
    }),
    ("external", |n, at, r| {
        n.external = r.boolean(at) == Some(true);
    }),
    ("internal", |n, at, r| {
        n.internal = r.boolean(at) == Some(true);
    }),
    ("name", |n, at, r| n.name = r.text(at)),
];

pub(super) const VOLUME: &[(&str, Read<Volume>)] = &[
    ("driver", |_, at, r| {
        r.accept(at, "a supported driver", "local", &["local"]);
    }),
    ("external", |v, at, r| {
        v.external = r.boolean(at) == Some(true);
    }),
    ("name", |v, at, r| v.name = r.text(at)),
];

/// A service's name becomes part of container and host names.
fn check_name<'a>(name: &str, at: &At<'a>, r: &Reader<'a>) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(allowed) {
        r.refuse(
            at,
            "a service's name has letters, digits, `.`, `-` and `_`, and begins with a letter or digit",
            "rename the service",
        );
    }
}

pub(super) fn parse(
    file: &str,
    text: &str,
    variables: Option<&BTreeMap<String, Secret>>,
) -> Result<Project, Problems> {
    let document = Document::parse(file, text)?;
    let r = Reader::new(file, variables);
    let top = At {
        node: document.root(),
        path: String::new(),
    };
    let mut project = Project::default();
    r.table(&top, &mut project, TOP, keys::TOP);
    if top.node.get("services").is_none()
        && matches!(top.node.value, crate::yaml::Value::Mapping(_))
    {
        r.refuse(
            &top,
            "`services` is missing",
            "name at least one: `services: {web: {image: \"nginx:1.30.6\"}}`",
        );
    }
    r.check_references(Kind::Service, project.services.keys().map(String::as_str));
    let networks = project.networks.keys().map(String::as_str);
    r.check_references(Kind::Network, networks.chain(["default"]));
    r.check_references(Kind::Volume, project.volumes.keys().map(String::as_str));
    if let Err(cycle) = project.start_order() {
        let path = format!("services.{}.depends_on", cycle[0]);
        if let Some(node) = document.node(&path) {
            let circle: Vec<String> = cycle
                .iter()
                .chain(cycle.first())
                .map(|name| format!("`{name}`"))
                .collect();
            r.refuse(
                &At { node, path },
                format!("services wait for each other: {}", circle.join(" -> ")),
                "take one of these dependencies out",
            );
        }
    }
    r.finish(project)
}
