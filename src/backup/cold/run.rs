//! One cold backup after the other: outages do not overlap, and one that fails stops no other.

mod copy;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::guard::{self, Guard};
use super::journal::{self, Journal, Phase};
use super::revive::{self, Recovery};
use super::volume::Volume;
use super::{services, staging};
use crate::backup::destination::Target;
use crate::backup::error::BackupError;
use crate::backup::manifest::{Definition, Kind, Outage, SnapshotId};
use crate::backup::writer::SnapshotWriter;
use crate::clock::Clock;
use crate::config::environment::ColdMethod;
use crate::engine::Engine;
use crate::events::Events;
use crate::minion::manifest::Quiesce;
use crate::plan::desired::Group;
use crate::state::lock::Lock;
use crate::state::{Paths, StateError};

/// What a run works with.
#[derive(Clone)]
pub struct Run {
    /// Run id: what one run made is a snapshot set.
    pub id: String,
    /// `summoner.name`.
    pub project: String,
    /// Folder of config.yml.
    pub root: PathBuf,
    /// Zone of retention.
    pub timezone: String,
    /// Places of the state.
    pub paths: Paths,
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who listens.
    pub events: Arc<dyn Events>,
    /// Ourselves, for the guard.
    pub program: PathBuf,
    /// Image with `tar` for the method `container`.
    pub helper_image: String,
    /// Turns true when the user wants to stop.
    pub cancelled: watch::Receiver<bool>,
}

/// A minion to be backed up.
pub struct Subject {
    /// Its services and folders.
    pub group: Group,
    /// What is saved.
    pub volumes: Vec<Volume>,
    /// Services that are databases, and their engines.
    pub databases: Vec<(String, String)>,
    /// Commands around it.
    pub quiesce: Option<Quiesce>,
    /// How.
    pub method: ColdMethod,
    /// The longest outage.
    pub max_downtime: Option<Duration>,
    /// What it is.
    pub definition: Definition,
    /// `definition.tar` without and with secrets.
    pub files: (Vec<u8>, Vec<u8>),
    /// Where it goes.
    pub targets: Vec<Arc<Target>>,
    /// Destinations that could not be opened.
    pub missing: Vec<(String, Arc<BackupError>)>,
}

/// How it ended.
#[derive(Debug)]
pub enum Outcome {
    /// Well, everywhere.
    Complete,
    /// Committed, but something was odd: see the remarks.
    Suspect,
    /// Not in all destinations.
    Partial,
    /// There was nothing to save.
    Skipped(String),
    /// The outage became longer than `max_downtime`; nothing was committed.
    TooLong(Duration),
    /// Another run works on this minion.
    Locked(String),
    /// The user wanted it to stop; nothing was committed.
    Interrupted,
    /// Nothing was committed.
    Failed(Arc<BackupError>),
}

/// One volume that was saved.
#[derive(Debug, Clone, Default)]
pub struct Saved {
    /// Its name.
    pub of: String,
    /// How it was copied.
    pub method: String,
    /// Bytes of the archive.
    pub bytes: u64,
    /// Bytes of files' content that were read or written while everything was stopped.
    pub outage_bytes: u64,
}

/// What became of one minion.
#[derive(Debug)]
pub struct Report {
    /// Instance.
    pub minion: String,
    /// Its snapshot, where there is one.
    pub id: Option<SnapshotId>,
    /// How it ended.
    pub outcome: Outcome,
    /// How cold it was, where anything was stopped.
    pub outage: Option<Outage>,
    /// What was saved.
    pub volumes: Vec<Saved>,
    /// Bytes stored in each destination, or why not.
    pub destinations: Vec<(String, Result<u64, Arc<BackupError>>)>,
    /// What was odd.
    pub remarks: Vec<String>,
    /// What is worth a word, but no doubt.
    pub notes: Vec<String>,
    /// Services that are not as they were before, and why.
    pub not_back: Vec<(String, String)>,
    /// Seconds it took altogether.
    pub seconds: f64,
}

/// Backs up all of them, one after the other.
pub async fn run(run: &Run, subjects: Vec<Subject>) -> Vec<Report> {
    let mut reports = Vec::new();
    for subject in subjects {
        let begin = Instant::now();
        let mut report = Report {
            minion: subject.group.name.clone(),
            id: None,
            outcome: Outcome::Complete,
            outage: None,
            volumes: Vec::new(),
            destinations: Vec::new(),
            remarks: Vec::new(),
            notes: Vec::new(),
            not_back: Vec::new(),
            seconds: 0.0,
        };
        for (name, error) in &subject.missing {
            report
                .destinations
                .push((name.clone(), Err(Arc::clone(error))));
        }
        if *run.cancelled.borrow() {
            report.outcome = Outcome::Interrupted;
        } else if let Err(outcome) = one(run, subject, &mut report).await {
            report.outcome = outcome;
        }
        report.seconds = begin.elapsed().as_secs_f64();
        reports.push(report);
    }
    reports
}

impl From<BackupError> for Outcome {
    fn from(error: BackupError) -> Self {
        Self::Failed(Arc::new(error))
    }
}

async fn one(run: &Run, subject: Subject, report: &mut Report) -> Result<(), Outcome> {
    if subject.targets.is_empty() {
        let (_, error) = subject.missing.into_iter().next().ok_or_else(|| {
            Outcome::from(BackupError::NoDestination("it has no destination".into()))
        })?;
        return Err(Outcome::Failed(error));
    }
    let minion = subject.group.name.clone();
    let _lock = match Lock::take_minion(&run.paths, &minion, "backup") {
        Ok(lock) => lock,
        Err(StateError::Locked(holder)) => return Err(Outcome::Locked(holder)),
        Err(error) => return Err(BackupError::from(error).into()),
    };
    finish_leftover(run, &minion, report).await?;
    let (priors, others) = services::look(run.engine.as_ref(), &run.root, &subject.group).await?;
    let folders = copies(&subject, &minion);
    for folder in &folders {
        staging::sweep(folder).map_err(BackupError::from)?;
    }
    let mut journal = Journal {
        format: journal::FORMAT,
        minion: minion.clone(),
        root: run.root.clone(),
        command: "backup".into(),
        pid: std::process::id(),
        phase: Phase::Live,
        services: priors.iter().map(|p| p.stopped.clone()).collect(),
        staging: folders.clone(),
        after: None,
    };
    // The guard first: from the first word of the journal on somebody watches over it.
    let guard = post(run, &minion, &folders, !priors.is_empty()).await?;
    if let Err(error) = journal.write(&run.paths) {
        if let Some(guard) = guard {
            guard.dismiss().await;
        }
        return Err(BackupError::from(error).into());
    }
    let result = guarded(run, &subject, &mut journal, (&priors, &others), report).await;
    for folder in &folders {
        // What stays is swept by the next run; it must not hide how this one ended.
        let _ = staging::sweep(folder);
    }
    if report.not_back.is_empty() {
        let _ = Journal::remove(&run.paths, &minion);
    }
    if let Some(guard) = guard {
        guard.dismiss().await;
    }
    result
}

async fn post(
    run: &Run,
    minion: &str,
    folders: &[PathBuf],
    needed: bool,
) -> Result<Option<Guard>, BackupError> {
    if !needed {
        return Ok(None);
    }
    guard::post(&run.program, &run.root, minion, folders)
        .await
        .map(Some)
}

/// A run that was killed here has left a journal, and no guard has finished it.
async fn finish_leftover(run: &Run, minion: &str, report: &mut Report) -> Result<(), Outcome> {
    let found = Journal::read(&journal::path(&run.paths, minion)).map_err(BackupError::from)?;
    let Some(journal) = found else {
        return Ok(());
    };
    let events = run.events.as_ref();
    match revive::finish(&run.engine, &run.paths, &journal, events).await? {
        Recovery::NotBack(lost) => {
            report.not_back = lost;
            Err(
                BackupError::Other("what a run before it had stopped does not come back".into())
                    .into(),
            )
        }
        _ => Ok(()),
    }
}

/// Folders of copies that this backup may make.
fn copies(subject: &Subject, minion: &str) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = subject
        .volumes
        .iter()
        .filter_map(|v| match &v.place {
            super::volume::Place::Folder { root, .. } => Some(staging::of(root, minion)),
            super::volume::Place::Engine(_) => None,
        })
        .collect();
    folders.sort();
    folders.dedup();
    folders
}

/// Everything that happens under the eyes of the guard.
async fn guarded(
    run: &Run,
    subject: &Subject,
    journal: &mut Journal,
    (priors, others): (&[services::Prior], &[String]),
    report: &mut Report,
) -> Result<(), Outcome> {
    let started = run.clock.now();
    let id = SnapshotId::new(started);
    let writer = SnapshotWriter::begin(
        subject.targets.clone(),
        &run.project,
        &subject.group.name,
        Kind::Backup,
        &id,
        Arc::clone(&run.events),
    );
    let copied = copy::copy(run, subject, journal, priors, &writer, report).await;
    let copied = match copied {
        Ok(mut copied) => {
            copied.outage.were_stopped = others.to_vec();
            report.outage = Some(copied.outage.clone());
            copied
        }
        Err(outcome) => {
            writer.abort().await;
            return Err(outcome);
        }
    };
    upload::upload(run, subject, copied, writer, (id, started), report).await
}
