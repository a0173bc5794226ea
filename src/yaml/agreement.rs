//! For tests: a JSON Schema and a reader know the same keys, at every path, and no other.

use std::collections::BTreeSet;

use serde_json::Value as Json;

/// `known` is what [`super::Reading::known_keys`] gives for a file that has every key.
pub(crate) fn assert_agreement(schema: &str, known: &[(String, Vec<&'static str>)]) {
    let schema: Json = serde_json::from_str(schema).expect("the schema is JSON");
    let mut seen = BTreeSet::new();
    for (path, keys) in known {
        let node = object(&schema, path);
        let said: BTreeSet<&str> = node["properties"]
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        let read: BTreeSet<&str> = keys.iter().copied().collect();
        assert_eq!(said, read, "schema (left) and reader (right) at `{path}`");
        seen.insert(std::ptr::from_ref(node));
    }
    every_object(&schema, &mut |node| {
        assert!(
            seen.contains(&std::ptr::from_ref(node)),
            "no example reaches {node}"
        );
    });
}

/// The object schema at `path`.
fn object<'a>(root: &'a Json, path: &str) -> &'a Json {
    let path = path.replace('[', ".[");
    let mut nodes = vec![root];
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let inner = nodes.iter().flat_map(|node| alternatives(root, node));
        let inner = inner.filter_map(|node| {
            if step.starts_with('[') {
                return node.get("items");
            }
            let named = node
                .get("properties")
                .and_then(|properties| properties.get(step));
            named.or_else(|| {
                node.get("additionalProperties")
                    .filter(|other| other.is_object())
            })
        });
        nodes = inner.collect();
    }
    let mut objects = nodes
        .into_iter()
        .flat_map(|node| alternatives(root, node))
        .filter(|node| node.get("properties").is_some());
    objects
        .next()
        .unwrap_or_else(|| panic!("the schema has no keys at `{path}`"))
}

fn alternatives<'a>(root: &'a Json, node: &'a Json) -> Vec<&'a Json> {
    if let Some(reference) = node.get("$ref").and_then(Json::as_str) {
        let target = root
            .pointer(reference.trim_start_matches('#'))
            .expect("the reference leads somewhere");
        return alternatives(root, target);
    }
    match node.get("anyOf").and_then(Json::as_array) {
        Some(nodes) => nodes
            .iter()
            .flat_map(|node| alternatives(root, node))
            .collect(),
        None => vec![node],
    }
}

fn every_object(node: &Json, check: &mut dyn FnMut(&Json)) {
    // `properties` may itself be a key's name; its value is then a schema, not a map of schemas.
    if node.get("properties").is_some_and(Json::is_object) && node.get("type").is_some() {
        check(node);
    }
    match node {
        Json::Object(map) => map.values().for_each(|inner| every_object(inner, check)),
        Json::Array(items) => items.iter().for_each(|inner| every_object(inner, check)),
        _ => {}
    }
}
