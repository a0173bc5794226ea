//! The Compose model: the part of the Compose specification that Summoner runs.
//!
//! [`Project::parse`] reads a Compose file, short and long forms, and refuses what it does not
//! know with a path and a line; [`Project::to_yaml`] writes the long forms, valid for
//! `docker compose`. The supported keys are listed in `docs/compose.md`.

pub mod duration;
mod emit;
mod healthcheck;
pub mod interpolate;
mod keys;
mod mounts;
mod order;
mod ports;
mod project;
mod reader;
mod service;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::problem::Problems;
use crate::secret::Secret;

/// A Compose project.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Project {
    /// `name:`.
    pub name: Option<String>,
    /// Services by name.
    pub services: BTreeMap<String, Service>,
    /// Networks by key.
    pub networks: BTreeMap<String, Network>,
    /// Named volumes by key.
    pub volumes: BTreeMap<String, Volume>,
}

impl Project {
    /// Reads a Compose file. `file` is its name in problems.
    ///
    /// Without `variables` this is the raw model: texts keep `${NAME}` as written. With them, every
    /// variable gets its value by Compose's rules; one that has no value and no default is a problem.
    pub fn parse(
        file: &str,
        text: &str,
        variables: Option<&BTreeMap<String, Secret>>,
    ) -> Result<Self, Problems> {
        project::parse(file, text, variables)
    }

    /// The file in its long form, in an order of its own that depends on nothing but the project.
    ///
    /// Meant for the raw model, where a `$` is written as it stands: what reads it puts the values in.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        emit::write(self)
    }

    /// The same without the text of YAML around it: what `to_yaml` writes, for comparing and hashing.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        emit::value(self)
    }
}

/// Supported keys by where they stand: at the top, in a service, its healthcheck and logging, in a
/// network and a volume of the project. They are the tables the reader itself works by.
#[must_use]
pub fn supported_keys() -> Vec<(&'static str, Vec<&'static str>)> {
    fn names<T>(table: &[(&'static str, T)]) -> Vec<&'static str> {
        table.iter().map(|(name, _)| *name).collect()
    }
    vec![
        ("top", names(project::TOP)),
        ("service", names(service::KEYS)),
        ("healthcheck", names(healthcheck::KEYS)),
        ("logging", names(service::LOGGING)),
        ("network", names(project::NETWORK)),
        ("volume", names(project::VOLUME)),
    ]
}

/// A service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Service {
    /// `image`, required.
    pub image: String,
    /// `container_name`.
    pub container_name: Option<String>,
    /// `hostname`.
    pub hostname: Option<String>,
    /// `command`, split into words when it was one string.
    pub command: Option<Vec<String>>,
    /// `entrypoint`, likewise.
    pub entrypoint: Option<Vec<String>>,
    /// `environment`; a name without a value is an error (nothing of the caller's environment leaks in).
    pub environment: BTreeMap<String, String>,
    /// `labels`.
    pub labels: BTreeMap<String, String>,
    /// `volumes`.
    pub volumes: Vec<Mount>,
    /// `ports`.
    pub ports: Vec<Port>,
    /// `expose`.
    pub expose: Vec<u16>,
    /// `networks`: key -> aliases. Empty means `default`.
    pub networks: BTreeMap<String, Vec<String>>,
    /// `depends_on`.
    pub depends_on: BTreeMap<String, Condition>,
    /// `healthcheck`.
    pub healthcheck: Option<Healthcheck>,
    /// `restart`.
    pub restart: Option<String>,
    /// `init`.
    pub init: Option<bool>,
    /// `user`.
    pub user: Option<String>,
    /// `working_dir`.
    pub working_dir: Option<String>,
    /// `mem_limit`, bytes.
    pub mem_limit: Option<u64>,
    /// `cpus`, cores.
    pub cpus: Option<f64>,
    /// `pids_limit`.
    pub pids_limit: Option<i64>,
    /// `shm_size`, bytes.
    pub shm_size: Option<u64>,
    /// `tmpfs`: path -> options.
    pub tmpfs: BTreeMap<String, String>,
    /// `cap_add`.
    pub cap_add: Vec<String>,
    /// `cap_drop`.
    pub cap_drop: Vec<String>,
    /// `security_opt`.
    pub security_opt: Vec<String>,
    /// `read_only`.
    pub read_only: bool,
    /// `ulimits`: name -> (soft, hard).
    pub ulimits: BTreeMap<String, (i64, i64)>,
    /// `sysctls`.
    pub sysctls: BTreeMap<String, String>,
    /// `stop_grace_period`.
    pub stop_grace_period: Option<Duration>,
    /// `stop_signal`.
    pub stop_signal: Option<String>,
    /// `external_links`, as `<container>:<name>`: names it knows containers by that other projects
    /// made, in the external networks they share.
    pub external_links: Vec<String>,
    /// `extra_hosts`, as `host:address`.
    pub extra_hosts: Vec<String>,
    /// `logging`.
    pub logging: Option<Logging>,
}

/// When a dependency is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// `service_started`, also the short form.
    Started,
    /// `service_healthy`.
    Healthy,
    /// `service_completed_successfully`.
    Completed,
}

impl Condition {
    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "service_started",
            Self::Healthy => "service_healthy",
            Self::Completed => "service_completed_successfully",
        }
    }
}

/// A mount of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Host path (absolute, or relative to the file) or a key of `volumes`.
    pub source: Source,
    /// Path in the container.
    pub target: String,
    /// `:ro`.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A host path.
    Bind(String),
    /// A key of the project's `volumes`.
    Volume(String),
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// `host_ip`, empty = all addresses.
    pub address: String,
    /// `published`.
    pub host: u16,
    /// `target`.
    pub container: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

/// A healthcheck. `test` begins with `CMD`, `CMD-SHELL` or is `["NONE"]`; `disable: true` gives the latter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// What to run.
    pub test: Vec<String>,
    /// Between two checks.
    pub interval: Option<Duration>,
    /// For one check.
    pub timeout: Option<Duration>,
    /// Failures until unhealthy.
    pub retries: Option<i64>,
    /// In which failures do not count.
    pub start_period: Option<Duration>,
    /// Between checks within the start period.
    pub start_interval: Option<Duration>,
}

/// Logging of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logging {
    /// Driver.
    pub driver: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// A network of the project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// `name`; default `<project>_<key>`.
    pub name: Option<String>,
    /// `external: true`: made by someone else.
    pub external: bool,
    /// `internal: true`: no way out.
    pub internal: bool,
}

/// A named volume of the project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Volume {
    /// `name`; default `<project>_<key>`.
    pub name: Option<String>,
    /// `external: true`.
    pub external: bool,
}
