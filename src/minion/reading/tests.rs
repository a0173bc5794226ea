use proptest::prelude::*;

use super::*;

const HEAD: &str = "name: blog\ntitle: Blog\nsummary: a blog\ncategory: publishing\nwebsite: https://example.org\n";

/// Every key of `minion.yml`.
const FULL: &str = r#"
name: cloud
title: Cloud
summary: files of the team
category: storage
website: https://example.org
version: "31.0.8-apache"
requires: {memory: 512M, disk: 2G, sysctl: {vm.max_map_count: 262144}, https: true}
parameters:
  admin_user: {type: string, default: admin, description: name of the first administrator}
  region: {type: string, optional: true}
  port: {type: integer, default: 587}
  open: {type: boolean, default: false}
  php: {type: choice, choices: ["8.4", "8.3"], default: "8.4"}
  db_password: {type: secret, length: 24}
  root_password: {type: secret}
expose:
  - service: app
    port: 80
    health: /status.php
    max_body: 10G
    stream_uploads: true
    websocket_paths: [/push/]
    auth_paths: [/login]
    overlap: true
databases:
  - service: db
    engine: mariadb
    name: cloud
    user: cloud
    password: db_password
    admin: {user: root, password: root_password}
    uid: 999
    gid: 998
    mode: "0700"
  - {service: old, engine: mongo, name: old, user: old}
volumes:
  - {name: html, uid: 33, gid: 34, mode: 0755}
  - {name: data}
asserts: [{sql: "select count(*) > 0 from users"}, {mongo: "db.users.countDocuments() > 0"}]
quiesce: {service: app, before: [php, occ, --on], after: [php, occ, --off]}
upgrade: {stops: ["30", 31]}
notes: "Sign in at {{ url }}."
"#;

#[test]
fn every_key_finds_its_place() {
    let manifest = parse("minion.yml", FULL).unwrap();
    assert_eq!(manifest.requires.memory, 512 << 20);
    assert_eq!(manifest.requires.sysctl["vm.max_map_count"], "262144");
    assert!(manifest.requires.https);
    assert_eq!(
        manifest.parameters["db_password"].kind,
        ParameterKind::Secret { length: 24 }
    );
    assert_eq!(
        manifest.parameters["root_password"].kind,
        ParameterKind::Secret { length: 32 }
    );
    assert!(manifest.parameters["region"].optional);
    let app = &manifest.expose[0];
    assert_eq!(app.max_body, Some(10 << 30));
    assert!(app.overlap && app.stream_uploads);
    assert_eq!(
        (app.websocket_paths.as_slice(), app.auth_paths.as_slice()),
        (&["/push/".to_owned()][..], &["/login".to_owned()][..])
    );
    let (db, old) = (&manifest.databases[0], &manifest.databases[1]);
    assert_eq!(db.engine, DatabaseEngine::Mariadb);
    assert_eq!(
        db.admin,
        Some(("root".to_owned(), "root_password".to_owned()))
    );
    assert_eq!((db.uid, db.gid, db.mode), (999, 998, 0o700));
    assert_eq!(
        (old.password.as_deref(), old.uid, old.mode),
        (None, 999, 0o700)
    );
    assert_eq!(
        (manifest.volumes[0].gid, manifest.volumes[0].mode),
        (34, 0o755)
    );
    assert_eq!(
        (manifest.volumes[1].uid, manifest.volumes[1].mode),
        (0, 0o750)
    );
    assert_eq!(manifest.asserts.len(), 2);
    assert_eq!(manifest.upgrade_stops, ["30", "31"]);
    assert_eq!(manifest.quiesce.unwrap().after, ["php", "occ", "--off"]);
}

#[test]
fn every_mistake_is_told_in_one_go() {
    let text = format!(
        "{HEAD}{}",
        r#"version: latest
parametres: {}
parameters:
  Bad-Name: {type: string, default: x}
  url: {type: string, default: x}
  env_x: {type: string, default: x}
  a: {type: text}
  b: {type: integer, default: many, length: 3}
  c: {type: choice, default: x}
  d: {type: choice, choices: [x, y], default: z}
  e: {type: secret, default: hunter2}
  f: {type: string, default: x, optional: true}
  g: {type: secret, length: 4}
expose:
  - {service: app, port: 0, health: status.php, max_body: lots}
  - {port: 80, websocket_paths: ["/a;b"]}
databases:
  - {service: db, engine: sqlite, name: n, user: u, password: a}
  - {service: db, engine: mysql, name: n, user: u, password: f, admin: {user: root}}
  - {service: db, engine: mysql, name: n, user: u, mode: "0888", uid: -1, password: zz}
volumes:
  - {name: html, mode: rwx}
  - {name: data}
  - {name: data}
asserts: [{sq: x}]
quiesce: {service: app, before: [x]}
"#
    );
    insta::assert_snapshot!(parse("minion.yml", &text).unwrap_err().to_string());
}

/// A host name leads to one service: the route of a second one would silently be missing.
#[test]
fn one_service_is_exposed() {
    let text = |expose: &str| format!("{HEAD}version: 1.30\nexpose: [{expose}]\n");
    let one = parse("minion.yml", &text("{service: talk, port: 8080}")).unwrap();
    let talk = &one.expose[0];
    assert_eq!(
        (talk.port, talk.health.as_str(), talk.max_body),
        (8080, "/", None)
    );
    let two = text("{service: app, port: 80}, {service: talk, port: 8080}");
    assert_eq!(
        parse("minion.yml", &two).unwrap_err().to_string(),
        "minion.yml:7:36 expose[1]: a minion exposes one service, and there is one before this\n  \
         hint: let that one serve both, or make the other a minion of its own"
    );
}

#[test]
fn a_moving_tag_is_no_default() {
    for tag in ["latest", "stable", "\"16\"", "8-alpine"] {
        let told = parse("minion.yml", &format!("{HEAD}version: {tag}\n"))
            .unwrap_err()
            .to_string();
        assert!(told.contains("moves"), "{told}");
    }
    assert!(parse("minion.yml", &format!("{HEAD}version: 1.30\n")).is_ok());
}

#[test]
fn the_schema_knows_the_same_keys() {
    let document = Document::parse("minion.yml", FULL).unwrap();
    let reading = Reading::new("minion.yml");
    manifest(&reading.root(&document)).unwrap();
    crate::yaml::agreement::assert_agreement(crate::minion::schema(), &reading.known_keys());
    let schema: Json = serde_json::from_str(crate::minion::schema()).unwrap();
    assert_eq!(
        schema["properties"]["category"]["enum"],
        Json::from(CATEGORIES.to_vec())
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_change_to_a_good_file_makes_it_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, "[-a-z0-9:{}\\[\\]*&!|>'\"#\n ~é]{0,4}"), 1..6)
    ) {
        let mut text: Vec<char> = FULL.chars().collect();
        for (place, length, new) in cuts {
            let start = place.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, new.chars());
        }
        let _ = parse("minion.yml", &text.into_iter().collect::<String>());
    }
}
