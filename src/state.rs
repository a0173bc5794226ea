//! `.summoner/`: what we remember beside `config.yml`. Losing it loses no user data: containers
//! carry labels enough to adopt what runs. Format versions are checked: an older binary refuses
//! what a newer one wrote.

pub mod lock;
pub mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};

/// Version of the format of the whole folder.
pub const FORMAT: u32 = 1;

/// What went wrong with the state folder.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Written by a newer Summoner.
    #[error("`{}` has format {found}, this summoner knows {FORMAT}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Not what we wrote.
    #[error("`{}` is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Another run holds the lock.
    #[error("another summoner works on this project: {0}")]
    Locked(String),
}

impl StateError {
    /// What to type next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Newer { .. } => {
                Some("use the newer summoner, `summoner --version` tells which one this is".into())
            }
            Self::Damaged { path, .. } => Some(format!(
                "put it back from a backup, or move it away and run `summoner plan`: `mv {0} {0}.damaged`",
                path.display()
            )),
            Self::Locked(_) => Some("wait until it is done, or end that process".into()),
        }
    }
}

/// Places in the state folder.
#[derive(Debug, Clone)]
pub struct Paths {
    /// `.summoner/` itself, absolute.
    pub dir: PathBuf,
}

impl Paths {
    /// The state folder of a project root.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            dir: root.join(".summoner"),
        }
    }

    /// Rendered files of an instance, as last applied.
    #[must_use]
    pub fn build(&self, instance: &str) -> PathBuf {
        self.dir.join("build").join(instance)
    }

    /// Copy of the minion that an instance was installed from.
    #[must_use]
    pub fn minion(&self, instance: &str) -> PathBuf {
        self.dir.join("minions").join(instance)
    }

    /// Extra files of an instance, mounted into its containers.
    #[must_use]
    pub fn build_files(&self, instance: &str) -> PathBuf {
        self.build(instance).join("files")
    }

    /// Generations of the proxy.
    #[must_use]
    pub fn proxy(&self) -> PathBuf {
        self.dir.join("proxy")
    }

    /// Certificates.
    #[must_use]
    pub fn certs(&self) -> PathBuf {
        self.dir.join("certs")
    }

    /// Answers to ACME challenges.
    #[must_use]
    pub fn webroot(&self) -> PathBuf {
        self.dir.join("acme").join("webroot")
    }

    /// The proxy's control socket and pid file.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// Locks of minions.
    #[must_use]
    pub fn locks(&self) -> PathBuf {
        self.dir.join("locks")
    }

    /// `state.json`.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    /// Makes the folders that are mounted into the proxy, and the state folder (0700).
    pub fn create(&self) -> Result<(), FileError> {
        files::create_folder(&self.dir, 0o700)?;
        // Their own modes are open: nginx's workers are another user, and the folder above keeps
        // everybody else on the host out.
        for folder in [
            self.proxy(),
            self.certs(),
            self.webroot(),
            self.run(),
            self.dir.join("build"),
        ] {
            files::create_folder(&folder, 0o755)?;
        }
        Ok(())
    }
}

/// What we remember of the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`FORMAT`].
    pub format: u32,
    /// Instances that were installed.
    #[serde(default)]
    pub minions: BTreeMap<String, Remembered>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            format: FORMAT,
            minions: BTreeMap::new(),
        }
    }
}

/// What we remember of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Its minion.
    pub minion: String,
    /// Image tag it was installed with: newer defaults are offered, never planned.
    pub version: String,
    /// Hash of the minion's folder at that time.
    pub template_hash: String,
    /// Image of each service as it was last made to run: a tag may name another one by now.
    #[serde(default)]
    pub images: BTreeMap<String, PinnedImage>,
    /// `up --upgrade` is on its way to this: whoever comes after a run that was cut off goes on, since
    /// what has changed already must not be changed back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,
    /// `protect:` as last applied, for the day its block is gone.
    #[serde(default)]
    pub protect: bool,
    /// Data folders that were seen with something in them.
    #[serde(default)]
    pub filled: BTreeSet<PathBuf>,
    /// All its data folders.
    #[serde(default)]
    pub folders: BTreeSet<PathBuf>,
}

/// The image behind a reference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedImage {
    /// Reference.
    pub reference: String,
    /// Repository digest, the engine's id where there is none.
    pub digest: String,
}

/// What an upgrade leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// Image tag.
    pub version: String,
    /// Hash of the minion's folder.
    pub template_hash: String,
}

impl State {
    /// Reads `state.json`; a missing one is an empty state.
    pub fn load(paths: &Paths) -> Result<Self, StateError> {
        let path = paths.state();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(FileError::of("read", &path)(error).into()),
        };
        check_format(
            &path,
            serde_json::from_str::<serde_json::Value>(&text)
                .ok()
                .as_ref(),
        )?;
        serde_json::from_str(&text).map_err(|e| StateError::Damaged {
            path,
            reason: e.to_string(),
        })
    }

    /// Notes an instance before anything is made of it. The version stays what it was until
    /// [`Self::installed`]: after an update that failed, the old one runs. So does the template in an
    /// upgrade.
    pub fn begin(&mut self, name: &str, mut wanted: Remembered) {
        if let Some(before) = self.minions.get(name) {
            wanted.filled.extend(before.filled.iter().cloned());
            wanted.folders.extend(before.folders.iter().cloned());
            wanted.images.clone_from(&before.images);
            if before.minion == wanted.minion && !before.version.is_empty() {
                wanted.version.clone_from(&before.version);
                if wanted.upgrade.is_some() {
                    wanted.template_hash.clone_from(&before.template_hash);
                }
            }
        }
        self.minions.insert(name.to_owned(), wanted);
    }

    /// Notes the version that an instance runs now.
    pub fn installed(&mut self, name: &str, version: String) {
        if let Some(remembered) = self.minions.get_mut(name) {
            remembered.version = version;
            if let Some(upgrade) = remembered.upgrade.take() {
                remembered.template_hash = upgrade.template_hash;
            }
        }
    }

    /// Notes the images that the services of an instance run now.
    pub fn pin(&mut self, name: &str, images: BTreeMap<String, PinnedImage>) {
        if let Some(remembered) = self.minions.get_mut(name) {
            remembered.images = images;
        }
    }

    /// Notes that an upgrade failed and that nothing of it runs.
    pub fn given_up(&mut self, name: &str) {
        if let Some(remembered) = self.minions.get_mut(name) {
            remembered.upgrade = None;
        }
    }

    /// Writes it when it differs from what is there.
    ///
    /// # Panics
    /// Never: the state is plain data.
    pub fn save(&self, paths: &Paths) -> Result<(), StateError> {
        let mut text = serde_json::to_string_pretty(self).expect("the state is plain data");
        text.push('\n');
        files::write_if_changed(&paths.state(), text.as_bytes(), 0o600)?;
        Ok(())
    }
}

fn check_format(path: &Path, value: Option<&serde_json::Value>) -> Result<(), StateError> {
    let found = value
        .and_then(|v| v.get("format"))
        .and_then(serde_json::Value::as_u64);
    match found {
        Some(found) if found > u64::from(FORMAT) => Err(StateError::Newer {
            path: path.to_owned(),
            found: u32::try_from(found).unwrap_or(u32::MAX),
        }),
        Some(_) => Ok(()),
        None => Err(StateError::Damaged {
            path: path.to_owned(),
            reason: "no `format` in it".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_binary_refuses_a_newer_state() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        paths.create().unwrap();
        fs::write(
            paths.state(),
            r#"{"format": 2, "minions": {"a": "something new"}}"#,
        )
        .unwrap();
        assert!(matches!(
            State::load(&paths),
            Err(StateError::Newer { found: 2, .. })
        ));
    }

    #[test]
    fn a_version_that_failed_is_not_pinned() {
        let wanted = |version: &str| Remembered {
            minion: "ghost".into(),
            version: version.into(),
            ..Remembered::default()
        };
        let mut state = State::default();
        state.begin("blog", wanted("5"));
        assert_eq!(state.minions["blog"].version, "5");
        state.begin("blog", wanted("6"));
        assert_eq!(state.minions["blog"].version, "5");
        state.installed("blog", "6".into());
        assert_eq!(state.minions["blog"].version, "6");
    }

    #[test]
    fn state_survives_a_round_trip_and_damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        paths.create().unwrap();
        let mut state = State::load(&paths).unwrap();
        state.minions.insert(
            "blog".into(),
            Remembered {
                version: "1.2".into(),
                ..Default::default()
            },
        );
        state.save(&paths).unwrap();
        assert_eq!(State::load(&paths).unwrap(), state);
        fs::write(paths.state(), "{").unwrap();
        assert!(matches!(
            State::load(&paths),
            Err(StateError::Damaged { .. })
        ));
    }
}
