//! Ctrl-C, SIGTERM, and two runs at once.

use std::fs;
use std::time::{Duration, Instant};

use super::common::{
    Guest, containers, fails, inspect, names, pair, project, settled, write_variant,
};
use crate::engine_support::{Project, Running, TINY, docker, wait_for};
use crate::registry_support::Registry;

/// `db` gets healthy when there is a file, and may take an hour.
const SLOW: &str = "set: {health: test -f /data/well, start_period: 1h}";
const PATIENCE: Duration = Duration::from_mins(1);

fn waits(project: &Project, container: &str) {
    wait_for("the new container", PATIENCE, || {
        let seen = crate::engine_support::command(&[
            "inspect",
            "-f",
            "{{.State.Running}} {{.Name}}",
            container,
        ]);
        String::from_utf8_lossy(&seen.stdout)
            .starts_with("true")
            .then_some(())
    });
    let _ = project;
}

/// Starts an installation that does not come to an end.
fn slow(project: &Project) -> Running {
    let run = project.spawn(&["up", "--yes"]);
    waits(project, &pair(project, "one")[1]);
    run
}

#[test]
fn ctrl_c_while_waiting_leaves_what_the_next_run_finishes() {
    for signal in ["INT", "TERM"] {
        let project = project(&format!("minions: {{one: {{use: duo, {SLOW}}}}}"));
        let run = slow(&project);
        run.signal(signal);
        fails(run.end(PATIENCE), 130, &["interrupted", "summoner up"]);
        let [app, db] = pair(&project, "one");
        let id = project.id(&db);
        fs::write(project.path("data/one/data/well"), "").unwrap();
        project.up();
        settled(&project);
        assert_eq!(project.id(&db), id, "what was begun is used");
        assert_eq!(names(&project), {
            let mut both = vec![app, db];
            both.sort();
            both
        });
    }
}

#[test]
fn ctrl_c_during_an_update_brings_the_old_container_back() {
    let project = project("minions: {one: {use: duo}}");
    project.up();
    let [_, db] = pair(&project, "one");
    let before = project.containers();
    project.configure(&format!("minions: {{one: {{use: duo, {SLOW}}}}}"));
    let run = project.spawn(&["up", "--yes"]);
    wait_for("the update", PATIENCE, || {
        let previous = format!("{db}.previous");
        (names(&project).contains(&previous) && inspect(&db, "{{.State.Running}}") == "true")
            .then_some(())
    });
    run.signal("INT");
    fails(
        run.end(PATIENCE),
        130,
        &["interrupted", "the old container runs again"],
    );
    assert_eq!(project.containers(), before);
    assert_eq!(inspect(&db, "{{.State.Health.Status}}"), "healthy");
    project
        .run(&["plan", "--detailed-exitcode"])
        .code(2)
        .says("one/db")
        .says("recreate");
    fs::write(project.path("data/one/data/well"), "").unwrap();
    project.up();
    settled(&project);
}

#[test]
fn ctrl_c_in_a_restart_leaves_no_container_stopped() {
    let project = project(&format!("minions: {{one: {{use: duo, {SLOW}}}}}"));
    let run = slow(&project);
    let well = project.path("data/one/data/well");
    fs::write(&well, "").unwrap();
    run.end(PATIENCE).ok();
    fs::remove_file(&well).unwrap();
    let [app, db] = pair(&project, "one");
    let before = inspect(&db, "{{.State.StartedAt}}");
    let run = project.spawn(&["restart"]);
    wait_for("the restart of the database", PATIENCE, || {
        let now = inspect(&db, "{{.State.Running}} {{.State.StartedAt}}");
        (now.starts_with("true") && !now.ends_with(&before)).then_some(())
    });
    run.signal("INT");
    fails(run.end(PATIENCE), 130, &["interrupted", "summoner restart"]);
    for container in [app, db] {
        assert_eq!(
            inspect(&container, "{{.State.Running}}"),
            "true",
            "{container}"
        );
    }
}

#[test]
fn of_two_runs_the_second_is_told_the_pid_of_the_first() {
    let project = project(&format!("minions: {{one: {{use: duo, {SLOW}}}}}"));
    let first = slow(&project);
    let before = containers(&project);
    let pid = format!("pid {}", first.pid());
    for arguments in [["up", "--yes"].as_slice(), &["down", "--yes"], &["restart"]] {
        fails(
            project.run(arguments),
            11,
            &[
                "another summoner works on this project",
                &pid,
                "summoner up",
            ],
        );
    }
    // Reading needs no lock.
    project.run(&["status"]).ok();
    project.run(&["plan"]).ok();
    project.run(&["up", "--dry-run"]).ok();
    project.run(&["logs"]).ok();
    assert_eq!(containers(&project), before);
    // The lock dies with its holder.
    first.signal("KILL");
    assert_eq!(first.end(PATIENCE).code, -1);
    fs::write(project.path("data/one/data/well"), "").unwrap();
    project.up();
    settled(&project);
}

/// The engine goes on with what it has begun when nobody listens; we do not wait for gigabytes.
#[test]
fn ctrl_c_during_a_pull_ends_it() {
    let registry = Registry::start_with(TINY, &[("io.summoner.test", "pulled")]);
    registry.hold();
    let image = registry.reference("1");
    let project = project("minions: {one: {use: pulls}}");
    write_variant(&project, "pulls", "summoner-test/tiny:latest", &image);
    let run = project.spawn(&["up", "--yes"]);
    registry.wait_for_layer();
    run.signal("INT");
    // The layer never comes.
    fails(run.end(PATIENCE), 130, &["interrupted", "summoner up"]);
    assert!(names(&project).is_empty());
    // The next run pulls it anew.
    registry.release();
    let _image = Guest(&["image", "rm", "-f"], image.clone());
    project.up();
    settled(&project);
    let [app, _] = pair(&project, "one");
    assert_eq!(
        inspect(
            &app,
            "{{.Config.Image}} {{index .Config.Labels \"io.summoner.test\"}}"
        ),
        format!("{image} pulled")
    );
}

/// A database that takes its time to stop is waited for after the first Ctrl-C; after the second
/// nothing is, and the next run takes back what was begun.
#[test]
fn the_second_ctrl_c_ends_at_once() {
    let project = project("minions: {one: {use: stubborn}}");
    write_variant(
        &project,
        "stubborn",
        "stop_grace_period: 1s",
        "stop_grace_period: 2m",
    );
    project.up();
    let [_, db] = pair(&project, "one");
    let before = project.id(&db);
    let deaf = "trap '' TERM; date >> /data/starts; sleep 3600";
    project.configure(&format!(
        "minions: {{one: {{use: stubborn, set: {{db: \"{deaf}\", health: test -f /data/well, start_period: 1h}}}}}}"
    ));
    let run = project.spawn(&["up", "--yes"]);
    let previous = format!("{db}.previous");
    wait_for("the update", PATIENCE, || {
        (names(&project).contains(&previous) && inspect(&db, "{{.State.Running}}") == "true")
            .then_some(())
    });
    run.signal("INT");
    // It cannot be seen from outside that the first was heard, only that the second did not come too early.
    std::thread::sleep(Duration::from_secs(3));
    let second = Instant::now();
    run.signal("INT");
    let ran = run.end(PATIENCE);
    assert!(
        second.elapsed() < Duration::from_secs(5),
        "{:?}",
        second.elapsed()
    );
    assert_eq!(ran.code, -1, "{}", ran.all());
    assert!(
        ran.stderr.contains("Ctrl-C again ends at once"),
        "{}",
        ran.all()
    );
    assert_eq!(project.id(&previous), before, "the old one is not lost");
    // Nobody wants to wait two minutes for the deaf one.
    docker(&["kill", &db]);
    project.configure("minions: {one: {use: stubborn}}");
    project.up();
    settled(&project);
    assert_eq!(inspect(&db, "{{.State.Health.Status}}"), "healthy");
    assert!(
        project.read("data/one/data/starts").lines().count() >= 3,
        "the data stays"
    );
}
