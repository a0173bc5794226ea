//! Keys: `age` recipients and identities, passphrases. The only file that names age.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use age::secrecy::{ExposeSecret as _, SecretString};

use crate::backup::error::BackupError;
use crate::config::environment::Encryption;
use crate::files::FileError;
use crate::secret::Secret;

/// Whom objects of a destination are encrypted to.
pub struct Seal {
    recipients: Vec<Box<dyn age::Recipient + Send + Sync>>,
}

/// Encrypts what is written to it. Without [`Sealing::finish`] the result is cut, and age tells.
pub struct Sealing<W: Write>(age::stream::StreamWriter<W>);

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> Sealing<W> {
    /// Writes the end mark; what was written to.
    pub fn finish(self) -> io::Result<W> {
        self.0.finish()
    }
}

impl Seal {
    /// Reads recipients or passphrase. With a passphrase it takes about a second: age measures how
    /// much work of this machine is one, for every object to cost a guesser as much.
    pub fn of(encryption: &Encryption) -> Result<Self, BackupError> {
        let recipients = match encryption {
            Encryption::Recipients { file, .. } => recipients(file)?,
            Encryption::Passphrase(source) => {
                let passphrase = source.read().map_err(BackupError::BadKey)?;
                vec![Box::new(age::scrypt::Recipient::new(secret(&passphrase))) as Box<_>]
            }
        };
        Ok(Self { recipients })
    }

    /// Begins an encrypted object. The inner error is one of the output.
    pub fn begin<W: Write>(&self, output: W) -> Result<io::Result<Sealing<W>>, BackupError> {
        let recipients = self.recipients.iter().map(|r| &**r as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients)
            .map_err(|e| BackupError::BadKey(format!("failed to encrypt: {e}")))?;
        Ok(encryptor.wrap_output(output).map(Sealing))
    }
}

fn secret(text: &Secret) -> SecretString {
    SecretString::from(text.expose().to_owned())
}

/// The public keys of a recipients file: one a line, `#` begins a remark.
fn recipients(file: &Path) -> Result<Vec<Box<dyn age::Recipient + Send + Sync>>, BackupError> {
    let text = fs::read_to_string(file).map_err(FileError::of("read the recipients", file))?;
    let bad = |number: usize, what: &str| {
        BackupError::BadKey(format!("{}:{number}: {what}", file.display()))
    };
    let mut found: Vec<Box<dyn age::Recipient + Send + Sync>> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // Never repeat the line: it may be a secret.
        if line.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
            return Err(bad(
                index + 1,
                "this is an identity, the secret half; recipients begin with `age1`",
            ));
        }
        if let Ok(recipient) = line.parse::<age::x25519::Recipient>() {
            found.push(Box::new(recipient));
        } else {
            return Err(bad(
                index + 1,
                "this is no age recipient; one is `age1` and 58 letters and digits",
            ));
        }
    }
    if found.is_empty() {
        return Err(BackupError::BadKey(format!(
            "`{}` holds no recipient",
            file.display()
        )));
    }
    Ok(found)
}

/// What opens objects of a destination.
pub struct Key {
    identities: Vec<Box<dyn age::Identity + Send + Sync>>,
    /// Where it came from, for messages.
    from: String,
}

impl Key {
    /// Reads identity or passphrase. No identity on this machine is [`BackupError::WrongKey`].
    pub fn of(destination: &str, encryption: &Encryption) -> Result<Self, BackupError> {
        match encryption {
            Encryption::Recipients {
                identity: Some(file),
                ..
            } => Self::of_file(file),
            Encryption::Recipients { identity: None, .. } => Err(BackupError::WrongKey(format!(
                "`{destination}` is encrypted, and config.yml names no identity of it on this machine"
            ))),
            Encryption::Passphrase(source) => {
                let passphrase = source.read().map_err(BackupError::WrongKey)?;
                Ok(Self {
                    identities: vec![Box::new(age::scrypt::Identity::new(secret(&passphrase)))],
                    from: format!("the passphrase of `{destination}`"),
                })
            }
        }
    }

    /// Reads a file of identities as `summoner key generate` and `age-keygen` write it.
    pub fn of_file(file: &Path) -> Result<Self, BackupError> {
        let text = fs::read(file).map_err(FileError::of("read the identity", file))?;
        let bad = |why: &str| BackupError::BadKey(format!("`{}` {why}", file.display()));
        // Its own message names the number of the line, never its text.
        let identities = age::IdentityFile::from_buffer(text.as_slice())
            .map_err(|e| bad(&format!("is no identity: {e}")))?
            .into_identities()
            .map_err(|e| bad(&format!("is no identity: {e}")))?;
        if identities.is_empty() {
            return Err(bad("holds no identity"));
        }
        Ok(Self {
            identities,
            from: format!("`{}`", file.display()),
        })
    }

    /// Decrypts a stream; a wrong key is told before a byte is given.
    pub fn open<R: Read>(&self, input: R) -> Result<impl Read + use<R>, BackupError> {
        let decryptor = age::Decryptor::new(input).map_err(|e| self.failed(e))?;
        let identities = self.identities.iter().map(|i| &**i as &dyn age::Identity);
        decryptor.decrypt(identities).map_err(|e| self.failed(e))
    }

    fn failed(&self, error: age::DecryptError) -> BackupError {
        match error {
            age::DecryptError::Io(error) => BackupError::of_io(error),
            age::DecryptError::NoMatchingKeys
            | age::DecryptError::DecryptionFailed
            | age::DecryptError::KeyDecryptionFailed => {
                BackupError::WrongKey(format!("{} does not open it", self.from))
            }
            other => BackupError::Damaged(format!("what is stored is no age file: {other}")),
        }
    }
}

/// A new identity: the secret half as text, and the recipient that belongs to it.
#[must_use]
pub fn generate() -> (Secret, String) {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    (Secret::new(identity.to_string().expose_secret()), recipient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretSource;

    fn sealed(encryption: &Encryption, plain: &[u8]) -> Vec<u8> {
        let mut writer = Seal::of(encryption)
            .unwrap()
            .begin(Vec::new())
            .unwrap()
            .unwrap();
        writer.write_all(plain).unwrap();
        writer.finish().unwrap()
    }

    fn to(folder: &Path, name: &str) -> Encryption {
        let (identity, recipient) = generate();
        let (file, own) = (folder.join(name), folder.join(format!("{name}.key")));
        fs::write(&file, format!("# a remark\n\n{recipient}\n")).unwrap();
        fs::write(&own, format!("# {recipient}\n{}\n", identity.expose())).unwrap();
        Encryption::Recipients {
            file,
            identity: Some(own),
        }
    }

    fn read(encryption: &Encryption, stored: &[u8]) -> Result<Vec<u8>, BackupError> {
        let mut plain = Vec::new();
        Key::of("usb", encryption)?
            .open(stored)?
            .read_to_end(&mut plain)
            .map_err(BackupError::of_io)?;
        Ok(plain)
    }

    #[test]
    fn what_was_sealed_to_a_recipient_is_opened_by_its_identity_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (to(folder.path(), "a"), to(folder.path(), "b"));
        let plain = vec![7; 200_000];
        let stored = sealed(&a, &plain);
        assert_eq!(read(&a, &stored).unwrap(), plain);
        let error = read(&b, &stored).unwrap_err();
        assert!(matches!(error, BackupError::WrongKey(_)), "{error:?}");
        for cut in [stored.len() - 1, stored.len() / 2, 100] {
            read(&a, &stored[..cut]).unwrap_err();
        }
    }

    #[test]
    fn a_passphrase_opens_what_it_sealed() {
        let phrase = |text: &str| Encryption::Passphrase(SecretSource::Plain(Secret::new(text)));
        let stored = sealed(&phrase("correct horse"), b"battery");
        assert_eq!(read(&phrase("correct horse"), &stored).unwrap(), b"battery");
        let error = read(&phrase("staple"), &stored).unwrap_err();
        assert!(matches!(error, BackupError::WrongKey(_)), "{error:?}");
    }

    #[test]
    fn a_file_that_is_no_key_is_named_with_its_line_and_never_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("recipients");
        let (identity, _) = generate();
        for (text, wanted) in [
            ("", "holds no recipient".to_owned()),
            ("# nothing\n", "holds no recipient".to_owned()),
            ("\nhello\n", ":2: this is no age recipient".to_owned()),
            (identity.expose(), ":1: this is an identity".to_owned()),
        ] {
            fs::write(&file, text).unwrap();
            let encryption = Encryption::Recipients {
                file: file.clone(),
                identity: None,
            };
            let Err(error) = Seal::of(&encryption) else {
                panic!("{text:?} was taken")
            };
            let error = error.to_string();
            assert!(error.contains(&wanted), "{error}");
            assert!(!error.contains(identity.expose()), "{error}");
        }
    }
}
