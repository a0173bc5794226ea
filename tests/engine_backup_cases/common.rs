//! A project with a minion of two tiny services and a destination.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::engine_support::{Project, docker, text};

/// What `app` does unless a test wants something else.
pub const IDLE: &str = "exec sleep 100000";

/// A minion `duo` whose `app` depends on `back`; `app` keeps its data in the volume `data`.
pub fn minion(project: &Project, app: &str, more: &str) {
    project.write(
        "minions/duo/minion.yml",
        &format!(
            "name: duo\ntitle: Duo\nsummary: two services\ncategory: data\nwebsite: https://example.org\n\
             version: \"1.0.0\"\nrequires: {{memory: 6M, disk: 1M}}\n\
             volumes: [{{name: data, uid: 0, gid: 0, mode: \"0755\"}}]\n{more}\n"
        ),
    );
    project.write(
        "minions/duo/compose.yml.j2",
        &format!(
            "services:\n  app:\n    image: summoner-test/tiny:{{{{ version }}}}\n    init: true\n    \
             command: [\"sh\", \"-c\", \"{app}\"]\n    depends_on: {{back: {{condition: service_started}}}}\n    \
             volumes: [\"{{{{ volume('data') }}}}:/data\"]\n    mem_limit: 32m\n    stop_grace_period: 1s\n  \
             back:\n    image: summoner-test/tiny:{{{{ version }}}}\n    init: true\n    \
             command: [\"sleep\", \"100000\"]\n    mem_limit: 32m\n    stop_grace_period: 1s\n"
        ),
    );
}

/// The project, up, with so many MiB of data that no compression makes smaller.
pub fn project(app: &str, minion_more: &str, backup: &str, megabytes: usize) -> Project {
    let project = Project::new("");
    minion(&project, app, minion_more);
    configure(&project, backup);
    project.up();
    let mut random = vec![0; 1 << 20];
    for n in 0..megabytes {
        rand::RngCore::fill_bytes(&mut rand::rng(), &mut random);
        fs::write(project.path(&format!("data/one/data/file-{n}")), &random).unwrap();
    }
    project
}

/// One instance `one`, a destination `disk`; `backup` are further keys of `backup:`.
pub fn configure(project: &Project, backup: &str) {
    project.configure(&format!(
        "destinations: {{disk: {{dir: ./backups}}}}\nbackup: {{to: [disk]{backup}}}\nminions: {{one: {{use: duo}}}}"
    ));
}

/// The container of a service of `one`.
pub fn container(project: &Project, service: &str) -> String {
    match service {
        "app" => project.container("one"),
        other => format!("{other}-one-{}", project.domain),
    }
}

/// Whether the engine says that it runs.
pub fn runs(name: &str) -> bool {
    let output = crate::engine_support::command(&["inspect", "-f", "{{.State.Running}}", name]);
    text(&output.stdout).trim() == "true"
}

/// Both services.
pub fn both_run(project: &Project) -> bool {
    runs(&container(project, "app")) && runs(&container(project, "back"))
}

/// When it last started: another time is another start.
pub fn started(name: &str) -> String {
    docker(&["inspect", "-f", "{{.State.StartedAt}}", name])
}

/// The journal of `one`, where there is one.
pub fn journal(project: &Project) -> Option<Value> {
    let path = project.path(".summoner/journal/backup-one.json");
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Its phase.
pub fn phase(project: &Project) -> Option<String> {
    Some(journal(project)?["phase"].as_str()?.to_owned())
}

/// All manifests, oldest first.
pub fn manifests(project: &Project) -> Vec<Value> {
    let folder = project
        .path("backups/v1")
        .join(&project.name)
        .join("one/backup");
    let mut snapshots: Vec<PathBuf> = fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|e| e.path()).collect())
        .unwrap_or_default();
    snapshots.sort();
    snapshots
        .iter()
        .filter_map(|s| fs::read(s.join("manifest.json")).ok())
        .map(|bytes| serde_json::from_slice(&bytes).unwrap())
        .collect()
}

/// Unpacks an object of the newest snapshot with public tools only.
pub fn unpack(project: &Project, object: &str, into: &Path) {
    let newest = manifests(project).pop().expect("a snapshot");
    let file = project
        .path("backups/v1")
        .join(&project.name)
        .join("one/backup")
        .join(newest["id"].as_str().unwrap())
        .join(object);
    fs::create_dir_all(into).unwrap();
    let line = "zstd -dc \"$1\" | tar --xattrs '--xattrs-include=*' --acls --numeric-owner -xpf - -C \"$2\"";
    let status = Command::new("sh")
        .args(["-c", line, "sh"])
        .args([&file, into])
        .status()
        .unwrap();
    assert!(status.success(), "{}", file.display());
}

/// No copies are left below the data roots.
pub fn no_copies(project: &Project) -> bool {
    !project.path("data/.summoner-staging").exists()
        && !project.path("data/database/.summoner-staging").exists()
}

/// Guards of this project that live: found by the folder on their command line.
pub fn guards(project: &Project) -> Vec<u32> {
    let root = project.root().display().to_string();
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_string_lossy().parse::<u32>();
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if let (Ok(pid), true) = (pid, line.contains(" guard ") && line.contains(&root)) {
            found.insert(pid, line);
        }
    }
    found.into_keys().collect()
}
