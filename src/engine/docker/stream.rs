//! Commands whose output is data. Bollard makes the exec; it is started over a connection of our
//! own, since bollard's decoder takes a broken stream for an ordinary end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::oneshot;

use super::Docker;
use super::error::Subject;
use super::exec::{BROKEN_FRAME, OCI_ERROR, could_not_start};
use super::input::Input;
use super::tree::{self, Process};
use crate::engine::demux::{Broken, Demux, Source};
use crate::engine::{EngineError, ExecEnd, ExecSpec, ExecStream};

/// What is read at once: two frames of the engine.
const READ: usize = 64 << 10;

/// Standard error that is kept.
const MOST_STDERR: usize = 64 << 10;

/// The longest text of runc about a command that it could not start.
const LONGEST_OCI_ERROR: usize = 16 << 10;

/// How long a command's process is looked for after the start.
const FIND_PATIENCE: Duration = Duration::from_secs(10);

impl Docker {
    pub(super) async fn exec_as_stream(
        &self,
        id: &str,
        spec: &ExecSpec,
    ) -> Result<ExecStream, EngineError> {
        // A terminal would change the bytes.
        let spec = ExecSpec {
            tty: false,
            ..spec.clone()
        };
        let (subject, exec) = self.create_exec(id, &spec).await?;
        let start = self.start_over_own_connection(&subject, &exec);
        let (stream, first) = match tokio::time::timeout(self.patience, start).await {
            Ok(started) => started?,
            Err(_) => return Err(EngineError::Timeout(self.patience, subject.action())),
        };
        let run = Arc::new(Run {
            docker: self.clone(),
            subject,
            exec,
            state: Mutex::default(),
        });
        tokio::spawn(find(Arc::clone(&run)));
        let (read, write) = stream.into_split();
        // Without an input the write half stays open as long as the read half.
        let input = Input::new(write);
        let (tell, told) = oneshot::channel();
        let output = Output {
            guard: Guard(Arc::clone(&run)),
            read,
            demux: Demux::new(),
            input: first,
            opening: Some(BytesMut::new()),
            ended: Some(tell),
        };
        let output = stream::unfold(Some(output), |output| async {
            let mut output = output?;
            match output.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(output))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(ExecStream {
            input: spec.stdin.then(|| Box::pin(input) as _),
            output: output.boxed(),
            end: Box::pin(end(Guard(run), told)),
        })
    }

    /// `POST /exec/<id>/start`; the connection as it is after the upgrade, and what came with the head.
    async fn start_over_own_connection(
        &self,
        subject: &Subject,
        exec: &str,
    ) -> Result<(UnixStream, Bytes), EngineError> {
        let hung_up = |error: hyper::Error| subject.failed(format!("the engine hung up: {error}"));
        let path = self.endpoint.trim_start_matches("unix://");
        let stream = UnixStream::connect(path)
            .await
            .map_err(|error| EngineError::absent(&self.endpoint, &error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(hung_up)?;
        tokio::spawn(connection.with_upgrades());
        let body = Full::new(Bytes::from_static(br#"{"Detach":false,"Tty":false}"#));
        let request = Request::post(format!("/exec/{exec}/start"))
            .header(header::HOST, "docker")
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "tcp")
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| subject.failed(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(hung_up)?;
        let status = response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let body = Limited::new(response.into_body(), READ).collect().await;
            let body = body
                .map(http_body_util::Collected::to_bytes)
                .unwrap_or_default();
            return Err(subject.response(status.as_u16(), &message(&body)));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(hung_up)?;
        let parts = upgraded
            .downcast::<TokioIo<UnixStream>>()
            .map_err(|_| subject.failed("the engine did not connect us"))?;
        Ok((parts.io.into_inner(), parts.read_buf))
    }
}

/// What an error of the engine says: `{"message": "…"}`.
fn message(body: &[u8]) -> String {
    serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|value| value.get("message")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}

/// A started command.
struct Run {
    docker: Docker,
    subject: Subject,
    exec: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Its first process, once the engine has told.
    process: Option<Process>,
    /// It has ended, or its end is being brought about.
    over: bool,
    /// Nobody waits for it any more, but its process is not known yet.
    unwanted: bool,
    /// The end of its standard error.
    stderr: Vec<u8>,
}

impl Run {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn code(&self) -> Result<i64, EngineError> {
        let code = self.docker.exec_code(&self.subject, &self.exec).await?;
        self.state().over = true;
        Ok(code)
    }

    fn keep_stderr(&self, bytes: &[u8]) {
        let stderr = &mut self.state().stderr;
        stderr.extend_from_slice(bytes);
        // Not at every piece: moving 64 KiB for each line would take its time.
        if stderr.len() > 2 * MOST_STDERR {
            stderr.drain(..stderr.len() - MOST_STDERR);
        }
    }

    fn stderr(&self) -> String {
        let state = self.state();
        let from = state.stderr.len().saturating_sub(MOST_STDERR);
        String::from_utf8_lossy(&state.stderr[from..]).into_owned()
    }

    /// Ends the command. Called from `drop`: what can be done at once is done at once, and before
    /// the connection is closed, which the command may take for the end of its input.
    fn abandon(self: &Arc<Self>) {
        let process = {
            let mut state = self.state();
            if state.over {
                return;
            }
            state.unwanted = true;
            state.over = state.process.is_some();
            state.process
        };
        // Without a process, `find` is on its way.
        if let Some(process) = process {
            self.end(process);
        }
    }

    fn end(self: &Arc<Self>, process: Process) {
        if tree::ask_leaves(process) {
            std::thread::spawn(move || tree::end(process));
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let run = Arc::clone(self);
            runtime.spawn(async move { run.end_from_inside(process).await });
        }
    }

    /// Who may not signal processes of other users, but may use the engine, has `kill` run in the
    /// container.
    async fn end_from_inside(&self, process: Process) {
        for signal in ["-TERM", "-TERM", "-KILL", "-KILL"] {
            let leaves = tree::leaves_inside(process);
            let Ok(container) = self.container().await else {
                return;
            };
            if leaves.is_empty() {
                return;
            }
            let mut command = vec!["kill".to_owned(), signal.to_owned()];
            command.extend(leaves);
            let spec = ExecSpec {
                command,
                user: Some("0".to_owned()),
                ..ExecSpec::default()
            };
            if self.docker.exec_to_end(&container, &spec).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn container(&self) -> Result<String, EngineError> {
        let call = self.docker.client.inspect_exec(&self.exec);
        let state = self.docker.call(&self.subject, call).await?;
        Ok(state.container_id.unwrap_or_default())
    }
}

/// Learns the first process of the command, and ends it if nobody wants it any more by then.
async fn find(run: Arc<Run>) {
    let search = async {
        let mut pause = Duration::from_millis(2);
        loop {
            let call = run.docker.client.inspect_exec(&run.exec);
            let seen = run.docker.call(&run.subject, call).await.ok()?;
            if seen.exit_code.is_some() && seen.running == Some(false) {
                return None;
            }
            if let Some(pid @ 1..) = seen.pid {
                return Process::in_container(
                    pid,
                    seen.container_id.as_deref().unwrap_or_default(),
                );
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    };
    let Ok(Some(process)) = tokio::time::timeout(FIND_PATIENCE, search).await else {
        return;
    };
    let unwanted = {
        let mut state = run.state();
        state.process = Some(process);
        let unwanted = state.unwanted && !state.over;
        state.over |= unwanted;
        unwanted
    };
    if unwanted {
        run.end(process);
    }
}

/// Ends the command when it is dropped before the command has ended.
struct Guard(Arc<Run>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// The reading side. The guard stands first: it is dropped before the connection.
struct Output {
    guard: Guard,
    read: OwnedReadHalf,
    demux: Demux,
    /// Read, not taken apart yet.
    input: Bytes,
    /// The first bytes of standard output, as long as they may be runc's words.
    opening: Option<BytesMut>,
    /// Told when the stream has ended as it should.
    ended: Option<oneshot::Sender<()>>,
}

impl Output {
    /// The next bytes of standard output, `None` at its clean end.
    async fn next(&mut self) -> Result<Option<Bytes>, EngineError> {
        loop {
            if let Some(bytes) = self.take_apart().map_err(|broken| self.broken(broken))? {
                return Ok(Some(bytes));
            }
            let mut buffer = BytesMut::with_capacity(READ);
            let read = self.read.read_buf(&mut buffer).await.map_err(|error| {
                let reason = format!("the engine hung up: {error}");
                self.guard.0.subject.failed(reason)
            })?;
            if read == 0 {
                return self.finish().await;
            }
            self.input = buffer.freeze();
        }
    }

    /// What the bytes at hand hold of standard output, in one piece.
    fn take_apart(&mut self) -> Result<Option<Bytes>, Broken> {
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(piece) = self.demux.next(&mut self.input)? {
            match piece.source {
                Source::Stderr => self.guard.0.keep_stderr(&piece.bytes),
                Source::Stdout if first.is_empty() => first = piece.bytes,
                Source::Stdout => {
                    if all.is_empty() {
                        all.reserve(READ);
                        all.extend_from_slice(&first);
                    }
                    all.extend_from_slice(&piece.bytes);
                }
            }
        }
        let bytes = if all.is_empty() { first } else { all.freeze() };
        Ok(self.admit(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// Holds back what may be runc's text about a command that it could not start.
    fn admit(&mut self, bytes: Bytes) -> Option<Bytes> {
        let Some(held) = &mut self.opening else {
            return Some(bytes);
        };
        held.extend_from_slice(&bytes);
        let whole = held.len() >= OCI_ERROR.len();
        let may_be = if whole {
            held.starts_with(OCI_ERROR) && held.len() <= LONGEST_OCI_ERROR
        } else {
            OCI_ERROR.starts_with(held)
        };
        if may_be {
            return None;
        }
        self.opening.take().map(BytesMut::freeze)
    }

    async fn finish(&mut self) -> Result<Option<Bytes>, EngineError> {
        self.demux.finish().map_err(|broken| self.broken(broken))?;
        let run = &self.guard.0;
        if let Some(held) = self.opening.take().filter(|held| !held.is_empty()) {
            let held = held.freeze();
            let code = run.code().await?;
            if let Some(error) = could_not_start(&run.subject, code, &held) {
                return Err(error);
            }
            return Ok(Some(held));
        }
        if let Some(ended) = self.ended.take() {
            // Nobody may want to know.
            let _ = ended.send(());
        }
        Ok(None)
    }

    fn broken(&self, broken: Broken) -> EngineError {
        let reason = format!("{BROKEN_FRAME}: {broken}");
        self.guard.0.subject.failed(reason)
    }
}

/// The verdict on the command.
async fn end(guard: Guard, output: oneshot::Receiver<()>) -> Result<ExecEnd, EngineError> {
    let run = &guard.0;
    if output.await.is_err() {
        return Err(run.subject.failed("its output was not read to the end"));
    }
    let code = run.code().await?;
    Ok(ExecEnd {
        code,
        stderr: run.stderr(),
    })
}
