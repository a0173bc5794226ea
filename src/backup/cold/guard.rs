//! The guard: a second process that outlives a backup which is killed, and starts what it had
//! stopped. It is told by the end of its standard input: the system closes that pipe whatever way
//! the backup ends. It has a session of its own, so that a terminal's signals do not reach it, and,
//! under systemd, a scope of its own, since the end of a unit takes all its processes along.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{sleep, timeout};

use super::revive::{self, Recovery};
use super::{journal, staging};
use crate::backup::error::BackupError;
use crate::engine::Engine;
use crate::events::Silent;
use crate::state::Paths;
use crate::state::lock::Lock;

/// What the guard says when it watches.
const READY: &str = "ready\n";
/// What it hears when it is not needed any more.
const DONE: &[u8] = b"done\n";
/// How long it may take to be ready: it asks the engine first.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long the lock of a dead process may take to be free.
const LOCK_FREE_WITHIN: Duration = Duration::from_secs(10);
/// How long it goes on trying when containers do not come back: an engine may be restarting.
const PATIENCE: Duration = Duration::from_mins(10);

/// A guard at its post. Dropping it without [`Guard::dismiss`] is what a kill looks like to it.
pub struct Guard {
    child: Child,
    input: ChildStdin,
}

/// Starts one, and waits until it watches. `program` is ourselves.
pub async fn post(
    program: &Path,
    root: &Path,
    minion: &str,
    staging: &[PathBuf],
) -> Result<Guard, BackupError> {
    let mut failure = String::new();
    for scope in [under_systemd(), false] {
        match post_one(program, root, minion, staging, scope).await {
            Ok(guard) => return Ok(guard),
            Err(why) => failure = why,
        }
        if !scope {
            break;
        }
    }
    Err(BackupError::Other(format!(
        "the guard that would restart the containers cannot be started: {failure}"
    )))
}

/// Whether the end of a unit would take us along.
fn under_systemd() -> bool {
    std::env::var_os("INVOCATION_ID").is_some() && Path::new("/run/systemd/system").is_dir()
}

async fn post_one(
    program: &Path,
    root: &Path,
    minion: &str,
    staging: &[PathBuf],
    scope: bool,
) -> Result<Guard, String> {
    let mut command = if scope {
        let mut command = Command::new("systemd-run");
        command
            .args(["--scope", "--quiet", "--collect", "--"])
            .arg(program);
        command
    } else {
        Command::new(program)
    };
    command
        .arg("guard")
        .arg("--root")
        .arg(root)
        .args(["--minion", minion]);
    for folder in staging {
        command.arg("--staging").arg(folder);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| e.to_string())?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("it has no pipes".to_owned());
    };
    let mut line = String::new();
    let mut output = BufReader::new(output);
    match timeout(READY_WITHIN, output.read_line(&mut line)).await {
        Ok(Ok(_)) if line == READY => Ok(Guard { child, input }),
        Ok(_) => Err("it ended at once".to_owned()),
        Err(_) => Err(format!(
            "it is not ready after {} s",
            READY_WITHIN.as_secs()
        )),
    }
}

impl Guard {
    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Lets it go: there is nothing to watch any more.
    pub async fn dismiss(mut self) {
        let _ = self.input.write_all(DONE).await;
        let _ = self.input.shutdown().await;
        drop(self.input);
        // It ends by itself; waiting only keeps it from lying around as a zombie.
        let _ = timeout(Duration::from_secs(5), self.child.wait()).await;
    }
}

/// What the guard itself does: watches until its input ends, then brings back what the journal says.
/// `true` when nothing is left to do.
pub async fn watch(
    engine: Arc<dyn Engine>,
    root: &Path,
    minion: &str,
    copies: &[PathBuf],
) -> Result<bool, BackupError> {
    // Not when it is led by a shell: then it has one already.
    let _ = rustix::process::setsid();
    engine.info().await?;
    let _ = std::io::stdout().write_all(READY.as_bytes());
    let _ = std::io::stdout().flush();
    let heard = tokio::task::spawn_blocking(|| {
        let mut heard = Vec::new();
        let _ = std::io::stdin().take(64).read_to_end(&mut heard);
        heard
    });
    if heard.await.unwrap_or_default() == DONE {
        return Ok(true);
    }
    let paths = Paths::new(root);
    let begin = tokio::time::Instant::now();
    loop {
        let done = revive::recover(&engine, &paths, minion, LOCK_FREE_WITHIN, "guard", &Silent);
        match done.await {
            Ok(Recovery::Back(_)) => return Ok(true),
            Ok(Recovery::Nothing) => {
                // Killed while nothing was stopped: only its copies are left.
                if !journal::path(&paths, minion).exists()
                    && let Ok(_lock) = Lock::take_minion(&paths, minion, "guard")
                {
                    for folder in copies {
                        staging::sweep(folder)?;
                    }
                }
                return Ok(true);
            }
            Ok(Recovery::NotBack(_)) | Err(_) if begin.elapsed() < PATIENCE => {
                sleep(Duration::from_secs(2)).await;
            }
            Ok(Recovery::NotBack(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}
