//! Plans carried out on an engine in memory: what happens when something fails, and when the run is
//! killed at any call. (The same on the real engine: `engine_*.rs`.)

mod world;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use summoner::apply::{self, Context, Outcome};
use summoner::clock::SystemClock;
use summoner::engine::fake::FakeEngine;
use summoner::engine::{Engine, Health, RunState};
use summoner::events::Silent;
use summoner::plan::Plan;
use summoner::plan::desired::Desired;
use summoner::plan::observed::Observed;
use summoner::plan::{reconcile, removal};
use summoner::project::observe;
use summoner::state::{Paths, State};
use tokio::sync::watch;
use world::{BLOG, group};

/// A project folder and an engine that has all images.
struct Stage {
    folder: tempfile::TempDir,
    fake: FakeEngine,
}

impl Stage {
    fn new() -> Self {
        let fake = FakeEngine::new();
        for image in ["ghost:5", "mysql:8"] {
            fake.image(image).with_healthcheck();
        }
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            fake,
        }
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    /// A wish with the folders of this stage and, as owner, whoever runs the test.
    fn wish(&self, groups: &[(&str, String)]) -> Desired {
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
            ..world::desired(groups)
        }
    }

    fn blog(&self) -> Desired {
        self.wish(&[("blog", BLOG.to_owned())])
    }

    fn updated(&self) -> Desired {
        self.wish(&[("blog", BLOG.replace("ghost:5", "ghost:6"))])
    }

    async fn observe(&self, engine: &FakeEngine, desired: &Desired) -> Observed {
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

    async fn plan(&self, desired: &Desired) -> Plan {
        let observed = self.observe(&self.fake.restarted(), desired).await;
        reconcile::plan(desired, &observed, None).expect("no refusal")
    }

    /// One run of `up`.
    async fn up(&self, engine: &FakeEngine, desired: &Desired) -> Outcome {
        let observed = self.observe(engine, desired).await;
        let plan = reconcile::plan(desired, &observed, None).expect("no refusal");
        self.carry_out(engine, &plan, desired, observed).await
    }

    async fn carry_out(
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
    async fn containers(&self) -> Vec<(String, String, RunState, Health)> {
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

fn running(name: &str, image: &str) -> (String, String, RunState, Health) {
    (
        name.into(),
        image.into(),
        RunState::Running,
        Health::Healthy,
    )
}

fn blog_runs(version: &str) -> Vec<(String, String, RunState, Health)> {
    vec![
        running("blog-example.org", version),
        running("mysql-blog-example.org", "mysql:8"),
    ]
}

#[tokio::test]
async fn up_makes_everything_run_and_a_second_up_touches_nothing() {
    let stage = Stage::new();
    let wish = stage.blog();
    let outcome = stage.up(&stage.fake, &wish).await;
    assert_eq!(outcome.failures, []);
    assert_eq!(stage.containers().await, blog_runs("ghost:5"));
    assert!(stage.root().join("data/blog").is_dir());
    assert_eq!(
        stage.plan(&wish).await.to_text(),
        "nothing to do: everything is as config.yml says\n"
    );
    let calls = stage.fake.calls();
    stage.up(&stage.fake, &wish).await;
    assert_eq!(stage.fake.calls(), calls, "{:?}", stage.fake.journal());
}

#[tokio::test]
async fn a_service_starts_only_when_its_dependency_is_healthy() {
    let stage = Stage::new();
    stage.fake.image("mysql:8").with_healthcheck().slow(2);
    stage.up(&stage.fake, &stage.blog()).await;
    let journal = stage.fake.journal();
    let at = |line: &str| {
        journal
            .iter()
            .position(|l| l.starts_with(line))
            .unwrap_or_else(|| panic!("{line}: {journal:?}"))
    };
    assert!(
        at("start mysql-blog-example.org") < at("start blog-example.org"),
        "{journal:?}"
    );
}

#[tokio::test]
async fn a_new_version_that_does_not_get_healthy_leaves_the_old_one_running() {
    for fate in ["unhealthy", "dies"] {
        let stage = Stage::new();
        stage.up(&stage.fake, &stage.blog()).await;
        let script = stage
            .fake
            .image("ghost:6")
            .with_healthcheck()
            .logs(&["cannot open the database"]);
        if fate == "dies" {
            script.dies(1)
        } else {
            script.unhealthy()
        };
        let outcome = stage.up(&stage.fake, &stage.updated()).await;
        let failure = &outcome.failures[0];
        assert!(
            failure.message.ends_with("the old container runs again"),
            "{}",
            failure.message
        );
        assert_eq!(failure.log, ["cannot open the database"]);
        assert!(
            failure
                .hint
                .as_ref()
                .is_some_and(|h| h.contains("summoner logs blog"))
        );
        assert_eq!(stage.containers().await, blog_runs("ghost:5"), "{fate}");
    }
}

#[tokio::test]
async fn a_container_that_dies_is_told_with_its_log_and_the_others_go_on() {
    let stage = Stage::new();
    stage
        .fake
        .image("shop:1")
        .with_healthcheck()
        .dies(3)
        .logs(&["no licence"]);
    let shop = BLOG.replace("blog", "shop").replace("ghost:5", "shop:1");
    let wish = stage.wish(&[("blog", BLOG.to_owned()), ("shop", shop)]);
    let outcome = stage.up(&stage.fake, &wish).await;
    assert_eq!(outcome.failures.len(), 1);
    assert_eq!(outcome.failures[0].target, "shop/app");
    assert!(
        outcome.failures[0].message.contains("exit code 3"),
        "{}",
        outcome.failures[0].message
    );
    assert_eq!(outcome.failures[0].log, ["no licence"]);
    let containers = stage.containers().await;
    assert!(
        containers.contains(&running("blog-example.org", "ghost:5")),
        "{containers:?}"
    );
    assert!(
        containers.contains(&running("mysql-shop-example.org", "mysql:8")),
        "{containers:?}"
    );
}

#[tokio::test]
async fn what_comes_after_a_failure_is_left_out_and_named() {
    let stage = Stage::new();
    stage.fake.image("mysql:8").with_healthcheck().unhealthy();
    let outcome = stage.up(&stage.fake, &stage.blog()).await;
    assert_eq!(outcome.failures[0].target, "blog/db");
    assert_eq!(outcome.skipped, ["blog/app"]);
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_stops_its_minion_only() {
    let stage = Stage::new();
    let shop = BLOG.replace("blog", "shop").replace("ghost:5", "nowhere:1");
    let wish = stage.wish(&[("blog", BLOG.to_owned()), ("shop", shop)]);
    let outcome = stage.up(&stage.fake, &wish).await;
    assert_eq!(outcome.failures.len(), 1);
    assert_eq!(outcome.failures[0].target, "image/nowhere:1");
    assert!(
        stage
            .containers()
            .await
            .contains(&running("blog-example.org", "ghost:5"))
    );
}

/// What must hold after a kill at any call: no database container was lost, and of the app there is
/// the old one or a new one.
async fn nothing_lost(stage: &Stage, n: usize) {
    let names: Vec<String> = stage.containers().await.into_iter().map(|c| c.0).collect();
    for of in ["mysql-blog-example.org", "blog-example.org"] {
        assert!(
            names.iter().any(|n| n.starts_with(of)),
            "killed at {n}: {names:?}"
        );
    }
}

/// Kills a run in each of its engine calls; the next run must finish what was begun.
async fn killed_at_every_call(first: Option<&str>, fates: &[&str]) {
    for n in 1.. {
        let stage = Stage::new();
        stage.fake.image("ghost:6").with_healthcheck();
        let (before, after) = (stage.blog(), stage.updated());
        let wish = if first.is_some() {
            stage.up(&stage.fake, &before).await;
            &after
        } else {
            &before
        };
        let victim = stage.fake.restarted();
        victim.die_at(n);
        stage.up(&victim, wish).await;
        if !victim.is_dead() {
            assert!(n > 3, "the run has hardly any calls");
            return;
        }
        if first.is_some() {
            nothing_lost(&stage, n).await;
        }
        for fate in fates {
            // The user may have changed his mind in between: both ways must work.
            let (wish, version) = match *fate {
                "back" => (&before, "ghost:5"),
                _ if first.is_some() => (&after, "ghost:6"),
                _ => (&before, "ghost:5"),
            };
            let outcome = stage.up(&stage.fake.restarted(), wish).await;
            assert_eq!(outcome.failures, [], "killed at {n}, then {fate}");
            assert_eq!(
                stage.containers().await,
                blog_runs(version),
                "killed at {n}, then {fate}"
            );
            assert!(
                stage.plan(wish).await.is_empty(),
                "killed at {n}, then {fate}"
            );
        }
        let networks = stage
            .fake
            .restarted()
            .networks()
            .await
            .expect("the engine answers");
        let names: BTreeSet<&str> = networks.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(
            names.len(),
            networks.len(),
            "killed at {n}: a network is there twice"
        );
    }
}

#[tokio::test]
async fn killed_at_every_call_of_an_installation() {
    killed_at_every_call(None, &["again"]).await;
}

#[tokio::test]
async fn killed_at_every_call_of_an_update() {
    killed_at_every_call(Some("ghost:5"), &["again"]).await;
}

#[tokio::test]
async fn killed_at_every_call_of_an_update_that_is_then_given_up() {
    killed_at_every_call(Some("ghost:5"), &["back"]).await;
}

#[tokio::test]
async fn killed_at_every_call_of_a_removal() {
    for n in 1.. {
        let stage = Stage::new();
        stage.up(&stage.fake, &stage.blog()).await;
        let none = stage.wish(&[]);
        let victim = stage.fake.restarted();
        victim.die_at(n);
        stage.up(&victim, &none).await;
        if !victim.is_dead() {
            break;
        }
        let outcome = stage.up(&stage.fake.restarted(), &none).await;
        assert_eq!(outcome.failures, [], "killed at {n}");
        assert_eq!(stage.containers().await, [], "killed at {n}");
        assert!(stage.plan(&none).await.is_empty(), "killed at {n}");
        assert!(
            stage.root().join("data/blog").is_dir(),
            "killed at {n}: the data is gone"
        );
    }
}

#[tokio::test]
async fn every_engine_call_may_fail_once_and_the_next_run_mends_it() {
    for n in 1.. {
        let stage = Stage::new();
        stage.fake.image("ghost:6").with_healthcheck();
        stage.up(&stage.fake, &stage.blog()).await;
        let engine = stage.fake.restarted();
        engine.fail_at(n);
        let outcome = stage.up(&engine, &stage.updated()).await;
        nothing_lost(&stage, n).await;
        let again = stage.up(&stage.fake.restarted(), &stage.updated()).await;
        assert_eq!(again.failures, [], "failed at {n}");
        assert_eq!(
            stage.containers().await,
            blog_runs("ghost:6"),
            "failed at {n}"
        );
        if outcome.failures.is_empty() && engine.calls() < n {
            break;
        }
    }
}

#[tokio::test]
async fn purge_deletes_the_data_of_its_minion_and_no_other() {
    let stage = Stage::new();
    let shop = BLOG.replace("blog", "shop");
    let wish = stage.wish(&[("blog", BLOG.to_owned()), ("shop", shop)]);
    stage.up(&stage.fake, &wish).await;
    for name in ["blog", "shop"] {
        std::fs::write(
            stage.root().join("data").join(name).join("db/ibdata1"),
            b"x",
        )
        .unwrap();
    }
    let mut observed = stage.observe(&stage.fake, &wish).await;
    let data = stage.root().join("data/blog/db");
    observed
        .state
        .minions
        .entry("blog".into())
        .or_default()
        .folders
        .insert(PathBuf::from(&data));
    let only = BTreeSet::from(["blog".to_owned()]);
    let plan = removal::down(&wish, &observed, &only, false, &only).unwrap();
    let outcome = stage.carry_out(&stage.fake, &plan, &wish, observed).await;
    assert_eq!(outcome.failures, []);
    assert!(!data.exists());
    assert!(stage.root().join("data/shop/db/ibdata1").exists());
    assert_eq!(stage.containers().await.len(), 2);
}

/// The name of a project is its domain where nobody gave it one. Two databases in one data folder
/// would be the end of the data.
#[tokio::test]
async fn another_domain_replaces_the_containers_and_leaves_none_beside_them() {
    let stage = Stage::new();
    stage.up(&stage.fake, &stage.blog()).await;
    let text = BLOG.replace("example.org", "example.net");
    let text = text.replace("example-org", "example-net");
    let mut wish = stage.wish(&[("blog", text.replace("acme-edge", "net-edge"))]);
    wish.project = "example.net".into();
    wish.edge = "summoner-net-edge".into();
    wish.groups[0].networks = vec![("blog-example-net_default".into(), false)];
    for service in wish.groups[0].services.values_mut() {
        let labels = &mut service.spec.labels;
        labels.insert("io.summoner.project".into(), "example.net".into());
    }
    let outcome = stage.up(&stage.fake, &wish).await;
    assert_eq!(outcome.failures, []);
    assert_eq!(
        stage.containers().await,
        [
            running("blog-example.net", "ghost:5"),
            running("mysql-blog-example.net", "mysql:8"),
        ]
    );
    let networks = stage.fake.networks().await.unwrap();
    let mut names: Vec<&str> = networks.iter().map(|n| n.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["blog-example-net_default", "summoner-net-edge"]);
    assert!(stage.plan(&wish).await.is_empty());
}

/// A copy of a project folder with its name but another domain has networks of its own.
#[tokio::test]
async fn networks_of_a_copy_of_the_project_are_somebody_elses() {
    let stage = Stage::new();
    stage.up(&stage.fake, &stage.blog()).await;
    let copy = tempfile::tempdir().unwrap();
    let observed = observe::engine_side(&stage.fake, "acme", copy.path())
        .await
        .unwrap();
    assert!(observed.own_networks.is_empty());
    let all = BTreeSet::from(["blog".to_owned()]);
    let plan = removal::down(&stage.blog(), &observed, &all, true, &BTreeSet::new()).unwrap();
    assert!(plan.is_empty(), "{}", plan.to_text());
    let refused = reconcile::plan(&stage.blog(), &observed, None).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("`summoner-acme-edge` exists and is not summoner's"),
        "{refused}"
    );
}

/// Whatever one call fails while a new version is given up, two never run on one data folder, and
/// the next run with the old wish ends with the old version.
#[tokio::test]
async fn a_way_back_on_which_a_call_fails_puts_the_old_container_back_all_the_same() {
    for n in 1.. {
        let stage = Stage::new();
        stage.up(&stage.fake, &stage.blog()).await;
        stage.fake.image("ghost:6").with_healthcheck().unhealthy();
        let engine = stage.fake.restarted();
        engine.fail_at(n);
        stage.up(&engine, &stage.updated()).await;
        let apps = |all: Vec<(String, String, RunState, Health)>| {
            let mut apps = all.into_iter().filter(|c| c.1.starts_with("ghost"));
            apps.by_ref()
                .filter(|c| c.2 == RunState::Running)
                .map(|c| c.1)
                .collect::<Vec<_>>()
        };
        let journal = stage.fake.take_journal();
        if engine.calls() < n {
            break;
        }
        // When the very last step fails there is nobody to take it: the old one is stopped then, and
        // stays what it was for a run that fails again.
        let last = journal.last().is_some_and(|l| {
            l.starts_with("start blog-example.org") && l.contains("wants it to fail")
        });
        let wanted: &[&str] = if last { &[] } else { &["ghost:5"] };
        assert_eq!(apps(stage.containers().await), wanted, "{n}: {journal:?}");
        // The new version fails again, and never beside the old one.
        stage.up(&stage.fake.restarted(), &stage.updated()).await;
        let journal = stage.fake.take_journal();
        let first = |verb: &str| journal.iter().position(|l| l.starts_with(verb));
        assert!(first("stop blog") < first("start blog"), "{n}: {journal:?}");
        assert_eq!(apps(stage.containers().await), wanted, "{n}: {journal:?}");
        stage.up(&stage.fake.restarted(), &stage.blog()).await;
        assert_eq!(stage.containers().await, blog_runs("ghost:5"), "{n}");
    }
}

/// A run was killed when the new version was well and the old one not removed yet; then another
/// update fails. What worked last comes back, not what worked before it.
#[tokio::test]
async fn what_got_well_before_a_kill_is_what_a_failed_update_comes_back_to() {
    let stage = Stage::new();
    stage.fake.image("ghost:6").with_healthcheck();
    stage.fake.image("ghost:7").with_healthcheck().unhealthy();
    stage.up(&stage.fake, &stage.blog()).await;
    // The removal of the old container is the last call: it never comes.
    let calls = {
        let rehearsal = Stage::new();
        rehearsal.fake.image("ghost:6").with_healthcheck();
        rehearsal.up(&rehearsal.fake, &rehearsal.blog()).await;
        let engine = rehearsal.fake.restarted();
        rehearsal.up(&engine, &rehearsal.updated()).await;
        engine.calls()
    };
    let victim = stage.fake.restarted();
    victim.fail_at(calls);
    stage.up(&victim, &stage.updated()).await;
    assert_eq!(stage.containers().await.len(), 3);
    let wish = stage.wish(&[("blog", BLOG.replace("ghost:5", "ghost:7"))]);
    let outcome = stage.up(&stage.fake, &wish).await;
    assert_eq!(outcome.failures.len(), 1, "{outcome:?}");
    assert_eq!(stage.containers().await, blog_runs("ghost:6"));
}
