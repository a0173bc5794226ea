//! `kill -9` at any moment of a restore.

use std::time::Duration;

use summoner::backup::manifest::Kind;

use crate::engine_support::{Project, wait_for};
use crate::restore_support::{DESTINATIONS, Snapshot, data_folders, psql};

/// What is on the disk when the run is killed.
fn sees(project: &Project, moment: &str) -> bool {
    let journal = project.path(".summoner/journal");
    match moment {
        "scratch" => std::fs::read_dir(journal)
            .into_iter()
            .flatten()
            .flatten()
            .any(|e| e.file_name().to_string_lossy().starts_with("scratch-")),
        phase => std::fs::read_to_string(journal.join("restore-pg.json"))
            .is_ok_and(|text| text.contains(&format!("\"{phase}\""))),
    }
}

#[test]
fn f19_sigkill_at_every_phase_leaves_the_old_data_or_the_new_and_everything_runs() {
    let project = Project::new(&format!("{DESTINATIONS}minions: {{pg: {{use: postgres}}}}"));
    project.up();
    let db = format!("postgres-pg-{}", project.domain);
    psql(
        &db,
        "app",
        "create table notes(t text); insert into notes values ('snapshot')",
    );
    Snapshot::new(&project, "pg", Kind::Dump)
        .postgres(&db, "app", Some(1))
        .write();
    for moment in ["scratch", "stopping", "swapping", "starting"] {
        psql(&db, "app", "update notes set t = 'live'");
        let mut run = project.spawn(&["restore", "pg", "--yes-overwrite", "pg"]);
        let most = Duration::from_mins(2);
        // The shortest phases may pass between two looks: then the run has simply ended well.
        let killed = wait_for(moment, most, || {
            if sees(&project, moment) {
                return Some(true);
            }
            run.child().try_wait().unwrap().map(|_| false)
        });
        if killed {
            run.signal("KILL");
            drop(run);
        } else {
            run.end(Duration::from_secs(5)).ok();
        }
        let told = project.up();
        let now = psql(&db, "app", "select t from notes");
        match (killed, moment) {
            (true, "scratch") => assert_eq!(now, "live", "{}", told.all()),
            // It may have come one phase further before the signal reached it.
            (true, _) => assert!(["live", "snapshot"].contains(&now.as_str()), "{now}"),
            (false, _) => assert_eq!(now, "snapshot"),
        }
        assert_eq!(project.containers().len(), 1, "{:?}", project.containers());
        let left = data_folders(&project, "pg");
        assert!(
            !left.iter().any(|f| f.starts_with('.')),
            "{moment}: {left:?}"
        );
        let journal = std::fs::read_dir(project.path(".summoner/journal")).unwrap();
        assert_eq!(journal.count(), 0, "{moment}");
    }
}
