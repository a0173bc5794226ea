//! Drills say what a snapshot is worth, and leave nothing behind.

use summoner::backup::manifest::Kind;

use crate::engine_support::Project;
use crate::restore_support::{DESTINATIONS, Snapshot, data_folders, psql};

#[test]
fn a_good_snapshot_is_good_and_a_corrupted_one_is_not() {
    let project = Project::new(&format!("{DESTINATIONS}minions: {{pg: {{use: postgres}}}}"));
    project.up();
    let db = format!("postgres-pg-{}", project.domain);
    psql(
        &db,
        "app",
        "create table notes(t text); insert into notes values ('a'), ('b')",
    );
    let manifest = Snapshot::new(&project, "pg", Kind::Dump)
        .postgres(&db, "app", Some(1))
        .write();
    let good = project.run(&["drill", "--json"]).ok().json();
    let drill = &good["drills"][0];
    assert_eq!(drill["outcome"], "good", "{good}");
    assert_eq!(
        drill["checked"]["databases"][0]["tables"]["public.notes"],
        2
    );
    assert_eq!(drill["checked"]["asserts"].as_array().unwrap().len(), 1);
    nothing_left(&project);

    // A bit of the database turns over.
    let folder = project.path("backups").join(manifest.prefix());
    let object = folder.join("app.sql.zst");
    let mut bytes = std::fs::read(&object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&object, bytes).unwrap();
    let bad = project.run(&["drill", "pg"]).code(4);
    assert!(bad.all().contains("cannot be restored"), "{}", bad.all());
    nothing_left(&project);

    let notes: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with("verified-"))
        .map(|e| std::fs::read_to_string(e.path()).unwrap())
        .collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(
        notes.iter().any(|n| n.contains("\"good\": true")),
        "{notes:?}"
    );
    assert!(
        notes.iter().any(|n| n.contains("\"good\": false")),
        "{notes:?}"
    );
}

fn nothing_left(project: &Project) {
    assert_eq!(data_folders(project, "pg"), ["db"]);
    assert_eq!(project.containers().len(), 1, "{:?}", project.containers());
    let journal = std::fs::read_dir(project.path(".summoner/journal")).unwrap();
    assert_eq!(journal.count(), 0);
}
