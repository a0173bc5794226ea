//! Worlds for the planner's tests: a desired state written as Compose, and what the engine would
//! show once it is all applied.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod stage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use summoner::compose;
use summoner::engine::{Container, Endpoint, Health, Image, Network, RunState};
use summoner::plan::desired::{self, Context, Desired, Folder, Group, labels};
use summoner::plan::hash::Hasher;
use summoner::plan::observed::{FolderState, Observed};
use summoner::secret::Secret;
use summoner::state::{Remembered, State};

pub const BLOG: &str = "
name: blog-example-org
services:
  app:
    image: ghost:5
    container_name: blog-example.org
    restart: unless-stopped
    mem_limit: 512m
    environment: {PASSWORD: '${DB_PASSWORD}', COLOUR: red}
    labels: {io.summoner.minion: blog, io.summoner.service: app}
    networks: {default: {}, edge: {aliases: [blog-example.org]}}
    depends_on: {db: {condition: service_healthy}}
    healthcheck: {test: [CMD, 'true']}
  db:
    image: mysql:8
    container_name: mysql-blog-example.org
    restart: unless-stopped
    labels: {io.summoner.minion: blog, io.summoner.service: db}
    volumes: ['/data/database/blog/db:/var/lib/mysql']
    healthcheck: {test: [CMD, 'true']}
networks:
  default: {}
  edge: {external: true, name: summoner-acme-edge}
";

/// A group from a Compose text; `${DB_PASSWORD}` is a secret.
pub fn group(name: &str, text: &str) -> Group {
    let password = Secret::new("tr0ub4dor");
    let variables = BTreeMap::from([("DB_PASSWORD".to_owned(), password.clone())]);
    let project =
        compose::Project::parse("compose.yml", text, Some(&variables)).expect("a good file");
    let files = BTreeMap::new();
    let key = Secret::new("key");
    let hasher = Hasher {
        key: &key,
        secrets: vec![&password],
        files_dir: Path::new("/none"),
        files: &files,
    };
    let services = desired::services(
        &project,
        &Context {
            minion: name,
            project: "acme",
            root: Path::new("/acme"),
            build: Path::new("/acme/.summoner/build"),
            hasher: &hasher,
            manifest: None,
            protect: false,
        },
    );
    Group {
        name: name.to_owned(),
        template: name.to_owned(),
        project: project.name.clone().unwrap_or_default(),
        services,
        networks: vec![(format!("{name}-example-org_default"), false)],
        folders: vec![Folder {
            path: PathBuf::from(format!("/data/database/{name}/db")),
            uid: 999,
            gid: 999,
            mode: 0o700,
        }],
        files: BTreeMap::from([(
            PathBuf::from("compose.yml"),
            (text.as_bytes().to_vec(), 0o644),
        )]),
        protect: false,
    }
}

pub fn desired(groups: Vec<Group>) -> Desired {
    Desired {
        project: "acme".into(),
        root: PathBuf::from("/acme"),
        edge: "summoner-acme-edge".into(),
        pools: vec!["10.210.0.0/16".into()],
        data_roots: vec!["/data".into(), "/data/database".into()],
        groups,
        routes: None,
    }
}

pub fn blog() -> Desired {
    desired(vec![group("blog", BLOG)])
}

/// The blog with `from` replaced by `to` in its Compose file.
pub fn blog_with(from: &str, to: &str) -> Desired {
    assert!(BLOG.contains(from), "{from:?} is not in the file");
    desired(vec![group("blog", &BLOG.replace(from, to))])
}

/// The world once all of `desired` runs.
pub fn applied(desired: &Desired) -> Observed {
    let mut observed = Observed {
        state: State::default(),
        ..Observed::default()
    };
    let mut subnet = 0;
    let mut network = |observed: &mut Observed, name: &str, minion: Option<&str>| {
        let mut labels = BTreeMap::from([(labels::PROJECT.to_owned(), desired.project.clone())]);
        if let Some(minion) = minion {
            labels.insert(labels::MINION.to_owned(), minion.to_owned());
        }
        observed.own_networks.insert(format!("net-{name}"));
        observed.networks.push(Network {
            id: format!("net-{name}"),
            name: name.to_owned(),
            labels,
            subnets: vec![format!("10.210.{subnet}.0/26")],
        });
        subnet += 1;
    };
    network(&mut observed, &desired.edge, None);
    for group in &desired.groups {
        for (name, _) in &group.networks {
            network(&mut observed, name, Some(&group.name));
        }
        observed.built.insert(group.name.clone());
        observed
            .files
            .insert(group.name.clone(), group.files.clone());
        let folders: Vec<PathBuf> = group.folders.iter().map(|f| f.path.clone()).collect();
        observed
            .folders
            .extend(folders.iter().map(|f| (f.clone(), FolderState::Filled)));
        observed.state.minions.insert(
            group.name.clone(),
            Remembered {
                minion: group.name.clone(),
                protect: group.protect,
                filled: folders.iter().cloned().collect(),
                folders: folders.into_iter().collect(),
                ..Remembered::default()
            },
        );
        for service in group.services.values() {
            image(&mut observed, &service.spec.image);
            observed
                .containers
                .push(container(service, &format!("id-{}", service.target())));
            observed
                .applied
                .entry(group.name.clone())
                .or_default()
                .insert(service.service.clone(), service.canonical.clone());
        }
    }
    observed
}

pub fn image(observed: &mut Observed, reference: &str) {
    if observed.image(reference).is_none() {
        observed.images.push(Image {
            id: format!("sha256:{reference}"),
            tags: vec![reference.to_owned()],
            digests: Vec::new(),
            labels: BTreeMap::new(),
        });
    }
}

/// The container of a service, running and healthy.
pub fn container(service: &desired::Service, id: &str) -> Container {
    let spec = &service.spec;
    Container {
        id: id.to_owned(),
        name: service.name.clone(),
        image: spec.image.clone(),
        image_id: format!("sha256:{}", spec.image),
        labels: spec.labels.clone(),
        state: RunState::Running,
        health: Health::Healthy,
        exit_code: None,
        oom_killed: false,
        error: String::new(),
        created: None,
        started: None,
        restarts: 0,
        environment: spec.environment.clone(),
        memory: spec.memory.unwrap_or(0),
        nano_cpus: spec.nano_cpus.unwrap_or(0),
        restart: spec.restart.clone(),
        binds: BTreeMap::new(),
        networks: spec
            .networks
            .keys()
            .map(|n| (n.clone(), Endpoint::default()))
            .collect(),
        ports: Vec::new(),
        stop_timeout: None,
        pid: 1,
    }
}
