//! Generations of the proxy's files on disk: `gen-N/` folders and the link `current`.
//!
//! A folder appears complete or not at all, and never changes afterwards. Numbers only grow: what
//! answers with a number is what was written under it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};

use super::nginx::{self, Files};
use crate::files::{self, FileError};

/// Carries the number and the hash, and stands outside of the hash itself.
const RECEIPT_FILE: &str = "generation.conf";

/// The generations in `<state>/proxy`.
#[derive(Debug, Clone)]
pub struct Generations {
    /// `<state>/proxy` on the host, [`super::paths::CONFIG`] in the container.
    pub dir: PathBuf,
}

impl Generations {
    /// The generations in `dir`, which need not exist.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Number and content hash of the generation that `current` points to. The hash is taken from
    /// the files as they are now: an edit by hand makes it another.
    pub fn current(&self) -> Result<Option<(u64, String)>, FileError> {
        let link = self.dir.join("current");
        let target = match fs::read_link(&link) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::of("read the link", &link)(error)),
        };
        let Some(number) = target.to_str().and_then(number_of) else {
            return Ok(None);
        };
        if !self.folder(number).is_dir() {
            return Ok(None);
        }
        Ok(Some((number, nginx::content_hash(&self.read(number)?))))
    }

    /// Writes `files` as the next generation, durably and in one step; its number.
    pub fn write(&self, files: &Files) -> Result<u64, FileError> {
        files::create_folder(&self.dir, 0o755)?;
        self.sweep()?;
        let number = 1 + self.numbers()?.into_iter().max().unwrap_or(0);
        let temporary = self.dir.join(format!(".gen-{number}.tmp"));
        let mut all = files.clone();
        let receipt = receipt_text(number, &nginx::content_hash(files));
        all.insert(RECEIPT_FILE.to_owned(), receipt);
        // `include sites/*.conf` needs no file, but a reader may look for the folder.
        make_folder(&temporary)?;
        make_folder(&temporary.join("sites"))?;
        for (name, content) in &all {
            write_file(&temporary, name, content)?;
        }
        sync(&temporary.join("sites"))?;
        sync(&temporary)?;
        let folder = self.folder(number);
        fs::rename(&temporary, &folder).map_err(FileError::of("write", &folder))?;
        sync(&self.dir)?;
        Ok(number)
    }

    /// Points `current` at generation `number`, in one step.
    pub fn switch(&self, number: u64) -> Result<(), FileError> {
        files::replace_symlink(
            &self.dir.join("current"),
            Path::new(&format!("gen-{number}")),
        )
    }

    /// Points `current` back at `number`, or at nothing when there was none.
    pub fn rollback(&self, number: Option<u64>) -> Result<(), FileError> {
        match number {
            Some(number) => self.switch(number),
            None => gone(fs::remove_file(self.dir.join("current")))
                .map_err(FileError::of("remove", &self.dir.join("current"))),
        }
    }

    /// Removes one generation, which must not be the current one.
    pub fn remove(&self, number: u64) -> Result<(), FileError> {
        let folder = self.folder(number);
        gone(fs::remove_dir_all(&folder)).map_err(FileError::of("remove", &folder))
    }

    /// Keeps the newest `keep` generations and the current one.
    pub fn prune(&self, keep: usize) -> Result<(), FileError> {
        let current = self.current()?.map(|(number, _)| number);
        let mut numbers = self.numbers()?;
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        for number in numbers
            .into_iter()
            .skip(keep)
            .filter(|n| Some(*n) != current)
        {
            self.remove(number)?;
        }
        Ok(())
    }

    /// Path of a generation's main file as nginx sees it.
    #[must_use]
    pub fn config_path(number: u64) -> String {
        format!("{}/gen-{number}/nginx.conf", super::paths::CONFIG)
    }

    fn folder(&self, number: u64) -> PathBuf {
        self.dir.join(format!("gen-{number}"))
    }

    fn read(&self, number: u64) -> Result<Files, FileError> {
        let mut found = Files::new();
        read_folder(&self.folder(number), "", &mut found)?;
        found.remove(RECEIPT_FILE);
        Ok(found)
    }

    fn numbers(&self) -> Result<Vec<u64>, FileError> {
        Ok(self
            .names()?
            .iter()
            .filter_map(|name| number_of(name))
            .collect())
    }

    /// Removes what a run that was killed while writing, or while switching, has left.
    fn sweep(&self) -> Result<(), FileError> {
        for name in self.names()?.iter().filter(|name| name.starts_with('.')) {
            let path = self.dir.join(name);
            let removed = if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            gone(removed).map_err(FileError::of("remove", &path))?;
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, FileError> {
        let failed = |error| FileError::of("read", &self.dir)(error);
        let entries = fs::read_dir(&self.dir).map_err(failed)?;
        entries
            .map(|entry| {
                Ok(entry
                    .map_err(failed)?
                    .file_name()
                    .to_string_lossy()
                    .into_owned())
            })
            .collect()
    }
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("gen-")?.parse().ok()
}

/// What [`super::control::live`] reads back.
fn receipt_text(number: u64, hash: &str) -> String {
    format!(
        "location = /generation {{\n    default_type text/plain;\n    return 200 '{number} {hash}\\n';\n}}\n"
    )
}

fn make_folder(path: &Path) -> Result<(), FileError> {
    files::create_folder(path, 0o755)
}

fn write_file(folder: &Path, name: &str, content: &str) -> Result<(), FileError> {
    let path = folder.join(name);
    let plain = Path::new(name)
        .components()
        .all(|c| matches!(c, Component::Normal(_)));
    let write = || {
        if !plain {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the name leaves its folder",
            ));
        }
        let mut file = File::create_new(&path)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()
    };
    write().map_err(FileError::of("write", &path))
}

fn read_folder(folder: &Path, prefix: &str, found: &mut Files) -> Result<(), FileError> {
    for entry in fs::read_dir(folder).map_err(FileError::of("read", folder))? {
        let path = entry.map_err(FileError::of("read", folder))?.path();
        let name = format!(
            "{prefix}{}",
            path.file_name().unwrap_or_default().to_string_lossy()
        );
        if path.is_dir() {
            read_folder(&path, &format!("{name}/"), found)?;
        } else {
            // Not UTF-8 means edited by hand: it only has to make the hash another.
            let content = fs::read(&path).map_err(FileError::of("read", &path))?;
            found.insert(name, String::from_utf8_lossy(&content).into_owned());
        }
    }
    Ok(())
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn sync(folder: &Path) -> Result<(), FileError> {
    File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(FileError::of("write", folder))
}
