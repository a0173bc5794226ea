//! An engine in memory, for the tests of what decides and executes plans. It sleeps never, writes
//! down what is asked of it, and can be scripted:
//!
//! ```
//! # use summoner::engine::fake::FakeEngine;
//! let fake = FakeEngine::new();
//! fake.image("app:1");                    // is there, becomes healthy at once
//! fake.image("app:2").slow(3).unhealthy(); // starting in three inspections, then unhealthy
//! fake.image("app:3").remote().dies(1);   // has to be pulled, exits with 1
//! fake.die_at(2); // the 2nd changing call still happens, its caller never learns it
//! let next_run = fake.restarted(); // another process before the same engine
//! ```

mod images;
mod look;
mod networks;
mod script;
mod world;

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::io::AsyncWrite;
use tokio::sync::Notify;

use self::world::World;
use super::{
    Container, ContainerEvent, ContainerSpec, ContainerSummary, EndpointSpec, Engine, EngineError,
    EngineInfo, ExecEnd, ExecOutput, ExecSpec, ExecStream, Image, LogLine, LogOptions, Network,
    NetworkSpec,
};
use crate::events::{Event, Events};

pub use self::script::ImageScript;

/// An engine in memory. Clones are the same engine and the same caller.
#[derive(Clone)]
pub struct FakeEngine {
    world: Arc<Mutex<World>>,
    changed: Arc<Notify>,
    caller: Arc<Mutex<Caller>>,
}

/// One process that uses the engine.
#[derive(Debug, Default)]
struct Caller {
    calls: usize,
    fail_at: Option<usize>,
    die_at: Option<usize>,
    dead: bool,
}

impl Default for FakeEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeEngine {
    /// An engine without images, containers and networks.
    #[must_use]
    pub fn new() -> Self {
        Self {
            world: Arc::default(),
            changed: Arc::default(),
            caller: Arc::default(),
        }
    }

    /// The same engine as another process sees it, alive and with its calls counted anew.
    #[must_use]
    pub fn restarted(&self) -> Self {
        Self {
            caller: Arc::default(),
            ..self.clone()
        }
    }

    /// Makes the `n`th changing call from now on (from 1) fail without an effect.
    pub fn fail_at(&self, n: usize) {
        let mut caller = lock(&self.caller);
        caller.fail_at = Some(caller.calls + n);
    }

    /// Kills the caller in the `n`th changing call from now on (from 1): it takes effect, but
    /// that call and all later ones, reads too, are answered with an error. Use the engine from
    /// then on through [`Self::restarted`].
    pub fn die_at(&self, n: usize) {
        let mut caller = lock(&self.caller);
        caller.die_at = Some(caller.calls + n);
    }

    /// Whether [`Self::die_at`] has struck: when it has not, there were fewer calls.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        lock(&self.caller).dead
    }

    /// How many changing calls this caller has made.
    #[must_use]
    pub fn calls(&self) -> usize {
        lock(&self.caller).calls
    }

    /// What was changed or tried so far, one line a call: `create blog`, `connect edge blog`,
    /// `rename blog.next -> blog`, `start blog: port 80 is taken`.
    #[must_use]
    pub fn journal(&self) -> Vec<String> {
        lock(&self.world).journal.clone()
    }

    /// The journal so far, which then is empty.
    #[must_use]
    pub fn take_journal(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.world).journal)
    }

    /// Puts an image there, or finds it, to be scripted. Without more it becomes healthy at once.
    #[expect(clippy::must_use_candidate, reason = "the image is there either way")]
    pub fn image(&self, reference: &str) -> ImageScript<'_> {
        ImageScript::new(self, reference)
    }

    /// Gives the reference to another image, as a rebuild or a pull of a moving tag does.
    pub fn replace_image(&self, reference: &str) {
        lock(&self.world).replace_image(reference);
    }

    /// Changes what [`Engine::info`] tells.
    pub fn set_info(&self, change: impl FnOnce(&mut EngineInfo)) {
        change(&mut lock(&self.world).info);
    }

    /// Takes a host port for a program that is no container.
    pub fn take_port(&self, port: u16) {
        lock(&self.world).taken.insert(port);
    }

    /// Gives such a port back.
    pub fn free_port(&self, port: u16) {
        lock(&self.world).taken.remove(&port);
    }

    /// Answers every exec by container name and command; without it each succeeds in silence.
    pub fn on_exec(
        &self,
        answer: impl Fn(&str, &ExecSpec) -> Result<ExecOutput, EngineError> + Send + Sync + 'static,
    ) {
        lock(&self.world).on_exec = Some(Arc::new(answer));
    }

    /// Lets a running container end by itself.
    pub fn kill(&self, name: &str, code: i64) {
        self.world(|world| {
            if let Ok(index) = world.index(name) {
                world.die(index, code);
            }
        });
    }

    /// What a container was made from; `None` when there is none of that name.
    #[must_use]
    pub fn spec(&self, name: &str) -> Option<ContainerSpec> {
        let world = lock(&self.world);
        let index = world.index(name).ok()?;
        Some(world.containers[index].spec.clone())
    }

    /// Names and states of all containers, sorted: `blog running healthy`.
    #[must_use]
    pub fn states(&self) -> Vec<String> {
        lock(&self.world).states()
    }

    /// Looks into the world and wakes who waits, if something happened.
    fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        let mut world = lock(&self.world);
        let before = world.events.len();
        let result = look(&mut world);
        if world.events.len() != before {
            self.changed.notify_waiters();
        }
        result
    }

    fn read<T>(
        &self,
        look: impl FnOnce(&mut World) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        if self.is_dead() {
            return Err(killed());
        }
        self.world(look)
    }

    /// The event of that number, once it has happened.
    async fn event(&self, number: usize) -> Result<ContainerEvent, EngineError> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let event = self.read(|world| {
                if world.events.len() <= number {
                    world.tick_until_event();
                }
                Ok(world.events.get(number).cloned())
            })?;
            match event {
                Some(event) => return Ok(event),
                None => changed.await,
            }
        }
    }

    /// One changing call: counted, journalled, and perhaps the last one of its caller.
    fn change<T>(
        &self,
        line: impl FnOnce(&World) -> String,
        change: impl FnOnce(&mut World) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let mut caller = lock(&self.caller);
        if caller.dead {
            return Err(killed());
        }
        caller.calls += 1;
        self.world(|world| {
            let line = line(world);
            let result = if caller.fail_at == Some(caller.calls) {
                Err(EngineError::Other {
                    action: line.clone(),
                    reason: "the test wants it to fail".to_owned(),
                })
            } else {
                change(world)
            };
            world.journal.push(match &result {
                Ok(_) => line,
                Err(error) => format!("{line}: {error}"),
            });
            if caller.die_at == Some(caller.calls) {
                caller.dead = true;
                self.changed.notify_waiters();
                return Err(killed());
            }
            result
        })
    }
}

fn killed() -> EngineError {
    EngineError::Absent {
        endpoint: "fake".to_owned(),
        reason: "the caller was killed".to_owned(),
    }
}

/// A panic in one test thread must not hide the others' results.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Engine for FakeEngine {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        self.read(|world| Ok(world.info.clone()))
    }

    async fn containers(&self) -> Result<Vec<ContainerSummary>, EngineError> {
        self.read(|world| Ok(world.summaries()))
    }

    async fn inspect(&self, id: &str) -> Result<Container, EngineError> {
        self.read(|world| {
            let index = world.index(id)?;
            world.tick(index);
            Ok(world.container(index))
        })
    }

    async fn create(&self, name: &str, spec: &ContainerSpec) -> Result<String, EngineError> {
        let id = self.change(
            |_| format!("create {name}"),
            |world| world.create(name, spec),
        )?;
        for (network, endpoint) in spec.networks.iter().skip(1) {
            if let Err(error) = self.connect(network, &id, endpoint).await {
                // As the real one does; a killed caller does not come so far.
                let _ = self.remove(&id).await;
                return Err(error);
            }
        }
        Ok(id)
    }

    async fn start(&self, id: &str) -> Result<(), EngineError> {
        self.change(
            |world| format!("start {}", world.name_of(id)),
            |world| world.start(id),
        )
    }

    async fn stop(&self, id: &str, _grace: Duration) -> Result<(), EngineError> {
        self.change(
            |world| format!("stop {}", world.name_of(id)),
            |world| world.stop(id),
        )
    }

    async fn signal(&self, id: &str, signal: &str) -> Result<(), EngineError> {
        self.change(
            |world| format!("signal {} {signal}", world.name_of(id)),
            |world| world.running(id).map(drop),
        )
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        self.change(
            |world| format!("remove {}", world.name_of(id)),
            |world| {
                world.remove(id);
                Ok(())
            },
        )
    }

    async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError> {
        self.change(
            |world| format!("rename {} -> {name}", world.name_of(id)),
            |world| world.rename(id, name),
        )
    }

    async fn update(&self, id: &str, spec: &ContainerSpec) -> Result<(), EngineError> {
        self.change(
            |world| format!("update {}", world.name_of(id)),
            |world| world.update(id, spec),
        )
    }

    async fn wait(&self, id: &str) -> Result<i64, EngineError> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let code = self.read(|world| {
                let index = world.index(id)?;
                world.settle(index);
                Ok(world.ended(index))
            })?;
            if let Some(code) = code {
                return Ok(code);
            }
            changed.await;
        }
    }

    /// The scripted lines of a container that was started; `follow` ends with them.
    fn logs(
        &self,
        id: &str,
        options: LogOptions,
    ) -> BoxStream<'static, Result<LogLine, EngineError>> {
        let lines = match self.read(|world| world.logs(id, options.tail)) {
            Ok(lines) => lines.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        stream::iter(lines).boxed()
    }

    async fn exec(&self, id: &str, spec: &ExecSpec) -> Result<ExecOutput, EngineError> {
        self.change(
            |world| format!("exec {}: {}", world.name_of(id), spec.command.join(" ")),
            |world| world.exec(id, spec),
        )
    }

    /// Shows nothing.
    async fn exec_attached(&self, id: &str, spec: &ExecSpec) -> Result<i64, EngineError> {
        self.exec(id, spec).await.map(|output| output.code)
    }

    /// Shows nothing; what does not die by script ends with 0.
    async fn exec_stream(&self, id: &str, spec: &ExecSpec) -> Result<ExecStream, EngineError> {
        let output = self.exec(id, spec).await?;
        let chunks: Vec<_> = output
            .stdout
            .chunks(32 * 1024)
            .map(|c| Ok(Bytes::copy_from_slice(c)))
            .collect();
        let end = ExecEnd {
            code: output.code,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        Ok(ExecStream {
            input: spec
                .stdin
                .then(|| Box::pin(tokio::io::sink()) as Pin<Box<dyn AsyncWrite + Send>>),
            output: stream::iter(chunks).boxed(),
            end: Box::pin(async move { Ok(end) }),
        })
    }

    async fn start_attached(&self, id: &str, _tty: bool, _stdin: bool) -> Result<i64, EngineError> {
        self.change(
            |world| format!("run {}", world.name_of(id)),
            |world| world.run(id),
        )
    }

    /// While nothing has happened, each look at the stream moves containers that are not settled
    /// yet: who waits for an event need not inspect to make it come.
    fn events(&self) -> BoxStream<'static, Result<ContainerEvent, EngineError>> {
        let from = lock(&self.world).events.len();
        stream::unfold((self.clone(), from), |(fake, next)| async move {
            let event = fake.event(next).await;
            Some((event, (fake, next + 1)))
        })
        .boxed()
    }

    async fn networks(&self) -> Result<Vec<Network>, EngineError> {
        self.read(|world| Ok(world.networks.clone()))
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<String, EngineError> {
        self.change(
            |_| format!("create network {}", spec.name),
            |world| world.create_network(spec),
        )
    }

    async fn remove_network(&self, id: &str) -> Result<(), EngineError> {
        self.change(
            |world| format!("remove network {}", world.network_name_of(id)),
            |world| world.remove_network(id),
        )
    }

    async fn connect(
        &self,
        network: &str,
        container: &str,
        endpoint: &EndpointSpec,
    ) -> Result<(), EngineError> {
        self.change(
            |world| {
                let network = world.network_name_of(network);
                format!("connect {network} {}", world.name_of(container))
            },
            |world| world.connect(network, container, endpoint),
        )
    }

    async fn disconnect(&self, network: &str, container: &str) -> Result<(), EngineError> {
        self.change(
            |world| {
                let network = world.network_name_of(network);
                format!("disconnect {network} {}", world.name_of(container))
            },
            |world| world.disconnect(network, container),
        )
    }

    async fn images(&self) -> Result<Vec<Image>, EngineError> {
        self.read(|world| Ok(world.images()))
    }

    async fn registry_digest(&self, image: &str) -> Result<String, EngineError> {
        self.read(|world| world.registry_digest(image))
    }

    async fn pull(&self, image: &str, events: &dyn Events) -> Result<(), EngineError> {
        self.change(|_| format!("pull {image}"), |world| world.pull(image))?;
        for done in [0, 1000] {
            events.event(Event::Pull {
                image: image.to_owned(),
                done,
                total: 1000,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
