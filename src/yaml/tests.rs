use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parse(text: &str) -> Document {
    Document::parse("f.yml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn refusal(text: &str) -> String {
    Document::parse("f.yml", text).unwrap_err().to_string()
}

#[test]
fn a_tree_knows_the_place_of_every_key_and_value() {
    let doc = parse("minions:\n  blog:\n    version: 5.130\n    hosts: [a.org, 'b.org']\n");
    let entry = doc.node("minions.blog").unwrap().entry("version").unwrap();
    assert_eq!(entry.key_position, Position { line: 3, column: 5 });
    assert_eq!(
        entry.value.position,
        Position {
            line: 3,
            column: 14
        }
    );
    assert_eq!(entry.value.text, "5.130");
    let place = doc.position("minions.blog.hosts[1]");
    assert_eq!(
        place,
        Some(Position {
            line: 4,
            column: 20
        })
    );
    assert_eq!(doc.position("minions.blog.nothing"), None);
    assert_eq!(doc.position("minions.blog.hosts[2]"), None);
}

#[test]
fn a_byte_order_mark_moves_nothing() {
    assert_eq!(
        parse("\u{feff}a: 1").position("a"),
        Some(Position { line: 1, column: 4 })
    );
}

#[test]
fn columns_count_characters() {
    assert_eq!(
        parse("é: [日本, x]").position("é[1]"),
        Some(Position { line: 1, column: 9 })
    );
}

#[test]
fn scalars_follow_the_core_schema() {
    let doc = parse(
        "{a: on, b: yes, c: true, d: ~, e: 0x1F, f: 1e3, g: '1', h: 0750, i: 12:34, j: , 80: x, k: null, l: ''}",
    );
    let expected = json!({
        "a": "on", "b": "yes", "c": true, "d": null, "e": 31, "f": 1000.0, "g": "1", "h": 750,
        "i": "12:34", "j": null, "80": "x", "k": null, "l": "",
    });
    assert_eq!(doc.root().to_json(), expected);
    assert_eq!(doc.node("h").unwrap().text, "0750");
    assert_eq!(
        parse("a: 18446744073709551615").node("a").unwrap().text,
        "18446744073709551615"
    );
}

#[test]
fn aliases_and_merge_keys_stand_where_they_were_defined() {
    let doc = parse("x-base: &base {x: 1, y: 2}\nc:\n  <<: *base\n  x: 3\nd: *base\n");
    assert_eq!(doc.node("c").unwrap().to_json(), json!({"x": 3, "y": 2}));
    assert_eq!(
        doc.position("c.y"),
        Some(Position {
            line: 1,
            column: 25
        })
    );
    assert_eq!(
        doc.position("d.x"),
        Some(Position {
            line: 1,
            column: 19
        })
    );
}

#[test]
fn what_is_no_configuration_is_refused_in_plain_words() {
    for (text, told) in [
        (
            "a: 1\na: 2",
            "f.yml:2:1: the key `a` is there twice\n  hint: keep one of the two",
        ),
        ("", "f.yml: the file is empty"),
        ("---\n# x\n", "f.yml: the file is empty"),
        (
            "---\na: 1\n---\nb: 1\n",
            "f.yml:3:1: a second document starts here, where one is expected\n  hint: remove the line `---`",
        ),
        (
            "a: !foo x",
            "f.yml:1:9: the tag `!foo` is not supported\n  hint: quote text that starts with `!`",
        ),
        (
            "a: [1, 2",
            "f.yml:1:4: not valid YAML: unclosed bracket '['",
        ),
        (
            "a: b: c",
            "f.yml:1:5: not valid YAML: mapping values are not allowed in this context",
        ),
        (
            "a: *x",
            "f.yml:1:4: this alias (`*name`) has no anchor (`&name`) above it\n  \
             hint: quote text that starts with `*`",
        ),
        (
            "a: &x [*x]",
            "f.yml:1:8: this alias (`*name`) contains itself",
        ),
        (
            "? [a]\n: b",
            "f.yml:1:3: a key must be text, not a list or a mapping",
        ),
        (
            "<<: 1",
            "f.yml:1:5: `<<` takes a mapping, or a list of mappings",
        ),
        (
            "a: .inf",
            "f.yml:1:4: a number without end has no place here\n  hint: quote it if it is text",
        ),
    ] {
        assert_eq!(refusal(text), told);
    }
}

#[test]
fn hostile_files_are_refused_by_what_they_would_cost() {
    let mut laughs = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..10 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(laughs, "a{level}: &a{level} [{inner}]").unwrap();
    }
    let many = "- a\n".repeat(200_000);
    assert!(
        refusal(&laughs).ends_with("the aliases (`*name`) of this file unfold to too much text")
    );
    assert!(refusal(&many).ends_with("the file holds too much for a configuration"));
    for deep in ["[", "{a: ", "- ", "? "] {
        let told = refusal(&deep.repeat(10_000));
        assert!(
            told.ends_with("the file is nested too deeply"),
            "{deep}: {told}"
        );
    }
}

#[test]
fn words_have_places_of_their_own() {
    let doc = parse("a: >-\n  one  two\n  three\n");
    let words: Vec<_> = doc.words(doc.node("a").unwrap());
    let words: Vec<_> = words
        .iter()
        .map(|(p, w)| (p.line, p.column, w.as_str()))
        .collect();
    assert_eq!(words, [(2, 3, "one"), (2, 8, "two"), (3, 3, "three")]);
}

#[test]
fn emission_is_plain_block_style_that_old_readers_understand() {
    let value = json!({"command": ["sh", "-c", "a\nb\n"], "on": "on", "n": "012", "e": {}, "long": "x ".repeat(60)});
    let text = to_yaml(&value);
    let long = "x ".repeat(60);
    assert_eq!(
        text,
        format!(
            "command:\n- sh\n- -c\n- |\n  a\n  b\n\"on\": \"on\"\n\"n\": \"012\"\ne: {{}}\nlong: \"{long}\"\n"
        )
    );
    assert_eq!(parse(&text).root().to_json(), value);
}

#[test]
fn a_reader_collects_every_problem_in_the_order_of_the_text() {
    let doc = parse(
        "port: eighty\nsize: 10 apples\nname: 5\nlist: x\nflag: yes\nwait: 60\nversoin: 1\nx-mine: 1\nnested: {b: 1}\n",
    );
    let reading = Reading::new(doc.file());
    let mut map = reading.root(&doc).map();
    assert_eq!(map.port("port"), None);
    assert_eq!(map.size("size"), None);
    assert_eq!(map.string("name"), None);
    assert!(map.strings("list").is_empty());
    assert_eq!(map.bool("flag"), None);
    assert_eq!(map.duration("wait"), None);
    assert_eq!(map.u64("version"), None);
    let mut nested = map.map("nested").unwrap();
    assert!(nested.require("a").is_none());
    nested.finish();
    map.finish();
    let told = reading.finish(()).unwrap_err().to_string();
    assert_eq!(
        told,
        "f.yml:1:7 port: expected a port number (1 to 65535), found text `eighty`\n\
         f.yml:2:7 size: expected a size such as `512m` or `10G`, found text `10 apples`\n\
         f.yml:3:7 name: expected text, found the number `5`\n  hint: quote it: \"5\"\n\
         f.yml:4:7 list: expected a list, found text `x`\n  hint: write `[x]`\n\
         f.yml:5:7 flag: expected `true` or `false`, found text `yes`\n  hint: write `true`\n\
         f.yml:6:7 wait: expected a duration such as `60s` or `5m`, found the number `60`\n  hint: write the unit: `60s`\n\
         f.yml:7:1 versoin: unknown key `versoin`\n  hint: did you mean `version`?\n\
         f.yml:9:9 nested: the key `a` is missing\n\
         f.yml:9:10 nested.b: unknown key `b`\n  hint: known keys: a"
    );
}

fn json_value() -> impl Strategy<Value = Json> {
    let scalar = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<String>().prop_map(Json::from),
        "[-~:#&*!|>%@`'\" \n\ta0.,{}\\[\\]]{0,12}".prop_map(Json::from),
        prop::sample::select(vec![
            "yes", "No", "on", "y", "~", "null", "0x1", "1_000", "1:30", "=", "<<", ".5", "1e3"
        ])
        .prop_map(Json::from),
    ];
    scalar.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            prop::collection::vec((any::<String>(), inner), 0..5)
                .prop_map(|entries| Json::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_what_is_read(value in json_value()) {
        let text = to_yaml(&value);
        match Document::parse("f.yml", &text) {
            Ok(doc) => prop_assert_eq!(doc.root().to_json(), value, "{}", text),
            Err(problems) => prop_assert!(false, "{problems}\n{text}"),
        }
    }
}
