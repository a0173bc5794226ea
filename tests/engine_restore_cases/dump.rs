//! Dumps become data again.

use summoner::backup::manifest::Kind;

use crate::engine_support::Project;
use crate::restore_support::{DESTINATIONS, Snapshot, data_folders, psql};

#[test]
fn f19_postgres_rows_are_what_they_were_and_the_old_data_is_kept() {
    let project = Project::new(&format!("{DESTINATIONS}minions: {{pg: {{use: postgres}}}}"));
    project.up();
    let db = format!("postgres-pg-{}", project.domain);
    psql(&db, "app", "create table notes(t text); insert into notes values ('kept'); create role reader; grant select on notes to reader");
    Snapshot::new(&project, "pg", Kind::Dump)
        .postgres(&db, "app", Some(1))
        .write();
    psql(&db, "app", "update notes set t = 'changed'; create table later(x int)");

    // Without a terminal and without the word nothing happens.
    let refused = project.run(&["restore", "pg"]);
    assert_ne!(refused.code, 0, "{}", refused.all());
    assert!(refused.all().contains("--yes-overwrite pg"), "{}", refused.all());
    assert_eq!(psql(&db, "app", "select t from notes"), "changed");

    let restored = project
        .run(&["restore", "pg", "--yes-overwrite", "pg", "--no-safety-dump"])
        .ok();
    assert!(restored.all().contains("rm -rf"), "{}", restored.all());
    assert_eq!(psql(&db, "app", "select t from notes"), "kept");
    assert_eq!(psql(&db, "app", "select to_regclass('later') is null"), "t");
    assert_eq!(
        psql(&db, "app", "select has_table_privilege('reader', 'notes', 'select')"),
        "t"
    );
    let folders = data_folders(&project, "pg");
    assert_eq!(folders.len(), 2, "{folders:?}");
    assert!(folders.iter().any(|f| f.starts_with("db.before-")), "{folders:?}");
    assert_eq!(project.containers().len(), 1, "{:?}", project.containers());
    // Nothing is left to do for `up`.
    project.run(&["plan", "--detailed-exitcode"]).ok();
}
