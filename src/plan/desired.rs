//! What shall be: every service as the engine will be asked for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::compose::{self, Condition, Source};
use crate::engine::{ContainerSpec, EndpointSpec, HealthcheckSpec, MountKind, MountSpec, PortSpec};
use crate::minion::Manifest;
use crate::plan::hash::{Hasher, canonical};
use crate::proxy::nginx::Files;

/// Instance name of the proxy; no minion may have it.
pub const PROXY: &str = "proxy";

/// Labels of ours; the rest of the keys stand beside what they label.
pub mod labels {
    /// Name of the project.
    pub const PROJECT: &str = "io.summoner.project";
    /// Folder of the project's `config.yml`, absolute: who owns the container.
    pub const ROOT: &str = "io.summoner.root";
    /// Minion instance.
    pub const MINION: &str = "io.summoner.minion";
    /// Service of the instance.
    pub const SERVICE: &str = "io.summoner.service";
    /// Hash of what was asked for.
    pub const HASH: &str = "io.summoner.hash";
    /// An image built from Debian packages where no registry answered.
    pub const STAND_IN: &str = "io.summoner.stand-in";
    /// Minion that an instance was made from.
    pub const TEMPLATE: &str = "io.summoner.template";
    /// Version of the instance.
    pub const VERSION: &str = "io.summoner.version";
    /// `true` on containers that were made while their instance was protected: for the day both its
    /// block and `.summoner/` are gone.
    pub const PROTECT: &str = "io.summoner.protect";
    /// One-off container: [`RUN`] is the user's, all others are helpers of ours.
    pub const ONE_OFF: &str = "io.summoner.one-off";
    /// Value of [`ONE_OFF`] for a container of `summoner run`.
    pub const RUN: &str = "run";
    /// Value of [`ONE_OFF`] for a container in which a snapshot is restored. Its run sees to it.
    pub const RESTORE: &str = "restore";
    /// Value of [`ONE_OFF`] for a container of a drill.
    pub const DRILL: &str = "drill";
    /// Compose's dependency label: `db:service_healthy:false`.
    pub const DEPENDS_ON: &str = "com.docker.compose.depends_on";
}

/// The whole project as it shall be.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// Name of the project.
    pub project: String,
    /// Folder of `config.yml`, absolute.
    pub root: PathBuf,
    /// Name of the network shared with the proxy.
    pub edge: String,
    /// Pools of subnets, CIDR, in the order of preference.
    pub pools: Vec<String>,
    /// Folders that hold the data of all instances, each in a folder of its own: `vsroot`,
    /// `dbsroot`. What lies elsewhere is never deleted.
    pub data_roots: Vec<PathBuf>,
    /// Instances and the proxy.
    pub groups: Vec<Group>,
    /// The proxy's files; `None` where nothing is exposed.
    pub routes: Option<Routes>,
}

/// The proxy's files and certificates as they shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// Rendered files without the generation number.
    pub files: Files,
    /// Hash of their content.
    pub hash: String,
    /// Sites and their hosts that need a certificate.
    pub certificates: BTreeMap<String, Vec<String>>,
    /// The user's own certificate and key, instead of the internal CA.
    pub own: Option<(PathBuf, PathBuf)>,
    /// What the internal CA is made for.
    pub domain: String,
}

/// A minion instance (or the proxy) as it shall be.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// Instance name.
    pub name: String,
    /// Its minion; empty for the proxy.
    pub template: String,
    /// Compose project.
    pub project: String,
    /// Services by name.
    pub services: BTreeMap<String, Service>,
    /// Networks of its own.
    pub networks: Vec<(String, bool)>,
    /// Data folders.
    pub folders: Vec<Folder>,
    /// Rendered files below `build/<instance>/`, with their modes.
    pub files: BTreeMap<PathBuf, (Vec<u8>, u32)>,
    /// Never removed.
    pub protect: bool,
}

/// A data folder as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Absolute path.
    pub path: PathBuf,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// A service as it shall be.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Instance name.
    pub minion: String,
    /// Service name.
    pub service: String,
    /// Container name.
    pub name: String,
    /// What the engine is asked for, all labels included.
    pub spec: ContainerSpec,
    /// Hash of it; also in its labels.
    pub hash: String,
    /// What the hash was made of, without secrets; kept to tell later what changed.
    pub canonical: serde_json::Value,
    /// Services of the same instance that come first.
    pub depends_on: BTreeMap<String, Condition>,
    /// Old and new may run side by side.
    pub overlap: bool,
}

impl Service {
    /// `wordpress/app`.
    #[must_use]
    pub fn target(&self) -> String {
        format!("{}/{}", self.minion, self.service)
    }

    /// Whether an update runs old and new side by side: host ports cannot be held by two at once.
    #[must_use]
    pub fn overlaps(&self) -> bool {
        self.overlap && self.spec.ports.is_empty()
    }

    /// How long it may take to stop: its `stop_grace_period`, else 10 s as in Compose.
    #[must_use]
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.spec.stop_timeout.unwrap_or(10))
    }
}

impl Desired {
    /// Whether anything is in the network shared with the proxy.
    #[must_use]
    pub fn uses_edge(&self) -> bool {
        let mut services = self.groups.iter().flat_map(|g| g.services.values());
        self.routes.is_some() || services.any(|s| s.spec.networks.contains_key(&self.edge))
    }

    /// The service of a target.
    #[must_use]
    pub fn service(&self, minion: &str, service: &str) -> Option<&Service> {
        self.groups
            .iter()
            .find(|g| g.name == minion)?
            .services
            .get(service)
    }
}

/// What [`services`] needs to know beside the Compose project.
pub struct Context<'a> {
    /// Instance name.
    pub minion: &'a str,
    /// Name of the Summoner project.
    pub project: &'a str,
    /// Folder of `config.yml`.
    pub root: &'a Path,
    /// Folder of the rendered `compose.yml`.
    pub build: &'a Path,
    /// Hides secrets and rendered files' places from the hash.
    pub hasher: &'a Hasher<'a>,
    /// Manifest, for `overlap`; the proxy has none.
    pub manifest: Option<&'a Manifest>,
    /// `protect:` of the instance.
    pub protect: bool,
}

/// Services of an interpolated Compose project as the engine will be asked for them.
#[must_use]
pub fn services(project: &compose::Project, context: &Context<'_>) -> BTreeMap<String, Service> {
    let compose_project = project.name.clone().unwrap_or_default();
    project
        .services
        .iter()
        .map(|(name, service)| {
            let mut spec = spec(&compose_project, project, name, service);
            let (canonical, hash) = canonical(&spec, context.hasher);
            let depends = service
                .depends_on
                .iter()
                .map(|(n, c)| format!("{n}:{}:false", condition_name(*c)))
                .collect::<Vec<_>>()
                .join(",");
            for (key, value) in [
                (labels::PROJECT, context.project.to_owned()),
                (labels::ROOT, context.root.display().to_string()),
                (labels::MINION, context.minion.to_owned()),
                (labels::SERVICE, name.clone()),
                (labels::HASH, hash.clone()),
                ("com.docker.compose.project", compose_project.clone()),
                ("com.docker.compose.service", name.clone()),
                ("com.docker.compose.config-hash", hash.clone()),
                (
                    "com.docker.compose.project.config_files",
                    context.build.join("compose.yml").display().to_string(),
                ),
                (
                    "com.docker.compose.project.working_dir",
                    context.build.display().to_string(),
                ),
                ("com.docker.compose.container-number", "1".to_owned()),
                ("com.docker.compose.oneoff", "False".to_owned()),
                (labels::DEPENDS_ON, depends),
            ] {
                spec.labels.insert(key.to_owned(), value);
            }
            if context.protect {
                spec.labels
                    .insert(labels::PROTECT.to_owned(), "true".to_owned());
            }
            let overlap = context
                .manifest
                .is_some_and(|m| m.expose.iter().any(|e| e.service == *name && e.overlap));
            let service = Service {
                minion: context.minion.to_owned(),
                service: name.clone(),
                name: service
                    .container_name
                    .clone()
                    .unwrap_or_else(|| format!("{compose_project}-{name}-1")),
                spec,
                hash,
                canonical,
                depends_on: service.depends_on.clone(),
                overlap,
            };
            (name.clone(), service)
        })
        .collect()
}

fn condition_name(condition: Condition) -> &'static str {
    match condition {
        Condition::Started => "service_started",
        Condition::Healthy => "service_healthy",
        Condition::Completed => "service_completed_successfully",
    }
}

/// Name of a network of a Compose project, as Compose gives it.
#[must_use]
pub fn network_name(
    compose_project: &str,
    key: &str,
    network: Option<&compose::Network>,
) -> String {
    network
        .and_then(|n| n.name.clone())
        .unwrap_or_else(|| format!("{compose_project}_{key}"))
}

fn spec(
    compose_project: &str,
    project: &compose::Project,
    name: &str,
    service: &compose::Service,
) -> ContainerSpec {
    let mut networks: BTreeMap<String, EndpointSpec> = BTreeMap::new();
    let default = BTreeMap::from([("default".to_owned(), Vec::new())]);
    let asked = if service.networks.is_empty() {
        &default
    } else {
        &service.networks
    };
    for (key, aliases) in asked {
        let full = network_name(compose_project, key, project.networks.get(key));
        let mut aliases = aliases.clone();
        // Compose gives every service its own name in each of its own networks.
        let own = project.networks.get(key).is_none_or(|n| !n.external);
        if own && !aliases.iter().any(|a| a == name) {
            aliases.push(name.to_owned());
        }
        aliases.sort();
        let links = if own {
            Vec::new()
        } else {
            service.external_links.clone()
        };
        networks.insert(full, EndpointSpec { aliases, links });
    }
    let mounts = service
        .volumes
        .iter()
        .map(|m| {
            let (kind, source) = match &m.source {
                Source::Bind(path) => (MountKind::Bind, path.clone()),
                Source::Volume(key) => (
                    MountKind::Volume,
                    project
                        .volumes
                        .get(key)
                        .and_then(|v| v.name.clone())
                        .unwrap_or_else(|| format!("{compose_project}_{key}")),
                ),
            };
            MountSpec {
                kind,
                source,
                target: m.target.clone(),
                read_only: m.read_only,
            }
        })
        .collect();
    let logging = service.logging.clone().unwrap_or_default();
    ContainerSpec {
        image: service.image.clone(),
        command: service.command.clone(),
        entrypoint: service.entrypoint.clone(),
        environment: service.environment.clone(),
        labels: service.labels.clone(),
        hostname: service.hostname.clone(),
        user: service.user.clone(),
        working_dir: service.working_dir.clone(),
        mounts,
        tmpfs: service.tmpfs.clone(),
        ports: service
            .ports
            .iter()
            .map(|p| PortSpec {
                address: p.address.clone(),
                host: p.host,
                container: p.container,
                protocol: p.protocol.clone(),
            })
            .collect(),
        networks,
        healthcheck: service.healthcheck.as_ref().map(healthcheck),
        restart: service.restart.clone().unwrap_or_else(|| "no".to_owned()),
        init: service.init.unwrap_or(false),
        memory: service.mem_limit,
        nano_cpus: service.cpus.map(nano_cpus),
        pids_limit: service.pids_limit,
        shm_size: service.shm_size,
        cap_add: service.cap_add.clone(),
        cap_drop: service.cap_drop.clone(),
        security_opt: service.security_opt.clone(),
        read_only: service.read_only,
        ulimits: service.ulimits.clone(),
        sysctls: service.sysctls.clone(),
        stop_timeout: service.stop_grace_period.map(|d| d.as_secs()),
        stop_signal: service.stop_signal.clone(),
        extra_hosts: service.extra_hosts.clone(),
        log_driver: logging.driver,
        log_options: logging.options,
        tty: false,
        stdin: false,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the reader refuses negative and absurd numbers of cores"
)]
fn nano_cpus(cores: f64) -> u64 {
    (cores * 1e9).round() as u64
}

fn healthcheck(check: &compose::Healthcheck) -> HealthcheckSpec {
    let ms = |d: Option<Duration>| d.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    HealthcheckSpec {
        test: check.test.clone(),
        interval_ms: ms(check.interval),
        timeout_ms: ms(check.timeout),
        retries: check.retries,
        start_period_ms: ms(check.start_period),
        start_interval_ms: ms(check.start_interval),
    }
}
