//! `manifest.json`, the commit point of a snapshot, and where everything of a snapshot lies.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// Version of the layout and of the manifest: the `v1` in every key.
pub const SCHEMA_VERSION: u32 = 1;
/// Name of the manifest in a snapshot's folder.
pub const MANIFEST: &str = "manifest.json";
/// Name of the note that a snapshot is being deleted: it does not count any more.
pub const TOMBSTONE: &str = "tombstone.json";
/// Name of the note that a snapshot is never pruned.
pub const PINNED: &str = "pinned.json";
/// Beginning of the names of what later checks found: `verified-<stamp>.json`.
pub const VERIFIED: &str = "verified-";

/// Kind of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Hot and logical, by the database's own tool.
    Dump,
    /// Cold and physical.
    Backup,
}

impl Kind {
    /// Its name in keys.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dump => "dump",
            Self::Backup => "backup",
        }
    }
}

/// What a snapshot is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything went as it should.
    Complete,
    /// Committed, but something was odd (`Manifest::remarks` says what); satisfies no retention rule.
    Suspect,
}

/// Names a snapshot within a project: `<YYYYMMDDTHHMMSSZ>-<ULID>`. Sorts by time. The ULID makes it
/// unique within one second.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotId(String);

impl SnapshotId {
    /// A new one.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let stamp = now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ");
        let ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
        let ulid = Ulid::from_parts(ms, rand::random::<u128>());
        Self(format!("{stamp}-{ulid}"))
    }

    /// Reads one; `None` where the text is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (stamp, ulid) = text.split_once('-')?;
        let digits = |range: std::ops::Range<usize>| {
            stamp
                .get(range)
                .is_some_and(|s| s.bytes().all(|b| b.is_ascii_digit()))
        };
        let shape = stamp.len() == 16
            && digits(0..8)
            && stamp.as_bytes()[8] == b'T'
            && digits(9..15)
            && stamp.as_bytes()[15] == b'Z';
        (shape && ulid.len() == 26 && Ulid::from_string(ulid).is_ok())
            .then(|| Self(text.to_owned()))
    }

    /// When it was made: what it says itself, whatever the store says of its objects.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        let ulid = Ulid::from_string(self.0.get(17..)?).ok()?;
        Timestamp::from_millisecond(i64::try_from(ulid.timestamp_ms()).ok()?).ok()
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What people type: the last eight characters, random enough among one minion's snapshots.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[self.0.len() - 8..]
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Key of the folder of all snapshots of a project (with a trailing `/`).
#[must_use]
pub fn project_prefix(project: &str) -> String {
    format!("v{SCHEMA_VERSION}/{project}/")
}

/// Key of a snapshot's folder (with a trailing `/`).
#[must_use]
pub fn snapshot_prefix(project: &str, minion: &str, kind: Kind, id: &SnapshotId) -> String {
    format!("{}{minion}/{}/{id}/", project_prefix(project), kind.name())
}

/// A snapshot, as described by itself. Unknown keys of newer minor versions are kept out of sight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Its id.
    pub id: SnapshotId,
    /// What one run made carries one run id: a snapshot set.
    pub run: String,
    /// `summoner.name`.
    pub project: String,
    /// Instance; for containers that are no minion's, the container's name.
    pub minion: String,
    /// Kind.
    pub kind: Kind,
    /// What it is worth.
    pub status: Status,
    /// When it began: the time of its content.
    pub started: Timestamp,
    /// When its last object was complete.
    pub finished: Timestamp,
    /// The time it stands for in retention: the schedule's slot, else `started`.
    pub slot: Timestamp,
    /// Zone of the slot, IANA: buckets of a day are days of this zone.
    pub timezone: String,
    /// Version of summoner.
    pub summoner: String,
    /// What made it what it is.
    pub definition: Definition,
    /// Databases in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<DatabaseRecord>,
    /// Objects, the manifest left out.
    pub objects: Vec<ObjectRecord>,
    /// For a backup: how cold it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage: Option<Outage>,
    /// What was odd, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// What the minion was when the snapshot was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Minion template; empty for a foreign container.
    pub template: String,
    /// Version (image tag).
    pub version: String,
    /// Hash of the minion's folder.
    pub template_hash: String,
    /// SHA-256 of config.yml.
    pub config_hash: String,
    /// Domain of the project.
    pub domain: String,
    /// Images by service: reference and digest (or id).
    #[serde(default)]
    pub images: BTreeMap<String, ImageRecord>,
}

/// An image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Reference.
    pub reference: String,
    /// Repository digest, the engine's id where there is none.
    pub digest: String,
}

/// A database of a dump (or one that a backup's volumes belong to).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseRecord {
    /// Service it runs in.
    pub service: String,
    /// `postgres`, `mysql`, `mariadb`, `mongo`.
    pub engine: String,
    /// Database name; empty for what belongs to the whole server.
    pub database: String,
    /// Object that holds it.
    pub object: String,
    /// Version of the server.
    pub server_version: String,
    /// Version of the tool that dumped.
    pub client_version: String,
    /// argv of the tool; never holds a secret.
    pub command: Vec<String>,
    /// Its exit code.
    pub exit_code: i64,
    /// How its end was recognised: `pg_restore read all of it`, `-- Dump completed`, ….
    pub end_check: String,
    /// `snapshot` (one moment), `per collection`, `oplog`, `cold`.
    pub consistency: String,
    /// How the bytes travelled: `stream` (exec stream), `fifo`.
    pub transport: String,
    /// Tables or collections, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<u64>,
}

/// An object of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// Name in the snapshot's folder: `wordpress.sql.zst.age`.
    pub name: String,
    /// What it is: `database`, `globals`, `volume`, `definition`.
    pub role: Role,
    /// For a volume: its name. For a database: the database's.
    pub of: String,
    /// Bytes before compression and encryption.
    pub plain_bytes: u64,
    /// Bytes as stored.
    pub stored_bytes: u64,
    /// SHA-256 of the bytes as stored, hex.
    pub sha256: String,
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A database.
    Database,
    /// Roles, users: what belongs to the server.
    Globals,
    /// A volume or bind mount.
    Volume,
    /// config.yml, compose.yml, minion.yml.
    Definition,
}

/// What a cold backup stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// `reflink`, `two_pass`, `copy`, `container`.
    pub method: String,
    /// Services that were stopped and started again.
    pub stopped: Vec<String>,
    /// Services that were not running before.
    pub were_stopped: Vec<String>,
    /// Milliseconds from the first stop until everything was healthy again, measured.
    pub downtime_ms: u64,
    /// Milliseconds of that spent copying.
    pub copy_ms: u64,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ManifestError {
    /// Written by a newer summoner.
    #[error("the snapshot has format {0}, this summoner knows {SCHEMA_VERSION}")]
    Newer(u32),
    /// Not what we wrote.
    #[error("the manifest is damaged: {0}")]
    Damaged(String),
}

impl Manifest {
    /// Reads a manifest; anything that is not one is an error, never a panic.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let damaged = |e: serde_json::Error| ManifestError::Damaged(e.to_string());
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(damaged)?;
        let version = value
            .get("schema_version")
            .and_then(serde_json::Value::as_u64);
        match version {
            Some(v) if v == u64::from(SCHEMA_VERSION) => {}
            Some(v) => return Err(ManifestError::Newer(u32::try_from(v).unwrap_or(u32::MAX))),
            None => return Err(ManifestError::Damaged("no `schema_version` in it".into())),
        }
        let manifest: Self = serde_json::from_value(value).map_err(damaged)?;
        if SnapshotId::parse(manifest.id.as_str()).is_none() {
            return Err(ManifestError::Damaged("its id is none".into()));
        }
        if let Some(bad) = manifest.objects.iter().find(|o| !is_plain_name(&o.name)) {
            return Err(ManifestError::Damaged(format!(
                "`{}` is no name of an object",
                bad.name
            )));
        }
        Ok(manifest)
    }

    /// As it is stored.
    ///
    /// # Panics
    /// Never: it is plain data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("a manifest is plain data");
        text.push(b'\n');
        text
    }

    /// Bytes as stored, all objects together.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.objects.iter().map(|o| o.stored_bytes).sum()
    }

    /// Key of its folder (with a trailing `/`).
    #[must_use]
    pub fn prefix(&self) -> String {
        snapshot_prefix(&self.project, &self.minion, self.kind, &self.id)
    }
}

/// A name that stays within the snapshot's folder.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && !name.contains(['/', '\\', '\0'])
        && name.len() <= 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_differ_within_a_second() {
        let at = |s: &str| s.parse::<Timestamp>().unwrap();
        let (a, b) = (
            SnapshotId::new(at("2026-11-20T02:30:00Z")),
            SnapshotId::new(at("2026-11-20T02:30:00Z")),
        );
        let later = SnapshotId::new(at("2026-11-20T02:30:01Z"));
        assert_ne!(a, b);
        assert!(a < later && b < later, "{a} {b} {later}");
        assert!(a.as_str().starts_with("20261120T023000Z-"));
        assert_eq!(later.time(), Some(at("2026-11-20T02:30:01Z")));
        assert_eq!(SnapshotId::parse(a.as_str()), Some(a));
        for bad in [
            "",
            "x",
            "20261120T023000Z",
            "20261120T023000Z-../../../../etc/passwd012",
        ] {
            assert_eq!(SnapshotId::parse(bad), None, "{bad}");
        }
    }
}
