//! An object of a snapshot on its way back: what is stored is hashed and counted, decrypted,
//! decompressed and counted again. Anything wrong with it is an error at the end at the latest,
//! never a clean end.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use crate::backup::destination::Target;
use crate::backup::encryption::Key;
use crate::backup::error::BackupError;
use crate::backup::manifest::{Manifest, ObjectRecord};
use crate::backup::pipeline::{PIECE, QUEUE, hex};
use crate::storage::Reading;

/// Pieces, and after the last one an empty piece: a queue that just closes is no end.
type Pieces = mpsc::Receiver<io::Result<Bytes>>;

/// Opens an object for its plain bytes, with the key that config.yml names.
/// [`BackupError::of_io`] tells what an error of the reading means.
pub async fn open(
    target: &Target,
    manifest: &Manifest,
    object: &ObjectRecord,
) -> Result<Reading, BackupError> {
    open_with(target, None, manifest, object).await
}

/// The same with another key than the destination's own.
pub async fn open_with(
    target: &Target,
    key: Option<Arc<Key>>,
    manifest: &Manifest,
    object: &ObjectRecord,
) -> Result<Reading, BackupError> {
    let (plain_name, key) = match object.name.strip_suffix(".age") {
        None => (object.name.as_str(), None),
        Some(name) => (name, Some(key_of(target, key).await?)),
    };
    let compressed = plain_name.strip_suffix(".zst").is_some();
    let stored = target
        .storage
        .read(&format!("{}{}", manifest.prefix(), object.name))
        .await?;
    let (feed, pieces) = mpsc::channel(QUEUE);
    let (verdict, whole) = oneshot::channel();
    tokio::spawn(fetch(stored, object.clone(), feed, verdict));
    let (output, plain) = mpsc::channel(QUEUE);
    let (ready, begun) = oneshot::channel();
    let expected = object.clone();
    spawn_blocking(move || {
        let input = Incoming {
            pieces,
            now: Bytes::new(),
            ended: false,
        };
        let opened = match &key {
            None => Ok(Box::new(input) as Box<dyn Read>),
            Some(key) => key.open(input).map(|r| Box::new(r) as Box<dyn Read>),
        };
        let input = match opened {
            Ok(input) => {
                let _ = ready.send(Ok(()));
                input
            }
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        let result = unpack(input, compressed, &expected, &output, whole);
        // An empty piece is the end; that the reader has gone is nobody's trouble.
        let _ = output.blocking_send(result.map(|()| Bytes::new()));
    });
    match begun.await {
        Ok(Ok(())) => Ok(Box::new(Plain {
            pieces: plain,
            now: Bytes::new(),
            ended: false,
        })),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(BackupError::Other(format!(
            "failed to open `{}`",
            object.name
        ))),
    }
}

async fn key_of(target: &Target, key: Option<Arc<Key>>) -> Result<Arc<Key>, BackupError> {
    if let Some(key) = key {
        return Ok(key);
    }
    let Some(encryption) = target.encryption.clone() else {
        return Err(BackupError::WrongKey(format!(
            "the snapshot is encrypted, and `{}` has no `encryption:` in config.yml",
            target.name
        )));
    };
    let name = target.name.clone();
    // A passphrase takes a second of work.
    spawn_blocking(move || Key::of(&name, &encryption).map(Arc::new))
        .await
        .unwrap_or_else(|_| Err(BackupError::Other("failed to read the key".into())))
}

/// Reads what is stored, hands it on, and tells at the end whether it is what was stored once.
async fn fetch(
    mut stored: Reading,
    object: ObjectRecord,
    feed: mpsc::Sender<io::Result<Bytes>>,
    verdict: oneshot::Sender<io::Result<()>>,
) {
    let mut hash = Sha256::new();
    let mut bytes = 0_u64;
    let mut wanted = true;
    let end = loop {
        let mut piece = Vec::with_capacity(PIECE);
        match (&mut stored)
            .take(PIECE as u64)
            .read_to_end(&mut piece)
            .await
        {
            Ok(0) => break Ok(()),
            Ok(count) => bytes += count as u64,
            Err(error) => break Err(error),
        }
        hash.update(&piece);
        // What follows the end of the decompressed data belongs to the hash all the same; who has
        // gone altogether wants no verdict either.
        wanted = wanted && feed.send(Ok(piece.into())).await.is_ok();
        if !wanted && verdict.is_closed() {
            return;
        }
    };
    let end = end.and_then(|()| check(&object, bytes, &hex(hash)));
    let last = match &end {
        Ok(()) => Ok(Bytes::new()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    };
    let _ = verdict.send(end);
    let _ = feed.send(last).await;
}

fn check(object: &ObjectRecord, bytes: u64, sha256: &str) -> io::Result<()> {
    let name = &object.name;
    let damaged = |what: String| Err(BackupError::Damaged(what).into_io());
    if bytes != object.stored_bytes {
        return damaged(format!(
            "`{name}` has {bytes} bytes, and had {} when it was stored",
            object.stored_bytes
        ));
    }
    if sha256 != object.sha256 {
        return damaged(format!(
            "`{name}` is not what was stored: its SHA-256 is another"
        ));
    }
    Ok(())
}

/// Decompresses into pieces. Blocks.
fn unpack(
    input: Box<dyn Read>,
    compressed: bool,
    object: &ObjectRecord,
    output: &mpsc::Sender<io::Result<Bytes>>,
    mut whole: oneshot::Receiver<io::Result<()>>,
) -> io::Result<()> {
    let mut input = if compressed {
        Box::new(zstd::stream::read::Decoder::new(input)?) as Box<dyn Read>
    } else {
        input
    };
    let mut plain = 0_u64;
    let result = loop {
        let mut piece = Vec::with_capacity(PIECE);
        match (&mut input).take(PIECE as u64).read_to_end(&mut piece) {
            Ok(0) => break Ok(()),
            Ok(count) => plain += count as u64,
            Err(error) => break Err(error),
        }
        if output.blocking_send(Ok(piece.into())).is_err() {
            whole.close();
            return Ok(());
        }
    };
    // Lets the rest be hashed, if there is one.
    drop(input);
    let stored = whole
        .blocking_recv()
        .unwrap_or_else(|_| Err(io::ErrorKind::UnexpectedEof.into()));
    // Damage of what is stored explains what age or zstd say of it.
    stored?;
    result.map_err(|e| {
        BackupError::Damaged(format!("`{}` cannot be unpacked: {e}", object.name)).into_io()
    })?;
    if plain != object.plain_bytes {
        return Err(BackupError::Damaged(format!(
            "`{}` unpacks to {plain} bytes instead of {}",
            object.name, object.plain_bytes
        ))
        .into_io());
    }
    Ok(())
}

/// Takes pieces on a blocking thread.
struct Incoming {
    pieces: Pieces,
    now: Bytes,
    ended: bool,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() && !self.ended {
            self.now = next(self.pieces.blocking_recv(), &mut self.ended)?;
        }
        let count = buffer.len().min(self.now.len());
        self.now.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

fn next(received: Option<io::Result<Bytes>>, ended: &mut bool) -> io::Result<Bytes> {
    let piece = received.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))?;
    *ended = piece.is_empty();
    Ok(piece)
}

/// The plain bytes.
struct Plain {
    pieces: Pieces,
    now: Bytes,
    ended: bool,
}

impl AsyncRead for Plain {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.now.is_empty() && !self.ended {
            let received = ready!(self.pieces.poll_recv(context));
            let mut ended = false;
            self.now = next(received, &mut ended)?;
            self.ended = ended;
        }
        let count = buffer.remaining().min(self.now.len());
        buffer.put_slice(&self.now.split_to(count));
        Poll::Ready(Ok(()))
    }
}
