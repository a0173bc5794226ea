//! SIGKILL before and after every single request that changes something: the next `up` finishes.

use std::collections::BTreeSet;
use std::fs;

use super::common::{names, networks, pair, project, settled};
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

/// Kills `arguments` at each request in turn, and lets `up` finish. `prepare` makes the state
/// before, `check` looks at the end; at least `least` requests there must be.
fn at_every_request(project: &Project, least: usize, prepare: impl Fn(usize), finished: &[&str]) {
    project.up();
    fs::write(project.path("data/one/data/precious"), "kept").unwrap();
    for when in [When::Before, When::After] {
        let mut k = 1;
        loop {
            prepare(k);
            let Some(request) = Gate::new(project, when(k)).run(project, &["up", "--yes"]) else {
                break;
            };
            project.up();
            whole(project, finished, &format!("{:?} ({request})", when(k)));
            k += 1;
            assert!(k < 60, "it never comes to an end");
        }
        assert!(k > least, "only {k} requests");
    }
}

const ONE: &str = "minions: {one: {use: duo}}";

#[test]
fn an_installation_killed_anywhere_is_finished_by_the_next_run() {
    let project = project(ONE);
    // A network, two containers made and started.
    at_every_request(
        &project,
        5,
        |_| drop(project.run(&["down", "--yes"]).ok()),
        &["one"],
    );
}

#[test]
fn an_update_killed_anywhere_is_finished_by_the_next_run() {
    let project = project(ONE);
    let other = |k: usize| {
        let text = format!("exec sleep {}", 1000 + k);
        project.configure(&format!(
            "minions: {{one: {{use: duo, set: {{app: {text}, db: {text}}}}}}}"
        ));
    };
    // Of each of the two: made, old one stopped, two renamed, started, old one removed.
    // Kills before take one lot of numbers, kills after the other: each is an update.
    let turn = std::cell::Cell::new(0);
    let prepare = |_| {
        turn.set(turn.get() + 1);
        other(turn.get());
    };
    at_every_request(&project, 12, prepare, &["one"]);
}

#[test]
fn a_removal_killed_anywhere_is_finished_by_the_next_run() {
    let project = project(ONE);
    let both = "minions: {one: {use: duo}, two: {use: duo}}";
    let prepare = |_| {
        project.configure(both);
        project.up();
        project.configure("minions: {two: {use: duo}}");
    };
    // Two stopped and removed, a network removed.
    at_every_request(&project, 5, prepare, &["two"]);
    settled(&project);
}
