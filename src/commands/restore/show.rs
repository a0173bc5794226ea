//! What a restore says before it does anything, and what it has found.

use std::path::Path;
use std::sync::Arc;

use super::into_live::Subject;
use super::{
    BackupError, Entry, Into, Key, Kind, Project, RestoreArgs, Result, Session, Shelf, SystemClock,
    bail, shelf, target_of,
};
use crate::backup::definition;
use crate::backup::manifest::{Role, Status};
use crate::backup::restore::Checked;
use crate::clock::Clock as _;
use crate::plan::observed::FolderState;
use crate::project::observe;

/// The snapshot, what it replaces, what stays, and what is kept of before.
pub(super) fn what(session: &Session, subject: &Subject<'_>, entry: &Entry, args: &RestoreArgs) {
    let report = &session.report;
    let manifest = &entry.manifest;
    let now = SystemClock.now();
    report.line(&format!(
        "{} {} of `{}`, made {} ({} ago), {}, from `{}`",
        manifest.kind.name(),
        manifest.id,
        manifest.minion,
        shelf::time(subject.project, manifest.started),
        shelf::age(manifest.started, now),
        shelf::size(manifest.stored_bytes()),
        entry.destination,
    ));
    if manifest.status == Status::Suspect || entry.verdict() == Some(false) {
        report.warn(&format!(
            "this snapshot is not beyond doubt: {}",
            match manifest.remarks.first() {
                Some(remark) => remark.as_str(),
                None => "a check of it failed",
            }
        ));
    }
    for database in manifest.databases.iter().filter(|d| !d.database.is_empty()) {
        report.line(&format!(
            "  database {} of {}/{} ({} {})",
            database.database,
            subject.group.name,
            database.service,
            database.engine,
            database.server_version,
        ));
    }
    for volume in manifest.objects.iter().filter(|o| o.role == Role::Volume) {
        report.line(&format!(
            "  volume {}, {}",
            volume.of,
            shelf::size(volume.plain_bytes)
        ));
    }
    let live = args.into == Into::Live;
    for folder in &subject.group.folders {
        let name = folder
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let replaced = match manifest.kind {
            Kind::Dump => manifest.databases.iter().any(|d| d.service == name),
            Kind::Backup => manifest
                .objects
                .iter()
                .any(|o| o.role == Role::Volume && o.of == name),
        };
        let there = there(&folder.path);
        let path = folder.path.display();
        report.line(&match (replaced && live, replaced) {
            (true, _) => format!("  {path}: {there}; is replaced"),
            (_, true) => format!("  {path}: {there}; restored beside it"),
            _ => format!("  {path}: {there}; stays as it is"),
        });
    }
    if live {
        report.line("  replaced folders are kept beside the new ones, as they are when everything has stopped");
    }
}

fn there(path: &Path) -> &'static str {
    match observe::folder(path) {
        Some(FolderState::Filled) => "holds data",
        Some(FolderState::Empty) => "is empty",
        None => "is not there yet",
    }
}

/// What was looked at after the restore.
pub(in crate::commands) fn checked(session: &Session, checked: &Checked) {
    for database in &checked.databases {
        session.report.note(&format!(
            "checked {}/{}: {} tables, {} rows",
            database.service,
            database.database,
            database.tables.len(),
            database.tables.values().sum::<u64>(),
        ));
    }
    for assert in &checked.asserts {
        session.report.note(&format!("true: {assert}"));
    }
}

/// The minion is not in config.yml any more: what to put there, from the snapshot's own definition.
pub(super) async fn not_in_config(
    session: &Session,
    project: &Project,
    shelf: &Shelf,
    entry: &Entry,
    key: Option<Arc<Key>>,
) -> Result<u8> {
    let minion = &entry.manifest.minion;
    let template = &entry.manifest.definition.template;
    let target = target_of(shelf, entry)?;
    let config = definition::read(&target, key, &entry.manifest).await?;
    let block = config
        .text("config.yml")
        .and_then(|text| definition::block(&text, minion))
        .unwrap_or_else(|| format!("  {minion}: {{use: {template}}}"));
    session.report.line("minions:");
    session.report.line(&block);
    if project.catalog.get(template).is_err() {
        session.report.note(&format!(
            "`{template}` is a minion of your own: its folder `minions/{template}` is in the snapshot too, `--to-dir DIR` unpacks it"
        ));
    }
    bail!(BackupError::Usage(format!(
        "`{minion}` is not in config.yml any more\n  \
         hint: put the lines above back there and run this again, or unpack its files: `summoner restore {minion} --to-dir DIR`"
    )))
}
