//! Rendered files of an instance on disk, and the note of what its services were made of.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Mutex;

use serde_json::Value;

use crate::apply::Context;
use crate::files::{self, FileError};
use crate::plan::desired::Service;

/// Name of the note, in `build/<instance>/`.
pub const APPLIED: &str = "applied.json";

/// The note is read, changed and written by services that get ready at the same time.
static APPLIED_LOCK: Mutex<()> = Mutex::new(());

/// Writes the rendered files of an instance; folders of files that no container mounts any more go.
pub(super) fn write(context: &Context, instance: &str) -> Result<(), FileError> {
    let Some(group) = context.desired.groups.iter().find(|g| g.name == instance) else {
        return Ok(());
    };
    let build = context.paths.build(instance);
    files::create_folder(&build, 0o755)?;
    for (path, (content, mode)) in &group.files {
        let path = build.join(path);
        if let Some(folder) = path.parent() {
            files::create_folder(folder, 0o755)?;
        }
        files::write_if_changed(&path, content, *mode)?;
    }
    remove_unused(context, instance, &context.paths.build_files(instance));
    Ok(())
}

/// Best effort: what stays is only litter.
fn remove_unused(context: &Context, instance: &str, folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let mounted = context.observed.containers.iter().any(|c| {
            c.binds
                .values()
                .any(|source| Path::new(source).starts_with(&path))
        });
        let wanted = context
            .desired
            .groups
            .iter()
            .filter(|g| g.name == instance)
            .any(|g| {
                g.files
                    .keys()
                    .any(|f| context.paths.build(instance).join(f).starts_with(&path))
            });
        if !mounted && !wanted {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

/// Removes the rendered files of an instance that is gone.
pub(super) fn forget(context: &Context, instance: &str) -> Result<(), FileError> {
    let build = context.paths.build(instance);
    match fs::remove_dir_all(&build) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(FileError::of("remove", &build)(error))
        }
        _ => Ok(()),
    }
}

/// Notes what a service runs with now, so that a later plan can tell what changed.
pub(super) fn applied(context: &Context, service: &Service) -> Result<(), FileError> {
    let _guard = APPLIED_LOCK
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let build = context.paths.build(&service.minion);
    files::create_folder(&build, 0o755)?;
    let path = build.join(APPLIED);
    let mut notes: BTreeMap<String, Value> = fs::read_to_string(&path)
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    notes.insert(service.service.clone(), service.canonical.clone());
    let text = serde_json::to_string_pretty(&notes).expect("notes are plain data");
    files::write_if_changed(&path, text.as_bytes(), 0o600)?;
    Ok(())
}
