//! `summoner init`: a config.yml to begin with.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::commands::{Session, exit};
use crate::files;

/// What `init` writes; quickstart copies the same file.
const EXAMPLE: &str = include_str!("../../config.example.yml");
/// What must not get into a repository: passwords, data, backups.
const IGNORE: &str = ".summoner/\ndata/\nbackups/\n";

pub(super) fn run(session: &Session) -> Result<u8> {
    let file = &session.file;
    if file.exists() {
        bail!(
            "`{}` is there already\n  hint: `summoner check` looks whether it is good",
            file.display()
        );
    }
    let folder = file
        .parent()
        .filter(|f| !f.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    files::create_folder(folder, 0o755)?;
    files::write_atomic(file, EXAMPLE.as_bytes(), 0o644)?;
    let ignore = folder.join(".gitignore");
    if fs::metadata(&ignore).is_err() {
        files::write_atomic(&ignore, IGNORE.as_bytes(), 0o644)?;
    }
    session.report.note(&format!(
        "wrote `{}`; look at it, then type `summoner plan`",
        file.display()
    ));
    Ok(exit::OK)
}
