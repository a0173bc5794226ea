//! Dumps: what the databases of minions say of themselves, while everything goes on, into every
//! destination. One snapshot a minion; how the bytes come to be is a [`Dumper`]'s trouble.

pub mod live;
mod outcome;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::{Semaphore, watch};

use crate::backup::catalog;
use crate::backup::definition;
use crate::backup::destination::Target;
use crate::backup::discover::Server;
use crate::backup::error::BackupError;
use crate::backup::manifest::{
    DatabaseRecord, Definition, Kind, Manifest, Role, SCHEMA_VERSION, SnapshotId, Status,
};
use crate::backup::writer::{Compression, ObjectWriter, SnapshotWriter};
use crate::clock::Clock;
use crate::events::{Event, Events};
use crate::state::lock::Lock;
use crate::state::{Paths, StateError};

pub use self::outcome::{DestinationReport, MinionReport, Outcome};

/// Databases dumped at once, over all minions: enough to keep two cores busy, few enough for the
/// disk under them.
const AT_ONCE: usize = 2;
/// Snapshots that a new one is compared with.
const COMPARED: usize = 5;

/// What there is to dump in a server.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// Each becomes an object.
    pub tasks: Vec<Task>,
}

/// A database, or what belongs to a whole server.
#[derive(Debug, Clone)]
pub struct Task {
    /// Database name; empty for what belongs to the server.
    pub database: String,
    /// Name of the object, without `.zst` and `.age`.
    pub object: String,
    /// What it is.
    pub role: Role,
    /// What is left to do for the pipeline.
    pub compression: Compression,
}

/// Dumps databases: real ones, or those that a test makes up.
#[async_trait]
pub trait Dumper: Send + Sync {
    /// Asks a running server what there is.
    async fn look(&self, server: &Server) -> Result<Look, BackupError>;
    /// Dumps one into an object. Ok only when the source has proved that it was whole.
    async fn dump(
        &self,
        server: &Server,
        task: &Task,
        object: &mut ObjectWriter,
    ) -> Result<DatabaseRecord, BackupError>;
}

/// What is dumped: a minion with its servers.
pub struct Subject {
    /// Instance, or name of a foreign container.
    pub minion: String,
    /// Its servers, at least one.
    pub servers: Vec<Server>,
    /// Destinations that could be opened.
    pub targets: Vec<Arc<Target>>,
    /// Those that could not, and why.
    pub missing: Vec<(String, Arc<BackupError>)>,
    /// For the manifest.
    pub definition: Definition,
    /// What it is; `None` for a foreign container.
    pub files: Option<Files>,
}

/// `definition.tar`.
pub struct Files {
    /// Without secrets.
    pub open: Vec<u8>,
    /// With them.
    pub secret: Vec<u8>,
}

/// What all dumps of a run share.
pub struct Run {
    /// Ties its snapshots.
    pub id: String,
    /// `summoner.name`.
    pub project: String,
    /// IANA name.
    pub timezone: String,
    /// For locks.
    pub paths: Paths,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who listens.
    pub events: Arc<dyn Events>,
    /// Who dumps.
    pub dumper: Arc<dyn Dumper>,
    /// Turns true when what is under way shall be taken back.
    pub cancelled: watch::Receiver<bool>,
}

/// Dumps all subjects, a few at a time, in their order.
pub async fn run(run: &Run, subjects: Vec<Subject>) -> Vec<MinionReport> {
    let limit = Semaphore::new(AT_ONCE);
    let limit = &limit;
    stream::iter(subjects)
        .map(|subject| one(run, subject, limit))
        .buffered(AT_ONCE)
        .collect()
        .await
}

async fn one(run: &Run, subject: Subject, limit: &Semaphore) -> MinionReport {
    let begun = Instant::now();
    let mut report = MinionReport::new(&subject);
    match Lock::take_minion(&run.paths, &subject.minion, "dump") {
        Err(StateError::Locked(holder)) => report.outcome = Outcome::Locked(holder),
        Err(error) => report.fail(error.into()),
        Ok(_lock) => snapshot(run, subject, limit, &mut report).await,
    }
    report.seconds = begun.elapsed().as_secs_f64();
    report
}

async fn snapshot(run: &Run, subject: Subject, limit: &Semaphore, report: &mut MinionReport) {
    let stopped: Vec<String> = subject
        .servers
        .iter()
        .filter(|s| s.running().is_none())
        .map(Server::target)
        .collect();
    if stopped.len() == subject.servers.len() {
        report.outcome = Outcome::Skipped(format!("{} does not run", list(&stopped)));
        return;
    }
    if subject.targets.is_empty() {
        report.no_destination();
        return;
    }
    let mut remarks: Vec<String> = stopped
        .iter()
        .map(|name| format!("`{name}` did not run: its databases are missing"))
        .collect();
    let started = run.clock.now();
    let id = SnapshotId::new(started);
    let writer = SnapshotWriter::begin(
        subject.targets.clone(),
        &run.project,
        &subject.minion,
        Kind::Dump,
        &id,
        Arc::clone(&run.events),
    );
    let servers = subject.servers.iter().filter(|s| s.running().is_some());
    let alone = subject.servers.len() == 1;
    let mut cancelled = run.cancelled.clone();
    let dumped = tokio::select! {
        dumped = try_join_all(servers.map(|s| server(run, s, alone, &writer, limit))) => dumped,
        // A sender that is gone cancels nothing.
        Ok(_) = cancelled.wait_for(|c| *c) => Err(BackupError::Other("interrupted".into())),
    };
    let dumped = match dumped {
        Ok(dumped) => dumped,
        Err(error) => {
            writer.abort().await;
            report.fail(error);
            return;
        }
    };
    let databases: Vec<(DatabaseRecord, u64)> = dumped.into_iter().flatten().collect();
    let plain: u64 = databases.iter().map(|(_, bytes)| bytes).sum();
    if let Err(error) = add_definition(&writer, subject.files).await {
        writer.abort().await;
        report.fail(error);
        return;
    }
    if let Some(before) = usual(&subject.targets, &run.project, &subject.minion).await
        && plain < before / 2
    {
        remarks.push(format!(
            "{plain} bytes, less than half of the {before} that the last dumps had"
        ));
    }
    let manifest = Manifest {
        schema_version: SCHEMA_VERSION,
        id: id.clone(),
        run: run.id.clone(),
        project: run.project.clone(),
        minion: subject.minion.clone(),
        kind: Kind::Dump,
        status: if remarks.is_empty() {
            Status::Complete
        } else {
            Status::Suspect
        },
        started,
        finished: run.clock.now(),
        slot: started,
        timezone: run.timezone.clone(),
        summoner: env!("CARGO_PKG_VERSION").to_owned(),
        definition: subject.definition,
        databases: databases.iter().map(|(record, _)| record.clone()).collect(),
        objects: Vec::new(),
        outage: None,
        remarks,
    };
    report.take(&manifest, databases, writer.commit(manifest.clone()).await);
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    quoted.join(", ")
}

/// All databases of a server; what they are and their plain bytes.
async fn server(
    run: &Run,
    server: &Server,
    alone: bool,
    writer: &SnapshotWriter,
    limit: &Semaphore,
) -> Result<Vec<(DatabaseRecord, u64)>, BackupError> {
    let look = run.dumper.look(server).await?;
    try_join_all(look.tasks.iter().map(|task| async move {
        let _permit = limit
            .acquire()
            .await
            .map_err(|_| BackupError::Other("given up".into()))?;
        let of = if task.database.is_empty() {
            format!("{}/{}", server.service, task.object)
        } else {
            format!("{}/{}", server.service, task.database)
        };
        let target = format!("{}/{of}", server.minion);
        run.events.event(Event::Started {
            target: target.clone(),
            action: "dump".into(),
        });
        // Two servers of a minion may have databases of one name.
        let name = if alone {
            task.object.clone()
        } else {
            format!("{}.{}", server.service, task.object)
        };
        let dumped = object(run, server, task, (&name, &of), writer).await;
        run.events.event(match &dumped {
            Ok(_) => Event::Finished {
                target,
                action: "dump".into(),
            },
            Err(error) => Event::Failed {
                target,
                message: error.to_string(),
            },
        });
        dumped
    }))
    .await
}

async fn object(
    run: &Run,
    server: &Server,
    task: &Task,
    (name, of): (&str, &str),
    writer: &SnapshotWriter,
) -> Result<(DatabaseRecord, u64), BackupError> {
    let mut object = writer.object(name, task.role, of, task.compression).await;
    let name = object.name().to_owned();
    match run.dumper.dump(server, task, &mut object).await {
        Ok(mut record) => {
            record.object = name;
            let plain = object.finish().await?;
            Ok((record, plain))
        }
        Err(error) => {
            object.abort().await;
            Err(error)
        }
    }
}

/// Secrets go where they are encrypted, and nowhere else.
async fn add_definition(writer: &SnapshotWriter, files: Option<Files>) -> Result<(), BackupError> {
    let Some(Files { open, secret }) = files else {
        return Ok(());
    };
    for (content, encrypted) in [(open, false), (secret, true)] {
        let mut object = writer.object_where(
            definition::NAME,
            Role::Definition,
            "definition",
            Compression::Zstd,
            |target| target.encryption.is_some() == encrypted,
        );
        // One side may have failed while the other is well; none at all is seen at the commit.
        if object.write(content.into()).await.is_ok() {
            let _ = object.finish().await;
        }
    }
    Ok(())
}

/// Median of the plain bytes of the last five dumps, in the destination that knows most. One that
/// cannot be asked says nothing.
async fn usual(targets: &[Arc<Target>], project: &str, minion: &str) -> Option<u64> {
    let mut best: Vec<u64> = Vec::new();
    for target in targets {
        let Ok(listing) = catalog::list(target, project, Some(minion)).await else {
            continue;
        };
        let dumps = listing.entries.iter().map(|e| &e.manifest);
        let sizes: Vec<u64> = dumps
            .filter(|m| m.kind == Kind::Dump)
            .map(plain_bytes)
            .collect();
        let last = &sizes[sizes.len().saturating_sub(COMPARED)..];
        if last.len() > best.len() {
            best = last.to_vec();
        }
    }
    best.sort_unstable();
    best.get(best.len() / 2).copied()
}

/// Plain bytes of the databases of a snapshot, what describes it left out.
fn plain_bytes(manifest: &Manifest) -> u64 {
    let objects = manifest.objects.iter();
    objects
        .filter(|o| matches!(o.role, Role::Database | Role::Globals))
        .map(|o| o.plain_bytes)
        .sum()
}
