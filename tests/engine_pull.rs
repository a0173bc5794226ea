//! Pulls, from a registry that this test is itself: one image of one layer, on this machine.

mod registry_support;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use registry_support::{LOGIN_BASE64, Registry, SIZE};
use summoner::engine::docker::Docker;
use summoner::engine::{Engine as _, EngineError};
use summoner::events::{Event, Events, Silent};

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
    let registry = Registry::start();
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
    let registry = Registry::start();
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

#[tokio::test]
async fn a_registry_is_asked_without_a_pull() {
    let registry = Registry::start();
    let docker = Docker::connect().unwrap();
    let reference = registry.reference("1");
    let digest = docker.registry_digest(&reference).await.unwrap();
    assert!(
        digest.starts_with("sha256:") && digest.len() == 71,
        "{digest}"
    );
    assert!(
        docker.image(&reference).await.is_err(),
        "nothing was pulled"
    );
    let begin = Instant::now();
    for reference in [
        registry.reference("2"),
        "127.0.0.1:1/summoner-test/pulled:1".to_owned(),
        "../containers/json?x=".to_owned(),
    ] {
        let error = docker.registry_digest(&reference).await.unwrap_err();
        let told = error.to_string();
        assert!(
            told.starts_with("failed to ask a registry") || told.contains("no such image"),
            "{told}"
        );
    }
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    let private = Registry::start_private();
    assert!(
        docker
            .registry_digest(&private.reference("1"))
            .await
            .is_err()
    );
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
    let registry = Registry::start_private();
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
