//! `.env` as `docker compose` reads it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::secret::Secret;

/// The text of a `.env`, a line a variable, quoted so that Compose gives back the very value.
#[must_use]
pub fn write(variables: &BTreeMap<String, Secret>) -> String {
    variables
        .iter()
        .fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name}={}", quote(value.expose()));
            text
        })
}

fn quote(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    if !value.contains(['\'', '\n', '\r', '\\']) {
        return format!("'{value}'");
    }
    let escaped = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('$', "\\$")
        .replace('\n', "\\n")
        .replace('\r', "\\r");
    format!("\"{escaped}\"")
}

/// Reads what [`write`] wrote; a file that cannot be read is empty.
#[must_use]
pub fn read(path: &Path) -> BTreeMap<String, String> {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), unquote(value)))
        .collect()
}

fn unquote(value: &str) -> String {
    if let Some(inner) = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\'')) {
        return inner.to_owned();
    }
    let Some(inner) = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut text = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => text.push('\n'),
                Some('r') => text.push('\r'),
                Some(other) => text.push(other),
                None => {}
            },
            (c, false) => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_survives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        let nasty = [
            "plain",
            "",
            "with space",
            "a'b",
            "$x ${y}",
            "\"q\"",
            "a\\b",
            "two\nlines",
            "#no",
            "a=b",
            "ü",
        ];
        let variables: BTreeMap<String, Secret> = nasty
            .iter()
            .enumerate()
            .map(|(i, v)| (format!("V{i}"), Secret::new(*v)))
            .collect();
        std::fs::write(&path, write(&variables)).unwrap();
        let back = read(&path);
        for (i, value) in nasty.iter().enumerate() {
            assert_eq!(back[&format!("V{i}")], *value);
        }
    }
}
