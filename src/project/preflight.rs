//! What must be right before anything is launched; `doctor` prints it, `up` refuses on errors.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::engine::{Container, ContainerSummary, EngineInfo};
use crate::plan::desired::labels;
use crate::project::{Project, ports};
use crate::state::secrets::Secrets;
use crate::storage::Probe;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Well.
    Ok,
    /// It may go wrong.
    Warning,
    /// It will go wrong.
    Error,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `engine`, `port 80`, `memory`, ….
    pub check: String,
    /// How it is.
    pub level: Level,
    /// In words.
    pub message: String,
    /// The command that mends it.
    pub mend: Option<String>,
    /// Exit code of `up` when this stops it.
    #[serde(skip)]
    pub code: u8,
}

impl Finding {
    fn ok(check: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            level: Level::Ok,
            message: message.into(),
            mend: None,
            code: 0,
        }
    }

    fn bad(
        level: Level,
        check: impl Into<String>,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            check: check.into(),
            level,
            message: message.into(),
            mend: Some(mend.into()),
            code: 1,
        }
    }

    /// No engine answers.
    #[must_use]
    pub fn absent(message: &str, hint: Option<String>) -> Self {
        Self::bad(
            Level::Error,
            "engine",
            message,
            hint.unwrap_or_else(|| "docker version".to_owned()),
        )
        .code(13)
    }

    fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }
}

/// About the engine itself.
#[must_use]
pub fn engine(info: &EngineInfo) -> Vec<Finding> {
    let (major, minor) = info.api;
    let mut findings = vec![Finding::ok(
        "engine",
        format!("Docker Engine {}, API {major}.{minor}", info.version),
    )];
    let has = |name: &str| {
        info.security
            .iter()
            .any(|s| s.split(',').any(|p| p == format!("name={name}")))
    };
    for (name, what) in [
        ("rootless", "a rootless engine"),
        ("userns", "an engine with userns-remap"),
    ] {
        if has(name) {
            findings.push(Finding::bad(
                Level::Error,
                "engine",
                format!("{what} is not supported: owners of data folders would not be what databases expect"),
                "use the system's engine: `unset DOCKER_HOST; docker context use default`",
            ));
        }
    }
    if has("selinux") {
        findings.push(Finding::bad(
            Level::Error,
            "engine",
            "SELinux is enforced for containers: they could not read what is mounted into them",
            "relabel the data folders: `chcon -Rt container_file_t ./data .summoner`, and start the engine without `selinux-enabled`",
        ));
    }
    if info.swarm {
        findings.push(Finding::bad(
            Level::Warning,
            "engine",
            "the engine is part of a swarm: summoner runs plain containers on this node only",
            "docker swarm leave",
        ));
    }
    findings
}

/// Ports of the proxy.
#[must_use]
pub fn port_findings(project: &Project, containers: &[ContainerSummary]) -> Vec<Finding> {
    let environment = &project.environment;
    let proxy = &environment.proxy;
    [
        ("http_port", proxy.http_port),
        ("https_port", proxy.https_port),
    ]
    .into_iter()
    .map(|(key, port)| {
        let check = format!("port {port}");
        match ports::holder(port, containers, &environment.project, &environment.root) {
            None => Finding::ok(check, "free, or our own proxy's"),
            Some(holder) => Finding::bad(
                Level::Error,
                check,
                format!("port {port} is taken by {holder}"),
                format!(
                    "stop it, or choose another port in config.yml: `proxy: {{{key}: {}}}`",
                    port.saturating_add(8000)
                ),
            )
            .code(14),
        }
    })
    .collect()
}

/// Memory, disk and kernel settings against what the minions require. `new` names the instances
/// that are not installed yet: only their disk is still to come.
#[must_use]
pub fn requirements(project: &Project, memory: u64, new: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut sum, mut disk) = (0_u64, 0_u64);
    for instance in &project.environment.instances {
        let requires = &project.minions[&instance.name].manifest.requires;
        sum += requires.memory;
        if new(&instance.name) {
            disk += requires.disk;
            if requires.memory > memory {
                findings.push(Finding::bad(
                    Level::Error,
                    "memory",
                    format!(
                        "`{}` needs {}, the machine has {}",
                        instance.name,
                        size(requires.memory),
                        size(memory)
                    ),
                    format!(
                        "take `{}` out of config.yml, or use a larger machine",
                        instance.name
                    ),
                ));
            }
        }
        for (name, wanted) in &requires.sysctl {
            findings.extend(sysctl(&instance.name, name, wanted));
        }
    }
    if sum > memory {
        findings.push(Finding::bad(
            Level::Warning,
            "memory",
            format!("the minions ask for {} together, the machine has {}", size(sum), size(memory)),
            "fewer minions, a larger machine, or swap: `fallocate -l 2G /swapfile; chmod 600 /swapfile; mkswap /swapfile; swapon /swapfile`",
        ));
    } else {
        findings.push(Finding::ok(
            "memory",
            format!("{} asked for, the machine has {}", size(sum), size(memory)),
        ));
    }
    findings.push(free_space(&project.environment.vsroot, disk));
    findings
}

fn free_space(folder: &Path, wanted: u64) -> Finding {
    let there = existing(folder);
    let Ok(stat) = rustix::fs::statvfs(&there) else {
        return Finding::ok("disk", format!("`{}` cannot be measured", there.display()));
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let message = format!(
        "{} asked for, {} free below `{}`",
        size(wanted),
        size(free),
        there.display()
    );
    if free >= wanted {
        return Finding::ok("disk", message);
    }
    Finding::bad(
        Level::Error,
        "disk",
        message,
        "make room (`docker system df` shows what the engine holds), or put the data elsewhere: `summoner: {vsroot: /mnt/big}`",
    )
}

fn existing(folder: &Path) -> PathBuf {
    folder
        .ancestors()
        .find(|p| p.exists())
        .unwrap_or(Path::new("/"))
        .to_owned()
}

fn sysctl(instance: &str, name: &str, wanted: &str) -> Option<Finding> {
    let path = Path::new("/proc/sys").join(name.replace('.', "/"));
    let check = format!("sysctl {name}");
    let Ok(found) = fs::read_to_string(path) else {
        return Some(Finding::bad(
            Level::Warning,
            check,
            format!("`{instance}` asks for `{name}`, which this kernel does not have"),
            "uname -r",
        ));
    };
    let found = found.trim();
    let good = match (found.parse::<u64>(), wanted.parse::<u64>()) {
        (Ok(found), Ok(wanted)) => found >= wanted,
        _ => found == wanted,
    };
    (!good).then(|| {
        Finding::bad(
            Level::Error,
            check,
            format!("`{instance}` asks for `{name}` = {wanted}, it is {found}"),
            format!(
                "sysctl -w {name}={wanted} && echo {name}={wanted} > /etc/sysctl.d/90-summoner.conf"
            ),
        )
    })
}

/// Bytes of memory of this machine, as the kernel says; the largest number when it does not.
#[must_use]
pub fn host_memory() -> u64 {
    fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|l| l.starts_with("MemTotal:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .map_or(u64::MAX, |kib| kib.saturating_mul(1024))
}

/// What runs from images that were built here because no registry answered.
#[must_use]
pub fn stand_ins(containers: &[Container]) -> Option<Finding> {
    let images: BTreeSet<&str> = containers
        .iter()
        .filter(|c| c.labels.contains_key(labels::STAND_IN))
        .map(|c| c.image.as_str())
        .collect();
    (!images.is_empty()).then(|| {
        Finding::bad(
            Level::Warning,
            "images",
            format!(
                "built here from Debian packages, since no image registry answered: {}",
                images.into_iter().collect::<Vec<_>>().join(", ")
            ),
            "`summoner up` replaces them when a registry answers",
        )
    })
}

/// Permissions of our own files.
#[must_use]
pub fn state_permissions(project: &Project) -> Vec<Finding> {
    let mut places = vec![
        (project.paths.dir.clone(), 0o700),
        (Secrets::path(&project.paths), 0o600),
    ];
    for instance in &project.environment.instances {
        places.push((project.paths.build(&instance.name).join(".env"), 0o600));
    }
    let mut findings: Vec<Finding> = places
        .into_iter()
        .filter_map(|(path, mode)| {
            let found = fs::metadata(&path).ok()?.permissions().mode() & 0o777;
            // Fewer rights than we give are fine.
            (found & !mode != 0).then(|| {
                Finding::bad(
                    Level::Error,
                    "state",
                    format!(
                        "`{}` has mode {found:04o}: others can read your passwords",
                        path.display()
                    ),
                    format!("chmod {mode:o} {}", path.display()),
                )
            })
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok("state", "only its owner reads .summoner/"));
    }
    findings
}

/// A destination as it was found by trying.
#[must_use]
pub fn destination(name: &str, probes: &[Probe]) -> Vec<Finding> {
    let finding = |probe: &Probe| Finding {
        check: format!("destination {name}"),
        level: match (probe.good, &probe.mend) {
            (Some(false), _) => Level::Error,
            // A remark that asks for nothing warns of nothing.
            (None, Some(_)) => Level::Warning,
            _ => Level::Ok,
        },
        message: format!("{}: {}", probe.what, probe.message),
        mend: probe.mend.clone(),
        code: u8::from(probe.good == Some(false)),
    };
    probes.iter().map(finding).collect()
}

/// A destination that could not even be tried.
#[must_use]
pub fn destination_down(name: &str, message: &str, hint: Option<String>) -> Finding {
    Finding::bad(
        Level::Error,
        format!("destination {name}"),
        message,
        hint.unwrap_or_else(|| {
            format!("correct `destinations: {{{name}: …}}` in config.yml, then `summoner doctor`")
        }),
    )
}

/// Bytes for people: `512 MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ];
    for (unit, factor) in UNITS {
        if bytes >= factor {
            let tenths = bytes / (factor / 10).max(1);
            return if tenths >= 100 || tenths.is_multiple_of(10) {
                format!("{} {unit}", bytes / factor)
            } else {
                format!("{}.{} {unit}", tenths / 10, tenths % 10)
            };
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(size(512 << 20), "512 MiB");
        assert_eq!(size(3 << 29), "1.5 GiB");
        assert_eq!(size(10), "10 B");
    }

    #[test]
    fn a_remapped_engine_is_refused() {
        let info = EngineInfo {
            version: "20.10.24".into(),
            api: (1, 41),
            os: "linux".into(),
            arch: "amd64".into(),
            memory: 0,
            cpus: 1,
            root_dir: String::new(),
            security: vec!["name=seccomp,profile=default".into(), "name=userns".into()],
            swarm: false,
        };
        assert!(engine(&info).iter().any(|f| f.level == Level::Error));
    }
}
