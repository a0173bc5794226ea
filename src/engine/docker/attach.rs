//! Our own standard streams connected to a container or to a command in it.

use std::io::{self, Read as _};
use std::pin::Pin;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::ResizeExecOptions;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, KillContainerOptionsBuilder, ResizeContainerTTYOptionsBuilder,
    StartContainerOptions,
};
use futures_util::stream::{BoxStream, StreamExt as _};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::error::Subject;
use super::exec::{BROKEN_FRAME, DETACH_KEYS, may_be_oci_error};
use super::{Docker, terminal};
use crate::engine::{Engine as _, EngineError};

/// The two directions of an attached container or command.
pub(super) struct Connection {
    pub(super) output: BoxStream<'static, Result<LogOutput, Error>>,
    pub(super) input: Pin<Box<dyn AsyncWrite + Send>>,
}

/// Whose terminal follows the size of ours.
#[derive(Clone)]
pub(super) enum Resize {
    Exec(String),
    Container(String),
}

/// Output that was not shown: it may be the engine's text about a command it could not start.
#[derive(Default)]
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
}

impl Held {
    /// Shows it after all.
    pub(super) async fn release(self) -> Result<(), EngineError> {
        show(&mut tokio::io::stdout(), &self.bytes).await.map(drop)
    }
}

impl Docker {
    pub(super) async fn start_with_our_streams(
        &self,
        id: &str,
        tty: bool,
        stdin: bool,
    ) -> Result<i64, EngineError> {
        let subject = Self::container("run", id)?;
        let options = AttachContainerOptionsBuilder::new()
            .stream(true)
            .stdin(stdin)
            .stdout(true)
            .stderr(true)
            .detach_keys(DETACH_KEYS)
            .build();
        // Attached before the start, or the first output would be lost.
        let call = self.client.attach_container(id, Some(options));
        let streams = self.call(&subject, call).await?;
        let call = self
            .client
            .start_container(id, None::<StartContainerOptions>);
        self.call(&subject, call).await?;
        let connection = Connection {
            output: streams.output,
            input: streams.input,
        };
        let resize = Resize::Container(id.to_owned());
        let held = self
            .forward(&subject, connection, (tty, stdin), resize, Some(id))
            .await?;
        held.release().await?;
        self.wait(id).await
    }

    /// Moves bytes in both directions until the output ends. With `interruptible`, the name of a
    /// container, our interrupts become its own, as with `docker run`.
    pub(super) async fn forward(
        &self,
        subject: &Subject,
        connection: Connection,
        (tty, stdin): (bool, bool),
        resize: Resize,
        interruptible: Option<&str>,
    ) -> Result<Held, EngineError> {
        let raw = (tty && stdin).then(terminal::RawMode::enter).flatten();
        let feeder = stdin.then(|| Feeder::start(connection.input));
        let mut output = connection.output;
        let mut signals = Signals::listen(tty, raw.is_some(), interruptible.is_some());
        if tty {
            self.fit_soon(resize.clone());
        }
        let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
        let mut held = Held::default();
        let mut first = true;
        loop {
            let frame = tokio::select! {
                frame = output.next() => frame,
                heard = signals.next() => {
                    match (heard, interruptible) {
                        (Heard::Resized, _) => drop(self.fit(&resize).await),
                        (Heard::Told(name), Some(id)) if raw.is_none() => {
                            let options = KillContainerOptionsBuilder::new().signal(name).build();
                            // It may have ended at this very moment.
                            let _ = self.client.kill_container(id, Some(options)).await;
                        }
                        (Heard::Told(_), _) => return Err(subject.failed("it was interrupted")),
                    }
                    continue;
                }
            };
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| subject.error(&self.endpoint, error))?;
            if first && may_be_oci_error(frame.as_ref()) || !held.bytes.is_empty() {
                held.bytes.extend_from_slice(frame.as_ref());
                continue;
            }
            first = false;
            let open = match &frame {
                LogOutput::StdErr { message } => show(&mut stderr, message).await?,
                LogOutput::StdOut { message } => show(&mut stdout, message).await?,
                LogOutput::Console { message } if tty => show(&mut stdout, message).await?,
                LogOutput::Console { .. } | LogOutput::StdIn { .. } => {
                    return Err(subject.failed(BROKEN_FRAME));
                }
            };
            if !open {
                break;
            }
        }
        drop(feeder);
        Ok(held)
    }

    /// Gives the other terminal the size of ours; that it has just ended is no reason to fail.
    async fn fit(&self, resize: &Resize) -> bool {
        let Some((height, width)) = terminal::size() else {
            return true;
        };
        match resize {
            Resize::Exec(id) => {
                let options = ResizeExecOptions { height, width };
                self.client.resize_exec(id, options).await.is_ok()
            }
            Resize::Container(id) => {
                let options = ResizeContainerTTYOptionsBuilder::new()
                    .h(i32::from(height))
                    .w(i32::from(width))
                    .build();
                self.client.resize_container_tty(id, options).await.is_ok()
            }
        }
    }

    /// The first size: the engine may say that the command is not running yet.
    fn fit_soon(&self, resize: Resize) {
        let docker = self.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                if docker.fit(&resize).await {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
}

/// Writes at once; tells whether somebody still reads.
async fn show(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<bool, EngineError> {
    let written = async {
        to.write_all(bytes).await?;
        to.flush().await
    };
    match written.await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(EngineError::Other {
            action: "show the output".to_owned(),
            reason: error.to_string(),
        }),
    }
}

/// Our standard input on its way into a container.
struct Feeder(tokio::task::JoinHandle<()>);

impl Feeder {
    fn start(mut input: Pin<Box<dyn AsyncWrite + Send>>) -> Self {
        let mut chunks = stdin_chunks();
        Self(tokio::spawn(async move {
            while let Some(chunk) = chunks.recv().await {
                // The other side closed its input: the rest of ours is not wanted.
                if input.write_all(&chunk).await.is_err() {
                    return;
                }
            }
            let _ = input.shutdown().await;
            // Kept until the task is aborted: dropping it must not end the output.
            std::future::pending::<()>().await;
        }))
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Standard input in pieces, read by a plain thread: a read of `tokio::io::stdin` cannot be given
/// up and would hold the runtime until the user presses a key.
fn stdin_chunks() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 32 * 1024];
        while let Ok(read @ 1..) = io::stdin().read(&mut buffer) {
            if sender.blocking_send(buffer[..read].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

enum Heard {
    Resized,
    /// A signal that asks to end, by name.
    Told(&'static str),
}

/// The signals that concern an attached run.
struct Signals {
    resized: Option<Signal>,
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
}

impl Signals {
    /// In raw mode we must not die without putting the terminal back; with a container of our own
    /// we hand interrupts on. Otherwise the usual thing happens.
    fn listen(tty: bool, raw: bool, hand_on: bool) -> Self {
        let listen = |wanted: bool, kind| wanted.then(|| signal(kind).ok()).flatten();
        Self {
            resized: listen(tty, SignalKind::window_change()),
            interrupt: listen(hand_on && !raw, SignalKind::interrupt()),
            terminate: listen(hand_on || raw, SignalKind::terminate()),
        }
    }

    async fn next(&mut self) -> Heard {
        async fn heard(signal: Option<&mut Signal>) {
            let told = match signal {
                Some(signal) => signal.recv().await,
                None => None,
            };
            if told.is_none() {
                std::future::pending::<()>().await;
            }
        }
        tokio::select! {
            () = heard(self.resized.as_mut()) => Heard::Resized,
            () = heard(self.interrupt.as_mut()) => Heard::Told("SIGINT"),
            () = heard(self.terminate.as_mut()) => Heard::Told("SIGTERM"),
        }
    }
}
