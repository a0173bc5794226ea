//! What there is in the fake, and how it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::script::{Fate, Script};
use crate::engine::{
    Container, ContainerEvent, ContainerSpec, ContainerSummary, Endpoint, EndpointSpec,
    EngineError, EngineInfo, ExecOutput, ExecSpec, Health, Image, LogLine, Network, NetworkSpec,
    RunState, with_tag,
};

type ExecAnswer = dyn Fn(&str, &ExecSpec) -> Result<ExecOutput, EngineError> + Send + Sync;

pub(super) struct World {
    pub(super) info: EngineInfo,
    pub(super) containers: Vec<Stored>,
    pub(super) networks: Vec<StoredNetwork>,
    images: BTreeMap<String, StoredImage>,
    /// Host ports of programs that are no containers.
    pub(super) taken: BTreeSet<u16>,
    pub(super) events: Vec<ContainerEvent>,
    pub(super) journal: Vec<String>,
    pub(super) on_exec: Option<Arc<ExecAnswer>>,
    /// Makes ids unique and lets time pass, a second for each id.
    counter: u32,
}

pub(super) struct Stored {
    id: String,
    name: String,
    pub(super) spec: ContainerSpec,
    image_id: String,
    script: Script,
    state: RunState,
    health: Health,
    exit_code: Option<i64>,
    created: Timestamp,
    started: Option<Timestamp>,
    restarts: u64,
    /// By network id.
    endpoints: BTreeMap<String, EndpointSpec>,
    /// Inspections left until its fate; `None` when it is known.
    polls: Option<u32>,
}

pub(super) struct StoredNetwork {
    pub(super) network: Network,
}

struct StoredImage {
    id: String,
    here: bool,
    script: Script,
}

impl Default for World {
    fn default() -> Self {
        Self {
            info: EngineInfo {
                version: "20.10.24".to_owned(),
                api: (1, 41),
                os: "linux".to_owned(),
                arch: "amd64".to_owned(),
                memory: 8 << 30,
                cpus: 4,
                root_dir: "/var/lib/docker".to_owned(),
                security: vec!["name=seccomp,profile=default".to_owned()],
                swarm: false,
            },
            containers: Vec::new(),
            networks: Vec::new(),
            images: BTreeMap::new(),
            taken: BTreeSet::new(),
            events: Vec::new(),
            journal: Vec::new(),
            on_exec: None,
            counter: 0,
        }
    }
}

impl World {
    fn next(&mut self) -> u32 {
        self.counter += 1;
        self.counter
    }

    fn now(&self) -> Timestamp {
        // 2026-01-01: any fixed time does.
        Timestamp::constant(1_767_225_600, 0) + SignedDuration::from_secs(i64::from(self.counter))
    }

    // Images.

    pub(super) fn add_image(&mut self, reference: &str) {
        let id = format!("sha256:{:064x}", self.next());
        let image = self
            .images
            .entry(with_tag(reference))
            .or_insert_with(|| StoredImage {
                id,
                here: true,
                script: Script::default(),
            });
        image.here = true;
    }

    pub(super) fn replace_image(&mut self, reference: &str) {
        self.add_image(reference);
        let id = format!("sha256:{:064x}", self.next());
        if let Some(image) = self.images.get_mut(&with_tag(reference)) {
            image.id = id;
        }
    }

    pub(super) fn move_to_registry(&mut self, reference: &str) {
        if let Some(image) = self.images.get_mut(&with_tag(reference)) {
            image.here = false;
        }
    }

    pub(super) fn script(&mut self, reference: &str) -> &mut Script {
        self.add_image_unless_known(reference);
        &mut self
            .images
            .get_mut(&with_tag(reference))
            .expect("added above")
            .script
    }

    fn add_image_unless_known(&mut self, reference: &str) {
        if !self.images.contains_key(&with_tag(reference)) {
            self.add_image(reference);
        }
    }

    pub(super) fn images(&self) -> Vec<Image> {
        let mut images: BTreeMap<&str, Image> = BTreeMap::new();
        for (reference, image) in self.images.iter().filter(|(_, image)| image.here) {
            images
                .entry(&image.id)
                .or_insert_with(|| Image {
                    id: image.id.clone(),
                    tags: Vec::new(),
                    digests: Vec::new(),
                    labels: image.script.labels.clone(),
                })
                .tags
                .push(reference.clone());
        }
        images.into_values().collect()
    }

    pub(super) fn pull(&mut self, reference: &str) -> Result<(), EngineError> {
        match self.images.get_mut(&with_tag(reference)) {
            Some(image) => {
                image.here = true;
                Ok(())
            }
            None => Err(EngineError::Pull {
                image: reference.to_owned(),
                reason: "the registry does not have it".to_owned(),
            }),
        }
    }

    // Containers, seen.

    pub(super) fn index(&self, id: &str) -> Result<usize, EngineError> {
        self.containers
            .iter()
            .position(|container| container.id == id || container.name == id)
            .ok_or_else(|| EngineError::NotFound {
                kind: "container",
                name: id.to_owned(),
            })
    }

    /// The name for the journal; what is not there goes by what it was called.
    pub(super) fn name_of(&self, id: &str) -> String {
        self.index(id).map_or_else(
            |_| id.to_owned(),
            |index| self.containers[index].name.clone(),
        )
    }

    pub(super) fn running(&self, id: &str) -> Result<usize, EngineError> {
        let index = self.index(id)?;
        let container = &self.containers[index];
        if container.state == RunState::Running {
            Ok(index)
        } else {
            Err(EngineError::Conflict(format!(
                "the container `{}` is not running",
                container.name
            )))
        }
    }

    pub(super) fn states(&self) -> Vec<String> {
        let mut states: Vec<String> = self
            .containers
            .iter()
            .map(|c| format!("{} {:?} {:?}", c.name, c.state, c.health).to_lowercase())
            .collect();
        states.sort();
        states
    }

    pub(super) fn summaries(&self) -> Vec<ContainerSummary> {
        self.containers
            .iter()
            .map(|stored| ContainerSummary {
                id: stored.id.clone(),
                name: stored.name.clone(),
                labels: stored.labels(),
                state: stored.state,
                ports: match stored.state {
                    RunState::Running => stored.ports(),
                    _ => Vec::new(),
                },
            })
            .collect()
    }

    pub(super) fn container(&self, index: usize) -> Container {
        let stored = &self.containers[index];
        let ran = matches!(stored.state, RunState::Exited | RunState::Restarting);
        let mut environment = stored.script.environment.clone();
        environment.extend(stored.spec.environment.clone());
        Container {
            id: stored.id.clone(),
            name: stored.name.clone(),
            image: stored.spec.image.clone(),
            image_id: stored.image_id.clone(),
            labels: stored.labels(),
            state: stored.state,
            health: stored.health,
            exit_code: stored.exit_code.filter(|_| ran),
            oom_killed: false,
            error: String::new(),
            created: Some(stored.created),
            started: stored.started,
            restarts: stored.restarts,
            environment,
            memory: stored.spec.memory.unwrap_or(0),
            nano_cpus: stored.spec.nano_cpus.unwrap_or(0),
            restart: match stored.spec.restart.as_str() {
                "" => "no".to_owned(),
                policy => policy.to_owned(),
            },
            binds: stored
                .spec
                .mounts
                .iter()
                .filter(|mount| mount.kind == crate::engine::MountKind::Bind)
                .map(|mount| (mount.target.clone(), mount.source.clone()))
                .collect(),
            networks: stored
                .endpoints
                .iter()
                .map(|(id, endpoint)| {
                    let end = Endpoint {
                        aliases: endpoint.aliases.clone(),
                        address: match stored.state {
                            RunState::Running => format!("10.0.0.{}", index + 2),
                            _ => String::new(),
                        },
                    };
                    (self.network_name_of(id), end)
                })
                .collect(),
            ports: stored.ports(),
            stop_timeout: stored.spec.stop_timeout,
            pid: match stored.state {
                RunState::Running => u32::try_from(index + 1000).unwrap_or(1000),
                _ => 0,
            },
        }
    }

    pub(super) fn logs(&self, id: &str, tail: Option<u64>) -> Result<Vec<LogLine>, EngineError> {
        let stored = &self.containers[self.index(id)?];
        if stored.started.is_none() {
            return Ok(Vec::new());
        }
        let lines = &stored.script.logs;
        let keep = tail.map_or(lines.len(), |tail| {
            usize::try_from(tail).unwrap_or(usize::MAX).min(lines.len())
        });
        Ok(lines[lines.len() - keep..].to_vec())
    }

    /// The exit code when it does not run.
    pub(super) fn ended(&self, index: usize) -> Option<i64> {
        let stored = &self.containers[index];
        match stored.state {
            RunState::Created => Some(0),
            RunState::Exited | RunState::Dead => Some(stored.exit_code.unwrap_or(0)),
            _ => None,
        }
    }

    // Containers, changed.

    pub(super) fn create(
        &mut self,
        name: &str,
        spec: &ContainerSpec,
    ) -> Result<String, EngineError> {
        self.refuse_name(name)?;
        let image = self
            .images
            .get(&with_tag(&spec.image))
            .filter(|image| image.here)
            .or_else(|| {
                self.images
                    .values()
                    .find(|image| image.here && image.id == spec.image)
            })
            .ok_or_else(|| EngineError::NotFound {
                kind: "image",
                name: spec.image.clone(),
            })?;
        let (image_id, script) = (image.id.clone(), image.script.clone());
        let mut endpoints = BTreeMap::new();
        if let Some((network, endpoint)) = spec.networks.first_key_value() {
            // A missing network shows at the start only, as in the real engine.
            let id = self.network(network).unwrap_or(network).to_owned();
            endpoints.insert(id, endpoint.clone());
        }
        let id = format!("{:064x}", u64::from(self.next()) << 32);
        self.containers.push(Stored {
            id: id.clone(),
            name: name.to_owned(),
            spec: spec.clone(),
            image_id,
            script,
            state: RunState::Created,
            health: Health::None,
            exit_code: None,
            created: self.now(),
            started: None,
            restarts: 0,
            endpoints,
            polls: None,
        });
        self.tell(&id, "create");
        Ok(id)
    }

    fn refuse_name(&self, name: &str) -> Result<(), EngineError> {
        match self.containers.iter().find(|other| other.name == name) {
            Some(other) => Err(EngineError::Conflict(format!(
                "the container name `{name}` is in use by the container {}",
                &other.id[other.id.len() - 12..]
            ))),
            None => Ok(()),
        }
    }

    pub(super) fn start(&mut self, id: &str) -> Result<(), EngineError> {
        let index = self.index(id)?;
        if self.containers[index].state == RunState::Running {
            return Ok(());
        }
        if let Some(network) = self.containers[index]
            .endpoints
            .keys()
            .find(|network| !self.networks.iter().any(|n| n.network.id == **network))
        {
            return Err(EngineError::NotFound {
                kind: "network",
                name: network.clone(),
            });
        }
        self.refuse_ports(index)?;
        self.next();
        let now = self.now();
        let stored = &mut self.containers[index];
        stored.state = RunState::Running;
        stored.started = Some(now);
        stored.health = if stored.has_healthcheck() {
            Health::Starting
        } else {
            Health::None
        };
        stored.polls = Some(stored.script.polls);
        let id = stored.id.clone();
        self.tell(&id, "start");
        Ok(())
    }

    fn refuse_ports(&self, index: usize) -> Result<(), EngineError> {
        let wanted = self.containers[index].ports();
        let by_others = self
            .containers
            .iter()
            .enumerate()
            .filter(|(other, stored)| {
                *other != index && matches!(stored.state, RunState::Running | RunState::Paused)
            })
            .flat_map(|(_, stored)| stored.ports());
        let taken: BTreeSet<u16> = by_others.chain(self.taken.iter().copied()).collect();
        match wanted.iter().find(|port| taken.contains(port)) {
            Some(port) => Err(EngineError::PortTaken {
                port: *port,
                reason: "port is already allocated".to_owned(),
            }),
            None => Ok(()),
        }
    }

    pub(super) fn stop(&mut self, id: &str) -> Result<(), EngineError> {
        let index = self.index(id)?;
        let stored = &mut self.containers[index];
        if !matches!(
            stored.state,
            RunState::Running | RunState::Paused | RunState::Restarting
        ) {
            return Ok(());
        }
        stored.polls = None;
        stored.state = RunState::Exited;
        stored.exit_code = Some(stored.script.stop_code);
        stored.lose_health();
        let id = stored.id.clone();
        self.tell(&id, "die");
        self.tell(&id, "stop");
        Ok(())
    }

    /// Starts it and sees it end.
    pub(super) fn run(&mut self, id: &str) -> Result<i64, EngineError> {
        self.start(id)?;
        let index = self.index(id)?;
        let code = match self.containers[index].script.fate {
            Fate::Dies(code) => code,
            Fate::Healthy | Fate::Unhealthy => 0,
        };
        self.containers[index].polls = None;
        self.die(index, code);
        Ok(code)
    }

    /// Ends it by itself; its restart policy decides what follows.
    pub(super) fn die(&mut self, index: usize, code: i64) {
        let stored = &mut self.containers[index];
        let again = match stored.spec.restart.split(':').next() {
            Some("always" | "unless-stopped") => true,
            Some("on-failure") => code != 0,
            _ => false,
        };
        stored.exit_code = Some(code);
        stored.polls = None;
        stored.lose_health();
        stored.state = if again {
            RunState::Restarting
        } else {
            RunState::Exited
        };
        stored.restarts += u64::from(again);
        let id = stored.id.clone();
        self.tell(&id, "die");
    }

    pub(super) fn remove(&mut self, id: &str) {
        if let Ok(index) = self.index(id) {
            let id = self.containers.remove(index).id;
            self.tell(&id, "destroy");
        }
    }

    pub(super) fn rename(&mut self, id: &str, name: &str) -> Result<(), EngineError> {
        let index = self.index(id)?;
        self.refuse_name(name)?;
        name.clone_into(&mut self.containers[index].name);
        let id = self.containers[index].id.clone();
        self.tell(&id, "rename");
        Ok(())
    }

    pub(super) fn update(&mut self, id: &str, spec: &ContainerSpec) -> Result<(), EngineError> {
        let index = self.index(id)?;
        let now = &mut self.containers[index].spec;
        if (spec.memory.is_none() && now.memory.is_some())
            || (spec.nano_cpus.is_none() && now.nano_cpus.is_some())
        {
            return Err(EngineError::Other {
                action: format!("update the container `{id}`"),
                reason:
                    "the engine cannot take a limit away from a container, it has to be made anew"
                        .to_owned(),
            });
        }
        now.memory = spec.memory;
        now.nano_cpus = spec.nano_cpus;
        now.restart.clone_from(&spec.restart);
        Ok(())
    }

    pub(super) fn exec(&mut self, id: &str, spec: &ExecSpec) -> Result<ExecOutput, EngineError> {
        let index = self.running(id)?;
        match self.on_exec.clone() {
            Some(answer) => answer(&self.containers[index].name, spec),
            None => Ok(ExecOutput {
                code: 0,
                stdout: Vec::new(),
                stderr: Vec::new(),
            }),
        }
    }

    fn tell(&mut self, id: &str, action: &str) {
        self.events.push(ContainerEvent {
            id: id.to_owned(),
            action: action.to_owned(),
        });
    }

    // Time.

    /// One inspection nearer to its fate.
    pub(super) fn tick(&mut self, index: usize) {
        let stored = &mut self.containers[index];
        if stored.state == RunState::Restarting {
            stored.restarts += 1;
        }
        match stored.polls {
            None => {}
            Some(polls @ 1..) => stored.polls = Some(polls - 1),
            Some(0) => {
                stored.polls = None;
                let id = stored.id.clone();
                match stored.script.fate {
                    Fate::Dies(code) => self.die(index, code),
                    Fate::Healthy if stored.has_healthcheck() => {
                        stored.health = Health::Healthy;
                        self.tell(&id, "health_status: healthy");
                    }
                    Fate::Unhealthy if stored.has_healthcheck() => {
                        stored.health = Health::Unhealthy;
                        self.tell(&id, "health_status: unhealthy");
                    }
                    Fate::Healthy | Fate::Unhealthy => {}
                }
            }
        }
    }

    /// All the way to its fate.
    pub(super) fn settle(&mut self, index: usize) {
        while self.containers[index].polls.is_some() {
            self.tick(index);
        }
    }

    /// Moves all until something happens or everything is settled.
    pub(super) fn tick_until_event(&mut self) {
        let before = self.events.len();
        while self.events.len() == before {
            let unsettled: Vec<usize> = (0..self.containers.len())
                .filter(|index| self.containers[*index].polls.is_some())
                .collect();
            if unsettled.is_empty() {
                return;
            }
            for index in unsettled {
                self.tick(index);
            }
        }
    }

    // Networks.

    /// The id of the one network of that name or id.
    fn network(&self, name: &str) -> Result<&str, EngineError> {
        let mut found = self
            .networks
            .iter()
            .filter(|n| n.network.id == name || n.network.name == name);
        match (found.next(), found.next()) {
            (Some(network), None) => Ok(&network.network.id),
            (Some(_), Some(_)) => Err(EngineError::Other {
                action: format!("find the network `{name}`"),
                reason: "there are two of that name".to_owned(),
            }),
            (None, _) => Err(EngineError::NotFound {
                kind: "network",
                name: name.to_owned(),
            }),
        }
    }

    pub(super) fn network_name_of(&self, id: &str) -> String {
        self.networks
            .iter()
            .find(|n| n.network.id == id)
            .map_or_else(|| id.to_owned(), |n| n.network.name.clone())
    }

    /// Makes another one when there is one of that name already, as old engines do.
    pub(super) fn create_network(&mut self, spec: &NetworkSpec) -> Result<String, EngineError> {
        let overlaps = self
            .networks
            .iter()
            .flat_map(|n| &n.network.subnets)
            .any(|subnet| overlap(subnet, &spec.subnet));
        if overlaps {
            return Err(EngineError::Conflict(format!(
                "failed to create the network `{}`: Pool overlaps with other one on this address space",
                spec.name
            )));
        }
        let id = format!("{:064x}", u64::from(self.next()) << 16);
        self.networks.push(StoredNetwork {
            network: Network {
                id: id.clone(),
                name: spec.name.clone(),
                labels: spec.labels.clone(),
                subnets: vec![spec.subnet.clone()],
            },
        });
        Ok(id)
    }

    pub(super) fn remove_network(&mut self, id: &str) -> Result<(), EngineError> {
        let id = match self.network(id) {
            Ok(id) => id.to_owned(),
            Err(EngineError::NotFound { .. }) => return Ok(()),
            Err(other) => return Err(other),
        };
        let in_use = self
            .containers
            .iter()
            .any(|c| c.state == RunState::Running && c.endpoints.contains_key(&id));
        if in_use {
            return Err(EngineError::Conflict(format!(
                "failed to remove the network `{}`: it has active endpoints",
                self.network_name_of(&id)
            )));
        }
        self.networks.retain(|n| n.network.id != id);
        Ok(())
    }

    pub(super) fn connect(
        &mut self,
        network: &str,
        container: &str,
        endpoint: &EndpointSpec,
    ) -> Result<(), EngineError> {
        let network = self.network(network)?.to_owned();
        let index = self.index(container)?;
        let stored = &mut self.containers[index];
        if stored.endpoints.contains_key(&network) {
            return Err(EngineError::Conflict(format!(
                "the container `{}` is in that network already",
                stored.name
            )));
        }
        stored.endpoints.insert(network, endpoint.clone());
        Ok(())
    }

    pub(super) fn disconnect(&mut self, network: &str, container: &str) -> Result<(), EngineError> {
        let id = self.network(network)?.to_owned();
        let index = self.index(container)?;
        match self.containers[index].endpoints.remove(&id) {
            Some(_) => Ok(()),
            None => Err(EngineError::Other {
                action: format!("disconnect a container from the network `{network}`"),
                reason: "it is not connected".to_owned(),
            }),
        }
    }
}

impl Stored {
    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.script.labels.clone();
        labels.extend(self.spec.labels.clone());
        labels
    }

    fn ports(&self) -> Vec<u16> {
        let ports: BTreeSet<u16> = self.spec.ports.iter().map(|port| port.host).collect();
        ports.into_iter().filter(|port| *port != 0).collect()
    }

    fn has_healthcheck(&self) -> bool {
        match &self.spec.healthcheck {
            Some(check) => check.test.first().is_some_and(|kind| kind != "NONE"),
            None => self.script.healthcheck,
        }
    }

    /// The engine calls a stopped container with a healthcheck unhealthy.
    fn lose_health(&mut self) {
        if self.health != Health::None {
            self.health = Health::Unhealthy;
        }
    }
}

/// Whether two IPv4 subnets in CIDR form share an address.
fn overlap(a: &str, b: &str) -> bool {
    let parse = |cidr: &str| {
        let (address, bits) = cidr.split_once('/')?;
        let bits = bits.parse::<u32>().ok().filter(|bits| *bits <= 32)?;
        Some((u32::from(address.parse::<Ipv4Addr>().ok()?), bits))
    };
    let (Some((a, a_bits)), Some((b, b_bits))) = (parse(a), parse(b)) else {
        return false;
    };
    let shift = 32 - a_bits.min(b_bits);
    a.checked_shr(shift) == b.checked_shr(shift)
}

#[cfg(test)]
mod tests {
    use super::overlap;

    #[test]
    fn subnets_overlap_when_one_holds_the_other() {
        assert!(overlap("10.1.0.0/16", "10.1.2.0/26"));
        assert!(overlap("10.1.2.0/26", "10.1.2.0/26"));
        assert!(!overlap("10.1.2.0/26", "10.1.2.64/26"));
    }
}
