//! Where snapshots lie: a folder or an S3 bucket, behind one narrow trait. An object appears whole
//! or not at all, and is never overwritten.

mod exact;
mod key;
pub mod local;
pub mod memory;
mod probe;
pub mod s3;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::io::AsyncRead;

/// Reads an object.
pub type Reading = Box<dyn AsyncRead + Send + Unpin>;

/// What went wrong with a destination.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    /// There is no such object.
    #[error("`{0}` is not there")]
    Missing(String),
    /// An object of that key is there already; it was left alone.
    #[error("`{0}` is there already")]
    Exists(String),
    /// The destination itself (folder, bucket) is not there.
    #[error("{place} is not there: {reason}")]
    NoDestination {
        /// [`Storage::place`].
        place: String,
        /// What was seen.
        reason: String,
    },
    /// We may not: wrong or missing credentials, or a right that is missing.
    #[error("{place} refuses to {action}: {reason}")]
    Denied {
        /// [`Storage::place`].
        place: String,
        /// What was tried.
        action: String,
        /// What the other side said.
        reason: String,
    },
    /// The object is held by a retention rule of the store (Object Lock).
    #[error("`{key}` is locked by the store: {reason}")]
    Held {
        /// The object.
        key: String,
        /// What the other side said.
        reason: String,
    },
    /// Our clock and the store's differ too much for signatures to count.
    #[error("the clocks differ by {seconds} s: {place} refuses what we sign")]
    Skew {
        /// [`Storage::place`].
        place: String,
        /// Seconds that our clock is ahead of theirs (negative: behind).
        seconds: i64,
    },
    /// No room left.
    #[error("no room left at {place}: {reason}")]
    Full {
        /// [`Storage::place`].
        place: String,
        /// What was seen.
        reason: String,
    },
    /// It did not answer, or broke off, and trying again did not help.
    #[error("{place} cannot be reached: {reason}")]
    Unreachable {
        /// [`Storage::place`].
        place: String,
        /// What was seen.
        reason: String,
    },
    /// Anything else.
    #[error("failed to {action} at {place}: {reason}")]
    Other {
        /// [`Storage::place`].
        place: String,
        /// What was tried.
        action: String,
        /// What was seen.
        reason: String,
    },
}

impl StorageError {
    /// What to type or change next, where the reason tells.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoDestination { place, .. } if place.starts_with("s3://") => Some(
                "create the bucket, or correct `bucket`, `region` and `endpoint` in config.yml"
                    .to_owned(),
            ),
            Self::NoDestination { place, .. } => Some(format!(
                "mount the disk (`findmnt -T {place}` shows what is there), or make the folder: `mkdir -p {place}`"
            )),
            Self::Denied { place, .. } if place.starts_with("s3://") => Some(
                "check the keys and the rights that belong to them: docs/config.md lists what is needed"
                    .to_owned(),
            ),
            Self::Denied { place, .. } => Some(format!(
                "see who may write there: `ls -ld {place}`, `findmnt -T {place}`"
            )),
            Self::Held { .. } => {
                Some("it can be deleted when its retention is over".to_owned())
            }
            Self::Skew { .. } => {
                Some("set the clock: `timedatectl set-ntp true`, then `timedatectl`".to_owned())
            }
            Self::Full { place, .. } if place.starts_with("s3://") => None,
            Self::Full { place, .. } => Some(format!(
                "make room: `df -h {place}` shows the disk, `summoner prune --dry-run` what may go"
            )),
            Self::Unreachable { place, .. } if place.starts_with("s3://") => Some(
                "see whether the network and `endpoint` in config.yml are right".to_owned(),
            ),
            Self::Unreachable { place, .. } => Some(format!(
                "see whether the disk is well: `dmesg | tail`, `findmnt -T {place}`"
            )),
            Self::Missing(_) | Self::Exists(_) | Self::Other { .. } => None,
        }
    }
}

/// An object that is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// Its key, below the destination's prefix.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
}

/// One finding of [`Storage::probe`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What was looked at: `write`, `read back`, `path style`, `checksums`, `conditional put`,
    /// `equal parts`, `delete`, `clock`.
    pub what: &'static str,
    /// Whether backups can work; `None` = a remark, as a store that ignores `If-None-Match`.
    pub good: Option<bool>,
    /// What was seen.
    pub message: String,
    /// What to type or change, where it is not good.
    pub mend: Option<String>,
}

/// A destination. Keys are relative, `/`-separated, without `..`; they are checked.
#[async_trait]
pub trait Storage: Send + Sync {
    /// The destination for people, without secrets: `/srv/backups`, `s3://bucket/prefix`.
    fn place(&self) -> String;

    /// Begins an object. Nothing is visible under its key until [`Upload::finish`] has returned,
    /// and nothing ever when it is dropped or aborted.
    async fn upload(&self, key: &str) -> Result<Box<dyn Upload>, StorageError>;

    /// The same for an object of about so many bytes, as far as anybody can know: stores with a
    /// limit for parts (S3: 10,000, which is 78 GiB otherwise) make them larger then.
    async fn upload_sized(&self, key: &str, about: u64) -> Result<Box<dyn Upload>, StorageError> {
        let _ = about;
        self.upload(key).await
    }

    /// Writes a small object in one go; an existing one is [`StorageError::Exists`].
    async fn put(&self, key: &str, content: Bytes) -> Result<(), StorageError> {
        let mut upload = self.upload(key).await?;
        match upload.write(content).await {
            Ok(()) => upload.finish().await.map(drop),
            Err(error) => {
                upload.abort().await;
                Err(error)
            }
        }
    }

    /// Reads an object. A reader that breaks off in the middle gives an error, never a clean end.
    async fn read(&self, key: &str) -> Result<Reading, StorageError>;

    /// Size of an object, `None` when it is not there.
    async fn stat(&self, key: &str) -> Result<Option<u64>, StorageError>;

    /// All objects whose key begins with `prefix` (which ends with `/` or is empty), sorted by key.
    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StorageError>;

    /// Deletes one object. Deleting what is gone is no error.
    async fn delete(&self, key: &str) -> Result<(), StorageError>;

    /// Takes away what killed runs have left before `before` and nobody can see: temporary files,
    /// multipart uploads that were never completed. How many.
    async fn sweep(&self, before: Timestamp) -> Result<usize, StorageError>;

    /// Tries everything that a backup needs, with objects of its own below `v1/.probe/`, which it
    /// takes away again.
    async fn probe(&self, now: Timestamp) -> Vec<Probe>;
}

/// An object on its way.
#[async_trait]
pub trait Upload: Send {
    /// Takes the next bytes. After an error only [`Self::abort`] makes sense.
    async fn write(&mut self, chunk: Bytes) -> Result<(), StorageError>;
    /// Makes the object visible, durably; its size as the store tells it afterwards.
    async fn finish(self: Box<Self>) -> Result<u64, StorageError>;
    /// Takes back what was written. Best effort; [`Storage::sweep`] gets the rest.
    async fn abort(self: Box<Self>);
}
