//! SIGKILL before and after every single request that changes something: the next `up` finishes.

use std::collections::BTreeSet;
use std::fs;

use super::common::{names, networks, pair, project};
use super::gate::{Gate, When};
use crate::engine_support::Project;

/// All is as config.yml says: these containers and no others, networks once each, data kept.
fn whole(project: &Project, instances: &[&str], at: &str) {
    let plan = project.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(
        plan.code,
        0,
        "killed {at}: something is left to do\n{}",
        plan.all()
    );
    let mut wanted: Vec<String> = instances.iter().flat_map(|i| pair(project, i)).collect();
    wanted.sort();
    assert_eq!(names(project), wanted, "killed {at}");
    let networks = networks(project);
    let unique: BTreeSet<&String> = networks.iter().collect();
    assert_eq!(
        (networks.len(), unique.len()),
        (instances.len(), instances.len()),
        "killed {at}: {networks:?}"
    );
    assert_eq!(
        project.read("data/one/data/precious"),
        "kept",
        "killed {at}"
    );
}

/// Kills `up` at each request in turn, and lets the next one finish. `prepare` makes the state
/// before, `finished` is what runs at the end; at least `least` requests there must be.
fn at_every_request(
    project: &Project,
    when: fn(usize) -> When,
    least: usize,
    prepare: impl Fn(usize),
    finished: &[&str],
) {
    project.up();
    fs::write(project.path("data/one/data/precious"), "kept").unwrap();
    let mut k = 1;
    loop {
        prepare(k);
        let gate = Gate::new(project, when(k));
        let Some(request) = gate.run(project, &["up", "--yes"]) else {
            break;
        };
        project.up();
        whole(project, finished, &format!("{:?} ({request})", when(k)));
        k += 1;
        assert!(k < 60, "it never comes to an end");
    }
    assert!(k > least, "only {k} requests");
}

const ONE: &str = "minions: {one: {use: duo}}";

/// A network, two containers made and started.
fn installation(when: fn(usize) -> When) {
    let project = project(ONE);
    let prepare = |_| drop(project.run(&["down", "--yes"]).ok());
    at_every_request(&project, when, 5, prepare, &["one"]);
}

/// Of each of the two: made, old one stopped, two renamed, started, old one removed.
fn update(when: fn(usize) -> When) {
    let project = project(ONE);
    let prepare = |k: usize| {
        let text = format!("exec sleep {}", 1000 + k);
        project.configure(&format!(
            "minions: {{one: {{use: duo, set: {{app: {text}, db: {text}}}}}}}"
        ));
    };
    at_every_request(&project, when, 12, prepare, &["one"]);
}

/// Two stopped and removed, a network removed.
fn removal(when: fn(usize) -> When) {
    let project = project(ONE);
    let prepare = |_| {
        project.configure("minions: {one: {use: duo}, two: {use: duo}}");
        project.up();
        project.configure("minions: {two: {use: duo}}");
    };
    at_every_request(&project, when, 5, prepare, &["two"]);
}

#[test]
fn an_installation_killed_before_any_request_is_finished_by_the_next_run() {
    installation(When::Before);
}

#[test]
fn an_installation_killed_after_any_request_is_finished_by_the_next_run() {
    installation(When::After);
}

#[test]
fn an_update_killed_before_any_request_is_finished_by_the_next_run() {
    update(When::Before);
}

#[test]
fn an_update_killed_after_any_request_is_finished_by_the_next_run() {
    update(When::After);
}

#[test]
fn a_removal_killed_before_any_request_is_finished_by_the_next_run() {
    removal(When::Before);
}

#[test]
fn a_removal_killed_after_any_request_is_finished_by_the_next_run() {
    removal(When::After);
}
