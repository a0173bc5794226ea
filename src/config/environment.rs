//! What `config.yml` means: validated types, every path absolute, every default filled in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::problem::{Position, Problem};
use crate::secret::{Secret, SecretSource};
pub use crate::storage::s3::Settings as S3;

/// A whole project.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Folder of `config.yml`, absolute.
    pub root: PathBuf,
    /// The file as the user named it.
    pub file: PathBuf,
    /// `summoner.name`, default the domain.
    pub project: String,
    /// `summoner.domain`.
    pub domain: String,
    /// `summoner.email`.
    pub email: Option<String>,
    /// Application volumes, absolute.
    pub vsroot: PathBuf,
    /// Database volumes, absolute.
    pub dbsroot: PathBuf,
    /// IANA name; default `UTC`.
    pub timezone: String,
    /// IPv4 pools (CIDR) from which networks take their /26, in the order to try.
    pub subnets: Vec<String>,
    /// Minion instances in the order of the file: `minions:` first, then those only in `applications:`.
    pub instances: Vec<Instance>,
    /// `proxy:`.
    pub proxy: Proxy,
    /// `destinations:` in the order of the file.
    pub destinations: Vec<Destination>,
    /// `backup:`, the defaults of all instances.
    pub backup: Backup,
    /// Whether `notify:` asks for anything; no version runs it yet.
    pub notify: bool,
    /// What is allowed but deserves a word.
    pub warnings: Vec<Problem>,
}

/// Where snapshots go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Its key under `destinations:`.
    pub name: String,
    /// Folder or bucket.
    pub place: Place,
    /// How what goes there is encrypted.
    pub encryption: Option<Encryption>,
    /// Where it stands in the file.
    pub position: Option<Position>,
}

/// A place for snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a project has a handful of destinations"
)]
pub enum Place {
    /// A folder, absolute.
    Dir(PathBuf),
    /// A bucket.
    S3(S3),
}

/// Encryption of a destination, by `age`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// To public keys; who has one of the identities can read.
    Recipients {
        /// File of recipients, absolute.
        file: PathBuf,
        /// File of the identity that reads them, if it is on this machine; absolute.
        identity: Option<PathBuf>,
    },
    /// By a passphrase; excludes recipients.
    Passphrase(SecretSource),
}

/// `backup:`, of the project or merged with an instance's own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Backup {
    /// Names of destinations.
    pub to: Vec<String>,
    /// `dump:`.
    pub dump: Job,
    /// `cold:`.
    pub cold: Job,
    /// `drill.schedule`.
    pub drill: Option<String>,
    /// Whether anything was asked for.
    pub asked: bool,
}

/// When something is made, and how many are kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Job {
    /// Five-field cron expression.
    pub schedule: Option<String>,
    /// `keep:`; `None` keeps everything.
    pub keep: Option<Keep>,
    /// `max_downtime`, cold only.
    pub max_downtime: Option<Duration>,
    /// `method`, cold only.
    pub method: ColdMethod,
}

/// How a cold backup copies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ColdMethod {
    /// The best there is.
    #[default]
    Auto,
    /// Copies that share blocks: the file system makes them in no time.
    Reflink,
    /// A live copy first, then only what changed.
    TwoPass,
    /// Straight into the archive while everything is stopped: needs no room.
    Copy,
    /// By a helper container: for engines whose folders we cannot see.
    Container,
}

/// How many snapshots are kept: a snapshot stays if any rule wants it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keep {
    /// The newest so many.
    pub last: u64,
    /// The newest of each of so many hours that have any.
    pub hourly: u64,
    /// Days.
    pub daily: u64,
    /// ISO weeks.
    pub weekly: u64,
    /// Months.
    pub monthly: u64,
    /// Years.
    pub yearly: u64,
    /// All that are younger.
    pub within: Option<Duration>,
    /// Never fewer than this many; at least 1.
    pub min_keep: Option<u64>,
}

/// One minion instance.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Instance name, the key in `minions:`.
    pub name: String,
    /// Minion template: `use:`, default the instance name.
    pub minion: String,
    /// All host names, the first is the main one. `[<subdomain>.<domain>]` unless `hosts:` is given.
    pub hosts: Vec<String>,
    /// `version:`.
    pub version: Option<String>,
    /// `set:`.
    pub set: BTreeMap<String, Setting>,
    /// `env:`.
    pub env: BTreeMap<String, Setting>,
    /// `protect:`.
    pub protect: bool,
    /// `resources.memory`, bytes.
    pub memory: Option<u64>,
    /// `resources.cpus`, cores.
    pub cpus: Option<f64>,
    /// `backup:` of the instance over that of the project.
    pub backup: Backup,
    /// Where it stands in the file.
    pub position: Option<Position>,
    /// Whether it has a block of its own under `minions:`.
    pub explicit: bool,
}

/// A value of `set:` or `env:`, with the place it was written at.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The value or where it comes from.
    pub value: SettingValue,
    /// Where it stands.
    pub position: Option<Position>,
}

/// A value, or where it comes from.
#[derive(Debug, Clone)]
pub enum SettingValue {
    /// As written: text, number or boolean.
    Plain(serde_json::Value),
    /// `{env: NAME}`, already read.
    Secret(Secret),
    /// `{generate: LENGTH}`: made once, kept in `secrets.yml`.
    Generate(usize),
}

/// `proxy:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Default 80.
    pub http_port: u16,
    /// Default 443.
    pub https_port: u16,
    /// `tls:`, default `auto`.
    pub tls: Tls,
    /// Networks (CIDR) or addresses whose `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<String>,
    /// nginx image; a setting for those who mirror images. Default [`Proxy::IMAGE`].
    pub image: String,
}

/// Where certificates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// Internal CA for names no public CA can certify, Let's Encrypt otherwise.
    Auto,
    /// Let's Encrypt.
    LetsEncrypt,
    /// Let's Encrypt's staging.
    Staging,
    /// Our own CA.
    Internal,
    /// Plain HTTP, behind another balancer.
    Off,
    /// Own certificate files, absolute paths.
    Files {
        /// Full chain, PEM.
        certificate: PathBuf,
        /// Private key, PEM.
        key: PathBuf,
    },
    /// Another ACME server.
    Acme {
        /// Directory URL.
        directory: String,
        /// Its own root certificate.
        ca_file: Option<PathBuf>,
    },
}
