//! docs/config.md: every example is loaded, every key is explained.

use std::fs;
use std::path::Path;

use serde_json::Value;
use summoner::config::{self, Lookup};
use summoner::minion::Catalog;

fn docs() -> String {
    fs::read_to_string("docs/config.md").unwrap()
}

#[test]
fn every_example_loads_without_a_warning() {
    let text = docs();
    let examples: Vec<_> = text
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(examples.len() >= 6);
    let catalog = Catalog::open(None);
    for example in examples {
        let path = Path::new("/srv/acme/config.yml");
        let lookup = Lookup::fixed("/home/ada", &[]);
        match config::parse(path, example, &catalog.names(), &lookup) {
            Ok(environment) => assert!(
                environment.warnings.is_empty(),
                "{:?}\n{example}",
                environment.warnings
            ),
            Err(problems) => panic!("{problems}\n{example}"),
        }
    }
}

#[test]
fn every_key_of_the_schema_is_explained() {
    let text = docs();
    let schema: Value = serde_json::from_str(config::schema()).unwrap();
    let mut keys = Vec::new();
    collect(&schema, &mut keys);
    assert!(keys.len() > 50);
    for key in keys {
        let sections = [
            "summoner",
            "minions",
            "proxy",
            "destinations",
            "backup",
            "notify",
        ];
        let heading = sections.contains(&key.as_str());
        let spellings = [format!("`{key}`"), format!("{{{key}: ")];
        assert!(
            heading || spellings.iter().any(|s| text.contains(s)),
            "`{key}` is not explained"
        );
    }
}

fn collect(node: &Value, keys: &mut Vec<String>) {
    if let Some(properties) = node.get("properties").and_then(Value::as_object) {
        keys.extend(properties.keys().cloned());
    }
    match node {
        Value::Object(map) => map.values().for_each(|inner| collect(inner, keys)),
        Value::Array(items) => items.iter().for_each(|inner| collect(inner, keys)),
        _ => {}
    }
}
