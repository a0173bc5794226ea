//! Throwaway data folders and containers: where a restore happens, and a drill.
//!
//! A folder lies beside the live one, under a hidden name, so that it can take its place by rename
//! later. A container is made from the service as it is rendered today, but without any network,
//! with the folder in place of the live one. All that is made is noted in `.summoner/journal/`
//! first: what a killed run has left is thrown away by the next one ([`sweep`]).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::apply::wait::{self, Need, Unmet, Watcher};
use crate::apply::{self, folders};
use crate::backup::error::BackupError;
use crate::backup::swap::SwapError;
use crate::engine::{ContainerSpec, EndpointSpec, EngineError, MountKind};
use crate::files::{self, FileError};
use crate::plan::desired::{Folder, Group, Service, labels};
use crate::secret::Secret;
use crate::state::Paths;

/// Docker's network that has nothing but the loopback device.
const NO_NETWORK: &str = "none";
/// A database is given this long to end by itself, whatever its service says: one that is killed
/// leaves data that has to be recovered at the next start.
const SHORTEST_GRACE: Duration = Duration::from_mins(1);

/// Why a restore, a drill or a rebuild failed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The snapshot, a destination, the engine or a file.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// What was restored is not as it should be; nothing live was touched.
    #[error("{0}")]
    Invalid(String),
    /// The last step, the swap.
    #[error(transparent)]
    Swap(#[from] SwapError),
}

impl From<EngineError> for RestoreError {
    fn from(error: EngineError) -> Self {
        Self::Backup(error.into())
    }
}

impl From<FileError> for RestoreError {
    fn from(error: FileError) -> Self {
        Self::Backup(error.into())
    }
}

impl RestoreError {
    /// What to type next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Backup(error) => error.hint(),
            Self::Invalid(_) => Some(
                "nothing live was touched; `summoner snapshots` lists others, `--to-dir DIR` unpacks this one as it is".into(),
            ),
            Self::Swap(SwapError::Stuck { .. }) => {
                Some("`summoner recover` goes on taking it back".into())
            }
            Self::Swap(SwapError::NotBack { .. }) => Some("see why with `summoner logs`".into()),
            Self::Swap(SwapError::TakenBack { .. }) => Some(
                "`--into scratch` leaves the restored data beside the live one, to look at".into(),
            ),
            Self::Swap(SwapError::File(error)) => error.hint(),
        }
    }
}

/// What throwaway things are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// A restore: the folders are going to take the place of live ones.
    Restore,
    /// A drill: everything goes afterwards.
    Drill,
}

impl Purpose {
    /// Value of the label [`labels::ONE_OFF`] of its containers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Restore => labels::RESTORE,
            Self::Drill => labels::DRILL,
        }
    }
}

/// What was made for one restore or drill, as it is noted on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    minion: String,
    purpose: Purpose,
    containers: Vec<String>,
    folders: Vec<PathBuf>,
    #[serde(default)]
    files: Vec<PathBuf>,
}

/// Throwaway folders and containers of one restore or drill.
pub struct Scratch<'a> {
    context: &'a apply::Context,
    group: &'a Group,
    note: Note,
    tag: String,
    limit: Duration,
    watcher: Watcher,
}

/// A throwaway container that runs.
#[derive(Debug, Clone)]
pub struct Running {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its service: `blog/db`.
    pub target: String,
    /// How long it may take to stop.
    grace: Duration,
}

impl<'a> Scratch<'a> {
    /// Begins; nothing is made yet. `limit` is how long a container may take until it is healthy.
    #[must_use]
    pub fn new(
        context: &'a apply::Context,
        group: &'a Group,
        purpose: Purpose,
        now: Timestamp,
        limit: Duration,
    ) -> Self {
        let stamp = now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ");
        let tag = format!("{stamp}-{}", Secret::generate(4).expose().to_lowercase());
        Self {
            context,
            group,
            note: Note {
                minion: group.name.clone(),
                purpose,
                containers: Vec::new(),
                folders: Vec::new(),
                files: Vec::new(),
            },
            tag,
            limit,
            watcher: Watcher::start(&context.engine),
        }
    }

    /// Ending of the names of all that belongs to it: `20261120T023000Z-x7k2`.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    fn file(&self) -> PathBuf {
        let name = format!("scratch-{}-{}.json", self.group.name, self.tag);
        self.context.paths.dir.join("journal").join(name)
    }

    fn write(&self) -> Result<(), FileError> {
        let file = self.file();
        files::create_folder(file.parent().unwrap_or(&file), 0o700)?;
        let text = serde_json::to_vec_pretty(&self.note).expect("a note is plain data");
        files::write_atomic(&file, &text, 0o600)
    }

    /// Makes an empty folder for what is going to be at `live`, with the owner and mode it has to
    /// have.
    pub async fn folder(&mut self, live: &Folder) -> Result<PathBuf, RestoreError> {
        let name = live.path.file_name().unwrap_or_default().to_string_lossy();
        let purpose = self.note.purpose.name();
        let path = live
            .path
            .with_file_name(format!(".{name}.{purpose}-{}", self.tag));
        self.note.folders.push(path.clone());
        self.write()?;
        folders::create(self.context, &path, (live.uid, live.gid), live.mode)
            .await
            .map_err(BackupError::Other)?;
        Ok(path)
    }

    /// Makes and starts a container of the service that sees `folders` (live path -> scratch path)
    /// and no network, and waits until it is healthy.
    pub async fn start(
        &mut self,
        service: &Service,
        folders: &BTreeMap<PathBuf, PathBuf>,
    ) -> Result<Running, RestoreError> {
        let running = self.launch(service, folders).await?;
        self.healthy(&running).await?;
        Ok(running)
    }

    /// The same without waiting.
    pub async fn launch(
        &mut self,
        service: &Service,
        folders: &BTreeMap<PathBuf, PathBuf>,
    ) -> Result<Running, RestoreError> {
        write_files(self.group, &self.context.paths)?;
        let spec = spec(service, folders, self.note.purpose);
        let name = format!("{}.{}-{}", service.name, self.note.purpose.name(), self.tag);
        if !self.note.containers.contains(&name) {
            self.note.containers.push(name.clone());
            self.write()?;
        }
        let engine = &self.context.engine;
        let id = match engine.create(&name, &spec).await {
            Err(EngineError::NotFound { kind: "image", .. }) => {
                engine
                    .pull(&spec.image, self.context.events.as_ref())
                    .await?;
                engine.create(&name, &spec).await?
            }
            made => made?,
        };
        engine.start(&id).await?;
        Ok(Running {
            id,
            name,
            target: service.target(),
            grace: service.grace().max(SHORTEST_GRACE),
        })
    }

    /// Waits until a container is healthy.
    pub async fn healthy(&self, running: &Running) -> Result<(), RestoreError> {
        let engine = self.context.engine.as_ref();
        let waited = wait::container(
            engine,
            &self.watcher,
            self.context.events.as_ref(),
            &self.context.cancelled,
            (&running.target, &running.id),
            Need::Healthy,
            self.limit,
        )
        .await;
        let how = match waited {
            Ok(()) => return Ok(()),
            Err(Unmet::Engine(error)) => return Err(error.into()),
            Err(Unmet::Cancelled) => return Err(BackupError::Other("interrupted".into()).into()),
            Err(Unmet::Broken(how)) => how,
            Err(Unmet::Timeout(state)) => format!("is {state} after {} s", self.limit.as_secs()),
        };
        let log = wait::log_tail(engine, &running.id).await;
        let mut text = format!("the throwaway container of `{}` {how}", running.target);
        for line in log {
            text.push_str("\n  | ");
            text.push_str(&line);
        }
        Err(RestoreError::Invalid(text))
    }

    /// A file with this text that containers can mount; it goes when everything else goes. Others on
    /// this machine cannot reach it, its folder is ours alone.
    pub fn file_with(&mut self, text: &Secret) -> Result<PathBuf, RestoreError> {
        let path = self.context.paths.dir.join("journal").join(format!(
            "scratch-{}-{}.{}.sql",
            self.group.name,
            self.tag,
            self.note.files.len()
        ));
        self.note.files.push(path.clone());
        self.write()?;
        // Readable for the user of the container, whoever that is.
        files::write_atomic(&path, text.expose().as_bytes(), 0o644)?;
        Ok(path)
    }

    /// Stops a container, which must end by itself with exit code 0, and removes it.
    pub async fn stop(&mut self, running: &Running) -> Result<(), RestoreError> {
        let engine = &self.context.engine;
        engine.stop(&running.id, running.grace).await?;
        let seen = engine.inspect(&running.id).await?;
        if seen.exit_code != Some(0) {
            let code = seen
                .exit_code
                .map_or("none".to_owned(), |code| code.to_string());
            return Err(RestoreError::Invalid(format!(
                "the throwaway container of `{}` did not end cleanly: exit code {code}",
                running.target
            )));
        }
        engine.remove(&running.id).await?;
        self.note.containers.retain(|name| *name != running.name);
        Ok(())
    }

    /// Throws everything away.
    pub async fn leave(self) -> Result<(), RestoreError> {
        discard(self.context, &self.note).await?;
        forget(&self.file())?;
        Ok(())
    }

    /// Throws containers away and leaves the folders to who wanted them.
    pub async fn keep(mut self) -> Result<(), RestoreError> {
        self.note.folders.clear();
        self.leave().await
    }
}

/// The container of a service as it is made for scratch.
fn spec(
    service: &Service,
    folders: &BTreeMap<PathBuf, PathBuf>,
    purpose: Purpose,
) -> ContainerSpec {
    let mut spec = service.spec.clone();
    spec.networks = [(NO_NETWORK.to_owned(), EndpointSpec::default())].into();
    spec.ports.clear();
    // The engine refuses these without a network.
    spec.extra_hosts.clear();
    "no".clone_into(&mut spec.restart);
    for mount in &mut spec.mounts {
        if let Some(scratch) = folders.get(Path::new(&mount.source)) {
            mount.source = scratch.display().to_string();
        }
    }
    // What it could change must be scratch; what it only reads, as scripts of the first start, stays.
    spec.mounts.retain(|mount| {
        mount.kind == MountKind::Bind
            && (mount.read_only || folders.values().any(|f| *f == *Path::new(&mount.source)))
    });
    for key in [labels::HASH, "com.docker.compose.config-hash"] {
        spec.labels.remove(key);
    }
    let purpose = purpose.name().to_owned();
    spec.labels.insert(labels::ONE_OFF.to_owned(), purpose);
    spec.labels
        .insert("com.docker.compose.oneoff".to_owned(), "True".to_owned());
    spec
}

/// Rendered files that containers mount, where `up` has not written them yet. They lie in folders
/// named after their content.
fn write_files(group: &Group, paths: &Paths) -> Result<(), FileError> {
    let build = paths.build(&group.name);
    for (below, (content, mode)) in &group.files {
        let path = build.join(below);
        if !below.starts_with("files") || path.exists() {
            continue;
        }
        if let Some(folder) = path.parent() {
            files::create_folder(&paths.dir, 0o700)?;
            files::create_folder(folder, 0o755)?;
        }
        files::write_atomic(&path, content, *mode)?;
    }
    Ok(())
}

async fn discard(context: &apply::Context, note: &Note) -> Result<(), RestoreError> {
    for name in &note.containers {
        // Stopping is for data that is of worth.
        context.engine.remove(name).await?;
    }
    for file in &note.files {
        forget(file)?;
    }
    folders::purge(context, &note.folders)
        .await
        .map_err(BackupError::Other)?;
    Ok(())
}

fn forget(file: &Path) -> Result<(), FileError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::of("remove", file)(error))
        }
        _ => Ok(()),
    }
}

/// Throws away what killed runs have left, of one minion and purpose: for who holds the lock of
/// that. A swap that was cut off must have been settled before. How many it were.
pub async fn sweep(
    context: &apply::Context,
    minion: &str,
    purpose: Purpose,
) -> Result<usize, RestoreError> {
    let mut swept = 0;
    for (file, note) in notes(&context.paths) {
        if note.minion == minion && note.purpose == purpose {
            discard(context, &note).await?;
            forget(&file)?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// What was left or is under way: minion and purpose of each.
#[must_use]
pub fn left(paths: &Paths) -> Vec<(String, Purpose)> {
    let mut all: Vec<_> = notes(paths)
        .into_iter()
        .map(|(_, note)| (note.minion, note.purpose))
        .collect();
    all.dedup();
    all
}

fn notes(paths: &Paths) -> Vec<(PathBuf, Note)> {
    let Ok(entries) = fs::read_dir(paths.dir.join("journal")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with("scratch-"))
        .filter_map(|e| {
            let text = fs::read(e.path()).ok()?;
            Some((e.path(), serde_json::from_slice(&text).ok()?))
        })
        .collect()
}

/// What [`folders`] and waiting need, for work that follows no plan.
#[must_use]
pub fn context(
    engine: std::sync::Arc<dyn crate::engine::Engine>,
    events: std::sync::Arc<dyn crate::events::Events>,
    environment: &crate::config::Environment,
    paths: &Paths,
    cancelled: watch::Receiver<bool>,
) -> apply::Context {
    apply::Context {
        engine,
        clock: std::sync::Arc::new(crate::clock::SystemClock),
        events,
        desired: crate::plan::desired::Desired {
            project: environment.project.clone(),
            root: environment.root.clone(),
            ..Default::default()
        },
        observed: crate::plan::observed::Observed::default(),
        paths: paths.clone(),
        wait_timeout: Duration::from_mins(5),
        helper_image: environment.proxy.image.clone(),
        cancelled,
    }
}
