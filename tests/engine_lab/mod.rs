//! A real engine to try things on. Everything made here carries a label and is removed with the
//! lab; what a killed run left is swept by the next.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::StreamExt as _;
use summoner::engine::docker::Docker;
use summoner::engine::{ContainerSpec, Engine, LogOptions};

/// busybox and nothing else.
pub const TINY: &str = "summoner-test/tiny:latest";

/// Marks what this file makes; the value ends with the process id, so that what a killed run left
/// is told from what another one uses.
const LABEL: &str = "io.summoner.test";
const LABEL_LEAD: &str = "engine-lab-";

pub struct RealLab {
    pub docker: Docker,
    number: u32,
    subnets: AtomicU32,
}

impl RealLab {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let docker = Docker::connect().expect("a Docker Engine on this machine");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let lab = Self {
            docker,
            number,
            subnets: AtomicU32::new(0),
        };
        if number == 0 {
            lab.sweep(|label| {
                label
                    .strip_prefix(LABEL_LEAD)
                    .and_then(|rest| rest.split('-').next())
                    .is_some_and(|pid| !Path::new("/proc").join(pid).exists())
            });
        }
        lab
    }

    pub fn label(&self) -> String {
        format!("{LABEL_LEAD}{}-{}", process::id(), self.number)
    }

    /// Removes containers and networks whose label is meant, from a thread of its own: tests end
    /// inside a runtime, by panic too.
    fn sweep(&self, meant: impl Fn(&str) -> bool + Sync) {
        let meant = |labels: &BTreeMap<String, String>| labels.get(LABEL).is_some_and(|l| meant(l));
        let sweep = async {
            for container in self.docker.containers().await.unwrap() {
                if meant(&container.labels) {
                    self.docker.remove(&container.id).await.unwrap();
                }
            }
            for network in self.docker.networks().await.unwrap() {
                if meant(&network.labels) {
                    self.docker.remove_network(&network.id).await.unwrap();
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap()
                    .block_on(sweep);
            });
        });
    }

    /// A name that nothing else has.
    pub fn name(&self, base: &str) -> String {
        format!("{}-{base}", self.label())
    }

    /// Labels by which leftovers are found.
    pub fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(LABEL.into(), self.label())])
    }

    /// A subnet in CIDR form. 198.18.0.0/15 is set aside for benchmarks: nobody routes it.
    pub fn subnet(&self) -> String {
        let next = self.subnets.fetch_add(1, Ordering::Relaxed);
        let number = process::id() * 64 + self.number * 4 + next;
        format!("198.18.{}.{}/26", (number / 4) % 256, (number % 4) * 64)
    }

    /// A container that runs a shell script.
    pub fn script(&self, script: &str) -> ContainerSpec {
        ContainerSpec {
            image: TINY.into(),
            command: Some(vec!["sh".into(), "-c".into(), script.into()]),
            labels: self.labels(),
            restart: "no".into(),
            init: true,
            ..Default::default()
        }
    }

    pub async fn create(&self, base: &str, spec: &ContainerSpec) -> String {
        self.docker.create(&self.name(base), spec).await.unwrap()
    }

    /// Runs it to its end; exit code and log.
    pub async fn run(&self, base: &str, spec: &ContainerSpec) -> (i64, String) {
        let id = self.create(base, spec).await;
        self.docker.start(&id).await.unwrap();
        let code = self.docker.wait(&id).await.unwrap();
        let lines: Vec<String> = self
            .docker
            .logs(&id, LogOptions::default())
            .map(|line| line.unwrap().text)
            .collect()
            .await;
        (code, lines.join("\n"))
    }
}

impl Drop for RealLab {
    fn drop(&mut self) {
        let own = self.label();
        self.sweep(|label| label == own);
    }
}
