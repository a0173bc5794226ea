//! What is told to an engine and what it tells.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

/// About the engine and its machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EngineInfo {
    /// Version, as `20.10.24`.
    pub version: String,
    /// API version, major and minor.
    pub api: (u32, u32),
    /// `linux`.
    pub os: String,
    /// `amd64`, ….
    pub arch: String,
    /// Bytes of memory of the machine.
    pub memory: u64,
    /// Cores.
    pub cpus: u32,
    /// The engine's own folder.
    pub root_dir: String,
    /// Security options, as `name=seccomp,profile=default`, `name=rootless`, `name=userns`, `name=selinux`.
    pub security: Vec<String>,
    /// Whether it is part of a swarm.
    pub swarm: bool,
}

/// State of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Created, never started.
    Created,
    /// Running.
    Running,
    /// Stopped by itself or by hand.
    Exited,
    /// Paused by hand.
    Paused,
    /// The engine restarts it.
    Restarting,
    /// Being removed.
    Removing,
    /// Broken for the engine.
    Dead,
}

/// Health of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Has no healthcheck.
    None,
    /// Not decided yet.
    Starting,
    /// Well.
    Healthy,
    /// Not well.
    Unhealthy,
}

/// A container as the engine sees it (one inspect).
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// Full id.
    pub id: String,
    /// Name without the slash.
    pub name: String,
    /// Image reference as asked for.
    pub image: String,
    /// Id of the image it runs (`sha256:…`).
    pub image_id: String,
    /// Labels, those of the image included.
    pub labels: BTreeMap<String, String>,
    /// State.
    pub state: RunState,
    /// Health.
    pub health: Health,
    /// Exit code of the last run, when it is not running.
    pub exit_code: Option<i64>,
    /// Killed for want of memory.
    pub oom_killed: bool,
    /// Why the engine could not start it, if so.
    pub error: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it last started.
    pub started: Option<Timestamp>,
    /// How often the engine restarted it.
    pub restarts: u64,
    /// Environment `NAME -> value`, for the recovery of lost secrets.
    pub environment: BTreeMap<String, String>,
    /// Memory limit in bytes, 0 = none.
    pub memory: u64,
    /// CPU limit in billionths of a core, 0 = none.
    pub nano_cpus: u64,
    /// Restart policy: `unless-stopped`, `no`, ….
    pub restart: String,
    /// Host path of each bind mount by its path in the container.
    pub binds: BTreeMap<String, String>,
    /// Networks it is joined to, by name.
    pub networks: BTreeMap<String, Endpoint>,
    /// Host ports it publishes.
    pub ports: Vec<u16>,
    /// Seconds between its stop signal and the kill, if it was made with its own.
    pub stop_timeout: Option<u64>,
    /// Pid of its first process on the host, 0 when it does not run.
    pub pid: u32,
}

/// A container's end in a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Other names it answers to.
    pub aliases: Vec<String>,
    /// Its IPv4 address, empty when it does not run.
    pub address: String,
    /// Id of the network: a stopped container goes on naming one that was removed since.
    pub network: String,
}

/// A container in the list (cheap: one call for all).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSummary {
    /// Full id.
    pub id: String,
    /// Name without the slash.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// State.
    pub state: RunState,
    /// Host ports it publishes.
    pub ports: Vec<u16>,
}

/// An image that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…`.
    pub id: String,
    /// All its references.
    pub tags: Vec<String>,
    /// Digests by which registries know it.
    pub digests: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Image {
    /// What tells it from every other: its repository digest, its id where there is none.
    #[must_use]
    pub fn digest(&self) -> &str {
        let digests = self.digests.iter().filter_map(|d| d.split_once('@'));
        digests.map(|(_, digest)| digest).min().unwrap_or(&self.id)
    }
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Full id: names are not unique on old engines.
    pub id: String,
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Subnets in CIDR form.
    pub subnets: Vec<String>,
}

/// A network to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkSpec {
    /// Name.
    pub name: String,
    /// Subnet in CIDR form.
    pub subnet: String,
    /// No way out.
    pub internal: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A container to make: everything that is sent to the engine, and what its hash is made of.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent switches of the engine"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct ContainerSpec {
    /// Image reference.
    pub image: String,
    /// Command; `None` keeps the image's.
    pub command: Option<Vec<String>>,
    /// Entry point; `None` keeps the image's.
    pub entrypoint: Option<Vec<String>>,
    /// Environment, `NAME -> value`. Holds secrets: never print it.
    pub environment: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Host name inside.
    pub hostname: Option<String>,
    /// `user[:group]`.
    pub user: Option<String>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Bind mounts, volumes, in the order of the file.
    pub mounts: Vec<MountSpec>,
    /// Memory file systems: path -> options.
    pub tmpfs: BTreeMap<String, String>,
    /// Published ports.
    pub ports: Vec<PortSpec>,
    /// Networks by name; the first in order is joined at creation, the others before the start.
    pub networks: BTreeMap<String, EndpointSpec>,
    /// Healthcheck; `None` keeps the image's.
    pub healthcheck: Option<HealthcheckSpec>,
    /// Restart policy: `no`, `always`, `unless-stopped`, `on-failure[:N]`.
    pub restart: String,
    /// Run an init process as PID 1.
    pub init: bool,
    /// Memory limit, bytes.
    pub memory: Option<u64>,
    /// CPU limit in billionths of a core.
    pub nano_cpus: Option<u64>,
    /// Most processes.
    pub pids_limit: Option<i64>,
    /// `/dev/shm`, bytes.
    pub shm_size: Option<u64>,
    /// Capabilities to add.
    pub cap_add: Vec<String>,
    /// Capabilities to drop.
    pub cap_drop: Vec<String>,
    /// Security options.
    pub security_opt: Vec<String>,
    /// Root file system read-only.
    pub read_only: bool,
    /// `name -> (soft, hard)`.
    pub ulimits: BTreeMap<String, (i64, i64)>,
    /// Kernel settings of the container.
    pub sysctls: BTreeMap<String, String>,
    /// Seconds between the stop signal and the kill.
    pub stop_timeout: Option<u64>,
    /// Signal that asks it to stop.
    pub stop_signal: Option<String>,
    /// `host:address` lines for `/etc/hosts`.
    pub extra_hosts: Vec<String>,
    /// Log driver and its options.
    pub log_driver: String,
    /// Options of the log driver.
    pub log_options: BTreeMap<String, String>,
    /// Allocate a terminal (`run` only).
    pub tty: bool,
    /// Keep standard input open (`run` only).
    pub stdin: bool,
}

/// A mount to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MountSpec {
    /// `bind` with a host path, or `volume` with a volume name.
    pub kind: MountKind,
    /// Host path or volume name.
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// Not writable.
    pub read_only: bool,
}

/// Kind of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// A host folder or file. The engine must not create a missing source.
    Bind,
    /// A volume of the engine.
    Volume,
}

/// A port to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortSpec {
    /// Address on the host, empty = all.
    pub address: String,
    /// Port on the host.
    pub host: u16,
    /// Port in the container.
    pub container: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

/// An end in a network to make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EndpointSpec {
    /// Names it answers to.
    pub aliases: Vec<String>,
    /// Names it knows others by, `<container>:<name>`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
}

/// A healthcheck to give. `test` is as in Compose: `["CMD", …]`, `["CMD-SHELL", "…"]`, `["NONE"]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HealthcheckSpec {
    /// What to run.
    pub test: Vec<String>,
    /// Milliseconds between two checks; `None` = the engine's 30 s.
    pub interval_ms: Option<u64>,
    /// Milliseconds for one check.
    pub timeout_ms: Option<u64>,
    /// Failures until unhealthy.
    pub retries: Option<i64>,
    /// Milliseconds in which failures do not count.
    pub start_period_ms: Option<u64>,
    /// Milliseconds between checks within the start period; left out on engines before API 1.44.
    pub start_interval_ms: Option<u64>,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// From standard error.
    pub stderr: bool,
    /// Text without its line end; may hold any bytes made printable.
    pub text: String,
}

/// What to read of a log.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogOptions {
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// Stay and read on.
    pub follow: bool,
    /// Put the time before each line.
    pub timestamps: bool,
}

/// A command to run in a running container.
#[derive(Debug, Clone, Default)]
pub struct ExecSpec {
    /// argv.
    pub command: Vec<String>,
    /// Further environment.
    pub environment: BTreeMap<String, String>,
    /// User.
    pub user: Option<String>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Allocate a terminal.
    pub tty: bool,
    /// Connect our standard input.
    pub stdin: bool,
}

/// Output of a command that was run to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Exit code.
    pub code: i64,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// What happened to a container, as the engine tells it at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerEvent {
    /// Full id.
    pub id: String,
    /// `start`, `die`, `health_status: healthy`, `destroy`, ….
    pub action: String,
}
