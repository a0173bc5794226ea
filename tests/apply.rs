//! Plans carried out on an engine in memory: what happens when something fails, and when the run is
//! killed at any call. (The same on the real engine: `engine_*.rs`.)

mod world;

use std::collections::BTreeSet;
use std::path::PathBuf;

use summoner::engine::Engine;
use summoner::engine::fake::FakeEngine;
use summoner::plan::{reconcile, removal};
use summoner::project::observe;
use world::BLOG;
use world::stage::{Stage, blog_runs, nothing_lost, running};

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

#[tokio::test]
async fn a_stand_in_is_replaced_when_a_registry_answers_and_nobody_is_asked_without_one() {
    let stage = Stage::new();
    let wish = stage.blog();
    stage
        .fake
        .image("ghost:5")
        .label("io.summoner.stand-in", "true");
    stage.up(&stage.fake, &wish).await;
    let look = async |engine: &FakeEngine| {
        let mut observed = stage.observe(engine, &wish).await;
        observed.offered = observe::offered(engine, &wish, &observed).await;
        observed
    };
    // No registry answers: nothing changes.
    let observed = look(&stage.fake).await;
    assert!(observed.offered.is_empty());
    // `mysql:8` could be had too, and is no stand-in.
    stage.fake.image("ghost:5").offered();
    stage.fake.image("mysql:8").offered();
    let observed = look(&stage.fake).await;
    assert_eq!(observed.offered, BTreeSet::from(["ghost:5".to_owned()]));
    let plan = reconcile::plan(&wish, &observed, None).unwrap();
    let before = stage.fake.inspect("blog-example.org").await.unwrap();
    let outcome = stage.carry_out(&stage.fake, &plan, &wish, observed).await;
    assert_eq!(outcome.failures, []);
    let after = stage.fake.inspect("blog-example.org").await.unwrap();
    assert_ne!(before.image_id, after.image_id);
    assert_eq!(stage.containers().await, blog_runs("ghost:5"));
    let observed = look(&stage.fake).await;
    assert!(observed.offered.is_empty());
    assert!(reconcile::plan(&wish, &observed, None).unwrap().is_empty());
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
