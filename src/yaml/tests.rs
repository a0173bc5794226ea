use super::*;

fn parse(text: &str) -> Document {
    Document::parse("f.yml", text).unwrap_or_else(|p| panic!("{p}"))
}

fn refuse(text: &str) -> String {
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
    assert_eq!(
        doc.position("minions.blog.hosts[1]"),
        Some(Position {
            line: 4,
            column: 20
        })
    );
    assert_eq!(doc.position("minions.blog.nothing"), None);
}
#[test]
fn scalars_follow_the_core_schema() {
    let doc = parse(
        "{a: on, b: yes, c: true, d: ~, e: 0x1F, f: 1e3, g: '1', h: 0750, i: 12:34, j: , 80: x}",
    );
    let json = doc.root().to_json();
    let h = doc.node("h").unwrap();
    assert_eq!(h.text, "0750");
    assert_eq!(
        json.to_string(),
        r#"{"a":"on","b":"yes","c":true,"d":null,"e":31,"f":1000.0,"g":"1","h":750,"i":"12:34","j":null,"80":"x"}"#
    );
}

#[test]
fn probe() {
    for t in [
        "a: 1\na: 2",
        "",
        "# x\n",
        "---\na: 1\n---\nb: 1\n",
        "a: !foo x",
        "a: [1, 2",
        "a: b: c",
        "\ta: 1",
        "a: *x",
        "a: &x [*x]",
        "? [a]\n: b",
        "base: &b {x: 1, y: 2}\nc:\n  <<: *b\n  x: 3\n",
        "a: \"x",
        "{a: 1",
        "a: .inf",
        "a: !!int x",
        "a: !!binary x",
        "<<: 1",
        "~: 1",
    ] {
        match Document::parse("f.yml", t) {
            Ok(d) => println!("{t:?} -> {}", d.root().to_json()),
            Err(e) => println!("{t:?} -> {e}"),
        }
    }
    let mut bomb = String::from("a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol,lol]\n");
    for i in 1..10 {
        bomb += &format!(
            "a{i}: &a{i} [{}]\n",
            vec![format!("*a{}", i - 1); 10].join(",")
        );
    }
    let t = std::time::Instant::now();
    println!("{}", refuse(&bomb));
    println!("{:?}", t.elapsed());
    println!(
        "{}",
        to_yaml(
            &serde_json::json!({"a": "x\ny\n", "b": "on", "c": ["1", {"d": []}], "e": "a ".repeat(80), "f": {}, "g": "\t x"})
        )
    );
    println!("{}", refuse(&"[".repeat(10000)));
    println!("{}", refuse(&"- ".repeat(10000)));
}
