//! What there is in the fake, and how it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::script::{Fate, Script};
use crate::engine::{
    ContainerEvent, ContainerSpec, EndpointSpec, EngineError, EngineInfo, ExecOutput, ExecSpec,
    Health, Network, RunState, with_tag,
};

type ExecAnswer = dyn Fn(&str, &ExecSpec) -> Result<ExecOutput, EngineError> + Send + Sync;

pub(super) struct World {
    pub(super) info: EngineInfo,
    pub(super) containers: Vec<Stored>,
    pub(super) networks: Vec<Network>,
    pub(super) images: BTreeMap<String, StoredImage>,
    /// Host ports of programs that are no containers.
    pub(super) taken: BTreeSet<u16>,
    pub(super) events: Vec<ContainerEvent>,
    pub(super) journal: Vec<String>,
    pub(super) on_exec: Option<Arc<ExecAnswer>>,
    /// Makes ids unique and lets time pass, a second for each id.
    counter: u32,
}

pub(super) struct Stored {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) spec: ContainerSpec,
    pub(super) image_id: String,
    pub(super) script: Script,
    pub(super) state: RunState,
    pub(super) health: Health,
    pub(super) exit_code: Option<i64>,
    pub(super) created: Timestamp,
    pub(super) started: Option<Timestamp>,
    pub(super) restarts: u64,
    /// By network id.
    pub(super) endpoints: BTreeMap<String, EndpointSpec>,
    /// Inspections left until its fate; `None` when it is known.
    pub(super) polls: Option<u32>,
}

pub(super) struct StoredImage {
    pub(super) id: String,
    pub(super) here: bool,
    /// The registry has another one, which is no stand-in, under the same reference.
    pub(super) offered: bool,
    pub(super) script: Script,
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
    pub(super) fn next(&mut self) -> u32 {
        self.counter += 1;
        self.counter
    }

    pub(super) fn now(&self) -> Timestamp {
        // 2026-01-01: any fixed time does.
        Timestamp::constant(1_767_225_600, 0) + SignedDuration::from_secs(i64::from(self.counter))
    }

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
            .find(|network| !self.networks.iter().any(|n| n.id == **network))
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
}

impl Stored {
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.script.labels.clone();
        labels.extend(self.spec.labels.clone());
        labels
    }

    pub(super) fn ports(&self) -> Vec<u16> {
        let ports: BTreeSet<u16> = self.spec.ports.iter().map(|port| port.host).collect();
        ports.into_iter().filter(|port| *port != 0).collect()
    }

    pub(super) fn has_healthcheck(&self) -> bool {
        match &self.spec.healthcheck {
            Some(check) => check.test.first().is_some_and(|kind| kind != "NONE"),
            None => self.script.healthcheck,
        }
    }

    /// The engine calls a stopped container with a healthcheck unhealthy.
    pub(super) fn lose_health(&mut self) {
        if self.health != Health::None {
            self.health = Health::Unhealthy;
        }
    }
}
