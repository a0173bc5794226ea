//! Reading: a connection that breaks is taken up again where it broke.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;

use super::super::exact::Exact;
use super::super::{Reading, StorageError};
use super::attempt::pause;
use super::{Bucket, Failure, Storage as _};

/// Pieces that wait for the reader; hyper makes them of up to some 400 KiB.
const AHEAD: usize = 4;

pub(super) async fn open(
    bucket: Bucket,
    key: String,
    full: String,
) -> Result<Reading, StorageError> {
    let first = get(&bucket, &full, None).await.map_err(|failure| {
        if failure.is_absent() && !failure.is_bucket_absent() {
            StorageError::Missing(key.clone())
        } else {
            bucket.error(&failure, &format!("read `{key}`"), &key)
        }
    })?;
    let length = first.content_length().and_then(|n| u64::try_from(n).ok());
    let Some(length) = length else {
        return Err(StorageError::Other {
            place: bucket.place(),
            action: format!("read `{key}`"),
            reason: "the store does not tell its size".to_owned(),
        });
    };
    let (sender, receiver) = mpsc::channel(AHEAD);
    let name = key.clone();
    tokio::spawn(async move {
        let pump = Pump {
            tag: first.e_tag().map(str::to_owned),
            bucket,
            full,
            length,
            seen: 0,
        };
        if let Err(failure) = pump.run(first, &sender).await {
            let text = format!("failed to read `{key}`: {}", failure.reason);
            let _ = sender.send(Err(io::Error::other(text))).await;
        }
    });
    let pieces = Pieces {
        receiver,
        current: Bytes::new(),
    };
    // Whatever ends the pieces early, a panic included, is an error there.
    Ok(Box::new(Exact::new(pieces, name, length)))
}

async fn get(
    bucket: &Bucket,
    full: &str,
    range: Option<(u64, Option<String>)>,
) -> Result<GetObjectOutput, Failure> {
    bucket
        .attempt(|watch| {
            let (from, tag) = match &range {
                Some((from, tag)) => (Some(format!("bytes={from}-")), tag.clone()),
                None => (None, None),
            };
            bucket
                .client()
                .get_object()
                .bucket(bucket.bucket())
                .key(full)
                .set_range(from)
                .set_if_match(tag)
                .customize()
                .interceptor(watch)
                .send()
        })
        .await
}

struct Pump {
    bucket: Bucket,
    full: String,
    tag: Option<String>,
    length: u64,
    seen: u64,
}

impl Pump {
    /// Ends well when everything was handed over, or when nobody reads any more.
    async fn run(
        mut self,
        mut answer: GetObjectOutput,
        to: &mpsc::Sender<io::Result<Bytes>>,
    ) -> Result<(), Failure> {
        let patience = self.bucket.patience();
        let mut attempt = 1;
        loop {
            let before = self.seen;
            let failure = match self.drain(&mut answer, to).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if self.seen > before {
                attempt = 1;
            }
            if attempt >= patience.attempts {
                return Err(failure);
            }
            pause(patience, attempt).await;
            attempt += 1;
            let range = (self.seen, self.tag.clone());
            answer = get(&self.bucket, &self.full, Some(range)).await?;
            // Without this, a store that knows no ranges would begin anew in the middle.
            let promised = format!("bytes {}-", self.seen);
            let continued = answer
                .content_range()
                .is_some_and(|r| r.starts_with(&promised));
            if self.seen > 0 && !continued {
                return Err(failure);
            }
        }
    }

    async fn drain(
        &mut self,
        answer: &mut GetObjectOutput,
        to: &mpsc::Sender<io::Result<Bytes>>,
    ) -> Result<(), Failure> {
        let idle = self.bucket.patience().idle;
        loop {
            let piece = tokio::time::timeout(idle, answer.body.next()).await;
            match piece {
                Ok(Some(Ok(piece))) => {
                    self.seen += piece.len() as u64;
                    if to.send(Ok(piece)).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(None) if self.seen >= self.length => return Ok(()),
                Ok(None) => {
                    return Err(Failure::broken(format!(
                        "it ended after {} of {} bytes",
                        self.seen, self.length
                    )));
                }
                Ok(Some(Err(error))) => return Err(Failure::broken(error.to_string())),
                Err(_) => {
                    return Err(Failure::broken(format!(
                        "nothing came for {} s",
                        idle.as_secs_f64()
                    )));
                }
            }
        }
    }
}

struct Pieces {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl AsyncRead for Pieces {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.current.is_empty() {
            match ready!(this.receiver.poll_recv(context)) {
                Some(piece) => this.current = piece?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let step = buffer.remaining().min(this.current.len());
        buffer.put_slice(&this.current.split_to(step));
        Poll::Ready(Ok(()))
    }
}
