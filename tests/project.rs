//! From a folder with a config.yml to what shall be: passwords above all. No engine.

use std::fs;
use std::path::Path;

use summoner::project::{Project, ProjectError};

fn open(folder: &Path) -> Project {
    let file = folder.join("config.yml");
    fs::write(
        &file,
        "summoner: {domain: example.org}\nminions: {blog: {use: toy}}\n",
    )
    .expect("ours");
    Project::open(&file).expect("a good project")
}

/// A minion with these secrets, each used by its service.
fn toy(folder: &Path, secrets: &[&str]) {
    let toy = folder.join("minions/toy");
    fs::create_dir_all(&toy).expect("ours");
    let lines = |line: &dyn Fn(&str) -> String| -> String {
        let lines: Vec<String> = secrets.iter().map(|s| line(s)).collect();
        lines.concat()
    };
    let parameters = lines(&|s| format!("  {s}: {{type: secret, length: 24}}\n"));
    let environment = lines(&|s| format!("      {}: '{{{{ {s} }}}}'\n", s.to_uppercase()));
    fs::write(
        toy.join("minion.yml"),
        format!(
            "name: toy\ntitle: Toy\nsummary: a toy\ncategory: data\nwebsite: https://example.org\nversion: \"1.0.0\"\n\
             requires: {{memory: 16M, disk: 1M}}\nparameters:\n{parameters}\
             volumes: [{{name: data, uid: 0, gid: 0, mode: \"0700\"}}]\n"
        ),
    )
    .expect("ours");
    fs::write(
        toy.join("compose.yml.j2"),
        format!(
            "services:\n  app:\n    image: toy:1.0.0\n    mem_limit: 16m\n    environment:\n{environment}    \
             volumes: ['{{{{ volume(\"data\") }}}}:/data']\n    healthcheck: {{test: [CMD, 'true']}}\n"
        ),
    )
    .expect("ours");
}

/// What `up` writes down before it makes anything.
fn keep(project: &mut Project) {
    let wanted = project
        .render(&[], &|_| true)
        .unwrap_or_else(|e| panic!("{e}"));
    project.paths.create().expect("ours");
    project.secrets.save(&project.paths).expect("ours");
    project.state = wanted.state;
    project.state.save(&project.paths).expect("ours");
}

fn first_up(folder: &Path) -> String {
    toy(folder, &["password"]);
    let mut project = open(folder);
    project
        .render(&[], &|_| false)
        .unwrap_or_else(|e| panic!("{e}"));
    project.paths.create().expect("ours");
    project.secrets.save(&project.paths).expect("ours");
    keep(&mut project);
    project.secrets.book["blog"]["password"].expose().to_owned()
}

#[test]
fn a_secret_that_a_newer_template_brings_is_made_beside_old_data() {
    let folder = tempfile::tempdir().expect("a folder");
    let password = first_up(folder.path());
    toy(folder.path(), &["password", "token"]);
    let mut project = open(folder.path());
    keep(&mut project);
    let book = &project.secrets.book["blog"];
    assert_eq!(book["password"].expose(), password);
    assert_eq!(book["token"].expose().len(), 24);
}

#[test]
fn a_lost_secret_is_never_made_anew_beside_old_data() {
    let folder = tempfile::tempdir().expect("a folder");
    first_up(folder.path());
    // One line of the file, and the whole of it, even when the template is another one too.
    let mut project = open(folder.path());
    project.secrets.book.clear();
    project.secrets.save(&project.paths).expect("ours");
    let lost = |project: &mut Project| {
        matches!(
            project.render(&[], &|_| true),
            Err(ProjectError::SecretsLost { .. })
        )
    };
    assert!(lost(&mut open(folder.path())));
    fs::remove_file(folder.path().join(".summoner/secrets.yml")).expect("ours");
    toy(folder.path(), &["password", "token"]);
    assert!(lost(&mut open(folder.path())));
}

/// Protection says nothing about what a container does: to give it or take it restarts nothing.
#[test]
fn protection_is_a_label_and_no_part_of_the_hash() {
    let folder = tempfile::tempdir().expect("a folder");
    toy(folder.path(), &[]);
    let mut services = ["", ", protect: true"].map(|more| {
        let file = folder.path().join("config.yml");
        let text =
            format!("summoner: {{domain: example.org}}\nminions: {{blog: {{use: toy{more}}}}}\n");
        fs::write(&file, text).expect("ours");
        let mut project = Project::open(&file).expect("a good project");
        let wanted = project
            .render(&[], &|_| false)
            .unwrap_or_else(|e| panic!("{e}"));
        wanted.desired.groups[0].services["app"].clone()
    });
    assert_eq!(services[0].hash, services[1].hash);
    let label = services[1].spec.labels.remove("io.summoner.protect");
    assert_eq!(label.as_deref(), Some("true"));
    assert_eq!(services[0], services[1]);
}

/// Another run may have ended between our look at its files and our turn.
#[test]
fn who_gets_the_lock_knows_the_passwords_of_the_run_before() {
    let folder = tempfile::tempdir().expect("a folder");
    toy(folder.path(), &["password"]);
    let mut late = open(folder.path());
    let password = first_up(folder.path());
    let _lock = late.lock("up").expect("nobody else has it");
    assert_eq!(late.secrets.book["blog"]["password"].expose(), password);
    assert!(late.state.minions.contains_key("blog"));
}
