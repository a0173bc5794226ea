//! Is this a store that we can trust with backups? Found out before the first one.

use bytes::Bytes;
use jiff::Timestamp;

use super::super::probe::{bad, delete, good, read_all, trial_key};
use super::super::{Probe, StorageError, Upload as _};
use super::commit::Kind;
use super::failure::SKEW;
use super::upload::Multipart;
use super::{Bucket, Checksums, PART, Settings, Storage as _};

/// Seconds of difference between clocks that deserve a word.
const REMARK: i64 = 30;

pub(super) async fn all(bucket: &Bucket, now: Timestamp) -> Vec<Probe> {
    let key = trial_key(now);
    let content = Bytes::from(format!("summoner probes this destination: {key}\n"));
    if let Err(error) = trial(bucket, &key, content.clone()).await {
        let mut probes = vec![why(bucket, now, error).await];
        probes.extend(clock(bucket));
        return probes;
    }
    let mut probes = vec![good("write", "an object was written")];
    probes.push(match read_all(bucket, &key).await {
        Ok(found) if found == content => good("read back", "it came back as it was"),
        Ok(_) => Probe {
            what: "read back",
            good: Some(false),
            message: "what came back is not what was written".to_owned(),
            mend: Some("look for a proxy or cache in front of the store".to_owned()),
        },
        Err(error) => bad("read back", &error),
    });
    probes.push(style(bucket));
    probes.push(checksums(bucket));
    probes.push(conditional(bucket, &key).await);
    probes.push(parts(bucket, now).await);
    probes.push(match delete(bucket, &key).await {
        Ok(()) => good("delete", "it was deleted again"),
        // It was not locked by us: the bucket has a rule of its own.
        Err(StorageError::Held { reason, .. }) => Probe {
            what: "delete",
            good: None,
            message: format!("the store keeps what it has: {reason}"),
            mend: Some("prune removes snapshots when their retention is over".to_owned()),
        },
        Err(error) => bad("delete", &error),
    });
    probes.extend(clock(bucket));
    probes
}

/// Never locked, so that it can be taken away again.
async fn trial(bucket: &Bucket, key: &str, content: Bytes) -> Result<(), StorageError> {
    let full = bucket.check(key)?;
    let put = bucket.put_object(key, &full, content, Kind::Trial).await;
    put.map(drop)
}

/// Nothing could be written: is it one of the things that a setting mends?
async fn why(bucket: &Bucket, now: Timestamp, error: StorageError) -> Probe {
    let settings = bucket.settings();
    let mut probe = bad("write", &error);
    let other_checksums = if settings.has_checksums() {
        ("off", Checksums::Off)
    } else {
        ("on", Checksums::On)
    };
    let candidates = [
        (
            "checksums",
            format!("set `checksums: {}` in config.yml", other_checksums.0),
            Settings {
                checksums: other_checksums.1,
                ..settings.clone()
            },
        ),
        (
            "path style",
            format!(
                "set `path_style: {}` in config.yml",
                !settings.is_path_style()
            ),
            Settings {
                path_style: Some(!settings.is_path_style()),
                ..settings.clone()
            },
        ),
    ];
    let hopeless = matches!(
        error,
        StorageError::Skew { .. } | StorageError::Full { .. } | StorageError::Exists(_)
    );
    for (what, mend, other) in candidates.into_iter().filter(|_| !hopeless) {
        let mut patience = bucket.patience();
        patience.attempts = 1;
        let Ok(other) = Bucket::connect_with(&other, patience).await else {
            continue;
        };
        let key = trial_key(now);
        if trial(&other, &key, Bytes::from_static(b"summoner"))
            .await
            .is_ok()
        {
            let _ = other.delete(&key).await;
            probe.what = what;
            probe.mend = Some(mend);
            return probe;
        }
    }
    probe
}

fn style(bucket: &Bucket) -> Probe {
    let message = if bucket.settings().is_path_style() {
        "the bucket is part of the path"
    } else {
        "the bucket is part of the host name"
    };
    good("path style", message)
}

fn checksums(bucket: &Bucket) -> Probe {
    let message = if bucket.settings().has_checksums() {
        "requests carry CRC-32 checksums and were accepted"
    } else {
        "requests carry none but their signature's SHA-256 and were accepted"
    };
    good("checksums", message)
}

/// Looks at the store alone: our own look before every write stands in front of it otherwise.
async fn conditional(bucket: &Bucket, key: &str) -> Probe {
    let full = bucket.full(key);
    let again = bucket
        .once(|watch| {
            let wishes = bucket.wishes(Kind::Trial);
            bucket
                .client()
                .put_object()
                .bucket(bucket.bucket())
                .key(&full)
                .if_none_match("*")
                .set_checksum_algorithm(wishes.checksum)
                .body(Bytes::from_static(b"other").into())
                .customize()
                .interceptor(watch)
                .send()
        })
        .await;
    let remark = |message: &str| Probe {
        what: "conditional put",
        good: None,
        message: message.to_owned(),
        mend: None,
    };
    match again {
        Err(failure) if failure.is_conflict() => good(
            "conditional put",
            "the store itself refuses to overwrite an object",
        ),
        Ok(_) => remark("the store ignores `If-None-Match`: Summoner looks before it writes"),
        Err(failure) if failure.is_unknown_to_store() => {
            remark("the store does not know `If-None-Match`: Summoner looks before it writes")
        }
        Err(failure) => bad(
            "conditional put",
            &bucket.error(&failure, "overwrite conditionally", ""),
        ),
    }
}

/// Two parts, the second one of a byte.
async fn parts(bucket: &Bucket, now: Timestamp) -> Probe {
    let key = trial_key(now);
    let size = PART as u64 + 1;
    let result = async {
        let full = bucket.check(&key)?;
        let mut upload = Box::new(Multipart::new(bucket.clone(), key.clone(), full, 0).trial());
        for piece in [PART, 1] {
            if let Err(error) = upload.write(Bytes::from(vec![7; piece])).await {
                upload.abort().await;
                return Err(error);
            }
        }
        let found = upload.finish().await?;
        bucket.delete(&key).await.or_else(|error| match error {
            StorageError::Held { .. } => Ok(()),
            error => Err(error),
        })?;
        Ok(found)
    }
    .await;
    match result {
        Ok(found) if found == size => {
            good("equal parts", "an upload of several parts arrived whole")
        }
        Ok(found) => Probe {
            what: "equal parts",
            good: Some(false),
            message: format!("{size} bytes were sent in parts and {found} arrived"),
            mend: Some("use another store".to_owned()),
        },
        Err(error) => bad("equal parts", &error),
    }
}

fn clock(bucket: &Bucket) -> Option<Probe> {
    let seconds = bucket.ahead()?;
    let place = bucket.place();
    if seconds.abs() < REMARK {
        return Some(good(
            "clock",
            format!("{} s from the store's", seconds.abs()),
        ));
    }
    let error = StorageError::Skew { place, seconds };
    let mut probe = bad("clock", &error);
    probe.message = format!(
        "our clock is {} s {} the store's",
        seconds.abs(),
        if seconds > 0 { "ahead of" } else { "behind" }
    );
    if seconds.abs() < SKEW {
        probe.good = None;
    }
    Some(probe)
}
