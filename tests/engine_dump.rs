//! `summoner dump` on real databases, restored by hand with public tools only.

mod engine_support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine_support::{Project, docker, text, wait_for};
use serde_json::Value;
use summoner::backup::manifest::{MANIFEST, Manifest, Status};
use summoner::state::Paths;
use summoner::state::lock::Lock;

const DESTINATIONS: &str = "destinations:\n  disk: {dir: ./disk}\n  safe: {dir: ./safe, encryption: {age_recipients_file: ./backup.pub, age_identity_file: ./backup.key}}\nbackup: {to: [disk, safe]}\n";

fn project(minions: &str) -> Project {
    let project = Project::new(&format!("{DESTINATIONS}minions: {minions}"));
    project.run(&["key", "generate"]).ok();
    project.up();
    project
}

fn enabled() -> bool {
    std::env::var_os("SUMMONER_TEST_ENGINE").is_some()
}

/// A shell in the project's folder, which must succeed; what it printed.
fn sh(project: &Project, script: &str) -> String {
    let output = Command::new("timeout")
        .args(["120", "bash", "-euo", "pipefail", "-c", script])
        .current_dir(project.root())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}\n{}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// The folders of all snapshots that exist in a destination, oldest first.
fn snapshots(project: &Project, destination: &str, minion: &str) -> Vec<PathBuf> {
    let folder = project
        .path(destination)
        .join(format!("v1/{}/{minion}/dump", project.name));
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join(MANIFEST).exists())
        .collect();
    found.sort();
    found
}

fn manifest(snapshot: &Path) -> Manifest {
    Manifest::parse(&fs::read(snapshot.join(MANIFEST)).unwrap()).unwrap()
}

/// All that is below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Every generated password of the project.
fn secrets(project: &Project) -> BTreeSet<String> {
    let found: BTreeSet<String> = project
        .read(".summoner/secrets.yml")
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(_, value)| value.trim_matches(['"', '\'']).to_owned())
        .filter(|value| value.len() >= 20)
        .collect();
    assert!(found.len() >= 2, "{found:?}");
    found
}

/// Looks into the arguments of all processes until it is told to stop; those that held a secret.
fn watch_arguments(
    secrets: BTreeSet<String>,
    stop: Arc<AtomicBool>,
) -> std::thread::JoinHandle<BTreeSet<String>> {
    std::thread::spawn(move || {
        let mut found = BTreeSet::new();
        while !stop.load(Ordering::Relaxed) {
            for entry in fs::read_dir("/proc").unwrap().flatten() {
                let Ok(line) = fs::read(entry.path().join("cmdline")) else {
                    continue;
                };
                let line = text(&line);
                if secrets.iter().any(|s| line.contains(s.as_str())) {
                    found.insert(line);
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        found
    })
}

const FILL: &str = "create table t (id int primary key, body text); \
    insert into t select g, md5(g::text) from generate_series(1, 20000) g;";
const DIGEST: &str =
    "select count(*) || ' ' || md5(string_agg(id || body, ',' order by id)) from t";

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one dump of real servers, looked at from all sides"
)]
fn f01_f03_dumps_are_restored_by_hand_with_public_tools_and_hold_no_secret() {
    if !enabled() {
        return;
    }
    let project = project("{pg: {use: postgres}, maria: {use: mariadb}}");
    let (pg, maria) = (
        format!("postgres-pg-{}", project.domain),
        format!("mariadb-maria-{}", project.domain),
    );
    let psql = |database: &str, sql: &str| {
        sh(
            &project,
            &format!(
                "docker exec {pg} psql -U postgres -d {database} -v ON_ERROR_STOP=1 -qtAXc \"{sql}\""
            ),
        )
    };
    let mariadb = |sql: &str| {
        sh(
            &project,
            &format!(
                "docker exec {maria} sh -c 'MYSQL_PWD=$MARIADB_ROOT_PASSWORD mariadb -uroot -Nse \"{sql}\"'"
            ),
        )
    };
    psql("app", FILL);
    psql("postgres", "create database empty");
    mariadb(
        "use app; create table t (id int primary key, body text); insert into t select seq, md5(seq) from seq_1_to_20000",
    );
    let before = psql("app", DIGEST);
    let digest = "select concat(count(*), char(32), sum(crc32(concat(id, body)))) from app.t";
    let before_maria = mariadb(digest);

    let secrets = secrets(&project);
    let stop = Arc::new(AtomicBool::new(false));
    let watch = watch_arguments(secrets.clone(), Arc::clone(&stop));
    let dump = project.run(&["dump", "--json"]);
    stop.store(true, Ordering::Relaxed);
    let seen = watch.join().unwrap();
    assert!(seen.is_empty(), "{seen:?}");
    let dump = dump.ok();
    let said = dump.json();
    assert_eq!(said["schema_version"], 1);
    let minions = said["minions"].as_array().unwrap();
    assert_eq!(minions.len(), 2, "{said}");
    for minion in minions {
        assert_eq!(minion["outcome"], "complete", "{said}");
        let destinations = minion["destinations"].as_array().unwrap();
        assert_eq!(destinations.len(), 2);
        assert!(
            destinations.iter().all(|d| d["outcome"] == "complete"),
            "{said}"
        );
    }

    // Nothing secret where it is not encrypted, nor in what was said.
    for secret in &secrets {
        assert!(!dump.all().contains(secret));
        for file in files(&project.path("disk")) {
            let stored = fs::read(&file).unwrap();
            let plain = if file.extension().is_some_and(|e| e == "zst") {
                zstd::decode_all(stored.as_slice()).unwrap()
            } else {
                stored
            };
            let found = plain.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "{}", file.display());
        }
    }

    // PostgreSQL, from the plain and from the encrypted copy.
    let disk = snapshots(&project, "disk", "pg").remove(0);
    let safe = snapshots(&project, "safe", "pg").remove(0);
    let record = manifest(&disk);
    assert_eq!(record.status, Status::Complete);
    let names: Vec<&str> = record
        .databases
        .iter()
        .map(|d| d.database.as_str())
        .collect();
    assert!(
        names.contains(&"app") && names.contains(&"empty") && names.contains(&""),
        "{names:?}"
    );
    assert!(
        record
            .databases
            .iter()
            .all(|d| d.exit_code == 0 && !d.end_check.is_empty())
    );
    for object in &record.objects {
        let sum = sh(
            &project,
            &format!("sha256sum {}", disk.join(&object.name).display()),
        );
        assert!(sum.starts_with(&object.sha256), "{}", object.name);
        assert_eq!(
            fs::metadata(disk.join(&object.name)).unwrap().len(),
            object.stored_bytes
        );
    }
    let (disk, safe) = (disk.display(), safe.display());
    sh(
        &project,
        &format!("zstd -dc {disk}/globals.sql.zst | grep -q 'CREATE ROLE app'"),
    );
    sh(
        &project,
        &format!(
            "docker exec {pg} createdb -U postgres one && docker exec -i {pg} pg_restore -U postgres -d one --exit-on-error < {disk}/app.dump"
        ),
    );
    sh(
        &project,
        &format!(
            "docker exec {pg} createdb -U postgres two && age -d -i backup.key {safe}/app.dump.age | docker exec -i {pg} pg_restore -U postgres -d two --exit-on-error"
        ),
    );
    assert_eq!(psql("one", DIGEST), before);
    assert_eq!(psql("two", DIGEST), before);
    sh(
        &project,
        &format!(
            "docker exec {pg} createdb -U postgres three && docker exec -i {pg} pg_restore -U postgres -d three --exit-on-error < {disk}/empty.dump"
        ),
    );

    // MariaDB.
    let safe = snapshots(&project, "safe", "maria").remove(0);
    mariadb("drop database app");
    sh(
        &project,
        &format!(
            "age -d -i backup.key {}/app.sql.zst.age | zstd -d | docker exec -i {maria} sh -c 'MYSQL_PWD=$MARIADB_ROOT_PASSWORD mariadb -uroot'",
            safe.display()
        ),
    );
    assert_eq!(mariadb(digest), before_maria);

    // What the minion was: everything where it is encrypted.
    let list = sh(
        &project,
        &format!(
            "age -d -i backup.key {}/definition.tar.zst.age | zstd -d | tar -t",
            safe.display()
        ),
    );
    for name in [
        "config.yml",
        "compose.yml",
        "minions/mariadb/minion.yml",
        "secrets",
    ] {
        assert!(list.contains(name), "{name}\n{list}");
    }
}

#[test]
fn f16_f18_outcomes_of_destinations_containers_and_locks() {
    if !enabled() {
        return;
    }
    let project = project("{pg: {use: postgres}, other: {use: postgres}}");
    // One destination is broken: a file where its folder would be.
    project.write("blocked", "a file");
    let config = |to: &str| {
        project.configure(&format!(
            "destinations:\n  disk: {{dir: ./disk}}\n  broken: {{dir: ./blocked/x}}\nbackup: {{to: [{to}]}}\nminions: {{pg: {{use: postgres}}, other: {{use: postgres}}}}"
        ));
    };
    config("disk, broken");
    let ran = project.run(&["dump", "pg", "--json"]).code(3);
    let said = ran.json();
    let of = |name: &str, said: &Value| {
        let all = said["minions"][0]["destinations"]
            .as_array()
            .unwrap()
            .clone();
        all.into_iter().find(|d| d["destination"] == name).unwrap()["outcome"].clone()
    };
    assert_eq!(
        (of("disk", &said), of("broken", &said)),
        ("complete".into(), "failed".into())
    );
    project.run(&["dump", "pg"]).code(3).says("broken");
    assert_eq!(snapshots(&project, "disk", "pg").len(), 2);
    // All of them.
    let all = project.run(&["dump", "pg", "--to", "broken"]);
    assert!(all.code == 1 || all.code == 10, "{}", all.all());
    project
        .run(&["dump", "pg", "--to", "dsik"])
        .code(2)
        .says("did you mean `disk`?");
    project
        .run(&["dump", "gp"])
        .code(2)
        .says("there are: pg, other");

    // A stopped container: skipped, the other goes on.
    config("disk");
    let container = format!("postgres-pg-{}", project.domain);
    docker(&["stop", &container]);
    let said = project.run(&["dump", "--json"]).code(3).json();
    let outcome = |name: &str| {
        let minions = said["minions"].as_array().unwrap().iter();
        minions.clone().find(|m| m["minion"] == name).unwrap()["outcome"].clone()
    };
    assert_eq!(
        (outcome("pg"), outcome("other")),
        ("skipped".into(), "complete".into())
    );
    project.run(&["dump", "pg"]).code(3).says("does not run");

    // Whoever works on a minion keeps dumps and `up` of it away, and of no other.
    let paths = Paths::new(project.root());
    let held = Lock::take_minion(&paths, "pg", "dump").unwrap();
    let holder = format!("pid {}", std::process::id());
    project.run(&["dump", "pg"]).code(11).says(&holder);
    project.run(&["up", "--yes"]).code(11).says(&holder);
    project.run(&["up", "--yes", "other"]).ok();
    project.run(&["dump", "other"]).ok();
    drop(held);
    project.run(&["up", "--yes"]).ok();
    project.run(&["dump", "pg"]).ok();
}

#[test]
fn f02_killed_at_any_moment_there_is_no_partial_snapshot() {
    if !enabled() {
        return;
    }
    let project = project("{pg: {use: postgres}}");
    let container = format!("postgres-pg-{}", project.domain);
    let fill = "create table t as select g, md5(g::text) || md5((g+1)::text) as body from generate_series(1, 300000) g";
    docker(&[
        "exec", &container, "psql", "-U", "postgres", "-d", "app", "-qc", fill,
    ]);
    let whole = project.run(&["dump"]).ok();
    assert!(whole.all().contains("complete"));
    let objects = manifest(&snapshots(&project, "disk", "pg")[0])
        .objects
        .len();
    for at in 1..=16_u64 {
        let running = project.spawn(&["dump"]);
        std::thread::sleep(Duration::from_millis(at * 60));
        running.signal("KILL");
        running.end(Duration::from_secs(10));
    }
    for destination in ["disk", "safe"] {
        for snapshot in snapshots(&project, destination, "pg") {
            let manifest = manifest(&snapshot);
            assert_eq!(manifest.objects.len(), objects, "{}", snapshot.display());
            for object in &manifest.objects {
                let size = fs::metadata(snapshot.join(&object.name)).unwrap().len();
                assert_eq!(size, object.stored_bytes, "{}", snapshot.display());
            }
        }
    }
    // The next one works at once: no lock and no half-done thing stands in its way, and none of the
    // killed ones goes on dumping for long.
    project.run(&["dump"]).ok();
    project.run(&["verify", "--read-data"]).ok();
    wait_for(
        "the tools of killed runs end",
        Duration::from_mins(1),
        || {
            let list = docker(&["top", &container]);
            (!list.contains("pg_dump")).then_some(())
        },
    );
}
