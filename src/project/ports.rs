//! Who holds a host port: a container, or a process of the host.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;

use crate::engine::ContainerSummary;
use crate::plan::desired::{PROXY, labels};

/// Who holds `port`, when it is neither free nor our own proxy's.
#[must_use]
pub fn holder(
    port: u16,
    containers: &[ContainerSummary],
    project: &str,
    root: &Path,
) -> Option<String> {
    let container = containers.iter().find(|c| c.ports.contains(&port));
    if let Some(container) = container {
        let label = |key: &str| container.labels.get(key).map(String::as_str);
        // The project may have had another name, and its folder another place.
        let of_project = label(labels::PROJECT) == Some(project)
            || label(labels::ROOT).is_some_and(|r| Path::new(r) == root);
        let ours = of_project && label(labels::MINION) == Some(PROXY);
        return (!ours).then(|| format!("the container `{}`", container.name));
    }
    match TcpListener::bind(("0.0.0.0", port)) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Some(process(port).unwrap_or_else(|| "a process of the host".to_owned()))
        }
        // Not allowed to bind it ourselves: the engine is, and tells if it cannot.
        _ => None,
    }
}

/// Name and pid of the process that listens on a TCP port; `None` when it cannot be seen, since only
/// root may look into everybody's open files.
fn process(port: u16) -> Option<String> {
    let inodes: BTreeSet<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| listening(&text, port))
        .collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    for entry in processes {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(files) = fs::read_dir(entry.path().join("fd")) else {
            continue;
        };
        let holds = files.flatten().any(|file| {
            fs::read_link(file.path())
                .ok()
                .and_then(|link| link.to_str().map(str::to_owned))
                .and_then(|link| {
                    link.strip_prefix("socket:[")?
                        .strip_suffix(']')
                        .map(str::to_owned)
                })
                .is_some_and(|inode| inodes.contains(&inode))
        });
        if holds {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some(format!("`{}` (pid {pid})", name.trim()));
        }
    }
    None
}

/// Inodes of the sockets that listen on a port, from `/proc/net/tcp`.
fn listening(text: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let local = fields.get(1)?.rsplit_once(':')?.1;
            let matches = u16::from_str_radix(local, 16).ok()? == port && *fields.get(3)? == LISTEN;
            matches.then(|| (*fields.get(9).unwrap_or(&"")).to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_process_that_listens() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let root = Path::new("/acme");
        let holder = holder(port, &[], "acme", root).unwrap();
        assert!(
            holder.contains(&format!("pid {}", std::process::id())),
            "{holder}"
        );
        drop(listener);
        assert_eq!(super::holder(port, &[], "acme", root), None);
    }
}
