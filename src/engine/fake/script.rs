//! How the containers of an image behave in the fake.
#![expect(
    clippy::return_self_not_must_use,
    clippy::must_use_candidate,
    reason = "each method writes into the fake; the value only carries the chain"
)]

use std::collections::BTreeMap;

use super::{FakeEngine, lock};
use crate::engine::LogLine;

/// What becomes of a container after its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Healthy,
    Unhealthy,
    Dies(i64),
}

/// The script of one image.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) fate: Fate,
    /// Inspections until the fate is known.
    pub(super) polls: u32,
    /// Whether the image brings its own healthcheck.
    pub(super) healthcheck: bool,
    /// Exit code when it is stopped.
    pub(super) stop_code: i64,
    pub(super) logs: Vec<LogLine>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) environment: BTreeMap<String, String>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            fate: Fate::Healthy,
            polls: 0,
            healthcheck: false,
            stop_code: 0,
            logs: Vec::new(),
            labels: BTreeMap::new(),
            environment: BTreeMap::new(),
        }
    }
}

/// Scripts an image of a [`FakeEngine`].
pub struct ImageScript<'a> {
    fake: &'a FakeEngine,
    reference: String,
}

impl<'a> ImageScript<'a> {
    pub(super) fn new(fake: &'a FakeEngine, reference: &str) -> Self {
        lock(&fake.world).add_image(reference);
        Self {
            fake,
            reference: reference.to_owned(),
        }
    }

    fn change(self, change: impl FnOnce(&mut Script)) -> Self {
        change(lock(&self.fake.world).script(&self.reference));
        self
    }

    /// It is only in the registry and has to be pulled.
    pub fn remote(self) -> Self {
        lock(&self.fake.world).move_to_registry(&self.reference);
        self
    }

    /// The registry answers, and has another one under this reference, without labels: a pull gets it.
    pub fn offered(self) -> Self {
        lock(&self.fake.world).offer(&self.reference);
        self
    }

    /// Its containers become healthy (as they do without a word).
    pub fn healthy(self) -> Self {
        self.change(|script| script.fate = Fate::Healthy)
    }

    /// Its containers become unhealthy.
    pub fn unhealthy(self) -> Self {
        self.change(|script| script.fate = Fate::Unhealthy)
    }

    /// Its containers end with an exit code.
    pub fn dies(self, code: i64) -> Self {
        self.change(|script| script.fate = Fate::Dies(code))
    }

    /// Its containers are `starting` in so many inspections.
    pub fn slow(self, polls: u32) -> Self {
        self.change(|script| script.polls = polls)
    }

    /// It has a healthcheck of its own: containers without one in their specification use it.
    pub fn with_healthcheck(self) -> Self {
        self.change(|script| script.healthcheck = true)
    }

    /// Its containers ignore the stop signal and are killed: exit code 137.
    pub fn stubborn(self) -> Self {
        self.change(|script| script.stop_code = 137)
    }

    /// What its containers write, on standard output.
    pub fn logs(self, lines: &[&str]) -> Self {
        self.change(|script| {
            script.logs = lines
                .iter()
                .map(|line| LogLine {
                    stderr: false,
                    text: (*line).to_owned(),
                })
                .collect();
        })
    }

    /// A label of the image.
    pub fn label(self, key: &str, value: &str) -> Self {
        self.change(|script| {
            script.labels.insert(key.to_owned(), value.to_owned());
        })
    }

    /// A variable of the image's environment.
    pub fn environment(self, name: &str, value: &str) -> Self {
        self.change(|script| {
            script.environment.insert(name.to_owned(), value.to_owned());
        })
    }
}
