//! Minions: `minions/<name>/minion.yml` and its template become a [`Minion`].

pub mod catalog;
pub mod kept;
pub mod manifest;
pub mod parameters;
mod reading;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use catalog::Catalog;
pub use manifest::Manifest;

/// A minion of the catalogue: its manifest and the texts of its folder.
#[derive(Debug, Clone)]
pub struct Minion {
    /// `minion.yml`, validated.
    pub manifest: Manifest,
    /// Text of `compose.yml.j2`.
    pub template: String,
    /// Further files below `files/`, by path relative to it; a name that ends in `.j2` is rendered
    /// (and loses the ending), others are taken as they are.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Where it came from.
    pub origin: Origin,
    /// SHA-256 in hex over names and contents of the whole folder.
    pub hash: String,
    /// Contents of the whole folder by path, `/` between.
    pub contents: Arc<BTreeMap<String, Vec<u8>>>,
}

/// Where a minion came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Embedded in the binary.
    Catalog,
    /// The copy of what was embedded in the binary that installed the instance.
    Kept(PathBuf),
    /// The user's own folder.
    Folder(PathBuf),
}

impl Minion {
    /// How a file of this minion is named in messages: `minions/blog/compose.yml.j2`.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        match &self.origin {
            Origin::Catalog => format!("minions/{}/{name}", self.manifest.name),
            Origin::Kept(folder) | Origin::Folder(folder) => {
                folder.join(name).display().to_string()
            }
        }
    }
}

/// JSON Schema of `minion.yml`, for editors.
#[must_use]
pub fn schema() -> &'static str {
    include_str!("../schemas/minion.json")
}
