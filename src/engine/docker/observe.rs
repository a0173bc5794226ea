//! What the engine tells, as our own types.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummaryStateEnum,
    HealthStatusEnum, HostConfig, ImageInspect, ImageSummary, LocalNodeState, PortMap,
    RestartPolicy, SystemInfo, SystemVersion,
};
use jiff::Timestamp;

use crate::engine::{
    Container, ContainerSummary, Endpoint, EngineInfo, Health, Image, Network, RunState,
};

pub(super) fn info(version: SystemVersion, info: SystemInfo) -> EngineInfo {
    EngineInfo {
        api: api_version(version.api_version.as_deref().unwrap_or_default()),
        version: version.version.unwrap_or_default(),
        os: version.os.unwrap_or_default(),
        arch: version.arch.unwrap_or_default(),
        memory: unsigned(info.mem_total),
        cpus: u32::try_from(info.ncpu.unwrap_or_default()).unwrap_or_default(),
        root_dir: info.docker_root_dir.unwrap_or_default(),
        security: info.security_options.unwrap_or_default(),
        swarm: info
            .swarm
            .and_then(|swarm| swarm.local_node_state)
            .is_some_and(|state| {
                !matches!(state, LocalNodeState::INACTIVE | LocalNodeState::EMPTY)
            }),
    }
}

/// `1.41` as numbers, zeros for what is none.
pub(super) fn api_version(text: &str) -> (u32, u32) {
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    (major.parse().unwrap_or(0), minor.parse().unwrap_or(0))
}

pub(super) fn container(answer: ContainerInspectResponse) -> Container {
    let id = answer.id.unwrap_or_default();
    let config = answer.config.unwrap_or_default();
    let host = answer.host_config.unwrap_or_default();
    let network = answer.network_settings.unwrap_or_default();
    let status = answer.state.unwrap_or_default();
    let state = run_state(&status);
    Container {
        name: answer
            .name
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned(),
        image: config.image.unwrap_or_default(),
        image_id: answer.image.unwrap_or_default(),
        labels: sorted(config.labels),
        state,
        health: health(&status),
        exit_code: matches!(
            state,
            RunState::Exited | RunState::Dead | RunState::Restarting
        )
        .then_some(status.exit_code)
        .flatten(),
        oom_killed: status.oom_killed.unwrap_or_default(),
        error: status.error.unwrap_or_default(),
        created: answer.created.as_deref().and_then(time),
        started: status.started_at.as_deref().and_then(time),
        restarts: unsigned(answer.restart_count),
        environment: environment(config.env.unwrap_or_default()),
        memory: unsigned(host.memory),
        nano_cpus: unsigned(host.nano_cpus),
        restart: restart(host.restart_policy.as_ref()),
        binds: answer
            .mounts
            .unwrap_or_default()
            .into_iter()
            .filter(|mount| mount.typ.as_deref() == Some("bind"))
            .filter_map(|mount| Some((mount.destination?, mount.source?)))
            .collect(),
        networks: network
            .networks
            .unwrap_or_default()
            .into_iter()
            .map(|(name, end)| {
                let aliases = end.aliases.unwrap_or_default();
                let endpoint = Endpoint {
                    // Engines before 25 add the short id to what was asked for.
                    aliases: aliases
                        .into_iter()
                        .filter(|a| !is_short_id(a, &id))
                        .collect(),
                    address: end.ip_address.unwrap_or_default(),
                    network: end.network_id.unwrap_or_default(),
                };
                (name, endpoint)
            })
            .collect(),
        ports: published(&host, network.ports.as_ref()),
        stop_timeout: config.stop_timeout.and_then(|t| u64::try_from(t).ok()),
        pid: u32::try_from(status.pid.unwrap_or_default()).unwrap_or_default(),
        id,
    }
}

fn is_short_id(alias: &str, id: &str) -> bool {
    alias.len() == 12 && id.starts_with(alias)
}

pub(super) fn summary(answer: bollard::models::ContainerSummary) -> ContainerSummary {
    let id = answer.id.unwrap_or_default();
    ContainerSummary {
        // A linked container has further names with a slash in the middle.
        name: answer
            .names
            .unwrap_or_default()
            .iter()
            .map(|name| name.trim_start_matches('/'))
            .find(|name| !name.contains('/'))
            .unwrap_or(&id)
            .to_owned(),
        labels: sorted(answer.labels),
        state: match answer.state {
            Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::STOPPING) => {
                RunState::Running
            }
            Some(ContainerSummaryStateEnum::PAUSED) => RunState::Paused,
            Some(ContainerSummaryStateEnum::RESTARTING) => RunState::Restarting,
            Some(ContainerSummaryStateEnum::EXITED) => RunState::Exited,
            Some(ContainerSummaryStateEnum::REMOVING) => RunState::Removing,
            Some(ContainerSummaryStateEnum::DEAD) => RunState::Dead,
            Some(ContainerSummaryStateEnum::CREATED | ContainerSummaryStateEnum::EMPTY) | None => {
                RunState::Created
            }
        },
        ports: answer
            .ports
            .unwrap_or_default()
            .iter()
            .filter_map(|port| port.public_port)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        id,
    }
}

pub(super) fn network(answer: bollard::models::Network) -> Network {
    Network {
        id: answer.id.unwrap_or_default(),
        name: answer.name.unwrap_or_default(),
        labels: sorted(answer.labels),
        subnets: answer
            .ipam
            .and_then(|ipam| ipam.config)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|config| config.subnet)
            .collect(),
    }
}

pub(super) fn image(answer: ImageSummary) -> Image {
    Image {
        id: answer.id,
        tags: named(answer.repo_tags),
        digests: named(answer.repo_digests),
        labels: answer.labels.into_iter().collect(),
    }
}

pub(super) fn inspected_image(answer: ImageInspect) -> Image {
    Image {
        id: answer.id.unwrap_or_default(),
        tags: named(answer.repo_tags.unwrap_or_default()),
        digests: named(answer.repo_digests.unwrap_or_default()),
        labels: sorted(answer.config.and_then(|config| config.labels)),
    }
}

/// Without the `<none>:<none>` of images that lost their name.
fn named(names: Vec<String>) -> Vec<String> {
    names
        .into_iter()
        .filter(|name| !name.starts_with("<none>"))
        .collect()
}

fn run_state(state: &ContainerState) -> RunState {
    match state.status {
        Some(ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::STOPPING) => {
            RunState::Running
        }
        Some(ContainerStateStatusEnum::PAUSED) => RunState::Paused,
        Some(ContainerStateStatusEnum::RESTARTING) => RunState::Restarting,
        Some(ContainerStateStatusEnum::REMOVING) => RunState::Removing,
        Some(ContainerStateStatusEnum::EXITED) => RunState::Exited,
        Some(ContainerStateStatusEnum::DEAD) => RunState::Dead,
        Some(ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EMPTY) | None => {
            RunState::Created
        }
    }
}

fn health(state: &ContainerState) -> Health {
    match state.health.as_ref().and_then(|health| health.status) {
        Some(HealthStatusEnum::STARTING) => Health::Starting,
        Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
        Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
        Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) | None => Health::None,
    }
}

fn restart(policy: Option<&RestartPolicy>) -> String {
    let name = policy
        .and_then(|policy| policy.name)
        .map(|name| name.to_string())
        .unwrap_or_default();
    match policy.and_then(|policy| policy.maximum_retry_count) {
        _ if name.is_empty() => "no".to_owned(),
        Some(count) if count > 0 => format!("{name}:{count}"),
        _ => name,
    }
}

/// Asked for and, where the engine chose one, given.
fn published(host: &HostConfig, given: Option<&PortMap>) -> Vec<u16> {
    [host.port_bindings.as_ref(), given]
        .into_iter()
        .flatten()
        .flat_map(HashMap::values)
        .flatten()
        .flatten()
        .filter_map(|binding| binding.host_port.as_deref()?.parse().ok())
        .filter(|port| *port != 0)
        .collect::<BTreeSet<u16>>()
        .into_iter()
        .collect()
}

fn environment(lines: Vec<String>) -> BTreeMap<String, String> {
    lines
        .into_iter()
        .map(|line| match line.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (line, String::new()),
        })
        .collect()
}

/// The engine writes year 1 for "never".
fn time(text: &str) -> Option<Timestamp> {
    text.parse()
        .ok()
        .filter(|time| *time > Timestamp::UNIX_EPOCH)
}

fn sorted(labels: Option<HashMap<String, String>>) -> BTreeMap<String, String> {
    labels.unwrap_or_default().into_iter().collect()
}

fn unsigned(number: Option<i64>) -> u64 {
    u64::try_from(number.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_versions_are_compared_as_numbers() {
        assert!(api_version("1.9") < api_version("1.41"));
        assert_eq!(api_version("nonsense"), (0, 0));
    }

    #[test]
    fn never_is_not_a_time() {
        assert_eq!(time("0001-01-01T00:00:00Z"), None);
        assert!(time("2026-11-20T09:00:00.123456789Z").is_some());
    }
}
