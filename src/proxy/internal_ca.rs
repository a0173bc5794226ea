//! Certificates of our own, for names no public CA can certify and for working offline.
//!
//! A root signs one intermediate and is then thrown away: its key never reaches a disk. The
//! intermediate is bound, by a critical name constraint, to the project's own names, so that
//! trusting the root means trusting it for these names and no other, even if the state is stolen.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CidrSubnet, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints,
};
use zeroize::Zeroizing;

use super::certificate::{Certificate, CertificateError};
use super::versioned::Versioned;
use crate::files::{self, FileError};

const DAY: Duration = Duration::from_hours(24);
/// A root is trusted by hand on every machine: not a thing to do often.
const CA_LIFE: Duration = Duration::from_hours(10 * 365 * 24);
/// The longest that browsers took from public CAs when this was written; ours stay within it.
const SITE_LIFE: Duration = Duration::from_hours(397 * 24);
/// Clocks of clients may be late.
const SKEW: Duration = Duration::from_hours(1);

/// Why a certificate could not be made or kept.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something that cannot be put into a certificate, or a damaged CA.
    #[error("failed to {action}: {reason}")]
    Make {
        /// What was tried.
        action: String,
        /// Why it failed.
        reason: String,
    },
    /// A pair that does not fit; nothing was replaced.
    #[error("the certificate of site `{site}` is not used: {source}")]
    Pair {
        /// The site.
        site: String,
        /// Why.
        source: CertificateError,
    },
}

/// Why a site needs a (new) certificate of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It has none.
    Absent,
    /// It has one that does not work.
    Damaged(CertificateError),
    /// Its host names are others now.
    Hosts,
    /// Less than a third of its life is left.
    Expiring(Timestamp),
    /// It was issued by another CA: an earlier one of ours, or a public one.
    Issuer,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no certificate yet"),
            Self::Damaged(why) => write!(f, "{why}"),
            Self::Hosts => f.write_str("host names changed"),
            Self::Expiring(until) => write!(f, "valid until {until}"),
            Self::Issuer => f.write_str("issued by another CA"),
        }
    }
}

/// Why a (new) CA is needed. A new one has to be trusted again on every machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaCause {
    /// There is none.
    Absent,
    /// There is one that does not work.
    Damaged(String),
    /// These host names are outside of what it may certify.
    Outside(Vec<String>),
    /// It ends before a certificate issued today would.
    Expiring(Timestamp),
}

impl fmt::Display for CaCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no internal CA yet"),
            Self::Damaged(why) => write!(f, "the internal CA is damaged: {why}"),
            Self::Outside(hosts) => {
                write!(f, "the internal CA may not certify {}", hosts.join(", "))
            }
            Self::Expiring(until) => write!(f, "the internal CA is valid until {until}"),
        }
    }
}

/// Certificates of the sites and the CA that issues them.
#[derive(Debug, Clone)]
pub struct CertStore {
    /// `<state>/certs`: all that the proxy's container sees.
    dir: PathBuf,
    /// `<state>/ca`: its key stays outside of the container.
    ca: PathBuf,
}

impl CertStore {
    /// The certificates in `certs/` and `ca/` of the state folder.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self {
            dir: state.join("certs"),
            ca: state.join("ca"),
        }
    }

    /// The root certificate that users trust; there after the first [`Self::make_ca`].
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.ca.join("root.pem")
    }

    /// Why the CA cannot issue certificates for all of `hosts`, if it cannot.
    #[must_use]
    pub fn ca_needs(&self, hosts: &[String], now: Timestamp) -> Option<CaCause> {
        let versions = Versioned::new(&self.ca);
        let Ok(pem) = fs::read(versions.file("intermediate.pem")) else {
            return Some(CaCause::Absent);
        };
        let intermediate = match Certificate::read(&pem) {
            Ok(read) => read,
            Err(error) => return Some(CaCause::Damaged(error.to_string())),
        };
        let key = fs::read(versions.file("intermediate.key")).map(Zeroizing::new);
        if key.is_err() || !versions.file("root.pem").is_file() {
            return Some(CaCause::Damaged("a file is missing".to_owned()));
        }
        if let Some(Err(error)) = key.ok().map(|key| intermediate.check_key(&key)) {
            return Some(CaCause::Damaged(error.to_string()));
        }
        let permitted = intermediate.permitted.unwrap_or_default();
        let inside = |host: &String| permitted.iter().any(|name| within(host, name));
        let outside: Vec<String> = hosts.iter().filter(|host| !inside(host)).cloned().collect();
        if !outside.is_empty() {
            return Some(CaCause::Outside(outside));
        }
        (now + SITE_LIFE > intermediate.not_after)
            .then_some(CaCause::Expiring(intermediate.not_after))
    }

    /// Makes a new CA for `domain` and all of `hosts`. Certificates of the one before go on being
    /// served until [`Self::issue`] replaces them.
    pub fn make_ca(&self, domain: &str, hosts: &[String], now: Timestamp) -> Result<(), CaError> {
        let action = || "make the internal CA".to_owned();
        let failed = |error: rcgen::Error| CaError::Make {
            action: action(),
            reason: error.to_string(),
        };
        let made = ca(domain, &constraints(domain, hosts), now).map_err(failed)?;
        files::create_folder(&self.ca, 0o700)?;
        // The name that users know comes first: after a kill in between it leads nowhere until the
        // next run, while a CA that is there without it would never get one.
        files::replace_symlink(&self.ca_file(), Path::new("current/root.pem"))?;
        Versioned::new(&self.ca).publish(&[
            ("root.pem", made.root.as_bytes(), 0o644),
            ("intermediate.pem", made.intermediate.as_bytes(), 0o644),
            ("intermediate.key", made.key.as_bytes(), 0o600),
        ])?;
        Ok(())
    }

    /// Why `site` needs a certificate of the internal CA, if it does.
    #[must_use]
    pub fn needs(&self, site: &str, hosts: &[String], now: Timestamp) -> Option<Cause> {
        let versions = self.site(site);
        let Ok(pem) = fs::read(versions.file("fullchain.pem")) else {
            return Some(Cause::Absent);
        };
        let read = match Certificate::read(&pem) {
            Ok(read) => read,
            Err(error) => return Some(Cause::Damaged(error)),
        };
        let Ok(key) = fs::read(versions.file("privkey.pem")).map(Zeroizing::new) else {
            return Some(Cause::Absent);
        };
        if let Err(error) = read.check_key(&key) {
            return Some(Cause::Damaged(error));
        }
        let issuer =
            fs::read(Versioned::new(&self.ca).file("intermediate.pem")).unwrap_or_default();
        let ours = Certificate::read(&issuer)
            .ok()
            .and_then(|issuer| issuer.chain.first().cloned());
        if ours.is_none() || read.chain.get(1) != ours.as_ref() {
            return Some(Cause::Issuer);
        }
        if read.names != hosts.iter().cloned().collect::<BTreeSet<_>>() {
            return Some(Cause::Hosts);
        }
        let life = read.not_before.duration_until(read.not_after);
        (now + life / 3 > read.not_after).then_some(Cause::Expiring(read.not_after))
    }

    /// Issues a certificate for `hosts` and makes it the site's current one; its version. The CA
    /// must be there and permit the names: [`Self::ca_needs`] said nothing.
    pub fn issue(&self, site: &str, hosts: &[String], now: Timestamp) -> Result<u64, CaError> {
        let read = |name| {
            let path = Versioned::new(&self.ca).file(name);
            fs::read_to_string(&path)
                .map(Zeroizing::new)
                .map_err(FileError::of("read", &path))
        };
        let intermediate = read("intermediate.pem")?;
        let key = read("intermediate.key")?;
        let until = Certificate::read(intermediate.as_bytes()).map(|read| read.not_after);
        let action = || format!("issue the certificate of site `{site}`");
        let until = until.map_err(|e| CaError::Make {
            action: action(),
            reason: e.to_string(),
        })?;
        let (leaf, leaf_key) =
            leaf(&intermediate, &key, site, hosts, now, until).map_err(|error| CaError::Make {
                action: action(),
                reason: error.to_string(),
            })?;
        let chain = format!("{leaf}{}", intermediate.as_str());
        self.install(site, chain.as_bytes(), leaf_key.as_bytes())
    }

    /// Makes a chain and its key the site's current pair, whoever issued it; its version. What is
    /// current already is not written again.
    pub fn install(&self, site: &str, fullchain: &[u8], key: &[u8]) -> Result<u64, CaError> {
        let fits = Certificate::read(fullchain).and_then(|read| read.check_key(key));
        fits.map_err(|source| CaError::Pair {
            site: site.to_owned(),
            source,
        })?;
        let versions = self.site(site);
        let is =
            |name: &str, content| fs::read(versions.file(name)).is_ok_and(|old| old == content);
        if let Some(current) = versions.current()
            && is("fullchain.pem", fullchain)
            && is("privkey.pem", key)
        {
            return Ok(current);
        }
        files::create_folder(&self.dir, 0o755)?;
        Ok(versions.publish(&[
            ("fullchain.pem", fullchain, 0o644),
            ("privkey.pem", key, 0o600),
        ])?)
    }

    /// Which version each site's certificate has, a line each. The caller puts it into the
    /// generation as the file `certificates`: a new certificate is then a new generation, and
    /// nginx is made to read it.
    #[must_use]
    pub fn versions<'a>(&self, sites: impl IntoIterator<Item = &'a str>) -> String {
        let mut lines: Vec<String> = sites
            .into_iter()
            .map(|site| format!("{site} v{}\n", self.site(site).current().unwrap_or(0)))
            .collect();
        lines.sort();
        lines.concat()
    }

    fn site(&self, site: &str) -> Versioned {
        Versioned::new(self.dir.join(site))
    }
}

/// The fewest names that cover `domain` and `hosts`. Which part of a foreign name someone owns is
/// not for us to guess: it counts as it is, with what is below it.
#[must_use]
pub fn constraints(domain: &str, hosts: &[String]) -> Vec<String> {
    let all: BTreeSet<&str> = hosts
        .iter()
        .map(|host| bare(host))
        .chain([domain])
        .collect();
    let covered = |name: &str| {
        all.iter()
            .any(|other| *other != name && within(name, other))
    };
    all.iter()
        .filter(|name| !covered(name))
        .map(|name| (*name).to_owned())
        .collect()
}

fn bare(host: &str) -> &str {
    host.strip_prefix("*.").unwrap_or(host)
}

/// Whether `host` is `name` or below it.
fn within(host: &str, name: &str) -> bool {
    bare(host)
        .strip_suffix(name)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

struct Ca {
    root: String,
    intermediate: String,
    key: Zeroizing<String>,
}

fn ca(domain: &str, permitted: &[String], now: Timestamp) -> Result<Ca, rcgen::Error> {
    // Two CAs of one domain, after a change of names, should be told apart in a list.
    let id = format!("{:08x}", rand::random::<u32>());
    let params = |kind: &str, below: u8| {
        let mut params = params(now, CA_LIFE);
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Summoner");
        // A common name holds 64 characters.
        let name: String = format!("{kind} {id} of {domain}")
            .chars()
            .take(64)
            .collect();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    };
    let root = CertifiedIssuer::self_signed(params("Root", 1), KeyPair::generate()?)?;
    let mut below = params("Intermediate", 0);
    below.use_authority_key_identifier_extension = true;
    below.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    below.name_constraints = Some(NameConstraints {
        permitted_subtrees: permitted
            .iter()
            .cloned()
            .map(GeneralSubtree::DnsName)
            .collect(),
        // What is permitted speaks of DNS names only; addresses would otherwise be free.
        excluded_subtrees: vec![
            GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([0; 4], 0)),
            GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix([0; 16], 0)),
        ],
    });
    let key = KeyPair::generate()?;
    let intermediate = below.signed_by(&key, &root)?;
    Ok(Ca {
        root: root.pem(),
        intermediate: intermediate.pem(),
        key: Zeroizing::new(key.serialize_pem()),
    })
}

fn leaf(
    intermediate: &str,
    intermediate_key: &str,
    site: &str,
    hosts: &[String],
    now: Timestamp,
    until: Timestamp,
) -> Result<(String, Zeroizing<String>), rcgen::Error> {
    let issuer = Issuer::from_ca_cert_pem(intermediate, KeyPair::from_pem(intermediate_key)?)?;
    let left = Duration::try_from(now.duration_until(until)).unwrap_or(DAY);
    let mut params = params(now, SITE_LIFE.min(left + SKEW));
    for host in hosts {
        params
            .subject_alt_names
            .push(rcgen::SanType::DnsName(host.as_str().try_into()?));
    }
    // Only for the eye: names are compared with the alternative names.
    let name = hosts
        .first()
        .filter(|host| host.len() <= 64)
        .map_or(site, String::as_str);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok((certificate.pem(), Zeroizing::new(key.serialize_pem())))
}

/// Empty but for its time: `life` from a little before `now`.
fn params(now: Timestamp, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let begin = Duration::from_secs(seconds).saturating_sub(SKEW);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + begin;
    params.not_after = epoch + begin + life;
    params
}
