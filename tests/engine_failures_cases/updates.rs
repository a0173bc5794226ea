//! An update that does not come up: the old container runs again.

use std::fs;

use super::common::{
    ABSENT_IMAGE, containers, fails, inspect, names, pair, project, settled, write_duo,
    write_variant,
};
use super::gate::{Gate, When};

#[test]
fn a_new_version_that_does_not_get_healthy_gives_way_to_the_old_one() {
    let project = project("minions: {one: {use: duo}, two: {use: duo}}");
    project.up();
    let before = project.containers();
    let [_, db] = pair(&project, "one");
    fs::write(project.path("data/one/data/precious"), "kept").unwrap();

    project.configure(
        "minions:\n  one: {use: duo, set: {db: \"echo cannot read the old data; exec sleep 3600\", health: \"false\"}}\n  \
         two: {use: duo, set: {app: exec sleep 1800}}",
    );
    let ran = project.run(&["up", "--yes"]);
    fails(
        ran,
        3,
        &[
            &db,
            "is unhealthy",
            "the old container runs again",
            "  | cannot read the old data",
        ],
    );
    assert_eq!(
        project.id(&db),
        before.iter().find(|(n, _)| *n == db).unwrap().1,
        "the very container of before"
    );
    assert_eq!(inspect(&db, "{{.State.Health.Status}}"), "healthy");
    assert_eq!(project.read("data/one/data/precious"), "kept");
    let [two, _] = pair(&project, "two");
    assert_ne!(
        project.id(&two),
        before.iter().find(|(n, _)| *n == two).unwrap().1,
        "the other update went on"
    );
    assert_eq!(names(&project).len(), 4, "nothing is left over");

    let plan = project
        .run(&["plan", "--detailed-exitcode"])
        .code(2)
        .says("one/db")
        .says("recreate");
    assert!(!plan.stdout.contains("two/"), "{}", plan.stdout);
    // Cured, the update goes through.
    project.configure(
        "minions:\n  one: {use: duo, set: {db: \"exec sleep 1234\"}}\n  two: {use: duo, set: {app: exec sleep 1800}}",
    );
    project.up();
    settled(&project);
    assert_eq!(project.read("data/one/data/precious"), "kept");
}

#[test]
fn an_update_whose_image_cannot_be_had_stops_nothing() {
    let project = project("minions: {one: {use: duo}}");
    project.up();
    let before = containers(&project);
    write_variant(&project, "duo", "summoner-test/tiny:latest", ABSENT_IMAGE);
    fails(
        project.run(&["up", "--yes"]),
        3,
        &[ABSENT_IMAGE, "docker pull"],
    );
    assert_eq!(containers(&project), before);
    write_duo(&project, "duo", "1.0.0");
    project.up();
    settled(&project);
    assert_eq!(
        containers(&project),
        before,
        "back to what runs, without touching it"
    );
}

#[test]
fn what_a_killed_update_has_stopped_runs_again_when_the_next_update_fails() {
    for after in ["/stop", "/rename"] {
        let project = project("minions: {one: {use: duo}}");
        project.up();
        let [_, db] = pair(&project, "one");
        let id = project.id(&db);
        project
            .configure("minions: {one: {use: duo, set: {db: exec sleep 99, health: \"false\"}}}");
        Gate::new(&project, When::AfterFirst(after)).run(&project, &["up", "--yes"]);
        assert_eq!(
            inspect(&id, "{{.State.Running}}"),
            "false",
            "the killed run had stopped it"
        );
        fails(
            project.run(&["up", "--yes"]),
            3,
            &["is unhealthy", "the old container runs again"],
        );
        assert_eq!(project.id(&db), id);
        assert_eq!(inspect(&db, "{{.State.Health.Status}}"), "healthy");
        assert_eq!(names(&project).len(), 2, "nothing is left over");
    }
}
