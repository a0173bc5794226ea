//! All objects, all uploads: page by page, never half of them.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use jiff::Timestamp;

use super::super::{Object, StorageError, key};
use super::upload::take_back;
use super::{Bucket, Failure, Storage as _};

impl Bucket {
    pub(super) async fn list_all(&self, prefix: &str) -> Result<Vec<Object>, StorageError> {
        let told = |failure: &Failure| self.error(failure, "list", "");
        let (full, own) = (self.full(prefix), self.full("").len());
        let mut objects = Vec::new();
        let mut token: Option<String> = None;
        let mut tokens = BTreeSet::new();
        loop {
            let page = self
                .attempt(|watch| {
                    self.client()
                        .list_objects_v2()
                        .bucket(self.bucket())
                        .prefix(&full)
                        .set_continuation_token(token.clone())
                        .customize()
                        .interceptor(watch)
                        .send()
                })
                .await
                .map_err(|f| told(&f))?;
            self.inner.found.store(true, Ordering::Relaxed);
            for object in page.contents() {
                let name = object.key().and_then(|k| k.get(own..));
                // Folders that consoles make, and other people's keys, are not ours.
                let Some(name) = name.filter(|name| key::check("", name).is_ok()) else {
                    continue;
                };
                objects.push(Object {
                    key: name.to_owned(),
                    size: object
                        .size()
                        .and_then(|s| u64::try_from(s).ok())
                        .unwrap_or(0),
                });
            }
            if page.is_truncated() != Some(true) {
                break;
            }
            // A list that is cut off is no list: retention decides by it.
            token = page.next_continuation_token().map(str::to_owned);
            if token.as_ref().is_none_or(|t| !tokens.insert(t.clone())) {
                return Err(StorageError::Other {
                    place: self.place(),
                    action: "list".to_owned(),
                    reason: "the store does not tell how its list goes on".to_owned(),
                });
            }
        }
        objects.sort_unstable();
        Ok(objects)
    }

    /// Only below our own `v1/`: other people's uploads are theirs.
    pub(super) async fn sweep_uploads(&self, before: Timestamp) -> Result<usize, StorageError> {
        let prefix = self.full("v1/");
        let mut marker: Option<(String, String)> = None;
        let mut swept = 0;
        loop {
            let page = self
                .attempt(|watch| {
                    let (key, id) = marker.clone().unzip();
                    self.client()
                        .list_multipart_uploads()
                        .bucket(self.bucket())
                        .prefix(&prefix)
                        .set_key_marker(key)
                        .set_upload_id_marker(id)
                        .customize()
                        .interceptor(watch)
                        .send()
                })
                .await;
            let page = match page {
                Ok(page) => page,
                // A store that cannot tell has its own ways, as rules for the life of objects.
                Err(failure) if failure.is_unknown_to_store() => return Ok(swept),
                Err(failure) => return Err(self.error(&failure, "list uploads", "")),
            };
            for upload in page.uploads() {
                let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else {
                    continue;
                };
                let old = upload
                    .initiated()
                    .is_some_and(|at| at.secs() < before.as_second());
                if old && key.starts_with(&prefix) && take_back(self, key, id).await {
                    swept += 1;
                }
            }
            let next = page
                .next_key_marker()
                .map(str::to_owned)
                .zip(page.next_upload_id_marker().map(str::to_owned));
            if page.is_truncated() != Some(true) || next.is_none() || next == marker {
                return Ok(swept);
            }
            marker = next;
        }
    }
}
