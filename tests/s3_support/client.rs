//! A client of the SDK's own, to look at a server past our storage: no retries, no time-outs.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

use super::S3;

/// Whether the SDK adds checksums of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksums {
    /// `WhenSupported`, what SDKs since 2025 do.
    Always,
    /// `WhenRequired`, for older stores.
    Required,
}

impl S3 {
    /// A client of `endpoint`: [`S3::endpoint`], or that of a proxy before it.
    pub fn client(&self, endpoint: &str, checksums: Checksums) -> Client {
        let (requests, answers) = match checksums {
            Checksums::Always => (
                RequestChecksumCalculation::WhenSupported,
                ResponseChecksumValidation::WhenSupported,
            ),
            Checksums::Required => (
                RequestChecksumCalculation::WhenRequired,
                ResponseChecksumValidation::WhenRequired,
            ),
        };
        let http = Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let settings = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .endpoint_url(endpoint)
            .region(Region::new(self.region()))
            .credentials_provider(Credentials::new(
                self.access_key(),
                self.secret_key(),
                None,
                None,
                "test",
            ))
            .force_path_style(true)
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .request_checksum_calculation(requests)
            .response_checksum_validation(answers)
            .build();
        Client::from_conf(settings)
    }
}
