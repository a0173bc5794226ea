//! Our own standard streams connected to containers: each test runs this very program again as a
//! child whose streams it holds.

mod engine_lab;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use engine_lab::RealLab;
use summoner::engine::docker::Docker;
use summoner::engine::{Engine as _, ExecSpec};

/// The child: does as the variables say, nothing without them, and writes the outcome into a
/// file, since the test harness writes on its standard output too.
#[tokio::test]
async fn child() {
    if std::env::var_os("CHILD_ID").is_none() {
        return;
    }
    let variable = |name: &str| std::env::var(name).unwrap();
    let docker = Docker::connect().unwrap();
    let (id, tty) = (variable("CHILD_ID"), variable("CHILD_TTY") == "true");
    let result = match std::env::var("CHILD_EXEC") {
        Ok(script) => {
            let spec = ExecSpec {
                command: script.split('|').map(str::to_owned).collect(),
                tty,
                stdin: true,
                ..Default::default()
            };
            docker.exec_attached(&id, &spec).await
        }
        Err(_) => docker.start_attached(&id, tty, true).await,
    };
    let outcome = match result {
        Ok(code) => code.to_string(),
        Err(error) => error.to_string(),
    };
    std::fs::write(variable("CHILD_OUTCOME"), outcome).unwrap();
}

fn child_command(id: &str, exec: Option<&[&str]>, outcome: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--nocapture", "-q"])
        .env("CHILD_ID", id)
        .env("CHILD_TTY", "false")
        .env("CHILD_OUTCOME", outcome)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(words) = exec {
        command.env("CHILD_EXEC", words.join("|"));
    }
    command
}

/// Feeds it and reads it to its end; standard output and error.
fn talk(mut child: Child, input: Vec<u8>) -> (String, String) {
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

async fn sleeper(lab: &RealLab) -> String {
    let id = lab.create("sleeper", &lab.script("sleep 3600")).await;
    lab.docker.start(&id).await.unwrap();
    id
}

#[tokio::test]
async fn a_command_gets_our_input_to_its_end_and_we_its_output_and_code() {
    let lab = RealLab::new();
    let id = sleeper(&lab).await;
    let folder = tempfile::tempdir().unwrap();
    let outcome = folder.path().join("outcome");
    let words = [
        "sh",
        "-c",
        "echo bytes $(wc -c); echo complaint >&2; exit 5",
    ];
    let child = child_command(&id, Some(&words), &outcome).spawn().unwrap();
    let (stdout, stderr) = talk(child, vec![b'x'; 3_000_000]);
    assert!(stdout.contains("bytes 3000000\n"), "{stdout}");
    assert!(stderr.contains("complaint\n"), "{stderr}");
    assert_eq!(std::fs::read_to_string(&outcome).unwrap(), "5");
}

#[tokio::test]
async fn both_directions_flow_at_once() {
    let lab = RealLab::new();
    let id = sleeper(&lab).await;
    let folder = tempfile::tempdir().unwrap();
    let outcome = folder.path().join("outcome");
    let child = child_command(&id, Some(&["cat"]), &outcome)
        .spawn()
        .unwrap();
    let line = "all work and no play\n";
    let (stdout, _) = talk(child, line.repeat(200_000).into_bytes());
    assert_eq!(stdout.matches(line.trim_end()).count(), 200_000);
    assert_eq!(std::fs::read_to_string(&outcome).unwrap(), "0");
}

#[tokio::test]
async fn a_missing_command_is_an_error_and_no_output() {
    let lab = RealLab::new();
    let id = sleeper(&lab).await;
    let folder = tempfile::tempdir().unwrap();
    let outcome = folder.path().join("outcome");
    let child = child_command(&id, Some(&["no-such-program"]), &outcome)
        .spawn()
        .unwrap();
    let (stdout, stderr) = talk(child, Vec::new());
    assert!(!(stdout + &stderr).contains("OCI runtime"));
    assert_eq!(
        std::fs::read_to_string(&outcome).unwrap(),
        "no such command: `no-such-program`"
    );
}

#[tokio::test]
async fn a_container_of_its_own_gets_our_streams() {
    let lab = RealLab::new();
    let mut spec = lab.script("echo begin; tr a-z A-Z; echo end >&2; exit 4");
    spec.stdin = true;
    let id = lab.create("own", &spec).await;
    let folder = tempfile::tempdir().unwrap();
    let outcome = folder.path().join("outcome");
    let child = child_command(&id, None, &outcome).spawn().unwrap();
    let (stdout, stderr) = talk(child, b"shout\n".to_vec());
    assert!(stdout.contains("begin\nSHOUT\n"), "{stdout}");
    assert!(stderr.contains("end\n"), "{stderr}");
    assert_eq!(std::fs::read_to_string(&outcome).unwrap(), "4");
}

#[tokio::test]
async fn an_interrupt_becomes_the_container_s_own() {
    let lab = RealLab::new();
    let mut spec =
        lab.script("trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done");
    spec.stdin = true;
    let id = lab.create("interrupted", &spec).await;
    let folder = tempfile::tempdir().unwrap();
    let outcome = folder.path().join("outcome");
    let mut child = child_command(&id, None, &outcome).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut seen = Vec::new();
    while !seen.windows(5).any(|window| window == b"ready") {
        let mut buffer = [0; 100];
        let read = stdout.read(&mut buffer).unwrap();
        assert!(read > 0, "it ended");
        seen.extend_from_slice(&buffer[..read]);
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    child.wait().unwrap();
    assert!(rest.contains("caught"), "{rest}");
    assert_eq!(std::fs::read_to_string(&outcome).unwrap(), "9");
}

#[tokio::test]
async fn a_terminal_is_lent_and_given_back() {
    let lab = RealLab::new();
    let id = sleeper(&lab).await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let words = [
        "sh",
        "-c",
        "sleep 0.5; stty size; tty; read word; echo got $word; exit 3",
    ];
    let program = child_command(&id, Some(&words), &path("outcome"));
    // `script` makes a terminal; the shell in it looks at its settings before and after.
    let inner = format!(
        "stty cols 91 rows 31; stty -g > {before}; {program} --exact child --nocapture -q; stty -g > {after}",
        before = path("before").display(),
        after = path("after").display(),
        program = program.get_program().display(),
    );
    let mut command = Command::new("script");
    command
        .args(["-qec", &inner, "/dev/null"])
        .envs(program.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .env("CHILD_TTY", "true")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let typist = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        stdin.write_all(b"hello\r").unwrap();
        // Its end would end the terminal.
        std::thread::sleep(Duration::from_secs(2));
    });
    let started = Instant::now();
    let output = child.wait_with_output().unwrap();
    typist.join().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(started.elapsed() < Duration::from_secs(30));
    assert!(stdout.contains("31 91"), "{stdout}");
    assert!(stdout.contains("/dev/pts/"), "{stdout}");
    assert!(stdout.contains("got hello"), "{stdout}");
    assert_eq!(std::fs::read_to_string(path("outcome")).unwrap(), "3");
    let settings = |name| std::fs::read_to_string(path(name)).unwrap();
    assert_eq!(settings("before"), settings("after"));
}
