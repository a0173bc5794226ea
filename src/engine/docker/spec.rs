//! Our specifications as the bodies that the engine takes.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, EndpointSettings, HealthConfig, HostConfig,
    HostConfigLogConfig, Ipam, IpamConfig, Mount, MountType, NetworkCreateRequest,
    NetworkingConfig, PortBinding, PortMap, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};

use crate::engine::{
    ContainerSpec, EndpointSpec, HealthcheckSpec, MountKind, NetworkSpec, PortSpec,
};

/// The API that knows `start_interval` of healthchecks (Docker 25).
const START_INTERVAL_API: (u32, u32) = (1, 44);

/// The body of a create. Only the first network is in it: API 1.41 takes one, the others are
/// joined before the start.
pub(super) fn create_body(
    spec: &ContainerSpec,
    api: (u32, u32),
) -> Result<ContainerCreateBody, String> {
    let first = spec.networks.first_key_value();
    Ok(ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: spec.command.clone(),
        entrypoint: spec.entrypoint.clone(),
        env: Some(environment(&spec.environment)),
        labels: Some(map(&spec.labels)),
        hostname: spec.hostname.clone(),
        user: spec.user.clone(),
        working_dir: spec.working_dir.clone(),
        exposed_ports: Some(spec.ports.iter().map(inner_port).collect()),
        healthcheck: spec.healthcheck.as_ref().map(|h| healthcheck(h, api)),
        stop_timeout: spec.stop_timeout.map(signed),
        stop_signal: spec.stop_signal.clone(),
        tty: Some(spec.tty),
        open_stdin: Some(spec.stdin),
        // Without `stdin_once` the end of our input would never become the end of its input.
        stdin_once: Some(spec.stdin),
        attach_stdin: Some(spec.stdin),
        host_config: Some(host_config(spec)?),
        networking_config: first.map(|(name, endpoint)| NetworkingConfig {
            endpoints_config: Some(HashMap::from([(name.clone(), endpoint_settings(endpoint))])),
        }),
        ..Default::default()
    })
}

fn host_config(spec: &ContainerSpec) -> Result<HostConfig, String> {
    let logs = !spec.log_driver.is_empty() || !spec.log_options.is_empty();
    Ok(HostConfig {
        mounts: Some(
            spec.mounts
                .iter()
                .map(|mount| Mount {
                    typ: Some(match mount.kind {
                        MountKind::Bind => MountType::BIND,
                        MountKind::Volume => MountType::VOLUME,
                    }),
                    source: Some(mount.source.clone()),
                    target: Some(mount.target.clone()),
                    read_only: Some(mount.read_only),
                    // No `create_mountpoint`: a missing source is an error, never an empty folder
                    // that shadows the user's data.
                    ..Default::default()
                })
                .collect(),
        ),
        tmpfs: Some(map(&spec.tmpfs)),
        port_bindings: Some(port_bindings(&spec.ports)),
        // Without it the engine joins its default bridge as well.
        network_mode: spec
            .networks
            .first_key_value()
            .map(|(name, _)| name.clone()),
        restart_policy: Some(restart_policy(&spec.restart)?),
        init: spec.init.then_some(true),
        memory: spec.memory.map(signed),
        memory_swap: spec.memory.map(memory_swap),
        nano_cpus: spec.nano_cpus.map(signed),
        pids_limit: spec.pids_limit,
        shm_size: spec.shm_size.map(signed),
        cap_add: Some(spec.cap_add.clone()),
        cap_drop: Some(spec.cap_drop.clone()),
        security_opt: Some(spec.security_opt.clone()),
        readonly_rootfs: Some(spec.read_only),
        ulimits: Some(
            spec.ulimits
                .iter()
                .map(|(name, (soft, hard))| ResourcesUlimits {
                    name: Some(name.clone()),
                    soft: Some(*soft),
                    hard: Some(*hard),
                })
                .collect(),
        ),
        sysctls: Some(map(&spec.sysctls)),
        extra_hosts: Some(spec.extra_hosts.clone()),
        log_config: logs.then(|| HostConfigLogConfig {
            typ: Some(spec.log_driver.clone()),
            config: Some(map(&spec.log_options)),
        }),
        ..Default::default()
    })
}

/// The body of an update: memory, swap, CPUs, restart policy; what is `None` stays as it is.
pub(super) fn update_body(spec: &ContainerSpec) -> Result<ContainerUpdateBody, String> {
    Ok(ContainerUpdateBody {
        memory: spec.memory.map(signed),
        memory_swap: spec.memory.map(memory_swap),
        nano_cpus: spec.nano_cpus.map(signed),
        restart_policy: Some(restart_policy(&spec.restart)?),
        ..Default::default()
    })
}

/// The body of a new network.
pub(super) fn network_body(spec: &NetworkSpec) -> NetworkCreateRequest {
    NetworkCreateRequest {
        name: spec.name.clone(),
        driver: Some("bridge".to_owned()),
        internal: Some(spec.internal),
        ipam: (!spec.subnet.is_empty()).then(|| Ipam {
            config: Some(vec![IpamConfig {
                subnet: Some(spec.subnet.clone()),
                ..Default::default()
            }]),
            ..Default::default()
        }),
        labels: Some(map(&spec.labels)),
        ..Default::default()
    }
}

/// An end in a network.
pub(super) fn endpoint_settings(endpoint: &EndpointSpec) -> EndpointSettings {
    EndpointSettings {
        aliases: (!endpoint.aliases.is_empty()).then(|| endpoint.aliases.clone()),
        links: (!endpoint.links.is_empty()).then(|| endpoint.links.clone()),
        ..Default::default()
    }
}

/// `NAME=value` lines.
pub(super) fn environment(environment: &BTreeMap<String, String>) -> Vec<String> {
    environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// Memory and swap together: twice the memory, which is what the engine takes when nobody says
/// anything (and so what `docker compose` gives the same file). It is always sent along, since an
/// update of the memory alone is refused when it passes the older sum.
fn memory_swap(memory: u64) -> i64 {
    signed(memory.saturating_mul(2))
}

fn restart_policy(policy: &str) -> Result<RestartPolicy, String> {
    let (name, count) = policy
        .split_once(':')
        .map_or((policy, None), |(name, count)| (name, Some(count)));
    let name = match name {
        "" | "no" => RestartPolicyNameEnum::NO,
        "always" => RestartPolicyNameEnum::ALWAYS,
        "unless-stopped" => RestartPolicyNameEnum::UNLESS_STOPPED,
        "on-failure" => RestartPolicyNameEnum::ON_FAILURE,
        _ => return Err(format!("`{policy}` is no restart policy")),
    };
    let maximum_retry_count = count
        .map(|count| {
            count
                .parse()
                .map_err(|_| format!("`{policy}` is no restart policy"))
        })
        .transpose()?;
    Ok(RestartPolicy {
        name: Some(name),
        maximum_retry_count,
    })
}

fn healthcheck(check: &HealthcheckSpec, api: (u32, u32)) -> HealthConfig {
    let nanoseconds = |ms: Option<u64>| ms.map(|ms| signed(ms.saturating_mul(1_000_000)));
    HealthConfig {
        test: Some(check.test.clone()),
        interval: nanoseconds(check.interval_ms),
        timeout: nanoseconds(check.timeout_ms),
        retries: check.retries,
        start_period: nanoseconds(check.start_period_ms),
        start_interval: nanoseconds(check.start_interval_ms).filter(|_| api >= START_INTERVAL_API),
    }
}

fn inner_port(port: &PortSpec) -> String {
    format!("{}/{}", port.container, port.protocol)
}

fn port_bindings(ports: &[PortSpec]) -> PortMap {
    let mut bindings = PortMap::new();
    for port in ports {
        bindings
            .entry(inner_port(port))
            .or_default()
            .get_or_insert_default()
            .push(PortBinding {
                host_ip: Some(port.address.clone()),
                host_port: Some(port.host.to_string()),
            });
    }
    bindings
}

fn map(map: &BTreeMap<String, String>) -> HashMap<String, String> {
    map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// The engine counts in signed numbers; nothing here comes near their end.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_policies_are_read_or_refused() {
        let policy = restart_policy("on-failure:5").unwrap();
        assert_eq!(policy.name, Some(RestartPolicyNameEnum::ON_FAILURE));
        assert_eq!(policy.maximum_retry_count, Some(5));
        assert!(restart_policy("sometimes").is_err());
        assert!(restart_policy("on-failure:x").is_err());
    }

    #[test]
    fn start_interval_is_kept_from_engines_that_do_not_know_it() {
        let spec = ContainerSpec {
            healthcheck: Some(HealthcheckSpec {
                test: vec!["CMD".into(), "true".into()],
                interval_ms: Some(1500),
                timeout_ms: None,
                retries: Some(2),
                start_period_ms: None,
                start_interval_ms: Some(200),
            }),
            ..Default::default()
        };
        let interval = |api| {
            let check = create_body(&spec, api).unwrap().healthcheck.unwrap();
            assert_eq!(check.interval, Some(1_500_000_000));
            check.start_interval
        };
        assert_eq!(interval((1, 41)), None);
        assert_eq!(interval((1, 44)), Some(200_000_000));
    }

    #[test]
    fn create_and_update_send_the_same_limits() {
        let spec = ContainerSpec {
            memory: Some(64 << 20),
            nano_cpus: Some(500_000_000),
            restart: "unless-stopped".into(),
            ..Default::default()
        };
        let made = create_body(&spec, (1, 41)).unwrap().host_config.unwrap();
        let updated = update_body(&spec).unwrap();
        assert_eq!(made.memory_swap, Some(128 << 20));
        assert_eq!(made.memory, updated.memory);
        assert_eq!(made.memory_swap, updated.memory_swap);
        assert_eq!(made.nano_cpus, updated.nano_cpus);
        assert_eq!(made.restart_policy, updated.restart_policy);
    }
}
