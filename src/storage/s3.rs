//! An S3 bucket, of Amazon or of anybody else.

use crate::secret::SecretSource;

/// `s3:` of a destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Bucket.
    pub bucket: String,
    /// Before every key, without slashes at its ends.
    pub prefix: String,
    /// Region; the SDK's sources or `us-east-1` where there is none.
    pub region: Option<String>,
    /// URL of a store that is not Amazon's.
    pub endpoint: Option<String>,
    /// `https://host/bucket/key` instead of `https://bucket.host/key`; default where `endpoint` is given.
    pub path_style: Option<bool>,
    /// Key id and secret; else the SDK's sources: environment, profile, instance role.
    pub credentials: Option<(SecretSource, SecretSource)>,
}
