//! Writing a project in the long forms that `docker compose config` writes and reads.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Healthcheck, Mount, Port, Project, Service, Source, duration};
use crate::yaml;

/// The whole file.
pub(super) fn write(project: &Project) -> String {
    yaml::to_yaml(&value(project))
}

/// What the file says.
pub(super) fn value(project: &Project) -> Value {
    let mut top = Map::new();
    put(&mut top, "name", project.name.as_ref());
    let services = project
        .services
        .iter()
        .map(|(name, s)| (name.clone(), service(s)));
    top.insert("services".to_owned(), Value::Object(services.collect()));
    if !project.networks.is_empty() {
        let networks = project.networks.iter().map(|(key, n)| {
            let mut map = Map::new();
            put(&mut map, "name", n.name.as_ref());
            flag(&mut map, "external", n.external);
            flag(&mut map, "internal", n.internal);
            (key.clone(), Value::Object(map))
        });
        top.insert("networks".to_owned(), Value::Object(networks.collect()));
    }
    if !project.volumes.is_empty() {
        let volumes = project.volumes.iter().map(|(key, v)| {
            let mut map = Map::new();
            put(&mut map, "name", v.name.as_ref());
            flag(&mut map, "external", v.external);
            (key.clone(), Value::Object(map))
        });
        top.insert("volumes".to_owned(), Value::Object(volumes.collect()));
    }
    Value::Object(top)
}

/// One service; keys in the order people read them: what runs, with what, how long.
fn service(s: &Service) -> Value {
    let mut map = Map::new();
    put(&mut map, "image", Some(&s.image));
    put(&mut map, "container_name", s.container_name.as_ref());
    put(&mut map, "hostname", s.hostname.as_ref());
    put(&mut map, "entrypoint", s.entrypoint.as_ref());
    put(&mut map, "command", s.command.as_ref());
    put(&mut map, "user", s.user.as_ref());
    put(&mut map, "working_dir", s.working_dir.as_ref());
    strings(&mut map, "environment", &s.environment);
    list(&mut map, "volumes", s.volumes.iter().map(mount));
    list(
        &mut map,
        "tmpfs",
        s.tmpfs.iter().map(|(path, options)| {
            Value::String(if options.is_empty() {
                path.clone()
            } else {
                format!("{path}:{options}")
            })
        }),
    );
    list(&mut map, "ports", s.ports.iter().map(port));
    list(
        &mut map,
        "expose",
        s.expose.iter().map(|port| json!(port.to_string())),
    );
    if !s.networks.is_empty() {
        let networks = s.networks.iter().map(|(key, aliases)| {
            let mut map = Map::new();
            list(&mut map, "aliases", aliases.iter().map(|a| json!(a)));
            (key.clone(), Value::Object(map))
        });
        map.insert("networks".to_owned(), Value::Object(networks.collect()));
    }
    list(
        &mut map,
        "external_links",
        s.external_links.iter().map(|l| json!(l)),
    );
    list(
        &mut map,
        "extra_hosts",
        s.extra_hosts.iter().map(|h| json!(h)),
    );
    if !s.depends_on.is_empty() {
        let on = s
            .depends_on
            .iter()
            .map(|(name, c)| (name.clone(), json!({"condition": c.name()})));
        map.insert("depends_on".to_owned(), Value::Object(on.collect()));
    }
    if let Some(check) = &s.healthcheck {
        map.insert("healthcheck".to_owned(), healthcheck(check));
    }
    put(&mut map, "restart", s.restart.as_ref());
    put(&mut map, "init", s.init);
    put(&mut map, "stop_signal", s.stop_signal.as_ref());
    put(
        &mut map,
        "stop_grace_period",
        s.stop_grace_period.map(duration::format),
    );
    put(&mut map, "mem_limit", s.mem_limit);
    put(&mut map, "cpus", s.cpus);
    put(&mut map, "pids_limit", s.pids_limit);
    put(&mut map, "shm_size", s.shm_size);
    flag(&mut map, "read_only", s.read_only);
    list(&mut map, "cap_add", s.cap_add.iter().map(|c| json!(c)));
    list(&mut map, "cap_drop", s.cap_drop.iter().map(|c| json!(c)));
    list(
        &mut map,
        "security_opt",
        s.security_opt.iter().map(|o| json!(o)),
    );
    if !s.ulimits.is_empty() {
        let limits = s
            .ulimits
            .iter()
            .map(|(name, (soft, hard))| (name.clone(), json!({"soft": soft, "hard": hard})));
        map.insert("ulimits".to_owned(), Value::Object(limits.collect()));
    }
    strings(&mut map, "sysctls", &s.sysctls);
    if let Some(logging) = &s.logging {
        let mut log = Map::new();
        put(&mut log, "driver", Some(&logging.driver));
        strings(&mut log, "options", &logging.options);
        map.insert("logging".to_owned(), Value::Object(log));
    }
    strings(&mut map, "labels", &s.labels);
    Value::Object(map)
}

fn mount(m: &Mount) -> Value {
    let (kind, source) = match &m.source {
        Source::Bind(path) => ("bind", path),
        Source::Volume(name) => ("volume", name),
    };
    let mut map = Map::new();
    put(&mut map, "type", Some(kind));
    put(&mut map, "source", Some(source));
    put(&mut map, "target", Some(&m.target));
    flag(&mut map, "read_only", m.read_only);
    Value::Object(map)
}

fn port(p: &Port) -> Value {
    let mut map = Map::new();
    put(
        &mut map,
        "host_ip",
        (!p.address.is_empty()).then_some(&p.address),
    );
    put(&mut map, "target", Some(p.container));
    // Text, as the specification has it.
    put(&mut map, "published", Some(p.host.to_string()));
    put(&mut map, "protocol", Some(&p.protocol));
    Value::Object(map)
}

fn healthcheck(check: &Healthcheck) -> Value {
    let mut map = Map::new();
    list(&mut map, "test", check.test.iter().map(|word| json!(word)));
    put(&mut map, "interval", check.interval.map(duration::format));
    put(&mut map, "timeout", check.timeout.map(duration::format));
    put(&mut map, "retries", check.retries);
    put(
        &mut map,
        "start_period",
        check.start_period.map(duration::format),
    );
    put(
        &mut map,
        "start_interval",
        check.start_interval.map(duration::format),
    );
    Value::Object(map)
}

fn put<T: serde::Serialize>(map: &mut Map<String, Value>, key: &str, value: Option<T>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), json!(value));
    }
}

fn flag(map: &mut Map<String, Value>, key: &str, value: bool) {
    put(map, key, value.then_some(true));
}

fn list(map: &mut Map<String, Value>, key: &str, items: impl Iterator<Item = Value>) {
    let items: Vec<Value> = items.collect();
    put(map, key, (!items.is_empty()).then_some(items));
}

fn strings(map: &mut Map<String, Value>, key: &str, values: &BTreeMap<String, String>) {
    put(map, key, (!values.is_empty()).then_some(values));
}
