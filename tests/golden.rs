//! Golden renders: the Compose file of every minion of the catalogue, with defaults and with
//! everything a user can set, as it would run. A change shows in `git diff tests/snapshots/`; accept
//! it with `INSTA_UPDATE=always cargo test --test golden`.

use std::fs;

use summoner::minion::catalog::Catalog;
use summoner::minion::manifest::ParameterKind;
use summoner::project::Project;

fn render(name: &str, block: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yml");
    let text = format!(
        "summoner: {{domain: example.org, timezone: Europe/Paris}}\nminions:\n  {name}: {block}\n"
    );
    fs::write(&file, text).expect("the folder is ours");
    let mut project = Project::open(&file).unwrap_or_else(|e| panic!("{name}: {e}"));
    let wanted = project
        .render(&[], &|_| false)
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    let root = project.environment.root.display().to_string();
    let mut text = String::new();
    for rendered in wanted.rendered.iter().filter(|r| r.instance == name) {
        text.push_str(&rendered.compose);
        for secret in rendered.secrets.values() {
            assert!(
                !rendered.compose.contains(secret.expose()),
                "{name}: a secret is in compose.yml"
            );
        }
    }
    // Extra files lie in a folder named after their content; what is in them is theirs to show.
    text.replace(&root, "/project")
}

/// A value for every parameter that has no default of its own that matters.
fn everything(name: &str) -> String {
    let minion = Catalog::open(None)
        .get(name)
        .expect("it is in the catalogue");
    let set: Vec<String> = minion
        .manifest
        .parameters
        .iter()
        .map(|(name, p)| {
            let value = match &p.kind {
                ParameterKind::String => format!("\"it's \\\"{name}\\\": $5 # no comment\""),
                ParameterKind::Integer => p
                    .default
                    .as_ref()
                    .map_or("7".to_owned(), ToString::to_string),
                ParameterKind::Boolean => "true".to_owned(),
                ParameterKind::Secret { .. } => "{generate: 40}".to_owned(),
                ParameterKind::Choice(choices) => format!("{:?}", choices[choices.len() - 1]),
            };
            format!("{name}: {value}")
        })
        .collect();
    format!(
        "{{set: {{{}}}, env: {{EXTRA: 'a $ sign'}}, resources: {{memory: 1g, cpus: 0.5}}, hosts: [one.example.com, two.example.com]}}",
        set.join(", ")
    )
}

#[test]
fn every_minion_renders_as_it_did() {
    let catalog = Catalog::open(None);
    assert!(catalog.names().len() >= 9);
    for name in catalog.names() {
        insta::assert_snapshot!(format!("{name}"), render(name, "{}"));
        insta::assert_snapshot!(
            format!("{name}-everything"),
            render(name, &everything(name))
        );
    }
}

#[test]
fn the_proxy_renders_as_it_did() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yml");
    fs::write(
        &file,
        "summoner: {domain: example.org}\nminions: {site: {use: static}}\n",
    )
    .expect("ours");
    let mut project = Project::open(&file).expect("a good file");
    let wanted = project.render(&[], &|_| false).expect("it renders");
    let proxy = wanted
        .rendered
        .iter()
        .find(|r| r.instance == "proxy")
        .expect("something is exposed");
    let root = project.environment.root.display().to_string();
    insta::assert_snapshot!("proxy", proxy.compose.replace(&root, "/project"));
}
