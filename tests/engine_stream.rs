//! Commands whose output is data, on the real engine: every byte, the exit code, and that nothing
//! goes on running when nobody waits any more. Needs the images `summoner-test/tiny` and
//! `postgres:17.12`.

mod engine_lab;

use std::process::Command;
use std::time::{Duration, Instant};

use engine_lab::RealLab;
use futures_util::StreamExt as _;
use summoner::engine::{
    ContainerSpec, Engine as _, EngineError, ExecEnd, ExecSpec, ExecStream, RunState,
};
use tokio::io::AsyncWriteExt as _;

fn spec(command: &[&str]) -> ExecSpec {
    ExecSpec {
        command: command.iter().map(ToString::to_string).collect(),
        ..ExecSpec::default()
    }
}

fn shell(script: &str) -> ExecSpec {
    spec(&["sh", "-c", script])
}

fn with_input(spec: ExecSpec) -> ExecSpec {
    ExecSpec {
        stdin: true,
        ..spec
    }
}

/// Reads it to its end.
async fn collect(mut stream: ExecStream) -> Result<(Vec<u8>, ExecEnd), EngineError> {
    let mut bytes = Vec::new();
    while let Some(piece) = stream.output.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok((bytes, stream.end.await?))
}

struct Lab {
    lab: RealLab,
    id: String,
}

impl Lab {
    /// A container that sleeps.
    async fn new() -> Self {
        let lab = RealLab::new();
        let spec = lab.script("trap 'exit 0' TERM; while :; do sleep 3600 & wait; done");
        let id = lab.create("box", &spec).await;
        lab.docker.start(&id).await.unwrap();
        Self { lab, id }
    }

    async fn stream(&self, spec: &ExecSpec) -> Result<ExecStream, EngineError> {
        self.lab.docker.exec_stream(&self.id, spec).await
    }

    async fn run(&self, spec: &ExecSpec) -> Result<(Vec<u8>, ExecEnd), EngineError> {
        collect(self.stream(spec).await?).await
    }

    /// Processes of the container whose command line holds the text.
    fn processes(&self, text: &str) -> Vec<String> {
        processes(&self.id, text)
    }
}

fn processes(container: &str, text: &str) -> Vec<String> {
    let output = Command::new("docker")
        .args(["top", container, "-eo", "pid,args"])
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .skip(1)
        .filter(|line| line.contains(text))
        .map(str::to_owned)
        .collect()
}

async fn until(what: &str, most: Duration, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < most, "not within {most:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Bytes of every value in no order, ends of lines and what terminals eat among them.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[tokio::test]
async fn f07_a_terminal_is_never_used_for_data() {
    let lab = Lab::new().await;
    let sent = noise(5_000_003);
    // Whoever asks for a terminal does not get one: its bytes come back as they are.
    let asked = ExecSpec {
        tty: true,
        ..with_input(shell(
            "if [ -t 0 ] || [ -t 1 ]; then echo terminal; fi; cat",
        ))
    };
    let mut stream = lab.stream(&asked).await.unwrap();
    let mut input = stream.input.take().unwrap();
    let data = sent.clone();
    let writer = tokio::spawn(async move {
        input.write_all(&data).await.unwrap();
        input.shutdown().await.unwrap();
    });
    let (bytes, end) = collect(stream).await.unwrap();
    writer.await.unwrap();
    assert_eq!(end.code, 0);
    assert!(bytes == sent, "{} of {} bytes", bytes.len(), sent.len());
}

#[tokio::test]
async fn both_streams_and_the_exit_code_are_told_apart() {
    let lab = Lab::new().await;
    let script = "echo out; echo oops >&2; i=0; while [ $i -lt 3000 ]; do echo 'a line of forty bytes, more or less so' >&2; i=$((i+1)); done; echo last >&2; echo end; exit 7";
    let (bytes, end) = lab.run(&shell(script)).await.unwrap();
    assert_eq!((&bytes[..], end.code), (&b"out\nend\n"[..], 7));
    assert_eq!(end.stderr.len(), 64 << 10);
    assert!(end.stderr.ends_with("less so\nlast\n") && !end.stderr.contains("oops"));
    let (bytes, end) = lab.run(&shell("exit 0")).await.unwrap();
    assert_eq!(
        (&bytes[..], end),
        (
            &b""[..],
            ExecEnd {
                code: 0,
                stderr: String::new()
            }
        )
    );
}

#[tokio::test]
async fn the_words_of_a_runtime_that_could_not_start_it_are_no_data() {
    let lab = Lab::new().await;
    let error = lab
        .run(&spec(&["no-such-dump", "--all"]))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "no such command: `no-such-dump`");
    // The same words from a command that was started are its own.
    for text in [
        "O",
        "OCI runtime exec",
        "OCI runtime exec failed",
        "OCI runtime exec failed: not at all",
    ] {
        let (bytes, end) = lab.run(&shell(&format!("printf '{text}'"))).await.unwrap();
        assert_eq!((&bytes[..], end.code), (text.as_bytes(), 0));
    }
    let long = "printf 'OCI runtime exec failed'; head -c 100000 /dev/zero; exit 126";
    let (bytes, end) = lab.run(&shell(long)).await.unwrap();
    assert_eq!((bytes.len(), end.code), (100_023, 126));
}

#[tokio::test]
async fn the_end_of_the_input_is_said_not_guessed() {
    let lab = Lab::new().await;
    let count = with_input(shell("wc -c && touch /whole"));
    let mut stream = lab.stream(&count).await.unwrap();
    let mut input = stream.input.take().unwrap();
    input.write_all(b"half").await.unwrap();
    drop(input);
    // Nobody said that it was all: the command goes on waiting, and ends with the stream.
    let waited = tokio::time::timeout(Duration::from_millis(500), stream.output.next()).await;
    assert!(waited.is_err(), "{waited:?}");
    drop(stream);
    until("it ends", Duration::from_secs(10), || {
        lab.processes("wc -c").is_empty()
    })
    .await;
    let (_, end) = lab.run(&spec(&["test", "-e", "/whole"])).await.unwrap();
    assert_eq!(end.code, 1, "half an input looked like a whole one");
}

#[tokio::test]
async fn a_command_that_does_not_read_its_input_ends_all_the_same() {
    let lab = Lab::new().await;
    let stream = lab.stream(&with_input(shell("echo enough"))).await.unwrap();
    let all = tokio::time::timeout(Duration::from_secs(20), collect(stream)).await;
    let (bytes, end) = all.expect("it ends").unwrap();
    assert_eq!((&bytes[..], end.code), (&b"enough\n"[..], 0));
}

#[tokio::test]
async fn f04_a_container_killed_in_the_middle_is_no_success() {
    let lab = Lab::new().await;
    let mut stream = lab
        .stream(&shell("while :; do echo data; done"))
        .await
        .unwrap();
    stream.output.next().await.unwrap().unwrap();
    lab.lab.docker.signal(&lab.id, "KILL").await.unwrap();
    let verdict = collect(stream).await;
    if let Ok((_, end)) = &verdict {
        assert_eq!(end.code, 137, "{end:?}");
    }
}

#[tokio::test]
async fn f06_the_exit_code_is_that_of_the_command_after_its_last_byte() {
    let lab = Lab::new().await;
    // Its output ends a while before it does.
    let script = "echo data; exec >&- 2>&-; sleep 1; exit 9";
    let (bytes, end) = lab.run(&shell(script)).await.unwrap();
    assert_eq!((&bytes[..], end.code), (&b"data\n"[..], 9));
}

#[tokio::test]
async fn f08_dropping_a_stream_ends_the_whole_tree() {
    let lab = Lab::new().await;
    // Dropped at once, before the engine has told its process; and after its first output.
    for early in [true, false] {
        let script = "trap '' HUP; sleep 4001 & (trap '' TERM; while :; do sleep 4002; done) & echo data; wait";
        let mut stream = lab.stream(&shell(script)).await.unwrap();
        if !early {
            stream.output.next().await.unwrap().unwrap();
            assert!(!lab.processes("sleep 4001").is_empty());
        }
        drop(stream);
        until("the tree ends", Duration::from_secs(20), || {
            lab.processes("sleep 400").is_empty()
        })
        .await;
    }
    // One half is enough: without the verdict nobody wants the output.
    let stream = lab.stream(&shell("echo data; sleep 4003")).await.unwrap();
    drop(stream.end);
    until("the tree ends", Duration::from_secs(20), || {
        lab.processes("sleep 4003").is_empty()
    })
    .await;
    assert_eq!(
        lab.lab.docker.inspect(&lab.id).await.unwrap().state,
        RunState::Running
    );
}

/// `PostgreSQL` as process 1, without an init: it buries orphans itself, and takes the odd exit
/// code of one for a crash.
#[tokio::test]
async fn f08_postgres_does_not_go_into_crash_recovery() {
    let lab = RealLab::new();
    let container = ContainerSpec {
        image: "postgres:17.12".into(),
        environment: [("POSTGRES_PASSWORD".to_owned(), "hunter2".to_owned())].into(),
        labels: lab.labels(),
        restart: "no".into(),
        ..ContainerSpec::default()
    };
    let id = lab.create("postgres", &container).await;
    lab.docker.start(&id).await.unwrap();
    let psql = |sql: &str| ExecSpec {
        environment: [("PGPASSWORD".to_owned(), "hunter2".to_owned())].into(),
        ..spec(&["psql", "-h", "127.0.0.1", "-U", "postgres", "-qtAXc", sql])
    };
    let begin = Instant::now();
    while lab.docker.exec(&id, &psql("select 1")).await.unwrap().code != 0 {
        assert!(
            begin.elapsed() < Duration::from_mins(2),
            "PostgreSQL gets ready"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let fill = "create table big as select i, repeat(md5(i::text), 20) as words from generate_series(1, 100000) i";
    assert_eq!(lab.docker.exec(&id, &psql(fill)).await.unwrap().code, 0);

    let environment = psql("").environment;
    for command in [
        spec(&["pg_dump", "-h", "127.0.0.1", "-U", "postgres", "postgres"]),
        // What one should not do.
        shell("pg_dump -h 127.0.0.1 -U postgres postgres | cat; true"),
    ] {
        let command = ExecSpec {
            environment: environment.clone(),
            ..command
        };
        let mut stream = lab.docker.exec_stream(&id, &command).await.unwrap();
        stream.output.next().await.unwrap().unwrap();
        assert!(!processes(&id, "pg_dump").is_empty());
        drop(stream);
        until("pg_dump ends", Duration::from_secs(20), || {
            processes(&id, "pg_dump").is_empty()
        })
        .await;
        until("its backend ends", Duration::from_secs(20), || {
            processes(&id, " COPY").is_empty()
        })
        .await;
    }
    let count = lab
        .docker
        .exec(&id, &psql("select count(*) from big"))
        .await;
    let count = count.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&count.stdout),
        "100000\n",
        "{}",
        String::from_utf8_lossy(&count.stderr)
    );
    let logs: Vec<String> = lab
        .docker
        .logs(&id, summoner::engine::LogOptions::default())
        .map(|line| line.unwrap().text)
        .collect()
        .await;
    let crashes: Vec<&String> = logs
        .iter()
        .filter(|line| {
            line.contains("terminating any other")
                || line.contains("recovery in progress")
                || line.contains("reinitializing")
        })
        .collect();
    assert!(crashes.is_empty(), "{crashes:?}");
}
