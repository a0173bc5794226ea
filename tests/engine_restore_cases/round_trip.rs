//! What our own `dump` and `backup` write, our own `verify`, `drill` and `restore` bring back.

use crate::engine_support::Project;
use crate::restore_support::{DESTINATIONS, blog, mysql, psql};

#[test]
fn what_dump_and_backup_made_is_verified_drilled_and_restored() {
    let project = Project::new(&format!(
        "{DESTINATIONS}minions: {{blog: {{}}, pg: {{use: postgres}}}}"
    ));
    blog(&project);
    project.up();
    let maria = format!("mariadb-blog-{}", project.domain);
    let pg = format!("postgres-pg-{}", project.domain);
    mysql(
        &maria,
        "blog",
        "create table posts(id int primary key, body text); insert into posts values (1, 'of the dump')",
    );
    psql(
        &pg,
        "app",
        "create table notes(t text); insert into notes values ('of the dump')",
    );
    project.run(&["dump"]).ok();
    mysql(&maria, "blog", "update posts set body = 'of the backup'");
    psql(&pg, "app", "update notes set t = 'of the backup'");
    std::fs::write(project.path("data/blog/html/upload"), "of the backup").unwrap();
    project.run(&["backup"]).ok();
    project.run(&["verify", "--read-data"]).ok();
    project.run(&["drill"]).ok();
    let listed = project.run(&["snapshots", "--json"]).ok().json();
    let all = listed["snapshots"].as_array().expect("a list");
    assert_eq!(all.len(), 4, "{listed:#}");

    mysql(&maria, "blog", "drop table posts");
    psql(&pg, "app", "drop table notes");
    std::fs::write(project.path("data/blog/html/upload"), "of now").unwrap();
    let restore = |minion: &str, kind: &str| {
        let arguments = ["restore", minion, "--kind", kind, "--yes-overwrite", minion];
        project.run(&arguments).ok();
    };
    restore("blog", "backup");
    restore("pg", "backup");
    let body = || mysql(&maria, "blog", "select body from posts");
    let note = || psql(&pg, "app", "select t from notes");
    assert_eq!(
        (body().as_str(), note().as_str()),
        ("of the backup", "of the backup")
    );
    assert_eq!(project.read("data/blog/html/upload"), "of the backup");
    restore("blog", "dump");
    restore("pg", "dump");
    assert_eq!(
        (body().as_str(), note().as_str()),
        ("of the dump", "of the dump")
    );
    // A dump holds no volumes: theirs stay.
    assert_eq!(project.read("data/blog/html/upload"), "of the backup");
    project.run(&["plan", "--detailed-exitcode"]).ok();
}
