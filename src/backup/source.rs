//! The bytes of a dump on their way out of a container, and the verdict on them: the tool's exit
//! code first, then the end of what it wrote. Both must hold, and nothing else proves a dump.
//!
//! Two transports: the exec stream, and a named pipe in a folder that is mounted into the container,
//! which spares the engine's small frames. The pipe is used where the folder is there; what it cannot
//! do, the stream does.

mod fifo;
mod proof;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;

use self::fifo::Fifo;
use self::proof::Proof;
use super::error::BackupError;
use super::manifest::DatabaseRecord;
use crate::database::{
    self, Access, DatabaseEngine, Dump, EndCheck, Facts, Format, Invocation, Tool, What,
};
use crate::engine::{Container, Engine, EngineError, ExecEnd, ExecSpec, ExecStream};

/// Where the folder of the pipes lies in a container.
pub use crate::render::PIPES;

/// How long a dump may be silent: a table that is locked lets a tool wait for ever.
pub const IDLE: Duration = Duration::from_mins(10);

/// Lines of standard error that an error shows.
const SHOWN: usize = 6;

/// What was asked of a server before its dumps.
#[derive(Debug, Clone)]
pub struct Look {
    /// What runs there.
    pub engine: DatabaseEngine,
    /// What it tells.
    pub facts: Facts,
    /// What dumps it.
    pub tool: Tool,
}

/// Asks a server what there is, and with which tool.
pub async fn look(
    engine: &dyn Engine,
    container: &Container,
    kind: DatabaseEngine,
    access: &Access,
) -> Result<Look, BackupError> {
    let ways = database::of(kind);
    let mut tool = None;
    for program in ways.programs() {
        let ask = Invocation {
            command: vec![(*program).to_owned(), "--version".to_owned()],
            ..Invocation::default()
        };
        match ask_text(engine, container, &ask).await {
            Ok(version) => {
                let version = version.lines().next().unwrap_or_default().trim().to_owned();
                let program = (*program).to_owned();
                tool = Some(Tool { program, version });
                break;
            }
            Err(BackupError::Engine(EngineError::NotFound {
                kind: "command", ..
            })) => {}
            Err(error) => return Err(error),
        }
    }
    let tool = tool.ok_or_else(|| {
        let names = ways.programs().join("`, `");
        BackupError::Usage(format!(
            "`{}` has none of the tools that dump: `{names}`",
            container.name
        ))
    })?;
    let answer = ask_text(engine, container, &ways.question(access)).await?;
    let facts = ways
        .facts(answer.as_bytes())
        .map_err(|reason| BackupError::Other(format!("`{}`: {reason}", container.name)))?;
    Ok(Look {
        engine: kind,
        facts,
        tool,
    })
}

/// Runs an invocation to its end; its output. Any exit code but 0 is an error with what it said.
pub async fn ask_text(
    engine: &dyn Engine,
    container: &Container,
    invocation: &Invocation,
) -> Result<String, BackupError> {
    let mut stream = start(engine, container, invocation).await?;
    let mut output = Vec::new();
    while let Some(piece) = stream.output.next().await {
        output.extend_from_slice(&piece?);
    }
    ended(container, invocation, &stream.end.await?)?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

/// Starts an invocation and gives it its input.
async fn start(
    engine: &dyn Engine,
    container: &Container,
    invocation: &Invocation,
) -> Result<ExecStream, EngineError> {
    let spec = exec_spec(invocation, invocation.input.is_some());
    let mut stream = engine.exec_stream(&container.id, &spec).await?;
    if let (Some(mut input), Some(text)) = (stream.input.take(), invocation.input.clone()) {
        // Not here: it may want to write before it reads all.
        tokio::spawn(async move {
            if input.write_all(text.expose().as_bytes()).await.is_ok() {
                let _ = input.shutdown().await;
            }
        });
    }
    Ok(stream)
}

/// An invocation as a command for the engine, with a standard input or without.
#[must_use]
pub fn exec_spec(invocation: &Invocation, stdin: bool) -> ExecSpec {
    let environment = invocation.environment.iter();
    ExecSpec {
        command: invocation.command.clone(),
        environment: environment
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect(),
        user: invocation.user.clone(),
        stdin,
        ..ExecSpec::default()
    }
}

/// Whether a command ended well; the error shows what it said last.
fn ended(container: &Container, invocation: &Invocation, end: &ExecEnd) -> Result<(), BackupError> {
    if end.code == 0 {
        return Ok(());
    }
    let program = invocation.command.first().map_or("", String::as_str);
    let mut text = format!(
        "`{program}` in `{}` ended with {}",
        container.name, end.code
    );
    let lines: Vec<&str> = end.stderr.lines().collect();
    for line in &lines[lines.len().saturating_sub(SHOWN)..] {
        text.push_str("\n  | ");
        text.push_str(line);
    }
    Err(BackupError::Other(text))
}

/// What a dump has proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// argv of the tool; never holds a secret.
    pub command: Vec<String>,
    /// Its exit code.
    pub exit_code: i64,
    /// How the end was recognised.
    pub end_check: String,
    /// `snapshot`, `oplog` or `per collection`.
    pub consistency: &'static str,
    /// `stream` or `fifo`.
    pub transport: &'static str,
}

impl Verdict {
    /// The record for the manifest; the name of the object is still to be given.
    #[must_use]
    pub fn record(self, service: &str, look: &Look, what: What<'_>) -> DatabaseRecord {
        let database = match what {
            What::Database(name) => name,
            What::Globals | What::Server => "",
        };
        DatabaseRecord {
            service: service.to_owned(),
            engine: look.engine.name().to_owned(),
            database: database.to_owned(),
            object: String::new(),
            server_version: look.facts.server_version.clone(),
            client_version: look.tool.version.clone(),
            command: self.command,
            exit_code: self.exit_code,
            end_check: self.end_check,
            consistency: self.consistency.to_owned(),
            transport: self.transport.to_owned(),
            tables: None,
        }
    }
}

/// A dump under way. Dropping it ends the tool.
pub struct Source {
    container: Container,
    invocation: Invocation,
    consistency: &'static str,
    /// What its bytes are.
    pub format: Format,
    check: Box<dyn EndCheck>,
    proof: Option<Proof>,
    way: Way,
    idle: Duration,
}

/// How the bytes come.
enum Way {
    Stream(ExecStream),
    Fifo(Fifo),
    /// All of it is there.
    Ready(Option<Bytes>),
}

impl Source {
    /// Starts the dump. `idle` is how long it may be silent, usually [`IDLE`].
    pub async fn start(
        engine: &Arc<dyn Engine>,
        container: &Container,
        access: &Access,
        look: &Look,
        what: What<'_>,
        idle: Duration,
    ) -> Result<Self, BackupError> {
        let ways = database::of(look.engine);
        let plan = |to: Option<&str>| ways.dump(access, &look.tool, &look.facts, what, to);
        let begun = |dump: Dump, way, proof| Self {
            container: container.clone(),
            check: ways.end_check(dump.format, what),
            invocation: dump.invocation,
            consistency: dump.consistency,
            format: dump.format,
            proof,
            way,
            idle,
        };
        let Some(dump) = plan(None) else {
            return Self::users(engine.as_ref(), container, access, look, what).await;
        };
        if let Some(mut fifo) = fifo::Place::in_container(container).and_then(|p| p.fifo())
            && let Some(dump) = plan(Some(&fifo.inside()))
        {
            let stream = self::start(engine.as_ref(), container, &dump.invocation).await?;
            if fifo.connected(stream).await {
                let proof = Proof::start(engine, container, &dump).await?;
                return Ok(begun(dump, Way::Fifo(fifo), proof));
            }
        }
        let proof = Proof::start(engine, container, &dump).await?;
        let stream = self::start(engine.as_ref(), container, &dump.invocation).await?;
        Ok(begun(dump, Way::Stream(stream), proof))
    }

    /// Users of a server whose tool does not dump them.
    async fn users(
        engine: &dyn Engine,
        container: &Container,
        access: &Access,
        look: &Look,
        what: What<'_>,
    ) -> Result<Self, BackupError> {
        let ways = database::of(look.engine);
        let users = ways
            .users(access)
            .ok_or_else(|| BackupError::Other("there is no way to dump that".to_owned()))?;
        let list = ask_text(engine, container, &users.list).await?;
        let script = (users.script)(&list);
        let mut show = users.show;
        show.input = Some(crate::secret::Secret::new(script.clone()));
        let answer = ask_text(engine, container, &show).await?;
        let text = (users.text)(&answer, &script)
            .map_err(|reason| BackupError::Other(format!("`{}`: {reason}", container.name)))?;
        Ok(Self {
            container: container.clone(),
            invocation: show,
            consistency: "snapshot",
            format: Format::Sql,
            check: ways.end_check(Format::Sql, what),
            proof: None,
            way: Way::Ready(Some(Bytes::from(text))),
            idle: IDLE,
        })
    }

    /// The next bytes; `None` at the end, which [`Self::finish`] has to judge.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BackupError> {
        let next = async {
            match &mut self.way {
                Way::Stream(stream) => stream.output.next().await.transpose().map_err(Into::into),
                Way::Fifo(fifo) => fifo.next().await,
                Way::Ready(bytes) => Ok(bytes.take()),
            }
        };
        let Ok(next) = tokio::time::timeout(self.idle, next).await else {
            return Err(self.silent());
        };
        let next = next?;
        if let Some(bytes) = &next {
            self.check.feed(bytes);
            if let Some(proof) = &mut self.proof {
                let fed = tokio::time::timeout(self.idle, proof.feed(bytes.clone())).await;
                if fed.is_err() {
                    return Err(self.silent());
                }
            }
        }
        Ok(next)
    }

    fn silent(&self) -> BackupError {
        let program = self.invocation.command.first().map_or("", String::as_str);
        BackupError::Other(format!(
            "`{program}` in `{}` was silent for {:?} and was ended",
            self.container.name, self.idle
        ))
    }

    /// The verdict, after the last byte: the exit code, then the end of what was written.
    pub async fn finish(self) -> Result<Verdict, BackupError> {
        let (transport, end) = match self.way {
            Way::Stream(stream) => ("stream", stream.end.await?),
            Way::Fifo(fifo) => {
                let end = tokio::time::timeout(self.idle, fifo.end()).await;
                let silent = || {
                    BackupError::Other(format!(
                        "the tool in `{}` does not end",
                        self.container.name
                    ))
                };
                ("fifo", end.map_err(|_| silent())??)
            }
            Way::Ready(_) => (
                "stream",
                ExecEnd {
                    code: 0,
                    stderr: String::new(),
                },
            ),
        };
        ended(&self.container, &self.invocation, &end)?;
        let program = self.invocation.command.first().map_or("", String::as_str);
        let end_check = self.check.finish().map_err(|reason| {
            BackupError::Other(format!(
                "what `{program}` in `{}` gave is not whole, though it ended with 0: {reason}",
                self.container.name
            ))
        })?;
        if let Some(proof) = self.proof {
            proof.finish(self.idle).await?;
        }
        Ok(Verdict {
            command: self.invocation.command,
            exit_code: end.code,
            end_check,
            consistency: self.consistency,
            transport,
        })
    }
}
