use super::*;
use crate::yaml::agreement::assert_agreement;

/// All keys that are read anywhere in `text`.
fn known_keys(text: &str) -> Vec<(String, Vec<&'static str>)> {
    let document = Document::parse("config.yml", text).unwrap();
    let reading = Reading::new("config.yml");
    let lookup = Lookup::fixed("/home/ada", &[]);
    let root = Path::new("/srv/acme");
    let context = resolve::Context {
        file: root,
        root,
        lookup: &lookup,
        minions: &[],
    };
    let file = file::read(&reading, &document);
    let _ = resolve::resolve(&reading, &document, &file, &context);
    reading.known_keys()
}

#[test]
fn the_schema_knows_the_same_keys() {
    let mut known = known_keys(include_str!("../../tests/fixtures/config/full.yml"));
    // `files` and `acme` exclude each other: no one file has both.
    known.extend(known_keys(
        "summoner: {domain: a.org}\nproxy: {tls: {acme: {directory: 'https://ca.example.org/'}}}",
    ));
    known.extend(known_keys(
        "summoner: {domain: a.org}\ndestinations: {d: {dir: ., encryption: {passphrase: {env: P}}}}",
    ));
    assert_agreement(schema(), &known);
}

#[test]
fn the_schema_knows_the_same_words() {
    let schema: serde_json::Value = serde_json::from_str(schema()).unwrap();
    let words = |pointer: &str| -> Vec<String> {
        let list = schema
            .pointer(pointer)
            .and_then(serde_json::Value::as_array);
        let text = |word: &serde_json::Value| match word.get("required") {
            Some(required) => required[0].as_str().map(str::to_owned),
            None => word.as_str().map(str::to_owned),
        };
        list.expect("a list").iter().filter_map(text).collect()
    };
    let notify = "/properties/notify/items";
    assert_eq!(
        words(&format!("{notify}/properties/on/items/enum")),
        notify::EVENTS
    );
    assert_eq!(words(&format!("{notify}/oneOf")), notify::CHANNELS);
    assert_eq!(
        words("/properties/proxy/properties/tls/anyOf/0/enum"),
        proxy::MODES
    );
}
