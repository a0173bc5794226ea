//! Our own files: newer than we are, damaged, lost, on a disk that is full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::common::{containers, fails, inspect, names, pair, project, settled, write_duo};

const STATE: &str = ".summoner/state.json";
const BOOK: &str = ".summoner/secrets.yml";

/// A memory file system; gone when dropped.
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    pub fn mount(folder: &Path, size: &str) -> Self {
        let options = format!("size={size}");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder)
            .status()
            .unwrap();
        assert!(
            status.success(),
            "mounting needs root, as all of these tests do"
        );
        Self(folder.to_owned())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazy: containers may still hold it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_state_that_is_newer_or_damaged_is_refused_and_left_as_it_is() {
    let project = project("minions: {one: {use: duo}}");
    project.up();
    let (before, state, book) = (
        containers(&project),
        project.read(STATE),
        project.read(BOOK),
    );
    project.configure("minions: {one: {use: duo, set: {app: exec sleep 7}}}");
    let cases = [
        (
            STATE,
            "{\"format\": 2, \"minions\": {\"one\": 17}}",
            "has format 2, this summoner knows 1",
            "use the newer summoner",
        ),
        (STATE, "{\"format\": 1, \"minio", "is damaged", "mv "),
        (
            STATE,
            "{\"format\": 1, \"minions\": [1]}",
            "is damaged",
            "mv ",
        ),
        (STATE, "", "is damaged", "mv "),
        (
            BOOK,
            "format: 2\nhash_key: hunter2hunter2\n",
            "has format 2",
            "use the newer summoner",
        ),
        (
            BOOK,
            "format: 1\nhash_key: hunter2hunter2\nminions: [",
            "is damaged",
            "mv ",
        ),
        (
            BOOK,
            "format: 1\nminions: {one: {password: hunter2hunter2}}\n",
            "is damaged",
            "mv ",
        ),
        (BOOK, "", "is damaged", "mv "),
    ];
    for (file, text, words, hint) in cases {
        project.write(file, text);
        for arguments in [["up", "--yes"].as_slice(), &["plan"], &["down", "--yes"]] {
            let ran = fails(project.run(arguments), 5, &[file, words, hint]);
            assert!(
                !ran.all().contains("hunter2"),
                "a secret is told: {}",
                ran.all()
            );
        }
        assert_eq!(project.read(file), text, "it is not written over");
        project.write(STATE, &state);
        project.write(BOOK, &book);
    }
    assert_eq!(containers(&project), before);
    // The way out that is told for damage: away with it, and on.
    project.configure("minions: {one: {use: duo}}");
    for file in [STATE, BOOK] {
        project.write(file, "{");
        let ran = project.run(&["plan"]).code(5);
        let (_, rest) = ran.stderr.split_once("`mv ").unwrap();
        let command = format!("mv {}", rest.split_once('`').unwrap().0);
        assert!(
            Command::new("sh")
                .args(["-c", &command])
                .status()
                .unwrap()
                .success(),
            "{command}"
        );
        project.up();
        settled(&project);
    }
    let password = |book: &str| book.split_once("password: ").unwrap().1.to_owned();
    assert_eq!(password(&project.read(BOOK)), password(&book));
}

#[test]
fn without_its_state_a_project_is_adopted_and_nothing_is_updated() {
    let project = project("minions: {one: {use: duo}, two: {use: duo}}");
    project.up();
    let (ids, book) = (project.containers(), project.read(BOOK));
    fs::write(project.path("data/one/data/precious"), "kept").unwrap();
    fs::remove_dir_all(project.path(".summoner")).unwrap();
    // Meanwhile there is a newer version of the minion, which nobody has asked for.
    write_duo(&project, "duo", "2.0.0");
    let plan = project.run(&["plan"]).ok();
    assert!(!plan.stdout.contains("+ "), "{}", plan.stdout);
    assert!(!plan.stdout.contains("VERSION"), "{}", plan.stdout);
    assert!(!project.path(".summoner").exists(), "a plan writes nothing");
    project.up();
    settled(&project);
    let names_before: Vec<String> = ids.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names(&project), names_before, "adopted, not made twice");
    let [app, db] = pair(&project, "one");
    // What holds no secret is the very same container.
    assert_eq!(
        project.id(&app),
        ids.iter().find(|(n, _)| *n == app).unwrap().1
    );
    assert!(inspect(&app, "{{.Config.Env}}").contains("VERSION=1.0.0"));
    let password = |book: &str| book.split_once("minions:").unwrap().1.to_owned();
    assert_eq!(password(&project.read(BOOK)), password(&book));
    assert_eq!(inspect(&db, "{{.State.Health.Status}}"), "healthy");
    assert_eq!(project.read("data/one/data/precious"), "kept");
}

#[test]
fn a_disk_that_is_full_leaves_the_old_state_whole() {
    let project = project("minions: {one: {use: duo}}");
    let folder = project.path(".summoner");
    fs::create_dir(&folder).unwrap();
    let _disk = Tmpfs::mount(&folder, "256k");
    project.up();
    let before = (
        containers(&project),
        project.read(STATE),
        project.read(BOOK),
    );
    let compose = project.read(".summoner/build/one/compose.yml");
    let filler = folder.join("filler");
    // Until nothing fits any more; `dd` fails at the end, as it should.
    let fill = || {
        let to = format!("of={}", filler.display());
        let _ = Command::new("dd")
            .args(["if=/dev/zero", &to, "bs=4096"])
            .output()
            .unwrap();
    };
    fill();
    let same = |project: &crate::engine_support::Project| {
        assert_eq!(
            (containers(project), project.read(STATE), project.read(BOOK)),
            before
        );
        assert_eq!(project.read(".summoner/build/one/compose.yml"), compose);
        assert!(
            !fs::read_dir(&folder)
                .unwrap()
                .flatten()
                .any(|e| e.file_name().to_string_lossy().ends_with(".tmp"))
        );
        serde_json::from_str::<serde_json::Value>(&project.read(STATE)).unwrap();
    };
    // Another minion: its password has to be written first.
    project.configure("minions: {one: {use: duo}, two: {use: duo}}");
    fails(
        project.run(&["up", "--yes"]),
        1,
        &["failed to write", BOOK, "No space left", "df -h"],
    );
    same(&project);
    // Only its rendered files.
    project.configure("minions: {one: {use: duo, set: {app: exec sleep 7}}}");
    fails(
        project.run(&["up", "--yes"]),
        3,
        &["failed to write", "compose.yml", "No space left", "df -h"],
    );
    same(&project);
    fs::remove_file(&filler).unwrap();
    project.configure("minions: {one: {use: duo, set: {app: exec sleep 7}}, two: {use: duo}}");
    project.up();
    settled(&project);
}
