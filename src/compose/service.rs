//! Keys of a service: the table that reads them is also the list of what is supported.

use std::collections::BTreeSet;

use super::reader::{At, Kind, Read, Reader};
use super::{Condition, Logging, Service, healthcheck, interpolate, keys, mounts, ports, words};

/// Every key of a service that has an effect here.
pub(super) const KEYS: &[(&str, Read<Service>)] = &[
    ("cap_add", |s, at, r| s.cap_add = r.texts(at)),
    ("cap_drop", |s, at, r| s.cap_drop = r.texts(at)),
    ("command", |s, at, r| s.command = command(at, r)),
    ("container_name", |s, at, r| s.container_name = r.text(at)),
    ("cpus", |s, at, r| {
        s.cpus = r.value(at, "a number of cores", "0.5", |t| {
            t.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0)
        });
    }),
    ("depends_on", depends_on),
    ("entrypoint", |s, at, r| s.entrypoint = command(at, r)),
    ("environment", |s, at, r| {
        s.environment = r.dictionary(at, None);
    }),
    ("expose", |s, at, r| {
        s.expose = r
            .items(at)
            .iter()
            .flat_map(|item| exposed(item, r))
            .collect();
    }),
    ("external_links", |s, at, r| s.external_links = r.texts(at)),
    ("extra_hosts", |s, at, r| s.extra_hosts = extra_hosts(at, r)),
    ("healthcheck", |s, at, r| {
        s.healthcheck = healthcheck::read(at, r);
    }),
    ("hostname", |s, at, r| s.hostname = r.text(at)),
    ("image", |s, at, r| {
        s.image = image(at, r).unwrap_or_default();
    }),
    ("init", |s, at, r| s.init = r.boolean(at)),
    ("labels", |s, at, r| s.labels = r.dictionary(at, Some(""))),
    ("logging", |s, at, r| {
        let mut logging = Logging {
            driver: "json-file".to_owned(),
            ..Logging::default()
        };
        r.table(at, &mut logging, LOGGING, &[]);
        s.logging = Some(logging);
    }),
    ("mem_limit", |s, at, r| s.mem_limit = r.size(at)),
    ("networks", networks),
    ("pids_limit", |s, at, r| s.pids_limit = r.integer(at, "200")),
    ("ports", |s, at, r| {
        s.ports = r
            .items(at)
            .iter()
            .flat_map(|item| mounts::ports(item, r))
            .collect();
    }),
    ("read_only", |s, at, r| {
        s.read_only = r.boolean(at).unwrap_or_default();
    }),
    ("restart", |s, at, r| s.restart = restart(at, r)),
    ("security_opt", |s, at, r| s.security_opt = r.texts(at)),
    ("shm_size", |s, at, r| s.shm_size = r.size(at)),
    ("stop_grace_period", |s, at, r| {
        s.stop_grace_period = r.duration(at);
    }),
    ("stop_signal", |s, at, r| s.stop_signal = r.text(at)),
    ("sysctls", |s, at, r| s.sysctls = r.dictionary(at, None)),
    ("tmpfs", tmpfs),
    ("ulimits", ulimits),
    ("user", |s, at, r| s.user = r.text(at)),
    ("volumes", |s, at, r| {
        for item in r.items(at) {
            mounts::volume(s, &item, r);
        }
    }),
    ("working_dir", |s, at, r| s.working_dir = r.text(at)),
];

pub(super) const LOGGING: &[(&str, Read<Logging>)] = &[
    ("driver", |l, at, r| {
        l.driver = r.text(at).unwrap_or_default();
    }),
    ("options", |l, at, r| l.options = r.dictionary(at, None)),
];

/// Reads one service.
pub(super) fn read<'a>(at: &At<'a>, r: &Reader<'a>) -> Service {
    let mut service = Service::default();
    r.table(at, &mut service, KEYS, keys::SERVICE);
    twice(&service, at, r);
    if at.node.get("image").is_none() && at.node.get("build").is_none() {
        r.refuse(
            at,
            "`image` is missing",
            "name the image to run: `image: nginx:1.30.6`",
        );
    }
    service
}

/// Compose keeps the last of two mounts at one path without a word; the engine refuses two equal ports.
fn twice<'a>(service: &Service, at: &At<'a>, r: &Reader<'a>) {
    let report = |key: &str, message: String| {
        if let Some(node) = at.node.get(key) {
            r.refuse(&at.below(key, node), message, "keep one of the two");
        }
    };
    let mut targets: BTreeSet<&str> = service.tmpfs.keys().map(String::as_str).collect();
    for (i, mount) in service.volumes.iter().enumerate() {
        if !targets.insert(&mount.target) {
            report(
                "volumes",
                format!("mount {} is at a path that another one has", i + 1),
            );
        }
    }
    let mut ports = BTreeSet::new();
    for port in &service.ports {
        if !ports.insert((&port.address, port.host, &port.protocol)) {
            report(
                "ports",
                format!("port {} of the host is there twice", port.host),
            );
        }
    }
}

fn image<'a>(at: &At<'a>, r: &Reader<'a>) -> Option<String> {
    let text = r.text(at)?;
    if text.is_empty() || text.contains(char::is_whitespace) && r.variables.is_some() {
        r.refuse(
            at,
            format!("`{}` is not the name of an image", at.written()),
            "such as `nginx:1.30.6`",
        );
        return None;
    }
    Some(text)
}

/// Words of a command; nothing means the image's own, `[]` means none.
pub(super) fn command<'a>(at: &At<'a>, r: &Reader<'a>) -> Option<Vec<String>> {
    if at.node.is_null() {
        return None;
    }
    if !at.is_text() {
        return Some(r.texts(at));
    }
    let text = r.text(at)?;
    let (message, hint) = match words::split(&text, r.variables.is_none()) {
        Ok(words) => return Some(words),
        Err(words::Unsplittable::Unclosed(c)) => (
            format!("`{c}` is opened and never closed"),
            "write a list, one word an item: `[sh, -c, \"…\"]`".to_owned(),
        ),
        Err(words::Unsplittable::Operator(c)) => (
            format!("`{c}` means something to a shell only, and none runs this command"),
            "write `[sh, -c, \"…\"]`, or put the word in quotes".to_owned(),
        ),
    };
    r.refuse(at, message, hint);
    None
}

fn restart<'a>(at: &At<'a>, r: &Reader<'a>) -> Option<String> {
    r.value(at, "a restart policy", "unless-stopped", |text| {
        let retries = text
            .strip_prefix("on-failure:")
            .is_some_and(|n| n.parse::<u32>().is_ok());
        let known = matches!(text, "no" | "always" | "on-failure" | "unless-stopped");
        // Unquoted `no` is `false` to readers of YAML 1.1, and so it is often written.
        if text == "false" {
            Some("no".to_owned())
        } else {
            (known || retries).then(|| text.to_owned())
        }
    })
}

fn exposed<'a>(at: &At<'a>, r: &Reader<'a>) -> Vec<u16> {
    let ports = r.value(at, "a port", "8080", |text| {
        ports::range(text.strip_suffix("/tcp").unwrap_or(text)).ok()
    });
    ports.into_iter().flatten().collect()
}

fn depends_on<'a>(service: &mut Service, at: &At<'a>, r: &Reader<'a>) {
    if matches!(at.node.value, crate::yaml::Value::Sequence(_)) {
        for item in r.items(at) {
            if let Some(name) = r.text(&item) {
                r.refers(Kind::Service, &name, &item);
                service.depends_on.insert(name, Condition::Started);
            }
        }
        return;
    }
    for (name, at) in r.pairs(at) {
        r.refers(Kind::Service, name, &at);
        let mut condition = Condition::Started;
        r.table(&at, &mut condition, DEPENDENCY, &[]);
        service.depends_on.insert(name.to_owned(), condition);
    }
}

const DEPENDENCY: &[(&str, Read<Condition>)] = &[
    ("condition", |condition, at, r| {
        let read = r.value(at, "a condition", "service_healthy", |text| {
            [Condition::Started, Condition::Healthy, Condition::Completed]
                .into_iter()
                .find(|c| c.name() == text)
        });
        *condition = read.unwrap_or(Condition::Started);
    }),
    ("required", |_, at, r| {
        if r.boolean(at) == Some(false) {
            r.refuse(
                at,
                "`required: false` is not supported yet",
                "leave the dependency out",
            );
        }
    }),
    ("restart", |_, at, r| {
        if r.boolean(at) == Some(true) {
            r.refuse(at, "`restart: true` is not supported yet", "leave it out");
        }
    }),
];

fn networks<'a>(service: &mut Service, at: &At<'a>, r: &Reader<'a>) {
    if matches!(at.node.value, crate::yaml::Value::Sequence(_)) {
        for item in r.items(at) {
            if let Some(name) = r.text(&item) {
                r.refers(Kind::Network, &name, &item);
                service.networks.insert(name, Vec::new());
            }
        }
        return;
    }
    for (name, at) in r.pairs(at) {
        r.refers(Kind::Network, name, &at);
        let mut aliases = Vec::new();
        r.table(
            &at,
            &mut aliases,
            &[("aliases", |aliases, at, r| *aliases = r.texts(at))],
            keys::ATTACHMENT,
        );
        service.networks.insert(name.to_owned(), aliases);
    }
}

fn tmpfs<'a>(service: &mut Service, at: &At<'a>, r: &Reader<'a>) {
    let texts = if at.is_text() {
        r.text(at).into_iter().collect()
    } else {
        r.texts(at)
    };
    for text in texts {
        let (path, options) = text.split_once(':').unwrap_or((&text, ""));
        if path.starts_with('/') {
            service.tmpfs.insert(path.to_owned(), options.to_owned());
        } else {
            r.refuse(
                at,
                "a tmpfs needs an absolute path",
                "such as `/run` or `/tmp:size=64m`",
            );
        }
    }
}

/// A pair of limits while it is being read.
type Limits = (Option<i64>, Option<i64>);

const LIMITS: &[(&str, Read<Limits>)] = &[
    ("soft", |limits, at, r| limits.0 = r.integer(at, "20000")),
    ("hard", |limits, at, r| limits.1 = r.integer(at, "40000")),
];

fn ulimits<'a>(service: &mut Service, at: &At<'a>, r: &Reader<'a>) {
    for (name, at) in r.pairs(at) {
        let limits = if at.is_text() {
            let both = r.integer(&at, "65535");
            (both, both)
        } else {
            let mut limits = Limits::default();
            r.table(&at, &mut limits, LIMITS, &[]);
            if at.node.get("soft").is_none() || at.node.get("hard").is_none() {
                r.refuse(
                    &at,
                    "a limit needs `soft` and `hard`",
                    "`{soft: 20000, hard: 40000}`, or one number for both",
                );
            }
            limits
        };
        if let (Some(soft), Some(hard)) = limits {
            service.ulimits.insert(name.to_owned(), (soft, hard));
        }
    }
}

/// `host:address`, `host=address`, or a mapping of hosts to an address or several.
fn extra_hosts<'a>(at: &At<'a>, r: &Reader<'a>) -> Vec<String> {
    let mut hosts = Vec::new();
    if matches!(at.node.value, crate::yaml::Value::Mapping(_)) {
        for (host, at) in r.pairs(at) {
            let addresses = if at.is_text() {
                r.text(&at).into_iter().collect()
            } else {
                r.texts(&at)
            };
            hosts.extend(
                addresses
                    .into_iter()
                    .map(|address| format!("{host}:{address}")),
            );
        }
        return hosts;
    }
    for item in r.items(at) {
        let Some(text) = r.text(&item) else { continue };
        let find = |separator| match r.variables {
            Some(_) => text.find(separator),
            None => interpolate::find_outside(&text, separator),
        };
        // An IPv6 address has colons, so an equals sign decides.
        let separator = find('=').or_else(|| find(':'));
        match separator {
            Some(i) => hosts.push(format!("{}:{}", &text[..i], &text[i + 1..])),
            None => r.refuse(
                &item,
                format!("`{}` names no address", item.written()),
                "such as `host.docker.internal:host-gateway`",
            ),
        }
    }
    hosts
}
