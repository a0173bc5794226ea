//! Our Docker client before engines that misbehave: each is a thread on a socket that says what
//! the test wants. No real engine is needed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use summoner::engine::docker::Docker;
use summoner::engine::{Engine as _, EngineError, ExecSpec, LogOptions};
use tempfile::TempDir;

/// An engine that answers each request, given as `GET /version`, with raw bytes and hangs up;
/// nothing is silence.
fn engine(answer: impl Fn(&str) -> Vec<u8> + Clone + Send + 'static) -> (Docker, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("engine.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            thread::spawn(move || serve(stream, answer));
        }
    });
    let docker = Docker::at(&format!("unix://{}", socket.display())).unwrap();
    (docker.with_patience(Duration::from_millis(500)), folder)
}

fn serve(mut stream: UnixStream, answer: impl Fn(&str) -> Vec<u8>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = Vec::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) <= 2 {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push(line);
    }
    // A body left unread would reset the connection.
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    let request = head.first().map_or("", |line| line.trim_end());
    let request = request.trim_end_matches(" HTTP/1.1");
    let bytes = answer(request);
    if bytes.is_empty() {
        thread::sleep(Duration::from_mins(1));
    }
    let _ = stream.write_all(&bytes);
}

fn json(body: &str) -> Vec<u8> {
    respond("200 OK", body)
}

fn respond(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The exec dance, with `output` as the raw stream and `code` as the engine's word on its end.
fn exec(request: &str, output: &[u8], code: &str) -> Vec<u8> {
    match request {
        "POST /containers/blog/exec" => json(r#"{"Id": "e1"}"#),
        "POST /exec/e1/start" => {
            let mut bytes = b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n".to_vec();
            bytes.extend_from_slice(output);
            bytes
        }
        "GET /exec/e1/json" => json(code),
        other => panic!("{other}"),
    }
}

const ENDED: &str = r#"{"Running": false, "ExitCode": 0}"#;

async fn run(docker: &Docker) -> Result<summoner::engine::ExecOutput, EngineError> {
    let spec = ExecSpec {
        command: vec!["dump".into(), "--password=hunter2".into()],
        ..Default::default()
    };
    docker.exec("blog", &spec).await
}

#[tokio::test]
async fn an_engine_that_is_too_old_is_refused_with_its_version() {
    let (docker, _folder) = engine(|request| match request {
        "GET /version" => json(r#"{"Version": "19.03.15", "ApiVersion": "1.40"}"#),
        _ => json("{}"),
    });
    let error = docker.info().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the engine 19.03.15 speaks API 1.40, older than 1.41 (Docker 20.10)"
    );
    assert!(error.hint().unwrap().contains("apt-get install docker.io"));
}

#[tokio::test]
async fn an_engine_that_hangs_is_not_waited_for_for_ever() {
    let (docker, _folder) = engine(|_| Vec::new());
    let error = docker.containers().await.unwrap_err();
    assert!(
        matches!(error, EngineError::Timeout(after, _) if after == Duration::from_millis(500)),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        "the engine did not answer within 500ms while it should list the containers"
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error() {
    let (docker, _folder) =
        engine(|_| b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n".to_vec());
    let error = docker.containers().await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("failed to list the containers: "),
        "{error}"
    );
}

#[tokio::test]
async fn words_that_are_not_the_api_s_are_an_error() {
    let (docker, _folder) = engine(|_| json("<html>a proxy's page</html>"));
    let error = docker.networks().await.unwrap_err();
    assert!(matches!(error, EngineError::Other { .. }), "{error:?}");
}

#[tokio::test]
async fn output_in_whole_frames_is_taken_apart() {
    let (docker, _folder) = engine(|request| {
        exec(
            request,
            b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x03err\x01\0\0\0\0\0\0\x01!",
            ENDED,
        )
    });
    let output = run(&docker).await.unwrap();
    assert_eq!(
        (output.code, &output.stdout[..], &output.stderr[..]),
        (0, &b"out!"[..], &b"err"[..])
    );
}

#[tokio::test]
async fn output_cut_in_a_frame_is_no_output() {
    for output in [
        &b"\x01\0\0\0\0\0\0\x09cut"[..],
        b"\x03\0\0\0\0\0\0\x03bad",
        b"\x01\0\0",
    ] {
        let (docker, _folder) = engine(|request| exec(request, output, ENDED));
        let error = run(&docker).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(
            text,
            "failed to run the command `dump`: the engine broke off in the middle of the output"
        );
        assert!(!text.contains("hunter2"));
    }
}

#[tokio::test]
async fn an_exit_code_that_never_comes_is_an_error() {
    let (docker, _folder) = engine(|request| {
        exec(
            request,
            b"\x01\0\0\0\0\0\0\x03out",
            r#"{"Running": false, "ExitCode": null}"#,
        )
    });
    let error = run(&docker).await.unwrap_err();
    assert!(
        error.to_string().contains("does not tell its exit code"),
        "{error}"
    );
}

#[tokio::test]
async fn events_end_with_an_error_when_the_engine_goes() {
    use futures_util::StreamExt as _;
    let (docker, _folder) = engine(|request| {
        assert!(request.starts_with("GET /events?"), "{request}");
        json(r#"{"Type": "container", "Action": "die", "Actor": {"ID": "c1"}}"#)
    });
    let events: Vec<_> = docker.events().collect().await;
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].as_ref().unwrap().action, "die");
    assert!(
        events[1]
            .as_ref()
            .unwrap_err()
            .to_string()
            .contains("hung up")
    );
}

#[tokio::test]
async fn refusals_keep_their_kind() {
    use futures_util::StreamExt as _;
    let (docker, _folder) = engine(|request| match request {
        "GET /version" => json(r#"{"ApiVersion": "1.41"}"#),
        "POST /containers/blog/start" => respond(
            "500 Internal Server Error",
            r#"{"message": "driver failed programming external connectivity on endpoint blog (0a): Bind for 0.0.0.0:443 failed: port is already allocated"}"#,
        ),
        "DELETE /networks/edge" => respond(
            "403 Forbidden",
            r#"{"message": "error while removing network: network edge id 0a has active endpoints"}"#,
        ),
        "DELETE /containers/blog?v=false&force=true&link=false" => {
            respond("404 Not Found", r#"{"message": "No such container: blog"}"#)
        }
        _ => respond("404 Not Found", r#"{"message": "No such container: blog"}"#),
    });
    let error = docker.start("blog").await.unwrap_err();
    assert!(
        matches!(error, EngineError::PortTaken { port: 443, .. }),
        "{error:?}"
    );
    let error = docker.remove_network("edge").await.unwrap_err();
    assert!(matches!(error, EngineError::Conflict(_)), "{error:?}");
    docker.remove("blog").await.unwrap();
    let line = docker.logs("blog", LogOptions::default()).next().await;
    assert!(matches!(
        line,
        Some(Err(EngineError::NotFound {
            kind: "container",
            ..
        }))
    ));
}

/// Reads a streamed command to its end: what came, and the verdict.
async fn stream(docker: &Docker) -> (Vec<u8>, Result<i64, EngineError>) {
    use futures_util::StreamExt as _;
    let spec = ExecSpec {
        command: vec!["dump".into(), "--password=hunter2".into()],
        ..Default::default()
    };
    let mut stream = docker.exec_stream("blog", &spec).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.output.next().await {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(error) => return (bytes, Err(error)),
        }
    }
    (bytes, stream.end.await.map(|end| end.code))
}

#[tokio::test]
async fn f05_a_streamed_command_with_a_broken_frame_is_an_error() {
    for (output, reason) in [
        (
            &b"\x01\0\0\0\0\0\0\x09cut"[..],
            "6 bytes before the end of a frame",
        ),
        (
            b"\x01\0\0\0\0\0\0\x02ok\x01\0\0\0\0\0\0\x09",
            "9 bytes before the end of a frame",
        ),
        (
            b"\x03\0\0\0\0\0\0\x03bad\x01\0\0\0\0\0\0\x04good",
            "begins with [03, 00, 00, 00]",
        ),
        (b"\x01\0\0", "3 bytes into the head of a frame"),
        (b"plain text", "begins with [70, 6c, 61, 69]"),
    ] {
        let (docker, _folder) = engine(|request| exec(request, output, ENDED));
        let (bytes, end) = stream(&docker).await;
        let text = end.unwrap_err().to_string();
        assert!(
            text.starts_with("failed to run the command `dump`: the engine broke off in the middle of the output: "),
            "{text}"
        );
        assert!(text.contains(reason), "{text}");
        assert!(!text.contains("hunter2"));
        assert!(!bytes.ends_with(b"cut") || !bytes.is_empty());
    }
}

#[tokio::test]
async fn f05_a_stream_cut_between_two_frames_is_caught_while_the_command_still_runs() {
    let running = r#"{"Running": true, "ExitCode": null, "Pid": 0}"#;
    let (docker, _folder) = engine(|request| exec(request, b"\x01\0\0\0\0\0\0\x03out", running));
    let (bytes, end) = stream(&docker).await;
    assert_eq!(bytes, b"out");
    let text = end.unwrap_err().to_string();
    assert!(text.contains("does not tell its exit code"), "{text}");
}

#[tokio::test]
async fn f06_only_an_exit_code_of_a_command_that_has_ended_is_one() {
    for (code, expected) in [
        (r#"{"Running": false, "ExitCode": null}"#, None),
        (r#"{"Running": true, "ExitCode": 0}"#, None),
        (r#"{"Running": false}"#, None),
        (r#"{"Running": false, "ExitCode": 137}"#, Some(137)),
        (ENDED, Some(0)),
    ] {
        let (docker, _folder) = engine(|request| exec(request, b"\x01\0\0\0\0\0\0\x03out", code));
        let (_, end) = stream(&docker).await;
        assert_eq!(end.as_ref().ok().copied(), expected, "{code}: {end:?}");
    }
}

#[tokio::test]
async fn f06_an_exit_code_that_comes_late_is_waited_for() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    let asked = Arc::new(AtomicU32::new(0));
    let (docker, _folder) = engine(move |request| {
        let late = request.starts_with("GET") && asked.fetch_add(1, Ordering::Relaxed) < 5;
        let code = if late {
            r#"{"Running": false, "ExitCode": null}"#
        } else {
            r#"{"Running": false, "ExitCode": 3}"#
        };
        exec(request, b"\x02\0\0\0\0\0\0\x04oops", code)
    });
    let (bytes, end) = stream(&docker).await;
    assert_eq!((&bytes[..], end.unwrap()), (&b""[..], 3));
}

#[tokio::test]
async fn a_stream_that_the_engine_refuses_is_an_error_with_its_words() {
    let (docker, _folder) = engine(|request| match request {
        "POST /exec/e1/start" => respond(
            "409 Conflict",
            r#"{"message": "Container blog is paused, unpause the container before exec"}"#,
        ),
        other => exec(other, b"", ENDED),
    });
    let spec = ExecSpec {
        command: vec!["dump".into()],
        ..Default::default()
    };
    let error = docker.exec_stream("blog", &spec).await.err().unwrap();
    assert!(
        matches!(&error, EngineError::Conflict(text) if text.contains("is paused")),
        "{error:?}"
    );

    let (docker, _folder) = engine(|request| match request {
        "POST /exec/e1/start" => Vec::new(),
        other => exec(other, b"", ENDED),
    });
    let error = docker.exec_stream("blog", &spec).await.err().unwrap();
    assert!(matches!(error, EngineError::Timeout(..)), "{error:?}");
}

#[tokio::test]
async fn an_end_without_the_output_read_proves_nothing() {
    let (docker, _folder) = engine(|request| exec(request, b"\x01\0\0\0\0\0\0\x03out", ENDED));
    let stream = docker
        .exec_stream("blog", &ExecSpec::default())
        .await
        .unwrap();
    drop(stream.output);
    let error = stream.end.await.unwrap_err();
    assert!(error.to_string().contains("not read to the end"), "{error}");
}
