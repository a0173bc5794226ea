//! A named pipe in a folder that is mounted into a container.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::{OpenOptions, Receiver};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::PIPES;
use crate::backup::error::BackupError;
use crate::engine::{Container, EngineError, ExecEnd, ExecStream};

/// How long a tool may take to open the pipe. They do it before their work; one that cannot see
/// it never will.
const OPENS: Duration = Duration::from_secs(20);
/// Between two looks whether it has.
const LOOKS: Duration = Duration::from_millis(5);
/// What is read at once: all that a pipe holds.
const READ: usize = 64 << 10;

/// The folder, as it is here.
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn in_container(container: &Container) -> Option<Self> {
        let folder = Path::new(container.binds.get(PIPES)?);
        folder.is_dir().then(|| Self(folder.to_owned()))
    }

    /// A new pipe; `None` where there cannot be one.
    pub(super) fn fifo(&self) -> Option<Fifo> {
        let name = format!("{:016x}", rand::random::<u64>());
        let path = self.0.join(&name);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).ok()?;
        let file = Remove(path);
        // Non-blocking: it opens though nobody writes yet.
        let receiver = OpenOptions::new().open_receiver(&file.0).ok()?;
        Some(Fifo {
            receiver,
            name,
            _file: file,
            first: Bytes::new(),
            tool: None,
        })
    }
}

/// The name of a pipe is gone with the value.
struct Remove(PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(super) struct Fifo {
    receiver: Receiver,
    name: String,
    _file: Remove,
    /// Read while waiting for the tool.
    first: Bytes,
    tool: Option<Running>,
}

/// The tool that writes into it. Aborted with the value, which ends the tool.
struct Running(JoinHandle<Result<ExecEnd, EngineError>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Fifo {
    /// Its path in the container.
    pub(super) fn inside(&self) -> String {
        format!("{PIPES}/{}", self.name)
    }

    /// Waits until the tool has opened it, a while. If it does not, or ends before, the tool is ended.
    pub(super) async fn connected(&mut self, stream: ExecStream) -> bool {
        let ExecStream {
            mut output, end, ..
        } = stream;
        let tool = Running(tokio::spawn(async move {
            // Nothing comes this way, but it has to be read to know that.
            while let Some(piece) = output.next().await {
                piece?;
            }
            end.await
        }));
        let begin = Instant::now();
        let mut buffer = vec![0; READ];
        while begin.elapsed() < OPENS {
            let ended = tool.0.is_finished();
            // Not by way of tokio, which does not look before something has happened.
            match rustix::io::read(&self.receiver, &mut buffer) {
                // Nobody has opened it.
                Ok(0) if ended => return false,
                Ok(0) | Err(Errno::INTR) => tokio::time::sleep(LOOKS).await,
                Ok(read) => {
                    self.first = Bytes::copy_from_slice(&buffer[..read]);
                    self.tool = Some(tool);
                    return true;
                }
                // Somebody has, and has not written yet.
                Err(Errno::AGAIN) => {
                    self.tool = Some(tool);
                    return true;
                }
                Err(_) => return false,
            }
        }
        false
    }

    /// The next bytes, `None` when the tool has closed it.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, BackupError> {
        if !self.first.is_empty() {
            return Ok(Some(std::mem::take(&mut self.first)));
        }
        let mut buffer = BytesMut::with_capacity(READ);
        let read = self.receiver.read_buf(&mut buffer).await;
        match read {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(buffer.freeze())),
            Err(error) => Err(BackupError::Other(format!("the pipe broke: {error}"))),
        }
    }

    /// How the tool ended.
    pub(super) async fn end(mut self) -> Result<ExecEnd, BackupError> {
        let Some(mut tool) = self.tool.take() else {
            return Err(BackupError::Other("no tool wrote into the pipe".to_owned()));
        };
        match (&mut tool.0).await {
            Ok(end) => Ok(end?),
            Err(error) => Err(BackupError::Other(error.to_string())),
        }
    }
}
