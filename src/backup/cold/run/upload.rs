//! After the outage: copies are packed, compressed, encrypted and uploaded, then the manifest.

use std::sync::Arc;

use jiff::Timestamp;

use super::copy::Copied;
use super::{Outcome, Report, Run, Subject};
use crate::backup::catalog;
use crate::backup::cold::tree::Watch;
use crate::backup::cold::{services, way};
use crate::backup::definition;
use crate::backup::error::BackupError;
use crate::backup::manifest::{
    DatabaseRecord, Kind, Manifest, Role, SCHEMA_VERSION, SnapshotId, Status,
};
use crate::backup::writer::{Compression, SnapshotWriter};

/// So many backups before this one tell what is usual.
const USUAL: usize = 5;

/// Packs what is staged, and commits.
pub(super) async fn upload(
    run: &Run,
    subject: &Subject,
    copied: Copied,
    writer: SnapshotWriter,
    (id, started): (SnapshotId, Timestamp),
    report: &mut Report,
) -> Result<(), Outcome> {
    let watch: Arc<Watch> = Arc::default();
    let mut cancelled = run.cancelled.clone();
    let packing = pack(subject, &copied, &writer, &watch, report);
    let packed = tokio::select! {
        packed = packing => packed.map_err(Outcome::from),
        Ok(_) = cancelled.wait_for(|c| *c) => Err(Outcome::Interrupted),
    };
    if let Err(outcome) = packed {
        watch.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.abort().await;
        return Err(outcome);
    }
    add_definition(&writer, &subject.files).await;
    let databases: Vec<String> = subject.databases.iter().map(|(s, _)| s.clone()).collect();
    report
        .remarks
        .extend(services::judge(&copied.codes, &databases));
    let plain: u64 = report.volumes.iter().map(|v| v.bytes).sum();
    if let Some(usual) = usual(run, subject).await
        && plain < usual / 2
    {
        report.remarks.push(format!(
            "{plain} bytes, less than half of the {usual} that the last backups had"
        ));
    }
    let manifest = Manifest {
        schema_version: SCHEMA_VERSION,
        id: id.clone(),
        run: run.id.clone(),
        project: run.project.clone(),
        minion: subject.group.name.clone(),
        kind: Kind::Backup,
        status: if report.remarks.is_empty() {
            Status::Complete
        } else {
            Status::Suspect
        },
        started,
        finished: run.clock.now(),
        slot: started,
        timezone: run.timezone.clone(),
        summoner: env!("CARGO_PKG_VERSION").to_owned(),
        definition: subject.definition.clone(),
        databases: records(subject, &copied),
        objects: Vec::new(),
        outage: Some(copied.outage.clone()),
        remarks: report.remarks.clone(),
    };
    let mut good = 0;
    for outcome in writer.commit(manifest).await {
        let result = match outcome.result {
            Ok(manifest) => {
                good += 1;
                Ok(manifest.stored_bytes())
            }
            Err(error) => Err(Arc::new(error)),
        };
        report.destinations.push((outcome.destination, result));
    }
    if good == 0 {
        let first = report
            .destinations
            .iter()
            .find_map(|(_, r)| r.as_ref().err());
        let error = first.map_or_else(
            || Arc::new(BackupError::Other("no destination took it".into())),
            Arc::clone,
        );
        return Err(Outcome::Failed(error));
    }
    report.id = Some(id);
    report.outcome = if good < report.destinations.len() {
        Outcome::Partial
    } else if report.remarks.is_empty() {
        Outcome::Complete
    } else {
        Outcome::Suspect
    };
    Ok(())
}

async fn pack(
    subject: &Subject,
    copied: &Copied,
    writer: &SnapshotWriter,
    watch: &Arc<Watch>,
    report: &mut Report,
) -> Result<(), BackupError> {
    for (index, staging) in &copied.staged {
        let volume = &subject.volumes[*index];
        let name = format!("{}.tar", volume.object);
        let mut object = writer
            .object(&name, Role::Volume, &volume.of, Compression::Zstd)
            .await;
        let folder = staging.folder().to_owned();
        match way::archive_into(folder, Arc::clone(watch), &mut object).await {
            Ok(packed) => {
                report.volumes[*index].bytes = packed.bytes;
                object.finish().await?;
            }
            Err(error) => {
                object.abort().await;
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Secrets go where they are encrypted, and nowhere else.
async fn add_definition(writer: &SnapshotWriter, files: &(Vec<u8>, Vec<u8>)) {
    for (content, encrypted) in [(&files.0, false), (&files.1, true)] {
        let mut object = writer.object_where(
            definition::NAME,
            Role::Definition,
            "definition",
            Compression::Zstd,
            |target| target.encryption.is_some() == encrypted,
        );
        // One side may have failed while the other is well; none at all is seen at the commit.
        if object.write(content.clone().into()).await.is_ok() {
            let _ = object.finish().await;
        }
    }
}

/// The databases whose data is in it.
fn records(subject: &Subject, copied: &Copied) -> Vec<DatabaseRecord> {
    let mut records = Vec::new();
    for (service, engine) in &subject.databases {
        let Some(volume) = subject.volumes.iter().find(|v| v.of == *service) else {
            continue;
        };
        let code = copied.codes.get(service).copied();
        let image = subject.definition.images.get(service);
        records.push(DatabaseRecord {
            service: service.clone(),
            engine: engine.clone(),
            database: String::new(),
            object: format!("{}.tar.zst", volume.object),
            server_version: image.map_or_else(String::new, |i| i.reference.clone()),
            client_version: String::new(),
            command: Vec::new(),
            exit_code: code.unwrap_or(0),
            end_check: match code {
                Some(code) => format!("stopped with exit code {code}"),
                None => "was not running".to_owned(),
            },
            consistency: "cold".into(),
            transport: copied.outage.method.clone(),
            tables: None,
        });
    }
    records
}

/// Median of the plain bytes of the last backups, in the destination that knows most of them.
async fn usual(run: &Run, subject: &Subject) -> Option<u64> {
    let mut best: Vec<u64> = Vec::new();
    for target in &subject.targets {
        let Ok(listing) = catalog::list(target, &run.project, Some(&subject.group.name)).await
        else {
            continue;
        };
        let mut backups: Vec<&Manifest> = listing
            .entries
            .iter()
            .map(|e| &e.manifest)
            .filter(|m| m.kind == Kind::Backup && m.status == Status::Complete)
            .collect();
        backups.sort_by(|a, b| b.id.cmp(&a.id));
        let volumes = |m: &Manifest| {
            let volumes = m.objects.iter().filter(|o| o.role == Role::Volume);
            volumes.map(|o| o.plain_bytes).sum()
        };
        let sizes: Vec<u64> = backups.into_iter().take(USUAL).map(volumes).collect();
        if sizes.len() > best.len() {
            best = sizes;
        }
    }
    best.sort_unstable();
    best.get(best.len() / 2).copied()
}
