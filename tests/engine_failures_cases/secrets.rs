//! `secrets.yml` lost while the data that it opens is there.

use std::fs;

use super::common::{containers, fails, inspect, names, pair, project, settled};
use crate::engine_support::{Project, docker};

const BOOK: &str = ".summoner/secrets.yml";
const ENV: &str = ".summoner/build/one/.env";

fn password(project: &Project) -> String {
    let [_, db] = pair(project, "one");
    let environment = inspect(&db, "{{range .Config.Env}}{{println .}}{{end}}");
    environment
        .lines()
        .find_map(|l| l.strip_prefix("PASSWORD="))
        .unwrap()
        .to_owned()
}

fn lose(project: &Project, files: &[&str]) {
    for file in files {
        fs::remove_file(project.path(file)).unwrap();
    }
}

/// After an `up` everything works with the same password, and it is written down again.
fn recovered(project: &Project, before: &str) {
    project.up();
    settled(project);
    assert_eq!(password(project), before);
    assert!(project.read(BOOK).contains(before));
    assert!(project.read(ENV).contains(before));
}

#[test]
fn lost_passwords_come_back_from_where_they_are_used() {
    let project = project("minions: {one: {use: duo}}");
    project.up();
    let before = password(&project);
    lose(&project, &[BOOK]);
    recovered(&project, &before);
    lose(&project, &[BOOK, ENV]);
    let plan = project.run(&["plan"]).ok();
    assert!(!plan.all().contains(&before));
    assert!(!project.path(BOOK).exists(), "a plan writes nothing");
    recovered(&project, &before);
    // A stopped container knows it too.
    docker(&["stop", &pair(&project, "one")[1]]);
    lose(&project, &[BOOK, ENV]);
    recovered(&project, &before);
}

#[test]
fn passwords_that_nobody_knows_any_more_are_refused_with_two_ways_out() {
    let project = project("minions: {one: {use: duo}}");
    project.up();
    let before = password(&project);
    lose(&project, &[BOOK, ENV]);
    let [app, db] = pair(&project, "one");
    docker(&["rm", "-f", &app, &db]);
    for arguments in [["up", "--yes"].as_slice(), &["plan"], &["up", "--dry-run"]] {
        let words = [
            "the passwords of `one` are lost (password)",
            "secrets.yml",
            "set: {password",
            "down --purge one",
        ];
        fails(project.run(arguments), 5, &words);
    }
    assert!(names(&project).is_empty());
    assert!(!project.path(BOOK).exists());
    // A `down` does not hide the loss.
    project.run(&["down", "--yes"]).ok();
    fails(project.run(&["up", "--yes"]), 5, &["are lost"]);
    // The first way: the password is still known to somebody.
    project.configure(&format!(
        "minions: {{one: {{use: duo, set: {{password: {before}}}}}}}"
    ));
    project.up();
    assert_eq!(password(&project), before);
    // The second: the data is of no worth.
    project.configure("minions: {one: {use: duo}}");
    lose(&project, &[ENV]);
    docker(&["rm", "-f", &app, &db]);
    fails(project.run(&["up", "--yes"]), 5, &["are lost"]);
    project
        .run(&["down", "--purge", "one", "--yes-purge", "one"])
        .ok();
    assert!(!project.path("data/one").exists());
    project.up();
    assert_ne!(password(&project), before, "a new one for new data");
}

#[test]
fn taking_a_minion_down_keeps_the_password_that_only_its_container_knew() {
    let project = project("minions: {one: {use: duo}}");
    project.up();
    let before = password(&project);
    lose(&project, &[BOOK, ENV]);
    project.run(&["down", "--yes"]).ok();
    assert!(names(&project).is_empty());
    recovered(&project, &before);
}

#[test]
fn a_real_database_opens_with_the_recovered_password() {
    let project = Project::new("minions: {db: {use: mariadb}}");
    project.up();
    let name = names(&project).remove(0);
    let sql = |text: &str| {
        let line = format!(
            "MYSQL_PWD=\"$MARIADB_PASSWORD\" mariadb -h 127.0.0.1 -u app app -N -e \"{text}\""
        );
        docker(&["exec", &name, "sh", "-c", &line])
            .trim()
            .to_owned()
    };
    sql("create table notes (text varchar(20)); insert into notes values ('kept')");
    let book = project.read(BOOK);
    lose(&project, &[BOOK, ".summoner/build/db/.env"]);
    project.up();
    settled(&project);
    assert_eq!(sql("select text from notes"), "kept");
    // Passwords of the book, without the key of the hashes, which is made anew.
    let passwords = |book: &str| book.split_once("minions:").unwrap().1.to_owned();
    assert_eq!(passwords(&project.read(BOOK)), passwords(&book));

    lose(&project, &[BOOK, ".summoner/build/db/.env"]);
    docker(&["rm", "-f", &name]);
    let before = containers(&project);
    fails(
        project.run(&["up", "--yes"]),
        5,
        &["the passwords of `db` are lost", "db_password"],
    );
    assert_eq!(containers(&project), before);
    // Back from the copy that the file asks for.
    project.write(BOOK, &book);
    project.up();
    assert_eq!(sql("select text from notes"), "kept");
}
