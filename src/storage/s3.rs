//! An S3 bucket, of Amazon or of anybody else.
//!
//! Stores differ, and most of them differ silently. What we do about it:
//!
//! - **Checksums** come in two modes that are never mixed ([`Checksums`]): with a CRC-32 on every
//!   request, as Amazon's SDKs do since 2025 and Object Lock demands; or with none, as many other
//!   stores need. Bodies are in memory, so that neither mode uses trailers.
//! - **Parts** of an upload are all equal but the last ([`PART`]), [`IN_FLIGHT`] at once; small
//!   objects go in one request, since empty parts are refused. S3 ends at [`MOST_PARTS`]: 78 GiB.
//!   [`super::Storage::upload_sized`] makes larger parts for what will be larger.
//! - **Nothing is overwritten**: we look before we write, and write with `If-None-Match: *`, which
//!   some stores honour, some ignore and some refuse.
//! - **Nothing is believed**: every upload carries a mark of its own as metadata, and after it was
//!   completed its size is asked for. An answer that was lost is found again by the mark; an error
//!   in a `200` is an error.
//! - Objects are deleted one by one: the request that deletes many needs a checksum anyway.

mod attempt;
mod commit;
mod connect;
mod failure;
mod list;
mod probe;
mod reader;
mod upload;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::{Object, Probe, Reading, Storage, StorageError, Upload, key};
use crate::secret::SecretSource;
use failure::Failure;

/// Bytes of a part, unless a larger object was announced. S3's least is 5 MiB.
pub const PART: usize = 8 << 20;

/// Parts under way at once, and parts in memory.
pub const IN_FLIGHT: usize = 4;

/// Parts of one upload at most: S3's limit.
pub const MOST_PARTS: usize = 10_000;

/// `s3:` of a destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Bucket.
    pub bucket: String,
    /// Before every key, without slashes at its ends.
    pub prefix: String,
    /// Region; the SDK's sources or `us-east-1` where there is none.
    pub region: Option<String>,
    /// URL of a store that is not Amazon's.
    pub endpoint: Option<String>,
    /// `https://host/bucket/key` instead of `https://bucket.host/key`; default where `endpoint` is given.
    pub path_style: Option<bool>,
    /// Key id and secret; else the SDK's sources: environment, profile, instance role.
    pub credentials: Option<(SecretSource, SecretSource)>,
    /// Profile of `~/.aws/config` for what is not said here.
    pub profile: Option<String>,
    /// Class of data, as `STANDARD_IA`; manifests and other small objects stay in the standard one,
    /// so that they can be read at any time.
    pub storage_class: Option<String>,
    /// Encryption by the store.
    pub sse: Option<Sse>,
    /// Retention that the store enforces.
    pub object_lock: Option<ObjectLock>,
    /// Whether requests carry checksums.
    pub checksums: Checksums,
}

/// Encryption by the store, at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sse {
    /// With the store's own keys.
    Aes256,
    /// With a key of its key service; `None` is the account's default one.
    Kms(Option<String>),
}

/// Retention that the store enforces (Object Lock).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectLock {
    /// Who may delete before its time.
    pub mode: LockMode,
    /// Days from the upload.
    pub days: u32,
}

/// Who may delete what is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Who has a right of its own for it.
    Governance,
    /// Nobody.
    Compliance,
}

/// Whether requests carry CRC-32 checksums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Checksums {
    /// At Amazon and where Object Lock demands them; not at other stores.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl Settings {
    fn has_checksums(&self) -> bool {
        match self.checksums {
            Checksums::On => true,
            Checksums::Off => false,
            Checksums::Auto => self.endpoint.is_none() || self.object_lock.is_some(),
        }
    }

    fn is_path_style(&self) -> bool {
        self.path_style.unwrap_or(self.endpoint.is_some())
    }
}

/// How long to wait and how often to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Attempts of one request, the first included.
    pub attempts: u32,
    /// Before the second attempt; doubles, up to 20 s, and is shortened at random by up to a half.
    pub pause: Duration,
    /// A request whose bytes do not move for so long is given up. Sent bytes may wait in the
    /// kernel's buffers, so that this must be longer than a slow line needs for a few MiB.
    pub idle: Duration,
    /// Until a connection stands.
    pub connect: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 6,
            pause: Duration::from_millis(500),
            idle: Duration::from_mins(2),
            connect: Duration::from_secs(10),
        }
    }
}

/// A bucket as a destination. Clones share connections.
#[derive(Debug, Clone)]
pub struct Bucket {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: aws_sdk_s3::Client,
    settings: Settings,
    patience: Patience,
    /// Whether `If-None-Match` may be sent: until the store says that it does not know it.
    conditional: AtomicBool,
    /// Whether anything has proved that the bucket is there.
    found: AtomicBool,
    /// Seconds that our clock is ahead of the store's, as last seen; `i64::MIN` before.
    ahead: Arc<AtomicI64>,
}

impl Bucket {
    /// Gets credentials together; the bucket itself is not asked yet.
    pub async fn connect(settings: &Settings) -> Result<Self, StorageError> {
        Self::connect_with(settings, Patience::default()).await
    }

    /// The same with a patience of one's own.
    pub async fn connect_with(
        settings: &Settings,
        patience: Patience,
    ) -> Result<Self, StorageError> {
        let ahead = Arc::new(AtomicI64::new(i64::MIN));
        let client = connect::client(settings, patience, Arc::clone(&ahead)).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                client,
                settings: settings.clone(),
                patience,
                conditional: AtomicBool::new(true),
                found: AtomicBool::new(false),
                ahead,
            }),
        })
    }

    fn client(&self) -> &aws_sdk_s3::Client {
        &self.inner.client
    }

    fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    fn patience(&self) -> Patience {
        self.inner.patience
    }

    fn bucket(&self) -> &str {
        &self.inner.settings.bucket
    }

    /// The key in the bucket.
    fn full(&self, key: &str) -> String {
        match self.inner.settings.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        }
    }

    fn check(&self, key: &str) -> Result<String, StorageError> {
        let place = self.place();
        key::check(&place, key)?;
        let full = self.full(key);
        key::check(&place, &full)?;
        Ok(full)
    }

    /// The error for people.
    fn error(&self, failure: &Failure, action: &str, key: &str) -> StorageError {
        failure.told(&self.place(), action, key)
    }

    fn ahead(&self) -> Option<i64> {
        match self.inner.ahead.load(Ordering::Relaxed) {
            i64::MIN => None,
            seconds => Some(seconds),
        }
    }

    /// A missing object is an answer only where the bucket is there.
    async fn bucket_is_there(&self) -> Result<(), StorageError> {
        if self.inner.found.load(Ordering::Relaxed) {
            return Ok(());
        }
        let asked = self
            .attempt(|watch| {
                self.client()
                    .head_bucket()
                    .bucket(self.bucket())
                    .customize()
                    .interceptor(watch)
                    .send()
            })
            .await;
        match asked {
            Ok(_) => {}
            Err(failure) if failure.is_absent() => {
                return Err(StorageError::NoDestination {
                    place: self.place(),
                    reason: format!("there is no bucket `{}`", self.bucket()),
                });
            }
            // Who may not ask may still read: what was asked for is simply missing.
            Err(failure) if failure.is_denied() => return Ok(()),
            Err(failure) => return Err(self.error(&failure, "find the bucket", "")),
        }
        self.inner.found.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[async_trait]
impl Storage for Bucket {
    fn place(&self) -> String {
        let Settings { bucket, prefix, .. } = self.settings();
        match prefix.as_str() {
            "" => format!("s3://{bucket}"),
            prefix => format!("s3://{bucket}/{prefix}"),
        }
    }

    async fn upload(&self, key: &str) -> Result<Box<dyn Upload>, StorageError> {
        self.upload_sized(key, 0).await
    }

    async fn upload_sized(&self, key: &str, about: u64) -> Result<Box<dyn Upload>, StorageError> {
        let full = self.check(key)?;
        if self.stat(key).await?.is_some() {
            return Err(StorageError::Exists(key.to_owned()));
        }
        Ok(Box::new(upload::Multipart::new(
            self.clone(),
            key.to_owned(),
            full,
            about,
        )))
    }

    async fn put(&self, key: &str, content: Bytes) -> Result<(), StorageError> {
        let full = self.check(key)?;
        if self.stat(key).await?.is_some() {
            return Err(StorageError::Exists(key.to_owned()));
        }
        self.put_object(key, &full, content, commit::Kind::Small)
            .await
            .map(drop)
    }

    async fn read(&self, key: &str) -> Result<Reading, StorageError> {
        let full = self.check(key)?;
        reader::open(self.clone(), key.to_owned(), full).await
    }

    async fn stat(&self, key: &str) -> Result<Option<u64>, StorageError> {
        let full = self.check(key)?;
        match self.head(&full).await {
            Ok(Some(head)) => Ok(Some(head.size)),
            Ok(None) => {
                self.bucket_is_there().await?;
                Ok(None)
            }
            Err(failure) => Err(self.error(&failure, &format!("look at `{key}`"), key)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StorageError> {
        key::check_prefix(&self.place(), prefix)?;
        self.list_all(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let full = self.check(key)?;
        let deleted = self
            .attempt(|watch| {
                self.client()
                    .delete_object()
                    .bucket(self.bucket())
                    .key(&full)
                    .customize()
                    .interceptor(watch)
                    .send()
            })
            .await;
        match deleted {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_absent() && !failure.is_bucket_absent() => Ok(()),
            Err(failure) if failure.is_held() => Err(StorageError::Held {
                key: key.to_owned(),
                reason: failure.reason,
            }),
            Err(failure) => Err(self.error(&failure, &format!("delete `{key}`"), key)),
        }
    }

    async fn sweep(&self, before: Timestamp) -> Result<usize, StorageError> {
        self.sweep_uploads(before).await
    }

    async fn probe(&self, now: Timestamp) -> Vec<Probe> {
        probe::all(self, now).await
    }
}
