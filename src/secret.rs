//! Values that must never be shown: passwords, keys. They redact themselves in every output.

use std::fmt;
use std::path::PathBuf;

use rand::{TryRngCore as _, rngs::OsRng};
use zeroize::Zeroize;

/// A secret text. `Debug` shows `***`; there is no `Display` and no `Serialize`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret(String);

impl Secret {
    /// Takes a text into custody.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A new secret of `length` letters and digits from the system's random source
    /// (5.95 bits a character: 24 give 142 bits).
    ///
    /// Letters and digits only, since applications paste passwords unquoted into URLs, INI and PHP files.
    ///
    /// # Panics
    /// When the system has no random source: nothing safe can be done then.
    #[must_use]
    pub fn generate(length: usize) -> Self {
        const ALPHABET: &[u8; 62] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let mut text = String::with_capacity(length);
        while text.len() < length {
            let mut byte = [0_u8; 1];
            OsRng
                .try_fill_bytes(&mut byte)
                .expect("the system's random source answers");
            // 248 = 4 * 62: larger bytes are thrown away, so that no character is likelier than another.
            if byte[0] < 248 {
                text.push(char::from(ALPHABET[usize::from(byte[0] % 62)]));
            }
        }
        Self(text)
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Where a secret that is needed now and then is to be had: read when it is needed, so that its
/// absence stops nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// As written in config.yml.
    Plain(Secret),
    /// An environment variable.
    Env(String),
    /// A file, absolute; its trailing line ends are no part of it.
    File(PathBuf),
}

impl SecretSource {
    /// Reads it; an error says what is missing and where.
    pub fn read(&self) -> Result<Secret, String> {
        let text = match self {
            Self::Plain(secret) => return Ok(secret.clone()),
            Self::Env(name) => std::env::var(name)
                .map_err(|_| format!("the environment variable `{name}` is not set"))?,
            Self::File(path) => std::fs::read_to_string(path)
                .map_err(|e| format!("failed to read `{}`: {e}", path.display()))?,
        };
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(match self {
                Self::Env(name) => format!("the environment variable `{name}` is empty"),
                Self::File(path) => format!("`{}` is empty", path.display()),
                Self::Plain(_) => unreachable!("returned above"),
            }),
            text => Ok(Secret::new(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_value() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
    }

    #[test]
    fn generated_secrets_have_the_length_asked_for_and_differ() {
        let (a, b) = (Secret::generate(32), Secret::generate(32));
        assert_eq!(a.expose().len(), 32);
        assert!(a.expose().bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_ne!(a, b);
    }
}
