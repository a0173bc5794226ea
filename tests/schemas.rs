//! The JSON Schemas accept what Summoner accepts and refuse what an editor can see is wrong.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use summoner::minion::Catalog;
use summoner::yaml::Document;
use summoner::{config, minion};

/// The part of JSON Schema that the two schemas use; an unknown keyword is a panic, so that
/// nothing is believed to be checked that is not.
fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    let all = |key: &str| schema[key].as_array().into_iter().flatten();
    schema
        .as_object()
        .expect("a schema")
        .iter()
        .all(|(keyword, rule)| match keyword.as_str() {
            "$ref" => {
                let target = rule.as_str().unwrap().trim_start_matches('#');
                fits(
                    root,
                    root.pointer(target).expect("the reference leads somewhere"),
                    value,
                )
            }
            "type" => match rule {
                Value::Array(types) => types.iter().any(|t| is(t, value)),
                one => is(one, value),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "anyOf" => all("anyOf").any(|s| fits(root, s, value)),
            "oneOf" => all("oneOf").filter(|s| fits(root, s, value)).count() == 1,
            "required" => {
                !value.is_object()
                    || all("required").all(|key| value.get(key.as_str().unwrap()).is_some())
            }
            "minimum" => value.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|n| n <= rule.as_f64().unwrap()),
            "exclusiveMinimum" => value.as_f64().is_none_or(|n| n > rule.as_f64().unwrap()),
            "maxItems" => value
                .as_array()
                .is_none_or(|items| items.len() as u64 <= rule.as_u64().unwrap()),
            "minItems" => value
                .as_array()
                .is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
            "items" => value
                .as_array()
                .is_none_or(|items| items.iter().all(|item| fits(root, rule, item))),
            "properties" => value.as_object().is_none_or(|map| {
                map.iter()
                    .all(|(key, inner)| rule.get(key).is_none_or(|s| fits(root, s, inner)))
            }),
            "additionalProperties" => value.as_object().is_none_or(|map| {
                let known = |key: &str| {
                    let own = schema.get("patternProperties").is_some() && key.starts_with("x-");
                    own || schema
                        .get("properties")
                        .is_some_and(|p| p.get(key).is_some())
                };
                let mut others = map.iter().filter(|(key, _)| !known(key));
                match rule {
                    Value::Bool(allowed) => *allowed || others.next().is_none(),
                    inner => others.all(|(_, value)| fits(root, inner, value)),
                }
            }),
            "patternProperties" => rule == &json!({"^x-": {}}),
            // Names are checked by the reader; a pattern is for editors.
            "pattern" | "title" | "description" | "$schema" | "$defs" => true,
            other => panic!("the schema uses `{other}`"),
        })
}

fn is(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("the schema uses the type `{other}`"),
    }
}

fn accepts(schema: &str, text: &str) -> bool {
    let schema = serde_json::from_str(schema).unwrap();
    fits(
        &schema,
        &schema,
        &Document::parse("f.yml", text).unwrap().root().to_json(),
    )
}

#[test]
fn good_configurations_are_accepted() {
    for file in [
        "config.example.yml",
        "tests/fixtures/config/full.yml",
        "tests/fixtures/config/founding.yml",
    ] {
        assert!(
            accepts(config::schema(), &fs::read_to_string(file).unwrap()),
            "{file}"
        );
    }
    assert!(accepts(
        config::schema(),
        "summoner: {domain: a.org}\nminions: {ghost: }\nx-a: 1"
    ));
}

#[test]
fn every_minion_is_accepted() {
    for name in Catalog::open(None).names() {
        let text = fs::read_to_string(Path::new("minions").join(name).join("minion.yml")).unwrap();
        assert!(accepts(minion::schema(), &text), "{name}");
    }
}

#[test]
fn what_an_editor_can_see_is_refused() {
    for text in [
        "minions: {}",
        "summoner: {}",
        "summoner: {domain: a.org, domian: b.org}",
        "{summoner: {domain: a.org}, extra: 1}",
        "{summoner: {domain: a.org}, proxy: {http_port: 0}}",
        "{summoner: {domain: a.org}, proxy: {http_port: eighty}}",
        "{summoner: {domain: a.org}, proxy: {tls: autom}}",
        "{summoner: {domain: a.org}, destinations: {d: {}}}",
        "{summoner: {domain: a.org}, destinations: {d: {dir: a, s3: {bucket: b}}}}",
        "{summoner: {domain: a.org}, minions: {a: {set: {b: {env: X, file: y}}}}}",
        "{summoner: {domain: a.org}, notify: [{on: [failures], slack: {url: x}}]}",
    ] {
        assert!(!accepts(config::schema(), text), "{text}");
    }
    assert!(!accepts(minion::schema(), "name: a"));
}
