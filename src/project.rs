//! A project: its config.yml, its minions, what we remember of it; and from those what shall be.

pub mod dotenv;
pub mod observe;
pub mod ports;
pub mod preflight;
mod versions;
mod wish;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::clock::{Clock as _, SystemClock};
use crate::compose;
use crate::config::environment::{Instance, Tls};
use crate::config::{self, Environment};
use crate::engine::Container;
use crate::minion::Minion;
use crate::minion::catalog::Catalog;
use crate::minion::parameters::{self, Parameters};
use crate::plan::desired::{Desired, Folder, labels};
use crate::plan::hash::sha256;
use crate::problem::{Problem, Problems};
use crate::proxy::certificate::check_files;
use crate::proxy::{self};
use crate::render;
use crate::secret::Secret;
use crate::state::lock::Lock;
use crate::state::secrets::Secrets;
use crate::state::{Paths, Remembered, State, StateError};

/// A project that was read and found good.
pub struct Project {
    /// What config.yml means.
    pub environment: Environment,
    /// The minion of each instance, by instance name: what it was installed from, or the newest.
    pub minions: BTreeMap<String, Minion>,
    /// What the catalogue has for each instance, or the user's own folder.
    pub newest: BTreeMap<String, Minion>,
    /// Instances that take the newest template and its default version.
    upgrading: BTreeSet<String>,
    /// The catalogue.
    pub catalog: Catalog,
    /// Places of the state.
    pub paths: Paths,
    /// What we remember.
    pub state: State,
    /// Generated secrets.
    pub secrets: Secrets,
    /// Lost passwords are no error, since nothing will be made with them: `down`. They stay
    /// missing in [`Self::secrets`].
    pub forgiving: bool,
}

/// Why a project cannot be opened or rendered.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// Something in files the user wrote.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// Something with our own files.
    #[error(transparent)]
    State(#[from] StateError),
    /// Passwords are gone while the data they open is there.
    #[error("the passwords of `{minion}` are lost ({}) while its data is there", names.join(", "))]
    SecretsLost {
        /// The instance.
        minion: String,
        /// Parameters.
        names: Vec<String>,
    },
    /// A value that must not enter nginx's files.
    #[error(transparent)]
    Routes(#[from] proxy::nginx::RenderError),
}

impl ProjectError {
    /// What to type next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Problems(_) | Self::Routes(_) => None,
            Self::State(error) => error.hint(),
            Self::SecretsLost { minion, names } => Some(format!(
                "put `.summoner/secrets.yml` back from your copy, or give the old passwords in config.yml: `minions: {{{minion}: {{set: {{{}: …}}}}}}`; \
                 if the data is of no worth: `summoner down --purge {minion}`",
                names.first().map_or("db_password", String::as_str)
            )),
        }
    }
}

/// One instance, rendered.
pub struct Rendered {
    /// Instance name.
    pub instance: String,
    /// The Compose file as it would run, `${NAME}` for secrets.
    pub compose: String,
    /// Names and values of `.env`.
    pub secrets: BTreeMap<String, Secret>,
    /// A word for the user after the first `up`.
    pub notes: Option<String>,
    /// Address, where it has one.
    pub url: Option<String>,
    /// Main service, for `exec` and `run`.
    pub main: Option<String>,
}

/// The whole project, rendered.
pub struct Wanted {
    /// For the planner.
    pub desired: Desired,
    /// Instances in the order of config.yml, and the proxy last.
    pub rendered: Vec<Rendered>,
    /// What to remember once the plan is carried out.
    pub state: State,
}

impl Project {
    /// Reads config.yml, the minions it uses and our state. `file` is as the user named it.
    pub fn open(file: &Path) -> Result<Self, ProjectError> {
        let root = file.parent().unwrap_or(Path::new("")).to_owned();
        let root = std::path::absolute(&root).unwrap_or(root);
        let catalog = Catalog::open(Some(&root));
        let environment = config::load(file, &catalog.names())?;
        let mut problems = Problems::default();
        let mut minions = BTreeMap::new();
        for instance in &environment.instances {
            if let Some(minion) = problems.collect(catalog.get(&instance.minion)) {
                minions.insert(instance.name.clone(), minion);
            }
        }
        // Whether it is exposed is the only thing asked of a minion here.
        problems.0.extend(own_certificate(&environment, &minions));
        problems.into_result(())?;
        let paths = Paths::new(&environment.root);
        let state = State::load(&paths)?;
        let secrets = Secrets::load(&paths)?;
        let mut project = Self {
            environment,
            newest: minions.clone(),
            minions,
            upgrading: BTreeSet::new(),
            catalog,
            paths,
            state,
            secrets,
            forgiving: false,
        };
        project.choose_templates();
        let (environment, minions) = (&mut project.environment, &project.minions);
        let name = environment.file.display().to_string();
        for instance in &environment.instances {
            let plain = parameters::warnings(&minions[&instance.name], instance, &name);
            environment.warnings.extend(plain);
        }
        environment.warnings.extend(untrusted(environment, minions));
        Ok(project)
    }

    /// Takes the lock, and reads again what another run may have written until it gave the lock away:
    /// passwords that we do not know of would be lost when we save ours.
    pub fn lock(&mut self, command: &str) -> Result<Lock, StateError> {
        let lock = Lock::take(&self.paths, command)?;
        self.state = State::load(&self.paths)?;
        self.secrets = Secrets::load(&self.paths)?;
        self.choose_templates();
        Ok(lock)
    }

    /// Takes back from running containers what was remembered of their instances, where the state
    /// was lost: without it the minions' newer defaults would be planned as updates.
    pub fn adopt(&mut self, containers: &[Container]) {
        for instance in &self.environment.instances {
            let label = |c: &Container, key: &str| c.labels.get(key).cloned();
            let found = containers
                .iter()
                .filter(|c| c.labels.get(labels::MINION) == Some(&instance.name))
                .find_map(|c| label(c, labels::TEMPLATE).zip(label(c, labels::VERSION)));
            if let Some((minion, version)) = found {
                self.state
                    .minions
                    .entry(instance.name.clone())
                    .or_insert_with(|| Remembered {
                        minion,
                        version,
                        ..Remembered::default()
                    });
            }
        }
    }

    /// Name of the network shared with the proxy.
    #[must_use]
    pub fn edge(&self) -> String {
        format!("summoner-{}-edge", self.environment.project)
    }

    /// Renders everything. Passwords that were not made yet are made, in memory; `containers` and
    /// the last `.env` give back those that were lost, and `filled` tells whose data is there.
    pub fn render(
        &mut self,
        containers: &[Container],
        filled: &dyn Fn(&Path) -> bool,
    ) -> Result<Wanted, ProjectError> {
        let mut problems = Problems::default();
        let mut desired = Desired {
            project: self.environment.project.clone(),
            root: self.environment.root.clone(),
            edge: self.edge(),
            pools: self.environment.subnets.clone(),
            data_roots: vec![
                self.environment.vsroot.clone(),
                self.environment.dbsroot.clone(),
            ],
            ..Desired::default()
        };
        let mut rendered = Vec::new();
        let mut state = State::default();
        let instances = self.environment.instances.clone();
        for instance in &instances {
            let minion = self.minions[&instance.name].clone();
            let folders = folders(&self.environment, instance, &minion);
            let has_data = folders.iter().any(|f| filled(&f.path));
            let (parameters, output) =
                match self.parameters(instance, &minion, containers, has_data) {
                    Ok(done) => done,
                    Err(ProjectError::Problems(other)) => {
                        problems.0.extend(other.0);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
            let version = self.version(instance).to_owned();
            problems.0.extend(self.skipped_stop(instance, &version));
            state.minions.insert(
                instance.name.clone(),
                Remembered {
                    minion: minion.manifest.name.clone(),
                    upgrade: self.upgrade_to(instance),
                    images: BTreeMap::new(),
                    version,
                    template_hash: minion.hash.clone(),
                    protect: instance.protect,
                    filled: folders
                        .iter()
                        .filter(|f| filled(&f.path))
                        .map(|f| f.path.clone())
                        .collect(),
                    folders: folders.iter().map(|f| f.path.clone()).collect(),
                },
            );
            let mut project = render::enrich(&output, &minion, instance, &self.environment);
            // An application reaches its own address from inside too, through the proxy.
            let exposed = minion
                .manifest
                .expose
                .first()
                .and_then(|e| project.services.get_mut(&e.service));
            if let Some(service) = exposed {
                let links = proxy::container::links(&instance.hosts, &self.environment.domain);
                service.external_links.extend(links);
            }
            let main = render::main_service(&project, &minion)
                .map(str::to_owned)
                .or_else(|| project.services.keys().next().cloned());
            let group = self.group(
                &instance.name,
                &project,
                &parameters.secrets,
                &output.files,
                Some(&minion),
            );
            let (mut group, compose) = match group {
                Ok(done) => done,
                Err(other) => {
                    problems.0.extend(other.0);
                    continue;
                }
            };
            group.folders = folders;
            group.protect = instance.protect;
            desired.groups.push(group);
            rendered.push(Rendered {
                instance: instance.name.clone(),
                compose,
                secrets: parameters.secrets,
                notes: output.notes,
                url: output.url,
                main,
            });
        }
        self.add_proxy(&mut desired, &mut rendered)?;
        problems.0.extend(self.clashes(&desired));
        problems.into_result(())?;
        Ok(Wanted {
            desired,
            rendered,
            state,
        })
    }

    fn parameters(
        &mut self,
        instance: &Instance,
        minion: &Minion,
        containers: &[Container],
        has_data: bool,
    ) -> Result<(Parameters, render::Rendered), ProjectError> {
        let file = self.environment.file.display().to_string();
        let before = self
            .secrets
            .book
            .get(&instance.name)
            .cloned()
            .unwrap_or_default();
        let parameters = parameters::resolve(minion, instance, &file, &mut self.secrets.book)?;
        let output = self.render_one(instance, minion, &parameters)?;
        let made: Vec<String> =
            self.secrets
                .book
                .get(&instance.name)
                .map_or_else(Vec::new, |book| {
                    book.keys()
                        .filter(|k| !before.contains_key(*k))
                        .cloned()
                        .collect()
                });
        let own: Vec<&Container> = containers
            .iter()
            .filter(|c| c.labels.get(labels::MINION) == Some(&instance.name))
            .collect();
        if made.is_empty() || (own.is_empty() && !has_data) {
            return Ok((parameters, output));
        }
        // New passwords beside old data would lock the user out: find the old ones, or refuse.
        let mut lost = Vec::new();
        let new_template = self.secrets.existed
            && self
                .state
                .minions
                .get(&instance.name)
                .is_some_and(|r| !r.template_hash.is_empty() && r.template_hash != minion.hash);
        let env_file = dotenv::read(&self.paths.build(&instance.name).join(".env"));
        for name in &made {
            let variable = parameters::env_name(name);
            let found = env_file
                .get(&variable)
                .cloned()
                .or_else(|| from_containers(&output.project, &own, &variable));
            let book = self.secrets.book.entry(instance.name.clone()).or_default();
            match found {
                Some(value) => {
                    book.insert(name.clone(), Secret::new(value));
                }
                // A password that no service uses opens nothing, and one that the minion did not
                // have before was never lost.
                None if new_template || !used(&output.project, &variable) => {}
                None => lost.push(name.clone()),
            }
        }
        let lost = if has_data { lost } else { Vec::new() };
        if !lost.is_empty() && !self.forgiving {
            return Err(ProjectError::SecretsLost {
                minion: instance.name.clone(),
                names: lost,
            });
        }
        let parameters = parameters::resolve(minion, instance, &file, &mut self.secrets.book)?;
        let output = self.render_one(instance, minion, &parameters)?;
        if let Some(book) = self.secrets.book.get_mut(&instance.name) {
            book.retain(|name, _| !lost.contains(name));
        }
        Ok((parameters, output))
    }

    /// Renders twice where there are extra files: they lie in a folder named after their content, so
    /// that a container that comes back after a failed update finds the files it was made with.
    fn render_one(
        &self,
        instance: &Instance,
        minion: &Minion,
        parameters: &Parameters,
    ) -> Result<render::Rendered, Problems> {
        let dir = self.paths.build_files(&instance.name);
        let version = self.version(instance);
        let render = |files_dir: &Path| {
            render::render(&render::Input {
                minion,
                instance,
                environment: &self.environment,
                version,
                parameters,
                files_dir,
            })
        };
        let first = render(&dir)?;
        if first.files.is_empty() {
            return Ok(first);
        }
        render(&dir.join(files_hash(&first.files)))
    }
}

/// What is wrong with the user's own certificate: better told before anything is made than by an
/// `up` that stops half-way.
fn own_certificate(
    environment: &Environment,
    minions: &BTreeMap<String, Minion>,
) -> Option<Problem> {
    let Tls::Files { certificate, key } = &environment.proxy.tls else {
        return None;
    };
    let hosts: Vec<String> = environment
        .instances
        .iter()
        .filter(|i| {
            minions
                .get(&i.name)
                .is_some_and(|m| !m.manifest.expose.is_empty())
        })
        .flat_map(|i| i.hosts.clone())
        .collect();
    let read = |path: &Path| {
        std::fs::read(path).map_err(|e| format!("failed to read `{}`: {e}", path.display()))
    };
    let checked = read(certificate).and_then(|chain| {
        let key = read(key)?;
        check_files(&chain, &key, &hosts, SystemClock.now())
            .map_err(|e| format!("`{}`: {e}", certificate.display()))
    });
    let message = checked.err()?;
    Some(
        Problem::new(environment.file.display().to_string(), message)
            .at(None, "proxy.tls.files")
            .hint("give a full chain and its key, both PEM, that are valid for all host names, or say `tls: internal`"),
    )
}

/// Says plainly that a public name is served with a certificate that no browser trusts: until ACME
/// is there, the internal CA stands in.
fn untrusted(environment: &Environment, minions: &BTreeMap<String, Minion>) -> Option<Problem> {
    const INTERNAL: [&str; 5] = ["localhost", "test", "internal", "home.arpa", "local"];
    let public = |host: &&String| {
        !INTERNAL
            .iter()
            .any(|end| host.as_str() == *end || host.ends_with(&format!(".{end}")))
    };
    if matches!(
        environment.proxy.tls,
        Tls::Internal | Tls::Off | Tls::Files { .. }
    ) {
        return None;
    }
    let asked = matches!(environment.proxy.tls, Tls::Auto);
    let host = environment
        .instances
        .iter()
        .filter(|i| !minions[&i.name].manifest.expose.is_empty())
        .flat_map(|i| &i.hosts)
        .find(|h| !asked || public(h))?;
    Some(
        Problem::new(
            environment.file.display().to_string(),
            format!("summoner does not get certificates from Let's Encrypt yet: `{host}` is served with one of its own CA, which browsers do not trust"),
        )
        .hint("bring your own: `proxy: {tls: {files: {certificate: …, key: …}}}`, or say `tls: internal` and trust `.summoner/ca/root.pem`"),
    )
}

fn files_hash(files: &BTreeMap<String, Vec<u8>>) -> String {
    let all: Vec<String> = files
        .iter()
        .map(|(n, c)| format!("{n}:{}", sha256(c)))
        .collect();
    let mut hash = sha256(all.join("\n").as_bytes());
    // 48 bits name a handful of folders apart.
    hash.truncate(12);
    hash
}

fn folders(environment: &Environment, instance: &Instance, minion: &Minion) -> Vec<Folder> {
    let manifest = &minion.manifest;
    let volumes = manifest.volumes.iter().map(|v| Folder {
        path: environment.vsroot.join(&instance.name).join(&v.name),
        uid: v.uid,
        gid: v.gid,
        mode: v.mode,
    });
    let databases = manifest.databases.iter().map(|d| Folder {
        path: environment.dbsroot.join(&instance.name).join(&d.service),
        uid: d.uid,
        gid: d.gid,
        mode: d.mode,
    });
    volumes.chain(databases).collect()
}

/// The value a running container has where the template says `${VARIABLE}`.
fn from_containers(
    project: &compose::Project,
    own: &[&Container],
    variable: &str,
) -> Option<String> {
    let text = format!("${{{variable}}}");
    project.services.iter().find_map(|(name, service)| {
        let container = own
            .iter()
            .find(|c| c.labels.get(labels::SERVICE) == Some(name))?;
        let (key, _) = service.environment.iter().find(|(_, v)| **v == text)?;
        container.environment.get(key).cloned()
    })
}

fn used(project: &compose::Project, variable: &str) -> bool {
    project.to_yaml().contains(&format!("${{{variable}}}"))
}
