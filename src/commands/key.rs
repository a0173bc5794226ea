//! `summoner key`: keys of encrypted snapshots.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::backup::encryption;
use crate::backup::error::BackupError;
use crate::cli::key::{KeyArgs, KeyCommand};
use crate::clock::{Clock as _, SystemClock};
use crate::commands::{Session, exit};
use crate::files::FileError;

/// Name of the identity beside config.yml.
const IDENTITY: &str = "backup.key";

pub(super) fn run(session: &Session, directory: Option<&Path>, args: &KeyArgs) -> Result<u8> {
    let KeyCommand::Generate { output } = &args.command;
    let identity = match (output, directory) {
        (Some(output), Some(directory)) => directory.join(output),
        (Some(output), None) => output.clone(),
        (None, _) => session
            .file
            .parent()
            .unwrap_or(Path::new(""))
            .join(IDENTITY),
    };
    let recipients = beside(&identity);
    let (secret, recipient) = encryption::generate();
    let now = SystemClock.now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let text = format!(
        "# created: {now}\n# public key: {recipient}\n{}\n",
        secret.expose()
    );
    // Both or none: a recipients file without its identity would lock data away for ever.
    if recipients.symlink_metadata().is_ok() {
        return Err(there(&recipients).into());
    }
    create(&identity, &text, 0o600)?;
    if let Err(error) = create(&recipients, &format!("{recipient}\n"), 0o644) {
        let _ = fs::remove_file(&identity);
        return Err(error.into());
    }
    let report = &session.report;
    report.note(&format!(
        "wrote the identity `{}` (secret: it reads every snapshot) and the recipients file `{}` (public: it only writes them)",
        identity.display(),
        recipients.display()
    ));
    report.note(&format!(
        "keep a copy of `{}` away from this machine, now: printed, in a password manager, on a stick. \
         Without it nobody can read the snapshots, we neither; and never into a repository",
        identity.display()
    ));
    report.hint(&format!(
        "in config.yml: `destinations: {{…: {{encryption: {{age_recipients_file: {}, age_identity_file: {}}}}}}}`; \
         leave `age_identity_file` out where this machine shall write snapshots but never read them",
        recipients.display(),
        identity.display()
    ));
    Ok(exit::OK)
}

/// `backup.key` -> `backup.pub`, `key` -> `key.pub`.
fn beside(identity: &Path) -> PathBuf {
    if identity.extension().is_some_and(|e| e == "key") {
        return identity.with_extension("pub");
    }
    let mut name = identity.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn there(path: &Path) -> BackupError {
    BackupError::Refused(format!(
        "`{}` is there already, and a key is never overwritten\n  hint: give another name: `summoner key generate --output FILE`",
        path.display()
    ))
}

/// Writes a file that must not exist, durably.
fn create(path: &Path, text: &str, mode: u32) -> Result<(), BackupError> {
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(there(path)),
        Err(error) => return Err(FileError::of("create", path)(error).into()),
    };
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(FileError::of("write", path))?;
    Ok(())
}
