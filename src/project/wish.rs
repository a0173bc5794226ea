//! From rendered Compose projects to what the planner compares: groups, routes, sites.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::compose;
use crate::config::environment::Tls;
use crate::minion::Minion;
use crate::plan::desired::{self, Context, Desired, Group, PROXY, Routes};
use crate::plan::hash::Hasher;
use crate::problem::{Problem, Problems};
use crate::proxy::{self, Settings, Site, SiteTls};
use crate::render;
use crate::secret::Secret;

use super::{Project, ProjectError, Rendered, dotenv, files_hash};

impl Project {
    pub(super) fn group(
        &self,
        name: &str,
        project: &compose::Project,
        secrets: &BTreeMap<String, Secret>,
        files: &BTreeMap<String, Vec<u8>>,
        minion: Option<&Minion>,
    ) -> Result<(Group, String), Problems> {
        let text = project.to_yaml();
        let file = format!(".summoner/build/{name}/compose.yml");
        // What runs is what the written file says, not what was in memory before.
        let parsed = compose::Project::parse(&file, &text, Some(secrets))?;
        let files_dir = self.paths.build_files(name).join(files_hash(files));
        let hasher = Hasher {
            key: &self.secrets.hash_key,
            secrets: secrets.values().collect(),
            files_dir: &files_dir,
            files,
        };
        let services = desired::services(
            &parsed,
            &Context {
                minion: name,
                project: &self.environment.project,
                root: &self.environment.root,
                build: &self.paths.build(name),
                hasher: &hasher,
                manifest: minion.map(|m| &m.manifest),
                protect: self
                    .environment
                    .instances
                    .iter()
                    .any(|i| i.name == name && i.protect),
            },
        );
        let compose_project = parsed.name.clone().unwrap_or_default();
        let used: BTreeSet<&String> = services
            .values()
            .flat_map(|s| s.spec.networks.keys())
            .collect();
        let mut networks: Vec<(String, bool)> = parsed
            .networks
            .iter()
            .filter(|(_, n)| !n.external)
            .map(|(key, n)| {
                (
                    desired::network_name(&compose_project, key, Some(n)),
                    n.internal,
                )
            })
            .collect();
        let default =
            desired::network_name(&compose_project, "default", parsed.networks.get("default"));
        if !networks.iter().any(|(n, _)| *n == default) {
            networks.push((default, false));
        }
        networks.retain(|(n, _)| used.contains(n));
        let mut written = BTreeMap::from([
            (
                PathBuf::from("compose.yml"),
                (text.clone().into_bytes(), 0o644),
            ),
            (
                PathBuf::from(".env"),
                (dotenv::write(secrets).into_bytes(), 0o600),
            ),
        ]);
        let below = PathBuf::from("files").join(files_hash(files));
        for (path, content) in files {
            written.insert(below.join(path), (content.clone(), 0o644));
        }
        let group = Group {
            name: name.to_owned(),
            template: minion.map_or_else(String::new, |m| m.manifest.name.clone()),
            project: compose_project,
            services,
            networks,
            folders: Vec::new(),
            files: written,
            protect: false,
        };
        Ok((group, text))
    }

    /// Containers of two instances that would have one name: `db-blog` and the database `db` of `blog`.
    pub(super) fn clashes(&self, desired: &Desired) -> Vec<Problem> {
        let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
        let mut problems = Vec::new();
        for service in desired.groups.iter().flat_map(|g| g.services.values()) {
            let Some(other) = owners.insert(&service.name, &service.minion) else {
                continue;
            };
            let minion = &service.minion;
            let position = self
                .environment
                .instances
                .iter()
                .find(|i| i.name == *minion)
                .and_then(|i| i.position);
            problems.push(
                Problem::new(
                    self.environment.file.display().to_string(),
                    format!(
                        "`{minion}` and `{other}` would both have a container `{}`",
                        service.name
                    ),
                )
                .at(position, format!("minions.{minion}"))
                .hint("give one of them another name"),
            );
        }
        problems
    }

    pub(super) fn add_proxy(
        &self,
        desired: &mut Desired,
        rendered: &mut Vec<Rendered>,
    ) -> Result<(), ProjectError> {
        let sites = self.sites(desired);
        if sites.is_empty() {
            return Ok(());
        }
        let environment = &self.environment;
        let settings = Settings {
            http_port: environment.proxy.http_port,
            https_port: environment.proxy.https_port,
            trusted_proxies: environment.proxy.trusted_proxies.clone(),
            ipv6: false,
        };
        let files = proxy::nginx::render(&settings, &sites)?;
        let hash = proxy::nginx::content_hash(&files);
        let certificates = sites
            .iter()
            .filter(|s| s.tls != SiteTls::Off)
            .map(|s| (s.name.clone(), s.hosts.clone()))
            .collect();
        let own = match &environment.proxy.tls {
            Tls::Files { certificate, key } => Some((certificate.clone(), key.clone())),
            _ => None,
        };
        let domain = environment.domain.clone();
        desired.routes = Some(Routes {
            files,
            hash,
            certificates,
            own,
            domain,
        });
        let project = proxy::container::compose(
            &environment.proxy,
            &format!("{PROXY}-{}", environment.domain.replace('.', "-")),
            &environment.domain,
            &self.paths.dir,
            &desired.edge,
        );
        let (group, compose) =
            self.group(PROXY, &project, &BTreeMap::new(), &BTreeMap::new(), None)?;
        desired.groups.push(group);
        rendered.push(Rendered {
            instance: PROXY.to_owned(),
            compose,
            secrets: BTreeMap::new(),
            notes: None,
            url: None,
            main: Some(PROXY.to_owned()),
        });
        Ok(())
    }

    /// What each instance shows to the world.
    fn sites(&self, desired: &Desired) -> Vec<Site> {
        let tls = match &self.environment.proxy.tls {
            Tls::Off => SiteTls::Off,
            // Until ACME is there, the internal CA; and who knows whether browsers trust the user's own
            // certificate: HSTS on one they do not trust would lock visitors out.
            _ => SiteTls::Untrusted,
        };
        self.environment
            .instances
            .iter()
            .filter_map(|instance| {
                let expose = self.minions[&instance.name].manifest.expose.first()?;
                desired.service(&instance.name, &expose.service)?;
                Some(Site {
                    name: instance.name.clone(),
                    hosts: instance.hosts.clone(),
                    upstream: format!("{}:{}", render::inside_name(&instance.name), expose.port),
                    // 64 MiB: enough for a phone's photo or video, small enough not to fill a disk at once.
                    max_body: expose.max_body.unwrap_or(64 << 20),
                    stream_uploads: expose.stream_uploads,
                    websocket_paths: expose.websocket_paths.clone(),
                    auth_paths: expose.auth_paths.clone(),
                    tls,
                })
            })
            .collect()
    }
}
