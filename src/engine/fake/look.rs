//! What is seen of the containers in the fake.

use super::world::World;
use crate::engine::{
    Container, ContainerSummary, Endpoint, EngineError, LogLine, MountKind, RunState,
};

impl World {
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
                .filter(|mount| mount.kind == MountKind::Bind)
                .map(|mount| (mount.target.clone(), mount.source.clone()))
                .collect(),
            networks: stored
                .endpoints
                .iter()
                .map(|(id, endpoint)| {
                    let end = Endpoint {
                        network: id.clone(),
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
}
