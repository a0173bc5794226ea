//! What every [`Engine`] has to do, run by the fake (`fake_engine`) and by the real one
//! (`engine_client`). Each function is one test; a [`Lab`] gives it an engine and containers that
//! behave as told.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use summoner::engine::{
    ContainerEvent, ContainerSpec, EndpointSpec, Engine, EngineError, ExecSpec, Health,
    HealthcheckSpec, LogOptions, NetworkSpec, PortSpec, RunState,
};
use tokio::time::timeout;

/// No wait here is longer; the real engine on a busy machine needs a few seconds.
const BOUND: Duration = Duration::from_mins(1);

/// How a container behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs until it is stopped.
    Sleeps,
    /// Has a healthcheck that is content.
    BecomesHealthy,
    /// Has a healthcheck that is not.
    BecomesUnhealthy,
    /// Writes `one`, `two`, `three` and ends with 7.
    WritesAndEnds,
}

/// Where the tests are done.
pub trait Lab {
    /// The engine.
    fn engine(&self) -> &dyn Engine;
    /// A name that nothing else has.
    fn name(&self, base: &str) -> String;
    /// Labels by which leftovers are found.
    fn labels(&self) -> BTreeMap<String, String>;
    /// What makes a container behave so; `healthcheck` and `labels` are put in by the suite.
    fn spec(&self, role: Role) -> ContainerSpec;
    /// An image that is nowhere.
    fn missing_image(&self) -> String;
    /// A host port that is taken by a program as long as the guard lives.
    fn taken_port(&self) -> (u16, Box<dyn Send>);
    /// A free subnet in CIDR form.
    fn subnet(&self) -> String;
}

fn spec(lab: &dyn Lab, role: Role) -> ContainerSpec {
    let check = |test: &[&str]| HealthcheckSpec {
        test: test.iter().map(ToString::to_string).collect(),
        interval_ms: Some(100),
        timeout_ms: Some(5000),
        retries: Some(2),
        start_period_ms: None,
        start_interval_ms: Some(50),
    };
    ContainerSpec {
        labels: lab.labels(),
        restart: "no".into(),
        init: true,
        healthcheck: match role {
            Role::BecomesHealthy => Some(check(&["CMD", "true"])),
            Role::BecomesUnhealthy => Some(check(&["CMD-SHELL", "exit 1"])),
            Role::Sleeps | Role::WritesAndEnds => None,
        },
        ..lab.spec(role)
    }
}

async fn launch(lab: &dyn Lab, base: &str, role: Role) -> String {
    let id = lab
        .engine()
        .create(&lab.name(base), &spec(lab, role))
        .await
        .unwrap();
    lab.engine().start(&id).await.unwrap();
    id
}

fn command(words: &[&str]) -> ExecSpec {
    ExecSpec {
        command: words.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

pub async fn a_container_lives_its_life(lab: &dyn Lab) {
    let engine = lab.engine();
    let (name, other) = (lab.name("life"), lab.name("afterlife"));
    let id = engine
        .create(&name, &spec(lab, Role::Sleeps))
        .await
        .unwrap();
    let made = engine.inspect(&name).await.unwrap();
    assert_eq!((&made.id, &made.name), (&id, &name));
    assert_eq!(made.state, RunState::Created);
    assert_eq!((made.exit_code, made.started, made.pid), (None, None, 0));
    assert!(made.created.is_some());
    assert!(made.image_id.starts_with("sha256:"));

    engine.start(&id).await.unwrap();
    engine
        .start(&id)
        .await
        .expect("starting what runs is no error");
    let running = engine.inspect(&id).await.unwrap();
    assert_eq!(running.state, RunState::Running);
    assert_eq!((running.health, running.exit_code), (Health::None, None));
    assert!(running.pid > 0 && running.started.is_some());
    let listed = engine.containers().await.unwrap();
    let summary = listed.iter().find(|c| c.id == id).unwrap();
    assert_eq!((&summary.name, summary.state), (&name, RunState::Running));
    assert_eq!(summary.labels, running.labels);

    engine.signal(&id, "HUP").await.unwrap();
    engine.stop(&id, Duration::from_secs(20)).await.unwrap();
    engine
        .stop(&id, Duration::from_secs(20))
        .await
        .expect("stopping what is stopped is no error");
    let stopped = engine.inspect(&id).await.unwrap();
    assert_eq!(stopped.state, RunState::Exited);
    assert!(stopped.exit_code.is_some() && stopped.pid == 0);
    assert!(matches!(
        engine.signal(&id, "HUP").await,
        Err(EngineError::Conflict(_))
    ));

    engine.rename(&id, &other).await.unwrap();
    assert_eq!(engine.inspect(&other).await.unwrap().id, id);
    engine.start(&other).await.unwrap();
    engine.remove(&other).await.expect("running or not");
    engine
        .remove(&other)
        .await
        .expect("removing what is gone is no error");
}

pub async fn what_is_not_there_is_not_found(lab: &dyn Lab) {
    let engine = lab.engine();
    let name = lab.name("nobody");
    let grace = Duration::from_secs(1);
    for (what, error) in [
        ("inspect", engine.inspect(&name).await.map(drop)),
        ("start", engine.start(&name).await),
        ("stop", engine.stop(&name, grace).await),
        ("rename", engine.rename(&name, "other").await),
        ("wait", engine.wait(&name).await.map(drop)),
        (
            "exec",
            engine.exec(&name, &command(&["true"])).await.map(drop),
        ),
        (
            "logs",
            engine
                .logs(&name, LogOptions::default())
                .next()
                .await
                .unwrap()
                .map(drop),
        ),
    ] {
        match error {
            Err(EngineError::NotFound {
                kind: "container",
                name: told,
            }) => assert_eq!(told, name),
            other => panic!("{what}: {other:?}"),
        }
    }
}

pub async fn a_specification_arrives(lab: &dyn Lab) {
    let engine = lab.engine();
    let mut wanted = spec(lab, Role::Sleeps);
    wanted.environment.insert("GREETING".into(), "a=b c".into());
    wanted.memory = Some(64 << 20);
    wanted.nano_cpus = Some(500_000_000);
    wanted.restart = "on-failure:3".into();
    let id = engine.create(&lab.name("spec"), &wanted).await.unwrap();
    let got = engine.inspect(&id).await.unwrap();
    assert_eq!(got.image, wanted.image);
    assert_eq!(got.environment["GREETING"], "a=b c");
    for (key, value) in &wanted.labels {
        assert_eq!(&got.labels[key], value);
    }
    assert_eq!(got.memory, 64 << 20);
    assert_eq!(got.nano_cpus, 500_000_000);
    assert_eq!(got.restart, "on-failure:3");
    let image = engine.image(&wanted.image).await.unwrap();
    assert_eq!(image.id, got.image_id);
    assert!(engine.images().await.unwrap().contains(&image));
}

/// Actions of one container until `last`.
async fn actions_until(
    events: &mut (impl futures_util::Stream<Item = Result<ContainerEvent, EngineError>> + Unpin),
    id: &str,
    last: &str,
) -> Vec<String> {
    let mut actions = Vec::new();
    while actions.last().is_none_or(|action| action != last) {
        let event = timeout(BOUND, events.next())
            .await
            .unwrap_or_else(|_| panic!("no `{last}` after {actions:?}"))
            .expect("the stream does not end")
            .unwrap();
        if event.id == id {
            actions.push(event.action);
        }
    }
    actions
}

pub async fn health_is_told_by_events(lab: &dyn Lab) {
    let engine = lab.engine();
    // Made before the container, polled after: nothing in between is lost.
    let mut events = engine.events();
    let id = launch(lab, "well", Role::BecomesHealthy).await;
    let before = engine.inspect(&id).await.unwrap().health;
    assert!(matches!(before, Health::Starting | Health::Healthy));
    assert_eq!(
        actions_until(&mut events, &id, "health_status: healthy").await,
        ["create", "start", "health_status: healthy"]
    );
    assert_eq!(engine.inspect(&id).await.unwrap().health, Health::Healthy);

    engine.stop(&id, Duration::from_secs(20)).await.unwrap();
    engine.remove(&id).await.unwrap();
    let actions = actions_until(&mut events, &id, "destroy").await;
    // Which of the two comes first differs between engines.
    for action in ["die", "stop"] {
        assert!(actions.contains(&action.to_owned()), "{actions:?}");
    }
}

pub async fn ill_health_is_told_by_events(lab: &dyn Lab) {
    let engine = lab.engine();
    let mut events = engine.events();
    let id = launch(lab, "ill", Role::BecomesUnhealthy).await;
    actions_until(&mut events, &id, "health_status: unhealthy").await;
    let container = engine.inspect(&id).await.unwrap();
    assert_eq!(
        (container.state, container.health),
        (RunState::Running, Health::Unhealthy)
    );
}

pub async fn a_name_is_given_once(lab: &dyn Lab) {
    let engine = lab.engine();
    let (name, other) = (lab.name("once"), lab.name("other"));
    let wanted = spec(lab, Role::Sleeps);
    let first = engine.create(&name, &wanted).await.unwrap();
    let second = engine.create(&other, &wanted).await.unwrap();
    for result in [
        engine.create(&name, &wanted).await.map(drop),
        engine.rename(&second, &name).await,
    ] {
        match result {
            Err(EngineError::Conflict(message)) => assert!(
                message.starts_with(&format!("the container name `{name}` is in use by")),
                "{message}"
            ),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(engine.inspect(&name).await.unwrap().id, first);
}

pub async fn a_missing_image_is_named(lab: &dyn Lab) {
    let image = lab.missing_image();
    let wanted = ContainerSpec {
        image: image.clone(),
        ..spec(lab, Role::Sleeps)
    };
    let result = lab.engine().create(&lab.name("imageless"), &wanted).await;
    match result {
        Err(EngineError::NotFound {
            kind: "image",
            name,
        }) => assert_eq!(name, image),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        lab.engine().image(&image).await,
        Err(EngineError::NotFound { kind: "image", .. })
    ));
}

pub async fn a_taken_port_is_named(lab: &dyn Lab) {
    let engine = lab.engine();
    let (port, guard) = lab.taken_port();
    let mut wanted = spec(lab, Role::Sleeps);
    wanted.ports = vec![PortSpec {
        address: "127.0.0.1".into(),
        host: port,
        container: 80,
        protocol: "tcp".into(),
    }];
    let (first, second) = (lab.name("first"), lab.name("second"));
    for name in [&first, &second] {
        engine.create(name, &wanted).await.unwrap();
    }
    let taken = async |name: &str| match engine.start(name).await {
        Err(EngineError::PortTaken { port: told, .. }) => assert_eq!(told, port),
        other => panic!("{other:?}"),
    };
    taken(&first).await; // by a program
    drop(guard);
    engine.start(&first).await.expect("it is free now");
    assert_eq!(engine.inspect(&first).await.unwrap().ports, [port]);
    taken(&second).await; // by a container
    assert_ne!(
        engine.inspect(&second).await.unwrap().state,
        RunState::Running
    );
}

pub async fn networks_are_made_joined_and_left(lab: &dyn Lab) {
    let engine = lab.engine();
    let mut made = Vec::new();
    for base in ["net-a", "net-b", "net-c"] {
        let wanted = NetworkSpec {
            name: lab.name(base),
            subnet: lab.subnet(),
            internal: base == "net-b",
            labels: lab.labels(),
        };
        let id = engine.create_network(&wanted).await.unwrap();
        let all = engine.networks().await.unwrap();
        let network = all.iter().find(|network| network.id == id).unwrap();
        assert_eq!(
            (&network.name, &network.labels),
            (&wanted.name, &wanted.labels)
        );
        assert_eq!(network.subnets, std::slice::from_ref(&wanted.subnet));
        let again = engine
            .create_network(&NetworkSpec {
                name: lab.name("overlapping"),
                ..wanted.clone()
            })
            .await;
        assert!(matches!(again, Err(EngineError::Conflict(_))), "{again:?}");
        made.push((wanted.name, id));
    }
    let [(a, a_id), (b, _), (c, c_id)] = &made[..] else {
        unreachable!()
    };

    let alias = |alias: &str| EndpointSpec {
        aliases: vec![alias.to_owned()],
        ..EndpointSpec::default()
    };
    let mut wanted = spec(lab, Role::Sleeps);
    wanted.networks.insert(a.clone(), alias("app"));
    wanted.networks.insert(b.clone(), alias("blog.test"));
    let id = engine.create(&lab.name("member"), &wanted).await.unwrap();
    engine.start(&id).await.unwrap();
    engine.connect(c_id, &id, &alias("late")).await.unwrap();
    let joined = engine.inspect(&id).await.unwrap().networks;
    assert_eq!(joined.keys().collect::<Vec<_>>(), [a, b, c]);
    assert_eq!(joined[a].aliases, ["app"]);
    assert_eq!(joined[b].aliases, ["blog.test"]);
    assert_eq!(joined[c].aliases, ["late"]);
    assert!(!joined[a].address.is_empty());

    let busy = engine.remove_network(a_id).await;
    assert!(matches!(busy, Err(EngineError::Conflict(_))), "{busy:?}");
    engine.disconnect(c, &id).await.unwrap();
    assert!(!engine.inspect(&id).await.unwrap().networks.contains_key(c));
    engine.remove(&id).await.unwrap();
    for (_, id) in &made {
        engine.remove_network(id).await.unwrap();
        engine
            .remove_network(id)
            .await
            .expect("removing what is gone is no error");
    }
}

pub async fn a_missing_network_is_named_by_the_start_at_the_latest(lab: &dyn Lab) {
    let engine = lab.engine();
    let wanted = NetworkSpec {
        name: lab.name("net-here"),
        subnet: lab.subnet(),
        internal: false,
        labels: lab.labels(),
    };
    let network = engine.create_network(&wanted).await.unwrap();
    let missing = format!("{}-zzz", wanted.name);
    let mut both = spec(lab, Role::Sleeps);
    for name in [&wanted.name, &missing] {
        both.networks.insert(name.clone(), EndpointSpec::default());
    }
    let name = lab.name("half");
    let error = match engine.create(&name, &both).await {
        // Old engines take any name for a container that does not run.
        Ok(id) => engine.start(&id).await.unwrap_err(),
        Err(error) => {
            assert!(engine.inspect(&name).await.is_err(), "half a container");
            error
        }
    };
    match error {
        EngineError::NotFound {
            kind: "network",
            name: told,
        } => assert_eq!(told, missing),
        other => panic!("{other:?}"),
    }
    engine.remove(&name).await.unwrap();
    engine.remove_network(&network).await.unwrap();
}

pub async fn a_command_gives_its_output_and_exit_code(lab: &dyn Lab) {
    let engine = lab.engine();
    let id = launch(lab, "exec", Role::Sleeps).await;
    let mut script = command(&["sh", "-c", "echo out $WORD; echo err >&2; exit 3"]);
    script.environment.insert("WORD".into(), "word".into());
    let output = engine.exec(&id, &script).await.unwrap();
    assert_eq!(output.code, 3);
    assert_eq!(output.stdout, b"out word\n");
    assert_eq!(output.stderr, b"err\n");
    match engine.exec(&id, &command(&["no-such-program"])).await {
        Err(EngineError::NotFound {
            kind: "command",
            name,
        }) => {
            assert_eq!(name, "no-such-program");
        }
        other => panic!("{other:?}"),
    }
    engine.stop(&id, Duration::from_secs(20)).await.unwrap();
    let stopped = engine.exec(&id, &command(&["true"])).await;
    assert!(
        matches!(stopped, Err(EngineError::Conflict(_))),
        "{stopped:?}"
    );
}

pub async fn the_end_of_a_run_and_its_log_are_told(lab: &dyn Lab) {
    let engine = lab.engine();
    let mut events = engine.events();
    let id = launch(lab, "ends", Role::WritesAndEnds).await;
    let code = timeout(BOUND, engine.wait(&id)).await.unwrap().unwrap();
    assert_eq!(code, 7, "an exit code other than 0 is no error");
    let container = engine.inspect(&id).await.unwrap();
    assert_eq!(
        (container.state, container.exit_code),
        (RunState::Exited, Some(7))
    );
    let actions = actions_until(&mut events, &id, "die").await;
    assert_eq!(actions, ["create", "start", "die"]);
    assert_eq!(engine.wait(&id).await.unwrap(), 7, "and it is told again");

    for (tail, expected) in [
        (None, vec!["one", "two", "three"]),
        (Some(2), vec!["two", "three"]),
        (Some(0), vec![]),
    ] {
        let options = LogOptions {
            tail,
            ..Default::default()
        };
        let lines: Vec<String> = engine
            .logs(&id, options)
            .map(|line| line.unwrap().text)
            .collect()
            .await;
        assert_eq!(lines, expected, "{tail:?}");
    }
}

pub async fn limits_are_changed_but_not_lifted(lab: &dyn Lab) {
    let engine = lab.engine();
    let mut wanted = spec(lab, Role::Sleeps);
    let id = engine.create(&lab.name("limits"), &wanted).await.unwrap();
    engine.start(&id).await.unwrap();
    for (memory, nano_cpus) in [
        (64 << 20, 250_000_000),
        (256 << 20, 500_000_000),
        (32 << 20, 100_000_000),
    ] {
        wanted.memory = Some(memory);
        wanted.nano_cpus = Some(nano_cpus);
        wanted.restart = "unless-stopped".into();
        engine.update(&id, &wanted).await.unwrap();
        let got = engine.inspect(&id).await.unwrap();
        assert_eq!((got.memory, got.nano_cpus), (memory, nano_cpus));
        assert_eq!(got.restart, "unless-stopped");
        assert_eq!(got.state, RunState::Running);
    }
    wanted.memory = None;
    match engine.update(&id, &wanted).await {
        Err(EngineError::Other { reason, .. }) => assert!(reason.contains("made anew"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

/// Makes a test of each function above, with a new lab for each.
#[macro_export]
macro_rules! conformance {
    ($lab:expr) => {
        conformance!(
            $lab;
            a_container_lives_its_life
            what_is_not_there_is_not_found
            a_specification_arrives
            health_is_told_by_events
            ill_health_is_told_by_events
            a_name_is_given_once
            a_missing_image_is_named
            a_taken_port_is_named
            networks_are_made_joined_and_left
            a_missing_network_is_named_by_the_start_at_the_latest
            a_command_gives_its_output_and_exit_code
            the_end_of_a_run_and_its_log_are_told
            limits_are_changed_but_not_lifted
        );
    };
    ($lab:expr; $($test:ident)*) => {
        $(#[tokio::test]
        async fn $test() {
            engine_conformance::$test(&$lab).await;
        })*
    };
}
