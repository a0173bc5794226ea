//! Minions that do not come up, among others that do.

use std::fs;
use std::time::Duration;

use super::common::{
    ABSENT_IMAGE, containers, fails, inspect, names, pair, project, write_variant,
};
use crate::engine_support::{Project, Ran, docker, wait_for};

/// The lines of a log in a message.
fn log(ran: &Ran) -> Vec<&str> {
    ran.stderr
        .lines()
        .filter_map(|l| l.strip_prefix("  | "))
        .collect()
}

fn healthy(project: &Project, instance: &str) {
    for container in pair(project, instance) {
        assert_eq!(
            inspect(&container, "{{.State.Health.Status}}"),
            "healthy",
            "{container}"
        );
    }
}

#[test]
fn an_image_that_cannot_be_had_stops_its_minion_only() {
    let project = project("minions: {bad: {use: nowhere}, good: {use: duo}}");
    write_variant(
        &project,
        "nowhere",
        "summoner-test/tiny:latest",
        ABSENT_IMAGE,
    );
    let ran = project.run(&["up", "--yes"]);
    fails(
        ran,
        3,
        &[
            ABSENT_IMAGE,
            "connection refused",
            "docker pull",
            "not begun",
            "bad/app, bad/db",
        ],
    );
    healthy(&project, "good");
    assert_eq!(names(&project), {
        let mut p = pair(&project, "good");
        p.sort();
        p
    });
    project
        .run(&["plan", "--detailed-exitcode"])
        .code(2)
        .says("bad/db")
        .says(ABSENT_IMAGE);
    // Once it can be had, the next run goes on.
    write_variant(
        &project,
        "nowhere",
        "summoner-test/tiny:latest",
        "summoner-test/tiny:latest",
    );
    project.up();
    healthy(&project, "bad");
}

#[test]
fn a_container_that_dies_at_its_start_shows_its_last_20_lines() {
    let project =
        project("minions:\n  bad: {use: duo, set: {db: \"seq 1 30; exit 7\"}}\n  good: {use: duo}");
    let [_, db] = pair(&project, "bad");
    let ran = project.run(&["up", "--yes"]);
    let ran = fails(
        ran,
        3,
        &[
            &db,
            "restarts over and over",
            "exit code 7",
            "summoner logs bad",
            "bad/app",
        ],
    );
    let wanted: Vec<String> = (11..=30).map(|n| n.to_string()).collect();
    assert_eq!(log(&ran), wanted);
    healthy(&project, "good");
    // It goes on failing, and the next run says so again: nothing to do is not well.
    let ran = fails(project.run(&["up", "--yes"]), 3, &[&db]);
    assert_eq!(log(&ran).last(), Some(&"30"));
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let project = project("minions: {bad: {use: typo}, good: {use: duo}}");
    write_variant(
        &project,
        "typo",
        "    init: true\n    command: [\"sh\", \"-c\", {{ db|yaml }}]",
        "    command: [\"no-such-program\"]",
    );
    fails(
        project.run(&["up", "--yes"]),
        3,
        &[
            "bad/db",
            "no such command: `no-such-program`",
            "summoner render",
        ],
    );
    healthy(&project, "good");
}

#[test]
fn a_container_that_never_gets_healthy_ends_the_wait() {
    let project = project(
        "minions:\n  bad: {use: duo, set: {db: \"echo waiting for a sign; exec sleep 3600\", health: \"false\", start_period: 1h}}\n  good: {use: duo}",
    );
    let [_, db] = pair(&project, "bad");
    let ran = project.run(&["up", "--yes", "--wait-timeout", "6"]);
    let ran = fails(ran, 3, &[&db, "is starting after 6 s", "summoner logs bad"]);
    assert_eq!(log(&ran), ["waiting for a sign"]);
    healthy(&project, "good");
}

#[test]
fn a_container_that_is_unhealthy_from_the_start_is_told_before_the_time_is_over() {
    let project = project(
        "minions:\n  bad: {use: duo, set: {db: \"echo oh dear; exec sleep 3600\", health: \"false\"}}\n  good: {use: duo}",
    );
    let ran = fails(
        project.run(&["up", "--yes"]),
        3,
        &["is unhealthy", "bad/db"],
    );
    assert_eq!(log(&ran), ["oh dear"]);
    healthy(&project, "good");
}

#[test]
fn a_container_that_gets_unhealthy_later_is_told_by_the_next_run() {
    let project = project(
        "minions:\n  bad: {use: duo, set: {db: \"touch /data/well /data/other; echo working; exec sleep 3600\", health: \"test -f /data/well\"}}\n  good: {use: duo}",
    );
    project.up();
    let [_, db] = pair(&project, "bad");
    fs::remove_file(project.path("data/bad/data/well")).unwrap();
    wait_for("unhealthy", Duration::from_secs(30), || {
        (inspect(&db, "{{.State.Health.Status}}") == "unhealthy").then_some(())
    });
    let before = containers(&project);
    let ran = fails(
        project.run(&["up", "--yes"]),
        3,
        &[&db, "is unhealthy", "summoner logs bad"],
    );
    assert_eq!(log(&ran), ["working"]);
    assert_eq!(containers(&project), before, "nothing was touched");
    // The other alone is well.
    project.run(&["up", "good", "--yes"]).ok();
}

#[test]
fn a_container_that_dies_later_is_told_by_the_next_run() {
    let project = project(
        "minions:\n  bad: {use: duo, set: {db: \"touch /data/other; test -f /data/ill && echo farewell && exit 9; exec sleep 3600\"}}\n  good: {use: duo}",
    );
    project.up();
    let [_, db] = pair(&project, "bad");
    fs::write(project.path("data/bad/data/ill"), "").unwrap();
    // Its process ends as if by itself: the engine starts it again, and again.
    let pid = inspect(&db, "{{.State.Pid}}").parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    wait_for("restarts", Duration::from_mins(1), || {
        (inspect(&db, "{{.RestartCount}}").parse::<u32>().unwrap() >= 4).then_some(())
    });
    let ran = fails(
        project.run(&["up", "--yes"]),
        3,
        &[&db, "restarts over and over", "summoner logs bad"],
    );
    assert_eq!(log(&ran).last(), Some(&"farewell"));
    healthy(&project, "good");
    // Cured by hand, all is well.
    fs::remove_file(project.path("data/bad/data/ill")).unwrap();
    docker(&["restart", "-t", "0", &db]);
    wait_for("healthy", Duration::from_secs(30), || {
        (inspect(&db, "{{.State.Health.Status}}") == "healthy").then_some(())
    });
    project.run(&["up", "--yes"]).ok();
}

#[test]
fn a_broken_template_is_told_with_its_line_before_anything_is_touched() {
    let project = project("minions: {good: {use: duo}}");
    project.up();
    let before = containers(&project);
    write_variant(&project, "torn", "{{ app|yaml }}", "{{ nonsense }}");
    write_variant(&project, "worn", "    init: true\n", "    intit: true\n");
    project.configure("minions:\n  good: {use: duo, set: {app: exec sleep 1000}}\n  bad: {use: torn}\n  worse: {use: worn}");
    for arguments in [["up", "--yes"].as_slice(), &["plan"], &["check"]] {
        let words = [
            "minions/torn/compose.yml.j2:5",
            "nonsense",
            "minions/worn/compose.yml.j2",
            "intit",
        ];
        fails(project.run(arguments), 2, &words);
    }
    assert_eq!(containers(&project), before);
    assert!(!project.path(".summoner/build/bad").exists());
    assert!(!project.path("data/bad").exists());
}
