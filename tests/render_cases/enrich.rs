//! What is added to every service.

use std::collections::BTreeMap;

use summoner::render::{self, Names};

use crate::{CONFIG, Case, MANIFEST};

#[test]
fn a_whole_minion() {
    insta::assert_snapshot!(Case::new().enriched().to_yaml());
}

#[test]
fn the_user_has_the_last_word_on_the_main_service() {
    let case = Case::with(
        "blog: {use: notes, env: {TITLE: mine, TZ: UTC, EXTRA: 'a$b'}, resources: {memory: 1g, cpus: 1.5}}",
    );
    let project = case.resolved();
    let (app, db) = (&project.services["app"], &project.services["db"]);
    assert_eq!((app.mem_limit, app.cpus), (Some(1 << 30), Some(1.5)));
    assert_eq!((db.mem_limit, db.cpus), (Some(256 << 20), None));
    assert_eq!(
        (
            app.environment["TITLE"].as_str(),
            app.environment["EXTRA"].as_str()
        ),
        ("mine", "a$b")
    );
    assert_eq!(
        (
            app.environment["TZ"].as_str(),
            db.environment["TZ"].as_str()
        ),
        ("UTC", "Europe/Paris")
    );
}

#[test]
fn what_a_template_says_itself_stays() {
    let template = "services:\n  app:\n    image: i:1\n    restart: always\n    hostname: h\n    logging: {driver: journald}\n    environment: {TZ: Asia/Tokyo}\n";
    let project = Case::template(template).enriched();
    let app = &project.services["app"];
    assert_eq!(
        (app.restart.as_deref(), app.hostname.as_deref()),
        (Some("always"), Some("h"))
    );
    assert_eq!(app.logging.as_ref().unwrap().driver, "journald");
    assert_eq!(app.environment["TZ"], "Asia/Tokyo");
}

/// The sample's manifest without these keys.
fn without(keys: &[&str]) -> String {
    let starts = |line: &str| {
        keys.iter().any(|key| {
            line.strip_prefix(key)
                .is_some_and(|rest| rest.starts_with(':'))
        })
    };
    MANIFEST
        .lines()
        .filter(|line| !starts(line))
        .fold(String::new(), |text, line| text + line + "\n")
}

/// Names of the containers of a minion with these services and lines of its manifest.
fn names(services: &[&str], manifest: &str) -> BTreeMap<String, String> {
    let base = without(&["expose", "databases", "notes"]);
    let services = services.iter().fold(String::new(), |text, service| {
        text + "  " + service + ": {image: \"i:1\"}\n"
    });
    let config = format!("{CONFIG}minions: {{blog: {{use: notes}}}}\n");
    let case = Case::build(
        &format!("{base}{manifest}"),
        &format!("services:\n{services}"),
        &config,
    );
    Names::new(
        &case.rendered().project,
        &case.minion,
        &case.environment.instances[0],
        &case.environment,
    )
    .containers
}

#[test]
fn containers_are_named_as_the_founding_design_says() {
    let shown = |services: &[&str], manifest: &str| {
        let names = names(services, manifest);
        names
            .iter()
            .map(|(service, name)| format!("{service}={name}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let database = |services: &[(&str, &str)]| {
        let one = |(service, engine): &(&str, &str)| {
            format!(
                "{{service: {service}, engine: {engine}, name: n, user: u, password: db_password, admin: {{user: a, password: db_admin_password}}}}"
            )
        };
        format!(
            "databases: [{}]\n",
            services.iter().map(one).collect::<Vec<_>>().join(", ")
        )
    };
    assert_eq!(
        shown(
            &["app", "cron", "db"],
            &format!(
                "expose: [{{service: cron, port: 80}}]\n{}",
                database(&[("db", "mariadb")])
            )
        ),
        "app=app-blog-example.org cron=blog-example.org db=mariadb-blog-example.org"
    );
    assert_eq!(
        shown(&["db", "web"], &database(&[("db", "mongo")])),
        "db=mongo-blog-example.org web=blog-example.org"
    );
    assert_eq!(
        shown(&["db"], &database(&[("db", "postgres")])),
        "db=postgres-blog-example.org"
    );
    assert_eq!(
        shown(
            &["a", "b", "postgres"],
            &database(&[("a", "postgres"), ("b", "postgres")])
        ),
        "a=postgres-blog-example.org b=b-postgres-blog-example.org postgres=blog-example.org"
    );
}

#[test]
fn a_minion_that_is_only_a_database_takes_the_settings_of_the_user() {
    let manifest = without(&["expose", "notes"]);
    let config = format!("{CONFIG}minions: {{blog: {{use: notes, resources: {{memory: 2g}}}}}}\n");
    let case = Case::build(
        &manifest,
        "services: {db: {image: \"postgres:17\", mem_limit: 1g}}",
        &config,
    );
    let project = case.enriched();
    assert_eq!(project.services["db"].mem_limit, Some(2 << 30));
    assert!(!project.networks.contains_key("edge") && project.networks.contains_key("default"));
    assert_eq!(render::main_service(&project, &case.minion), None);
}

#[test]
fn the_project_has_a_name_that_compose_takes() {
    let config = "summoner: {domain: sub.example.org}\nminions: {blog: {use: notes}}\n";
    let case = Case::build(MANIFEST, crate::TEMPLATE, config);
    assert_eq!(
        case.enriched().name.as_deref(),
        Some("blog-sub-example-org")
    );
}
