//! A reader that knows how much must come: an end that comes early is an error.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Passes bytes on and fails unless there are exactly as many as were announced.
pub(super) struct Exact<R> {
    inner: R,
    what: String,
    expected: u64,
    seen: u64,
}

impl<R> Exact<R> {
    /// `what` is named in the error.
    pub(super) fn new(inner: R, what: impl Into<String>, expected: u64) -> Self {
        Self {
            inner,
            what: what.into(),
            expected,
            seen: 0,
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Exact<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        this.seen += read as u64;
        let ended_early = read == 0 && this.seen < this.expected;
        if ended_early || this.seen > this.expected {
            // An error must not come with bytes: callers rely on it.
            buffer.set_filled(before);
            let (what, seen, expected) = (&this.what, this.seen, this.expected);
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("`{what}` gave {seen} bytes where {expected} were announced"),
            )));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn only_the_announced_length_is_a_clean_end() {
        for (expected, good) in [(4, false), (5, true), (6, false)] {
            let mut all = Vec::new();
            let read = Exact::new(&b"hello"[..], "x", expected)
                .read_to_end(&mut all)
                .await;
            assert_eq!(read.is_ok(), good, "{expected}: {read:?}");
        }
    }
}
