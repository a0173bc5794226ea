//! `config.yml` as users write it: right, wrong, and hostile.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use summoner::config::environment::{SettingValue, Tls};
use summoner::config::{self, Environment, Lookup};
use summoner::minion::Catalog;
use summoner::problem::Problems;

const FIXTURES: &str = "tests/fixtures/config";

fn lookup() -> Lookup {
    Lookup::fixed("/home/ada", &[("BLOG_TOKEN", "t0ken")])
}

fn load(name: &str) -> Result<Environment, Problems> {
    let catalog = Catalog::open(None);
    config::load_with(&Path::new(FIXTURES).join(name), &catalog.names(), &lookup())
}

fn parse(text: &str) -> Result<Environment, Problems> {
    let minions = ["ghost", "mediawiki", "nextcloud", "static", "wordpress"];
    config::parse(Path::new("/srv/acme/config.yml"), text, &minions, &lookup())
}

fn told(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn the_founding_file_works() {
    let environment = load("founding.yml").unwrap();
    assert_eq!(environment.vsroot, Path::new("/home/ada/Summoner/data"));
    assert_eq!(
        environment.dbsroot,
        Path::new("/home/ada/Summoner/data/database")
    );
    let names: Vec<_> = environment
        .instances
        .iter()
        .map(|i| (i.name.as_str(), i.hosts.join(" ")))
        .collect();
    assert_eq!(
        names,
        [
            ("ghost", "ghost.virtualdonkey.fr".to_owned()),
            ("nextcloud", "nextcloud.virtualdonkey.fr".to_owned()),
            ("wekan", "wekan.virtualdonkey.fr".to_owned())
        ]
    );
    assert!(
        environment.warnings.is_empty(),
        "{:?}",
        environment.warnings
    );
}

#[test]
fn a_minion_that_is_not_there_yet_is_a_warning_in_the_short_form() {
    let environment =
        parse("summoner:\n  domain: a.org\n  applications: ghost wekan nextcloud\n").unwrap();
    let names: Vec<_> = environment.instances.iter().map(|i| &i.name).collect();
    assert_eq!(names, ["ghost", "nextcloud"]);
    let warnings: Vec<_> = environment
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        warnings,
        [
            "/srv/acme/config.yml:3:23 summoner.applications: there is no minion `wekan` yet\n  \
          hint: type `summoner minion list` to see what there is"
        ]
    );
}

#[test]
fn every_key_finds_its_place() {
    let environment = load("full.yml").unwrap();
    let root = std::env::current_dir().unwrap().join(FIXTURES);
    assert_eq!(environment.root, root);
    assert_eq!(
        (environment.project.as_str(), environment.domain.as_str()),
        ("acme", "example.org")
    );
    assert_eq!(environment.dbsroot, root.join("data/database"));
    assert_eq!(environment.subnets, ["10.99.0.0/16"]);
    assert_eq!(environment.timezone, "Europe/Paris");
    assert!(
        environment.warnings.is_empty(),
        "{:?}",
        environment.warnings
    );

    let names: Vec<_> = environment
        .instances
        .iter()
        .map(|i| (i.name.as_str(), i.minion.as_str(), i.explicit))
        .collect();
    assert_eq!(
        names,
        [
            ("blog", "ghost", true),
            ("wiki", "mediawiki", true),
            ("nextcloud", "nextcloud", false)
        ]
    );
    let blog = &environment.instances[0];
    assert_eq!(blog.hosts, ["news.example.org"]);
    assert_eq!(blog.version.as_deref(), Some("5.130.0"));
    assert_eq!(
        (blog.memory, blog.cpus, blog.protect),
        (Some(512 << 20), Some(0.5), true)
    );
    assert!(matches!(
        blog.set["db_password"].value,
        SettingValue::Generate(48)
    ));
    assert!(matches!(&blog.env["RATIO"].value, SettingValue::Plain(text) if text == "1.50"));
    assert!(matches!(&blog.env["TOKEN"].value, SettingValue::Secret(s) if s.expose() == "t0ken"));
    let wiki = &environment.instances[1];
    assert_eq!(wiki.hosts, ["wiki.example.org", "www.wiki.example.net"]);
    assert!(
        matches!(&wiki.set["admin_password"].value, SettingValue::Secret(s) if s.expose() == "from a file")
    );

    let proxy = &environment.proxy;
    assert_eq!((proxy.http_port, proxy.https_port), (8080, 8443));
    assert_eq!(proxy.trusted_proxies, ["10.0.0.0/8", "::1"]);
    let (certificate, key) = (root.join("tls/full.pem"), PathBuf::from("/etc/tls/key.pem"));
    assert_eq!(proxy.tls, Tls::Files { certificate, key });
    let names: Vec<_> = environment
        .destinations
        .iter()
        .map(|d| d.name.as_str())
        .collect();
    assert_eq!(names, ["disk", "offsite", "mirror"]);
    assert!(environment.backup.asked && environment.notify);
    // An instance's own settings stand over those of the project.
    assert_eq!(environment.backup.to, ["disk", "offsite"]);
}

#[test]
fn the_example_works_as_it_is() {
    let catalog = Catalog::open(None);
    let environment = config::load(Path::new("config.example.yml"), &catalog.names()).unwrap();
    assert_eq!(environment.instances.len(), 3);
    assert!(environment.warnings.is_empty());
}

#[test]
fn every_mistake_is_told_in_one_go() {
    insta::assert_snapshot!(load("mistakes.yml").unwrap_err().to_string());
}

#[test]
fn defaults_are_filled_in() {
    let environment = parse("summoner: {domain: localhost, applications: ghost static}").unwrap();
    assert_eq!(environment.project, "localhost");
    assert_eq!(environment.vsroot, Path::new("/srv/acme/data"));
    assert_eq!(environment.dbsroot, Path::new("/srv/acme/data/database"));
    assert_eq!(environment.timezone, "UTC");
    assert_eq!(environment.subnets, ["10.210.0.0/16", "172.28.0.0/14"]);
    assert_eq!(
        environment.proxy,
        summoner::config::environment::Proxy::default()
    );
    assert_eq!(environment.proxy.image, "nginx:1.30.6");
    assert_eq!(environment.instances.len(), 2);
}

#[test]
fn what_blocks_share_is_written_once() {
    let environment = parse(
        "x-small: &small {resources: {memory: 64m}}\n\
         summoner: {domain: a.org}\n\
         minions:\n  x-safe: &safe {protect: true}\n  ghost:\n    <<: [*small, *safe]\n",
    )
    .unwrap();
    let ghost = &environment.instances[0];
    assert_eq!(
        (environment.instances.len(), ghost.memory, ghost.protect),
        (1, Some(64 << 20), true)
    );
}

#[test]
fn secrets_that_cannot_be_read_are_told_without_their_text() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    let text = "summoner: {domain: a.org}\nminions:\n  ghost:\n    set: {a: {file: empty}, b: {file: none}, c: {env: NO}}\n";
    let path = folder.path().join("config.yml");
    let told = config::parse(&path, text, &["ghost"], &lookup())
        .unwrap_err()
        .to_string();
    let told = told.replace(&format!("{}/", folder.path().display()), "");
    assert_eq!(
        told,
        "config.yml:4:21 minions.ghost.set.a.file: `empty` is empty\n\
         config.yml:4:39 minions.ghost.set.b.file: failed to read `none`: No such file or directory (os error 2)\n\
         config.yml:4:55 minions.ghost.set.c.env: the environment variable `NO` is not set\n  hint: export NO=…"
    );
}

#[test]
fn words_of_the_short_form_stand_where_they_were_written() {
    let place = |text: &str| {
        let warning = parse(text).unwrap().warnings.remove(0);
        let position = warning.position.unwrap();
        (position.line, position.column)
    };
    assert_eq!(
        place("summoner:\n  domain: a.org\n  applications: ghost  wekan"),
        (3, 24)
    );
    assert_eq!(
        place("summoner:\n  domain: a.org\n  applications: \"ghost wekan\""),
        (3, 24)
    );
    assert_eq!(
        place("summoner:\n  domain: a.org\n  applications: >-\n    ghost\n    wekan\n"),
        (5, 5)
    );
    assert_eq!(
        place("summoner:\n  domain: a.org\n  applications:\n  - wekan\n"),
        (4, 5)
    );
    assert_eq!(
        place("summoner:\n  domain: a.org\n  applications: ghost\n    wekan\n"),
        (4, 5)
    );
}

#[test]
fn tls_has_its_forms() {
    let tls = |value: &str| {
        parse(&format!(
            "summoner: {{domain: a.org}}\nproxy: {{tls: {value}}}"
        ))
        .map(|e| e.proxy.tls)
    };
    for (value, meant) in [
        ("auto", Tls::Auto),
        ("letsencrypt", Tls::LetsEncrypt),
        ("staging", Tls::Staging),
        ("internal", Tls::Internal),
        ("off", Tls::Off),
        ("false", Tls::Off),
    ] {
        assert_eq!(tls(value), Ok(meant));
    }
    let acme = Tls::Acme {
        directory: "https://ca.example.org/dir".to_owned(),
        ca_file: Some("/srv/acme/ca.pem".into()),
    };
    assert_eq!(
        tls("{acme: {directory: 'https://ca.example.org/dir', ca_file: ca.pem}}"),
        Ok(acme)
    );
    assert!(
        tls("{files: {certificate: a.pem}}")
            .unwrap_err()
            .to_string()
            .ends_with("the key `key` is missing")
    );
    assert!(tls("{}").is_err());
    assert!(tls("true").is_err());
}

#[test]
fn data_of_two_kinds_never_share_a_folder() {
    let roots = |vsroot: &str, dbsroot: &str| {
        parse(&format!(
            "summoner: {{domain: a.org, vsroot: {vsroot}, dbsroot: {dbsroot}, applications: ghost}}"
        ))
        .is_ok()
    };
    assert!(roots("./data", "./data/database"));
    assert!(roots("./data", "./databases"));
    assert!(!roots("./data", "./data/"));
    assert!(!roots("./data/a/../b", "./data"));
    assert!(!roots("./data", "./data/ghost/db"));
    assert!(!roots("/", "/db"));
    // Our own folder is no place for what must not be lost.
    assert!(roots("./.summoner-data", "./database"));
    assert!(!roots("./.summoner", "./database"));
    assert!(!roots("./data", "./data/../.summoner/build"));
    assert_eq!(
        told("summoner: {domain: a.org, vsroot: .summoner/data, applications: ghost}"),
        "/srv/acme/config.yml:1:35 summoner.vsroot: `.summoner` is summoner's own folder, where it removes what it does not need any more\n  \
         hint: keep data beside it, such as in `./data`"
    );
}

#[test]
fn whole_files_that_are_wrong_say_so_once() {
    assert_eq!(told(""), "/srv/acme/config.yml: the file is empty");
    assert_eq!(
        told("# nothing\n"),
        "/srv/acme/config.yml: the file is empty"
    );
    assert_eq!(
        told("- a\n"),
        "/srv/acme/config.yml:1:1: expected a mapping, found a list"
    );
    assert_eq!(
        told("summoner: {}"),
        "/srv/acme/config.yml:1:11 summoner: the key `domain` is missing"
    );
    assert_eq!(
        told("a: [1"),
        "/srv/acme/config.yml:1:4: not valid YAML: unclosed bracket '['"
    );
    let missing = config::load(Path::new("nowhere/config.yml"), &[])
        .unwrap_err()
        .to_string();
    assert!(
        missing.starts_with("nowhere/config.yml: there is no such file"),
        "{missing}"
    );
}

#[test]
fn ten_to_the_ninth_laughs_are_refused_at_once() {
    let mut text = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..10 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(text, "a{level}: &a{level} [{inner}]").unwrap();
    }
    let start = Instant::now();
    assert!(told(&text).contains("aliases"), "{}", told(&text));
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}

/// YAML of any shape, with keys that often mean something.
fn yaml() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Map, Value};
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z0-9./:~-]{0,12}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        proptest::sample::select(vec![
            "summoner",
            "minions",
            "proxy",
            "destinations",
            "backup",
            "notify",
            "domain",
            "name",
            "vsroot",
            "dbsroot",
            "applications",
            "subnets",
            "use",
            "hosts",
            "subdomain",
            "set",
            "env",
            "file",
            "generate",
            "version",
            "resources",
            "memory",
            "cpus",
            "compose",
            "tls",
            "files",
            "acme",
            "dir",
            "s3",
            "to",
            "on",
            "dump",
            "keep",
            "schedule",
            "email",
            "command",
            "nginx",
            "timezone",
            "http_port",
            "trusted_proxies",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    scalar.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..8)
                .prop_map(|entries| Value::from(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = parse(&text);
    }

    #[test]
    fn no_yaml_makes_it_panic(value in yaml()) {
        let _ = parse(&summoner::yaml::to_yaml(&value));
    }

    #[test]
    fn no_change_to_a_good_file_makes_it_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, "[-a-z0-9:{}\\[\\]*&!|>'\"#\n ~é]{0,4}"), 1..6)
    ) {
        let mut text: Vec<char> = include_str!("fixtures/config/full.yml").chars().collect();
        for (place, length, new) in cuts {
            let start = place.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, new.chars());
        }
        let _ = parse(&text.into_iter().collect::<String>());
    }

    #[test]
    fn problems_have_one_line_and_a_place(value in yaml()) {
        if let Err(problems) = parse(&summoner::yaml::to_yaml(&value)) {
            prop_assert!(!problems.0.is_empty());
            for problem in problems.0 {
                prop_assert!(!problem.message.contains('\n'), "{}", problem.message);
            }
        }
    }
}

#[test]
fn settings_of_s3_that_contradict_each_other_are_told() {
    let read = |s3: &str| {
        let text = format!(
            "summoner: {{domain: a.org}}\ndestinations: {{d: {{s3: {{bucket: b, {s3}}}}}}}\n"
        );
        let lookup = Lookup::fixed("/home/ada", &[]);
        let catalog = summoner::minion::Catalog::open(None);
        config::parse(
            Path::new("/srv/config.yml"),
            &text,
            &catalog.names(),
            &lookup,
        )
    };
    for (s3, told) in [
        (
            "access_key_id: a, secret_access_key: b, profile: c",
            "exclude each other",
        ),
        ("sse_kms_key_id: a", "is for `sse: aws:kms`"),
        ("sse: AES256, sse_kms_key_id: a", "is for `sse: aws:kms`"),
        ("sse: aes", "AES256"),
        (
            "object_lock: {mode: governance, days: 3}, checksums: off",
            "needs checksums",
        ),
        ("object_lock: {mode: governance, days: 0}", "1 to 36500"),
        ("object_lock: {mode: governance}", "days"),
        ("storage_class: standard-ia", "STANDARD_IA"),
        ("checksums: maybe", "auto"),
    ] {
        let problems = read(s3).expect_err(s3).to_string();
        assert!(problems.contains(told), "{s3}: {problems}");
    }
    for s3 in [
        "checksums: on",
        "object_lock: {mode: compliance, days: 3}",
        "sse: aws:kms",
        "profile: p, storage_class: GLACIER_IR",
    ] {
        if let Err(problems) = read(s3) {
            panic!("{s3}: {problems}");
        }
    }
}
