//! What a template sees.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Input;
use crate::compose::interpolate;
use crate::config::environment::{Environment, Instance, Tls};
use crate::minion::Minion;
use crate::minion::manifest::ParameterKind;
use crate::minion::parameters::env_name;

/// Names and values for one kind of template.
pub(super) struct Context {
    /// Values by name.
    pub values: BTreeMap<String, Value>,
    /// Names that exist but must not be used here.
    pub secrets: BTreeSet<String>,
    /// Whether the text is one of Compose, in which a `$` begins a variable.
    pub compose: bool,
}

impl Context {
    /// For `compose.yml.j2`. A secret is the text `${NAME}`; any other `$` is doubled here, once
    /// for all, so that no template can forget it and no title of the user becomes a variable.
    pub fn compose(input: &Input<'_>) -> Self {
        let mut values = common(input, interpolate::escape);
        values.insert("env".to_owned(), json!(input.parameters.env));
        for (name, value) in parameters(input) {
            let secret = is_secret(&name, &value, input);
            values.insert(
                name,
                if secret {
                    value
                } else {
                    map_text(value, &interpolate::escape)
                },
            );
        }
        Self {
            values,
            secrets: BTreeSet::new(),
            compose: true,
        }
    }

    /// For texts that people can read: extra files and notes. There are no secrets.
    pub fn plain(input: &Input<'_>) -> Self {
        let mut values = common(input, str::to_owned);
        let env: BTreeMap<_, _> = input
            .parameters
            .env
            .iter()
            .filter_map(|(name, value)| {
                // Compose text that stands without any variable is one of the user's own.
                let value = interpolate::interpolate(value, &BTreeMap::new()).ok()?;
                Some((name, value))
            })
            .collect();
        values.insert("env".to_owned(), json!(env));
        let mut secrets = BTreeSet::new();
        for (name, value) in parameters(input) {
            if is_secret(&name, &value, input) {
                secrets.insert(name);
            } else {
                values.insert(name, value);
            }
        }
        Self {
            values,
            secrets,
            compose: false,
        }
    }
}

/// Whether a parameter is a secret: by its type, or since the user fetched its value from outside.
fn is_secret(name: &str, value: &Value, input: &Input<'_>) -> bool {
    let declared = input
        .minion
        .manifest
        .parameters
        .get(name)
        .map(|parameter| &parameter.kind);
    let variable = env_name(name);
    let refers =
        input.parameters.secrets.contains_key(&variable) && *value == format!("${{{variable}}}");
    refers || matches!(declared, Some(ParameterKind::Secret { .. }))
}

/// Every parameter the minion declares; one that is not set is null.
fn parameters(input: &Input<'_>) -> BTreeMap<String, Value> {
    let declared = input
        .minion
        .manifest
        .parameters
        .keys()
        .map(|name| (name.clone(), Value::Null));
    let set = input
        .parameters
        .values
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    declared.chain(set).collect()
}

fn common(input: &Input<'_>, text: impl Fn(&str) -> String) -> BTreeMap<String, Value> {
    let hosts: Vec<String> = input.instance.hosts.iter().map(|host| text(host)).collect();
    let url = url(input.minion, input.instance, input.environment).map(|url| text(&url));
    [
        ("minion", json!(text(&input.instance.name))),
        ("domain", json!(text(&input.environment.domain))),
        ("host", json!(hosts.first())),
        ("hosts", json!(hosts)),
        ("url", json!(url)),
        ("version", json!(text(input.version))),
        ("timezone", json!(text(&input.environment.timezone))),
        ("smtp", Value::Null),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Where the instance answers: `https://blog.example.org`, with the port unless it is the usual one.
#[must_use]
pub fn url(minion: &Minion, instance: &Instance, environment: &Environment) -> Option<String> {
    let host = instance
        .hosts
        .first()
        .filter(|_| !minion.manifest.expose.is_empty())?;
    let proxy = &environment.proxy;
    let (scheme, port, usual) = if proxy.tls == Tls::Off {
        ("http", proxy.http_port, 80)
    } else {
        ("https", proxy.https_port, 443)
    };
    Some(if port == usual {
        format!("{scheme}://{host}")
    } else {
        format!("{scheme}://{host}:{port}")
    })
}

fn map_text(value: Value, change: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(&text)),
        Value::Array(items) => items
            .into_iter()
            .map(|item| map_text(item, change))
            .collect(),
        other => other,
    }
}
