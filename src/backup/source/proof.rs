//! A second program in the container that reads a dump while it is made: some formats have no end
//! that could be recognised.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{ended, exec_spec};
use crate::backup::error::BackupError;
use crate::database::{Dump, Invocation};
use crate::engine::{Container, Engine, EngineError, ExecEnd};

/// Pieces on their way to it: 64 KiB each at most.
const AHEAD: usize = 32;

pub(super) struct Proof {
    container: Container,
    reader: Invocation,
    pieces: mpsc::Sender<Option<Bytes>>,
    /// Taken when the reader has ended early.
    task: JoinHandle<Result<ExecEnd, EngineError>>,
}

impl Proof {
    pub(super) async fn start(
        engine: &Arc<dyn Engine>,
        container: &Container,
        dump: &Dump,
    ) -> Result<Option<Self>, BackupError> {
        let Some(reader) = dump.reader.clone() else {
            return Ok(None);
        };
        let stream = engine
            .exec_stream(&container.id, &exec_spec(&reader, true))
            .await?;
        let (pieces, mut received) = mpsc::channel::<Option<Bytes>>(AHEAD);
        let task = tokio::spawn(async move {
            let mut input = stream.input;
            let mut output = stream.output;
            let feeding = async move {
                while let Some(piece) = received.recv().await {
                    match (piece, &mut input) {
                        // It has seen enough; its exit code tells what it thought of that.
                        (Some(bytes), Some(open)) => {
                            if open.write_all(&bytes).await.is_err() {
                                input = None;
                            }
                        }
                        (Some(_), None) => {}
                        (None, _) => {
                            if let Some(mut open) = input {
                                let _ = open.shutdown().await;
                            }
                            return true;
                        }
                    }
                }
                false
            };
            let reading = async {
                while let Some(piece) = output.next().await {
                    piece?;
                }
                Ok::<_, EngineError>(())
            };
            let (fed, read) = tokio::join!(feeding, reading);
            read?;
            let end = stream.end.await?;
            // Without the whole dump, a success would mean nothing.
            Ok(if fed {
                end
            } else {
                ExecEnd { code: -1, ..end }
            })
        });
        Ok(Some(Self {
            container: container.clone(),
            reader,
            pieces,
            task,
        }))
    }

    /// Gives it the next bytes. It may have ended: that is told at the end.
    pub(super) async fn feed(&mut self, bytes: Bytes) {
        let _ = self.pieces.send(Some(bytes)).await;
    }

    /// Tells it that this was all, and judges.
    pub(super) async fn finish(mut self, most: Duration) -> Result<(), BackupError> {
        let _ = self.pieces.send(None).await;
        let program = self.reader.command.first().map_or("", String::as_str);
        let other = |reason: String| {
            BackupError::Other(format!("`{program}` could not read the dump: {reason}"))
        };
        let end = tokio::time::timeout(most, &mut self.task)
            .await
            .map_err(|_| other("it does not end".to_owned()))?
            .map_err(|error| other(error.to_string()))??;
        ended(&self.container, &self.reader, &end)
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        // With the task its stream goes, and with the stream the program.
        self.task.abort();
    }
}
