//! The hash of a service: everything sent to the engine, secrets as a keyed HMAC, rendered files by
//! their content instead of their place. Equal hash = nothing to do.

use std::collections::BTreeMap;
use std::path::Path;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::engine::ContainerSpec;
use crate::secret::Secret;

/// What must be hidden from, or resolved for, a hash.
pub struct Hasher<'a> {
    /// Key of the project; without it a label would let anyone guess a weak password.
    pub key: &'a Secret,
    /// Values of all secrets of the instance.
    pub secrets: Vec<&'a Secret>,
    /// Where rendered files lie, and their contents by path below it.
    pub files_dir: &'a Path,
    /// The contents.
    pub files: &'a BTreeMap<String, Vec<u8>>,
}

/// What a hash is made of, and the hash itself (hex).
///
/// # Panics
/// Never: a specification is plain data.
#[must_use]
pub fn canonical(spec: &ContainerSpec, hasher: &Hasher<'_>) -> (Value, String) {
    let mut value = serde_json::to_value(spec).expect("a container spec is plain data");
    let mut secrets: Vec<&str> = hasher
        .secrets
        .iter()
        .map(|s| s.expose())
        .filter(|s| !s.is_empty())
        .collect();
    // The longest first: a secret may be part of another.
    secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
    hide(&mut value, &secrets, hasher);
    sort(&mut value);
    let hash = hex(&Sha256::digest(value.to_string()));
    (value, hash)
}

/// SHA-256 in hex.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, b| {
            let _ = write!(text, "{b:02x}");
            text
        })
}

fn hide(value: &mut Value, secrets: &[&str], hasher: &Hasher<'_>) {
    match value {
        Value::String(text) => {
            for secret in secrets {
                if text.contains(secret) {
                    *text = text.replace(secret, &format!("hmac:{}", mac(hasher.key, secret)));
                }
            }
            if let Ok(below) = Path::new(text.as_str()).strip_prefix(hasher.files_dir) {
                let below = below.display().to_string();
                if let Some(content) = hasher.files.get(&below) {
                    *text = format!("file:{below}:{}", sha256(content));
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|v| hide(v, secrets, hasher)),
        Value::Object(map) => map.values_mut().for_each(|v| hide(v, secrets, hasher)),
        _ => {}
    }
}

/// Keys in order, so that the text does not depend on how a map was built.
fn sort(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(sort),
        Value::Object(map) => {
            map.sort_keys();
            map.values_mut().for_each(sort);
        }
        _ => {}
    }
}

fn mac(key: &Secret, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes())
        .expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    // 64 bits tell two passwords of one service apart, and no more is needed.
    hex(&mac.finalize().into_bytes()[..8])
}

/// What differs between two canonical values, for people: `image a -> b`, `environment A, B`.
#[must_use]
pub fn differences(old: &Value, new: &Value) -> String {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
        return "definition changed".to_owned();
    };
    let mut causes = Vec::new();
    for (key, value) in new {
        let before = old.get(key).unwrap_or(&Value::Null);
        if before == value {
            continue;
        }
        let name = match key.as_str() {
            "nano_cpus" => "cpus".to_owned(),
            key => key.replace('_', " "),
        };
        match (before, value) {
            (Value::String(a), Value::String(b)) => causes.push(format!("{name} {a} -> {b}")),
            (Value::Object(a), Value::Object(b)) => {
                let mut names: Vec<&str> = b
                    .iter()
                    .filter(|(k, v)| a.get(*k) != Some(*v))
                    .map(|(k, _)| k.as_str())
                    .chain(a.keys().filter(|k| !b.contains_key(*k)).map(String::as_str))
                    .collect();
                names.sort_unstable();
                causes.push(format!("{name} {}", names.join(", ")));
            }
            (Value::Number(_) | Value::Null, Value::Number(_) | Value::Null) => {
                let (before, value) = (number(key, before), number(key, value));
                causes.push(format!("{name} {before} -> {value}"));
            }
            _ => causes.push(name),
        }
    }
    if causes.is_empty() {
        "definition changed".to_owned()
    } else {
        causes.join("; ")
    }
}

/// A number as config.yml writes it: MiB and cores instead of bytes and billionths.
fn number(key: &str, value: &Value) -> String {
    const MIB: u64 = 1 << 20;
    match (key, value.as_u64()) {
        (_, None) if value.is_null() => "none".to_owned(),
        ("memory" | "shm_size", Some(n)) if n.is_multiple_of(MIB) => format!("{}m", n / MIB),
        ("nano_cpus", Some(n)) => format!("{}.{:02}", n / 1_000_000_000, n / 10_000_000 % 100),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(
        spec: &ContainerSpec,
        key: &str,
        secrets: &[Secret],
        file: &[u8],
    ) -> (Value, String) {
        let files = BTreeMap::from([("nginx.conf".to_owned(), file.to_vec())]);
        canonical(
            spec,
            &Hasher {
                key: &Secret::new(key),
                secrets: secrets.iter().collect(),
                files_dir: Path::new("/p/.summoner/build/site/files"),
                files: &files,
            },
        )
    }

    #[test]
    fn secrets_change_the_hash_but_are_not_in_what_it_is_made_of() {
        let mut spec = ContainerSpec::default();
        spec.environment
            .insert("URL".into(), "postgres://u:hunter2@db".into());
        let (value, one) = hash_of(&spec, "k", &[Secret::new("hunter2")], b"");
        assert!(!value.to_string().contains("hunter2"));
        spec.environment
            .insert("URL".into(), "postgres://u:hunter3@db".into());
        let (_, two) = hash_of(&spec, "k", &[Secret::new("hunter3")], b"");
        assert_ne!(one, two);
    }

    #[test]
    fn rendered_files_count_by_content_not_by_place() {
        let mut spec = ContainerSpec::default();
        spec.mounts.push(crate::engine::MountSpec {
            kind: crate::engine::MountKind::Bind,
            source: "/p/.summoner/build/site/files/nginx.conf".into(),
            target: "/etc/nginx/nginx.conf".into(),
            read_only: true,
        });
        let (value, one) = hash_of(&spec, "k", &[], b"a");
        assert!(!value.to_string().contains("/p/.summoner"));
        let (_, two) = hash_of(&spec, "k", &[], b"b");
        assert_ne!(one, two);
    }

    #[test]
    fn differences_name_keys_and_never_values_of_maps() {
        let old = serde_json::json!({"image": "a:1", "environment": {"A": "x", "C": "1"}, "memory": null, "nano_cpus": 500_000_000});
        let new = serde_json::json!({"image": "a:2", "environment": {"A": "y", "B": "z"}, "memory": 536_870_912, "nano_cpus": null});
        assert_eq!(
            differences(&old, &new),
            "image a:1 -> a:2; environment A, B, C; memory none -> 512m; cpus 0.50 -> none"
        );
    }
}
