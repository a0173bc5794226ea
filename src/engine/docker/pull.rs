//! Pulls of images, with their progress summed over the layers.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bollard::errors::Error;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt as _;

use super::{Docker, credentials, error};
use crate::engine::{EngineError, with_tag};
use crate::events::{Event, Events};

/// Progress is told this often at most.
const PERIOD: Duration = Duration::from_millis(100);

/// How long a pull may be without any sign of life.
const SILENCE: Duration = Duration::from_mins(5);

impl Docker {
    pub(super) async fn pull_image(
        &self,
        image: &str,
        events: &dyn Events,
    ) -> Result<(), EngineError> {
        // Without a tag the engine would fetch every one there is. The registry and `library/`
        // it completes itself.
        let reference = with_tag(image);
        let options = CreateImageOptionsBuilder::new()
            .from_image(&reference)
            .build();
        let credentials = self.registry_credentials(&reference).await;
        let client = self.url_safe_logins();
        let mut messages = client
            .create_image(Some(options), None, credentials)
            .boxed();
        let mut progress = Progress::default();
        let mut told: Option<Instant> = None;
        loop {
            let message = tokio::time::timeout(SILENCE, messages.next())
                .await
                .map_err(|_| EngineError::Timeout(SILENCE, format!("pull the image `{image}`")))?;
            let Some(message) = message else { break };
            progress.take(message.map_err(|error| self.pull_error(image, error))?);
            if told.is_none_or(|told| told.elapsed() >= PERIOD) {
                told = Some(Instant::now());
                events.event(progress.event(image));
            }
        }
        events.event(progress.event(image));
        Ok(())
    }

    /// Bollard encodes the credentials in plain base64, the engine decodes the URL-safe kind
    /// and silently ignores what it cannot read.
    pub(super) fn url_safe_logins(&self) -> bollard::Docker {
        self.client.clone().with_request_modifier(|mut request| {
            if let Some(value) = request.headers_mut().get_mut("x-registry-auth") {
                let url_safe = value
                    .to_str()
                    .unwrap_or_default()
                    .replace('+', "-")
                    .replace('/', "_");
                if let Ok(url_safe) = url_safe.parse() {
                    *value = url_safe;
                }
            }
            request
        })
    }

    pub(super) async fn registry_credentials(
        &self,
        reference: &str,
    ) -> Option<bollard::auth::DockerCredentials> {
        let file = credentials::File::read()?;
        let registry = match credentials::registry(reference) {
            Some(registry) => registry.to_owned(),
            // The engine knows the address of its default registry.
            None => self.client.info().await.ok()?.index_server_address?,
        };
        file.find(&registry)
    }

    fn pull_error(&self, image: &str, error: Error) -> EngineError {
        let reason = match error {
            Error::DockerResponseServerError { message, .. } => error::tidy(&message),
            Error::DockerStreamError { error } => error::tidy(&error),
            other => {
                let subject = error::Subject::new("pull", "image", image);
                return subject.error(&self.endpoint, other);
            }
        };
        EngineError::Pull {
            image: image.to_owned(),
            reason,
        }
    }
}

/// Bytes of each layer: so far, and all.
#[derive(Default)]
struct Progress {
    layers: HashMap<String, (u64, u64)>,
}

impl Progress {
    fn take(&mut self, message: CreateImageInfo) {
        let (Some(layer), Some(status)) = (message.id, message.status) else {
            return;
        };
        let bytes = |number: Option<i64>| u64::try_from(number.unwrap_or(0)).unwrap_or(0);
        match status.as_str() {
            "Downloading" => {
                let detail = message.progress_detail.unwrap_or_default();
                let done = bytes(detail.current);
                self.layers
                    .insert(layer, (done, bytes(detail.total).max(done)));
            }
            "Verifying Checksum" | "Download complete" | "Extracting" | "Pull complete" => {
                let entry = self.layers.entry(layer).or_default();
                entry.0 = entry.1;
            }
            _ => {}
        }
    }

    fn event(&self, image: &str) -> Event {
        Event::Pull {
            image: image.to_owned(),
            done: self.layers.values().map(|(done, _)| done).sum(),
            total: self.layers.values().map(|(_, total)| total).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ProgressDetail;

    fn message(id: &str, status: &str, detail: Option<(i64, i64)>) -> CreateImageInfo {
        CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: detail.map(|(current, total)| ProgressDetail {
                current: Some(current),
                total: Some(total),
            }),
            ..Default::default()
        }
    }

    #[test]
    fn progress_is_the_sum_over_the_layers() {
        let mut progress = Progress::default();
        for step in [
            message("1.30", "Pulling from blog", None),
            message("a", "Downloading", Some((10, 100))),
            message("b", "Downloading", Some((5, 50))),
            message("a", "Download complete", None),
            message("a", "Extracting", Some((1, 100))),
            message("c", "Already exists", None),
        ] {
            progress.take(step);
        }
        assert_eq!(
            progress.event("blog:1.30"),
            Event::Pull {
                image: "blog:1.30".into(),
                done: 105,
                total: 150
            }
        );
    }
}
