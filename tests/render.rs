//! From a minion to what shall run: what templates see, what is added, how mistakes are told.

use std::collections::BTreeMap;
use std::path::Path;

use summoner::compose::Project;
use summoner::config::{Environment, Lookup};
use summoner::minion::manifest;
use summoner::minion::parameters::{self, Parameters, SecretBook};
use summoner::minion::{Minion, Origin};
use summoner::problem::Problems;
use summoner::render::{self, Input, Rendered};
use summoner::secret::Secret;

mod render_cases {
    pub mod enrich;
    pub mod lint;
    pub mod templates;
}

const MANIFEST: &str = r#"
name: notes
title: Notes
summary: notes of the team
category: organise
website: https://example.org
version: "2.1.0"
parameters:
  title: {type: string, default: Notes}
  mail_host: {type: string, optional: true}
  workers: {type: integer, default: 2}
  open: {type: boolean, default: false}
  theme: {type: choice, choices: [light, dark], default: light}
  db_password: {type: secret}
  db_admin_password: {type: secret}
expose: [{service: app, port: 8080, health: /health}]
databases: [{service: db, engine: postgres, name: notes, user: notes, password: db_password, admin: {user: postgres, password: db_admin_password}}]
volumes: [{name: data, uid: 1000, gid: 1000, mode: "0750"}]
notes: "{{ title }} is at {{ url }}."
"#;

const TEMPLATE: &str = r#"services:
  app:
    image: example/notes:{{ version }}
    environment:
      TITLE: {{ title | yaml }}
      URL: "{{ url }}"
      DATABASE: {{ ("postgres://notes:" ~ db_password ~ "@db/notes") | yaml }}
{% if mail_host %}
      MAIL: {{ mail_host | yaml }}
{% endif %}
    command: [serve, --workers, "{{ workers }}"]
    volumes:
      - "{{ volume('data') }}:/var/lib/notes"
      - "{{ file('notes.conf') }}:/etc/notes.conf:ro"
    depends_on:
      db: {condition: service_healthy}
      setup: {condition: service_completed_successfully}
    mem_limit: 256m
    healthcheck: {test: [CMD, wget, -qO-, "http://localhost:8080/health"], interval: 5s, start_period: 30s}
  setup:
    image: example/notes:{{ version }}
    command: migrate
    mem_limit: 128m
  db:
    image: postgres:17.12
    init: true
    environment: {POSTGRES_PASSWORD: "{{ db_admin_password }}"}
    volumes: ["{{ database('db') }}:/var/lib/postgresql/data"]
    mem_limit: 256m
    healthcheck: {test: pg_isready, interval: 2s, start_period: 60s}
"#;

const CONFIG: &str = "summoner: {domain: example.org, name: acme, vsroot: /srv/data, dbsroot: /srv/db, timezone: Europe/Paris}\n";

/// A minion at a place in config.yml.
struct Case {
    minion: Minion,
    environment: Environment,
    parameters: Parameters,
}

impl Case {
    fn new() -> Self {
        Self::with("blog: {use: notes}")
    }

    /// With these lines under `minions:`.
    fn with(instance: &str) -> Self {
        Self::build(
            MANIFEST,
            TEMPLATE,
            &format!("{CONFIG}minions:\n  {instance}\n"),
        )
    }

    fn template(template: &str) -> Self {
        Self::build(
            MANIFEST,
            template,
            &format!("{CONFIG}minions:\n  blog: {{use: notes}}\n"),
        )
    }

    fn build(manifest: &str, template: &str, config: &str) -> Self {
        let minion = minion(manifest, template);
        let lookup = Lookup::fixed("/home/me", &[("OUTSIDE", "se$cret\"")]);
        let environment = summoner::config::parse(
            Path::new("/project/config.yml"),
            config,
            &["notes"],
            &lookup,
        )
        .unwrap_or_else(|p| panic!("{p}"));
        let mut book = SecretBook::new();
        let page = book.entry("blog".to_owned()).or_default();
        page.insert("db_password".to_owned(), Secret::new("p$w\"'"));
        page.insert("db_admin_password".to_owned(), Secret::new("admin"));
        let parameters =
            parameters::resolve(&minion, &environment.instances[0], "config.yml", &mut book)
                .unwrap();
        Self {
            minion,
            environment,
            parameters,
        }
    }

    fn render(&self) -> Result<Rendered, Problems> {
        render::render(&Input {
            minion: &self.minion,
            instance: &self.environment.instances[0],
            environment: &self.environment,
            version: "2.1.0",
            parameters: &self.parameters,
            files_dir: Path::new("/project/.summoner/build/blog/files"),
        })
    }

    fn rendered(&self) -> Rendered {
        self.render().unwrap_or_else(|p| panic!("{p}"))
    }

    fn enriched(&self) -> Project {
        render::enrich(
            &self.rendered(),
            &self.minion,
            &self.environment.instances[0],
            &self.environment,
        )
    }

    /// What the containers get: secrets put in.
    fn resolved(&self) -> Project {
        Project::parse(
            "compose.yml",
            &self.enriched().to_yaml(),
            Some(&self.parameters.secrets),
        )
        .unwrap()
    }

    fn problems(&self) -> String {
        self.render()
            .unwrap_err()
            .to_string()
            .replace("\n  hint: ", " | ")
    }
}

fn minion(manifest: &str, template: &str) -> Minion {
    let files = [
        (
            "notes.conf.j2",
            "host {{ host }}\ntitle {{ title }}\n{% if open %}\nopen\n{% endif %}\nend\n",
        ),
        ("logo.svg", "<svg>{{ untouched }}</svg>"),
        ("theme/dark.css", "a{}"),
    ];
    Minion {
        manifest: manifest::parse("minions/notes/minion.yml", manifest)
            .unwrap_or_else(|p| panic!("{p}")),
        template: template.to_owned(),
        files: BTreeMap::from(
            files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())),
        ),
        origin: Origin::Catalog,
        hash: String::new(),
        contents: std::sync::Arc::default(),
    }
}
