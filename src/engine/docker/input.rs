//! The input of a command.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::net::unix::OwnedWriteHalf;

/// The writing side of a command's connection. `shutdown` is the end of file; dropping it is none:
/// half a script must not look like a whole one.
pub(super) struct Input(Option<OwnedWriteHalf>);

impl Input {
    pub(super) fn new(half: OwnedWriteHalf) -> Self {
        Self(Some(half))
    }

    fn half(&mut self) -> io::Result<Pin<&mut OwnedWriteHalf>> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.as_mut().map(Pin::new).ok_or_else(gone)
    }
}

impl AsyncWrite for Input {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.half()?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half()?.poll_shutdown(cx)
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(half) = self.0.take() {
            half.forget();
        }
    }
}
