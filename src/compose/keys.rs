//! Keys of the Compose specification that Summoner does not run, and what to do instead.

const RESOURCES: &str = "use `mem_limit`, `cpus` and `pids_limit`";
const NETWORKS: &str = "services of a project reach each other by their names; use `networks`";
const FILES: &str = "mount a file with `volumes: [./file:/path:ro]`";
const UNSAFE: &str = "leave it out: it would give the container rights over the machine";
const LEAVE: &str = "leave it out";

/// At the top of the file.
pub(super) const TOP: &[(&str, &str)] = &[
    ("configs", FILES),
    ("include", "put the services into one file"),
    ("models", LEAVE),
    ("secrets", "pass them with `environment: {NAME: ${NAME}}`"),
];

/// In a service.
pub(super) const SERVICE: &[(&str, &str)] = &[
    ("annotations", "use `labels`"),
    ("attach", LEAVE),
    ("blkio_config", LEAVE),
    (
        "build",
        "build the image beforehand and name it with `image`",
    ),
    ("cgroup", UNSAFE),
    ("cgroup_parent", LEAVE),
    ("configs", FILES),
    ("cpu_count", RESOURCES),
    ("cpu_percent", RESOURCES),
    ("cpu_period", RESOURCES),
    ("cpu_quota", RESOURCES),
    ("cpu_rt_period", RESOURCES),
    ("cpu_rt_runtime", RESOURCES),
    ("cpu_shares", RESOURCES),
    ("cpuset", RESOURCES),
    ("credential_spec", LEAVE),
    (
        "deploy",
        "use `mem_limit`, `cpus` and `restart`; one container runs per service",
    ),
    ("develop", LEAVE),
    ("device_cgroup_rules", UNSAFE),
    ("devices", UNSAFE),
    ("dns", NETWORKS),
    ("dns_opt", NETWORKS),
    ("dns_search", NETWORKS),
    ("domainname", "write the whole name as `hostname`"),
    ("driver_opts", LEAVE),
    ("env_file", "write the variables under `environment`"),
    (
        "extends",
        "write the keys out, or use a YAML anchor: `<<: *base`",
    ),
    ("external_links", NETWORKS),
    ("gpus", LEAVE),
    ("group_add", "use `user: \"UID:GID\"`"),
    ("ipc", UNSAFE),
    ("isolation", LEAVE),
    ("label_file", "write the labels under `labels`"),
    ("links", NETWORKS),
    ("mac_address", LEAVE),
    ("mem_reservation", RESOURCES),
    ("mem_swappiness", RESOURCES),
    ("memswap_limit", RESOURCES),
    ("models", LEAVE),
    ("network_mode", NETWORKS),
    ("oom_kill_disable", RESOURCES),
    ("oom_score_adj", RESOURCES),
    ("pid", UNSAFE),
    ("platform", "name an image of the right platform"),
    (
        "post_start",
        "do it in the entrypoint, or in a service that others wait for with \
         `service_completed_successfully`",
    ),
    ("pre_stop", "do it in the entrypoint, on the stop signal"),
    (
        "privileged",
        "name the capabilities it needs with `cap_add`",
    ),
    (
        "profiles",
        "leave the service out, or keep it in a file of its own",
    ),
    ("provider", LEAVE),
    (
        "pull_policy",
        "leave it out: an image is pulled when it is missing",
    ),
    ("runtime", LEAVE),
    (
        "scale",
        "one container runs per service; write a second service",
    ),
    ("secrets", "pass them with `environment: {NAME: ${NAME}}`"),
    ("stdin_open", LEAVE),
    ("storage_opt", LEAVE),
    ("tty", LEAVE),
    ("use_api_socket", UNSAFE),
    ("userns_mode", UNSAFE),
    ("uts", UNSAFE),
    ("volumes_from", "mount the same volume in both services"),
];

/// In a network of the project.
pub(super) const NETWORK: &[(&str, &str)] = &[
    ("attachable", LEAVE),
    ("driver_opts", LEAVE),
    ("enable_ipv4", LEAVE),
    ("enable_ipv6", LEAVE),
    ("ipam", "leave it out: a free subnet is chosen"),
    ("labels", LEAVE),
];

/// In a named volume of the project.
pub(super) const VOLUME: &[(&str, &str)] = &[
    (
        "driver_opts",
        "mount a folder of the host: `volumes: [/mnt/share:/path]`",
    ),
    ("labels", LEAVE),
];

/// In the network of a service.
pub(super) const ATTACHMENT: &[(&str, &str)] = &[
    ("driver_opts", LEAVE),
    ("gw_priority", LEAVE),
    ("interface_name", LEAVE),
    (
        "ipv4_address",
        "leave it out and use the name of the service",
    ),
    (
        "ipv6_address",
        "leave it out and use the name of the service",
    ),
    ("link_local_ips", LEAVE),
    ("mac_address", LEAVE),
    ("priority", LEAVE),
];

/// In the long form of a mount.
pub(super) const MOUNT: &[(&str, &str)] = &[
    ("consistency", LEAVE),
    ("image", "use `type: bind` or `type: volume`"),
];
