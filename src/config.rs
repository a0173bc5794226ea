//! `config.yml`: what the user said becomes an [`Environment`], or every problem at once.
//!
//! `file` holds what was said, `resolve` what it means. Reading the file, environment variables
//! and files of secrets happens here and nowhere below.

mod cron;
pub mod environment;
mod file;
mod instances;
mod lookup;
pub mod names;
mod notify;
mod paths;
mod proxy;
mod punycode;
mod resolve;
mod snapshots;
mod source;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::problem::{Problem, Problems};
use crate::yaml::{Document, Reading};

pub use environment::Environment;
pub use lookup::Lookup;

/// The configuration at `path`. `minions` are the names of the catalogue: an instance of anything
/// else is a problem, or a warning when it stands in `applications:`.
pub fn load(path: &Path, minions: &[&str]) -> Result<Environment, Problems> {
    load_with(path, minions, &Lookup::system())
}

/// As [`load`], with environment variables and home of the caller's choice.
pub fn load_with(path: &Path, minions: &[&str], lookup: &Lookup) -> Result<Environment, Problems> {
    let name = path.display().to_string();
    // A pipe would be waited for without end.
    let found = fs::metadata(path).map_err(|error| unreadable(&name, &error))?;
    if !found.is_file() && !found.is_dir() {
        return Err(Problem::new(&name, "this is no regular file").into());
    }
    let text = fs::read(path).map_err(|error| unreadable(&name, &error))?;
    let text = String::from_utf8(text)
        .map_err(|_| Problem::new(&name, "the file is not text in UTF-8"))?;
    parse(path, &text, minions, lookup)
}

/// As [`load_with`] for a text at hand; `path` names it and is what relative paths count from.
pub fn parse(
    path: &Path,
    text: &str,
    minions: &[&str],
    lookup: &Lookup,
) -> Result<Environment, Problems> {
    let name = path.display().to_string();
    let document = Document::parse(&name, text)?;
    let root = folder(path).map_err(|error| unreadable(&name, &error))?;
    let reading = Reading::new(&name);
    let context = resolve::Context {
        file: path,
        root: &root,
        lookup,
        minions,
    };
    let environment = {
        let file = file::read(&reading, &document);
        resolve::resolve(&reading, &document, &file, &context)
    };
    reading
        .finish(environment)?
        .ok_or_else(|| Problem::new(&name, "the file is not complete").into())
}

/// JSON Schema of `config.yml`, for editors.
#[must_use]
pub fn schema() -> &'static str {
    include_str!("../schemas/config.json")
}

fn folder(path: &Path) -> io::Result<PathBuf> {
    let path = paths::normal(&std::path::absolute(path)?);
    Ok(path.parent().unwrap_or(Path::new("/")).to_owned())
}

fn unreadable(name: &str, error: &io::Error) -> Problem {
    if error.kind() == io::ErrorKind::NotFound {
        return Problem::new(name, "there is no such file").hint(
            "`summoner init` writes one to begin with; `summoner -C FOLDER …` works in another folder",
        );
    }
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Problem::new(name, format!("failed to read the file: {error}"))
            .hint("run it as the owner of the file, or with sudo");
    }
    Problem::new(name, format!("failed to read the file: {error}"))
}

#[cfg(test)]
mod tests;
