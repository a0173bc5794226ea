//! Values to render a minion with.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::minion::Manifest;
use crate::minion::manifest::{Parameter, ParameterKind};
use crate::minion::parameters::{Parameters, env_name};
use crate::secret::Secret;

/// A harmless text nobody writes by chance.
pub(super) const PLAIN: &str = "sample0text";

/// What each sample is, for messages, and its parameters. The first one has the defaults.
pub(super) fn variants(manifest: &Manifest) -> Vec<(String, Parameters)> {
    let mut variants = vec![(String::new(), parameters(manifest, &BTreeMap::new()))];
    let all: BTreeMap<&str, Value> = manifest
        .parameters
        .iter()
        .map(|(name, p)| (name.as_str(), values(name, p).swap_remove(0)))
        .collect();
    variants.push(("every parameter set".to_owned(), parameters(manifest, &all)));
    for (name, parameter) in &manifest.parameters {
        for value in values(name, parameter) {
            let what = if matches!(parameter.kind, ParameterKind::Secret { .. }) {
                format!("`{name}` set")
            } else {
                format!("`{name}: {value}`")
            };
            variants.push((
                what,
                parameters(manifest, &BTreeMap::from([(name.as_str(), value)])),
            ));
        }
        if parameter.optional {
            let mut others = all.clone();
            others.remove(name.as_str());
            variants.push((
                format!("every parameter but `{name}`"),
                parameters(manifest, &others),
            ));
        }
    }
    variants
}

/// Parameters with these values, the default for any other, and null where there is none.
pub(super) fn parameters(manifest: &Manifest, set: &BTreeMap<&str, Value>) -> Parameters {
    let mut result = Parameters::default();
    for (name, parameter) in &manifest.parameters {
        let value = match (set.get(name.as_str()), &parameter.default) {
            (Some(value), _) => value.clone(),
            (None, Some(default)) => default.clone(),
            (None, None) if parameter.optional => Value::Null,
            (None, None) => values(name, parameter).swap_remove(0),
        };
        if matches!(parameter.kind, ParameterKind::Secret { .. }) && !value.is_null() {
            result
                .secrets
                .insert(env_name(name), Secret::new(format!("secret of {name}")));
        }
        result.values.insert(name.clone(), value);
    }
    result
}

/// Values worth trying, at least one.
fn values(name: &str, parameter: &Parameter) -> Vec<Value> {
    match &parameter.kind {
        ParameterKind::String => vec![json!(PLAIN)],
        ParameterKind::Integer => vec![parameter.default.clone().unwrap_or_else(|| json!(7))],
        ParameterKind::Boolean => vec![json!(true), json!(false)],
        ParameterKind::Secret { .. } => vec![json!(format!("${{{}}}", env_name(name)))],
        ParameterKind::Choice(choices) => choices.iter().map(|choice| json!(choice)).collect(),
    }
}
