//! Pulls, from a registry that this test is itself: one image of one layer, on this machine.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use summoner::engine::docker::Docker;
use summoner::engine::{Engine as _, EngineError};
use summoner::events::{Event, Events, Silent};

/// Bytes of the file in the layer.
const SIZE: usize = 6 << 20;

/// `anna:pa>s?w~rd>>>???`, a login whose JSON has `+` and `/` in base64, where two kinds of it differ.
const LOGIN_BASE64: &str = "YW5uYTpwYT5zP3d+cmQ+Pj4/Pz8=";

struct Registry {
    port: u16,
}

impl Registry {
    /// `private` wants [`LOGIN_BASE64`].
    fn start(private: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let image = Arc::new(RegistryImage::new(port));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let image = Arc::clone(&image);
                thread::spawn(move || image.answer(stream, private));
            }
        });
        Self { port }
    }

    fn reference(&self, tag: &str) -> String {
        format!("127.0.0.1:{}/summoner-test/pulled:{tag}", self.port)
    }
}

struct RegistryImage {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

fn digest(bytes: &[u8]) -> String {
    let hex: Vec<String> = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{}", hex.concat())
}

impl RegistryImage {
    /// The port makes the layer unlike those of other runs: the engine skips what it has.
    fn new(port: u16) -> Self {
        let layer = tar(port);
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Labels": {"io.summoner.test": "pull"}},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        })
        .to_string()
        .into_bytes();
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": config.len(), "digest": digest(&config),
            },
            "layers": [{
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "size": layer.len(), "digest": digest(&layer),
            }],
        })
        .to_string()
        .into_bytes();
        Self {
            layer,
            config,
            manifest,
        }
    }

    fn answer(&self, mut stream: TcpStream, private: bool) {
        let mut head = Vec::new();
        for line in BufReader::new(&stream).lines() {
            match line {
                Ok(line) if !line.is_empty() => head.push(line),
                _ => break,
            }
        }
        let Some(request) = head.first() else { return };
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let known = head
            .iter()
            .any(|line| line.ends_with(&format!("Basic {LOGIN_BASE64}")));
        let json = "application/vnd.docker.distribution.manifest.v2+json";
        let (status, kind, body): (&str, &str, &[u8]) = if private && !known {
            ("401 Unauthorized", "application/json", b"{}")
        } else if path == "/v2/" {
            ("200 OK", "application/json", b"{}")
        } else if path.ends_with("/manifests/1") || path.ends_with(&digest(&self.manifest)) {
            ("200 OK", json, &self.manifest)
        } else if path.ends_with(&digest(&self.config)) {
            ("200 OK", "application/octet-stream", &self.config)
        } else if path.ends_with(&digest(&self.layer)) {
            ("200 OK", "application/octet-stream", &self.layer)
        } else {
            (
                "404 Not Found",
                "application/json",
                br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
            )
        };
        // Whoever hangs up has what he wanted.
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Docker-Distribution-Api-Version: registry/2.0\r\nWww-Authenticate: Basic realm=\"test\"\r\n\
             Docker-Content-Digest: {}\r\nConnection: close\r\n\r\n",
            body.len(),
            digest(body),
        );
        if method == "GET" {
            // Slowly, so that there is progress to tell.
            for piece in body.chunks(1 << 20) {
                if stream.write_all(piece).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(120));
            }
        }
    }
}

/// An archive of one file.
fn tar(seed: u16) -> Vec<u8> {
    let mut header = vec![0_u8; 512];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, "file");
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{SIZE:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\u{0}00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    // A congruential generator: bytes that are unlike in each run.
    let mut state = u32::from(seed) + 1;
    header.extend((0..SIZE).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    }));
    header.extend([0; 1024]);
    header
}

/// Removes an image: nothing in the trait does, `summoner` never deletes images.
fn remove_image(reference: &str) {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    let path = host
        .strip_prefix("unix://")
        .unwrap_or("/var/run/docker.sock");
    let mut socket = UnixStream::connect(path).unwrap();
    write!(
        socket,
        "DELETE /images/{reference}?force=true HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[derive(Default)]
struct Recorder(Mutex<Vec<Event>>);

impl Events for Recorder {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

#[tokio::test]
async fn a_pull_tells_its_progress_and_the_image_is_there() {
    let registry = Registry::start(false);
    let docker = Docker::connect().unwrap();
    let reference = registry.reference("1");
    let recorder = Recorder::default();
    docker.pull(&reference, &recorder).await.unwrap();
    let image = docker.image(&reference).await;
    remove_image(&reference);
    let image = image.unwrap();
    assert_eq!(image.tags, std::slice::from_ref(&reference));
    assert_eq!(image.labels["io.summoner.test"], "pull");
    assert_eq!(image.digests.len(), 1);

    let events = recorder.0.into_inner().unwrap();
    let steps: Vec<(u64, u64)> = events
        .iter()
        .map(|event| match event {
            Event::Pull { image, done, total } if *image == reference => (*done, *total),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(steps.is_sorted(), "{steps:?}");
    assert!(
        steps.iter().any(|(done, total)| 0 < *done && done < total),
        "{steps:?}"
    );
    let (done, total) = *steps.last().unwrap();
    assert!(done == total && total >= SIZE as u64, "{steps:?}");
    assert!(steps.len() < 100, "{} events", steps.len());
}

#[tokio::test]
async fn what_the_registry_says_is_told() {
    let registry = Registry::start(false);
    let docker = Docker::connect().unwrap();
    for (reference, expected) in [
        (registry.reference("2"), "manifest unknown"),
        (
            "127.0.0.1:1/summoner-test/pulled:1".to_owned(),
            "connection refused",
        ),
        ("Not A Reference".to_owned(), "invalid reference"),
    ] {
        match docker.pull(&reference, &Silent).await {
            Err(EngineError::Pull { image, reason }) => {
                assert_eq!(image, reference);
                assert!(reason.contains(expected), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The child of the next test, which needs other variables: pulls what it is told to.
#[tokio::test]
async fn child() {
    if let Ok(reference) = std::env::var("CHILD_IMAGE") {
        let docker = Docker::connect().unwrap();
        docker.pull(&reference, &Silent).await.unwrap();
    }
}

#[tokio::test]
async fn a_login_of_docker_opens_a_private_registry() {
    let registry = Registry::start(true);
    let reference = registry.reference("1");
    let folder = tempfile::tempdir().unwrap();
    let pull = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child"])
            .env("CHILD_IMAGE", &reference)
            .env("DOCKER_CONFIG", folder.path())
            .output()
            .unwrap()
    };
    assert!(!pull().status.success(), "without a login");
    let login = format!(
        r#"{{"auths": {{"127.0.0.1:{}": {{"auth": "{LOGIN_BASE64}"}}}}}}"#,
        registry.port
    );
    std::fs::write(folder.path().join("config.json"), login).unwrap();
    let output = pull();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    remove_image(&reference);
}
