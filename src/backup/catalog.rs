//! What a destination holds: snapshots with what later checks found, and what is broken or half
//! there. Reads only, but for [`note_verified`].

mod choose;

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;

use crate::backup::destination::Target;
use crate::backup::error::BackupError;
use crate::backup::manifest::{
    Kind, MANIFEST, Manifest, PINNED, SnapshotId, TOMBSTONE, VERIFIED, project_prefix,
};
use crate::backup::retention::Past;
use crate::storage::{Object, Storage, StorageError};

pub use self::choose::{ChoiceError, Which, choose};

/// Manifests read at once: a bucket answers in tens of milliseconds, and a project keeps hundreds.
const AT_ONCE: usize = 16;

/// A manifest or sidecar is not larger: whatever is, is none of ours, and must not fill memory.
const LARGEST: u64 = 16 << 20;

/// A snapshot in a destination.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Name of the destination.
    pub destination: String,
    /// What it says of itself.
    pub manifest: Manifest,
    /// What checks found, oldest first.
    pub verified: Vec<Verification>,
    /// Never pruned.
    pub pinned: bool,
    /// Everything in its folder, sorted by key.
    pub objects: Vec<Object>,
}

/// What a check found: the content of `verified-<stamp>.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// When.
    pub at: Timestamp,
    /// `read-data` (every byte was read) or `drill` (it was restored).
    pub how: String,
    /// Whether the snapshot passed.
    pub good: bool,
    /// What was looked at and found.
    #[serde(default)]
    pub details: serde_json::Value,
    /// Version of summoner.
    pub summoner: String,
}

/// Something in a destination that cannot be used as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Broken {
    /// Key of the snapshot's folder (with a trailing `/`).
    pub prefix: String,
    /// Instance, by the key.
    pub minion: String,
    /// Kind, by the key.
    pub kind: Kind,
    /// Id, by the key.
    pub id: SnapshotId,
    /// What is wrong.
    pub reason: String,
    /// It could not be read just now: another look may find it whole.
    pub unread: bool,
}

/// A folder of a snapshot that does not count: without a manifest, or being deleted.
#[derive(Debug, Clone, PartialEq)]
pub struct Remains {
    /// Key of the folder (with a trailing `/`).
    pub prefix: String,
    /// Instance.
    pub minion: String,
    /// Kind.
    pub kind: Kind,
    /// Its id; the time in it tells when it was begun.
    pub id: SnapshotId,
    /// It was being deleted: there is a tombstone.
    pub doomed: bool,
    /// What is in it.
    pub objects: Vec<Object>,
}

/// What was found in a destination.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listing {
    /// Snapshots, oldest first by minion, kind and id.
    pub entries: Vec<Entry>,
    /// Those that cannot be used.
    pub broken: Vec<Broken>,
    /// Those that do not count.
    pub remains: Vec<Remains>,
}

impl Listing {
    /// Whether everything that is there was seen: only then may anything be deleted.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.broken.iter().any(|b| b.unread)
    }
}

impl Entry {
    /// Whether it passed its latest checks; one that failed any kind of check has not, until the
    /// same kind of check passes. `None` = never checked.
    #[must_use]
    pub fn verdict(&self) -> Option<bool> {
        let mut latest: BTreeMap<&str, &Verification> = BTreeMap::new();
        for v in &self.verified {
            let known = latest.entry(&v.how).or_insert(v);
            if v.at >= known.at {
                *known = v;
            }
        }
        (!latest.is_empty()).then(|| latest.values().all(|v| v.good))
    }

    /// The latest check.
    #[must_use]
    pub fn latest_check(&self) -> Option<&Verification> {
        self.verified.iter().max_by_key(|v| v.at)
    }

    /// As retention sees it.
    #[must_use]
    pub fn past(&self) -> Past {
        Past {
            id: self.manifest.id.to_string(),
            slot: self.manifest.slot,
            timezone: self.manifest.timezone.clone(),
            status: self.manifest.status,
            verified: self.verdict(),
            pinned: self.pinned,
        }
    }
}

/// Everything a destination holds of a project, or of one minion of it. An error only where the
/// destination itself cannot be listed.
pub async fn list(
    target: &Target,
    project: &str,
    minion: Option<&str>,
) -> Result<Listing, BackupError> {
    let root = project_prefix(project);
    let prefix = minion.map_or_else(|| root.clone(), |m| format!("{root}{m}/"));
    let objects = target.storage.list(&prefix).await?;
    let looks = folders(&root, objects)
        .into_iter()
        .map(|f| look(target, project, f));
    let mut found: Vec<Look> = stream::iter(looks).buffered(AT_ONCE).collect().await;
    let mut listing = Listing::default();
    for look in found.drain(..) {
        listing.broken.extend(look.broken);
        listing.entries.extend(look.entry);
        listing.remains.extend(look.remains);
    }
    Ok(listing)
}

/// Writes down beside the snapshot what a check found.
pub async fn note_verified(
    target: &Target,
    manifest: &Manifest,
    verification: &Verification,
) -> Result<(), BackupError> {
    // Not by the second alone: two checks may end within one.
    let stamp = SnapshotId::new(verification.at);
    let key = format!("{}{VERIFIED}{stamp}.json", manifest.prefix());
    put_json(target, &key, verification).await?;
    Ok(())
}

/// Writes a sidecar.
pub(super) async fn put_json(
    target: &Target,
    key: &str,
    content: &impl Serialize,
) -> Result<(), StorageError> {
    let text = serde_json::to_vec_pretty(content).unwrap_or_default();
    target.storage.put(key, Bytes::from(text)).await
}

/// A snapshot's folder as the listing shows it.
struct Folder {
    prefix: String,
    minion: String,
    kind: Kind,
    id: SnapshotId,
    objects: Vec<Object>,
}

impl Folder {
    fn has(&self, name: &str) -> bool {
        self.objects
            .iter()
            .any(|o| o.key.strip_prefix(&self.prefix) == Some(name))
    }

    /// Sidecars come when a snapshot is there, never before.
    fn was_whole(&self) -> bool {
        self.objects.iter().any(|o| {
            let name = &o.key[self.prefix.len()..];
            name == PINNED || name.starts_with(VERIFIED)
        })
    }

    fn broken(&self, reason: String, unread: bool) -> Broken {
        Broken {
            prefix: self.prefix.clone(),
            minion: self.minion.clone(),
            kind: self.kind,
            id: self.id.clone(),
            reason,
            unread,
        }
    }
}

/// Objects by folder. What does not lie where snapshots lie is none of ours, and left alone.
fn folders(root: &str, objects: Vec<Object>) -> Vec<Folder> {
    let mut folders: BTreeMap<String, Folder> = BTreeMap::new();
    for object in objects {
        let Some((minion, kind, id)) = place(root, &object.key) else {
            continue;
        };
        let prefix = format!("{root}{minion}/{}/{id}/", kind.name());
        let minion = minion.to_owned();
        let folder = folders.entry(prefix).or_insert_with_key(|prefix| Folder {
            prefix: prefix.clone(),
            minion,
            kind,
            id,
            objects: Vec::new(),
        });
        folder.objects.push(object);
    }
    folders.into_values().collect()
}

/// Minion, kind and id of the folder that holds `key`.
fn place<'a>(root: &str, key: &'a str) -> Option<(&'a str, Kind, SnapshotId)> {
    let mut parts = key.strip_prefix(root)?.splitn(4, '/');
    let (minion, kind, id) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next()?;
    let kind = [Kind::Dump, Kind::Backup]
        .into_iter()
        .find(|k| k.name() == kind)?;
    Some((minion, kind, SnapshotId::parse(id)?))
}

/// What came of a look into one folder.
#[derive(Default)]
struct Look {
    entry: Option<Entry>,
    broken: Vec<Broken>,
    remains: Option<Remains>,
}

async fn look(target: &Target, project: &str, folder: Folder) -> Look {
    let doomed = folder.has(TOMBSTONE);
    // Somebody thought well of it once, and nobody was deleting it.
    if !doomed && !folder.has(MANIFEST) && folder.was_whole() {
        let reason = "its manifest is gone".to_owned();
        return Look {
            broken: vec![folder.broken(reason, false)],
            ..Look::default()
        };
    }
    if doomed || !folder.has(MANIFEST) {
        return Look {
            remains: Some(Remains {
                prefix: folder.prefix,
                minion: folder.minion,
                kind: folder.kind,
                id: folder.id,
                doomed,
                objects: folder.objects,
            }),
            ..Look::default()
        };
    }
    let mut look = Look::default();
    let manifest = match manifest(target, project, &folder).await {
        Ok(Some(manifest)) => manifest,
        // Pruned by another run since we listed.
        Ok(None) => return look,
        Err(broken) => {
            look.broken.push(broken);
            return look;
        }
    };
    let mut verified: Vec<Verification> = Vec::new();
    for object in &folder.objects {
        let name = &object.key[folder.prefix.len()..];
        let stamp = name.strip_prefix(VERIFIED);
        if stamp.and_then(|s| s.strip_suffix(".json")).is_none() {
            continue;
        }
        match read_small(target.storage.as_ref(), &object.key).await {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(verification) => verified.push(verification),
                Err(error) => look
                    .broken
                    .push(folder.broken(format!("`{name}` is damaged: {error}"), false)),
            },
            Err(StorageError::Missing(_)) => {}
            Err(error) => look
                .broken
                .push(folder.broken(format!("`{name}` cannot be read: {error}"), true)),
        }
    }
    verified.sort_by_key(|v| v.at);
    look.entry = Some(Entry {
        destination: target.name.clone(),
        manifest,
        verified,
        // What is in it does not matter: who wanted it kept wants it kept.
        pinned: folder.has(PINNED),
        objects: folder.objects,
    });
    look
}

async fn manifest(
    target: &Target,
    project: &str,
    folder: &Folder,
) -> Result<Option<Manifest>, Broken> {
    let key = format!("{}{MANIFEST}", folder.prefix);
    let text = match read_small(target.storage.as_ref(), &key).await {
        Ok(text) => text,
        Err(StorageError::Missing(_)) => return Ok(None),
        Err(error) => {
            return Err(folder.broken(format!("its manifest cannot be read: {error}"), true));
        }
    };
    let manifest = Manifest::parse(&text).map_err(|e| folder.broken(e.to_string(), false))?;
    // A folder that was copied or renamed by hand: what would be deleted or restored by its name
    // would be another one.
    if manifest.project != project || manifest.prefix() != folder.prefix {
        let reason = format!(
            "its manifest is that of `{}`, it was copied or renamed",
            manifest.prefix()
        );
        return Err(folder.broken(reason, false));
    }
    Ok(Some(manifest))
}

/// The content of a small object of ours.
pub(super) async fn read_small(storage: &dyn Storage, key: &str) -> Result<Vec<u8>, StorageError> {
    let mut text = Vec::new();
    let reading = storage.read(key).await?;
    reading
        .take(LARGEST)
        .read_to_end(&mut text)
        .await
        .map_err(|error| StorageError::Unreachable {
            place: storage.place(),
            reason: error.to_string(),
        })?;
    Ok(text)
}
