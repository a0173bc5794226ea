//! A command in a container whose standard output is data.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use tokio::io::AsyncWrite;

use super::EngineError;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecEnd {
    /// Its exit code, as the engine told it after the command had ended: never a guess.
    pub code: i64,
    /// The end of what it wrote to standard error (at most 64 KiB), lossily text.
    pub stderr: String,
}

/// A running command. Dropping it kills the command's whole process tree, best effort.
pub struct ExecStream {
    /// Its standard input, where it was asked for; `shutdown` is the end of file. Dropping it is
    /// none: half a script must not look like a whole one.
    pub input: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// Its standard output in pieces. A connection that breaks off, a cut or unknown frame is an
    /// error; the end of the stream alone proves nothing.
    pub output: BoxStream<'static, Result<Bytes, EngineError>>,
    /// To be awaited after `output` has ended, or together with it: polls until the engine says
    /// that the command does not run any more and tells its exit code; no code within 10 s is an
    /// error, and so is an output that was not read to its end.
    pub end: Pin<Box<dyn Future<Output = Result<ExecEnd, EngineError>> + Send>>,
}
