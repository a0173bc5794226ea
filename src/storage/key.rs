//! What a key may look like: the same on every destination, so that a snapshot can move from one
//! to another with any tool that copies files.

use super::StorageError;

/// Begins names that a destination keeps for itself; no key may use it.
pub(super) const OWN: &str = ".summoner-";

/// Bytes of a whole key, its destination's prefix included: S3's own limit.
const LONGEST_KEY: usize = 1024;

/// Bytes of one step: what common file systems take as a name.
const LONGEST_STEP: usize = 255;

/// Says no to whatever could leave the destination's folder or would not fit somewhere else.
pub(super) fn check(place: &str, key: &str) -> Result<(), StorageError> {
    match fault(key) {
        None => Ok(()),
        Some(reason) => Err(StorageError::Other {
            place: place.to_owned(),
            action: format!("use the key `{}`", key.escape_debug()),
            reason: reason.to_owned(),
        }),
    }
}

/// The same for what [`super::Storage::list`] is given.
pub(super) fn check_prefix(place: &str, prefix: &str) -> Result<(), StorageError> {
    match prefix.strip_suffix('/') {
        _ if prefix.is_empty() => Ok(()),
        Some(folder) => check(place, folder),
        None => Err(StorageError::Other {
            place: place.to_owned(),
            action: format!("list `{}`", prefix.escape_debug()),
            reason: "it does not end with `/`".to_owned(),
        }),
    }
}

fn fault(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        return Some("it is empty");
    }
    if key.len() > LONGEST_KEY {
        return Some("it is longer than 1024 bytes");
    }
    if key.contains(|c: char| c.is_control() || c == '\\') {
        return Some("it has control characters or backslashes in it");
    }
    key.split('/').find_map(|step| match step {
        "" => Some("it has an empty step (`//`, or `/` at an end)"),
        "." | ".." => Some("`.` and `..` lead elsewhere"),
        _ if step.len() > LONGEST_STEP => Some("one of its steps is longer than 255 bytes"),
        _ if step.starts_with(OWN) => Some("`.summoner-…` is for the destination's own files"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_within_the_destination() {
        for good in [
            "a",
            "v1/acme/blog/dump/20261120T023000Z-X/db.dump.age",
            "v1/.probe/x",
            "ä b/c…d",
        ] {
            assert_eq!(fault(good), None, "{good}");
        }
        let (long, deep) = ("x".repeat(256), "x/".repeat(512) + "x");
        let bad = [
            "",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "../a",
            "a/../b",
            "a/./b",
            "a\\b",
            "a\0b",
            "a\nb",
            ".summoner-destination",
            "a/.summoner-X.part",
            &long,
            &deep,
        ];
        for bad in bad {
            assert!(fault(bad).is_some(), "{bad:?}");
        }
        assert!(check_prefix("p", "").is_ok() && check_prefix("p", "v1/a/").is_ok());
        for bad in ["v1", "/", "../", "a//"] {
            assert!(check_prefix("p", bad).is_err(), "{bad}");
        }
    }
}
