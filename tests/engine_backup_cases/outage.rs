//! How long it is cold, and how cold.

use std::fs;

use super::common::{
    IDLE, both_run, container, journal, manifests, no_copies, project, started, unpack,
};
use crate::engine_support::{Project, docker};

#[test]
fn the_outage_copies_what_changed_and_not_what_is_there() {
    let project = project("while :; do date > /data/busy; sleep 0.1; done", "", "", 80);
    let ran = project
        .run(&["backup", "--method", "two_pass", "--json"])
        .ok();
    let made = &ran.json()["minions"][0];
    let volume = &made["volumes"][0];
    assert!(volume["plain_bytes"].as_u64().unwrap() > 80 << 20);
    assert!(
        volume["outage_bytes"].as_u64().unwrap() < 64 << 10,
        "{volume}"
    );
    assert_eq!(made["outcome"], "complete", "{}", ran.all());
    assert!(
        made["outage"]["downtime_ms"].as_u64().unwrap()
            >= made["outage"]["copy_ms"].as_u64().unwrap()
    );
    assert_eq!(
        made["outage"]["stopped"],
        serde_json::json!(["back", "app"])
    );
}

#[test]
fn f10_a_service_that_has_to_be_killed_makes_the_snapshot_suspect() {
    let project = project(IDLE, "", "", 1);
    let compose = project.read("minions/duo/compose.yml.j2");
    // As PID 1 a shell that ignores the signal.
    let deaf = compose.replacen("    init: true\n", "", 1).replacen(
        IDLE,
        "trap '' TERM; while :; do sleep 1; done",
        1,
    );
    project.write("minions/duo/compose.yml.j2", &deaf);
    project.up();
    project
        .run(&["backup"])
        .code(3)
        .says("`app` did not stop within its grace period");
    let manifest = manifests(&project).pop().unwrap();
    assert_eq!(manifest["status"], "suspect");
    assert!(both_run(&project));
}

#[test]
fn an_outage_longer_than_max_downtime_is_ended_and_nothing_is_committed() {
    let project = project(IDLE, "", ", cold: {max_downtime: 1s}", 120);
    project
        .run(&["backup", "--method", "copy"])
        .code(3)
        .says("longer than `max_downtime` of 1 s");
    assert!(both_run(&project));
    assert!(manifests(&project).is_empty() && journal(&project).is_none() && no_copies(&project));
}

const QUIET: &str = "quiesce: {service: app, before: [touch, /data/quiet], after: [sh, -c, 'rm /data/quiet && touch /data/loud']}";

#[test]
fn the_application_is_told_before_and_after() {
    let project = project(IDLE, QUIET, "", 1);
    project.run(&["backup"]).ok();
    let into = project.path("unpacked");
    unpack(&project, "data.tar.zst", &into);
    assert!(
        into.join("quiet").exists(),
        "it was quiet when it was copied"
    );
    assert!(!project.path("data/one/data/quiet").exists());
    assert!(project.path("data/one/data/loud").exists());
}

#[test]
fn a_command_before_that_fails_stops_nothing_and_the_one_after_is_run() {
    let before = QUIET.replace(
        "[touch, /data/quiet]",
        "[sh, -c, 'touch /data/quiet; echo no licence >&2; exit 3']",
    );
    let project = project(IDLE, &before, "", 1);
    let app = container(&project, "app");
    let then = started(&app);
    project
        .run(&["backup"])
        .code(1)
        .says("no licence")
        .says("nothing was stopped");
    assert_eq!(started(&app), then);
    assert!(
        project.path("data/one/data/loud").exists()
            && !project.path("data/one/data/quiet").exists()
    );
    assert!(journal(&project).is_none());
}

#[test]
fn a_container_that_does_not_come_back_outranks_everything() {
    let project = project(IDLE, "", "", 30);
    let app = container(&project, "app");
    // Somebody removes it while the copy is being made.
    let running = project.spawn(&["backup", "--method", "copy"]);
    crate::engine_support::wait_for("it stops", std::time::Duration::from_mins(1), || {
        (!super::common::runs(&app)).then_some(())
    });
    docker(&["rm", "-f", &app]);
    running
        .end(std::time::Duration::from_mins(2))
        .code(6)
        .says("`one/app` is not as it was before the backup");
    assert!(
        journal(&project).is_some(),
        "what is left to do is not forgotten"
    );
    project.up();
    project.run(&["recover"]).ok();
    assert!(journal(&project).is_none() && both_run(&project));
}

#[test]
fn real_databases_are_saved_cold_and_start_from_the_copy() {
    let project = Project::new(
        "destinations: {disk: {dir: ./backups}}\nbackup: {to: [disk]}\nminions: {one: {use: postgres}, two: {use: mariadb}}",
    );
    project.up();
    let psql = |sql: &str| {
        let line =
            format!("PGPASSWORD=$APP_PASSWORD psql -h 127.0.0.1 -U app -d app -qtAXc \"{sql}\"");
        project
            .run(&["exec", "-T", "one/db", "sh", "-c", &line])
            .ok()
    };
    psql("create table t as select n, md5(n::text) as h from generate_series(1, 50000) n");
    let ran = project.run(&["backup", "--json"]).ok();
    for made in ran.json()["minions"].as_array().unwrap() {
        assert_eq!(made["outcome"], "complete", "{}", ran.all());
        assert_eq!(made["outage"]["stopped"], serde_json::json!(["db"]));
    }
    let manifest = manifests(&project).pop().unwrap();
    let database = &manifest["databases"][0];
    assert_eq!(
        (
            &database["service"],
            &database["exit_code"],
            &database["consistency"]
        ),
        (&"db".into(), &0.into(), &"cold".into())
    );

    // The copy takes the place of the data: it starts, and the rows are there.
    project.run(&["down", "--yes"]).ok();
    let live = project.path("data/database/one/db");
    fs::rename(&live, project.path("aside")).unwrap();
    unpack(&project, "db.tar.zst", &live);
    project.up();
    psql("select count(*), count(distinct h) from t").says("50000|50000");
}
