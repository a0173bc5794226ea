//! `summoner doctor` tries every destination, without an engine, too; and the ways credentials
//! come: config.yml, environment, profile, and an instance's role (by a named fake).

mod s3_support;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};

use assert_cmd::Command;
use s3_support::{Fault, Habit, S3, When};
use serde_json::Value;
use tempfile::TempDir;

/// A project with these destinations; no engine answers it.
fn project(destinations: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "summoner: {{domain: doctor.example.org}}\nproxy: {{http_port: 18280, https_port: 18643}}\ndestinations:\n{destinations}"
    );
    fs::write(folder.path().join("config.yml"), text).unwrap();
    folder
}

fn doctor(project: &TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::cargo_bin("summoner").unwrap();
    command
        .current_dir(project.path())
        .env_clear()
        .env("HOME", project.path())
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(variables.iter().copied())
        .arg("doctor")
        .args(arguments);
    command
}

/// What `doctor --json` says of a destination: (level, message, mend).
fn findings(
    project: &TempDir,
    name: &str,
    variables: &[(&str, &str)],
) -> Vec<(String, String, String)> {
    let output = doctor(project, &["--json"], variables).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    // 1: no engine answers, which is a finding as well.
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let answer: Value = serde_json::from_slice(&output.stdout).expect(&stderr);
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let all = answer["findings"].as_array().unwrap().iter();
    all.filter(|f| f["check"] == format!("destination {name}"))
        .map(|f| (text(&f["level"]), text(&f["message"]), text(&f["mend"])))
        .collect()
}

fn s3(server: &S3, endpoint: &str, more: &str) -> String {
    format!(
        "  bucket:\n    s3: {{bucket: {}, region: {}, endpoint: \"{endpoint}\"{more}}}\n",
        server.bucket(),
        server.region()
    )
}

fn keys(server: &S3) -> String {
    format!(
        ", access_key_id: {}, secret_access_key: {}",
        server.access_key(),
        server.secret_key()
    )
}

fn all_good(found: &[(String, String, String)]) {
    assert!(found.len() >= 4, "{found:?}");
    assert!(found.iter().all(|(level, ..)| level == "ok"), "{found:?}");
}

#[test]
fn each_destination_is_tried_and_the_missing_ones_stop_nobody() {
    let project = project(
        "  disk: {dir: ./backups}\n  gone: {dir: ./not/mounted}\n  keyless:\n    s3: {bucket: b, endpoint: \"http://127.0.0.1:1\", access_key_id: {env: NOPE}, secret_access_key: {env: NOPE}}\n  down:\n    s3: {bucket: b, endpoint: \"http://127.0.0.1:1\", access_key_id: a, secret_access_key: b}\n",
    );
    all_good(&findings(&project, "disk", &[]));
    let left: Vec<_> = fs::read_dir(project.path().join("backups"))
        .unwrap()
        .collect();
    assert_eq!(left.len(), 1, "only its marker: {left:?}");
    for (name, word) in [
        ("gone", "does not exist"),
        ("keyless", "`NOPE` is not set"),
        ("down", "cannot be reached"),
    ] {
        let found = findings(&project, name, &[]);
        assert!(
            found.iter().any(|(level, message, mend)| level == "error"
                && message.contains(word)
                && !mend.is_empty()),
            "{name}: {found:?}"
        );
    }
    let shown = doctor(&project, &[], &[]).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for words in [
        "destination disk: write:",
        "destination gone: ",
        "hint: mount the disk",
    ] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
}

#[test]
fn a_bucket_is_tried_with_keys_of_the_config_the_environment_or_a_profile() {
    let Some(server) = S3::s3s() else { return };
    let with_keys = project(&s3(&server, &server.endpoint(), &keys(&server)));
    let found = findings(&with_keys, "bucket", &[]);
    all_good(&found);
    for what in [
        "write",
        "read back",
        "path style",
        "checksums",
        "conditional put",
        "equal parts",
        "delete",
        "clock",
    ] {
        assert!(
            found
                .iter()
                .any(|(_, m, _)| m.starts_with(&format!("{what}: "))),
            "{what}: {found:?}"
        );
    }
    let bare = project(&s3(&server, &server.endpoint(), ""));
    let none = findings(&bare, "bucket", &[]);
    assert!(none[0].1.contains("no credentials found"), "{none:?}");
    let variables = [
        ("AWS_ACCESS_KEY_ID", server.access_key()),
        ("AWS_SECRET_ACCESS_KEY", server.secret_key()),
    ];
    all_good(&findings(&bare, "bucket", &variables));
    let profiled = project(&s3(&server, &server.endpoint(), ", profile: backups"));
    fs::create_dir(profiled.path().join(".aws")).unwrap();
    fs::write(
        profiled.path().join(".aws/credentials"),
        format!(
            "[default]\naws_access_key_id = wrong\naws_secret_access_key = wrong\n[backups]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            server.access_key(),
            server.secret_key()
        ),
    )
    .unwrap();
    all_good(&findings(&profiled, "bucket", &[]));
    let wrong = format!(
        ", access_key_id: {}, secret_access_key: not-the-secret-at-all",
        server.access_key()
    );
    let wrong = project(&s3(&server, &server.endpoint(), &wrong));
    let found = findings(&wrong, "bucket", &[]);
    assert!(
        found.iter().any(|(level, ..)| level == "error"),
        "{found:?}"
    );
    assert!(
        !format!("{found:?}").contains("not-the-secret"),
        "{found:?}"
    );
}

#[test]
fn what_a_setting_mends_is_named_with_it() {
    let Some(server) = S3::s3s() else { return };
    let proxy = server.behind();
    proxy.habit(Habit::RefuseChecksums);
    let more = format!("{}, checksums: on", keys(&server));
    let asked = project(&s3(&server, &proxy.endpoint(), &more));
    let found = findings(&asked, "bucket", &[]);
    assert!(
        found.iter().any(|(level, message, mend)| level == "error"
            && message.starts_with("checksums: ")
            && mend.contains("checksums: off")),
        "{found:?}"
    );
    proxy.heal();
    proxy.on(When::delete(), Fault::denied());
    let project = project(&s3(&server, &proxy.endpoint(), &keys(&server)));
    let found = findings(&project, "bucket", &[]);
    assert!(
        found.iter().any(|(level, message, mend)| level == "error"
            && message.starts_with("delete: ")
            && mend.contains("rights")),
        "{found:?}"
    );
}

/// Answers as the metadata service of an instance does: a token first, then the role's keys.
fn instance_metadata_fake(id: String, secret: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            let token = lines
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .any(|line| line.eq_ignore_ascii_case("x-aws-ec2-metadata-token: the-token"));
            let body = match first.split(' ').nth(1).unwrap() {
                "/latest/api/token" if first.starts_with("PUT ") => "the-token".to_owned(),
                _ if !token => String::new(),
                path if path
                    .trim_end_matches('/')
                    .ends_with("/security-credentials")
                    || path
                        .trim_end_matches('/')
                        .ends_with("/security-credentials-extended") =>
                {
                    "backups".to_owned()
                }
                path if path.ends_with("/backups") => format!(
                    "{{\"Code\": \"Success\", \"Type\": \"AWS-HMAC\", \"AccessKeyId\": \"{id}\", \"SecretAccessKey\": \"{secret}\", \"Token\": \"session\", \"Expiration\": \"2099-01-01T00:00:00Z\", \"LastUpdated\": \"2026-01-01T00:00:00Z\"}}"
                ),
                _ => String::new(),
            };
            let status = if body.is_empty() {
                "404 Not Found"
            } else {
                "200 OK"
            };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    address
}

#[test]
fn the_role_of_an_instance_gives_the_keys_fake() {
    let Some(server) = S3::s3s() else { return };
    let fake = instance_metadata_fake(
        server.access_key().to_owned(),
        server.secret_key().to_owned(),
    );
    let project = project(&s3(&server, &server.endpoint(), ""));
    let endpoint = format!("http://{fake}");
    let variables = [
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str()),
    ];
    all_good(&findings(&project, "bucket", &variables));
}
