//! Docker Engine behind [`Engine`]. This folder is the only place that names bollard.
//!
//! Bollard sends no API version, so the engine answers in its newest one; what an older engine
//! does not know is left out after a look at its version, which is asked for once.

mod attach;
mod credentials;
mod error;
mod exec;
mod input;
mod logs;
mod observe;
mod pull;
mod registry;
mod spec;
mod stream;
mod terminal;
mod tree;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::errors::Error;
use bollard::models::{NetworkConnectRequest, NetworkDisconnectRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, EventsOptionsBuilder, InspectContainerOptions,
    KillContainerOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptions,
    ListNetworksOptions, RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder,
    StartContainerOptions, StopContainerOptionsBuilder, WaitContainerOptions,
};
use futures_util::stream::{BoxStream, once};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::sync::OnceCell;

use self::error::Subject;
use super::{
    Container, ContainerEvent, ContainerSpec, ContainerSummary, EndpointSpec, Engine, EngineError,
    EngineInfo, ExecOutput, ExecSpec, ExecStream, Image, LogLine, LogOptions, MINIMUM_API, Network,
    NetworkSpec,
};
use crate::events::Events;

/// How long an ordinary call may take: a busy machine with slow disks needs tens of seconds to
/// remove a container.
const PATIENCE: Duration = Duration::from_mins(2);

/// Bollard's own time-out until the response headers; ours is around each call, and waits, logs
/// and attached runs have none.
const FOREVER: Duration = Duration::from_hours(365 * 24);

/// Where the engine listens when nobody says otherwise.
const DEFAULT_ENDPOINT: &str = "unix:///var/run/docker.sock";

/// What happens to containers and matters to us; the rest (each run of a healthcheck makes two)
/// stays in the engine.
const EVENTS: [&str; 10] = [
    "create",
    "start",
    "die",
    "stop",
    "oom",
    "destroy",
    "rename",
    "pause",
    "unpause",
    "health_status",
];

/// Docker Engine on this machine. Cheap to clone.
#[derive(Clone)]
pub struct Docker {
    client: bollard::Docker,
    endpoint: Arc<str>,
    api: Arc<OnceCell<(u32, u32)>>,
    patience: Duration,
}

impl Docker {
    /// The engine that `DOCKER_HOST` names, or that of the usual socket. Does not talk to it yet:
    /// [`Engine::info`] is the check that it answers.
    pub fn connect() -> Result<Self, EngineError> {
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        Self::at(if host.is_empty() {
            DEFAULT_ENDPOINT
        } else {
            &host
        })
    }

    /// The engine at `endpoint`, `unix://` and the path of a socket.
    pub fn at(endpoint: &str) -> Result<Self, EngineError> {
        let Some(path) = endpoint.strip_prefix("unix://") else {
            return Err(EngineError::Absent {
                endpoint: endpoint.to_owned(),
                reason: "only an engine of this machine (unix://…) can mount its folders"
                    .to_owned(),
            });
        };
        let client = bollard::Docker::connect_with_unix(
            path,
            FOREVER.as_secs(),
            bollard::API_DEFAULT_VERSION,
        )
        .map_err(|error| Subject::new("reach", "the engine", "").error(endpoint, error))?;
        Ok(Self {
            client,
            endpoint: endpoint.into(),
            api: Arc::default(),
            patience: PATIENCE,
        })
    }

    /// The same engine with another limit for each ordinary call; two minutes without it.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Awaits a call, but not for ever.
    async fn call<T>(
        &self,
        subject: &Subject,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, EngineError> {
        self.call_within(self.patience, subject, call).await
    }

    async fn call_within<T>(
        &self,
        limit: Duration,
        subject: &Subject,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, EngineError> {
        match tokio::time::timeout(limit, call).await {
            Ok(result) => result.map_err(|error| subject.error(&self.endpoint, error)),
            Err(_) => Err(EngineError::Timeout(limit, subject.action())),
        }
    }

    /// The API of the engine, asked for once.
    async fn api(&self) -> Result<(u32, u32), EngineError> {
        let subject = Subject::new("ask", "the engine for its version", "");
        self.api
            .get_or_try_init(|| async {
                let version = self.call(&subject, self.client.version()).await?;
                Ok(observe::api_version(
                    version.api_version.as_deref().unwrap_or_default(),
                ))
            })
            .await
            .copied()
    }

    /// A subject whose name is safe to paste into a path: bollard does not escape it, and an
    /// empty one would address all containers.
    fn container(verb: &'static str, id: &str) -> Result<Subject, EngineError> {
        Self::checked(Subject::new(verb, "container", id), id)
    }

    fn checked(subject: Subject, name: &str) -> Result<Subject, EngineError> {
        let safe = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if name.is_empty() || !name.chars().all(safe) {
            return Err(subject.missing());
        }
        Ok(subject)
    }

    /// Joins the networks but the first, which came with the create.
    async fn join_others(&self, id: &str, spec: &ContainerSpec) -> Result<(), EngineError> {
        for (network, endpoint) in spec.networks.iter().skip(1) {
            self.connect(network, id, endpoint).await?;
        }
        Ok(())
    }

    /// Whether a limit that `spec` no longer has is still there: the engine takes zero for "as it is".
    async fn refuse_to_lift_limits(
        &self,
        id: &str,
        spec: &ContainerSpec,
    ) -> Result<(), EngineError> {
        if spec.memory.is_some() && spec.nano_cpus.is_some() {
            return Ok(());
        }
        let now = self.inspect(id).await?;
        let stuck = (spec.memory.is_none() && now.memory != 0)
            || (spec.nano_cpus.is_none() && now.nano_cpus != 0);
        if stuck {
            return Err(Subject::new("update", "container", id).failed(
                "the engine cannot take a limit away from a container, it has to be made anew",
            ));
        }
        Ok(())
    }
}

#[async_trait]
impl Engine for Docker {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        let subject = Subject::new("ask", "the engine about itself", "");
        let (version, info) = futures_util::try_join!(
            self.call(&subject, self.client.version()),
            self.call(&subject, self.client.info()),
        )?;
        let info = observe::info(version, info);
        // Whoever creates a container asks for it again; that it is set already is no failure.
        let _ = self.api.set(info.api);
        if info.api < MINIMUM_API {
            return Err(EngineError::TooOld {
                api: format!("{}.{}", info.api.0, info.api.1),
                version: info.version,
            });
        }
        Ok(info)
    }

    async fn containers(&self) -> Result<Vec<ContainerSummary>, EngineError> {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let subject = Subject::new("list", "the containers", "");
        let list = self
            .call(&subject, self.client.list_containers(Some(options)))
            .await?;
        Ok(list.into_iter().map(observe::summary).collect())
    }

    async fn inspect(&self, id: &str) -> Result<Container, EngineError> {
        let subject = Self::container("inspect", id)?;
        let call = self
            .client
            .inspect_container(id, None::<InspectContainerOptions>);
        self.call(&subject, call).await.map(observe::container)
    }

    async fn create(&self, name: &str, spec: &ContainerSpec) -> Result<String, EngineError> {
        let subject = Self::container("create", name)?;
        let body =
            spec::create_body(spec, self.api().await?).map_err(|reason| subject.failed(reason))?;
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let call = self.client.create_container(Some(options), body);
        let id = self.call(&subject, call).await?.id;
        if let Err(error) = self.join_others(&id, spec).await {
            // Half a container is worse than none; the error to tell is the first one.
            let _ = self.remove(&id).await;
            return Err(error);
        }
        Ok(id)
    }

    async fn start(&self, id: &str) -> Result<(), EngineError> {
        let subject = Self::container("start", id)?;
        let call = self
            .client
            .start_container(id, None::<StartContainerOptions>);
        self.call(&subject, call).await
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), EngineError> {
        let subject = Self::container("stop", id)?;
        let seconds = grace.as_millis().div_ceil(1000);
        let options = StopContainerOptionsBuilder::new()
            .t(i32::try_from(seconds).unwrap_or(i32::MAX))
            .build();
        let call = self.client.stop_container(id, Some(options));
        self.call_within(grace.saturating_add(self.patience), &subject, call)
            .await
    }

    async fn signal(&self, id: &str, signal: &str) -> Result<(), EngineError> {
        let subject = Self::container("signal", id)?;
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        self.call(&subject, self.client.kill_container(id, Some(options)))
            .await
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let subject = Self::container("remove", id)?;
        let gone = async {
            loop {
                let options = RemoveContainerOptionsBuilder::new()
                    .force(true)
                    .v(false)
                    .build();
                let result = self.client.remove_container(id, Some(options)).await;
                match result {
                    Err(Error::DockerResponseServerError {
                        status_code: 404, ..
                    }) => return Ok(()),
                    // Somebody else removes it: our caller may use its name only when it is gone.
                    Err(Error::DockerResponseServerError {
                        status_code: 409,
                        ref message,
                    }) if message.contains("already in progress") => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    other => return other,
                }
            }
        };
        self.call(&subject, gone).await
    }

    async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError> {
        let subject = Self::container("rename", id)?;
        let options = RenameContainerOptionsBuilder::new().name(name).build();
        self.call(&subject, self.client.rename_container(id, options))
            .await
    }

    async fn update(&self, id: &str, spec: &ContainerSpec) -> Result<(), EngineError> {
        let subject = Self::container("update", id)?;
        self.refuse_to_lift_limits(id, spec).await?;
        let body = spec::update_body(spec).map_err(|reason| subject.failed(reason))?;
        self.call(&subject, self.client.update_container(id, body))
            .await
    }

    async fn wait(&self, id: &str) -> Result<i64, EngineError> {
        let subject = Self::container("wait for", id)?;
        let mut answers = self.client.wait_container(id, None::<WaitContainerOptions>);
        match answers.next().await {
            Some(Ok(answer)) => Ok(answer.status_code),
            // Bollard takes every other code than 0 for an error.
            Some(Err(Error::DockerContainerWaitError { error, code })) if error.is_empty() => {
                Ok(code)
            }
            Some(Err(Error::DockerContainerWaitError { error, .. })) => {
                Err(subject.failed(error::tidy(&error)))
            }
            Some(Err(error)) => Err(subject.error(&self.endpoint, error)),
            None => Err(subject.failed("the engine hung up")),
        }
    }

    fn logs(
        &self,
        id: &str,
        options: LogOptions,
    ) -> BoxStream<'static, Result<LogLine, EngineError>> {
        self.log_lines(id, options)
    }

    async fn exec(&self, id: &str, spec: &ExecSpec) -> Result<ExecOutput, EngineError> {
        self.exec_to_end(id, spec).await
    }

    async fn exec_attached(&self, id: &str, spec: &ExecSpec) -> Result<i64, EngineError> {
        self.exec_with_our_streams(id, spec).await
    }

    async fn exec_stream(&self, id: &str, spec: &ExecSpec) -> Result<ExecStream, EngineError> {
        self.exec_as_stream(id, spec).await
    }

    async fn start_attached(&self, id: &str, tty: bool, stdin: bool) -> Result<i64, EngineError> {
        self.start_with_our_streams(id, tty, stdin).await
    }

    fn events(&self) -> BoxStream<'static, Result<ContainerEvent, EngineError>> {
        let filters = [("type", vec!["container"]), ("event", EVENTS.to_vec())].into();
        // The stream connects when it is first polled; what happens until then is kept by the
        // engine and told because of `since`.
        let now = jiff::Timestamp::now();
        let since = format!("{}.{:09}", now.as_second(), now.subsec_nanosecond());
        let options = EventsOptionsBuilder::new()
            .since(&since)
            .filters(&filters)
            .build();
        let subject = Subject::new("follow", "the events of the engine", "");
        let end = subject.failed("the engine hung up");
        let endpoint = Arc::clone(&self.endpoint);
        self.client
            .events(Some(options))
            .map_err(move |error| subject.error(&endpoint, error))
            .try_filter_map(|message| async {
                Ok(message
                    .actor
                    .and_then(|actor| actor.id)
                    .zip(message.action)
                    .map(|(id, action)| ContainerEvent { id, action }))
            })
            .chain(once(async { Err(end) }))
            .boxed()
    }

    async fn networks(&self) -> Result<Vec<Network>, EngineError> {
        let subject = Subject::new("list", "the networks", "");
        let call = self.client.list_networks(None::<ListNetworksOptions>);
        let list = self.call(&subject, call).await?;
        Ok(list.into_iter().map(observe::network).collect())
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<String, EngineError> {
        let subject = Subject::new("create", "network", &spec.name);
        let call = self.client.create_network(spec::network_body(spec));
        self.call(&subject, call).await.map(|network| network.id)
    }

    async fn remove_network(&self, id: &str) -> Result<(), EngineError> {
        let subject = Subject::new("remove", "network", id);
        let subject = Self::checked(subject, id)?;
        match self.call(&subject, self.client.remove_network(id)).await {
            Err(EngineError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    async fn connect(
        &self,
        network: &str,
        container: &str,
        endpoint: &EndpointSpec,
    ) -> Result<(), EngineError> {
        let subject = Subject::new("connect a container to", "network", network);
        let subject = Self::checked(subject, network)?;
        let request = NetworkConnectRequest {
            container: container.to_owned(),
            endpoint_config: Some(spec::endpoint_settings(endpoint)),
        };
        self.call(&subject, self.client.connect_network(network, request))
            .await
    }

    async fn disconnect(&self, network: &str, container: &str) -> Result<(), EngineError> {
        let subject = Subject::new("disconnect a container from", "network", network);
        let subject = Self::checked(subject, network)?;
        let request = NetworkDisconnectRequest {
            container: container.to_owned(),
            force: None,
        };
        self.call(&subject, self.client.disconnect_network(network, request))
            .await
    }

    async fn images(&self) -> Result<Vec<Image>, EngineError> {
        let subject = Subject::new("list", "the images", "");
        let call = self.client.list_images(None::<ListImagesOptions>);
        let list = self.call(&subject, call).await?;
        Ok(list.into_iter().map(observe::image).collect())
    }

    async fn image(&self, reference: &str) -> Result<Image, EngineError> {
        let subject = Subject::new("inspect", "image", reference);
        let call = self.client.inspect_image(reference);
        self.call(&subject, call)
            .await
            .map(observe::inspected_image)
    }

    async fn registry_digest(&self, image: &str) -> Result<String, EngineError> {
        self.ask_registry(image).await
    }

    async fn pull(&self, image: &str, events: &dyn Events) -> Result<(), EngineError> {
        self.pull_image(image, events).await
    }
}
