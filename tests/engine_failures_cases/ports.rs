//! A port of the proxy that somebody else has.

use std::net::TcpListener;

use super::common::{containers, fails, names, networks};
use crate::engine_support::{Project, TINY, docker};

fn web() -> Project {
    let project = Project::new("minions: {site: {use: page}}");
    project.web_minion("page", "hello", "");
    project
}

#[test]
fn a_process_that_has_the_port_is_named_and_nothing_is_made() {
    let project = web();
    let holder = TcpListener::bind(("0.0.0.0", project.http)).unwrap();
    let words = [
        format!("port {} is taken", project.http),
        format!("pid {}", std::process::id()),
        "http_port".to_owned(),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    fails(project.run(&["up", "--yes"]), 14, &words);
    assert!(names(&project).is_empty());
    assert!(networks(&project).is_empty());
    assert!(!project.path(".summoner/state.json").exists());
    assert!(!project.path("data").exists());
    project
        .run(&["doctor"])
        .code(1)
        .says(words[0])
        .says(words[1]);
    drop(holder);
    project.up();
    assert!(project.get("site", "/").contains("hello"));
}

#[test]
fn a_container_that_has_the_port_is_named_and_left_alone() {
    let project = web();
    let name = format!("{}-holder", project.name);
    let port = format!("{}:80", project.https);
    // The label makes it go with the project; whoever made it, it was not summoner.
    let label = format!("io.summoner.project={}", project.name);
    docker(&[
        "run", "-d", "--name", &name, "--label", &label, "-p", &port, TINY,
    ]);
    let before = containers(&project);
    let taken = format!("port {} is taken by the container `{name}`", project.https);
    fails(project.run(&["up", "--yes"]), 14, &[&taken, "https_port"]);
    assert_eq!(containers(&project), before);
    assert!(networks(&project).is_empty());
}
