//! What became of a dump, for people and programs.

use std::sync::Arc;

use crate::backup::dump::Subject;
use crate::backup::error::BackupError;
use crate::backup::manifest::{DatabaseRecord, Manifest, SnapshotId, Status};
use crate::backup::writer::DestinationOutcome;

/// What became of the dump of a minion.
#[derive(Debug)]
pub enum Outcome {
    /// Whole, in every destination.
    Complete,
    /// There, but odd: the remarks say why.
    Suspect,
    /// There, but not in every destination.
    Partial,
    /// Nothing runs that could be dumped.
    Skipped(String),
    /// Another run works on it.
    Locked(String),
    /// There is no snapshot.
    Failed(BackupError),
}

impl Outcome {
    /// Its name in tables and JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Suspect => "suspect",
            Self::Partial => "partial",
            Self::Skipped(_) => "skipped",
            Self::Locked(_) => "locked",
            Self::Failed(_) => "failed",
        }
    }
}

/// A destination of the dump of a minion.
#[derive(Debug)]
pub struct DestinationReport {
    /// Its name.
    pub destination: String,
    /// Bytes as stored there, or why there are none.
    pub result: Result<u64, Arc<BackupError>>,
}

/// The dump of a minion.
#[derive(Debug)]
pub struct MinionReport {
    /// Its name.
    pub minion: String,
    /// What became of it.
    pub outcome: Outcome,
    /// The snapshot, if there is one.
    pub id: Option<SnapshotId>,
    /// Databases in it and their plain bytes.
    pub databases: Vec<(DatabaseRecord, u64)>,
    /// Each destination.
    pub destinations: Vec<DestinationReport>,
    /// What was odd.
    pub remarks: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

impl MinionReport {
    pub(super) fn new(subject: &Subject) -> Self {
        Self {
            minion: subject.minion.clone(),
            outcome: Outcome::Complete,
            id: None,
            databases: Vec::new(),
            destinations: subject
                .missing
                .iter()
                .map(|(destination, error)| DestinationReport {
                    destination: destination.clone(),
                    result: Err(Arc::clone(error)),
                })
                .collect(),
            remarks: Vec::new(),
            seconds: 0.0,
        }
    }

    /// No destination could be opened.
    pub(super) fn no_destination(&mut self) {
        let reasons: Vec<String> = self
            .destinations
            .iter()
            .filter_map(|d| Some(format!("`{}`: {}", d.destination, d.result.as_ref().err()?)))
            .collect();
        self.outcome = Outcome::Failed(BackupError::Other(format!(
            "no destination took it; {}",
            reasons.join("; ")
        )));
    }

    /// There is no snapshot.
    pub(super) fn fail(&mut self, error: BackupError) {
        self.outcome = Outcome::Failed(error);
    }

    /// What the destinations say.
    pub(super) fn take(
        &mut self,
        manifest: &Manifest,
        databases: Vec<(DatabaseRecord, u64)>,
        outcomes: Vec<DestinationOutcome>,
    ) {
        self.databases = databases;
        self.remarks.clone_from(&manifest.remarks);
        for outcome in outcomes {
            self.destinations.push(DestinationReport {
                destination: outcome.destination,
                result: outcome.result.map(|m| m.stored_bytes()).map_err(Arc::new),
            });
        }
        let good = self
            .destinations
            .iter()
            .filter(|d| d.result.is_ok())
            .count();
        if good > 0 {
            self.id = Some(manifest.id.clone());
        }
        if good == 0 {
            return self.no_destination();
        }
        self.outcome = if good < self.destinations.len() {
            Outcome::Partial
        } else if manifest.status == Status::Suspect {
            Outcome::Suspect
        } else {
            Outcome::Complete
        };
    }

    /// Plain bytes of all databases.
    #[must_use]
    pub fn plain_bytes(&self) -> u64 {
        self.databases.iter().map(|(_, bytes)| bytes).sum()
    }
}
