//! A project of its own on the real engine: folder, name, domain, ports and subnets that nobody
//! else uses; the `summoner` binary to work on it; gone when the test ends, however it ends.
//!
//! ```ignore
//! mod engine_support;
//! use engine_support::{Project, docker};
//!
//! let project = Project::new("minions: {site: {use: static}}");
//! project.up();
//! assert!(project.get("site", "/").contains("Your site"));
//! assert_eq!(project.run(&["status", "--json"]).ok().json()["schema_version"], 1);
//! docker(&["kill", &project.container("site")]);
//! ```

#![allow(dead_code, reason = "each test binary uses its part of this")]

mod corner;
mod run;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use corner::Corner;
pub use run::{Ran, Running};

/// The image of a busybox: starts at once, has `httpd`, `wget` and `nc`.
pub const TINY: &str = "summoner-test/tiny:latest";
/// The same image under versions that a minion may name.
pub const TINY_VERSIONS: [&str; 2] = ["1.0.0", "2.0.0"];
/// Seconds until a run of the binary counts as hanging.
const LONGEST_RUN: &str = "240";
/// Seconds until a call of docker counts as hanging.
const LONGEST_CALL: &str = "60";

/// A project in a folder of its own.
pub struct Project {
    corner: Corner,
    /// `summoner.name`.
    pub name: String,
    /// `summoner.domain`.
    pub domain: String,
    /// `proxy.http_port`.
    pub http: u16,
    /// `proxy.https_port`.
    pub https: u16,
}

impl Project {
    /// Makes the folder with a config.yml of this text below the sections `summoner` and `proxy`,
    /// which are the project's own. Nothing runs yet.
    pub fn new(minions: &str) -> Self {
        let corner = Corner::take();
        let name = corner.name.clone();
        let domain = format!("{name}.test");
        let (http, https) = (corner.ports[0], corner.ports[1]);
        let project = Self {
            corner,
            name,
            domain,
            http,
            https,
        };
        project.configure(minions);
        project
    }

    /// Writes config.yml anew: the project's own sections, then this text.
    pub fn configure(&self, minions: &str) {
        self.configure_with("", minions);
    }

    /// The same with further lines of the section `summoner`, each indented by two.
    pub fn configure_with(&self, summoner: &str, minions: &str) {
        let Self {
            name,
            domain,
            http,
            https,
            ..
        } = self;
        let subnets = &self.corner.subnets;
        let text = format!(
            "summoner:\n  name: {name}\n  domain: {domain}\n  subnets: [{subnets}]\n{summoner}\
             proxy: {{http_port: {http}, https_port: {https}}}\n{minions}\n"
        );
        self.write("config.yml", &text);
    }

    /// The folder of config.yml.
    pub fn root(&self) -> &Path {
        &self.corner.root
    }

    /// A path below the folder.
    pub fn path(&self, below: &str) -> PathBuf {
        self.root().join(below)
    }

    /// Writes a file below the folder, its folders too.
    pub fn write(&self, below: &str, text: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Reads a file below the folder.
    pub fn read(&self, below: &str) -> String {
        fs::read_to_string(self.path(below)).unwrap_or_else(|e| panic!("{below}: {e}"))
    }

    /// The pool of the project's networks (CIDR, a /22).
    pub fn subnets(&self) -> &str {
        &self.corner.subnets
    }

    /// A minion of the project's own: one service `app` on port 80 that serves `text` at `/`, with
    /// a volume `data` at /data. `expose` are further keys of its `expose:`, such as `overlap: true`.
    pub fn web_minion(&self, minion: &str, text: &str, expose: &str) {
        let comma = if expose.is_empty() { "" } else { ", " };
        self.write(
            &format!("minions/{minion}/minion.yml"),
            &format!(
                "name: {minion}\ntitle: Tiny\nsummary: a page\ncategory: publishing\n\
                 website: https://example.org\nversion: \"1.0.0\"\n\
                 requires: {{memory: 6M, disk: 1M}}\n\
                 parameters:\n  colour: {{type: string, default: red}}\n  token: {{type: secret, length: 20}}\n\
                 expose: [{{service: app, port: 80, health: /{comma}{expose}}}]\n\
                 volumes: [{{name: data, uid: 0, gid: 0, mode: \"0755\"}}]\n"
            ),
        );
        self.write(
            &format!("minions/{minion}/compose.yml.j2"),
            &format!(
                "services:\n  app:\n    image: summoner-test/tiny:{{{{ version }}}}\n    init: true\n    \
                 command: [\"sh\", \"-c\", \"mkdir -p /srv && echo '{text}' $$COLOUR > /srv/index.html && exec httpd -f -p 80 -h /srv\"]\n    \
                 environment: {{COLOUR: \"{{{{ colour }}}}\", TOKEN: \"{{{{ token }}}}\"}}\n    \
                 volumes: [\"{{{{ volume('data') }}}}:/data\"]\n    mem_limit: 32m\n    stop_grace_period: 1s\n    \
                 healthcheck: {{test: [CMD, wget, -q, -O, /dev/null, \"http://127.0.0.1/\"], interval: 1s, timeout: 3s, retries: 5, start_period: 10s}}\n"
            ),
        );
    }

    // ---- the binary ---------------------------------------------------------------------------

    /// The binary on this project, for whoever spawns it: no time limit.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_summoner"));
        self.prepare(&mut command, arguments);
        command
    }

    fn prepare(&self, command: &mut Command, arguments: &[&str]) {
        command
            .arg("-C")
            .arg(self.root())
            .args(arguments)
            .stdin(Stdio::null());
        command.env("NO_COLOR", "1").env_remove("RUST_BACKTRACE");
    }

    /// Runs the binary to its end. One that takes longer than four minutes is killed.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", LONGEST_RUN, env!("CARGO_BIN_EXE_summoner")]);
        self.prepare(&mut command, arguments);
        Ran::new(arguments, &command.output().expect("timeout is installed"))
    }

    /// Starts the binary with its output captured; killed if the value is dropped.
    pub fn spawn(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Running {
            child: Some(child),
            arguments: arguments.iter().map(ToString::to_string).collect(),
        }
    }

    /// `up --yes`, which must succeed.
    pub fn up(&self) -> Ran {
        self.run(&["up", "--yes"]).ok()
    }

    // ---- the web ------------------------------------------------------------------------------

    /// The host of an instance.
    pub fn host(&self, instance: &str) -> String {
        format!("{instance}.{}", self.domain)
    }

    /// The URL of an instance, with the port of this project.
    pub fn url(&self, instance: &str, path: &str) -> String {
        format!("https://{}:{}{path}", self.host(instance), self.https)
    }

    /// curl for an instance: its name leads to the proxy, and only the internal CA is trusted.
    pub fn curl_command(&self, instance: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("curl");
        command
            .args(["-sS", "--max-time", "60", "--cacert"])
            .arg(self.path(".summoner/ca/root.pem"));
        for port in [self.http, self.https] {
            command
                .arg("--resolve")
                .arg(format!("{}:{port}:127.0.0.1", self.host(instance)));
        }
        command.args(arguments);
        command
    }

    /// Runs [`Self::curl_command`].
    pub fn curl(&self, instance: &str, arguments: &[&str]) -> Output {
        self.curl_command(instance, arguments)
            .output()
            .expect("curl is installed")
    }

    /// The body of an answer that must be well (redirects followed).
    pub fn get(&self, instance: &str, path: &str) -> String {
        let output = self.curl(instance, &["--fail", "-L", &self.url(instance, path)]);
        assert!(
            output.status.success(),
            "{}: {}",
            self.url(instance, path),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// The status of an answer, `000` when there is none.
    pub fn status(&self, instance: &str, path: &str) -> String {
        let arguments = [
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &self.url(instance, path),
        ];
        text(&self.curl(instance, &arguments).stdout)
    }

    // ---- the engine ---------------------------------------------------------------------------

    /// Name of the main container of an instance (or `proxy`), `<instance>-<domain>`.
    pub fn container(&self, instance: &str) -> String {
        format!("{instance}-{}", self.domain)
    }

    /// Full ids of all containers of the project with their names, also of stopped ones; by name.
    pub fn containers(&self) -> Vec<(String, String)> {
        let filter = format!("label=io.summoner.project={}", self.name);
        let list = [
            "ps",
            "-a",
            "--no-trunc",
            "--filter",
            &filter,
            "--format",
            "{{.Names}} {{.ID}}",
        ];
        let mut all: Vec<_> = docker(&list)
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, id)| (name.to_owned(), id.to_owned()))
            .collect();
        all.sort();
        all
    }

    /// The full id of a container of the project, by its name.
    pub fn id(&self, container: &str) -> String {
        let all = self.containers();
        let found = all.iter().find(|(name, _)| name == container);
        found.map_or_else(
            || panic!("no `{container}` among {all:?}"),
            |(_, id)| id.clone(),
        )
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let list = command(&[
                "ps",
                "-a",
                "--filter",
                &format!("label=io.summoner.project={}", self.name),
            ]);
            eprintln!(
                "containers of `{}` at the end:\n{}",
                self.name,
                text(&list.stdout)
            );
        }
        corner::remove(&self.name);
    }
}

/// Runs docker, which must succeed; its output.
pub fn docker<A: AsRef<str>>(arguments: &[A]) -> String {
    let output = command(arguments);
    let words: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    assert!(
        output.status.success(),
        "docker {}: {}",
        words.join(" "),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Runs docker, never for longer than a minute.
pub fn command<A: AsRef<str>>(arguments: &[A]) -> Output {
    Command::new("timeout")
        .args([LONGEST_CALL, "docker"])
        .args(arguments.iter().map(AsRef::as_ref))
        .output()
        .expect("timeout is installed")
}

/// Asks every 50 ms until `found` gives something, at most for `most`.
pub fn wait_for<T>(what: &str, most: Duration, mut found: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(begin.elapsed() < most, "not within {most:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
