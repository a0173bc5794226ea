//! Short and long forms of `volumes:` and `ports:`.

use super::reader::{At, Kind, Read, Reader};
use crate::yaml::Value;

use super::{Mount, Port, Service, Source, interpolate, keys, ports as short_ports};

/// Reads one item of a service's `volumes:`.
pub(super) fn volume<'a>(service: &mut Service, at: &At<'a>, r: &Reader<'a>) {
    if at.is_text() {
        if let Some(mount) = short(at, r) {
            service.volumes.push(mount);
        }
        return;
    }
    let mut draft = Draft::default();
    r.table(at, &mut draft, LONG, keys::MOUNT);
    long(service, draft, at, r);
}

fn short<'a>(at: &At<'a>, r: &Reader<'a>) -> Option<Mount> {
    let text = r.text(at)?;
    let mut parts = split(&text, r);
    let read_only = match (parts.len(), parts.get(2)) {
        (2 | 3, None) => false,
        (3, Some(options)) => {
            let options = *options;
            options_of(options, at, r)?
        }
        (1, _) => {
            r.refuse(
                at,
                "a volume without a name would be lost with its container",
                "name it: `data:/path`, or mount a folder: `./data:/path`",
            );
            return None;
        }
        _ => {
            r.refuse(
                at,
                format!("`{}` is not a mount", at.written()),
                "`SOURCE:TARGET` or `SOURCE:TARGET:ro`",
            );
            return None;
        }
    };
    parts.truncate(2);
    let (source, target) = (parts[0], parts[1]);
    let source = if source.starts_with('~') {
        r.refuse(at, "`~` is not supported yet", "write the whole path");
        return None;
    } else if source.starts_with(['/', '.']) {
        Source::Bind(source.to_owned())
    } else if source.starts_with('$') && r.variables.is_none() {
        r.refuse(
            at,
            format!("`{source}` may be a path or a name"),
            "use the long form: `{type: bind, source: …, target: …}`",
        );
        return None;
    } else {
        r.refers(Kind::Volume, source, at);
        Source::Volume(source.to_owned())
    };
    target_of(target, at, r)?;
    Some(Mount {
        source,
        target: target.to_owned(),
        read_only,
    })
}

/// Parts between colons; those within `${…}` do not count while variables have no values.
fn split<'t>(text: &'t str, r: &Reader<'_>) -> Vec<&'t str> {
    let mut parts = Vec::new();
    let mut rest = text;
    let find = |text: &str| match r.variables {
        Some(_) => text.find(':'),
        None => interpolate::find_outside(text, ':'),
    };
    while let Some(i) = find(rest) {
        parts.push(&rest[..i]);
        rest = &rest[i + 1..];
    }
    parts.push(rest);
    parts
}

/// Whether the options of a short form say read-only.
fn options_of<'a>(options: &str, at: &At<'a>, r: &Reader<'a>) -> Option<bool> {
    let mut read_only = false;
    for option in options.split(',') {
        match option {
            "ro" => read_only = true,
            // How a Mac shares files; the engine itself does nothing with them.
            "rw" | "cached" | "delegated" | "consistent" => {}
            "z" | "Z" => {
                r.refuse(
                    at,
                    format!("`{option}`: relabelling for SELinux is not supported yet"),
                    "leave it out",
                );
                return None;
            }
            _ => {
                r.refuse(at, "unknown option of a mount", "`ro` or `rw`");
                return None;
            }
        }
    }
    Some(read_only)
}

fn target_of<'a>(target: &str, at: &At<'a>, r: &Reader<'a>) -> Option<()> {
    if target.starts_with('/') || (r.variables.is_none() && target.starts_with('$')) {
        return Some(());
    }
    r.refuse(
        at,
        "the path in the container must be absolute",
        "such as `./data:/var/lib/app`",
    );
    None
}

/// A long form while it is being read.
#[derive(Default)]
struct Draft {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    tmpfs: Vec<String>,
}

const LONG: &[(&str, Read<Draft>)] = &[
    ("type", |d, at, r| {
        d.kind = r.value(at, "a kind of mount", "bind", |t| {
            matches!(t, "bind" | "volume" | "tmpfs").then(|| t.to_owned())
        });
    }),
    ("source", |d, at, r| d.source = r.text(at)),
    ("target", |d, at, r| d.target = r.text(at)),
    ("read_only", |d, at, r| {
        d.read_only = r.boolean(at) == Some(true);
    }),
    ("bind", |d, at, r| {
        r.table(
            at,
            d,
            BIND,
            &[
                ("propagation", "leave it out"),
                ("selinux", "leave it out"),
                ("recursive", "leave it out"),
            ],
        );
    }),
    ("volume", |d, at, r| {
        r.table(
            at,
            d,
            &[],
            &[
                ("nocopy", "leave it out"),
                ("subpath", "mount a folder"),
                ("labels", "leave it out"),
            ],
        );
    }),
    ("tmpfs", |d, at, r| r.table(at, d, TMPFS, &[])),
];

const BIND: &[(&str, Read<Draft>)] = &[("create_host_path", |_, at, r| {
    if r.boolean(at) == Some(false) {
        r.refuse(
            at,
            "`create_host_path: false` is not supported yet",
            "leave it out: a missing folder is made",
        );
    }
})];

const TMPFS: &[(&str, Read<Draft>)] = &[
    ("size", |d, at, r| {
        d.tmpfs
            .extend(r.size(at).map(|bytes| format!("size={bytes}")));
    }),
    ("mode", |d, at, r| d.tmpfs.extend(mode(at, r))),
];

/// Permission bits: text is octal; a number is one, so `01777` and `1023` are the same.
fn mode(at: &At<'_>, r: &Reader<'_>) -> Option<String> {
    let decimal = matches!(at.node.value, Value::Integer(_)) && !at.node.text.starts_with('0');
    let digits = |text: &str| text.strip_prefix("0o").unwrap_or(text).to_owned();
    let bits = r.value(at, "permission bits", "01777", |text| {
        u32::from_str_radix(&digits(text), if decimal { 10 } else { 8 }).ok()
    });
    bits.map(|bits| format!("mode={bits:o}"))
}

fn long<'a>(service: &mut Service, draft: Draft, at: &At<'a>, r: &Reader<'a>) {
    let Some(kind) = draft.kind else {
        if at.node.get("type").is_none() && matches!(at.node.value, Value::Mapping(_)) {
            r.refuse(
                at,
                "`type` is missing",
                "`bind` for a folder of the host, `volume` for a named volume",
            );
        }
        return;
    };
    let Some(target) = draft.target else {
        if at.node.get("target").is_none() {
            r.refuse(at, "`target` is missing", "the path in the container");
        }
        return;
    };
    if target_of(&target, at, r).is_none() {
        return;
    }
    if kind == "tmpfs" {
        service.tmpfs.insert(target, draft.tmpfs.join(","));
        return;
    }
    let source = match draft.source {
        Some(source) if !source.is_empty() => source,
        _ => {
            r.refuse(
                at,
                "`source` is missing",
                "a path of the host, or the name of a volume",
            );
            return;
        }
    };
    let source = if kind == "bind" {
        if source.starts_with('~') {
            r.refuse(at, "`~` is not supported yet", "write the whole path");
            return;
        }
        Source::Bind(source)
    } else {
        r.refers(Kind::Volume, &source, at);
        Source::Volume(source)
    };
    service.volumes.push(Mount {
        source,
        target,
        read_only: draft.read_only,
    });
}

/// A long form of a port while it is being read.
#[derive(Default)]
struct PortDraft {
    address: String,
    host: Vec<u16>,
    container: Vec<u16>,
    protocol: Option<String>,
}

const PORT: &[(&str, Read<PortDraft>)] = &[
    ("host_ip", |d, at, r| {
        let address = r.value(at, "an IP address", "127.0.0.1", |t| {
            short_ports::bare_address(t).ok()
        });
        d.address = address.unwrap_or_default();
    }),
    ("published", |d, at, r| d.host = port_range(at, r)),
    ("target", |d, at, r| d.container = port_range(at, r)),
    ("protocol", |d, at, r| {
        d.protocol = r.value(at, "a protocol", "tcp", |t| {
            short_ports::protocol_name(t).ok()
        });
    }),
    // Of effect in a swarm only, and written by `docker compose config`.
    ("mode", |_, at, r| {
        r.accept(at, "a mode", "host", &["host", "ingress"]);
    }),
    // For people and meshes; the engine hears nothing of either.
    ("name", |_, at, r| _ = r.text(at)),
    ("app_protocol", |_, at, r| _ = r.text(at)),
];

fn port_range<'a>(at: &At<'a>, r: &Reader<'a>) -> Vec<u16> {
    r.value(at, "a port", "8080", |t| short_ports::range(t).ok())
        .into_iter()
        .flatten()
        .collect()
}

/// Reads one item of a service's `ports:`.
pub(super) fn ports<'a>(at: &At<'a>, r: &Reader<'a>) -> Vec<Port> {
    if at.is_text() {
        let Some(text) = r.text(at) else {
            return Vec::new();
        };
        return short_ports::parse(&text).unwrap_or_else(|(message, hint)| {
            r.refuse(at, format!("`{}`: {message}", at.written()), hint);
            Vec::new()
        });
    }
    let mut draft = PortDraft::default();
    r.table(at, &mut draft, PORT, &[]);
    for key in ["target", "published"] {
        if at.node.get(key).is_none() {
            r.refuse(
                at,
                format!("`{key}` is missing"),
                "`{published: 8080, target: 80}`",
            );
        }
    }
    if draft.host.len() != draft.container.len()
        && !draft.host.is_empty()
        && !draft.container.is_empty()
    {
        r.refuse(
            at,
            "`published` and `target` are ranges of different length",
            "give both the same length",
        );
        return Vec::new();
    }
    draft
        .host
        .into_iter()
        .zip(draft.container)
        .map(|(host, container)| Port {
            address: draft.address.clone(),
            host,
            container,
            protocol: draft.protocol.clone().unwrap_or_else(|| "tcp".to_owned()),
        })
        .collect()
}
