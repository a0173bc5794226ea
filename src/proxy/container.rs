//! The proxy's own container, as a Compose project like every other.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::paths;
use crate::compose::{Healthcheck, Logging, Mount, Network, Port, Project, Service, Source};
use crate::config::environment::Proxy;

/// Name of the service, and of its container before `-<domain>`.
pub const SERVICE: &str = "proxy";

/// Workers, zones (about 40 MiB) and buffers; uploads are buffered on disk, not here.
const MEMORY: u64 = 512 * 1024 * 1024;

/// Removes the socket that an nginx killed with SIGKILL, or by a power cut, left behind: the next
/// one would exit with `bind() … (98)`, and every site would be down with it.
const START: &str = "rm -f /run/summoner/ctl.sock; exec nginx -c /etc/summoner/proxy/current/nginx.conf -g 'daemon off;'";

/// Through the control socket, so that it says nothing about any site. An image without curl is
/// asked for less: whether the first process is alive.
const CHECK: &str = "if command -v curl >/dev/null; then \
    curl -fsS -o /dev/null -m 3 --unix-socket /run/summoner/ctl.sock http://proxy/generation; \
    else kill -0 \"$$(cat /run/summoner/nginx.pid)\"; fi";

/// Name of the proxy's container.
#[must_use]
pub fn container_name(domain: &str) -> String {
    format!("{SERVICE}-{domain}")
}

/// The proxy as a Compose project named `project`. `state` is `.summoner/`, absolute; `edge` is
/// the name of the network it shares with the applications, made beforehand. It does not depend on
/// the sites: a new one never recreates the proxy.
#[must_use]
pub fn compose(proxy: &Proxy, project: &str, domain: &str, state: &Path, edge: &str) -> Project {
    let mount = |folder: &str, target: &str, read_only| Mount {
        source: Source::Bind(state.join(folder).display().to_string()),
        target: target.to_owned(),
        read_only,
    };
    let port = |host, container| Port {
        address: String::new(),
        host,
        container,
        protocol: "tcp".to_owned(),
    };
    let service = Service {
        image: proxy.image.clone(),
        container_name: Some(container_name(domain)),
        command: Some(["sh", "-c", START].map(str::to_owned).to_vec()),
        volumes: vec![
            mount("proxy", paths::CONFIG, true),
            mount("certs", paths::CERTIFICATES, true),
            mount("acme/webroot", paths::WEBROOT, true),
            mount("run", paths::RUN, false),
        ],
        ports: vec![port(proxy.http_port, 80), port(proxy.https_port, 443)],
        networks: BTreeMap::from([("edge".to_owned(), Vec::new())]),
        healthcheck: Some(Healthcheck {
            test: vec!["CMD-SHELL".to_owned(), CHECK.to_owned()],
            interval: Some(Duration::from_secs(2)),
            timeout: Some(Duration::from_secs(5)),
            retries: Some(3),
            start_period: Some(Duration::from_secs(10)),
            start_interval: Some(Duration::from_secs(1)),
        }),
        restart: Some("unless-stopped".to_owned()),
        mem_limit: Some(MEMORY),
        // What nginx needs: ports below 1024, workers of another user, and files of the user who
        // runs summoner, which are 0600.
        cap_drop: vec!["ALL".to_owned()],
        cap_add: [
            "CHOWN",
            "DAC_OVERRIDE",
            "NET_BIND_SERVICE",
            "SETGID",
            "SETUID",
        ]
        .map(str::to_owned)
        .to_vec(),
        security_opt: vec!["no-new-privileges:true".to_owned()],
        stop_signal: Some("QUIT".to_owned()),
        stop_grace_period: Some(Duration::from_secs(10)),
        logging: Some(Logging {
            driver: "json-file".to_owned(),
            options: [("max-size", "10m"), ("max-file", "5")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        }),
        ..Service::default()
    };
    Project {
        name: Some(project.to_owned()),
        services: BTreeMap::from([(SERVICE.to_owned(), service)]),
        networks: BTreeMap::from([(
            "edge".to_owned(),
            Network {
                name: Some(edge.to_owned()),
                external: true,
                internal: false,
            },
        )]),
        volumes: BTreeMap::new(),
    }
}

/// Folders of the state that [`compose`] mounts, relative, with their modes. The engine must find
/// them: it would make them as root otherwise.
pub const FOLDERS: &[(&str, u32)] = &[
    ("proxy", 0o755),
    ("certs", 0o755),
    ("acme", 0o755),
    // Read by nginx's workers, who are neither root nor us.
    ("acme/webroot", 0o755),
    ("run", 0o755),
];

/// Links for an application's end in the edge network, so that it reaches its own URL: each is
/// `<proxy container>:<host>`, which Docker's DNS answers with the proxy's address of the moment.
///
/// Aliases of the proxy would do the same for everybody, but aliases change only by leaving and
/// joining the network: 0.1 to 0.15 s without any site, and every open connection cut (measured on
/// Docker 20.10, `docs/proxy.md`). A link belongs to the application and touches nobody else.
#[must_use]
pub fn links(hosts: &[String], domain: &str) -> Vec<String> {
    let proxy = container_name(domain);
    hosts
        .iter()
        .filter(|host| !host.starts_with("*."))
        .map(|host| format!("{proxy}:{host}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::Tls;

    fn proxy() -> Proxy {
        Proxy {
            http_port: 8080,
            https_port: 8443,
            tls: Tls::Auto,
            trusted_proxies: Vec::new(),
            image: "nginx:1.30.6".into(),
        }
    }

    #[test]
    fn the_container_has_what_the_design_asks_for() {
        let project = compose(
            &proxy(),
            "proxy-example-org",
            "example.org",
            Path::new("/srv/.summoner"),
            "edge-x",
        );
        let service = &project.services[SERVICE];
        assert_eq!(service.container_name.as_deref(), Some("proxy-example.org"));
        let ports: Vec<_> = service
            .ports
            .iter()
            .map(|p| (p.host, p.container))
            .collect();
        assert_eq!(ports, [(8080, 80), (8443, 443)]);
        let writable: Vec<_> = service
            .volumes
            .iter()
            .filter(|m| !m.read_only)
            .map(|m| m.target.as_str())
            .collect();
        assert_eq!(writable, [paths::RUN]);
        assert!(!format!("{project:?}").contains("docker.sock"));
        for mount in &service.volumes {
            let Source::Bind(path) = &mount.source else {
                panic!("{mount:?}")
            };
            let folder = path.strip_prefix("/srv/.summoner/").unwrap();
            assert!(
                FOLDERS.iter().any(|(known, _)| *known == folder),
                "{folder}"
            );
        }
        assert_eq!(project.networks["edge"].name.as_deref(), Some("edge-x"));
    }

    #[test]
    fn the_scripts_name_the_paths_of_the_mounts() {
        assert!(START.contains(&format!("{}/ctl.sock", paths::RUN)));
        assert!(START.contains(&format!("{}/current/nginx.conf", paths::CONFIG)));
        assert!(CHECK.contains(&format!("{}/ctl.sock", paths::RUN)));
    }

    #[test]
    fn links_lead_an_application_to_its_own_names() {
        let hosts = ["blog.a.org".to_owned(), "*.a.org".to_owned()];
        assert_eq!(links(&hosts, "a.org"), ["proxy-a.org:blog.a.org"]);
    }
}
