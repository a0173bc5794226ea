//! `definition.tar.zst`: what made a minion what it was, in every snapshot of it. With it a server
//! that has nothing but a destination can be rebuilt.
//!
//! ```text
//! definition.json           template, and whether it was the project's own
//! config.yml                as it was; where the copy is not encrypted, without values of secrets
//! compose.yml               as rendered; secrets stay `${NAME}`
//! minions/<template>/…      the minion's folder
//! secrets.json              what was generated for this minion, only where the copy is encrypted
//! ```

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;

use crate::backup::destination::Target;
use crate::backup::encryption::Key;
use crate::backup::error::BackupError;
use crate::backup::manifest::{Manifest, Role};
use crate::backup::reader;
use crate::backup::redact;
use crate::minion::Origin;
use crate::project::Project;
use crate::secret::Secret;

/// A definition is a few texts; more would fill memory.
const LARGEST: u64 = 32 << 20;
/// Name of the object, without `.zst` and `.age`.
pub const NAME: &str = "definition.tar";
/// Name of what was generated, inside.
const SECRETS: &str = "secrets.json";
/// Name of the note about the template, inside.
const NOTE: &str = "definition.json";

/// Files by their path in the archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Definition {
    files: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    instance: String,
    template: String,
    /// Whether it came from `./minions/`, not from the catalogue.
    own: bool,
}

/// config.yml without the values of secrets; nothing of it where that cannot be done for sure.
fn open_config(project: &Project, config: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(config).ok()?;
    let known = project.secrets.book.values().flat_map(BTreeMap::values);
    redact::config(text, known.map(Secret::expose)).map(String::into_bytes)
}

impl Definition {
    /// The definition of an instance as it is now; `compose` is its rendered Compose file. What was
    /// generated for it only where `with_secrets`: never for a copy that is not encrypted.
    pub fn of(
        project: &Project,
        instance: &str,
        compose: &str,
        with_secrets: bool,
    ) -> Result<Self, BackupError> {
        let mut files = BTreeMap::new();
        let file = &project.environment.file;
        let config = std::fs::read(file).map_err(crate::files::FileError::of("read", file))?;
        let config = if with_secrets {
            Some(config)
        } else {
            open_config(project, &config)
        };
        files.extend(config.map(|text| ("config.yml".to_owned(), text)));
        files.insert("compose.yml".to_owned(), compose.as_bytes().to_vec());
        if let Some(minion) = project.minions.get(instance) {
            let template = minion.manifest.name.clone();
            let contents = project.catalog.contents(&template);
            let contents = contents.map_err(|e| BackupError::Other(e.to_string()))?;
            for (path, content) in contents {
                files.insert(format!("minions/{template}/{path}"), content);
            }
            let note = Note {
                instance: instance.to_owned(),
                own: matches!(minion.origin, Origin::Folder(_)),
                template,
            };
            files.insert(NOTE.to_owned(), json(&note));
        }
        if with_secrets {
            let book = project.secrets.book.get(instance);
            let plain: BTreeMap<&str, &str> = book
                .into_iter()
                .flatten()
                .map(|(name, secret)| (name.as_str(), secret.expose()))
                .collect();
            files.insert(SECRETS.to_owned(), json(&plain));
        }
        Ok(Self { files })
    }

    /// As a tar archive.
    ///
    /// # Panics
    /// Never: memory takes it.
    #[must_use]
    pub fn to_tar(&self) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, content) in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(0);
            archive
                .append_data(&mut header, path, content.as_slice())
                .expect("memory takes it");
        }
        archive.into_inner().expect("memory takes it")
    }

    /// Reads such an archive; paths that lead out of it are damage.
    pub fn parse(tar: &[u8]) -> Result<Self, BackupError> {
        let damaged = |e: &dyn std::fmt::Display| {
            BackupError::Damaged(format!(
                "the definition in the snapshot cannot be read: {e}"
            ))
        };
        let mut files = BTreeMap::new();
        let mut archive = tar::Archive::new(Cursor::new(tar));
        for entry in archive.entries().map_err(|e| damaged(&e))? {
            let mut entry = entry.map_err(|e| damaged(&e))?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = entry.path().map_err(|e| damaged(&e))?.into_owned();
            let plain = path
                .components()
                .all(|c| matches!(c, std::path::Component::Normal(_)));
            let Some(name) = path.to_str().filter(|_| plain) else {
                return Err(damaged(&format!("`{}` leads out of it", path.display())));
            };
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(|e| damaged(&e))?;
            files.insert(name.to_owned(), content);
        }
        Ok(Self { files })
    }

    /// The text of a file of it.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        let content = self.files.get(name)?;
        Some(String::from_utf8_lossy(content).into_owned())
    }

    /// What was generated for the minion by parameter; `None` where it is not in it.
    #[must_use]
    pub fn secrets(&self) -> Option<BTreeMap<String, Secret>> {
        let plain: BTreeMap<String, String> =
            serde_json::from_slice(self.files.get(SECRETS)?).ok()?;
        Some(
            plain
                .into_iter()
                .map(|(n, v)| (n, Secret::new(v)))
                .collect(),
        )
    }

    /// The folder of the minion, where it was the project's own: its name, and its files by path.
    #[must_use]
    pub fn own_minion(&self) -> Option<(String, BTreeMap<String, Vec<u8>>)> {
        let note: Note = serde_json::from_slice(self.files.get(NOTE)?).ok()?;
        if !note.own {
            return None;
        }
        let prefix = format!("minions/{}/", note.template);
        let files = self
            .files
            .iter()
            .filter_map(|(path, c)| Some((path.strip_prefix(&prefix)?.to_owned(), c.clone())))
            .collect();
        Some((note.template, files))
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).unwrap_or_default()
}

/// Reads the definition of a snapshot.
pub async fn read(
    target: &Target,
    key: Option<Arc<Key>>,
    manifest: &Manifest,
) -> Result<Definition, BackupError> {
    let object = manifest
        .objects
        .iter()
        .find(|o| o.role == Role::Definition)
        .ok_or_else(|| {
            BackupError::Damaged(format!("the snapshot {} has no definition", manifest.id))
        })?;
    if object.plain_bytes > LARGEST {
        return Err(BackupError::Damaged(format!(
            "the definition of the snapshot {} is larger than any of ours",
            manifest.id
        )));
    }
    let mut reading = reader::open_with(target, key, manifest, object).await?;
    let mut tar = Vec::new();
    reading
        .read_to_end(&mut tar)
        .await
        .map_err(BackupError::of_io)?;
    Definition::parse(&tar)
}

/// The lines of a minion's block in the text of a config.yml: its own comments and all. `None`
/// where the text has none in the usual form.
#[must_use]
pub fn block(config: &str, instance: &str) -> Option<String> {
    let mut lines = config.lines().skip_while(|l| !l.starts_with("minions:"));
    lines.next()?;
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut found: Option<(usize, Vec<&str>)> = None;
    for line in lines {
        let blank = line.trim().is_empty() || line.trim_start().starts_with('#');
        if !blank && indent(line) == 0 {
            break;
        }
        if let Some((depth, block)) = &mut found {
            if !blank && indent(line) <= *depth {
                break;
            }
            block.push(line);
            continue;
        }
        let key = line.trim_start().trim_start_matches(['"', '\'']);
        let rest = key.strip_prefix(instance);
        let rest = rest.map(|r| r.trim_start_matches(['"', '\'']));
        if !blank && rest.is_some_and(|r| r.starts_with(':')) {
            found = Some((indent(line), vec![line]));
        }
    }
    let (_, mut block) = found?;
    while block.last().is_some_and(|l| l.trim().is_empty()) {
        block.pop();
    }
    Some(block.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_cut_out_as_it_was_written() {
        let config = "summoner: {domain: x}\nminions:\n  wiki: {use: mediawiki}\n  blog:  # ours\n    use: wordpress\n\n    set: {php: \"8.4\"}\n\n  last: {}\nproxy: {}\n";
        assert_eq!(
            block(config, "blog").as_deref(),
            Some("  blog:  # ours\n    use: wordpress\n\n    set: {php: \"8.4\"}")
        );
        assert_eq!(
            block(config, "wiki").as_deref(),
            Some("  wiki: {use: mediawiki}")
        );
        assert_eq!(block(config, "last").as_deref(), Some("  last: {}"));
        assert_eq!(block(config, "bl"), None);
        assert_eq!(block("minions: {blog: {}}", "blog"), None);
    }

    #[test]
    fn an_archive_survives_the_round_trip_and_cannot_lead_out() {
        let mut definition = Definition::default();
        for (path, text) in [("config.yml", "a"), ("minions/x/files/deep.txt", "b")] {
            definition.files.insert(path.into(), text.into());
        }
        let tar = definition.to_tar();
        assert_eq!(Definition::parse(&tar).unwrap(), definition);
        assert!(definition.secrets().is_none());

        let mut evil = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.as_gnu_mut().unwrap().name[..9].copy_from_slice(b"../../etc");
        header.set_cksum();
        evil.append(&header, &b"x"[..]).unwrap();
        assert!(Definition::parse(&evil.into_inner().unwrap()).is_err());
    }
}
