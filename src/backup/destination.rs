//! Destinations, opened.

use std::sync::Arc;

use crate::backup::error::BackupError;
use crate::config::Environment;
use crate::config::environment::{self, Encryption};
use crate::problem;
use crate::storage::Storage;

/// A destination that can be written to and read from.
#[derive(Clone)]
pub struct Target {
    /// Its name in config.yml.
    pub name: String,
    /// Where it keeps things.
    pub storage: Arc<dyn Storage>,
    /// How what goes there is encrypted.
    pub encryption: Option<Encryption>,
}

/// The destination of this name.
pub fn find<'a>(
    environment: &'a Environment,
    name: &str,
) -> Result<&'a environment::Destination, BackupError> {
    let all = &environment.destinations;
    if let Some(found) = all.iter().find(|d| d.name == name) {
        return Ok(found);
    }
    let known = all.iter().map(|d| d.name.as_str());
    let more = match problem::nearest(name, known.clone()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if all.is_empty() => "config.yml has no `destinations:`".to_owned(),
        None => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
    };
    Err(BackupError::Usage(format!(
        "no destination `{name}` in config.yml\n  hint: {more}"
    )))
}
