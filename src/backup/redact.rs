//! config.yml for a copy that is not encrypted: without the values of its secrets.

use std::collections::BTreeMap;

use crate::problem::Position;
use crate::yaml::{Document, Node, Value};

/// What stands instead of a secret.
pub const REDACTED: &str = "REDACTED";

/// Parts of the names of keys whose values are nobody's business.
const SECRET_KEYS: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "access_key",
    "api_key",
    "apikey",
    "private_key",
    "credential",
];

/// The text with every secret replaced: values of keys that speak of one, hooks of `notify`, and
/// wherever one of the `known` ones stands. `None` when that cannot be done for sure.
#[must_use]
pub fn config<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let document = Document::parse("config.yml", text).ok()?;
    let mut found = BTreeMap::new();
    collect(document.root(), false, false, &mut found);
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    // From the end, so that what stands before keeps its place.
    for ((line, column), written) in found.iter().rev() {
        let line = lines.get_mut(line - 1)?;
        let start = line.char_indices().nth(column - 1)?.0;
        let length = scalar(&line[start..], written)?;
        line.replace_range(start..start + length, REDACTED);
    }
    let mut redacted = lines.join("\n");
    for secret in known {
        // Shorter ones are words that stand anywhere.
        if secret.len() >= 4 {
            redacted = redacted.replace(secret, REDACTED);
        }
    }
    // The proof: read again, nothing secret is left in it.
    let again = Document::parse("config.yml", &redacted).ok()?;
    let mut left = BTreeMap::new();
    collect(again.root(), false, false, &mut left);
    left.is_empty().then_some(redacted)
}

/// Secret scalars by their place.
fn collect(
    node: &Node,
    secret: bool,
    in_notify: bool,
    found: &mut BTreeMap<(usize, usize), String>,
) {
    match &node.value {
        Value::Mapping(entries) => {
            // `{env: NAME}` and the like say where a secret is, not what it is.
            for entry in entries {
                let key = entry.key.to_ascii_lowercase();
                let speaks = SECRET_KEYS.iter().any(|k| key.contains(k));
                let hook = in_notify && key == "url";
                let notify = in_notify || key == "notify";
                collect(&entry.value, speaks || hook, notify, found);
            }
        }
        Value::Sequence(items) => {
            for item in items {
                collect(item, secret, in_notify, found);
            }
        }
        Value::Null | Value::Bool(_) => {}
        Value::Integer(_) | Value::Float(_) | Value::String(_) => {
            if secret && node.text != REDACTED && !node.text.is_empty() {
                let Position { line, column } = node.position;
                found.insert((line, column), node.text.clone());
            }
        }
    }
}

/// Bytes of the scalar that begins here, quotes included; `None` where it is more than one line or
/// written in a way we do not read.
fn scalar(rest: &str, written: &str) -> Option<usize> {
    let quote = rest.chars().next()?;
    match quote {
        '"' => {
            let mut escaped = false;
            rest[1..].char_indices().find_map(|(at, c)| {
                let end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                end.then_some(at + 2)
            })
        }
        '\'' => {
            let mut at = 1;
            loop {
                at += rest[at..].find('\'')? + 1;
                if !rest[at..].starts_with('\'') {
                    return Some(at);
                }
                at += 1;
            }
        }
        _ => rest.starts_with(written).then_some(written.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secrets_go_and_everything_else_stays() {
        let text = r#"# known: hunter22
summoner: {domain: example.org}
destinations:
  off:
    s3: {bucket: b, access_key_id: AKIA1, secret_access_key: 'it''s'} # a remark
    encryption: {passphrase: "a \"b\" c"}
  key: {dir: ./x, encryption: {age_recipients_file: ./b.pub, passphrase: {env: NAME}}}
proxy: {tls: {files: {certificate: c.pem, key: k.pem}}}
minions:
  blog:
    set: {db_password: 12345678, admin: hunter22, other_token: {generate: 32}}
notify:
  - on: [failure]
    slack: {url: https://hooks.example.org/T0/abc}
"#;
        let redacted = config(text, ["hunter22"]).unwrap();
        for secret in [
            "hunter22", "AKIA1", "it''s", "12345678", "T0/abc", "a \\\"b",
        ] {
            assert!(
                text.contains(secret) && !redacted.contains(secret),
                "{secret}\n{redacted}"
            );
        }
        for kept in [
            "domain: example.org",
            "# a remark",
            "passphrase: {env: NAME}",
            "key: k.pem",
            "{generate: 32}",
            "age_recipients_file: ./b.pub",
            "passphrase: REDACTED",
        ] {
            assert!(redacted.contains(kept), "{kept}\n{redacted}");
        }
    }

    #[test]
    fn what_cannot_be_redacted_for_sure_is_no_text_at_all() {
        for text in [
            "a: {db_password: [\n",
            "a:\n  password: |\n    one\n    two\n",
            "a:\n  password: one\n    two\n",
        ] {
            assert_eq!(config(text, []), None, "{text}");
        }
    }
}
