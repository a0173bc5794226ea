//! Docker Compose itself reads what we write, and reads files as we do. Needs no engine, but the
//! program that `scripts/test` finds and names in `SUMMONER_TEST_COMPOSE`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use summoner::compose::Project;
use summoner::config::Lookup;
use summoner::minion::parameters::{self, SecretBook};
use summoner::minion::{Catalog, Minion};
use summoner::render::{self, Input};
use summoner::secret::Secret;

/// The project that `docker compose config` makes of a file, or what it says against it.
fn compose(file: &str, variables: &BTreeMap<String, Secret>) -> Result<Project, String> {
    let program =
        std::env::var("SUMMONER_TEST_COMPOSE").expect("scripts/test sets SUMMONER_TEST_COMPOSE");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("compose.yml"), file).unwrap();
    let output = Command::new(program)
        .args(["-f", "compose.yml", "config"])
        .current_dir(folder.path())
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", folder.path())
        .envs(variables.iter().map(|(name, value)| (name, value.expose())))
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    // Compose makes every path absolute; ours stay as they are written.
    let text = String::from_utf8(output.stdout).unwrap();
    let text = text.replace(&format!("{}/", folder.path().display()), "./");
    // What it prints is a Compose file again, with `$` doubled.
    let project = Project::parse("theirs", &text, Some(&BTreeMap::new()));
    Ok(project.unwrap_or_else(|problems| panic!("{text}\n{problems}")))
}

/// What is the same although it is written differently: Compose leaves out what nothing uses, and
/// names what we leave to the planner.
fn comparable(mut project: Project) -> Project {
    for service in project.services.values_mut() {
        let lone = service.networks.len() == 1
            && service.networks.get("default").is_some_and(Vec::is_empty);
        if lone {
            service.networks.clear();
        }
    }
    project.networks.retain(|_, network| network.external);
    project.volumes.clear();
    project
}

fn rendered(minion: &Minion) -> (Project, BTreeMap<String, Secret>) {
    let name = minion.manifest.name.as_str();
    let config = format!(
        "summoner: {{domain: example.org}}\nminions: {{blog: {{use: {name}, env: {{OWN: 'a$b: \"c'}}, resources: {{cpus: 1.5}}}}}}\n"
    );
    let environment = summoner::config::parse(
        Path::new("/project/config.yml"),
        &config,
        &[name],
        &Lookup::fixed("/", &[]),
    )
    .unwrap();
    let instance = &environment.instances[0];
    let parameters =
        parameters::resolve(minion, instance, "config.yml", &mut SecretBook::new()).unwrap();
    let input = Input {
        minion,
        instance,
        environment: &environment,
        version: &minion.manifest.version,
        parameters: &parameters,
        files_dir: Path::new("/project/.summoner/build/blog/files"),
    };
    let rendered = render::render(&input).unwrap_or_else(|problems| panic!("{problems}"));
    (
        render::enrich(&rendered, minion, instance, &environment),
        parameters.secrets,
    )
}

#[test]
fn compose_accepts_every_minion_and_means_the_same() {
    for (name, minion) in Catalog::open(None).list() {
        let (project, secrets) = rendered(&minion.unwrap());
        let file = project.to_yaml();
        let ours = Project::parse("ours", &file, Some(&secrets)).unwrap();
        let theirs =
            compose(&file, &secrets).unwrap_or_else(|error| panic!("{name}: {error}\n{file}"));
        assert_eq!(comparable(theirs), comparable(ours), "{name}\n{file}");
    }
}

#[test]
fn compose_reads_files_as_we_do() {
    let variables: BTreeMap<String, Secret> = [
        ("A", "a"),
        ("B", "b b"),
        ("EMPTY", ""),
        ("P", "p$A\"'\n: #"),
    ]
    .map(|(name, value)| (name.to_owned(), Secret::new(value)))
    .into();
    for lines in [
        "command: a 'b c' \"d e\" f\\ g",
        "command: 'x ${B}'",
        "command: \"x '${B}'\"",
        "command: ''",
        "entrypoint: []",
        "command: a # b",
        "command: sh -c 'a && b'",
        "environment: {Z: true, V: '', S: yes, N: 12}",
        "environment: ['X=${A:-q}', 'Y=a=b', 'Z=']",
        "environment: {X: '$A $$A $$$A ${A} $${A}', Y: '${X:-a$$b}', Z: '${X:-${Y:-${B}}}'}",
        "environment: {X: '${EMPTY:-d}${EMPTY-d}${A:+r}${X:+r}${EMPTY+r}', Y: '${X:-}', Z: '${A?m}${A:?m}'}",
        "environment: {X: '${P}', Y: '${N:-{\"a\":1}}', Z: '${N:-a:b-c?d}', W: '${A-z}$A-z'}",
        "labels: [a=b, c]",
        "labels: {a: 1, b: true, c: }",
        "volumes: ['./a:/b:ro', '/x:/y', 'data:/d']",
        "volumes: [{type: bind, source: ./a, target: /b, read_only: true}]",
        "volumes: [{type: tmpfs, target: /t, tmpfs: {size: 1k, mode: 01777}}]",
        "tmpfs: /run",
        "tmpfs: ['/tmp:size=64m,mode=1777']",
        "ports: ['8080:80', '127.0.0.1:81:82/udp', '1000-1001:2000-2001', '[::1]:9:9']",
        "ports: [{target: 80, published: 8080}]",
        "expose: [80, '81', '82-83']",
        "networks: {front: {aliases: [a]}, default: }",
        "extra_hosts: ['a:1.2.3.4', 'b=::1', 'host.docker.internal:host-gateway']",
        "extra_hosts: {a: 1.2.3.4, b: ['::1']}",
        "depends_on: [db]",
        "depends_on: {db: {condition: service_completed_successfully}}",
        "healthcheck: {test: 'curl x | y', interval: 1m30s, timeout: 500ms, retries: 3, start_period: 1h}",
        "healthcheck: {disable: true}",
        "healthcheck: {test: [NONE]}",
        "ulimits: {nofile: 10, nproc: {soft: 1, hard: 2}}",
        "sysctls: [net.core.somaxconn=1024]",
        "mem_limit: 1.5gb\nshm_size: 64m\ncpus: 0.5\npids_limit: 100",
        "mem_limit: 10 mb",
        "stop_grace_period: 1m30s\nstop_signal: SIGINT\ninit: true\nread_only: true",
        "stop_grace_period: 1d",
        "restart: on-failure:3",
        "restart: no",
        "user: 33:33",
        "cap_add: [ALL]\ncap_drop: [A]\nsecurity_opt: [x]",
        "logging: {driver: json-file, options: {max-file: 3}}",
        "init: '${T:-true}'\ncpus: '${N:-0.5}'\nports: ['${N:-8080}:80']",
        "hostname: h\ncontainer_name: cc\nworking_dir: /w",
    ] {
        let indented = lines
            .lines()
            .fold(String::new(), |text, line| text + "    " + line + "\n");
        let file = format!(
            "name: t\nservices:\n  web:\n    image: i:1\n{indented}  db: {{image: d}}\nnetworks: {{front: {{}}}}\nvolumes: {{data: {{}}}}\n"
        );
        let ours = Project::parse("ours", &file, Some(&variables))
            .unwrap_or_else(|problems| panic!("{file}{problems}"));
        let theirs = compose(&file, &variables).unwrap_or_else(|error| panic!("{file}{error}"));
        assert_eq!(comparable(theirs), comparable(ours), "{file}");
    }
}
