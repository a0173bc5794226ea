//! Data folders: made with their owner in one step, deleted only by a purge.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::apply::Context;
use crate::engine::{ContainerSpec, EngineError, MountKind, MountSpec};
use crate::files;
use crate::plan::desired::labels;

/// How long the helper container may take: deleting a large folder is slow.
const DELETION: Duration = Duration::from_hours(1);

/// Makes a data folder. It appears with its owner and mode or not at all: it is made under another
/// name first, since a database will not start in a folder that a killed run left to root.
pub async fn create(
    context: &Context,
    path: &Path,
    (uid, gid): (u32, u32),
    mode: u32,
) -> Result<(), String> {
    let parent = path.parent().ok_or("a data folder cannot be `/`")?;
    files::create_folder(parent, 0o755).map_err(|e| e.to_string())?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = parent.join(format!(".{name}.summoner-new"));
    let result = (|| {
        match fs::create_dir(&temporary) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        chown(&temporary, Some(uid), Some(gid))?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(mode))?;
        fs::rename(&temporary, path)
    })();
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let script = "set -e; mkdir -p \"/parent/$1\"; chown \"$3\" \"/parent/$1\"; chmod \"$4\" \"/parent/$1\"; mv \"/parent/$1\" \"/parent/$2\"";
            let owner = format!("{uid}:{gid}");
            let mode = format!("{mode:o}");
            let temporary = format!(".{name}.summoner-new");
            as_root(context, parent, script, &[&temporary, &name, &owner, &mode]).await
        }
        Err(error) => Err(format!(
            "failed to create the folder `{}`: {error}",
            path.display()
        )),
    }
}

/// Deletes data folders for good, and the instance's folder around them when it is empty then.
pub async fn purge(context: &Context, folders: &[PathBuf]) -> Result<(), String> {
    for folder in folders {
        match fs::remove_dir_all(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
                    return Err("a data folder cannot be `/`".to_owned());
                };
                let script = "rm -rf \"/parent/$1\"";
                as_root(context, parent, script, &[&name.to_string_lossy()]).await?;
            }
            Err(error) => return Err(format!("failed to delete `{}`: {error}", folder.display())),
        }
        if let Some(parent) = folder.parent() {
            // Only an empty folder goes: this is no failure when something else lies there.
            let _ = fs::remove_dir(parent);
        }
    }
    Ok(())
}

/// Runs a shell script in a container that sees `parent` as `/parent`: what root on the host would
/// do, for a user who may use the engine but is not root.
async fn as_root(
    context: &Context,
    parent: &Path,
    script: &str,
    args: &[&str],
) -> Result<(), String> {
    let mut command = vec!["-c".to_owned(), script.to_owned(), "sh".to_owned()];
    command.extend(args.iter().map(|a| (*a).to_owned()));
    let spec = ContainerSpec {
        image: context.helper_image.clone(),
        entrypoint: Some(vec!["sh".to_owned()]),
        command: Some(command),
        user: Some("0:0".to_owned()),
        restart: "no".to_owned(),
        mounts: vec![MountSpec {
            kind: MountKind::Bind,
            source: parent.display().to_string(),
            target: "/parent".to_owned(),
            read_only: false,
        }],
        labels: [
            (labels::PROJECT.to_owned(), context.desired.project.clone()),
            (
                labels::ROOT.to_owned(),
                context.desired.root.display().to_string(),
            ),
            (labels::ONE_OFF.to_owned(), "folder".to_owned()),
        ]
        .into(),
        ..ContainerSpec::default()
    };
    let name = format!(
        "summoner-folder-{}-{}",
        std::process::id(),
        crate::secret::Secret::generate(8).expose()
    );
    let engine = &context.engine;
    let run = async {
        let id = match engine.create(&name, &spec).await {
            // The proxy's image may be on its way still, or never asked for: without a site there
            // is no proxy.
            Err(EngineError::NotFound { kind: "image", .. }) => {
                engine.pull(&spec.image, context.events.as_ref()).await?;
                engine.create(&name, &spec).await?
            }
            made => made?,
        };
        engine.start(&id).await?;
        let code = super::wait::ended(engine.as_ref(), &id, DELETION).await?;
        let log = super::wait::log_tail(engine.as_ref(), &id).await;
        engine.remove(&id).await?;
        Ok::<_, EngineError>((code, log))
    };
    match run.await {
        Ok((0, _)) => Ok(()),
        Ok((code, log)) => Err(format!(
            "failed to change `{}` through a helper container (exit code {code}): {}",
            parent.display(),
            log.join(" ")
        )),
        Err(error) => Err(error.to_string()),
    }
}
