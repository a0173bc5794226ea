//! What every destination is tried for, by the means of the trait alone.

use bytes::Bytes;
use jiff::Timestamp;
use tokio::io::AsyncReadExt as _;

use super::{Probe, Storage, StorageError};

/// A name that nobody else has.
pub(super) fn fresh() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// A key of our own for a trial, never the same twice.
pub(super) fn trial_key(now: Timestamp) -> String {
    let second = now.strftime("%Y%m%dT%H%M%SZ");
    format!("v1/.probe/{second}-{}", fresh())
}

pub(super) fn good(what: &'static str, message: impl Into<String>) -> Probe {
    Probe {
        what,
        good: Some(true),
        message: message.into(),
        mend: None,
    }
}

pub(super) fn bad(what: &'static str, error: &StorageError) -> Probe {
    Probe {
        what,
        good: Some(false),
        message: error.to_string(),
        mend: error.hint(),
    }
}

/// Writes, reads back, tries to overwrite, deletes.
pub(super) async fn basics(storage: &dyn Storage, now: Timestamp) -> Vec<Probe> {
    let key = trial_key(now);
    let content = Bytes::from(format!("summoner probes this destination: {key}\n"));
    if let Err(error) = storage.put(&key, content.clone()).await {
        return vec![bad("write", &error)];
    }
    let mut probes = vec![good("write", "an object was written")];
    probes.push(match read_all(storage, &key).await {
        Ok(found) if found == content => good("read back", "it came back as it was"),
        Ok(_) => Probe {
            what: "read back",
            good: Some(false),
            message: "what came back is not what was written".to_owned(),
            mend: Some(
                "do not use this destination; check its disk or what stands in front of it"
                    .to_owned(),
            ),
        },
        Err(error) => bad("read back", &error),
    });
    probes.push(
        match storage.put(&key, Bytes::from_static(b"other")).await {
            Err(StorageError::Exists(_)) => good(
                "conditional put",
                "an object that is there is not overwritten",
            ),
            Ok(()) => Probe {
                what: "conditional put",
                good: Some(false),
                message: "an object that was there has been overwritten".to_owned(),
                mend: Some("use another file system or store".to_owned()),
            },
            Err(error) => bad("conditional put", &error),
        },
    );
    probes.push(match delete(storage, &key).await {
        Ok(()) => good("delete", "it was deleted again"),
        Err(error) => bad("delete", &error),
    });
    probes
}

/// Deletes and looks whether it is gone.
pub(super) async fn delete(storage: &dyn Storage, key: &str) -> Result<(), StorageError> {
    storage.delete(key).await?;
    match storage.stat(key).await? {
        None => Ok(()),
        Some(_) => Err(StorageError::Held {
            key: key.to_owned(),
            reason: "it was deleted without an error and is still there".to_owned(),
        }),
    }
}

pub(super) async fn read_all(storage: &dyn Storage, key: &str) -> Result<Bytes, StorageError> {
    let mut found = Vec::new();
    let mut reading = storage.read(key).await?;
    reading
        .read_to_end(&mut found)
        .await
        .map_err(|e| StorageError::Unreachable {
            place: storage.place(),
            reason: e.to_string(),
        })?;
    Ok(found.into())
}
