//! How a volume is copied, and the copying itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use rustix::fs::statvfs;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::archive::{self, Packed};
use super::content::{How, can_share};
use super::node::TreeError;
use super::staging;
use super::tree::{self, Pass, Staging, Watch};
use super::volume::{Place, Volume};
use crate::backup::error::BackupError;
use crate::backup::writer::ObjectWriter;
use crate::config::environment::ColdMethod;
use crate::engine::{ContainerSpec, Engine, EngineError, ExecSpec, MountKind, MountSpec};
use crate::events::Events;
use crate::plan::desired::labels;

/// Of the room that is free, what a copy may take: the application writes there too.
const ROOM: u64 = 90;
/// Where a helper container sees the volume.
const TARGET: &str = "/volume";

impl From<TreeError> for BackupError {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::File(error) => Self::File(error),
            TreeError::Damaged(text) => Self::Damaged(text),
            TreeError::Refused(text) => Self::Refused(text),
            other => Self::Other(other.to_string()),
        }
    }
}

/// How one volume is copied.
pub(super) enum Way {
    /// Through a copy beside it.
    Staged(Staging, How),
    /// Straight into the archive while everything is stopped.
    Direct,
    /// By `tar` in a helper container, likewise.
    Container,
}

impl Way {
    /// Its name in the manifest.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Staged(_, How::Reflink) => "reflink",
            Self::Staged(_, How::Copy) => "two_pass",
            Self::Direct => "copy",
            Self::Container => "container",
        }
    }

    /// The best way for a volume that the method allows. `None` for a folder that is not there.
    /// Blocks.
    pub(super) fn of(
        volume: &Volume,
        minion: &str,
        method: ColdMethod,
    ) -> Result<Option<Self>, BackupError> {
        let Place::Folder { path, root } = &volume.place else {
            return Ok(Some(Self::Container));
        };
        if !path.is_dir() {
            return Ok(None);
        }
        let may_read = rustix::process::geteuid().is_root();
        match method {
            ColdMethod::Container => return Ok(Some(Self::Container)),
            ColdMethod::Copy => return Ok(Some(Self::Direct)),
            // Only root reads what belongs to databases, and gives copies their owners.
            ColdMethod::Auto if !may_read => return Ok(Some(Self::Container)),
            _ => {}
        }
        let around = staging::of(root, minion);
        crate::files::create_folder(&around, 0o700)?;
        let copy = around.join(&volume.object);
        let staged = |how| Ok(Some(Self::Staged(Staging::new(path, &copy, how), how)));
        if method != ColdMethod::TwoPass && can_share(path, &around) {
            return staged(How::Reflink);
        }
        if method == ColdMethod::Reflink {
            return Err(BackupError::Usage(format!(
                "the file system of `{}` cannot share blocks between files\n  hint: XFS and btrfs can; `--method two_pass` copies instead",
                path.display()
            )));
        }
        let (needed, free) = room(path, &around)?;
        if needed <= free / 100 * ROOM {
            return staged(How::Copy);
        }
        if method == ColdMethod::TwoPass {
            return Err(BackupError::Usage(format!(
                "there is no room for a copy of `{}` beside it: it takes {} MiB, {} MiB are free\n  hint: `--method copy` needs no room, but a longer outage",
                path.display(),
                needed >> 20,
                free >> 20
            )));
        }
        Ok(Some(Self::Direct))
    }
}

/// Bytes that a copy takes, and that are free for it.
fn room(path: &Path, beside: &Path) -> Result<(u64, u64), BackupError> {
    let needed = tree::disk_usage(path, &Watch::default())?;
    let disk = statvfs(beside)
        .map_err(|e| crate::files::FileError::of("look at the disk of", beside)(e.into()))?;
    Ok((needed, disk.f_bavail.saturating_mul(disk.f_frsize)))
}

/// One pass of a copy, off the threads that talk to the engine.
pub(super) async fn pass(
    mut staging: Staging,
    watch: Arc<Watch>,
    last: bool,
) -> (Option<Staging>, Result<Pass, TreeError>) {
    let task = spawn_blocking(move || {
        let result = staging.pass(&watch, last);
        (staging, result)
    });
    match task.await {
        Ok((staging, result)) => (Some(staging), result),
        Err(_) => (None, Err(TreeError::Stopped)),
    }
}

/// Packs a folder into an object.
pub(super) async fn archive_into(
    folder: PathBuf,
    watch: Arc<Watch>,
    object: &mut ObjectWriter,
) -> Result<Packed, BackupError> {
    let (sender, mut chunks) = mpsc::channel::<Bytes>(4);
    let task = spawn_blocking(move || {
        archive::pack(&folder, &watch, &mut |chunk| {
            sender.blocking_send(chunk).is_ok()
        })
    });
    while let Some(chunk) = chunks.recv().await {
        if let Err(error) = object.write(chunk).await {
            drop(chunks);
            let _ = task.await;
            return Err(error);
        }
    }
    match task.await {
        Ok(packed) => Ok(packed?),
        Err(_) => Err(BackupError::Other("packing ended by itself".into())),
    }
}

/// A container that sees a volume, and reads it with `tar`.
pub(super) struct Helper {
    engine: Arc<dyn Engine>,
    id: String,
    gnu: bool,
}

impl Helper {
    /// Makes it and looks what its `tar` can do.
    pub(super) async fn start(
        engine: &Arc<dyn Engine>,
        image: &str,
        (project, root): (&str, &Path),
        volume: &Volume,
        events: &dyn Events,
    ) -> Result<Self, BackupError> {
        let (kind, source) = match &volume.place {
            Place::Folder { path, .. } => (MountKind::Bind, path.display().to_string()),
            Place::Engine(name) => (MountKind::Volume, name.clone()),
        };
        let spec = ContainerSpec {
            image: image.to_owned(),
            entrypoint: Some(vec!["sleep".to_owned()]),
            command: Some(vec!["86400".to_owned()]),
            user: Some("0:0".to_owned()),
            restart: "no".to_owned(),
            init: true,
            mounts: vec![MountSpec {
                kind,
                source,
                target: TARGET.to_owned(),
                read_only: true,
            }],
            labels: [
                (labels::PROJECT.to_owned(), project.to_owned()),
                (labels::ROOT.to_owned(), root.display().to_string()),
                (labels::ONE_OFF.to_owned(), "backup".to_owned()),
            ]
            .into(),
            ..ContainerSpec::default()
        };
        let name = format!(
            "summoner-backup-{}-{}",
            std::process::id(),
            crate::secret::Secret::generate(8).expose()
        );
        let id = match engine.create(&name, &spec).await {
            Err(EngineError::NotFound { kind: "image", .. }) => {
                engine.pull(&spec.image, events).await?;
                engine.create(&name, &spec).await?
            }
            made => made?,
        };
        let mut helper = Self {
            engine: Arc::clone(engine),
            id,
            gnu: false,
        };
        let asked = async {
            helper.engine.start(&helper.id).await?;
            let spec = ExecSpec {
                command: vec!["tar".to_owned(), "--version".to_owned()],
                ..ExecSpec::default()
            };
            helper.engine.exec(&helper.id, &spec).await
        };
        match asked.await {
            Ok(output) => {
                helper.gnu = String::from_utf8_lossy(&output.stdout).contains("GNU tar");
                Ok(helper)
            }
            Err(error) => {
                helper.remove().await;
                Err(error.into())
            }
        }
    }

    /// Whether owners, attributes, access control lists and holes are kept.
    pub(super) fn keeps_everything(&self) -> bool {
        self.gnu
    }

    /// Streams the archive into an object; how many bytes.
    pub(super) async fn archive_into(
        &self,
        watch: &Watch,
        object: &mut ObjectWriter,
    ) -> Result<u64, BackupError> {
        let mut command = vec!["tar"];
        if self.gnu {
            command.extend([
                "--format=posix",
                "--sparse",
                "--xattrs",
                "--xattrs-include=*",
                "--acls",
                "--numeric-owner",
            ]);
        }
        command.extend(["-C", TARGET, "-cf", "-", "."]);
        let spec = ExecSpec {
            command: command.into_iter().map(str::to_owned).collect(),
            ..ExecSpec::default()
        };
        let mut stream = self.engine.exec_stream(&self.id, &spec).await?;
        let mut bytes = 0;
        while let Some(chunk) = stream.output.next().await {
            let chunk = chunk?;
            watch.check()?;
            bytes += chunk.len() as u64;
            watch.add(chunk.len() as u64);
            object.write(chunk).await?;
        }
        let end = stream.end.await?;
        if end.code != 0 {
            return Err(BackupError::Other(format!(
                "`tar` in a helper container ended with exit code {}: {}",
                end.code,
                end.stderr.trim()
            )));
        }
        Ok(bytes)
    }

    /// Takes it away.
    pub(super) async fn remove(&self) {
        let _ = self.engine.remove(&self.id).await;
    }
}
