//! Reads certificates and checks that a chain, a key and host names belong together, before nginx
//! gets to see them: there, one bad pair keeps every site from loading.

use std::collections::BTreeSet;

use jiff::Timestamp;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Why a certificate cannot serve a site. Fit for `the certificate of site `x` …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The certificate file holds none.
    #[error("the certificate file holds no `BEGIN CERTIFICATE`")]
    NoCertificate,
    /// The nth certificate, from 1, cannot be read.
    #[error("certificate {0} of the file cannot be read: {1}")]
    Unreadable(usize, String),
    /// The nth certificate, from 1, is not signed by the one that follows it.
    #[error(
        "certificate {0} of the file is not issued by the one after it: the site's own comes first, then its issuers in order"
    )]
    Order(usize),
    /// The key file holds no private key.
    #[error("the key file holds no `BEGIN PRIVATE KEY`")]
    NoKey,
    /// A key that asks for a password.
    #[error("the key is encrypted, and nobody is there to type its password")]
    EncryptedKey,
    /// The key is damaged.
    #[error("the key cannot be read")]
    UnreadableKey,
    /// Key and certificate are not of one pair.
    #[error("the key does not belong to the certificate")]
    Mismatch,
    /// Not valid any more.
    #[error("the certificate has expired on {0}")]
    Expired(Timestamp),
    /// Not valid yet.
    #[error("the certificate begins to be valid on {0}")]
    NotYetValid(Timestamp),
    /// Host names it is not for.
    #[error("the certificate is not for {}", .0.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))]
    Names(Vec<String>),
}

/// What counts of a chain's first certificate, and the chain itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// DNS names, wildcards as they are, in lower case.
    pub names: BTreeSet<String>,
    /// First moment it is valid.
    pub not_before: Timestamp,
    /// Last moment it is valid.
    pub not_after: Timestamp,
    /// The chain in DER, the site's own first.
    pub chain: Vec<Vec<u8>>,
    /// DNS names a CA is permitted, if it is bound to any.
    pub permitted: Option<BTreeSet<String>>,
    public_part: Vec<u8>,
}

impl Certificate {
    /// Reads a PEM chain and checks that it is one.
    pub fn read(pem: &[u8]) -> Result<Self, CertificateError> {
        let mut chain = Vec::new();
        for block in Pem::iter_from_buffer(pem) {
            let block =
                block.map_err(|e| CertificateError::Unreadable(chain.len() + 1, e.to_string()))?;
            if block.label == "CERTIFICATE" {
                chain.push(block.contents);
            }
        }
        let parse = |i: usize| {
            let failed = |reason: String| CertificateError::Unreadable(i + 1, reason);
            X509Certificate::from_der(&chain[i])
                .map(|(_, c)| c)
                .map_err(|e| failed(e.to_string()))
        };
        let parsed = (0..chain.len()).map(parse).collect::<Result<Vec<_>, _>>()?;
        for (i, pair) in parsed.windows(2).enumerate() {
            if pair[0].issuer().as_raw() != pair[1].subject().as_raw() {
                return Err(CertificateError::Order(i + 1));
            }
        }
        let leaf = parsed.first().ok_or(CertificateError::NoCertificate)?;
        let time = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        Ok(Self {
            names: names(leaf),
            not_before: time(leaf.validity().not_before.timestamp()),
            not_after: time(leaf.validity().not_after.timestamp()),
            permitted: permitted(leaf),
            public_part: comparable(&leaf.public_key().subject_public_key.data),
            chain,
        })
    }

    /// Whether `host` is among its names, by itself or under a wildcard.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        let parent = host
            .split_once('.')
            .map(|(_, parent)| format!("*.{parent}"));
        self.names.contains(host) || parent.is_some_and(|wildcard| self.names.contains(&wildcard))
    }

    /// Whether the private key in `pem` is this certificate's. A key that does not carry its
    /// public half (some Ed25519 and EC keys) gets the benefit of the doubt: `nginx -t` looks again.
    pub fn check_key(&self, pem: &[u8]) -> Result<(), CertificateError> {
        // The new form says it in its label, the old one in a header inside of the block.
        let says = |mark: &[u8]| pem.windows(mark.len()).any(|part| part == mark);
        if says(b"BEGIN ENCRYPTED PRIVATE KEY") || says(b"Proc-Type: 4,ENCRYPTED") {
            return Err(CertificateError::EncryptedKey);
        }
        for block in Pem::iter_from_buffer(pem) {
            let block = block.map_err(|_| CertificateError::UnreadableKey)?;
            let public = match block.label.as_str() {
                "PRIVATE KEY" => pkcs8(&block.contents),
                "RSA PRIVATE KEY" => pkcs1(&block.contents),
                "EC PRIVATE KEY" => sec1(&block.contents),
                // `EC PARAMETERS` may stand before the key, certificates beside it.
                _ => continue,
            };
            return match public {
                None => Err(CertificateError::UnreadableKey),
                Some(Public::Said(public)) if public != self.public_part => {
                    Err(CertificateError::Mismatch)
                }
                Some(_) => Ok(()),
            };
        }
        Err(CertificateError::NoKey)
    }
}

/// Checks certificate files that someone else provides (`tls: files`) for a site with `hosts`.
pub fn check_files(
    certificate: &[u8],
    key: &[u8],
    hosts: &[String],
    now: Timestamp,
) -> Result<Certificate, CertificateError> {
    let read = Certificate::read(certificate)?;
    read.check_key(key)?;
    if now > read.not_after {
        return Err(CertificateError::Expired(read.not_after));
    }
    if now < read.not_before {
        return Err(CertificateError::NotYetValid(read.not_before));
    }
    let missing: Vec<String> = hosts
        .iter()
        .filter(|host| !read.is_for(host))
        .cloned()
        .collect();
    if missing.is_empty() {
        Ok(read)
    } else {
        Err(CertificateError::Names(missing))
    }
}

fn names(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return BTreeSet::new();
    };
    dns_names(extension.value.general_names.iter())
}

fn permitted(certificate: &X509Certificate<'_>) -> Option<BTreeSet<String>> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::NameConstraints(constraints) => {
                let subtrees = constraints.permitted_subtrees.as_ref()?;
                Some(dns_names(subtrees.iter().map(|subtree| &subtree.base)))
            }
            _ => None,
        })
}

fn dns_names<'a>(names: impl Iterator<Item = &'a GeneralName<'a>>) -> BTreeSet<String> {
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

/// What a private key says of its public half.
enum Public {
    Said(Vec<u8>),
    Unsaid,
}

/// A public key in the form that can be compared with a private one: the modulus of an RSA key,
/// the bytes of any other.
fn comparable(bits: &[u8]) -> Vec<u8> {
    rsa_modulus(bits).unwrap_or_else(|| bits.to_vec())
}

fn rsa_modulus(public_key: &[u8]) -> Option<Vec<u8>> {
    let numbers = expect(public_key, SEQUENCE)?.0;
    Some(unsigned(expect(numbers, INTEGER)?.0))
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const EXPLICIT_1: u8 = 0xa1;

/// `PKCS#1`: version, modulus, exponents, ….
fn pkcs1(der: &[u8]) -> Option<Public> {
    let rest = expect(expect(der, SEQUENCE)?.0, INTEGER)?.1;
    Some(Public::Said(unsigned(expect(rest, INTEGER)?.0)))
}

/// `SEC 1`: version, private key, perhaps the curve, perhaps `[1]` the public key.
fn sec1(der: &[u8]) -> Option<Public> {
    let rest = expect(expect(der, SEQUENCE)?.0, INTEGER)?.1;
    let mut rest = expect(rest, OCTET_STRING)?.1;
    while !rest.is_empty() {
        let (tag, content, after) = element(rest)?;
        if tag == EXPLICIT_1 {
            // A bit string begins with the number of bits that do not count.
            let bits = expect(content, BIT_STRING)?.0;
            return Some(Public::Said(bits.get(1..)?.to_vec()));
        }
        rest = after;
    }
    Some(Public::Unsaid)
}

/// `PKCS#8`: version, algorithm, and one of the others inside.
fn pkcs8(der: &[u8]) -> Option<Public> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let rest = expect(expect(der, SEQUENCE)?.0, INTEGER)?.1;
    let (algorithm, rest) = expect(rest, SEQUENCE)?;
    let key = expect(rest, OCTET_STRING)?.0;
    match element(algorithm)?.1 {
        RSA => pkcs1(key),
        EC => sec1(key),
        _ => Some(Public::Unsaid),
    }
}

/// The leading zero of a positive DER number is a sign.
fn unsigned(number: &[u8]) -> Vec<u8> {
    number
        .iter()
        .copied()
        .skip_while(|byte| *byte == 0)
        .collect()
}

/// Content of the element at the beginning, which must have this tag, and what follows it.
fn expect(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = element(der)?;
    (tag == wanted).then_some((content, rest))
}

/// Tag, content and rest. Only what keys are made of: short tags, definite lengths.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], mut rest) = der.split_first_chunk::<2>()?;
    let mut length = usize::from(first);
    if first > 0x80 {
        let (digits, after) = rest
            .split_at_checked(usize::from(first & 0x7f))
            .filter(|(d, _)| d.len() <= 4)?;
        length = digits
            .iter()
            .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}
