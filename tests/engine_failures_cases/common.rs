//! A minion of two small services whose behaviour its parameters decide, and looks at what is.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Output};

use crate::engine_support::{Project, Ran, docker, text};

/// An image that no registry has: the port answers nobody, so that a pull fails at once.
pub const ABSENT_IMAGE: &str = "127.0.0.1:1/absent:1.0.0";

/// `db` with the volume `data` and a secret, and `app` that waits until `db` is healthy. `db` and
/// `app` are shell commands, `health` is the check of `db`, `start_period` how long it may fail.
const COMPOSE: &str = r#"services:
  app:
    image: summoner-test/tiny:latest
    init: true
    command: ["sh", "-c", {{ app|yaml }}]
    environment: {VERSION: "{{ version }}"}
    depends_on: {db: {condition: service_healthy}}
    mem_limit: 32m
    stop_grace_period: 1s
    healthcheck: {test: [CMD, "true"], interval: 200ms, timeout: 5s, retries: 3, start_period: 1s}
  db:
    image: summoner-test/tiny:latest
    init: true
    command: ["sh", "-c", {{ db|yaml }}]
    environment: {PASSWORD: "{{ password }}"}
    volumes: ["{{ volume('data') }}:/data"]
    mem_limit: 32m
    stop_grace_period: 1s
    healthcheck: {test: [CMD-SHELL, {{ health|yaml }}], interval: 200ms, timeout: 5s, retries: 3, start_period: {{ start_period }}}
"#;

/// What `db` runs when nothing else is said: something is in the data folder from then on.
const DB: &str = "date >> /data/starts; exec sleep 3600";

/// A project with the minion `duo` in its folder.
pub fn project(minions: &str) -> Project {
    let project = Project::new(minions);
    write_duo(&project, "duo", "1.0.0");
    project
}

/// Writes the minion under a name, with a default version.
pub fn write_duo(project: &Project, name: &str, version: &str) {
    project.write(
        &format!("minions/{name}/minion.yml"),
        &format!(
            "name: {name}\ntitle: Duo\nsummary: two small services\ncategory: data\n\
             website: https://example.org\nversion: \"{version}\"\n\
             requires: {{memory: 6M, disk: 1M}}\n\
             parameters:\n  app: {{type: string, default: exec sleep 3600}}\n  \
             db: {{type: string, default: {DB}}}\n  health: {{type: string, default: \"true\"}}\n  \
             start_period: {{type: string, default: 1s}}\n  password: {{type: secret, length: 20}}\n\
             volumes: [{{name: data, uid: 0, gid: 0, mode: \"0755\"}}]\n"
        ),
    );
    project.write(&format!("minions/{name}/compose.yml.j2"), COMPOSE);
}

/// Writes a minion that is `duo` but for a replaced text of its template.
pub fn write_variant(project: &Project, name: &str, old: &str, new: &str) {
    write_duo(project, name, "1.0.0");
    assert!(COMPOSE.contains(old));
    project.write(
        &format!("minions/{name}/compose.yml.j2"),
        &COMPOSE.replace(old, new),
    );
}

/// A run that had to fail: its code, these words on standard error, and what to type next.
pub fn fails(ran: Ran, code: i32, words: &[&str]) -> Ran {
    let ran = ran.code(code);
    for word in words {
        assert!(
            ran.stderr.contains(word),
            "`{word}` is not said\n{}",
            ran.all()
        );
    }
    assert!(
        ran.stderr.contains("hint:"),
        "nothing says what to type next\n{}",
        ran.all()
    );
    ran
}

/// Runs a prepared command to its end.
pub fn run(command: &mut Command) -> Ran {
    let output: Output = command.output().unwrap();
    Ran {
        arguments: command
            .get_args()
            .map(|a| a.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" "),
        code: output.status.code().unwrap_or(-1),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// The binary in a folder of its own choice.
pub fn summoner_in(folder: &Path, arguments: &[&str]) -> Ran {
    run(Command::new(env!("CARGO_BIN_EXE_summoner"))
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .env("NO_COLOR", "1"))
}

/// All containers of the project: name, id, state, start. Equal before and after = not touched.
pub fn containers(project: &Project) -> Vec<String> {
    let ids: Vec<String> = project.containers().into_iter().map(|(_, id)| id).collect();
    if ids.is_empty() {
        return Vec::new();
    }
    let format = "{{.Name}} {{.Id}} {{.State.Status}} {{.State.StartedAt}} {{.HostConfig.RestartPolicy.Name}}";
    let mut all = vec!["inspect", "-f", format];
    all.extend(ids.iter().map(String::as_str));
    let mut lines: Vec<String> = docker(&all).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Names of all networks of the project, repeats included.
pub fn networks(project: &Project) -> Vec<String> {
    let filter = format!("label=io.summoner.project={}", project.name);
    let mut names: Vec<String> = docker(&[
        "network",
        "ls",
        "--filter",
        &filter,
        "--format",
        "{{.Name}}",
    ])
    .lines()
    .map(str::to_owned)
    .collect();
    names.sort();
    names
}

/// Names of the containers.
pub fn names(project: &Project) -> Vec<String> {
    project
        .containers()
        .into_iter()
        .map(|(name, _)| name)
        .collect()
}

/// Name of the container of `app` and of `db` of an instance of `duo`.
pub fn pair(project: &Project, instance: &str) -> [String; 2] {
    let main = project.container(instance);
    [main.clone(), format!("db-{main}")]
}

/// One line of `docker inspect`.
pub fn inspect(container: &str, format: &str) -> String {
    docker(&["inspect", "-f", format, container])
        .trim()
        .to_owned()
}

/// Everything is as config.yml says.
pub fn settled(project: &Project) {
    let ran = project.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(ran.code, 0, "there is something left to do\n{}", ran.all());
}

/// Every file below a folder: mode, time of its last change, content.
pub fn tree(folder: &Path) -> BTreeMap<String, (u32, i64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                folders.push(path.clone());
            }
            let content = if meta.is_file() {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            let time = meta.mtime() * 1_000_000_000 + meta.mtime_nsec();
            all.insert(path.display().to_string(), (meta.mode(), time, content));
        }
    }
    all
}

/// Removes a container or a network that is not the project's when the test ends.
pub struct Guest(pub &'static [&'static str], pub String);

impl Drop for Guest {
    fn drop(&mut self) {
        crate::engine_support::command(&[self.0, &[self.1.as_str()]].concat());
    }
}
