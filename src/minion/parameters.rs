//! Parameters of an instance: what the user set, the manifest's defaults, secrets made once.

use std::collections::BTreeMap;

use crate::secret::Secret;

/// Every parameter of one instance, and its further environment.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    /// What the template sees; a secret is there as the text `${NAME}`.
    pub values: BTreeMap<String, serde_json::Value>,
    /// Values of the secrets by the name they have in `.env`: `DB_PASSWORD`.
    pub secrets: BTreeMap<String, Secret>,
    /// `env:` of the instance; a secret value is there as `${NAME}` and in `secrets`.
    pub env: BTreeMap<String, String>,
}

/// Generated secrets of the project, as kept in `secrets.yml`: `instance -> parameter -> value`.
pub type SecretBook = BTreeMap<String, BTreeMap<String, Secret>>;
