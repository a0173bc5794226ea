//! A drill: a snapshot is restored into throwaway folders and containers, looked at, and thrown
//! away. What was found is written down beside the snapshot.

use jiff::Timestamp;
use serde_json::json;

use crate::backup::catalog::{self, Verification};
use crate::backup::error::BackupError;
use crate::backup::restore::{self, Checked, Job, RestoreError};
use crate::backup::scratch::Scratch;

/// [`Verification::how`] of a drill.
pub const HOW: &str = "drill";

/// What a drill found.
#[derive(Debug)]
pub enum Found {
    /// It can be restored.
    Good(Checked),
    /// It cannot.
    Bad(String),
}

/// Drills one snapshot and writes down what was found. An error tells nothing about the snapshot:
/// the engine failed, the destination does not answer, the key is missing.
pub async fn run(
    job: &Job<'_>,
    mut scratch: Scratch<'_>,
    now: Timestamp,
) -> Result<Found, RestoreError> {
    let restored = restore::into_scratch(job, &mut scratch).await;
    let left = scratch.leave().await;
    let found = match restored {
        Ok(restored) => Found::Good(restored.checked),
        Err(error) if is_the_snapshots(&error) => Found::Bad(error.to_string()),
        Err(error) => return Err(error),
    };
    let (good, details) = match &found {
        Found::Good(checked) => (true, json!(checked)),
        Found::Bad(reason) => (false, json!({ "reason": reason })),
    };
    let verification = Verification {
        at: now,
        how: HOW.to_owned(),
        good,
        details,
        summoner: env!("CARGO_PKG_VERSION").to_owned(),
    };
    catalog::note_verified(job.target, job.manifest, &verification).await?;
    // Told after the result is safe.
    left?;
    Ok(found)
}

/// Whether an error says something about the snapshot.
fn is_the_snapshots(error: &RestoreError) -> bool {
    use crate::storage::StorageError;
    matches!(
        error,
        RestoreError::Invalid(_)
            | RestoreError::Backup(
                BackupError::Damaged(_)
                    | BackupError::Manifest(_)
                    | BackupError::Storage(StorageError::Missing(_))
            )
    )
}
