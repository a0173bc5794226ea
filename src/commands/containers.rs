//! Verbs that work on containers that are there: logs, exec, run, restart.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Result, bail};
use futures_util::StreamExt as _;
use futures_util::stream::select_all;

use crate::apply::wait::{self, Need, Unmet, Watcher};
use crate::cli::{ExecArgs, LogsArgs, RestartArgs};
use crate::commands::world::{self, World};
use crate::commands::{Session, exit, restore, signals};
use crate::engine::{Container, EngineError, ExecSpec, LogOptions, RunState};
use crate::events::Event;
use crate::events::Events as _;
use crate::plan::desired::{Service, labels};
use crate::secret::Secret;
use crate::state::lock::Lock;

fn label<'a>(container: &'a Container, key: &str) -> &'a str {
    container.labels.get(key).map_or("", String::as_str)
}

/// Containers of `minion` or `minion/service` names; all when there are none.
fn chosen<'a>(world: &'a World, names: &[String]) -> Result<Vec<&'a Container>> {
    let all = &world.observed.containers;
    if names.is_empty() {
        return Ok(all.iter().collect());
    }
    let mut found = Vec::new();
    for name in names {
        let (minion, service) = name
            .split_once('/')
            .map_or((name.as_str(), None), |(m, s)| (m, Some(s)));
        let matching: Vec<&Container> = all
            .iter()
            .filter(|c| label(c, labels::MINION) == minion)
            .filter(|c| service.is_none_or(|s| label(c, labels::SERVICE) == s))
            .collect();
        if matching.is_empty() {
            let groups = world.wanted.desired.groups.iter();
            let known = groups
                .clone()
                .any(|g| g.name == minion && service.is_none_or(|s| g.services.contains_key(s)));
            if known {
                bail!("`{name}` has no container\n  hint: `summoner up {minion}` makes it run");
            }
            if let (Some(service), Some(group)) =
                (service, groups.clone().find(|g| g.name == minion))
            {
                let there: Vec<&str> = group.services.keys().map(String::as_str).collect();
                bail!(
                    "`{minion}` has no service `{service}`\n  hint: there are: {}",
                    there.join(", ")
                );
            }
            bail!(world::unknown(name, groups.map(|g| g.name.as_str())));
        }
        found.extend(matching);
    }
    Ok(found)
}

pub(super) async fn logs(session: &Session, args: &LogsArgs) -> Result<u8> {
    let world = world::look(session, world::open(session)?).await?;
    let containers = chosen(&world, &args.minions)?;
    if containers.is_empty() {
        session
            .report
            .note("nothing runs yet; `summoner up` makes it run");
    }
    let options = LogOptions {
        tail: Some(args.tail),
        follow: args.follow,
        timestamps: args.timestamps,
    };
    let target =
        |c: &Container| format!("{}/{}", label(c, labels::MINION), label(c, labels::SERVICE));
    let width = containers
        .iter()
        .map(|c| target(c).len())
        .max()
        .unwrap_or(0);
    let mut streams = select_all(containers.iter().map(|c| {
        let name = format!("{:width$} | ", target(c));
        world
            .engine
            .logs(&c.id, options)
            .map(move |line| (name.clone(), line))
            .boxed()
    }));
    while let Some((name, line)) = streams.next().await {
        session.report.line(&format!("{name}{}", line?.text));
    }
    Ok(exit::OK)
}

/// Where a command of `exec` or `run` goes: the service and its container, if there is one.
fn target<'a>(world: &'a World, name: &str) -> Result<(&'a Service, Option<&'a Container>)> {
    let (minion, service) = name
        .split_once('/')
        .map_or((name, None), |(m, s)| (m, Some(s)));
    let groups = &world.wanted.desired.groups;
    let Some(group) = groups.iter().find(|g| g.name == minion) else {
        bail!(world::unknown(
            minion,
            groups.iter().map(|g| g.name.as_str())
        ));
    };
    let main = world
        .wanted
        .rendered
        .iter()
        .find(|r| r.instance == minion)
        .and_then(|r| r.main.as_deref());
    let service = service.or(main).unwrap_or_default();
    let Some(found) = group.services.get(service) else {
        let known: Vec<&str> = group.services.keys().map(String::as_str).collect();
        bail!(
            "`{minion}` has no service `{service}`\n  hint: there are: {}",
            known.join(", ")
        );
    };
    let container = world
        .observed
        .containers
        .iter()
        .find(|c| c.name == found.name);
    Ok((found, container))
}

/// Exit codes of commands in containers, as far as our own can carry them.
fn code(code: i64) -> u8 {
    u8::try_from(code).unwrap_or(1)
}

pub(super) async fn exec(session: &Session, args: &ExecArgs) -> Result<u8> {
    let world = world::look(session, world::open(session)?).await?;
    let (service, container) = target(&world, &args.target)?;
    let Some(container) = container.filter(|c| c.state == RunState::Running) else {
        bail!(
            "`{}` does not run\n  hint: `summoner up {}`, or a container of its own: `summoner run {} …`",
            service.target(),
            service.minion,
            args.target
        );
    };
    let tty = terminal(args);
    let spec = ExecSpec {
        command: args.command.clone(),
        user: args.user.clone(),
        tty,
        stdin: true,
        ..ExecSpec::default()
    };
    let ended = world.engine.exec_attached(&container.id, &spec).await;
    ran(session, service, args, ended)
}

/// The exit code of a command, or of a shell whose command did not come to run.
fn ran(
    session: &Session,
    service: &Service,
    args: &ExecArgs,
    ended: Result<i64, EngineError>,
) -> Result<u8> {
    let error = match ended {
        Ok(ended) => return Ok(code(ended)),
        Err(error) => error,
    };
    let Some(code) = error.did_not_run() else {
        return Err(error.into());
    };
    let (program, target) = (&args.command[0], service.target());
    session.report.fail(&if code == 127 {
        format!(
            "there is no program `{program}` in `{target}`\n  hint: give its full path, or look for it: `summoner exec {target} ls /usr/local/bin /usr/bin /bin`"
        )
    } else {
        format!(
            "`{program}` cannot be executed in `{target}`\n  hint: see whose it is: `summoner exec {target} ls -ld {program}`; `--user` runs it as somebody else"
        )
    });
    Ok(code)
}

fn terminal(args: &ExecArgs) -> bool {
    !args.no_tty && std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

pub(super) async fn one_off(session: &Session, args: &ExecArgs) -> Result<u8> {
    let world = world::look(session, world::open(session)?).await?;
    let (service, _) = target(&world, &args.target)?;
    for network in service.spec.networks.keys() {
        if !world.observed.networks.iter().any(|n| n.name == *network) {
            bail!(
                "the network `{network}` is not there\n  hint: `summoner up {}` first",
                service.minion
            );
        }
    }
    let mut spec = service.spec.clone();
    spec.command = Some(args.command.clone());
    spec.ports.clear();
    spec.healthcheck = Some(crate::engine::HealthcheckSpec {
        test: vec!["NONE".to_owned()],
        interval_ms: None,
        timeout_ms: None,
        retries: None,
        start_period_ms: None,
        start_interval_ms: None,
    });
    "no".clone_into(&mut spec.restart);
    // Requests for the service must never reach this container.
    for endpoint in spec.networks.values_mut() {
        endpoint.aliases.clear();
    }
    for key in [labels::HASH, "com.docker.compose.config-hash"] {
        spec.labels.remove(key);
    }
    spec.labels
        .insert(labels::ONE_OFF.to_owned(), labels::RUN.to_owned());
    spec.labels
        .insert("com.docker.compose.oneoff".to_owned(), "True".to_owned());
    if let Some(user) = &args.user {
        spec.user = Some(user.clone());
    }
    spec.tty = terminal(args);
    spec.stdin = true;
    let name = format!(
        "{}.run-{}",
        service.name,
        Secret::generate(6).expose().to_lowercase()
    );
    let id = world.engine.create(&name, &spec).await?;
    let result = tokio::select! {
        result = world.engine.start_attached(&id, spec.tty, true) => result,
        _ = tokio::signal::ctrl_c() => Ok(i64::from(exit::INTERRUPTED)),
    };
    world.engine.remove(&id).await?;
    ran(session, service, args, result)
}

pub(super) async fn restart(session: &Session, args: &RestartArgs) -> Result<u8> {
    let project = world::open(session)?;
    let _lock = Lock::take(&project.paths, "restart")?;
    restore::settle::settle(session, &project).await?;
    let world = world::look(session, project).await?;
    let containers = chosen(&world, &args.minions)?;
    let minions = containers.iter().map(|c| label(c, labels::MINION));
    let _minions = world::lock_minions(&world.project.paths, minions, "restart")?;
    let report = &session.report;
    if containers.is_empty() {
        report.note("nothing runs yet; `summoner up` makes it run");
    }
    let watcher = Watcher::start(&world.engine);
    let listening = signals::listen(report);
    let cancelled = listening.cancelled.clone();
    let limit = Duration::from_secs(args.wait_timeout);
    let mut failed = false;
    // Dependencies come up first: a group's own order, one container after the other.
    let ordered = world
        .wanted
        .desired
        .groups
        .iter()
        .flat_map(|g| crate::plan::service::start_order(g));
    for service in ordered {
        let Some(container) = containers.iter().find(|c| c.name == service.name) else {
            continue;
        };
        if *cancelled.borrow() {
            break;
        }
        let target = service.target();
        report.event(Event::Started {
            target: target.clone(),
            action: "restart".into(),
        });
        world.engine.stop(&container.id, service.grace()).await?;
        world.engine.start(&container.id).await?;
        let waited = wait::container(
            world.engine.as_ref(),
            &watcher,
            report.as_ref(),
            &cancelled,
            (&target, &container.id),
            Need::Healthy,
            limit,
        )
        .await;
        match waited {
            Ok(()) => report.event(Event::Finished {
                target,
                action: "restart".into(),
            }),
            Err(Unmet::Engine(error)) => return Err(error.into()),
            Err(Unmet::Cancelled) => break,
            Err(Unmet::Broken(how)) => {
                failed = true;
                report.event(Event::Failed {
                    target,
                    message: format!("the container `{}` {how}", service.name),
                });
            }
            Err(Unmet::Timeout(state)) => {
                failed = true;
                let message = format!(
                    "the container `{}` is {state} after {} s",
                    service.name,
                    limit.as_secs()
                );
                report.event(Event::Failed { target, message });
            }
        }
    }
    report.finish_progress();
    if *cancelled.borrow() {
        report.fail("interrupted; every container that was stopped was started again\n  hint: `summoner restart` begins anew");
        return Ok(exit::INTERRUPTED);
    }
    if failed {
        report.note(&format!(
            "see why with `summoner logs {}`",
            args.minions.join(" ")
        ));
    }
    Ok(if failed { exit::PARTIAL } else { exit::OK })
}
