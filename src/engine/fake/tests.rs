use futures_util::StreamExt as _;

use super::FakeEngine;
use crate::engine::{ContainerSpec, Engine as _, Health, HealthcheckSpec, RunState};

fn spec(image: &str) -> ContainerSpec {
    ContainerSpec {
        image: image.into(),
        healthcheck: Some(HealthcheckSpec {
            test: vec!["CMD".into(), "true".into()],
            interval_ms: None,
            timeout_ms: None,
            retries: None,
            start_period_ms: None,
            start_interval_ms: None,
        }),
        ..Default::default()
    }
}

#[tokio::test]
async fn slow_images_start_in_as_many_inspections() {
    let fake = FakeEngine::new();
    fake.image("app:1").slow(2).unhealthy();
    let id = fake.create("app", &spec("app:1")).await.unwrap();
    fake.start(&id).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(fake.inspect("app").await.unwrap().health);
    }
    assert_eq!(
        seen,
        [Health::Starting, Health::Starting, Health::Unhealthy]
    );
}

#[tokio::test]
async fn what_waits_for_events_alone_gets_them() {
    let fake = FakeEngine::new();
    fake.image("app:1").slow(5);
    let mut events = fake.events();
    fake.create("app", &spec("app:1")).await.unwrap();
    fake.start("app").await.unwrap();
    let mut actions = Vec::new();
    for _ in 0..3 {
        actions.push(events.next().await.unwrap().unwrap().action);
    }
    assert_eq!(actions, ["create", "start", "health_status: healthy"]);
}

#[tokio::test]
async fn a_killed_caller_leaves_its_last_effect_to_the_next_run() {
    let fake = FakeEngine::new();
    fake.image("app:1");
    fake.die_at(2);
    let id = fake.create("app", &spec("app:1")).await.unwrap();
    assert!(fake.start(&id).await.is_err());
    assert!(fake.inspect(&id).await.is_err());
    assert!(fake.is_dead());
    let next = fake.restarted();
    assert_eq!(next.inspect("app").await.unwrap().state, RunState::Running);
    assert_eq!(next.journal(), ["create app", "start app"]);
}

#[tokio::test]
async fn a_failing_call_has_no_effect_and_the_next_one_works() {
    let fake = FakeEngine::new();
    fake.image("app:1");
    fake.fail_at(1);
    assert!(fake.create("app", &spec("app:1")).await.is_err());
    assert!(fake.containers().await.unwrap().is_empty());
    assert!(fake.create("app", &spec("app:1")).await.is_ok());
}

#[tokio::test]
async fn what_dies_is_restarted_by_its_policy() {
    let fake = FakeEngine::new();
    fake.image("app:1").dies(3);
    let mut restarting = spec("app:1");
    restarting.restart = "unless-stopped".into();
    fake.create("once", &spec("app:1")).await.unwrap();
    fake.create("again", &restarting).await.unwrap();
    for name in ["once", "again"] {
        fake.start(name).await.unwrap();
    }
    let once = fake.inspect("once").await.unwrap();
    assert_eq!((once.state, once.exit_code), (RunState::Exited, Some(3)));
    let again = fake.inspect("again").await.unwrap();
    assert_eq!(again.state, RunState::Restarting);
    assert!(again.restarts > 0);
}
