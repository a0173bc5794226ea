//! logs, exec, run and restart.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::time::Duration;

use crate::engine_support::{Project, docker, text, wait_for};

/// A page, and a second service `side` beside it that writes five lines into its log.
fn page() -> Project {
    let project = Project::new("minions: {page: {}}");
    project.web_minion("page", "hello", "");
    let template = project.read("minions/page/compose.yml.j2");
    let side = "  side:\n    image: summoner-test/tiny:1.0.0\n    init: true\n    mem_limit: 16m\n    stop_grace_period: 1s\n    \
        command: [sh, -c, \"for i in 1 2 3 4 5; do echo line $$i; done; echo side > /www/index.html; exec httpd -f -p 80 -h /www\"]\n    \
        healthcheck: {test: [CMD, wget, -q, -O, /dev/null, \"http://127.0.0.1/\"], interval: 1s, timeout: 3s, retries: 5, start_period: 10s}\n";
    project.write("minions/page/compose.yml.j2", &(template + side));
    project.up();
    project
}

fn started(id: &str) -> String {
    docker(&["inspect", "-f", "{{.State.StartedAt}}", id])
}

#[test]
fn commands_run_in_containers_and_lines_come_out() {
    let project = page();
    exec(&project);
    run(&project);
    logs(&project);
    restart(&project);
}

fn exec(project: &Project) {
    let ran = project
        .run(&["exec", "page", "sh", "-c", "echo out; echo err >&2; exit 7"])
        .code(7);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("out\n", "err\n")
    );
    // The main service unless one is named.
    project.run(&["exec", "page", "test", "-d", "/data"]).ok();
    project
        .run(&["exec", "page/side", "test", "-d", "/data"])
        .code(1);
    project
        .run(&["exec", "page/nobody", "true"])
        .code(1)
        .says("app, side");
    assert_eq!(piped(project, &["exec", "page", "cat"]), "through\n");
    // As a shell would end.
    project
        .run(&["exec", "page", "no-such-program"])
        .code(127)
        .says("there is no program `no-such-program` in `page/app`")
        .says("hint:");
    project
        .run(&["exec", "page", "/etc/passwd"])
        .code(126)
        .says("`/etc/passwd` cannot be executed in `page/app`")
        .says("hint:");
    // In a container of its own it is the init process that says it.
    project
        .run(&["run", "page", "no-such-program"])
        .code(127)
        .says("no-such-program");
    project.run(&["run", "page", "/etc/passwd"]).code(126);
    for verb in ["exec", "run"] {
        project
            .run(&[verb, "page", "sh", "-c", "no-such-program"])
            .code(127)
            .says("not found");
    }
    assert!(
        !project
            .containers()
            .iter()
            .any(|(n, _)| n.contains(".run-"))
    );
}

/// Standard output of a run whose standard input is one line.
fn piped(project: &Project, arguments: &[&str]) -> String {
    let mut command = project.command(arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"through\n").unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    let output = receiver
        .recv_timeout(Duration::from_mins(1))
        .expect("it ends with its input");
    assert!(output.status.success(), "{arguments:?}");
    text(&output.stdout)
}

fn run(project: &Project) {
    let before = project.containers();
    // The networks and the environment of the service, and a container of its own.
    let script = "wget -q -O - http://side/; test ${#TOKEN} = 20; echo $? $COLOUR; echo kept > /data/kept; exit 5";
    let ran = project.run(&["run", "page", "sh", "-c", script]).code(5);
    assert_eq!(ran.stdout, "side\n0 red\n", "{}", ran.stderr);
    project
        .run(&["exec", "page", "cat", "/data/kept"])
        .ok()
        .says("kept");
    assert_eq!(piped(project, &["run", "page", "cat"]), "through\n");
    let all = docker(&["ps", "-a", "--format", "{{.Names}}"]);
    assert!(
        !all.lines()
            .any(|n| n.starts_with(&project.container("page")) && n.contains(".run-")),
        "{all}"
    );
    // Nobody's requests went to it and nothing is left to do.
    assert_eq!(project.containers(), before);
    project.up().says("nothing to do");
}

fn logs(project: &Project) {
    let lines = project
        .run(&["logs", "page/side", "--tail", "2"])
        .ok()
        .stdout;
    assert_eq!(lines, "page/side | line 4\npage/side | line 5\n");
    assert!(project.run(&["logs"]).ok().stdout.contains("line 1"));

    let mut command = project.command(&["logs", "page/side", "-f", "--tail", "1"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        seen.by_ref()
            .map_while(Result::ok)
            .for_each(|line| sender.send(line).unwrap_or(()));
    });
    let next = || receiver.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!(next(), "page/side | line 5");
    project
        .run(&["exec", "page/side", "sh", "-c", "echo late > /proc/1/fd/1"])
        .ok();
    assert_eq!(next(), "page/side | late");
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the end of the lines", Duration::from_secs(10), || {
        receiver
            .try_recv()
            .err()
            .filter(|e| matches!(e, std::sync::mpsc::TryRecvError::Disconnected))
    });
}

fn restart(project: &Project) {
    let ids = project.containers();
    let (app, side) = (
        project.id(&project.container("page")),
        project.id(&format!("side-{}", project.container("page"))),
    );
    let before = (started(&app), started(&side));
    project.run(&["restart", "page/side"]).ok();
    assert_eq!(started(&app), before.0);
    assert_ne!(started(&side), before.1);
    project.run(&["restart", "page"]).ok();
    assert_ne!(started(&app), before.0);
    assert_eq!(project.containers(), ids);
    assert_eq!(project.get("page", "/"), "hello red\n");
    project.up().says("nothing to do");
}
