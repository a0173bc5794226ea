//! What `config.yml` means: validated types, every path absolute, every default filled in.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::problem::{Position, Problem};
use crate::secret::Secret;

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
    /// `destinations:`, `backup:` and `notify:` as written, validated against the schema.
    pub later: Later,
    /// What is allowed but deserves a word.
    pub warnings: Vec<Problem>,
}

/// Sections that later versions run; parsed and validated today.
#[derive(Debug, Clone, Default)]
pub struct Later {
    /// Names under `destinations:`.
    pub destinations: Vec<String>,
    /// Whether `backup:` (or a minion's `backup:`) asks for anything.
    pub backup: bool,
    /// Whether `notify:` asks for anything.
    pub notify: bool,
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
