//! Where `{env: NAME}`, `{file: path}` and `~` look: the only input of a configuration beside its text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

type Variable = Box<dyn Fn(&str) -> Option<String>>;
type Read = Box<dyn Fn(&Path) -> io::Result<String>>;

/// The user's home, environment variables and files.
pub struct Lookup {
    pub(super) home: Option<PathBuf>,
    pub(super) variable: Variable,
    pub(super) read: Read,
}

impl Lookup {
    /// Those of this process.
    #[must_use]
    pub fn system() -> Self {
        Self {
            home: env::home_dir().filter(|home| home.is_absolute()),
            variable: Box::new(|name| env::var(name).ok()),
            read: Box::new(read_small),
        }
    }

    /// A home and variables of one's own; files are real.
    #[must_use]
    pub fn fixed(home: impl Into<PathBuf>, variables: &[(&str, &str)]) -> Self {
        let owned = variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let variables: BTreeMap<String, String> = owned.collect();
        Self {
            home: Some(home.into()),
            variable: Box::new(move |name| variables.get(name).cloned()),
            read: Box::new(read_small),
        }
    }
}

/// A secret is a line or a key, not a disk image given by mistake.
const LARGEST_SECRET: u64 = 64 * 1024;

fn read_small(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if metadata.len() > LARGEST_SECRET {
        return Err(io::Error::other("it is larger than 64 KiB"));
    }
    fs::read_to_string(path)
}
