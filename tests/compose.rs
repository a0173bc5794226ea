//! What a Compose file may say, how it is said back, and how mistakes are told.

use std::collections::BTreeMap;

use summoner::compose::{Condition, Project, Service, Source};
use summoner::secret::Secret;

mod compose_cases {
    pub mod refused;
    pub mod round_trip;
}

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Secret::new(*value)))
        .collect()
}

/// The service of a file whose one service `web` has these lines besides its image.
fn service(lines: &str) -> Service {
    let text = file(lines);
    let project = Project::parse(
        "compose.yml",
        &text,
        Some(&variables(&[("A", "a"), ("N", "5"), ("T", "true")])),
    );
    project
        .unwrap_or_else(|p| panic!("{text}\n{p}"))
        .services
        .remove("web")
        .unwrap()
}

fn file(lines: &str) -> String {
    let lines = lines
        .lines()
        .fold(String::new(), |text, line| text + "    " + line + "\n");
    format!(
        "services:\n  web:\n    image: i:1\n{lines}  db: {{image: \"d:1\"}}\nnetworks: {{front: }}\nvolumes: {{data: {{}}}}\n"
    )
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn short_and_long_forms_mean_the_same() {
    for (short, long) in [
        ("command: a 'b c'", "command: [a, b c]"),
        ("entrypoint: ''", "entrypoint: []"),
        ("command:", ""),
        (
            "environment: [A=1, B=x=y, 'C=']",
            "environment: {A: 1, B: x=y, C: ''}",
        ),
        (
            "environment: {A: 1.10, B: true, C: 012}",
            "environment: {A: '1.10', B: 'true', C: '012'}",
        ),
        ("labels: [a=b, c]", "labels: {a: b, c: ''}"),
        (
            "volumes: ['./a:/b']",
            "volumes: [{type: bind, source: ./a, target: /b}]",
        ),
        (
            "volumes: ['/a:/b:ro']",
            "volumes: [{type: bind, source: /a, target: /b, read_only: true}]",
        ),
        (
            "volumes: ['data:/b:rw']",
            "volumes: [{type: volume, source: data, target: /b, volume: {}}]",
        ),
        (
            "volumes: ['/a:/b']",
            "volumes: [{type: bind, source: /a, target: /b, bind: {create_host_path: true}}]",
        ),
        ("tmpfs: /run", "tmpfs: [/run]"),
        (
            "tmpfs: '/tmp:size=1024,mode=1777'",
            "volumes: [{type: tmpfs, target: /tmp, tmpfs: {size: 1k, mode: 01777}}]",
        ),
        (
            "volumes: [{type: tmpfs, target: /t, tmpfs: {mode: 1023}}]",
            "tmpfs: ['/t:mode=1777']",
        ),
        (
            "volumes: [{type: tmpfs, target: /t, tmpfs: {mode: '700'}}]",
            "tmpfs: ['/t:mode=700']",
        ),
        (
            "ports: ['8080:80']",
            "ports: [{published: '8080', target: 80}]",
        ),
        (
            "ports: [8080:80/udp]",
            "ports: [{published: 8080, target: 80, protocol: udp, mode: ingress}]",
        ),
        (
            "ports: ['127.0.0.1:80:81']",
            "ports: [{host_ip: 127.0.0.1, published: 80, target: 81, name: web}]",
        ),
        (
            "ports: ['1000-1001:2000-2001']",
            "ports: ['1000:2000', '1001:2001']",
        ),
        (
            "expose: [80, '81/tcp', '82-83']",
            "expose: [80, 81, 82, 83]",
        ),
        (
            "networks: [front, default]",
            "networks: {front: , default: {}}",
        ),
        (
            "depends_on: [db]",
            "depends_on: {db: {condition: service_started, required: true}}",
        ),
        (
            "healthcheck: {test: curl x | y}",
            "healthcheck: {test: [CMD-SHELL, curl x | y]}",
        ),
        (
            "healthcheck: {disable: true}",
            "healthcheck: {test: [NONE]}",
        ),
        ("healthcheck: {test: NONE}", "healthcheck: {test: [NONE]}"),
        (
            "healthcheck: {interval: 90s, disable: false}",
            "healthcheck: {interval: 1m30s}",
        ),
        (
            "ulimits: {nofile: 10}",
            "ulimits: {nofile: {soft: 10, hard: 10}}",
        ),
        (
            "sysctls: [net.core.somaxconn=1024]",
            "sysctls: {net.core.somaxconn: 1024}",
        ),
        (
            "extra_hosts: ['a:1.2.3.4', 'b=::1']",
            "extra_hosts: {a: 1.2.3.4, b: ['::1']}",
        ),
        (
            "logging: {options: {max-size: 10m}}",
            "logging: {driver: json-file, options: {max-size: 10m}}",
        ),
        ("mem_limit: 1.5g", "mem_limit: 1610612736"),
        ("shm_size: 64mb", "shm_size: '67108864'"),
        ("restart: no", "restart: 'no'"),
        ("cpus: '0.5'", "cpus: 0.50"),
        ("stop_grace_period: 1m30s", "stop_grace_period: 90s"),
        ("user: 33", "user: '33'"),
        ("user: 33:33", "user: '33:33'"),
        ("x-note: {anything: 1}", ""),
        // Variables, in texts and where a number or a word of ours is needed.
        ("init: ${T}", "init: true"),
        ("mem_limit: ${N}m", "mem_limit: 5m"),
        ("ports: ['${N}:8${N}']", "ports: ['5:85']"),
        ("volumes: ['./${A}:/b']", "volumes: ['./a:/b']"),
        ("environment: ['${A}=${N}']", "environment: {a: '5'}"),
        ("command: x ${A}${N}", "command: [x, a5]"),
    ] {
        assert_eq!(service(short), service(long), "{short}");
    }
}

#[test]
fn every_field_is_read() {
    let s = service(
        "container_name: c\nhostname: h\ncommand: [a, '', \"b\\nc\"]\nuser: '1:2'\nworking_dir: /w\ninit: true\n\
         read_only: true\npids_limit: -1\nstop_signal: SIGQUIT\nrestart: on-failure:3\ncap_add: [NET_ADMIN]\n\
         cap_drop: [ALL]\nsecurity_opt: [no-new-privileges:true]\nstop_grace_period: 2m\n\
         depends_on: {db: {condition: service_completed_successfully}}\n\
         networks: {front: {aliases: [x, y]}}\n\
         healthcheck: {test: [CMD, 'true'], interval: 5s, timeout: 3s, retries: 10, start_period: 1m, start_interval: 500ms}",
    );
    assert_eq!(s.command.unwrap(), ["a", "", "b\nc"]);
    assert_eq!(
        (s.container_name.as_deref(), s.hostname.as_deref()),
        (Some("c"), Some("h"))
    );
    assert_eq!(
        (s.user.as_deref(), s.working_dir.as_deref()),
        (Some("1:2"), Some("/w"))
    );
    assert_eq!(
        (s.init, s.read_only, s.pids_limit),
        (Some(true), true, Some(-1))
    );
    assert_eq!(
        (s.stop_signal.as_deref(), s.restart.as_deref()),
        (Some("SIGQUIT"), Some("on-failure:3"))
    );
    assert_eq!(
        (s.cap_add[0].as_str(), s.cap_drop[0].as_str()),
        ("NET_ADMIN", "ALL")
    );
    assert_eq!(s.security_opt, ["no-new-privileges:true"]);
    assert_eq!(s.depends_on["db"], Condition::Completed);
    assert_eq!(s.networks["front"], ["x", "y"]);
    let check = s.healthcheck.unwrap();
    assert_eq!((check.test.len(), check.retries), (2, Some(10)));
    assert_eq!(check.start_interval.unwrap().as_millis(), 500);
    assert_eq!(check.start_period.unwrap().as_secs(), 60);
}

#[test]
fn the_top_of_a_file() {
    let p = Project::parse(
        "compose.yml",
        "version: '3.9'\nname: my-blog\nx-base: &base {image: 'i:1', init: true}\nservices:\n  a: {<<: *base, user: x}\n  b: *base\n\
         networks:\n  default: {driver: bridge, internal: true}\n  edge: {external: true, name: summoner-edge}\n\
         volumes: {data: , old: {external: true, name: x_y, driver: local}}\n",
        None,
    )
    .unwrap();
    assert_eq!(p.name.as_deref(), Some("my-blog"));
    assert_eq!(p.services["a"].init, Some(true));
    assert_eq!(p.services["b"].image, "i:1");
    assert!(p.networks["default"].internal && p.networks["edge"].external);
    assert_eq!(p.networks["edge"].name.as_deref(), Some("summoner-edge"));
    assert!(!p.volumes["data"].external && p.volumes["old"].external);
}

#[test]
fn the_raw_model_keeps_variables() {
    let raw = |lines: &str| {
        Project::parse("c.yml", &file(lines), None)
            .unwrap()
            .services
            .remove("web")
            .unwrap()
    };
    assert_eq!(
        raw("environment: {A: \"${X:-${Y} z}\"}").environment["A"],
        "${X:-${Y} z}"
    );
    assert_eq!(
        raw("environment: ['A=${X:-a=b}', '${K:-a=b}=c']").environment["${K:-a=b}"],
        "c"
    );
    assert_eq!(
        raw("command: a \"${X:-b c}\" $$d").command.unwrap(),
        ["a", "${X:-b c}", "$$d"]
    );
    let mounts =
        raw("volumes: ['./${D:-a:b}:/c:ro', {type: bind, source: '${D}', target: /d}]").volumes;
    assert_eq!(mounts[0].source, Source::Bind("./${D:-a:b}".into()));
    assert!(mounts[0].read_only);
    assert_eq!(mounts[1].source, Source::Bind("${D}".into()));
}

/// Values are put in after YAML is read, and nothing in them means anything any more.
#[test]
fn passwords_survive() {
    for password in [
        "p$A${A}$$",
        "a\"b'c",
        "line\nline\n",
        "a: #b",
        "# c",
        "- x",
        "${",
        "\\",
        "{{ x }}",
        "yes",
        "0123",
        "*a",
        "&a",
        "!t",
        "🔑 \t",
        " ",
        "",
        "a,b]}",
        "--- x",
        "%TAG",
        "|\n  x",
        ">-",
    ] {
        let text = file(
            "environment: {P: '${PW}', Q: 'x${PW}y'}\ncommand: [run, '--p=${PW}']\nhealthcheck: {test: [CMD, '${PW}']}",
        );
        let vars = variables(&[("PW", password), ("A", "wrong")]);
        let read = |text: &str| {
            Project::parse("c.yml", text, Some(&vars))
                .unwrap()
                .services
                .remove("web")
                .unwrap()
        };
        let once = read(&text);
        assert_eq!(once.environment["P"], password);
        assert_eq!(once.environment["Q"], format!("x{password}y"));
        assert_eq!(once.command.as_ref().unwrap()[1], format!("--p={password}"));
        assert_eq!(once.healthcheck.as_ref().unwrap().test[1], password);
        // Through the file that lies on the disk, too.
        let raw = Project::parse("c.yml", &text, None).unwrap();
        assert_eq!(read(&raw.to_yaml()), once);
    }
}

#[test]
fn no_problem_shows_the_value_of_a_variable() {
    let text = file(
        "mem_limit: ${PW}\ncpus: ${PW}\ninit: ${PW}\nrestart: ${PW}\nstop_grace_period: ${PW}\ncommand: '${PW}'\n\
         ports: ['${PW}', {target: '${PW}', published: 80}]\nvolumes: ['${PW}', '${PW}:b', './a:/b:${PW}']\n\
         expose: ['${PW}']\nenvironment: ['${PW}']\nextra_hosts: ['${PW}']\ntmpfs: '${PW}'\nulimits: {nofile: '${PW}'}\n\
         healthcheck: {test: ['${PW}'], interval: '${PW}'}\nuser: '${NONE:?${PW}}'",
    );
    let problems = Project::parse("c.yml", &text, Some(&variables(&[("PW", "hunter2'")])))
        .unwrap_err()
        .to_string();
    assert!(
        problems
            .lines()
            .filter(|line| line.starts_with("c.yml:"))
            .count()
            >= 17,
        "{problems}"
    );
    assert!(!problems.contains("hunter2"), "{problems}");
}

const DOCUMENTATION: &str = include_str!("../docs/compose.md");

#[test]
fn the_documentation_lists_what_the_reader_knows() {
    let mut listed: Vec<(&str, &str)> = DOCUMENTATION
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').skip(1).map(str::trim);
            let (place, key) = (cells.next()?, cells.next()?);
            Some((place, key.strip_prefix('`')?.strip_suffix('`')?))
        })
        .collect();
    listed.sort_unstable();
    let mut known: Vec<(&str, &str)> = summoner::compose::supported_keys()
        .into_iter()
        .flat_map(|(place, keys)| keys.into_iter().map(move |key| (place, key)))
        .collect();
    known.sort_unstable();
    assert_eq!(listed, known);
}

#[test]
fn the_example_of_the_documentation_is_valid() {
    let example = DOCUMENTATION
        .split("```yaml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let project = Project::parse(
        "compose.yml",
        example,
        Some(&variables(&[("DB_PASSWORD", "p")])),
    )
    .unwrap();
    assert_eq!(
        project.services["app"].environment["DATABASE_URL"],
        "postgres://notes:p@db/notes"
    );
}
