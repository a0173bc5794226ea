//! What a template sees.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Input;
use crate::compose::interpolate;
use crate::config::environment::{Environment, Instance, Tls};
use crate::minion::Minion;
use crate::minion::manifest::ParameterKind;
use crate::minion::parameters::Parameters;

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
        let raw = |text: &str| raw_text(text, input.parameters);
        let mut values = common(input, raw);
        values.insert("env".to_owned(), json!(raw_env(input.parameters)));
        for (name, value) in parameters(input) {
            values.insert(name, map_text(value, &raw));
        }
        Self { values, secrets: BTreeSet::new(), compose: true }
    }

    /// For texts that people can read: extra files and notes. There are no secrets.
    pub fn plain(input: &Input<'_>) -> Self {
        let mut values = common(input, str::to_owned);
        let is_secret = |value: &str| refers_to_secret(value, input.parameters);
        let env: BTreeMap<_, _> = input.parameters.env.iter().filter(|(_, value)| !is_secret(value)).collect();
        values.insert("env".to_owned(), json!(env));
        let mut secrets = BTreeSet::new();
        for (name, value) in parameters(input) {
            let declared = input.minion.manifest.parameters.get(&name).map(|p| &p.kind);
            if matches!(declared, Some(ParameterKind::Secret { .. })) || value.as_str().is_some_and(is_secret) {
                secrets.insert(name);
            } else {
                values.insert(name, value);
            }
        }
        Self { values, secrets, compose: false }
    }
}

/// Every parameter the minion declares; one that is not set is null.
fn parameters(input: &Input<'_>) -> BTreeMap<String, Value> {
    let declared = input.minion.manifest.parameters.keys().map(|name| (name.clone(), Value::Null));
    let set = input.parameters.values.iter().map(|(name, value)| (name.clone(), value.clone()));
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
    let host = instance.hosts.first().filter(|_| !minion.manifest.expose.is_empty())?;
    let proxy = &environment.proxy;
    let (scheme, port, usual) =
        if proxy.tls == Tls::Off { ("http", proxy.http_port, 80) } else { ("https", proxy.https_port, 443) };
    Some(if port == usual { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{port}") })
}

/// The user's environment as texts of the raw model.
pub(super) fn raw_env(parameters: &Parameters) -> BTreeMap<String, String> {
    parameters.env.iter().map(|(name, value)| (name.clone(), raw_text(value, parameters))).collect()
}

/// A value as a text of the raw model: itself if it is a secret's `${NAME}`, else with every `$` doubled.
fn raw_text(value: &str, parameters: &Parameters) -> String {
    if refers_to_secret(value, parameters) { value.to_owned() } else { interpolate::escape(value) }
}

fn refers_to_secret(value: &str, parameters: &Parameters) -> bool {
    let name = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| parameters.secrets.contains_key(name))
}

fn map_text(value: Value, change: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(&text)),
        Value::Array(items) => items.into_iter().map(|item| map_text(item, change)).collect(),
        other => other,
    }
}
