//! Whether texts of the user reach the containers as they are written.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Sample;
use super::samples::{self, PLAIN};
use crate::compose::Project;
use crate::minion::Minion;
use crate::minion::manifest::ParameterKind;
use crate::problem::Problem;
use crate::render::TEMPLATE;

/// Texts that break YAML, add keys to it, or change on the way.
const NASTY: [&str; 6] = [
    "a: b \"c\" # d",
    "it's",
    "$HOME ${NOBODY} $$",
    "back\\slash\\n",
    "two\n    privileged: true\nlines",
    "{{ title }} {% if x %}",
];

/// One problem for each text parameter that is not quoted well.
pub(super) fn check(minion: &Minion, sample: &Sample<'_>) -> Vec<Problem> {
    let texts = minion
        .manifest
        .parameters
        .iter()
        .filter(|(_, p)| p.kind == ParameterKind::String);
    texts
        .filter_map(|(name, _)| {
            // What fails with a plain text as well is told elsewhere.
            let plain = leaves(&resolved(sample, name, PLAIN)?);
            let broken = |nasty: &&&str| {
                let expected = plain
                    .iter()
                    .map(|(path, text)| (path.clone(), text.replace(PLAIN, nasty)));
                resolved(sample, name, nasty)
                    .is_none_or(|json| leaves(&json) != expected.collect::<Vec<_>>())
            };
            let nasty = NASTY.iter().find(broken)?;
            let problem = Problem::new(
                minion.file(TEMPLATE),
                format!(
                    "the parameter `{name}` does not arrive as written when it is {}",
                    json!(nasty)
                ),
            );
            Some(problem.hint(format!(
                "write `{{{{ {name} | yaml }}}}` without quotes around it"
            )))
        })
        .collect()
}

/// The project as containers get it, with one parameter set to `text`.
fn resolved(sample: &Sample<'_>, name: &str, text: &str) -> Option<Value> {
    let manifest = &sample.minion.manifest;
    // The others are set too, since a text may only be used together with them.
    let others = manifest
        .parameters
        .iter()
        .filter(|(_, p)| p.optional && p.kind == ParameterKind::String);
    let mut set: BTreeMap<&str, Value> = others
        .map(|(name, _)| (name.as_str(), json!("another")))
        .collect();
    set.insert(name, json!(text));
    let parameters = samples::parameters(manifest, &set);
    let raw = sample.render(&parameters).ok()?.project.to_yaml();
    Some(
        Project::parse("", &raw, Some(&parameters.secrets))
            .ok()?
            .to_json(),
    )
}

/// Every value by its path.
fn leaves(json: &Value) -> Vec<(String, String)> {
    fn walk(path: &str, json: &Value, found: &mut Vec<(String, String)>) {
        match json {
            Value::Object(map) => map
                .iter()
                .for_each(|(key, value)| walk(&format!("{path}.{key}"), value, found)),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .for_each(|(i, item)| walk(&format!("{path}[{i}]"), item, found)),
            Value::String(text) => found.push((path.to_owned(), text.clone())),
            other => found.push((path.to_owned(), other.to_string())),
        }
    }
    let mut found = Vec::new();
    walk("", json, &mut found);
    found
}
