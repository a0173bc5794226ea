//! What templates see, and how their mistakes are told.

use summoner::compose::Source;

use crate::{CONFIG, Case, MANIFEST, TEMPLATE};

/// A template whose one service has this environment value.
fn value(expression: &str) -> Case {
    Case::template(&format!(
        "services: {{app: {{image: \"i:1\", environment: {{X: {expression}}}}}}}\n"
    ))
}

fn shown(expression: &str) -> String {
    value(expression).rendered().project.services["app"].environment["X"].clone()
}

#[test]
fn a_template_sees_the_instance_and_its_parameters() {
    for (expression, expected) in [
        ("'{{ minion }}'", "blog"),
        ("'{{ domain }}'", "example.org"),
        ("'{{ host }}'", "blog.example.org"),
        ("\"{{ hosts | join(' ') }}\"", "blog.example.org"),
        ("'{{ url }}'", "https://blog.example.org"),
        ("'{{ version }}'", "2.1.0"),
        ("'{{ timezone }}'", "Europe/Paris"),
        ("'{{ title }}'", "Notes"),
        ("'{{ workers + 1 }}'", "3"),
        ("'{{ open }}'", "false"),
        ("'{{ theme }}'", "light"),
        ("'{{ db_password }}'", "${DB_PASSWORD}"),
        (
            "'{{ \"none\" if mail_host is none else mail_host }}'",
            "none",
        ),
        ("'{{ \"x\" if smtp }}'", ""),
        (
            "\"{{ mail_host or 'noreply@' ~ domain }}\"",
            "noreply@example.org",
        ),
        ("\"{{ volume('data') }}\"", "/srv/data/blog/data"),
        ("\"{{ database('db') }}\"", "/srv/db/blog/db"),
        (
            "\"{{ file('notes.conf') }}\"",
            "/project/.summoner/build/blog/files/notes.conf",
        ),
        (
            "\"{{ file('theme') }}\"",
            "/project/.summoner/build/blog/files/theme",
        ),
        ("{{ [1, 'a'] | yaml | yaml }}", "[1,\"a\"]"),
    ] {
        assert_eq!(shown(expression), expected, "{expression}");
    }
}

#[test]
fn a_rendered_minion() {
    let rendered = Case::new().rendered();
    let app = &rendered.project.services["app"];
    assert_eq!(app.image, "example/notes:2.1.0");
    assert_eq!(
        app.environment["DATABASE"],
        "postgres://notes:${DB_PASSWORD}@db/notes"
    );
    assert!(!app.environment.contains_key("MAIL"));
    assert_eq!(app.command.as_deref().unwrap(), ["serve", "--workers", "2"]);
    assert_eq!(
        app.volumes[0].source,
        Source::Bind("/srv/data/blog/data".into())
    );
    assert_eq!(
        rendered.notes.as_deref(),
        Some("Notes is at https://blog.example.org.")
    );
    assert_eq!(rendered.url.as_deref(), Some("https://blog.example.org"));
    let files: Vec<(&str, &str)> = rendered
        .files
        .iter()
        .map(|(name, text)| (name.as_str(), std::str::from_utf8(text).unwrap()))
        .collect();
    assert_eq!(
        files,
        [
            ("logo.svg", "<svg>{{ untouched }}</svg>"),
            ("notes.conf", "host blog.example.org\ntitle Notes\nend\n"),
            ("theme/dark.css", "a{}")
        ]
    );
}

#[test]
fn the_address_names_the_port_unless_it_is_the_usual_one() {
    for (proxy, expected) in [
        ("{}", "https://blog.example.org"),
        ("{https_port: 8443}", "https://blog.example.org:8443"),
        ("{tls: off}", "http://blog.example.org"),
        (
            "{tls: off, http_port: 8080}",
            "http://blog.example.org:8080",
        ),
    ] {
        let config = format!("{CONFIG}minions: {{blog: {{use: notes}}}}\nproxy: {proxy}\n");
        assert_eq!(
            Case::build(MANIFEST, TEMPLATE, &config)
                .rendered()
                .url
                .as_deref(),
            Some(expected),
            "{proxy}"
        );
    }
    let config = format!("{CONFIG}minions: {{blog: {{use: notes, hosts: [a.org, b.org]}}}}\n");
    assert_eq!(
        Case::build(MANIFEST, TEMPLATE, &config)
            .rendered()
            .url
            .as_deref(),
        Some("https://a.org")
    );
    let hidden = MANIFEST
        .replace(
            "expose: [{service: app, port: 8080, health: /health}]\n",
            "",
        )
        .replace(" at {{ url }}", "");
    let template =
        "services: {app: {image: \"i:1\", environment: {X: \"{{ 'none' if url is none }}\"}}}\n";
    let case = Case::build(
        &hidden,
        template,
        &format!("{CONFIG}minions: {{blog: {{use: notes}}}}\n"),
    );
    assert_eq!(case.rendered().url, None);
    assert_eq!(
        case.rendered().project.services["app"].environment["X"],
        "none"
    );
}

/// Whatever a user writes, a template that quotes with `| yaml` stays YAML and the value arrives.
#[test]
fn what_a_user_writes_breaks_nothing() {
    for title in [
        "a: b \"c\"",
        "it's",
        "$HOME ${DB_PASSWORD} $$",
        "# no",
        "- x",
        "line\nline",
        "\\n",
        "{{ x }}",
        "no",
        "012",
        "\t",
        "é🔑\u{85}\u{2028}",
        "",
        "${TITLE}",
        "a\u{7f}b",
    ] {
        let title_json = serde_json::to_string(title)
            .unwrap()
            .replace('\u{7f}', "\\u007f");
        let case = Case::with(&format!(
            "blog: {{use: notes, set: {{title: {title_json}}}, env: {{OWN: {title_json}}}}}"
        ));
        let app = &case.resolved().services["app"];
        assert_eq!(app.environment["TITLE"], title);
        assert_eq!(app.environment["OWN"], title);
        assert_eq!(
            case.rendered().notes.unwrap(),
            format!("{title} is at https://blog.example.org.")
        );
    }
}

#[test]
fn secrets_reach_containers_and_nothing_else() {
    let case = Case::with(
        "blog: {use: notes, set: {title: {env: OUTSIDE}}, env: {TOKEN: {env: OUTSIDE}}}",
    );
    // Here the title is a secret: notes and files that show it are refused.
    assert_eq!(
        case.problems(),
        "minions/notes/files/notes.conf.j2:2:10: `title` is a secret, and people can read this text | \
         pass it to the container with `environment` in compose.yml.j2\n\
         minions/notes/minion.yml notes: `title` is a secret, and people can read this text | \
         pass it to the container with `environment` in compose.yml.j2"
    );
    let case = Case::with("blog: {use: notes, env: {TOKEN: {env: OUTSIDE}}}");
    let rendered = format!("{:?}", case.rendered());
    assert!(
        !rendered.contains("se$cret") && !rendered.contains("p$w"),
        "{rendered}"
    );
    assert!(!case.enriched().to_yaml().contains("se$cret"));
    let app = &case.resolved().services["app"];
    assert_eq!(app.environment["TOKEN"], "se$cret\"");
    assert_eq!(
        app.environment["DATABASE"],
        "postgres://notes:p$w\"'@db/notes"
    );
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (expression, expected) in [
        (
            "'{{ titel }}'",
            "minions/notes/compose.yml.j2:1:53: `titel` is not defined | did you mean `title`?",
        ),
        (
            "'{% if colour %}x{% endif %}'",
            "minions/notes/compose.yml.j2:1:56: `colour` is not defined | declare it under `parameters:` of minion.yml",
        ),
        (
            "'{{ env.NOPE }}'",
            "minions/notes/compose.yml.j2:1:53: `env.NOPE` is not defined | see what `env` holds",
        ),
        (
            "'{{ mail_host }}'",
            "minions/notes/compose.yml.j2:1:53: nothing to print: the value is not set | guard it: `{% if name %}…{% endif %}`",
        ),
        (
            "{{ mail_host | yaml }}",
            "minions/notes/compose.yml.j2:1:64: nothing to print: the value is not set | guard it: `{% if name %}…{% endif %}`",
        ),
        (
            "\"{{ volume('dta') }}\"",
            "minions/notes/compose.yml.j2:1:53: there is no volume `dta` | did you mean `data`?",
        ),
        (
            "\"{{ volume('x') }}\"",
            "minions/notes/compose.yml.j2:1:53: there is no volume `x` | declare it under `volumes:` of minion.yml",
        ),
        (
            "\"{{ database('app') }}\"",
            "minions/notes/compose.yml.j2:1:53: there is no database `app` | declare it under `databases:` of minion.yml",
        ),
        (
            "\"{{ file('x.ini') }}\"",
            "minions/notes/compose.yml.j2:1:53: there is no extra file `x.ini` | put it into the folder `files` of the minion",
        ),
        (
            "\"{{ volum('data') }}\"",
            "minions/notes/compose.yml.j2:1:53: there is no function `volum` | did you mean `volume`?",
        ),
        (
            "{{ title | yml }}",
            "minions/notes/compose.yml.j2:1:60: there is no filter `yml` | did you mean `yaml`?",
        ),
        (
            "{% include 'x' %}",
            "minions/notes/compose.yml.j2:1:52: a template cannot include another",
        ),
        (
            "'{{ title + }}'",
            "minions/notes/compose.yml.j2:1:61: not a valid template: unexpected end of variable block",
        ),
    ] {
        assert_eq!(value(expression).problems(), expected, "{expression}");
    }
}

#[test]
fn what_is_no_compose_file_is_told_with_its_line() {
    assert_eq!(
        Case::template("services:\n  app:\n    image: i:1\n    prots: [80]\n").problems(),
        "minions/notes/compose.yml.j2 as rendered for `blog`:4:5 services.app.prots: unknown key `prots` (the line reads `prots: [80]`) | did you mean `ports`?"
    );
    let problems = Case::with("blog: {use: notes, set: {title: 'a: \"b'}}");
    let broken = Case {
        minion: crate::minion(MANIFEST, "services: {app: {image: {{ title }}}}\n"),
        ..problems
    };
    assert!(
        broken
            .problems()
            .starts_with("minions/notes/compose.yml.j2 as rendered for `blog`:1:"),
        "{}",
        broken.problems()
    );
}

#[test]
fn a_hostile_template_ends() {
    for template in [
        "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ] {
        let problems = Case::template(template).problems();
        assert!(
            problems.contains("without end") || problems.contains("recursion limit"),
            "{problems}"
        );
    }
}

#[test]
fn a_folder_that_cannot_be_mounted_is_refused() {
    let config = "summoner: {domain: example.org, vsroot: '/srv/a\"b', dbsroot: '/srv/$x'}\nminions: {blog: {use: notes}}\n";
    let case = Case::build(MANIFEST, TEMPLATE, config);
    assert!(
        case.problems()
            .contains("`/srv/a\"b/blog/data` cannot be mounted"),
        "{}",
        case.problems()
    );
    let case = Case::build(MANIFEST, TEMPLATE, &config.replace("a\"b", "a b''c"));
    let project = case.resolved();
    assert_eq!(
        project.services["app"].volumes[0].source,
        Source::Bind("/srv/a b'c/blog/data".into())
    );
    assert_eq!(
        project.services["db"].volumes[0].source,
        Source::Bind("/srv/$x/blog/db".into())
    );
}
