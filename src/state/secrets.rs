//! `secrets.yml` (0600): what was generated once and must never change, and the key of the hashes.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::files::{self, FileError};
use crate::secret::Secret;
use crate::state::{FORMAT, Paths, StateError, check_format};
use crate::yaml;

/// Generated secrets of the project: `instance -> parameter -> value`.
pub type Book = BTreeMap<String, BTreeMap<String, Secret>>;

/// The content of `secrets.yml`.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// Key of the HMAC that hides secrets in hashes.
    pub hash_key: Secret,
    /// Generated secrets.
    pub book: Book,
    /// Whether the file was there.
    pub existed: bool,
}

impl Secrets {
    /// Where it lies.
    #[must_use]
    pub fn path(paths: &Paths) -> PathBuf {
        paths.dir.join("secrets.yml")
    }

    /// Reads it; a missing file gives an empty book and a fresh key, and nothing is written.
    pub fn load(paths: &Paths) -> Result<Self, StateError> {
        let path = Self::path(paths);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self {
                    hash_key: Secret::generate(43),
                    book: Book::new(),
                    existed: false,
                });
            }
            Err(error) => return Err(FileError::of("read", &path)(error).into()),
        };
        let damaged = |reason: &str| StateError::Damaged {
            path: path.clone(),
            reason: reason.into(),
        };
        // The reason of a YAML error may quote the file: only its place is told.
        let document = yaml::Document::parse("secrets.yml", &text).map_err(|problems| {
            let line = problems
                .0
                .first()
                .and_then(|p| p.position)
                .map_or(0, |p| p.line);
            damaged(&format!("no YAML at line {line}"))
        })?;
        let value = document.root().to_json();
        check_format(&path, Some(&value))?;
        let hash_key = value
            .get("hash_key")
            .and_then(Value::as_str)
            .map(Secret::new)
            .ok_or_else(|| damaged("no `hash_key` in it"))?;
        let mut book = Book::new();
        let empty = Map::new();
        for (instance, values) in value
            .get("minions")
            .and_then(Value::as_object)
            .unwrap_or(&empty)
        {
            let values = values
                .as_object()
                .ok_or_else(|| damaged("`minions` holds no mappings"))?;
            let entry = book.entry(instance.clone()).or_default();
            for (name, secret) in values {
                let secret = secret
                    .as_str()
                    .ok_or_else(|| damaged("a secret is no text"))?;
                entry.insert(name.clone(), Secret::new(secret));
            }
        }
        Ok(Self {
            hash_key,
            book,
            existed: true,
        })
    }

    /// Writes it, atomically, readable by its owner only.
    pub fn save(&self, paths: &Paths) -> Result<(), StateError> {
        let minions: Map<String, Value> = self
            .book
            .iter()
            .map(|(instance, values)| {
                let values: Map<String, Value> = values
                    .iter()
                    .map(|(n, s)| (n.clone(), s.expose().into()))
                    .collect();
                (instance.clone(), Value::Object(values))
            })
            .collect();
        let text = format!(
            "# Passwords that summoner made. Keep a copy in a safe place: without it your data cannot be opened.\n{}",
            yaml::to_yaml(
                &json!({"format": FORMAT, "hash_key": self.hash_key.expose(), "minions": minions})
            )
        );
        files::write_if_changed(&Self::path(paths), text.as_bytes(), 0o600)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_survive_a_round_trip_and_damage_never_shows_them() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        paths.create().unwrap();
        let mut secrets = Secrets::load(&paths).unwrap();
        assert!(!secrets.existed);
        let nasty = "0123 # no: 'yes' \"$x\"";
        secrets
            .book
            .entry("blog".into())
            .or_default()
            .insert("pw".into(), Secret::new(nasty));
        secrets.save(&paths).unwrap();
        let again = Secrets::load(&paths).unwrap();
        assert!(again.existed);
        assert_eq!(again.book["blog"]["pw"].expose(), nasty);
        assert_eq!(again.hash_key, secrets.hash_key);

        fs::write(Secrets::path(&paths), "format: 1\nhunter2: [").unwrap();
        let error = Secrets::load(&paths).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
