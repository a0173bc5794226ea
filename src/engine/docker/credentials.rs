//! Credentials that `docker login` left in its configuration file. Those kept by helper programs
//! (`credsStore`, `credHelpers`) are not asked for.

use std::collections::HashMap;
use std::path::PathBuf;

use bollard::auth::DockerCredentials;
use serde::Deserialize;

/// Docker's `config.json`, of which one part is used.
#[derive(Deserialize)]
pub(super) struct File {
    #[serde(default)]
    auths: HashMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    /// `user:password` in base64.
    auth: Option<String>,
    identitytoken: Option<String>,
}

impl File {
    /// The user's file; `None` when there is none to be read or it holds nothing.
    pub(super) fn read() -> Option<Self> {
        let folder = match std::env::var_os("DOCKER_CONFIG").filter(|folder| !folder.is_empty()) {
            Some(folder) => PathBuf::from(folder),
            None => PathBuf::from(std::env::var_os("HOME")?).join(".docker"),
        };
        let text = std::fs::read_to_string(folder.join("config.json")).ok()?;
        let file: Self = serde_json::from_str(&text).ok()?;
        (!file.auths.is_empty()).then_some(file)
    }

    /// What it holds for a registry.
    pub(super) fn find(&self, registry: &str) -> Option<DockerCredentials> {
        let (_, entry) = self
            .auths
            .iter()
            .find(|(key, _)| host(key) == host(registry))?;
        let decoded = decode(entry.auth.as_deref()?)?;
        let (user, password) = decoded.trim_end_matches('\0').split_once(':')?;
        Some(DockerCredentials {
            username: Some(user.to_owned()),
            password: Some(password.to_owned()),
            identitytoken: entry.identitytoken.clone(),
            serveraddress: Some(registry.to_owned()),
            ..Default::default()
        })
    }
}

/// The registry that a reference names; `None` for the default one. The first part is a registry
/// when it looks like a host, as docker has it.
pub(super) fn registry(reference: &str) -> Option<&str> {
    let (first, _) = reference.split_once('/')?;
    (first.contains(['.', ':']) || first == "localhost").then_some(first)
}

/// Older versions wrote addresses with scheme and path.
fn host(key: &str) -> &str {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    key.split('/').next().unwrap_or(key)
}

fn decode(base64: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let (mut buffer, mut bits) = (0_u32, 0);
    for symbol in base64.trim_end_matches('=').bytes() {
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        buffer = (buffer << 6 | u32::from(value)) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(buffer >> bits & 0xff).ok()?);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_found_by_host() {
        let file: File = serde_json::from_str(
            r#"{"auths": {"https://registry.test/v1/": {"auth": "YW5uYTpwYTpzcz8+"}}, "credsStore": "x"}"#,
        )
        .unwrap();
        let found = file.find("registry.test").unwrap();
        assert_eq!(found.username.as_deref(), Some("anna"));
        assert_eq!(found.password.as_deref(), Some("pa:ss?>"));
        assert!(file.find("other.test").is_none());
    }

    #[test]
    fn a_registry_is_told_from_a_name() {
        assert_eq!(registry("nginx:1.30"), None);
        assert_eq!(registry("team/blog:2"), None);
        assert_eq!(registry("registry.test/team/blog:2"), Some("registry.test"));
        assert_eq!(registry("127.0.0.1:5000/blog"), Some("127.0.0.1:5000"));
        assert_eq!(registry("localhost/blog"), Some("localhost"));
    }
}
