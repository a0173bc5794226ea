//! Pinned snapshots are never pruned.

use jiff::Timestamp;
use serde_json::json;

use crate::backup::catalog::{self, Entry};
use crate::backup::destination::Target;
use crate::backup::error::BackupError;
use crate::backup::manifest::PINNED;
use crate::storage::StorageError;

/// Pins; whether it was not pinned before.
pub async fn pin(target: &Target, entry: &Entry, now: Timestamp) -> Result<bool, BackupError> {
    let key = format!("{}{PINNED}", entry.manifest.prefix());
    let note = json!({"at": now, "summoner": env!("CARGO_PKG_VERSION")});
    match catalog::put_json(target, &key, &note).await {
        Ok(()) => Ok(true),
        Err(StorageError::Exists(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Unpins; whether it was pinned before.
pub async fn unpin(target: &Target, entry: &Entry) -> Result<bool, BackupError> {
    let key = format!("{}{PINNED}", entry.manifest.prefix());
    target.storage.delete(&key).await?;
    Ok(entry.pinned)
}
