//! Rendered files of an instance on disk, and the note of what its services were made of.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::apply::Context;
use crate::files::{self, FileError};
use crate::plan::desired::Service;

/// Name of the note, in `build/<instance>/`.
pub const APPLIED: &str = "applied.json";

/// What services run with, by name.
type Notes = BTreeMap<String, Value>;

/// Notes on their way to a file. Services get ready at the same time, and each write waits for the
/// disk: those that come while one is written go together with the next.
static PENDING: Mutex<BTreeMap<PathBuf, Notes>> = Mutex::new(BTreeMap::new());

/// Held by the one that writes.
static WRITING: Mutex<()> = Mutex::new(());

/// Writes the rendered files of an instance; folders of files that no container mounts any more go.
pub(super) async fn write(context: &Arc<Context>, instance: &str) -> Result<(), FileError> {
    let (context, instance) = (Arc::clone(context), instance.to_owned());
    on_disk(move || write_now(&context, &instance)).await
}

fn write_now(context: &Context, instance: &str) -> Result<(), FileError> {
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
pub(super) async fn applied(context: &Context, service: &Service) -> Result<(), FileError> {
    let path = context.paths.build(&service.minion).join(APPLIED);
    let note = (service.service.clone(), service.canonical.clone());
    lock(&PENDING)
        .entry(path.clone())
        .or_default()
        .extend([note]);
    on_disk(move || write_notes(&path)).await
}

/// Writes the notes that wait for `path`, our own and those of others that came meanwhile.
fn write_notes(path: &Path) -> Result<(), FileError> {
    let _guard = lock(&WRITING);
    let Some(new) = lock(&PENDING).remove(path) else {
        // Who wrote before us took ours along.
        return Ok(());
    };
    if let Some(build) = path.parent() {
        files::create_folder(build, 0o755)?;
    }
    let mut notes: Notes = fs::read_to_string(path)
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    notes.extend(new);
    let text = serde_json::to_string_pretty(&notes).expect("notes are plain data");
    files::write_if_changed(path, text.as_bytes(), 0o600)?;
    Ok(())
}

/// Waits for the disk on a thread of its own: an fsync takes as long as the engine's own writes make
/// it, and the few threads we have are to talk to the engine meanwhile.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
