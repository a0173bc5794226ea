//! Destinations, opened.

use std::sync::Arc;

use crate::backup::error::BackupError;
use crate::config::Environment;
use crate::config::environment::{self, Encryption, Place};
use crate::problem;
use crate::storage::{self, Storage};

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

/// Opens a destination; a store in a network is not asked yet.
pub async fn open(destination: &environment::Destination) -> Result<Target, BackupError> {
    let storage: Arc<dyn Storage> = match &destination.place {
        Place::Dir(folder) => Arc::new(storage::local::Dir::new(folder)),
        Place::S3(settings) => Arc::new(storage::s3::Bucket::connect(settings).await?),
    };
    Ok(Target {
        name: destination.name.clone(),
        storage,
        encryption: destination.encryption.clone(),
    })
}

/// Opens the destinations of these names, each with its own outcome. A name that config.yml does
/// not know is an error that says the known ones. A name given twice counts once.
pub async fn open_all(
    environment: &Environment,
    names: &[String],
) -> Vec<(String, Result<Arc<Target>, BackupError>)> {
    let mut opened: Vec<(String, Result<Arc<Target>, BackupError>)> = Vec::new();
    for name in names {
        if opened.iter().any(|(n, _)| n == name) {
            continue;
        }
        let result = match find(environment, name) {
            Ok(destination) => open(destination).await.map(Arc::new),
            Err(error) => Err(error),
        };
        opened.push((name.clone(), result));
    }
    opened
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
