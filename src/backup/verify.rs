//! Is a snapshot what was stored? By its structure: everything is there, each object with its size.
//! By its data: every byte is read and hashed and, where the key is at hand, decrypted and
//! decompressed to the end.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;

use crate::backup::catalog::{self, Entry, Verification};
use crate::backup::destination::Target;
use crate::backup::error::BackupError;
use crate::backup::manifest::{Manifest, ObjectRecord};
use crate::backup::pipeline::hex;
use crate::backup::reader;
use crate::config::environment::Encryption;
use crate::events::{Event, Events};
use crate::storage::StorageError;

/// `how` of what is written down after all data was read.
pub const READ_DATA: &str = "read-data";

/// Bytes read at once, and between two [`Event::Bytes`].
const PIECE: usize = 1 << 20;

/// Something is wrong with a snapshot, or could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It is not what was stored.
    Damaged(String),
    /// The key at hand does not open it; its bytes may be well.
    WrongKey(String),
    /// It could not be read just now: nothing is known.
    Unread(String),
}

impl Problem {
    /// What to tell.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Damaged(text) | Self::WrongKey(text) | Self::Unread(text) => text,
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Objects that are as they should be.
    pub good: usize,
    /// Bytes that were read, as stored.
    pub bytes: u64,
    /// What is wrong, by object.
    pub problems: Vec<(String, Problem)>,
    /// Objects that were hashed only, since no key is at hand.
    pub sealed: usize,
}

impl Checked {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether it is known now if the snapshot is whole.
    fn is_known(&self) -> bool {
        let damaged = |(_, p): &(String, Problem)| matches!(p, Problem::Damaged(_));
        self.is_good() || self.problems.iter().any(damaged)
    }
}

/// Checks that every object is there with its size; reads none of them.
#[must_use]
pub fn structure(entry: &Entry) -> Checked {
    let mut checked = Checked::default();
    for object in &entry.manifest.objects {
        match size_problem(entry, object) {
            None => checked.good += 1,
            Some(problem) => checked.problems.push((object.name.clone(), problem)),
        }
    }
    if entry.manifest.objects.is_empty() {
        let problem = Problem::Damaged("there is no object in it".into());
        checked.problems.push(("manifest.json".into(), problem));
    }
    checked
}

fn size_problem(entry: &Entry, object: &ObjectRecord) -> Option<Problem> {
    let prefix = entry.manifest.prefix();
    let found = entry
        .objects
        .iter()
        .find(|o| o.key.strip_prefix(&prefix) == Some(object.name.as_str()));
    match found.map(|o| o.size) {
        Some(size) if size == object.stored_bytes => None,
        Some(size) => Some(Problem::Damaged(format!(
            "it has {size} bytes, and had {} when it was stored",
            object.stored_bytes
        ))),
        None => Some(Problem::Damaged("it is not there".into())),
    }
}

/// Reads everything, and writes down in the destination what was found, good or bad, unless
/// nothing could be found out. The error is one of writing it down.
pub async fn data(
    target: &Target,
    entry: &Entry,
    events: &Arc<dyn Events>,
    clock: &(dyn Fn() -> Timestamp + Sync),
) -> (Checked, Option<BackupError>) {
    let mut checked = structure(entry);
    let missing: Vec<String> = checked.problems.iter().map(|(n, _)| n.clone()).collect();
    checked.good = 0;
    for object in &entry.manifest.objects {
        if missing.contains(&object.name) {
            continue;
        }
        let sealed = object.name.strip_suffix(".age").is_some() && !has_key(target);
        let result = if sealed {
            hash(target, &entry.manifest, object, events.as_ref()).await
        } else {
            match unpack(target, &entry.manifest, object, events.as_ref()).await {
                // A damaged head of an encrypted object looks as if it were for somebody else.
                Err(Problem::WrongKey(why)) => {
                    let hashed = hash(target, &entry.manifest, object, events.as_ref()).await;
                    hashed.and(Err(Problem::WrongKey(why)))
                }
                other => other,
            }
        };
        match result {
            Ok(()) => {
                checked.good += 1;
                checked.sealed += usize::from(sealed);
                checked.bytes += object.stored_bytes;
            }
            Err(problem) => checked.problems.push((object.name.clone(), problem)),
        }
    }
    if !checked.is_known() {
        return (checked, None);
    }
    let problems: Vec<_> = checked
        .problems
        .iter()
        .map(|(object, problem)| json!({"object": object, "problem": problem.text()}))
        .collect();
    let verification = Verification {
        at: clock(),
        how: READ_DATA.to_owned(),
        good: checked.is_good(),
        details: json!({
            "objects": checked.good,
            "bytes": checked.bytes,
            "not_decrypted": checked.sealed,
            "problems": problems,
        }),
        summoner: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let noted = catalog::note_verified(target, &entry.manifest, &verification).await;
    (checked, noted.err())
}

/// Whether there is something on this machine that may open what the destination holds.
fn has_key(target: &Target) -> bool {
    match &target.encryption {
        None => false,
        Some(Encryption::Passphrase(source)) => source.read().is_ok(),
        Some(Encryption::Recipients { identity, .. }) => {
            identity.as_ref().is_some_and(|file| file.exists())
        }
    }
}

/// Reads the plain bytes to their end; the reader hashes what is stored on the way.
async fn unpack(
    target: &Target,
    manifest: &Manifest,
    object: &ObjectRecord,
    events: &dyn Events,
) -> Result<(), Problem> {
    let mut reading = reader::open(target, manifest, object)
        .await
        .map_err(of_backup)?;
    let teller = Teller::new(manifest, object, object.plain_bytes, events);
    let mut buffer = vec![0; PIECE];
    let mut done = 0;
    loop {
        match reading.read(&mut buffer).await.map_err(of_io)? {
            0 => return Ok(()),
            count => done += count as u64,
        }
        teller.tell(done);
    }
}

/// Hashes what is stored.
async fn hash(
    target: &Target,
    manifest: &Manifest,
    object: &ObjectRecord,
    events: &dyn Events,
) -> Result<(), Problem> {
    let key = format!("{}{}", manifest.prefix(), object.name);
    let mut reading = target
        .storage
        .read(&key)
        .await
        .map_err(|e| of_backup(e.into()))?;
    let teller = Teller::new(manifest, object, object.stored_bytes, events);
    let mut sha256 = Sha256::new();
    let mut buffer = vec![0; PIECE];
    let mut done = 0;
    loop {
        match reading.read(&mut buffer).await.map_err(of_io)? {
            0 => break,
            count => {
                sha256.update(&buffer[..count]);
                done += count as u64;
            }
        }
        teller.tell(done);
    }
    if done != object.stored_bytes || hex(sha256) != object.sha256 {
        return Err(Problem::Damaged(
            "it is not what was stored: its SHA-256 is another".into(),
        ));
    }
    Ok(())
}

fn of_backup(error: BackupError) -> Problem {
    match error {
        BackupError::WrongKey(text) | BackupError::BadKey(text) => Problem::WrongKey(text),
        BackupError::Storage(StorageError::Missing(_)) => {
            Problem::Damaged("it is not there any more".into())
        }
        BackupError::Damaged(text) => Problem::Damaged(text),
        other => Problem::Unread(other.to_string()),
    }
}

/// A connection that broke says nothing about the snapshot; what the disk cannot give any more does.
fn of_io(error: io::Error) -> Problem {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::ConnectionRefused
        | Kind::BrokenPipe
        | Kind::NotConnected
        | Kind::TimedOut
        | Kind::HostUnreachable
        | Kind::NetworkUnreachable
        | Kind::NetworkDown
        | Kind::StaleNetworkFileHandle
        | Kind::UnexpectedEof => Problem::Unread(error.to_string()),
        _ => of_backup(BackupError::of_io(error)),
    }
}

/// Tells how far a reading is.
struct Teller<'a> {
    target: String,
    total: u64,
    events: &'a dyn Events,
}

impl<'a> Teller<'a> {
    fn new(manifest: &Manifest, object: &ObjectRecord, total: u64, events: &'a dyn Events) -> Self {
        Self {
            target: format!(
                "{}/{}/{}",
                manifest.minion,
                manifest.id.short(),
                object.name
            ),
            total,
            events,
        }
    }

    fn tell(&self, done: u64) {
        self.events.event(Event::Bytes {
            target: self.target.clone(),
            done,
            total: Some(self.total),
        });
    }
}
