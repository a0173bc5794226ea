//! An object in equal parts.

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};
use tokio::task::JoinSet;

use super::super::probe::fresh;
use super::super::{StorageError, Upload};
use super::attempt::Watch;
use super::commit::{Kind, MARK};
use super::{Bucket, IN_FLIGHT, MOST_PARTS, PART};

/// Part sizes are multiples of this.
const MIB: u64 = 1 << 20;

/// Bytes of parts for an object of about `about` bytes: [`PART`], or so large that a third more
/// than announced still fits.
fn part_size(about: u64) -> usize {
    let most = MOST_PARTS as u64;
    let needed = (about + about / 3).div_ceil(most).div_ceil(MIB) * MIB;
    usize::try_from(needed).map_or(PART, |needed| needed.max(PART))
}

/// Fewer at once where they are larger: memory stays at four parts of 8 MiB until one part alone
/// is more than that.
fn in_flight(part: usize) -> usize {
    (IN_FLIGHT * PART / part).clamp(1, IN_FLIGHT)
}

pub(super) struct Multipart {
    bucket: Bucket,
    key: String,
    full: String,
    mark: String,
    part: usize,
    kind: Kind,
    buffer: BytesMut,
    /// The store's name of the upload, once there is more than one part.
    id: Option<String>,
    running: JoinSet<Result<CompletedPart, StorageError>>,
    done: Vec<CompletedPart>,
    sent: u64,
    begun: usize,
}

impl Multipart {
    pub(super) fn new(bucket: Bucket, key: String, full: String, about: u64) -> Self {
        Self {
            bucket,
            key,
            full,
            mark: fresh(),
            part: part_size(about),
            kind: Kind::Data,
            buffer: BytesMut::new(),
            id: None,
            running: JoinSet::new(),
            done: Vec::new(),
            sent: 0,
            begun: 0,
        }
    }

    pub(super) fn trial(mut self) -> Self {
        self.kind = Kind::Trial;
        self
    }

    fn other(&self, reason: impl Into<String>) -> StorageError {
        StorageError::Other {
            place: super::Storage::place(&self.bucket),
            action: format!("write `{}`", self.key),
            reason: reason.into(),
        }
    }

    async fn id(&mut self) -> Result<String, StorageError> {
        if let Some(id) = &self.id {
            return Ok(id.clone());
        }
        let bucket = &self.bucket;
        let created = bucket
            .attempt(|watch| {
                let wishes = bucket.wishes(self.kind);
                bucket
                    .client()
                    .create_multipart_upload()
                    .bucket(bucket.bucket())
                    .key(&self.full)
                    .metadata(MARK, &self.mark)
                    .set_storage_class(wishes.class)
                    .set_server_side_encryption(wishes.sse)
                    .set_ssekms_key_id(wishes.sse_key)
                    .set_object_lock_mode(wishes.lock)
                    .set_object_lock_retain_until_date(wishes.until)
                    .set_checksum_algorithm(wishes.checksum)
                    .customize()
                    .interceptor(watch)
                    .send()
            })
            .await
            .map_err(|f| bucket.error(&f, &format!("begin `{}`", self.key), &self.key))?;
        let id = created
            .upload_id()
            .ok_or_else(|| self.other("the store gave the upload no name"))?
            .to_owned();
        self.id = Some(id.clone());
        Ok(id)
    }

    /// Sends the buffer as the next part.
    async fn send(&mut self) -> Result<(), StorageError> {
        if self.begun == MOST_PARTS {
            return Err(self.other(format!(
                "it is larger than {} GiB, the most for {MOST_PARTS} parts of {} MiB",
                (MOST_PARTS * self.part) >> 30,
                self.part >> 20
            )));
        }
        let id = self.id().await?;
        self.begun += 1;
        let content = self.buffer.split().freeze();
        self.sent += content.len() as u64;
        let number = i32::try_from(self.begun).unwrap_or(i32::MAX);
        self.running.spawn(send_part(
            self.bucket.clone(),
            self.key.clone(),
            self.full.clone(),
            id,
            number,
            content,
        ));
        // Before the next buffer is filled, so that no more than these are ever in memory.
        while self.running.len() >= in_flight(self.part) {
            self.join().await?;
        }
        Ok(())
    }

    async fn join(&mut self) -> Result<(), StorageError> {
        match self.running.join_next().await {
            Some(Ok(part)) => self.done.push(part?),
            Some(Err(error)) => return Err(self.other(error.to_string())),
            None => {}
        }
        Ok(())
    }

    /// For stores that would overwrite without a word.
    async fn still_free(&self) -> Result<(), StorageError> {
        let head = self.bucket.head(&self.full).await;
        let head = head.map_err(|f| {
            let action = format!("look at `{}`", self.key);
            self.bucket.error(&f, &action, &self.key)
        })?;
        match head {
            Some(_) => Err(StorageError::Exists(self.key.clone())),
            None => Ok(()),
        }
    }

    async fn complete(&mut self, id: &str) -> Result<u64, StorageError> {
        self.done.sort_by_key(CompletedPart::part_number);
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(self.done.clone()))
            .build();
        let bucket = &self.bucket;
        let complete = |watch: Watch, condition: Option<String>| {
            bucket
                .client()
                .complete_multipart_upload()
                .bucket(bucket.bucket())
                .key(&self.full)
                .upload_id(id)
                .multipart_upload(parts.clone())
                .set_if_none_match(condition)
                .customize()
                .interceptor(watch)
                .send()
        };
        bucket
            .commit(&self.key, &self.full, &self.mark, self.sent, complete)
            .await
    }
}

async fn send_part(
    bucket: Bucket,
    key: String,
    full: String,
    id: String,
    number: i32,
    content: Bytes,
) -> Result<CompletedPart, StorageError> {
    let checksum = bucket.wishes(Kind::Data).checksum;
    let sent = bucket
        .attempt(|watch| {
            bucket
                .client()
                .upload_part()
                .bucket(bucket.bucket())
                .key(&full)
                .upload_id(&id)
                .part_number(number)
                .set_checksum_algorithm(checksum.clone())
                .body(ByteStream::from(content.clone()))
                .customize()
                .interceptor(watch.of(&content))
                .send()
        })
        .await
        .map_err(|f| bucket.error(&f, &format!("write `{key}`"), &key))?;
    let tag = sent.e_tag().ok_or_else(|| StorageError::Other {
        place: super::Storage::place(&bucket),
        action: format!("write `{key}`"),
        reason: "the store gave a part no ETag".to_owned(),
    })?;
    Ok(CompletedPart::builder()
        .part_number(number)
        .e_tag(tag)
        .set_checksum_crc32(checksum.and(sent.checksum_crc32().map(str::to_owned)))
        .build())
}

#[async_trait]
impl Upload for Multipart {
    async fn write(&mut self, mut chunk: Bytes) -> Result<(), StorageError> {
        while !chunk.is_empty() {
            // A full buffer leaves only when more comes: the last part is never empty, and what
            // fits into one part goes in one request.
            if self.buffer.len() == self.part {
                self.send().await?;
            }
            if self.buffer.capacity() == 0 {
                // Pages that are not written to are not there.
                self.buffer.reserve(self.part);
            }
            let room = self.part - self.buffer.len();
            let step = chunk.split_to(room.min(chunk.len()));
            self.buffer.extend_from_slice(&step);
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<u64, StorageError> {
        if self.id.is_none() {
            self.still_free().await?;
            let content = self.buffer.split().freeze();
            return self
                .bucket
                .put_object(&self.key, &self.full, content, self.kind)
                .await;
        }
        let finished = async {
            self.send().await?;
            while !self.running.is_empty() {
                self.join().await?;
            }
            self.still_free().await?;
            let id = self.id().await?;
            self.complete(&id).await
        }
        .await;
        match finished {
            Ok(size) => {
                self.id = None;
                Ok(size)
            }
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    async fn abort(mut self: Box<Self>) {
        self.running.shutdown().await;
        if let Some(id) = self.id.take() {
            take_back(&self.bucket, &self.full, &id).await;
        }
    }
}

impl Drop for Multipart {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        self.running.abort_all();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (bucket, full) = (self.bucket.clone(), std::mem::take(&mut self.full));
            runtime.spawn(async move { take_back(&bucket, &full, &id).await });
        }
    }
}

/// Best effort: what stays is for `sweep`.
pub(super) async fn take_back(bucket: &Bucket, full: &str, id: &str) -> bool {
    let aborted = bucket
        .attempt(|watch| {
            bucket
                .client()
                .abort_multipart_upload()
                .bucket(bucket.bucket())
                .key(full)
                .upload_id(id)
                .customize()
                .interceptor(watch)
                .send()
        })
        .await;
    match aborted {
        Ok(_) => true,
        Err(failure) => failure.is_upload_absent() || failure.is_absent(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f15_what_is_announced_fits_into_ten_thousand_equal_parts() {
        assert_eq!(part_size(0), PART);
        assert_eq!(part_size(50 << 30), PART);
        for about in [60_u64 << 30, 100 << 30, 1 << 40, 4 << 40] {
            let part = part_size(about);
            assert!(part as u64 * 10_000 >= about + about / 4, "{about}: {part}");
            assert_eq!(part as u64 % MIB, 0);
        }
        assert_eq!(in_flight(PART), IN_FLIGHT);
        assert_eq!(in_flight(2 * PART), 2);
        assert_eq!(in_flight(100 * PART), 1);
    }
}
