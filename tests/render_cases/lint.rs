//! Each rule of the house, told about a minion that breaks it.

use summoner::minion::Catalog;
use summoner::render::lint::lint;

use crate::{MANIFEST, TEMPLATE, minion};

/// What lint says about the sample minion after these replacements in manifest and template.
fn told(manifest: &[(&str, &str)], template: &[(&str, &str)]) -> String {
    let replace = |text: &str, changes: &[(&str, &str)]| {
        changes.iter().fold(text.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        })
    };
    let template = replace(TEMPLATE, template).replace("theme/dark.css", "theme");
    let mut minion = minion(&replace(MANIFEST, manifest), &template);
    minion.files.retain(|name, _| name == "notes.conf.j2");
    let problems: Vec<String> = lint(&minion)
        .iter()
        .map(|p| p.to_string().replace("\n  hint: ", " | "))
        .collect();
    problems.join("\n")
}

/// The sample minion uses all its parameters.
const WHOLE: &[(&str, &str)] = &[(
    "  theme: {type: choice, choices: [light, dark], default: light}\n",
    "",
)];

fn rule(from: &str, to: &str) -> String {
    told(WHOLE, &[(from, to)])
}

#[test]
fn a_good_minion_has_nothing_to_be_told() {
    assert_eq!(told(WHOLE, &[]), "");
}

#[test]
fn every_minion_of_the_catalogue_is_good() {
    let catalog = Catalog::open(None);
    let told: Vec<String> = catalog
        .list()
        .into_iter()
        .flat_map(|(_, minion)| lint(&minion.unwrap_or_else(|p| panic!("{p}"))))
        .map(|problem| problem.to_string())
        .collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

#[test]
fn rules_of_a_service() {
    let template = "minions/notes/compose.yml.j2 services.";
    for ((from, to), expected) in [
        (
            (
                "healthcheck: {test: pg_isready, interval: 2s, start_period: 60s}",
                "user: x",
            ),
            "db.healthcheck: there is no healthcheck | `healthcheck: {test: …, interval: 5s, start_period: 60s}`",
        ),
        (
            ("interval: 2s", "interval: 1m"),
            "db.healthcheck.interval: the interval is not between 2s and 10s | `interval: 5s`",
        ),
        (
            (", start_period: 60s", ""),
            "db.healthcheck.start_period: there is no start period: a slow first start would count as failure | `start_period: 60s`",
        ),
        (
            ("postgres:17.12", "postgres"),
            "db.image: `postgres` has no tag | `image: name:{{ version }}`",
        ),
        (
            ("postgres:17.12", "postgres:latest"),
            "db.image: the tag `latest` is another image tomorrow | name a release",
        ),
        (
            ("postgres:17.12", "host:5000/postgres"),
            "db.image: `host:5000/postgres` has no tag | `image: name:{{ version }}`",
        ),
        (
            ("    mem_limit: 128m\n", ""),
            "setup.mem_limit: there is no memory limit | `mem_limit: 256m`",
        ),
        (
            ("command: migrate", "ports: [\"1:1\"]"),
            "setup.ports: a minion publishes no ports of the host | name the service under `expose:` of minion.yml",
        ),
        (
            ("    init: true\n", ""),
            "db.init: a database needs an init process | `init: true`",
        ),
        (
            ("command: migrate", "restart: always"),
            "setup.restart: Summoner adds this itself | take it out",
        ),
        (
            ("command: migrate", "environment: {ROOT_PASSWORD: root}"),
            "setup.environment: `ROOT_PASSWORD` is a secret in plain text | declare a parameter of type `secret`",
        ),
        (
            (
                "command: migrate",
                "command: [migrate, \"{{ db_password }}\"]",
            ),
            "setup.command: the secret `DB_PASSWORD` would be an argument, which everybody on the machine can read | pass it with `environment`, and write `$$NAME` where a shell reads it",
        ),
        (
            ("test: pg_isready", "test: PGPASSWORD=x pg_isready"),
            "db.healthcheck.test: `PGPASSWORD=x` looks like a password | pass it with `environment`, and write `$$NAME` where a shell reads it",
        ),
        (
            ("{condition: service_healthy}", "{}"),
            "app.depends_on: started is not ready | `{condition: service_healthy}`",
        ),
        (
            ("command: migrate", "volumes: [\"/var/run:/run\"]"),
            "setup.volumes: `/var/run` of the host is none of the minion's | use `volume('…')`, `database('…')` or `file('…')`",
        ),
        (
            ("/etc/notes.conf:ro", "/etc/notes.conf"),
            "app.volumes: `/etc/notes.conf` could be written to | mount extra files with `:ro`",
        ),
    ] {
        assert_eq!(rule(from, to), format!("{template}{expected}"), "{to}");
    }
    let named = "services:\n  app:\n    volumes: [\"x:/y\"]\n";
    let told = rule(
        "services:\n  app:\n",
        "volumes: {x: {}}\nservices:\n  new: {image: \"i:1.0\", mem_limit: 1m, volumes: [\"x:/y\"]}\n  app:\n",
    );
    assert!(
        told.contains("no backup would save the named volume `x`"),
        "{named} {told}"
    );
}

#[test]
fn what_is_declared_is_there() {
    let manifest = "minions/notes/minion.yml ";
    for ((from, to), expected) in [
        (
            ("service: app", "service: web"),
            "expose[0].service: the template has no service `web` | add it to compose.yml.j2",
        ),
        (
            (
                "notes: \"",
                "quiesce: {service: nobody, before: [a], after: [b]}\nnotes: \"",
            ),
            "quiesce.service: the template has no service `nobody` | add it to compose.yml.j2",
        ),
        (
            (
                "volumes: [",
                "volumes: [{name: more, uid: 1, gid: 1, mode: \"0700\"}, ",
            ),
            "volumes.more: no service mounts this volume | mount it, or take it out",
        ),
        (
            ("  open: {", "  more: {type: string, default: x}\n  open: {"),
            "parameters.more: no template uses this parameter | use it, or take it out",
        ),
    ] {
        let changes: Vec<_> = WHOLE.iter().copied().chain([(from, to)]).collect();
        assert_eq!(told(&changes, &[]), format!("{manifest}{expected}"));
    }
    assert_eq!(
        rule(
            "      - \"{{ file('notes.conf') }}:/etc/notes.conf:ro\"\n",
            ""
        ),
        "minions/notes/files/notes.conf.j2: no service mounts this file | mount it with `file('…')`, or take it out"
    );
    assert_eq!(
        rule("example/notes:{{ version }}", "example/notes:2.1.0"),
        "minions/notes/compose.yml.j2: no image follows the version of the minion | write `image: name:{{ version }}`"
    );
}

#[test]
fn texts_must_arrive_as_written() {
    for careless in [
        "\"{{ title }}\"",
        "'{{ title }}'",
        "{{ title }}",
        "{{ title|replace('$', '$$')|yaml }}",
    ] {
        let told = rule("{{ title | yaml }}", careless);
        assert!(
            told.contains("the parameter `title` does not arrive as written"),
            "{careless}: {told}"
        );
        assert!(
            told.contains("write `{{ title | yaml }}` without quotes"),
            "{told}"
        );
    }
    assert_eq!(
        rule("{{ title | yaml }}", "{{ ('<' ~ title ~ '>') | yaml }}"),
        ""
    );
}

#[test]
fn every_way_to_render_is_tried() {
    let told = rule(
        "MAIL: {{ mail_host | yaml }}",
        "MAIL: {{ mail_hots | yaml }}",
    );
    assert_eq!(
        told,
        "minions/notes/compose.yml.j2:9:28: with every parameter set: `mail_hots` is not defined | did you mean `mail_host`?"
    );
    let told = rule(
        "      URL:",
        "{% if open %}\n      OPEN: {{ nothing }}\n{% endif %}\n      URL:",
    );
    assert!(
        told.contains("`open: true`") || told.contains("every parameter set"),
        "{told}"
    );
}
