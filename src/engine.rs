//! The container engine behind a narrow door. `docker` is the only file that names bollard;
//! `fake` is an engine in memory for the tests of what decides and executes plans.

pub mod demux;
pub mod docker;
pub mod fake;
mod hint;
mod stream;
mod types;

use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::events::Events;

pub use self::stream::{ExecEnd, ExecStream};
pub use self::types::{
    Container, ContainerEvent, ContainerSpec, ContainerSummary, Endpoint, EndpointSpec, EngineInfo,
    ExecOutput, ExecSpec, Health, HealthcheckSpec, Image, LogLine, LogOptions, MountKind,
    MountSpec, Network, NetworkSpec, PortSpec, RunState,
};

/// The oldest Engine API that Summoner speaks: Docker 20.10.
pub const MINIMUM_API: (u32, u32) = (1, 41);

/// What went wrong between us and the engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No engine answers.
    #[error("no container engine answers at `{endpoint}`: {reason}")]
    Absent {
        /// Socket or address tried.
        endpoint: String,
        /// Why, as the system said it.
        reason: String,
    },
    /// The engine speaks too old an API.
    #[error("the engine {version} speaks API {api}, older than 1.41 (Docker 20.10)")]
    TooOld {
        /// Version of the engine.
        version: String,
        /// Its API.
        api: String,
    },
    /// What was asked for does not exist (404).
    #[error("no such {kind}: `{name}`")]
    NotFound {
        /// `container`, `image`, `network`, ….
        kind: &'static str,
        /// What was asked for.
        name: String,
    },
    /// The name is taken or the object is in use (409, 403).
    #[error("{0}")]
    Conflict(String),
    /// A host port is taken by something else.
    #[error("port {port} is taken")]
    PortTaken {
        /// The host port.
        port: u16,
        /// The engine's own words.
        reason: String,
    },
    /// An image could not be had.
    #[error("failed to pull the image `{image}`: {reason}")]
    Pull {
        /// The reference.
        image: String,
        /// The engine's own words.
        reason: String,
    },
    /// The engine did not answer in time.
    #[error("the engine did not answer within {0:?} while it should {1}")]
    Timeout(Duration, String),
    /// Anything else the engine said.
    #[error("failed to {action}: {reason}")]
    Other {
        /// What was tried.
        action: String,
        /// The engine's own words.
        reason: String,
    },
}

/// A container engine. Every method is one call of the engine, or a few that belong together.
#[async_trait]
pub trait Engine: Send + Sync {
    /// About the engine; also the check that one is there and new enough.
    async fn info(&self) -> Result<EngineInfo, EngineError>;

    /// All containers, running or not.
    async fn containers(&self) -> Result<Vec<ContainerSummary>, EngineError>;
    /// One container by id or name.
    async fn inspect(&self, id: &str) -> Result<Container, EngineError>;
    /// Makes a container, does not start it; its id.
    async fn create(&self, name: &str, spec: &ContainerSpec) -> Result<String, EngineError>;
    /// Starts it. Starting what runs is no error.
    async fn start(&self, id: &str) -> Result<(), EngineError>;
    /// Stops it: its stop signal, after `grace` SIGKILL. Stopping what is stopped is no error.
    async fn stop(&self, id: &str, grace: Duration) -> Result<(), EngineError>;
    /// Sends a signal such as `HUP`.
    async fn signal(&self, id: &str, signal: &str) -> Result<(), EngineError>;
    /// Removes it, running or not, never its volumes. Removing what is gone is no error.
    async fn remove(&self, id: &str) -> Result<(), EngineError>;
    /// Gives it another name.
    async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError>;
    /// Sets memory (bytes), CPU limit and restart policy of a container as it is, running or not.
    /// A limit can be changed or given, not lifted: that is an error, the container has to be made anew.
    async fn update(&self, id: &str, spec: &ContainerSpec) -> Result<(), EngineError>;
    /// Waits until it does not run; its exit code.
    async fn wait(&self, id: &str) -> Result<i64, EngineError>;
    /// Lines of its log.
    fn logs(
        &self,
        id: &str,
        options: LogOptions,
    ) -> BoxStream<'static, Result<LogLine, EngineError>>;
    /// Runs a command in it to the end; stdin is empty. Output over 16 MiB is an error.
    async fn exec(&self, id: &str, spec: &ExecSpec) -> Result<ExecOutput, EngineError>;
    /// Runs a command in it connected to our own stdin, stdout, stderr; its exit code.
    async fn exec_attached(&self, id: &str, spec: &ExecSpec) -> Result<i64, EngineError>;
    /// Runs a command whose output is data of any size: strictly demultiplexed, never a terminal.
    /// With `spec.stdin` the stream has an input. See [`ExecStream`].
    async fn exec_stream(&self, id: &str, spec: &ExecSpec) -> Result<ExecStream, EngineError>;
    /// Starts a made container connected to our own stdin, stdout, stderr; its exit code.
    async fn start_attached(&self, id: &str, tty: bool, stdin: bool) -> Result<i64, EngineError>;
    /// What happens to containers from now on. Ends only with an error.
    fn events(&self) -> BoxStream<'static, Result<ContainerEvent, EngineError>>;

    /// All networks.
    async fn networks(&self) -> Result<Vec<Network>, EngineError>;
    /// Makes a network; its id. The caller has listed first: old engines make a second one of the same name.
    async fn create_network(&self, spec: &NetworkSpec) -> Result<String, EngineError>;
    /// Removes a network by id. Removing what is gone is no error.
    async fn remove_network(&self, id: &str) -> Result<(), EngineError>;
    /// Joins a container to a network (name or id).
    async fn connect(
        &self,
        network: &str,
        container: &str,
        endpoint: &EndpointSpec,
    ) -> Result<(), EngineError>;
    /// Takes a container out of a network.
    async fn disconnect(&self, network: &str, container: &str) -> Result<(), EngineError>;

    /// All images.
    async fn images(&self) -> Result<Vec<Image>, EngineError>;
    /// One image by reference, id or digest, understood as the engine understands it.
    async fn image(&self, reference: &str) -> Result<Image, EngineError> {
        let tagged = with_tag(reference);
        self.images()
            .await?
            .into_iter()
            .find(|image| {
                image.id == reference
                    || image.tags.contains(&tagged)
                    || image.digests.contains(&tagged)
            })
            .ok_or_else(|| EngineError::NotFound {
                kind: "image",
                name: reference.to_owned(),
            })
    }
    /// Digest (`sha256:…`) of the image that a registry has under this reference. Nothing is pulled;
    /// the engine asks, and waits for as long as its own patience lasts: bound it.
    async fn registry_digest(&self, image: &str) -> Result<String, EngineError>;
    /// Pulls an image and tells how it goes.
    async fn pull(&self, image: &str, events: &dyn Events) -> Result<(), EngineError>;
}

/// The reference with `:latest` where it has neither a tag nor a digest.
#[must_use]
pub fn with_tag(reference: &str) -> String {
    let name = reference.rsplit('/').next().unwrap_or(reference);
    if name.contains([':', '@']) {
        reference.to_owned()
    } else {
        format!("{reference}:latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tag_is_latest_and_a_port_is_no_tag() {
        assert_eq!(with_tag("nginx"), "nginx:latest");
        assert_eq!(with_tag("nginx:1.30"), "nginx:1.30");
        assert_eq!(
            with_tag("127.0.0.1:5000/blog"),
            "127.0.0.1:5000/blog:latest"
        );
        assert_eq!(with_tag("blog@sha256:00"), "blog@sha256:00");
    }
}
