//! The SDK's client, set up for stores of all kinds.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_config::Region;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, ConfigBag, Credentials, Intercept, ProvideCredentials as _,
    RequestChecksumCalculation, ResponseChecksumValidation, RuntimeComponents,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{BoxError, DisplayErrorContext};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use super::super::StorageError;
use super::failure::seconds_ahead;
use super::{Patience, Settings};

/// Where nothing says a region: most stores but Amazon do not care.
const REGION: &str = "us-east-1";

pub(super) async fn client(
    settings: &Settings,
    patience: Patience,
    ahead: Arc<AtomicI64>,
) -> Result<Client, StorageError> {
    let place = format!("s3://{}", settings.bucket);
    let denied = |reason: String| StorageError::Denied {
        place: place.clone(),
        action: "let us in".to_owned(),
        reason,
    };
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(patience.connect)
        // Ours watch whether bytes move: a slow line is no error, however long it takes.
        .disable_read_timeout()
        .disable_operation_timeout()
        .disable_operation_attempt_timeout()
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some((id, secret)) = &settings.credentials {
        let read = |source: &crate::secret::SecretSource| source.read().map_err(denied);
        let (id, secret) = (read(id)?, read(secret)?);
        loader = loader.credentials_provider(Credentials::new(
            id.expose(),
            secret.expose(),
            None,
            None,
            "config.yml",
        ));
    }
    let sources = loader.load().await;
    // Asked now, since later a missing key looks like a network that does not answer.
    match sources.credentials_provider() {
        Some(provider) => drop(provider.provide_credentials().await.map_err(|error| {
            denied(format!(
                "no credentials found (config.yml, environment, profile, instance role): {}",
                DisplayErrorContext(&error)
            ))
        })?),
        None => return Err(denied("no credentials found".to_owned())),
    }
    let checksums = if settings.has_checksums() {
        RequestChecksumCalculation::WhenSupported
    } else {
        RequestChecksumCalculation::WhenRequired
    };
    let mut config = aws_sdk_s3::config::Builder::from(&sources)
        .force_path_style(settings.is_path_style())
        .timeout_config(timeouts)
        // Retries are ours, too: only we know which uploads have arrived although nobody said so.
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // A wrong clock would also make wrong names and wrong retention: it is told, not corrected.
        .disable_clock_skew_correction(true)
        .request_checksum_calculation(checksums)
        // What we read is held against the SHA-256 of its manifest.
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .interceptor(Clocks(ahead));
    if sources.region().is_none() {
        config = config.region(Region::new(REGION));
    }
    if let Some(endpoint) = &settings.endpoint {
        config = config.endpoint_url(endpoint);
    }
    Ok(Client::from_conf(config.build()))
}

/// Compares clocks at every answer.
#[derive(Debug)]
struct Clocks(Arc<AtomicI64>);

impl Intercept for Clocks {
    fn name(&self) -> &'static str {
        "Clocks"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(seconds) = seconds_ahead(context.response()) {
            self.0.store(seconds, Ordering::Relaxed);
        }
        Ok(())
    }
}
