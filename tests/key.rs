//! `summoner key generate`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use summoner::backup::encryption::{Key, Seal};
use summoner::config::environment::Encryption;

fn generate(folder: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_summoner"))
        .arg("-C")
        .arg(folder)
        .args(["key", "generate"])
        .args(more)
        .output()
        .unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_identity_that_nobody_else_reads_and_its_recipients_which_fit() {
    let folder = tempfile::tempdir().unwrap();
    let output = generate(folder.path(), &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let (key, public) = (
        folder.path().join("backup.key"),
        folder.path().join("backup.pub"),
    );
    assert_eq!((mode(&key), mode(&public)), (0o600, 0o644));
    let secret = fs::read_to_string(&key).unwrap();
    let secret = secret.lines().last().unwrap();
    assert!(secret.starts_with("AGE-SECRET-KEY-1"));
    assert!(!said.contains(secret) && output.stdout.is_empty());
    assert!(
        said.contains("copy") && said.contains("backup.key"),
        "{said}"
    );
    let encryption = Encryption::Recipients {
        file: public,
        identity: Some(key),
    };
    let sealed = Seal::of(&encryption).unwrap().begin(Vec::new());
    let sealed = sealed.unwrap().unwrap().finish().unwrap();
    Key::of("usb", &encryption)
        .unwrap()
        .open(&*sealed)
        .map(drop)
        .unwrap();
}

#[test]
fn a_key_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.key");
    let path = file.to_str().unwrap();
    assert!(
        generate(folder.path(), &["--output", path])
            .status
            .success()
    );
    let before = fs::read(&file).unwrap();
    let again = generate(folder.path(), &["--output", path]);
    assert_eq!(again.status.code(), Some(5));
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(
        said.contains("is there already") && said.contains("hint:"),
        "{said}"
    );
    assert_eq!(fs::read(&file).unwrap(), before);
    // Nor is half a pair left where only the recipients file is there.
    fs::remove_file(&file).unwrap();
    assert_eq!(
        generate(folder.path(), &["--output", path]).status.code(),
        Some(5)
    );
    assert!(!file.exists());
}
