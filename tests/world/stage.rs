//! A project folder and an engine in memory, on which plans are carried out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use summoner::apply::{self, Context, Outcome};
use summoner::clock::SystemClock;
use summoner::engine::fake::FakeEngine;
use summoner::engine::{Engine, Health, RunState};
use summoner::events::Silent;
use summoner::plan::desired::Desired;
use summoner::plan::observed::Observed;
use summoner::plan::{Plan, reconcile};
use summoner::project::observe;
use summoner::state::{Paths, State};
use tokio::sync::watch;

use super::{BLOG, desired, group};

/// A project folder and an engine that has all images.
pub struct Stage {
    pub folder: tempfile::TempDir,
    pub fake: FakeEngine,
}

impl Stage {
    pub fn new() -> Self {
        let fake = FakeEngine::new();
        for image in ["ghost:5", "mysql:8"] {
            fake.image(image).with_healthcheck();
        }
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            fake,
        }
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// A wish with the folders of this stage and, as owner, whoever runs the test.
    pub fn wish(&self, groups: &[(&str, String)]) -> Desired {
        let groups = groups
            .iter()
            .map(|(name, text)| {
                let mut group = group(name, text);
                for folder in &mut group.folders {
                    folder.path = self.root().join("data").join(name).join("db");
                    folder.uid = rustix::process::getuid().as_raw();
                    folder.gid = rustix::process::getgid().as_raw();
                }
                for service in group.services.values_mut() {
                    let root = self.root().display().to_string();
                    service.spec.labels.insert("io.summoner.root".into(), root);
                }
                group
            })
            .collect();
        Desired {
            root: self.root().to_owned(),
            data_roots: vec![self.root().join("data")],
            ..desired(groups)
        }
    }

    pub fn blog(&self) -> Desired {
        self.wish(&[("blog", BLOG.to_owned())])
    }

    pub fn updated(&self) -> Desired {
        self.wish(&[("blog", BLOG.replace("ghost:5", "ghost:6"))])
    }

    pub async fn observe(&self, engine: &FakeEngine, desired: &Desired) -> Observed {
        let mut observed = observe::engine_side(engine, &desired.project, self.root())
            .await
            .expect("the engine answers");
        observe::disk_side(
            &mut observed,
            desired,
            &State::default(),
            &Paths::new(self.root()),
        );
        observed
    }

    pub async fn plan(&self, desired: &Desired) -> Plan {
        let observed = self.observe(&self.fake.restarted(), desired).await;
        reconcile::plan(desired, &observed, None).expect("no refusal")
    }

    /// One run of `up`.
    pub async fn up(&self, engine: &FakeEngine, desired: &Desired) -> Outcome {
        let observed = self.observe(engine, desired).await;
        let plan = reconcile::plan(desired, &observed, None).expect("no refusal");
        self.carry_out(engine, &plan, desired, observed).await
    }

    pub async fn carry_out(
        &self,
        engine: &FakeEngine,
        plan: &Plan,
        desired: &Desired,
        observed: Observed,
    ) -> Outcome {
        let (_keep, cancelled) = watch::channel(false);
        let paths = Paths::new(self.root());
        paths.create().expect("the state folder");
        let context = Context {
            engine: Arc::new(engine.clone()),
            clock: Arc::new(SystemClock),
            events: Arc::new(Silent),
            desired: desired.clone(),
            observed,
            paths,
            wait_timeout: Duration::from_secs(20),
            helper_image: "mysql:8".into(),
            cancelled,
        };
        apply::apply(plan, context).await
    }

    /// Container names and states, for whoever compares.
    pub async fn containers(&self) -> Vec<Seen> {
        let engine = self.fake.restarted();
        let mut all = Vec::new();
        for summary in engine.containers().await.expect("the engine answers") {
            let c = engine.inspect(&summary.id).await.expect("it is there");
            all.push((c.name, c.image, c.state, c.health));
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

/// Name, image, state and health of a container.
pub type Seen = (String, String, RunState, Health);

/// A container that runs well.
pub fn running(name: &str, image: &str) -> Seen {
    (
        name.into(),
        image.into(),
        RunState::Running,
        Health::Healthy,
    )
}

/// Both containers of the blog, well.
pub fn blog_runs(version: &str) -> Vec<Seen> {
    vec![
        running("blog-example.org", version),
        running("mysql-blog-example.org", "mysql:8"),
    ]
}

/// What must hold after a kill at any call: no database container was lost, and of the app there is
/// the old one or a new one.
pub async fn nothing_lost(stage: &Stage, n: usize) {
    let names: Vec<String> = stage.containers().await.into_iter().map(|c| c.0).collect();
    for of in ["mysql-blog-example.org", "blog-example.org"] {
        assert!(
            names.iter().any(|n| n.starts_with(of)),
            "killed at {n}: {names:?}"
        );
    }
}
