//! Names that belong to somebody else.

use std::fs;
use std::net::TcpListener;

use super::common::{
    Guest, containers, fails, names, networks, pair, project, settled, summoner_in,
};
use crate::engine_support::{TINY, docker};

/// A container of somebody else. The label makes it go with the project's other leftovers.
fn guest(project: &crate::engine_support::Project, name: &str, label: &str) -> String {
    let own = format!("io.summoner.project={}", project.name);
    docker(&[
        "create", "--name", name, "--label", &own, "--label", label, TINY,
    ])
    .trim()
    .to_owned()
}

#[test]
fn names_of_containers_that_others_made_are_refused_and_the_owner_is_named() {
    let project = project("minions: {one: {use: duo}, two: {use: duo}}");
    let [app, db] = pair(&project, "one");
    guest(&project, &app, "x=y");
    guest(&project, &db, "com.docker.compose.project=theirs");
    let before = containers(&project);
    let words = [
        format!("the container name `{app}` is taken by a container that summoner did not make"),
        format!("the container name `{db}` is taken by the Compose project `theirs`"),
        format!("docker rm {app}"),
        format!("docker rm {db}"),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for arguments in [["up", "--yes"].as_slice(), &["plan"], &["up", "--dry-run"]] {
        fails(project.run(arguments), 5, &words);
    }
    assert_eq!(
        containers(&project),
        before,
        "neither is theirs touched nor ours made"
    );
    assert!(networks(&project).is_empty());
    assert!(!project.path("data").exists());
    // `down` takes ours away, of which there is nothing.
    project.run(&["down", "--yes"]).ok();
    assert_eq!(containers(&project), before);
    // The way out that is told.
    docker(&["rm", &app]);
    docker(&["rm", &db]);
    project.up();
    settled(&project);
}

#[test]
fn containers_of_the_same_project_in_another_folder_are_refused() {
    let project = project("minions: {one: {use: duo}}");
    project.up();
    let before = containers(&project);
    let other = project.path("other");
    for file in [
        "config.yml",
        "minions/duo/minion.yml",
        "minions/duo/compose.yml.j2",
    ] {
        project.write(&format!("other/{file}"), &project.read(file));
    }
    let root = format!("`{}`", project.root().display());
    let owner = format!("the summoner project `{}` in", project.name);
    for arguments in [["up", "--yes"].as_slice(), &["plan"]] {
        fails(
            summoner_in(&other, arguments),
            5,
            &[&owner, &root, "work from that folder"],
        );
    }
    summoner_in(&other, &["down", "--yes"]).ok();
    assert_eq!(containers(&project), before);
    assert!(!other.join("data").exists());
    settled(&project);
    // A project that was moved is the same project.
    let moved = std::env::temp_dir().join(format!("summoner-{}-moved", project.name));
    fs::create_dir(&moved).unwrap();
    fs::remove_dir_all(&other).unwrap();
    for entry in fs::read_dir(project.root()).unwrap().flatten() {
        fs::rename(entry.path(), moved.join(entry.file_name())).unwrap();
    }
    fs::remove_dir(project.root()).unwrap();
    let ids = names(&project);
    let ran = summoner_in(&moved, &["up", "--yes"]);
    fs::create_dir(project.root()).unwrap();
    let after = names(&project);
    let starts = fs::read_to_string(moved.join("data/one/data/starts")).unwrap_or_default();
    fs::remove_dir_all(&moved).unwrap();
    ran.ok();
    assert_eq!(ids, after, "adopted, not made twice");
    assert_eq!(starts.lines().count(), 2, "the data went along");
}

#[test]
fn a_network_of_somebody_else_is_refused() {
    let project = project("minions: {one: {use: duo}}");
    let name = format!("one-{}_default", project.domain.replace('.', "-"));
    let (second, _) = project.subnets().rsplit_once('/').unwrap();
    docker(&[
        "network",
        "create",
        "--subnet",
        &format!("{second}/26"),
        &name,
    ]);
    let _guest = Guest(&["network", "rm"], name.clone());
    fails(
        project.run(&["up", "--yes"]),
        5,
        &[
            &format!("the network `{name}`"),
            &format!("docker network rm {name}"),
        ],
    );
    assert!(names(&project).is_empty());
}

/// A copy of a project's folder has its name; with a domain of its own it has no container name in
/// common with it, only the network that the proxy and the sites share.
#[test]
fn the_network_of_another_folder_with_the_same_name_is_refused() {
    let project = crate::engine_support::Project::new("minions: {page: {use: page}}");
    project.web_minion("page", "hello", "");
    project.up();
    let before = (containers(&project), networks(&project));
    let edge = format!("summoner-{}-edge", project.name);
    assert!(before.1.contains(&edge), "{:?}", before.1);
    let other = project.path("other");
    for file in ["minions/page/minion.yml", "minions/page/compose.yml.j2"] {
        project.write(&format!("other/{file}"), &project.read(file));
    }
    let free = || {
        TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
    };
    let config = project
        .read("config.yml")
        .replace(&project.domain, &format!("copy.{}", project.domain))
        .replace(
            &format!("http_port: {}", project.http),
            &format!("http_port: {}", free()),
        )
        .replace(
            &format!("https_port: {}", project.https),
            &format!("https_port: {}", free()),
        );
    project.write("other/config.yml", &config);
    for arguments in [["up", "--yes"].as_slice(), &["plan"]] {
        fails(
            summoner_in(&other, arguments),
            5,
            &[&format!(
                "the network `{edge}` exists and is not summoner's"
            )],
        );
    }
    // Nor does it take away what it must not use.
    summoner_in(&other, &["down", "--yes"]).ok();
    assert_eq!((containers(&project), networks(&project)), before);
    assert!(!other.join("data").exists());
    settled(&project);
    assert!(project.get("page", "/").contains("hello"));
}
