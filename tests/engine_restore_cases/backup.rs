//! Cold backups become data again.

use summoner::backup::manifest::Kind;

use crate::engine_support::{Project, docker};
use crate::restore_support::{DESTINATIONS, Snapshot, blog, data_folders, mysql, psql};

#[test]
fn volumes_and_database_come_back_and_other_passwords_are_no_hindrance() {
    let project = Project::new(&format!("{DESTINATIONS}minions: {{blog: {{}}}}"));
    blog(&project);
    project.up();
    let db = format!("mariadb-blog-{}", project.domain);
    let app = project.container("blog");
    mysql(
        &db,
        "blog",
        "create table posts(id int primary key); insert into posts values (1)",
    );
    std::fs::write(project.path("data/blog/html/upload"), "of then").unwrap();
    docker(&["stop", &app, &db]);
    Snapshot::new(&project, "blog", Kind::Backup)
        .volume("html", &project.path("data/blog/html"))
        .volume("db", &project.path("data/database/blog/db"))
        .write();
    // Everything is lost, passwords too, and begins anew.
    project.run(&["down", "--yes", "--yes-purge", "blog"]).ok();
    project.up();
    assert!(!project.path("data/blog/html/upload").exists());

    project
        .run(&[
            "restore",
            "blog",
            "--kind",
            "backup",
            "--yes-overwrite",
            "blog",
        ])
        .ok();
    assert_eq!(mysql(&db, "blog", "select count(*) from posts"), "1");
    assert_eq!(project.read("data/blog/html/upload"), "of then");
    let folders = data_folders(&project, "blog");
    assert!(
        folders.iter().any(|f| f.starts_with("db.before-")),
        "{folders:?}"
    );
    assert!(!folders.iter().any(|f| f.starts_with('.')), "{folders:?}");
    project.run(&["plan", "--detailed-exitcode"]).ok();
}

#[test]
fn a_backup_of_postgres_takes_the_passwords_of_today() {
    let project = Project::new(&format!("{DESTINATIONS}minions: {{pg: {{use: postgres}}}}"));
    project.up();
    let db = format!("postgres-pg-{}", project.domain);
    psql(
        &db,
        "app",
        "create table notes(t text); insert into notes values ('of then')",
    );
    docker(&["stop", &db]);
    Snapshot::new(&project, "pg", Kind::Backup)
        .volume("db", &project.path("data/database/pg/db"))
        .write();
    project.run(&["down", "--yes", "--yes-purge", "pg"]).ok();
    // Nothing of it exists: the restore makes it, and starts it.
    project
        .run(&["restore", "pg", "--yes-overwrite", "pg"])
        .ok();
    assert_eq!(psql(&db, "app", "select t from notes"), "of then");
    assert_eq!(data_folders(&project, "pg"), ["db"]);
}
