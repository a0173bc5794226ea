//! Generated secrets: in `secrets.yml` and `.env` only, in the environment of the containers, and
//! in what the applications themselves keep.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::engine_support::{Project, Ran, docker};

/// Runs `up --yes`; also everything that could be seen of it in the process list meanwhile.
pub fn up_watched(project: &Project) -> (Ran, String) {
    let running = project.spawn(&["up", "--yes"]);
    let pid = running.pid();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !over.load(Ordering::Relaxed) {
                seen.extend(command_lines(pid));
                std::thread::sleep(Duration::from_millis(20));
            }
            seen
        });
        let ran = running.end(Duration::from_mins(4));
        over.store(true, Ordering::Relaxed);
        let seen: Vec<String> = watcher.join().unwrap().into_iter().collect();
        assert!(seen.iter().any(|line| line.contains("up")), "{seen:?}");
        (ran.ok(), seen.join("\n"))
    })
}

/// Command lines of a process and of its children.
fn command_lines(pid: u32) -> Vec<String> {
    let read =
        |path: PathBuf| fs::read(path).map(|b| String::from_utf8_lossy(&b).replace('\0', " "));
    let children =
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let pids = children
        .split_whitespace()
        .map(str::to_owned)
        .chain([pid.to_string()]);
    pids.filter_map(|pid| read(Path::new("/proc").join(pid).join("cmdline")).ok())
        .collect()
}

/// Values that the project generated, as its book has them: `instance.name` and the value.
pub fn book(project: &Project) -> Vec<(String, String)> {
    let mut instance = String::new();
    let mut all = Vec::new();
    for line in project.read(".summoner/secrets.yml").lines() {
        let Some((key, value)) = line.trim().split_once(':') else {
            continue;
        };
        let value = value.trim().trim_matches(['"', '\'']);
        if value.is_empty() {
            key.clone_into(&mut instance);
        } else if value.len() >= 16 {
            all.push((format!("{instance}.{key}"), value.to_owned()));
        }
    }
    all
}

/// No generated secret in `outputs`, in what any verb prints, in any file but the two kinds that
/// are for them, in labels, command lines and healthchecks of containers. What databases keep does
/// not count, nor do the folders `own`, where an application writes its settings by itself.
pub fn appear_nowhere(project: &Project, outputs: &[String], own: &[&str]) {
    let book = book(project);
    assert!(book.len() >= 2, "{book:?}");
    let check = |place: &str, content: &[u8]| {
        for (name, value) in &book {
            assert!(
                !contains(content, value.as_bytes()),
                "the value of {name} is in {place}"
            );
        }
    };
    for output in outputs {
        check("an output of `up`", output.as_bytes());
    }
    for verb in [
        ["plan"].as_slice(),
        &["plan", "--json"],
        &["up", "--yes"],
        &["status"],
        &["status", "--json"],
        &["render"],
        &["logs", "--tail", "10000"],
        &["doctor"],
        &["doctor", "--json"],
        &["check"],
        &["down", "--dry-run"],
    ] {
        let ran = project.run(verb);
        check(
            &format!("the output of `{}`", verb.join(" ")),
            ran.all().as_bytes(),
        );
    }
    let own: Vec<_> = own
        .iter()
        .chain(&["data/database"])
        .map(|below| project.path(below))
        .collect();
    let mut read = 0;
    walk(project.root(), &mut |path| {
        let below = path
            .strip_prefix(project.root())
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let meant = below == ".summoner/secrets.yml"
            || (below.starts_with(".summoner/build/") && below.ends_with("/.env"));
        if !meant && !own.iter().any(|folder| path.starts_with(folder)) {
            check(&below, &fs::read(path).unwrap_or_default());
            read += 1;
        }
    });
    assert!(read >= 5, "{read}");
    for (name, id) in project.containers() {
        let format = "{{json .Config.Labels}} {{json .Config.Cmd}} {{json .Config.Entrypoint}} {{json .Config.Healthcheck}} {{json .Args}} {{.Path}} {{json .State}} {{json .HostConfig}}";
        check(
            &format!("`docker inspect {name}`"),
            docker(&["inspect", "-f", format, &id]).as_bytes(),
        );
        check(
            &format!("the processes of {name}"),
            docker(&["top", &id, "-eo", "pid,args"]).as_bytes(),
        );
    }
}

fn contains(content: &[u8], value: &[u8]) -> bool {
    content.windows(value.len()).any(|window| window == value)
}

fn walk(folder: &Path, found: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), found),
            Ok(kind) if kind.is_file() => found(&entry.path()),
            _ => {}
        }
    }
}
