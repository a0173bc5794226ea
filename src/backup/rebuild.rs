//! A project comes back from nothing but a destination: which projects are there, what of each
//! minion is the newest, and the files of the project.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::backup::catalog::{self, Entry, Which};
use crate::backup::definition::{self, Definition};
use crate::backup::destination::Target;
use crate::backup::encryption::Key;
use crate::backup::error::BackupError;
use crate::backup::manifest::{Kind, Role, SCHEMA_VERSION};
use crate::config::environment::{Destination, Encryption, Place, S3};
use crate::files;
use crate::state::Paths;
use crate::state::secrets::Secrets;

/// Name of the note that a rebuild was begun, in `.summoner/`.
const NOTE: &str = "rebuild.json";

/// What stands in a config.yml of a snapshot in place of a secret.
const BLANKED: &str = "REDACTED";

/// A destination as it is typed: a folder, or `s3://BUCKET/PREFIX?endpoint=URL&region=REGION`.
pub fn destination(text: &str, encryption: Option<Encryption>) -> Result<Destination, BackupError> {
    let place = match text.strip_prefix("s3://") {
        None => {
            let path = Path::new(text);
            Place::Dir(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
        }
        Some(rest) => Place::S3(bucket(rest)?),
    };
    Ok(Destination {
        name: text.split('?').next().unwrap_or(text).to_owned(),
        place,
        encryption,
        position: None,
    })
}

fn bucket(rest: &str) -> Result<S3, BackupError> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    let usage = |what: String| {
        BackupError::Usage(format!(
            "{what}\n  hint: write `s3://BUCKET/PREFIX?endpoint=URL&region=REGION`"
        ))
    };
    if bucket.is_empty() {
        return Err(usage("the address names no bucket".into()));
    }
    let mut settings = S3 {
        bucket: bucket.to_owned(),
        prefix: prefix.trim_matches('/').to_owned(),
        ..S3::default()
    };
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value);
        match key {
            "endpoint" => settings.endpoint = Some(value),
            "region" => settings.region = Some(value),
            "path_style" => settings.path_style = Some(value == "true"),
            _ => return Err(usage(format!("`{key}` means nothing in the address"))),
        }
    }
    Ok(settings)
}

/// `%2F` and the like, which a shell's user may have written or not.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = (*first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        if let Some(byte) = hex {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Names of the projects that a destination holds.
pub async fn projects(target: &Target) -> Result<Vec<String>, BackupError> {
    let root = format!("v{SCHEMA_VERSION}/");
    let objects = target.storage.list(&root).await?;
    let names: BTreeSet<String> = objects
        .iter()
        .filter_map(|o| o.key.strip_prefix(&root)?.split_once('/'))
        .map(|(name, _)| name.to_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    Ok(names.into_iter().collect())
}

/// What of a minion is restored.
#[derive(Debug, Clone, Default)]
pub struct Newest {
    /// The newest good backup.
    pub backup: Option<Entry>,
    /// The newest good dump, where it is newer than that.
    pub dump: Option<Entry>,
}

impl Newest {
    /// Services whose databases come from the dump, not from the backup.
    #[must_use]
    pub fn from_dump(&self) -> BTreeSet<String> {
        let databases = self.dump.iter().flat_map(|d| &d.manifest.databases);
        databases.map(|d| d.service.clone()).collect()
    }

    /// Whether anything of the backup is left to be restored beside the dump.
    #[must_use]
    pub fn uses_backup(&self) -> bool {
        let dumped = self.from_dump();
        self.backup.iter().any(|b| {
            let mut volumes = b.manifest.objects.iter().filter(|o| o.role == Role::Volume);
            volumes.any(|o| !dumped.contains(&o.of))
        })
    }

    /// The newer of the two.
    #[must_use]
    pub fn entry(&self) -> Option<&Entry> {
        self.dump.as_ref().or(self.backup.as_ref())
    }
}

/// The newest of each minion.
#[must_use]
pub fn newest(entries: &[Entry]) -> BTreeMap<String, Newest> {
    let minions: BTreeSet<&String> = entries.iter().map(|e| &e.manifest.minion).collect();
    let of = |minion: &str, kind: Kind| {
        let all: Vec<Entry> = entries
            .iter()
            .filter(|e| e.manifest.minion == minion && e.manifest.kind == kind)
            .cloned()
            .collect();
        catalog::choose(&all, &Which::Latest).ok().cloned()
    };
    minions
        .into_iter()
        .map(|minion| {
            let backup = of(minion, Kind::Backup);
            let newer = |dump: &Entry| {
                backup
                    .as_ref()
                    .is_none_or(|b| b.manifest.started < dump.manifest.started)
            };
            let dump = of(minion, Kind::Dump).filter(newer);
            (minion.clone(), Newest { backup, dump })
        })
        .collect()
}

/// That a rebuild was begun here, and of what.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    project: String,
}

/// Whether a project may be rebuilt in a folder: it is missing, empty, or a rebuild of the same
/// project was begun there.
pub fn may_use(folder: &Path, project: &str) -> Result<bool, BackupError> {
    let Ok(mut entries) = fs::read_dir(folder) else {
        return Ok(false);
    };
    if entries.next().is_none() {
        return Ok(false);
    }
    let begun = fs::read(Paths::new(folder).dir.join(NOTE))
        .ok()
        .and_then(|text| serde_json::from_slice::<Note>(&text).ok());
    match begun {
        Some(note) if note.project == project => Ok(true),
        Some(note) => Err(BackupError::Refused(format!(
            "a rebuild of the project `{}` was begun in `{}`",
            note.project,
            folder.display()
        ))),
        None => Err(BackupError::Refused(format!(
            "`{}` is not empty\n  hint: name a new folder: `summoner rebuild --from … /srv/{project}`",
            folder.display()
        ))),
    }
}

/// Files of the project as the snapshots tell them. Whose secrets were in them.
pub async fn write_project(
    target: &Target,
    key: Option<Arc<Key>>,
    project: &str,
    newest: &BTreeMap<String, Newest>,
    folder: &Path,
) -> Result<BTreeSet<String>, BackupError> {
    let paths = Paths::new(folder);
    let note = serde_json::to_vec(&Note {
        project: project.to_owned(),
    })
    .unwrap_or_default();
    let mut definitions: BTreeMap<&String, (Definition, &Entry)> = BTreeMap::new();
    for (minion, newest) in newest {
        // A container that is no minion's has no definition to come back from.
        let Some(entry) = newest
            .entry()
            .filter(|e| !e.manifest.definition.template.is_empty())
        else {
            continue;
        };
        let read = definition::read(target, key.clone(), &entry.manifest).await?;
        definitions.insert(minion, (read, entry));
    }
    let latest = definitions
        .values()
        .max_by_key(|(_, entry)| entry.manifest.started)
        .and_then(|(definition, _)| definition.text("config.yml"))
        .ok_or_else(|| {
            BackupError::Damaged(format!("no snapshot of `{project}` has a config.yml in it"))
        })?;
    files::create_folder(folder, 0o755)?;
    files::create_folder(&paths.dir, 0o700)?;
    files::write_atomic(&paths.dir.join(NOTE), &note, 0o600)?;
    paths.create()?;
    let mut secrets = Secrets::load(&paths).map_err(BackupError::from)?;
    let mut with_secrets = BTreeSet::new();
    for (minion, (definition, _)) in &definitions {
        if let Some((template, contents)) = definition.own_minion() {
            for (path, content) in contents {
                let path = folder.join("minions").join(&template).join(path);
                files::create_folder(path.parent().unwrap_or(folder), 0o755)?;
                files::write_atomic(&path, &content, 0o644)?;
            }
        }
        if let Some(book) = definition.secrets() {
            secrets.book.insert((*minion).clone(), book);
            with_secrets.insert((*minion).clone());
        }
    }
    secrets.save(&paths)?;
    let config = folder.join("config.yml");
    // One that was mended since stays.
    if !config.exists() {
        files::write_atomic(&config, latest.as_bytes(), 0o644)?;
    }
    let ignored = folder.join(".gitignore");
    if !ignored.exists() {
        files::write_atomic(&ignored, b".summoner/\ndata/\nbackups/\n", 0o644)?;
    }
    Ok(with_secrets)
}

/// Whether config.yml lacks values that a copy which is not encrypted must not hold.
#[must_use]
pub fn is_blanked(folder: &Path) -> bool {
    fs::read_to_string(folder.join("config.yml")).is_ok_and(|text| text.contains(BLANKED))
}

/// The rebuild is done.
pub fn done(folder: &Path) {
    // What stays is a note in a folder that is not empty any more.
    let _ = fs::remove_file(note_path(folder));
}

fn note_path(folder: &Path) -> PathBuf {
    Paths::new(folder).dir.join(NOTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_typed_in_one_word() {
        let found = destination("/srv/backups", None).unwrap();
        assert_eq!(found.place, Place::Dir("/srv/backups".into()));
        let text = "s3://team/a/b/?endpoint=http%3A%2F%2F127.0.0.1:9000&region=garage";
        let Place::S3(found) = destination(text, None).unwrap().place else {
            panic!("a bucket");
        };
        assert_eq!(
            (found.bucket.as_str(), found.prefix.as_str()),
            ("team", "a/b")
        );
        assert_eq!(found.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(found.region.as_deref(), Some("garage"));
        for bad in ["s3://", "s3:///x", "s3://b?secret=x"] {
            assert!(destination(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_an_empty_folder_or_one_of_the_same_rebuild_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(!may_use(&path.join("missing"), "team").unwrap());
        assert!(!may_use(path, "team").unwrap());
        fs::write(path.join("x"), "").unwrap();
        assert!(may_use(path, "team").is_err());
        fs::create_dir(path.join(".summoner")).unwrap();
        fs::write(note_path(path), r#"{"project": "team"}"#).unwrap();
        assert!(may_use(path, "team").unwrap());
        assert!(may_use(path, "other").is_err());
        done(path);
        assert!(may_use(path, "team").is_err());
    }
}
