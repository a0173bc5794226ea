//! What is written is read back, whatever the texts are; no text makes the reader panic.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use summoner::compose::{
    Condition, Healthcheck, Logging, Mount, Network, Port, Project, Service, Source, Volume,
};

use crate::variables;

const NASTY: &[&str] = &[
    "",
    " ",
    "no",
    "yes",
    "on",
    "off",
    "y",
    "N",
    "true",
    "False",
    "null",
    "~",
    "1e3",
    "012",
    "0o14",
    "0x1f",
    "1_000",
    ".5",
    "5.",
    ".inf",
    ".nan",
    "-",
    "- a",
    "-1",
    "+1",
    "12:34:56",
    "2026-01-01",
    "2026-01-01T00:00:00Z",
    ": ",
    ":",
    "a: b",
    "a:",
    "#",
    " #",
    "a #b",
    "'",
    "\"",
    "'a'",
    "\"a\"",
    "\\",
    "\\n",
    "a\nb",
    "a\n",
    "\na",
    "a\n\n",
    "a\n b\n",
    " a\nb",
    "\ta",
    "a\t",
    "trailing  ",
    "  leading",
    "a\r\nb",
    "\r",
    "é",
    "日本語",
    "🔑",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{feff}",
    "\u{1}",
    "\u{7f}",
    "\u{200b}",
    "*a",
    "&a",
    "!a",
    "!!str a",
    "|",
    ">",
    "%a",
    "@a",
    "`a`",
    "[a]",
    "{a: b}",
    "a,b",
    "a]",
    "?",
    "? a",
    "---",
    "...",
    "--- a",
    "=",
    "<<",
    "{{ x }}",
    "$$",
    "$${A}",
    "${A}",
    "${A:-b c}",
    "0",
    "-0",
    "0.0",
];

fn nasty_project(text: &str) -> Project {
    let pair = || BTreeMap::from([("KEY".to_owned(), text.to_owned())]);
    let service = Service {
        image: "i:1".to_owned(),
        container_name: Some(text.to_owned()),
        command: Some(vec![text.to_owned(), "x".to_owned(), text.to_owned()]),
        entrypoint: Some(vec![text.to_owned()]),
        environment: pair(),
        labels: BTreeMap::from([(text.to_owned(), text.to_owned())]),
        user: Some(text.to_owned()),
        volumes: vec![Mount {
            source: Source::Bind(format!("/{text}")),
            target: format!("/{text}"),
            read_only: true,
        }],
        networks: BTreeMap::from([("default".to_owned(), vec![text.to_owned()])]),
        logging: Some(Logging {
            driver: text.to_owned(),
            options: pair(),
        }),
        healthcheck: Some(Healthcheck {
            test: vec!["CMD".to_owned(), text.to_owned()],
            ..Healthcheck::default()
        }),
        security_opt: vec![text.to_owned()],
        ..Service::default()
    };
    Project {
        services: BTreeMap::from([("s".to_owned(), service)]),
        ..Project::default()
    }
}

#[test]
fn nasty_texts_survive() {
    for text in NASTY {
        let project = nasty_project(text);
        let yaml = project.to_yaml();
        let back = Project::parse("c.yml", &yaml, None)
            .unwrap_or_else(|p| panic!("{text:?}\n{yaml}\n{p}"));
        assert_eq!(back, project, "{text:?}\n{yaml}");
    }
}

#[test]
fn a_file_says_the_long_forms_in_a_fixed_order() {
    let project = Project::parse(
        "c.yml",
        "services:\n  web:\n    labels: [b=2, a=1]\n    command: run --fast\n    ports: [\"8080:80\"]\n    volumes: [./a:/b:ro]\n    \
         healthcheck: {test: wget x, interval: 90s}\n    depends_on: [db]\n    mem_limit: 512m\n    cpus: 2\n    image: i:1\n  db: {image: d:1, restart: no}\n",
        None,
    )
    .unwrap();
    insta::assert_snapshot!(project.to_yaml(), @r#"
    services:
      db:
        image: d:1
        restart: "no"
      web:
        image: i:1
        command:
        - run
        - --fast
        volumes:
        - type: bind
          source: ./a
          target: /b
          read_only: true
        ports:
        - target: 80
          published: "8080"
          protocol: tcp
        depends_on:
          db:
            condition: service_started
        healthcheck:
          test:
          - CMD-SHELL
          - wget x
          interval: 1m30s
        mem_limit: 536870912
        cpus: 2.0
        labels:
          a: "1"
          b: "2"
    "#);
}

/// Any text without a `$`, and some with a variable.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[^$]{0,12}",
        2 => prop::sample::select(NASTY).prop_map(str::to_owned),
        1 => "[a-z \"':]{0,5}".prop_map(|t| format!("{t}${{NAME:-{t}}}$${t}")),
    ]
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9][a-zA-Z0-9._-]{0,8}"
}

fn dictionary() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(text(), text(), 0..3)
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0_u64..1_000_000).prop_map(Duration::from_secs),
        (0_u64..u64::MAX / 2).prop_map(Duration::from_nanos)
    ]
}

fn mount() -> impl Strategy<Value = Mount> {
    let source = prop_oneof![
        "[^$~]{1,9}".prop_map(Source::Bind),
        Just(Source::Volume("data".to_owned()))
    ];
    (source, "/[^$]{0,9}", any::<bool>()).prop_map(|(source, target, read_only)| Mount {
        source,
        target,
        read_only,
    })
}

fn port() -> impl Strategy<Value = Port> {
    (
        prop::sample::select(vec!["", "127.0.0.1", "::1"]),
        1_u16..,
        1_u16..,
        prop::sample::select(vec!["tcp", "udp"]),
    )
        .prop_map(|(address, host, container, protocol)| Port {
            address: address.to_owned(),
            host,
            container,
            protocol: protocol.to_owned(),
        })
}

fn healthcheck() -> impl Strategy<Value = Healthcheck> {
    let test = prop_oneof![
        Just(Vec::new()),
        Just(vec!["NONE".to_owned()]),
        vec(text(), 1..3).prop_map(|mut words| {
            words.insert(0, "CMD".to_owned());
            words
        }),
    ];
    (
        test,
        of(duration()),
        of(duration()),
        of(0_i64..),
        of(duration()),
        of(duration()),
    )
        .prop_map(
            |(test, interval, timeout, retries, start_period, start_interval)| Healthcheck {
                test,
                interval,
                timeout,
                retries,
                start_period,
                start_interval,
            },
        )
}

/// The first of those that have the same key.
fn distinct<T, K: Ord>(items: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = std::collections::BTreeSet::new();
    items
        .into_iter()
        .filter(|item| seen.insert(key(item)))
        .collect()
}

fn service() -> impl Strategy<Value = Service> {
    let words = || of(vec(text(), 0..3));
    let one = (
        "[^$\\s]{1,9}",
        of(text()),
        of(text()),
        words(),
        words(),
        dictionary(),
        dictionary(),
        vec(mount(), 0..3),
        vec(port(), 0..3),
    );
    let two = (
        vec(1_u16.., 0..3),
        btree_map(
            prop::sample::select(vec!["default".to_owned(), "edge".to_owned()]),
            vec(text(), 0..2),
            0..2,
        ),
        of(healthcheck()),
        of(
            prop::sample::select(vec!["no", "always", "on-failure:7", "unless-stopped"])
                .prop_map(str::to_owned),
        ),
        of(any::<bool>()),
        of(text()),
        of(text()),
        of(any::<u64>()),
        of((1_u32..1_000_000).prop_map(|n| f64::from(n) / 1000.0)),
    );
    let three = (
        of(any::<i64>()),
        of(any::<u64>()),
        btree_map("/[^$:]{0,9}", "[^$]{0,9}", 0..2),
        vec(text(), 0..2),
        any::<bool>(),
        btree_map(text(), (any::<i64>(), any::<i64>()), 0..2),
        dictionary(),
        of(duration()),
        vec("[^$:=]{1,9}:[^$=]{0,9}", 0..2),
        of((text(), dictionary()).prop_map(|(driver, options)| Logging { driver, options })),
    );
    (one, two, three).prop_map(|(one, two, three)| Service {
        image: one.0,
        container_name: one.1.clone(),
        hostname: one.1,
        working_dir: one.2.clone(),
        stop_signal: one.2,
        command: one.3,
        entrypoint: one.4,
        environment: one.5,
        labels: one.6,
        volumes: distinct(one.7, |mount| mount.target.clone()),
        ports: distinct(one.8, |port| port.host),
        expose: two.0,
        networks: two.1,
        depends_on: BTreeMap::new(),
        healthcheck: two.2,
        restart: two.3,
        init: two.4,
        user: two.5.or(two.6),
        mem_limit: two.7,
        cpus: two.8,
        pids_limit: three.0,
        shm_size: three.1,
        // Apart from every mount.
        tmpfs: three
            .2
            .into_iter()
            .map(|(path, options)| (format!("/tmpfs{path}"), options))
            .collect(),
        cap_add: three.3.clone(),
        cap_drop: three.3.clone(),
        security_opt: three.3,
        read_only: three.4,
        ulimits: three.5,
        sysctls: three.6,
        stop_grace_period: three.7,
        external_links: three.8.clone(),
        extra_hosts: three.8,
        logging: three.9,
    })
}

/// Services that wait only for those before them, so that there is no circle.
fn project() -> impl Strategy<Value = Project> {
    let conditions = prop::sample::select(vec![
        Condition::Started,
        Condition::Healthy,
        Condition::Completed,
    ]);
    let services = btree_map(
        name(),
        (
            service(),
            vec((any::<prop::sample::Index>(), conditions), 0..3),
        ),
        0..4,
    );
    (of("[a-z0-9][a-z0-9_-]{0,9}"), services, of(text())).prop_map(
        |(project_name, services, other)| {
            let names: Vec<String> = services.keys().cloned().collect();
            let services =
                services
                    .into_iter()
                    .enumerate()
                    .map(|(i, (name, (mut service, waits)))| {
                        for (index, condition) in waits {
                            if i > 0 {
                                service
                                    .depends_on
                                    .insert(names[index.index(i)].clone(), condition);
                            }
                        }
                        (name, service)
                    });
            let services = services.collect();
            let external = other.is_some();
            let edge = Network {
                name: other.clone(),
                external,
                internal: !external,
            };
            Project {
                name: project_name,
                services,
                networks: BTreeMap::from([("edge".to_owned(), edge)]),
                volumes: BTreeMap::from([(
                    "data".to_owned(),
                    Volume {
                        name: other,
                        external,
                    },
                )]),
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(project in project()) {
        let yaml = project.to_yaml();
        match Project::parse("c.yml", &yaml, None) {
            Ok(back) => prop_assert_eq!(back, project, "{}", yaml),
            Err(problems) => prop_assert!(false, "{}\n{}", yaml, problems),
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,80}", key in "[a-z_]{1,12}") {
        let vars = variables(&[("A", "a")]);
        let _ = Project::parse("c.yml", &text, Some(&vars));
        let quoted = serde_json::Value::String(text).to_string();
        for key in ["command", "volumes", "ports", "environment", "healthcheck", "mem_limit", "extra_hosts", "tmpfs", &key] {
            for value in [quoted.clone(), format!("[{quoted}]"), format!("{{{quoted}: {quoted}}}")] {
                let file = format!("services: {{web: {{image: i, {key}: {value}}}}}");
                let _ = Project::parse("c.yml", &file, Some(&vars));
                let _ = Project::parse("c.yml", &file, None);
            }
        }
    }
}
