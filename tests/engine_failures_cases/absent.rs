//! No engine, or one that is too old.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;

use super::common::{fails, project, run};
use crate::engine_support::Project;

const NEEDING: [&[&str]; 6] = [
    &["plan"],
    &["up", "--yes"],
    &["down", "--yes"],
    &["status"],
    &["restart"],
    &["logs"],
];

/// Every verb that needs an engine fails with 13 and these words; nothing is begun.
fn every_verb_says(project: &Project, socket: &str, words: &[&str]) {
    for arguments in NEEDING {
        let host = format!("unix://{}", project.path(socket).display());
        let ran = run(project.command(arguments).env("DOCKER_HOST", &host));
        fails(ran, 13, words);
    }
    assert!(!project.path(".summoner/state.json").exists());
    assert!(!project.path(".summoner/secrets.yml").exists());
    assert!(!project.path("data").exists());
}

#[test]
fn no_socket_is_no_engine() {
    let project = project("minions: {one: {use: duo}}");
    every_verb_says(
        &project,
        "none.sock",
        &[
            "no container engine answers",
            "none.sock",
            "there is no such socket",
        ],
    );
}

#[test]
fn a_socket_on_which_nobody_listens_is_no_engine() {
    let project = project("minions: {one: {use: duo}}");
    drop(UnixListener::bind(project.path("dead.sock")).unwrap());
    every_verb_says(
        &project,
        "dead.sock",
        &["no container engine answers", "nobody listens"],
    );
}

#[test]
fn an_engine_elsewhere_is_no_engine() {
    let project = project("minions: {one: {use: duo}}");
    let ran = run(project
        .command(&["plan"])
        .env("DOCKER_HOST", "tcp://127.0.0.1:1"));
    fails(ran, 13, &["tcp://127.0.0.1:1", "unset DOCKER_HOST"]);
}

#[test]
fn a_fake_engine_with_api_1_40_is_too_old() {
    let project = project("minions: {one: {use: duo}}");
    let listener = UnixListener::bind(project.path("old.sock")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut request) {
                    let version = request[..length].windows(8).any(|w| w == b"/version");
                    let body = if version {
                        r#"{"Version":"19.03.15","ApiVersion":"1.40","MinAPIVersion":"1.12","Os":"linux","Arch":"amd64"}"#
                    } else {
                        r#"{"ServerVersion":"19.03.15","NCPU":2,"MemTotal":1000000}"#
                    };
                    let length = body.len();
                    let head =
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nApi-Version: 1.40";
                    if write!(stream, "{head}\r\nContent-Length: {length}\r\n\r\n{body}").is_err() {
                        return;
                    }
                }
            });
        }
    });
    every_verb_says(
        &project,
        "old.sock",
        &[
            "19.03.15",
            "API 1.40, older than 1.41",
            "update Docker Engine",
        ],
    );
}

#[test]
fn what_needs_no_engine_works_without_one() {
    let project = project("minions: {one: {use: duo}}");
    let verbs: [&[&str]; 8] = [
        &["check"],
        &["render"],
        &["schema", "config"],
        &["schema", "minion"],
        &["minion", "list"],
        &["minion", "show", "redis"],
        &["minion", "lint", "redis"],
        &["completions", "bash"],
    ];
    for arguments in verbs {
        let ran = run(project
            .command(arguments)
            .env("DOCKER_HOST", "unix:///nowhere/docker.sock"))
        .ok();
        assert!(!ran.stdout.is_empty(), "{}", ran.arguments);
    }
    let ran = run(project
        .command(&["doctor"])
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock"));
    ran.code(1)
        .says("no container engine answers")
        .says("hint:");
    assert!(
        !project.path(".summoner").exists(),
        "reading verbs write nothing"
    );
}
