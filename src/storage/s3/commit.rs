//! The moment an object becomes visible: never over another, and never believed unseen.

use std::future::Future;
use std::sync::atomic::Ordering;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{ChecksumAlgorithm, ObjectLockMode, ServerSideEncryption, StorageClass};
use bytes::Bytes;
use jiff::Timestamp;

use super::super::probe::fresh;
use super::super::{Storage as _, StorageError};
use super::attempt::{Watch, pause};
use super::failure::Failure;
use super::{Bucket, LockMode, Sse};

/// Metadata by which we know our own upload again.
pub(super) const MARK: &str = "summoner-upload";

/// What an object is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Data: in the storage class asked for.
    Data,
    /// Manifests and their like: always in the standard class.
    Small,
    /// For a look at the store only: never locked.
    Trial,
}

/// What is under a key.
pub(super) struct Head {
    pub(super) size: u64,
    mark: Option<String>,
}

/// What every request that makes an object carries.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) class: Option<StorageClass>,
    pub(super) sse: Option<ServerSideEncryption>,
    pub(super) sse_key: Option<String>,
    pub(super) lock: Option<ObjectLockMode>,
    pub(super) until: Option<DateTime>,
    pub(super) checksum: Option<ChecksumAlgorithm>,
}

impl Bucket {
    pub(super) fn wishes(&self, kind: Kind) -> Wishes {
        let settings = self.settings();
        let (sse, sse_key) = match &settings.sse {
            None => (None, None),
            Some(Sse::Aes256) => (Some(ServerSideEncryption::Aes256), None),
            Some(Sse::Kms(key)) => (Some(ServerSideEncryption::AwsKms), key.clone()),
        };
        let lock = settings.object_lock.filter(|_| kind != Kind::Trial);
        let until = |days: u32| {
            DateTime::from_secs(Timestamp::now().as_second() + i64::from(days) * 24 * 3600)
        };
        Wishes {
            class: settings
                .storage_class
                .as_deref()
                .filter(|_| kind == Kind::Data)
                .map(StorageClass::from),
            sse,
            sse_key,
            lock: lock.map(|lock| match lock.mode {
                LockMode::Governance => ObjectLockMode::Governance,
                LockMode::Compliance => ObjectLockMode::Compliance,
            }),
            until: lock.map(|lock| until(lock.days)),
            checksum: settings.has_checksums().then_some(ChecksumAlgorithm::Crc32),
        }
    }

    /// `None` where there is no such object.
    pub(super) async fn head(&self, full: &str) -> Result<Option<Head>, Failure> {
        let asked = self
            .attempt(|watch| {
                self.client()
                    .head_object()
                    .bucket(self.bucket())
                    .key(full)
                    .customize()
                    .interceptor(watch)
                    .send()
            })
            .await;
        match asked {
            Ok(answer) => {
                self.inner.found.store(true, Ordering::Relaxed);
                let size = answer.content_length().and_then(|n| u64::try_from(n).ok());
                let mark = answer.metadata().and_then(|m| m.get(MARK)).cloned();
                match size {
                    Some(size) => Ok(Some(Head { size, mark })),
                    None => Err(Failure::broken("it does not tell the size of an object")),
                }
            }
            Err(failure) if failure.is_absent() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// A whole object in one request.
    pub(super) async fn put_object(
        &self,
        key: &str,
        full: &str,
        content: Bytes,
        kind: Kind,
    ) -> Result<u64, StorageError> {
        let mark = fresh();
        let size = content.len() as u64;
        let put = |watch: Watch, condition: Option<String>| {
            let wishes = self.wishes(kind);
            self.client()
                .put_object()
                .bucket(self.bucket())
                .key(full)
                .metadata(MARK, &mark)
                .set_if_none_match(condition)
                .set_storage_class(wishes.class)
                .set_server_side_encryption(wishes.sse)
                .set_ssekms_key_id(wishes.sse_key)
                .set_object_lock_mode(wishes.lock)
                .set_object_lock_retain_until_date(wishes.until)
                .set_checksum_algorithm(wishes.checksum)
                .body(ByteStream::from(content.clone()))
                .customize()
                .interceptor(watch.of(&content))
                .send()
        };
        self.commit(key, full, &mark, size, put).await
    }

    /// Sends what makes the object visible, until it is seen to be there, whole and ours.
    pub(super) async fn commit<T, E, F>(
        &self,
        key: &str,
        full: &str,
        mark: &str,
        size: u64,
        once: impl Fn(Watch, Option<String>) -> F,
    ) -> Result<u64, StorageError>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let patience = self.patience();
        let told = |failure: &Failure| self.error(failure, &format!("write `{key}`"), key);
        let mut attempt = 1;
        loop {
            let condition = self.inner.conditional.load(Ordering::Relaxed);
            let star = condition.then(|| "*".to_owned());
            let sent = self.once(|watch| once(watch, star.clone())).await;
            let Err(failure) = sent else {
                return self.confirm(key, full, mark, size).await;
            };
            if condition && failure.is_unknown_to_store() {
                self.inner.conditional.store(false, Ordering::Relaxed);
                continue;
            }
            // The request may have been carried out all the same: by this attempt or one before.
            let unclear = failure.transient || failure.is_conflict() || failure.is_upload_absent();
            if unclear {
                match self.head(full).await.map_err(|f| told(&f))? {
                    Some(head) if head.mark.as_deref() == Some(mark) => {
                        return self.confirm(key, full, mark, size).await;
                    }
                    Some(_) => return Err(StorageError::Exists(key.to_owned())),
                    None => {}
                }
            }
            let again = failure.transient || failure.is_conflict();
            if !again || attempt >= patience.attempts {
                return Err(told(&failure));
            }
            pause(patience, attempt).await;
            attempt += 1;
        }
    }

    /// Looks at what is there now.
    async fn confirm(
        &self,
        key: &str,
        full: &str,
        mark: &str,
        size: u64,
    ) -> Result<u64, StorageError> {
        let action = format!("write `{key}`");
        let other = |reason: String| StorageError::Other {
            place: self.place(),
            action: action.clone(),
            reason,
        };
        let mut attempt = 1;
        let head = loop {
            match self.head(full).await {
                Ok(Some(head)) => break head,
                // Old stores need a moment until they see what they were given.
                Ok(None) if attempt < self.patience().attempts.min(3) => {
                    pause(self.patience(), attempt).await;
                    attempt += 1;
                }
                Ok(None) => {
                    return Err(other("it was accepted and is not there".to_owned()));
                }
                Err(failure) => return Err(self.error(&failure, &action, key)),
            }
        };
        match head.mark {
            // A store may forget metadata; another mark is somebody else's object.
            Some(found) if found != mark => Err(StorageError::Exists(key.to_owned())),
            _ if head.size == size => Ok(size),
            _ => {
                let _ = self.delete(key).await;
                Err(other(format!(
                    "{size} bytes were sent and {} are there",
                    head.size
                )))
            }
        }
    }
}
