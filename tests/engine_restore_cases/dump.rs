//! Dumps become data again.

use std::time::Duration;

use summoner::backup::manifest::Kind;

use crate::engine_support::{Project, wait_for};
use crate::restore_support::{DESTINATIONS, Snapshot, blog, data_folders, mysql, psql};

#[test]
fn f19_postgres_rows_are_what_they_were_and_the_old_data_is_kept() {
    let project = Project::new(&format!("{DESTINATIONS}minions: {{pg: {{use: postgres}}}}"));
    project.up();
    let db = format!("postgres-pg-{}", project.domain);
    psql(
        &db,
        "app",
        "create table notes(t text); insert into notes values ('kept'); create role reader; grant select on notes to reader",
    );
    Snapshot::new(&project, "pg", Kind::Dump)
        .postgres(&db, "app", Some(1))
        .write();
    psql(
        &db,
        "app",
        "update notes set t = 'changed'; create table later(x int)",
    );

    // Without a terminal and without the word nothing happens.
    let refused = project.run(&["restore", "pg"]);
    assert_ne!(refused.code, 0, "{}", refused.all());
    assert!(
        refused.all().contains("--yes-overwrite pg"),
        "{}",
        refused.all()
    );
    assert_eq!(psql(&db, "app", "select t from notes"), "changed");

    let restored = project
        .run(&["restore", "pg", "--yes-overwrite", "pg"])
        .ok();
    assert!(restored.all().contains("rm -rf"), "{}", restored.all());
    assert_eq!(psql(&db, "app", "select t from notes"), "kept");
    assert_eq!(psql(&db, "app", "select to_regclass('later') is null"), "t");
    assert_eq!(
        psql(
            &db,
            "app",
            "select has_table_privilege('reader', 'notes', 'select')"
        ),
        "t"
    );
    let folders = data_folders(&project, "pg");
    assert_eq!(folders.len(), 2, "{folders:?}");
    assert!(
        folders.iter().any(|f| f.starts_with("db.before-")),
        "{folders:?}"
    );
    assert_eq!(project.containers().len(), 1, "{:?}", project.containers());
    // Nothing is left to do for `up`.
    project.run(&["plan", "--detailed-exitcode"]).ok();
}

#[test]
fn mariadb_of_an_application_comes_back_and_its_passwords_are_those_of_today() {
    let project = Project::new(&format!("{DESTINATIONS}minions: {{blog: {{}}}}"));
    blog(&project);
    project.up();
    let db = format!("mariadb-blog-{}", project.domain);
    mysql(
        &db,
        "blog",
        "create table posts(id int primary key, t text); insert into posts values (1, 'kept')",
    );
    let manifest = Snapshot::new(&project, "blog", Kind::Dump)
        .mariadb(&db, "blog", Some(1))
        .write();
    mysql(
        &db,
        "blog",
        "update posts set t = 'changed'; create table later(x int)",
    );
    std::fs::write(project.path("data/blog/html/upload"), "of today").unwrap();

    // Beside the live data, by the end of the id.
    let scratch = project
        .run(&[
            "restore",
            "blog",
            "--from",
            manifest.id.short(),
            "--into",
            "scratch",
        ])
        .ok();
    assert!(scratch.stdout.contains("would be"), "{}", scratch.all());
    assert_eq!(mysql(&db, "blog", "select t from posts"), "changed");
    assert!(
        data_folders(&project, "blog")
            .iter()
            .any(|f| f.starts_with(".db.restore-"))
    );

    project
        .run(&["restore", "blog", "--yes-overwrite", "blog"])
        .ok()
        .says("true: select count(*) > 0 from posts");
    assert_eq!(mysql(&db, "blog", "select t from posts"), "kept");
    assert_eq!(mysql(&db, "blog", "show tables"), "posts");
    assert_eq!(project.read("data/blog/html/upload"), "of today");
    // nginx looks addresses up again after two seconds.
    wait_for("the page", Duration::from_secs(20), || {
        (project.status("blog", "/") == "200").then_some(())
    });
}

#[test]
fn f19_a_restore_that_fails_halfway_leaves_live_data_as_it_was() {
    let project = Project::new(&format!("{DESTINATIONS}minions: {{pg: {{use: postgres}}}}"));
    project.up();
    let db = format!("postgres-pg-{}", project.domain);
    let id = project.id(&db);
    psql(
        &db,
        "app",
        "create table notes(t text); insert into notes values ('live')",
    );
    let broken =
        |bytes: &mut Vec<u8>| bytes.extend_from_slice(b"\nSELECT * FROM nothing_of_this_name;\n");
    Snapshot::new(&project, "pg", Kind::Dump)
        .postgres(&db, "app", Some(1))
        .change(broken)
        .write();
    let restore = ["restore", "pg", "--yes-overwrite", "pg"];
    let failed = project.run(&restore).code(4);
    assert!(
        failed.all().contains("nothing_of_this_name"),
        "{}",
        failed.all()
    );

    // A table less than was dumped.
    Snapshot::new(&project, "pg", Kind::Dump)
        .postgres(&db, "app", Some(2))
        .write();
    project
        .run(&restore)
        .code(4)
        .says("had 2 when it was dumped");

    assert_eq!(project.id(&db), id, "never stopped, never made anew");
    assert_eq!(psql(&db, "app", "select t from notes"), "live");
    assert_eq!(data_folders(&project, "pg"), ["db"]);
    assert_eq!(project.containers().len(), 1, "{:?}", project.containers());
}

#[test]
fn postgres_15_becomes_17_by_dump_and_restore() {
    let of = |version: &str| {
        format!("{DESTINATIONS}minions: {{pg: {{use: postgres, version: \"{version}\"}}}}")
    };
    let project = Project::new(&of("15.20"));
    project.up();
    let db = format!("postgres-pg-{}", project.domain);
    psql(
        &db,
        "app",
        "create table notes(t text); insert into notes values ('kept'); alter table notes owner to app",
    );
    Snapshot::new(&project, "pg", Kind::Dump)
        .postgres(&db, "app", Some(1))
        .write();

    project.configure(&of("17.12"));
    let restore = ["restore", "pg", "--yes-overwrite", "pg"];
    // It still runs 15.
    project.run(&restore).code(5).says("summoner down pg");
    assert_eq!(psql(&db, "app", "select t from notes"), "kept");
    project.run(&["down", "pg", "--yes"]).ok();
    project.run(&restore).ok();
    assert!(psql(&db, "app", "select version()").contains(" 17."));
    assert_eq!(psql(&db, "app", "select t from notes"), "kept");
    assert_eq!(
        psql(
            &db,
            "app",
            "select tableowner from pg_tables where tablename = 'notes'"
        ),
        "app"
    );
}

#[test]
fn files_are_unpacked_and_a_minion_that_left_config_yml_is_explained() {
    let project = Project::new(&format!(
        "{DESTINATIONS}minions:\n  pg:  # ours\n    use: postgres"
    ));
    project.up();
    let db = format!("postgres-pg-{}", project.domain);
    psql(
        &db,
        "app",
        "create table notes(t text); insert into notes values ('kept')",
    );
    Snapshot::new(&project, "pg", Kind::Dump)
        .postgres_custom(&db, "app")
        .write();
    project.configure(&format!("{DESTINATIONS}minions: {{}}"));
    let folder = project.path("out");
    project
        .run(&["restore", "pg", "--to-dir", folder.to_str().unwrap()])
        .ok();
    assert!(
        std::fs::read(folder.join("app.dump"))
            .unwrap()
            .starts_with(b"PGDMP")
    );
    assert!(folder.join("manifest.json").exists());
    let explained = project.run(&["restore", "pg"]).code(2);
    assert!(
        explained
            .stdout
            .contains("  pg:  # ours\n    use: postgres"),
        "{}",
        explained.all()
    );
}
