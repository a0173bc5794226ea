//! The binary where no engine is needed: what it says and how it ends.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::CommandCargoExt as _;
use rcgen::{CertificateParams, KeyPair};

fn summoner(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("summoner").expect("it is built");
    command
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .env("NO_COLOR", "1");
    command
}

/// Exit code and standard error.
fn end(mut command: Command) -> (i32, String) {
    let output = command.output().expect("it runs");
    let stderr = String::from_utf8(output.stderr).expect("text");
    (output.status.code().expect("an exit code"), stderr)
}

/// A disk that is full is no success: who reads the file would take half of it for all.
#[test]
fn what_cannot_be_written_to_standard_output_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("config.yml"),
        "summoner: {domain: example.test}\nminions: {site: {use: static}}\n",
    )
    .unwrap();
    for arguments in [
        ["schema", "config"].as_slice(),
        &["render"],
        &["minion", "list", "--json"],
    ] {
        let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = summoner(folder.path(), arguments);
        command.stdout(full());
        assert_eq!(
            end(command),
            (
                1,
                "error: what was asked for could not be written to standard output\n  \
                 hint: is the disk full? `df -h`\n"
                    .to_owned()
            ),
            "{arguments:?}"
        );
        // Nobody reads any more: that is how `| head` ends.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = summoner(folder.path(), arguments);
        command.stdout(writer);
        assert_eq!(end(command), (0, String::new()), "{arguments:?}");
    }
}

/// Names and the time it ends, as `openssl` would make it.
fn certificate(folder: &Path, names: &[&str], years: i32) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020 + years, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
}

#[test]
fn a_bad_certificate_of_ones_own_is_refused_by_check() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(
        folder.join("config.yml"),
        "summoner: {domain: example.test}\nminions: {site: {use: static}}\n\
         proxy: {tls: {files: {certificate: cert.pem, key: key.pem}}}\n",
    )
    .unwrap();
    let check = || end(summoner(folder, &["check"]));
    let refused = |what: &str| {
        let (code, said) = check();
        let hint =
            "hint: give a full chain and its key, both PEM, that are valid for all host names";
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(what), "{what}: {said}");
        assert!(
            said.contains("proxy.tls.files") && said.contains(hint),
            "{said}"
        );
        assert!(!said.contains("PRIVATE KEY-----"), "{said}");
        // No other verb goes further.
        assert_eq!(end(summoner(folder, &["render"])), (2, said));
    };

    refused("failed to read");
    certificate(folder, &["site.example.test"], 80);
    assert_eq!(check().0, 0, "{}", check().1);
    let key = fs::read(folder.join("key.pem")).unwrap();
    fs::write(folder.join("key.pem"), "nothing").unwrap();
    refused("the key file holds no `BEGIN PRIVATE KEY`");
    certificate(folder, &["site.example.test"], 80);
    fs::write(folder.join("key.pem"), key).unwrap();
    refused("the key does not belong to the certificate");
    certificate(folder, &["other.example.test"], 80);
    refused("the certificate is not for `site.example.test`");
    certificate(folder, &["*.example.test"], 80);
    assert_eq!(check().0, 0, "{}", check().1);
    certificate(folder, &["site.example.test"], 1);
    refused("the certificate has expired on 2021-01-01");
    fs::write(folder.join("cert.pem"), "").unwrap();
    refused("the certificate file holds no `BEGIN CERTIFICATE`");
}

#[test]
fn a_broken_folder_of_a_minion_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("minions/broken");
    fs::create_dir_all(&broken).unwrap();
    fs::write(broken.join("minion.yml"), "name: broken\nversoin: 1\n").unwrap();
    for arguments in [["minion", "list"].as_slice(), &["minion", "list", "--json"]] {
        let output = summoner(folder.path(), arguments).output().unwrap();
        let (out, err) = (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        );
        assert_eq!(output.status.code(), Some(0), "{err}");
        assert!(out.contains("wordpress") && out.contains("static"), "{out}");
        assert!(!out.contains("broken"), "{out}");
        assert!(err.starts_with("warning: `broken` is left out:"), "{err}");
        assert!(err.contains("did you mean `version`?"), "{err}");
        assert!(
            err.contains("compose.yml.j2: there is no such file"),
            "{err}"
        );
        assert!(err.contains("hint: `summoner minion lint broken`"), "{err}");
    }
    // Lint tells it too, with the verdict on all others.
    let output = summoner(folder.path(), &["minion", "lint"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(
        out.contains("wordpress: good") && !out.contains("broken"),
        "{out}"
    );
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("did you mean `version`?"), "{err}");
    let (code, err) = end(summoner(folder.path(), &["minion", "lint", "brokn"]));
    assert_eq!(code, 1);
    assert!(err.contains("did you mean `broken`?"), "{err}");
}
