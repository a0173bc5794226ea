//! The text of every problem, with its place.

use summoner::compose::Project;

use crate::{file, variables};

/// What is said about these lines of the service `web`, which begin at line 4, column 5.
fn told(lines: &str) -> String {
    told_of(&file(lines))
}

fn told_of(text: &str) -> String {
    match Project::parse("c.yml", text, Some(&variables(&[("A", "a")]))) {
        Ok(project) => panic!("{text} gives {project:?}"),
        Err(problems) => problems.to_string().replace("\n  hint: ", " | "),
    }
}

#[test]
fn keys_of_a_service() {
    for (lines, expected) in [
        (
            "enviroment: {}",
            "c.yml:4:5 services.web.enviroment: unknown key `enviroment` | did you mean `environment`?",
        ),
        (
            "healthcheck: {tests: a}",
            "c.yml:4:19 services.web.healthcheck.tests: unknown key `tests` | did you mean `test`?",
        ),
        (
            "build: .",
            "c.yml:4:5 services.web.build: `build` is not supported yet | build the image beforehand and name it with `image`",
        ),
        (
            "privileged: true",
            "c.yml:4:5 services.web.privileged: `privileged` is not supported yet | name the capabilities it needs with `cap_add`",
        ),
        (
            "network_mode: host",
            "c.yml:4:5 services.web.network_mode: `network_mode` is not supported yet | services of a project reach each other by their names; use `networks`",
        ),
        (
            "networks: {front: {ipv4_address: 10.0.0.1}}",
            "c.yml:4:24 services.web.networks.front.ipv4_address: `ipv4_address` is not supported yet | leave it out and use the name of the service",
        ),
        (
            "volumes: [{type: volume, source: data, target: /x, volume: {nocopy: true}}]",
            "c.yml:4:65 services.web.volumes[0].volume.nocopy: `nocopy` is not supported yet | leave it out",
        ),
    ] {
        assert_eq!(told(lines), expected);
    }
    for key in [
        "deploy", "secrets", "configs", "profiles", "extends", "links", "env_file", "devices",
        "pid", "scale",
    ] {
        let message = told(&format!("{key}: []"));
        assert!(message.contains("is not supported yet | "), "{message}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn values_of_a_service() {
    for (lines, expected) in [
        (
            "user: [a]",
            "c.yml:4:11 services.web.user: expected text, found a list",
        ),
        (
            "command: {a: b}",
            "c.yml:4:14 services.web.command: expected a list, found a mapping",
        ),
        (
            "init: maybe",
            "c.yml:4:11 services.web.init: `maybe` is not `true` or `false` | such as `true`",
        ),
        (
            "mem_limit: lots",
            "c.yml:4:16 services.web.mem_limit: `lots` is not a size | such as `512m`",
        ),
        (
            "mem_limit: [1]",
            "c.yml:4:16 services.web.mem_limit: expected a size, found a list",
        ),
        (
            "cpus: -1",
            "c.yml:4:11 services.web.cpus: `-1` is not a number of cores | such as `0.5`",
        ),
        (
            "stop_grace_period: 10",
            "c.yml:4:24 services.web.stop_grace_period: `10` is not a duration | such as `1m30s`",
        ),
        (
            "restart: sometimes",
            "c.yml:4:14 services.web.restart: `sometimes` is not a restart policy | such as `unless-stopped`",
        ),
        (
            "environment: {A: }",
            "c.yml:4:20 services.web.environment.A: `A` has no value: nothing of the caller's environment is passed on | write `A: \"\"` for an empty one",
        ),
        (
            "environment: [A]",
            "c.yml:4:19 services.web.environment[0]: `A` has no value: nothing of the caller's environment is passed on | write `A: \"\"` for an empty one",
        ),
        (
            "environment: [A=1, A=2]",
            "c.yml:4:24 services.web.environment[1]: this name is there twice | keep one of the two",
        ),
        (
            "command: a && b",
            "c.yml:4:14 services.web.command: `&` means something to a shell only, and none runs this command | write `[sh, -c, \"…\"]`, or put the word in quotes",
        ),
        (
            "command: \"a 'b\"",
            "c.yml:4:14 services.web.command: `'` is opened and never closed | write a list, one word an item: `[sh, -c, \"…\"]`",
        ),
        (
            "volumes: [/data]",
            "c.yml:4:15 services.web.volumes[0]: a volume without a name would be lost with its container | name it: `data:/path`, or mount a folder: `./data:/path`",
        ),
        (
            "volumes: ['~/a:/b']",
            "c.yml:4:15 services.web.volumes[0]: `~` is not supported yet | write the whole path",
        ),
        (
            "volumes: ['/a:b']",
            "c.yml:4:15 services.web.volumes[0]: the path in the container must be absolute | such as `./data:/var/lib/app`",
        ),
        (
            "volumes: ['/a:/b:Z']",
            "c.yml:4:15 services.web.volumes[0]: `Z`: relabelling for SELinux is not supported yet | leave it out",
        ),
        (
            "volumes: ['/a:/b:shared']",
            "c.yml:4:15 services.web.volumes[0]: unknown option of a mount | `ro` or `rw`",
        ),
        (
            "volumes: [{source: a, target: /b}]",
            "c.yml:4:15 services.web.volumes[0]: `type` is missing | `bind` for a folder of the host, `volume` for a named volume",
        ),
        (
            "volumes: [{type: bind, target: /b}]",
            "c.yml:4:15 services.web.volumes[0]: `source` is missing | a path of the host, or the name of a volume",
        ),
        (
            "volumes: [{type: npipe, target: /b}]",
            "c.yml:4:22 services.web.volumes[0].type: `npipe` is not a kind of mount | such as `bind`",
        ),
        (
            "ports: [80]",
            "c.yml:4:13 services.web.ports[0]: `80`: no port of the host given | give both, such as `8080:80`; a port chosen by the engine is not supported",
        ),
        (
            "volumes: ['./a:/x', './b:/x']",
            "c.yml:4:14 services.web.volumes: mount 2 is at a path that another one has | keep one of the two",
        ),
        (
            "ports: ['80:80', '80:81']",
            "c.yml:4:12 services.web.ports: port 80 of the host is there twice | keep one of the two",
        ),
        (
            "ports: [{target: 80}]",
            "c.yml:4:13 services.web.ports[0]: `published` is missing | `{published: 8080, target: 80}`",
        ),
        (
            "ulimits: {nofile: {soft: 1}}",
            "c.yml:4:23 services.web.ulimits.nofile: a limit needs `soft` and `hard` | `{soft: 20000, hard: 40000}`, or one number for both",
        ),
        (
            "healthcheck: {test: [curl, x]}",
            "c.yml:4:25 services.web.healthcheck.test: a list must begin with `CMD` or `CMD-SHELL` and say what to run | `[CMD, pg_isready]`, or one text for the shell",
        ),
        (
            "depends_on: {db: {condition: healthy}}",
            "c.yml:4:34 services.web.depends_on.db.condition: `healthy` is not a condition | such as `service_healthy`",
        ),
        (
            "depends_on: {db: {required: false}}",
            "c.yml:4:33 services.web.depends_on.db.required: `required: false` is not supported yet | leave the dependency out",
        ),
    ] {
        assert_eq!(told(lines), expected);
    }
}

#[test]
fn what_is_not_there() {
    for (lines, expected) in [
        (
            "depends_on: [dbb]",
            "c.yml:4:18 services.web.depends_on[0]: there is no service `dbb` | did you mean `db`?",
        ),
        (
            "depends_on: {cache: }",
            "c.yml:4:23 services.web.depends_on.cache: there is no service `cache` | define it under `services:`",
        ),
        (
            "networks: [frnt]",
            "c.yml:4:16 services.web.networks[0]: network `frnt` is not defined | did you mean `front`?",
        ),
        (
            "networks: {back: {}}",
            "c.yml:4:22 services.web.networks.back: network `back` is not defined | define it under `networks:`",
        ),
        (
            "volumes: ['html:/x']",
            "c.yml:4:15 services.web.volumes[0]: volume `html` is not defined | define it under `volumes:`, or write `./html` for a folder",
        ),
        (
            "depends_on: [web]",
            "c.yml:4:17 services.web.depends_on: services wait for each other: `web` -> `web` | take one of these dependencies out",
        ),
    ] {
        assert_eq!(told(lines), expected);
    }
    assert_eq!(
        told_of(
            "services:\n  a: {image: i, depends_on: [b]}\n  b: {image: i, depends_on: [c]}\n  c: {image: i, depends_on: [b]}\n"
        ),
        "c.yml:3:29 services.b.depends_on: services wait for each other: `b` -> `c` -> `b` | take one of these dependencies out"
    );
}

#[test]
fn variables_that_cannot_be_put_in() {
    for (lines, expected) in [
        (
            "user: $X",
            "c.yml:4:11 services.web.user: variable `X` is not set | set it, or give a default: `${X:-default}`",
        ),
        (
            "environment: {P: 'a ${X} b'}",
            "c.yml:4:22 services.web.environment.P: variable `X` is not set | set it, or give a default: `${X:-default}`",
        ),
        (
            "user: '${X:?who runs it}'",
            "c.yml:4:11 services.web.user: variable `X` is required: who runs it | set `X`",
        ),
        (
            "user: '${X?}'",
            "c.yml:4:11 services.web.user: variable `X` is required | set `X`",
        ),
        (
            "user: 5$",
            "c.yml:4:11 services.web.user: a single `$` that begins no variable | write `$$` for a dollar sign, `${NAME}` for a variable",
        ),
        (
            "user: '${A'",
            "c.yml:4:11 services.web.user: `${A` is no variable | write `${NAME}`, `${NAME:-default}`, `${NAME:?message}` or `${NAME:+replacement}`; `$$` for a dollar sign",
        ),
    ] {
        assert_eq!(told(lines), expected);
    }
    let raw = Project::parse("c.yml", &file("mem_limit: ${MEMORY}"), None)
        .unwrap_err()
        .to_string();
    assert_eq!(
        raw,
        "c.yml:4:16 services.web.mem_limit: `${MEMORY}` has no value yet, and a size is needed here\n  hint: write the value itself: `512m`"
    );
    let raw = Project::parse("c.yml", &file("volumes: ['${DATA}:/x']"), None)
        .unwrap_err()
        .to_string();
    assert_eq!(
        raw,
        "c.yml:4:15 services.web.volumes[0]: `${DATA}` may be a path or a name\n  hint: use the long form: `{type: bind, source: …, target: …}`"
    );
    // A key is a name: nothing is put into it, nothing has to be.
    let text = "services: {web: {image: i, labels: {'${X}': a}}}";
    assert!(
        Project::parse("c.yml", text, Some(&variables(&[])))
            .unwrap()
            .services["web"]
            .labels
            .contains_key("${X}")
    );
}

#[test]
fn the_top_of_a_file() {
    for (text, expected) in [
        (
            "name: x\n",
            "c.yml:1:1: `services` is missing | name at least one: `services: {web: {image: \"nginx:1.30.6\"}}`",
        ),
        ("[]", "c.yml:1:1: expected a mapping, found a list"),
        (
            "services: []",
            "c.yml:1:11 services: expected a mapping, found a list",
        ),
        (
            "services: {web: }",
            "c.yml:1:15 services.web: `image` is missing | name the image to run: `image: nginx:1.30.6`",
        ),
        (
            "services: {web: {image: }}",
            "c.yml:1:23 services.web.image: expected text, found nothing",
        ),
        (
            "services: {web: {image: ''}}",
            "c.yml:1:25 services.web.image: `` is not the name of an image | such as `nginx:1.30.6`",
        ),
        (
            "services: {'a b': {image: i}}",
            "c.yml:1:19 services.a b: a service's name has letters, digits, `.`, `-` and `_`, and begins with a letter or digit | rename the service",
        ),
        (
            "service: {}\nservices: {}",
            "c.yml:1:1 service: unknown key `service` | did you mean `services`?",
        ),
        (
            "secrets: {}\nservices: {}",
            "c.yml:1:1 secrets: `secrets` is not supported yet | pass them with `environment: {NAME: ${NAME}}`",
        ),
        (
            "name: My Blog\nservices: {}",
            "c.yml:1:7 name: `My Blog` is not a project name: small letters, digits, `-` and `_` | such as `my-project`",
        ),
        (
            "services: {}\nnetworks: {a: {driver: overlay}}",
            "c.yml:2:24 networks.a.driver: `overlay` is not a supported driver | such as `bridge`",
        ),
        (
            "services: {}\nnetworks: {a: {ipam: {}}}",
            "c.yml:2:16 networks.a.ipam: `ipam` is not supported yet | leave it out: a free subnet is chosen",
        ),
    ] {
        assert_eq!(told_of(text), expected, "{text}");
    }
}

#[test]
fn every_problem_is_told_at_once_in_the_order_of_the_file() {
    let told = told("user: $X\nbuild: .\nmem_limit: x\ndepends_on: [nobody]");
    let lines: Vec<&str> = told
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        lines,
        ["c.yml:4:11", "c.yml:5:5", "c.yml:6:16", "c.yml:7:18"]
    );
}
