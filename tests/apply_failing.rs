//! Each engine call of a run fails once, on an engine in memory: the run says so, nothing is lost, and
//! the next run does what is left. (Kills instead of failures: `apply.rs`.)

mod world;

use summoner::engine::{Engine as _, RunState};
use world::stage::{Seen, Stage, blog_runs, nothing_lost};

/// Runs `up` on a stage with its `n`th changing call failing; whether there was such a call. A failed
/// call that is not told must have been made good within the run.
async fn failed_at(stage: &Stage, n: usize, wish: &summoner::plan::desired::Desired) -> bool {
    let engine = stage.fake.restarted();
    engine.fail_at(n);
    let outcome = stage.up(&engine, wish).await;
    if engine.calls() < n {
        assert_eq!(outcome.failures, [], "nothing failed at {n}");
        return false;
    }
    assert!(
        !outcome.failures.is_empty() || stage.plan(wish).await.is_empty(),
        "failed at {n}: neither told nor made good: {:?}",
        stage.fake.journal()
    );
    true
}

#[tokio::test]
async fn every_engine_call_of_an_installation_may_fail_once_and_the_next_run_mends_it() {
    for n in 1.. {
        let stage = Stage::new();
        let wish = stage.blog();
        let struck = failed_at(&stage, n, &wish).await;
        let again = stage.up(&stage.fake.restarted(), &wish).await;
        assert_eq!(again.failures, [], "failed at {n}");
        assert_eq!(
            stage.containers().await,
            blog_runs("ghost:5"),
            "failed at {n}"
        );
        assert!(stage.plan(&wish).await.is_empty(), "failed at {n}");
        let networks = stage.fake.networks().await.unwrap();
        let mut names: Vec<&str> = networks.iter().map(|n| n.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["blog-example-org_default", "summoner-acme-edge"],
            "failed at {n}"
        );
        if !struck {
            assert!(n > 6, "an installation has hardly any calls");
            break;
        }
    }
}

#[tokio::test]
async fn every_engine_call_of_an_update_may_fail_once_and_the_next_run_mends_it() {
    for n in 1.. {
        let stage = Stage::new();
        stage.fake.image("ghost:6").with_healthcheck();
        stage.up(&stage.fake, &stage.blog()).await;
        let struck = failed_at(&stage, n, &stage.updated()).await;
        nothing_lost(&stage, n).await;
        let again = stage.up(&stage.fake.restarted(), &stage.updated()).await;
        assert_eq!(again.failures, [], "failed at {n}");
        assert_eq!(
            stage.containers().await,
            blog_runs("ghost:6"),
            "failed at {n}"
        );
        if !struck {
            assert!(n > 4, "an update has hardly any calls");
            break;
        }
    }
}

#[tokio::test]
async fn every_engine_call_of_a_removal_may_fail_once_and_the_next_run_mends_it() {
    for n in 1.. {
        let stage = Stage::new();
        stage.up(&stage.fake, &stage.blog()).await;
        let none = stage.wish(&[]);
        let struck = failed_at(&stage, n, &none).await;
        let again = stage.up(&stage.fake.restarted(), &none).await;
        assert_eq!(again.failures, [], "failed at {n}");
        assert_eq!(stage.containers().await, [], "failed at {n}");
        assert!(stage.plan(&none).await.is_empty(), "failed at {n}");
        assert!(
            stage.fake.networks().await.unwrap().is_empty(),
            "failed at {n}: a network is left"
        );
        assert!(
            stage.root().join("data/blog").is_dir(),
            "failed at {n}: the data is gone"
        );
        if !struck {
            assert!(n > 4, "a removal has hardly any calls");
            break;
        }
    }
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
        let apps = |all: Vec<Seen>| {
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
