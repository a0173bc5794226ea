//! Removing, protecting, and data folders that are not what they were.

use std::fs;

use super::common::{containers, fails, names, networks, pair, project, settled};
use crate::engine_support::Project;

const BOTH: &str = "minions: {one: {use: duo}, two: {use: duo}}";
const PROTECTED: &str = "minions: {one: {use: duo, protect: true}, two: {use: duo}}";
const TWO: &str = "minions: {two: {use: duo}}";

fn of(project: &Project, instance: &str) -> Vec<String> {
    let pair = pair(project, instance).map(|name| format!("/{name} "));
    containers(project)
        .into_iter()
        .filter(|line| pair.iter().any(|p| line.starts_with(p)))
        .collect()
}

#[test]
fn a_block_that_is_gone_is_a_planned_removal_and_its_data_stays() {
    let project = project(BOTH);
    project.up();
    let two = of(&project, "two");
    let book = project.read(".summoner/secrets.yml");
    project.configure(TWO);
    let plan = project.run(&["plan", "--detailed-exitcode"]).code(2);
    let plan = plan
        .says("- one/db")
        .says("- one/app")
        .says("its block is gone from config.yml")
        .says("data: kept");
    assert!(!plan.stdout.contains("two/"), "{}", plan.stdout);
    fails(
        project.run(&["up"]),
        1,
        &["cannot ask without a terminal", "--yes"],
    );
    assert_eq!(of(&project, "one").len(), 2, "not without a yes");
    project.up();
    settled(&project);
    assert!(of(&project, "one").is_empty());
    assert_eq!(networks(&project).len(), 1);
    assert!(!project.path(".summoner/build/one").exists());
    assert_eq!(of(&project, "two"), two, "the other was not touched");
    assert_eq!(project.read("data/one/data/starts").lines().count(), 1);
    // Back it comes, with the same data and the same password.
    project.configure(BOTH);
    project.up();
    assert_eq!(project.read("data/one/data/starts").lines().count(), 2);
    assert_eq!(project.read(".summoner/secrets.yml"), book);
}

#[test]
fn a_protected_minion_is_not_removed_even_when_its_block_is_gone() {
    let project = project(PROTECTED);
    project.up();
    let before = containers(&project);
    let refused = [
        "`one` is protected and will not be removed",
        "protect: true",
        "config.yml",
    ];
    // Whatever else is wanted in the same run waits as well.
    project.configure("minions: {two: {use: duo, set: {app: exec sleep 77}}}");
    for arguments in [["up", "--yes"].as_slice(), &["plan"], &["up", "--dry-run"]] {
        fails(project.run(arguments), 5, &refused);
    }
    project.configure(PROTECTED);
    let downs: [&[&str]; 5] = [
        &["down", "--yes"],
        &["down", "one", "--yes"],
        &["down", "one", "two", "--yes"],
        &["down", "--purge", "one", "--yes-purge", "one"],
        &["down", "--dry-run"],
    ];
    for arguments in downs {
        fails(project.run(arguments), 5, &refused);
    }
    project.configure(TWO);
    fails(project.run(&["down", "one", "--yes"]), 5, &refused);
    assert_eq!(containers(&project), before, "nothing was touched");
    assert!(project.path("data/one/data/starts").exists());
    // Others can be worked on alone.
    project.run(&["up", "two", "--yes"]).ok();
    project.run(&["down", "two", "--yes"]).ok();
    assert_eq!(
        of(&project, "one"),
        before
            .iter()
            .filter(|l| l.contains("one-"))
            .cloned()
            .collect::<Vec<_>>()
    );
    // The way out that is told: the block comes back without its protection, then it may go.
    project.configure(BOTH);
    project.up();
    project.configure(TWO);
    project.up();
    assert!(of(&project, "one").is_empty());
    assert!(
        project.path("data/one/data/starts").exists(),
        "and its data is still there"
    );
}

#[test]
fn only_a_purge_with_the_name_deletes_data() {
    let project = project(BOTH);
    project.up();
    fails(
        project.run(&["down", "--purge", "one", "--yes"]),
        1,
        &["cannot ask without a terminal", "--yes-purge one"],
    );
    assert_eq!(names(&project).len(), 4);
    project.run(&["down", "one", "--yes"]).ok();
    assert!(project.path("data/one/data/starts").exists());
    let two = of(&project, "two");
    let ran = project.run(&["down", "--yes-purge", "one"]).ok();
    ran.says("DELETED for good");
    assert!(!project.path("data/one").exists());
    assert!(project.path("data/two/data/starts").exists());
    assert_eq!(of(&project, "two"), two);
    project.up();
    assert_eq!(
        project.read("data/one/data/starts").lines().count(),
        1,
        "begun anew"
    );
}

#[test]
fn a_data_folder_that_is_empty_or_gone_is_not_begun_anew() {
    let project = project(BOTH);
    project.up();
    let (data, aside) = (project.path("data/one/data"), project.path("aside"));
    let path = format!("`{}` of `one` held data before", data.display());
    // As after a restart of the machine without that disk: containers stopped or not there.
    let [app, db] = pair(&project, "one");
    crate::engine_support::docker(&["rm", "-f", &app, &db]);
    let before = containers(&project);
    fs::rename(&data, &aside).unwrap();
    for how in ["is gone now", "is empty now"] {
        for arguments in [
            ["up", "--yes"].as_slice(),
            &["plan"],
            &["up", "one", "--yes"],
        ] {
            fails(
                project.run(arguments),
                5,
                &[&path, how, "mount the disk", "down --purge one"],
            );
        }
        fs::create_dir_all(&data).unwrap();
    }
    assert_eq!(containers(&project), before);
    assert_eq!(
        fs::read_dir(&data).unwrap().count(),
        0,
        "nothing began to fill it"
    );
    fs::remove_dir(&data).unwrap();
    fs::rename(&aside, &data).unwrap();
    project.up();
    settled(&project);
    assert_eq!(project.read("data/one/data/starts").lines().count(), 2);
    // Meant to be gone: the way out that is told.
    crate::engine_support::docker(&["rm", "-f", &app, &db]);
    fs::remove_dir_all(&data).unwrap();
    fails(project.run(&["up", "--yes"]), 5, &["is gone now"]);
    project
        .run(&["down", "--purge", "one", "--yes-purge", "one"])
        .ok();
    project.up();
    assert_eq!(project.read("data/one/data/starts").lines().count(), 1);
}

#[test]
fn a_disk_that_is_not_mounted_is_noticed() {
    let project = project("minions: {one: {use: duo}}");
    let data = project.path("data");
    fs::create_dir(&data).unwrap();
    let mounted = super::state::Tmpfs::mount(&data, "1m");
    project.up();
    let [app, db] = pair(&project, "one");
    crate::engine_support::docker(&["rm", "-f", &app, &db]);
    drop(mounted);
    fails(
        project.run(&["up", "--yes"]),
        5,
        &["held data before and is gone now", "mount the disk"],
    );
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
    assert!(names(&project).is_empty());
}
