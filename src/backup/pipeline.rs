//! How bytes travel from a source to its destinations, each stage on its own, with bounded queues
//! between them: what is slow slows the source down, and memory stays flat.
//!
//! ```text
//! pieces -> compress (once; a thread) -> per destination: encrypt (a thread) -> hash, count, upload (a task)
//! ```
//!
//! The end of the data is a message of its own. A queue that just closes means that somebody gave
//! up: then nothing is finished anywhere.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::{Receiver, Sender};

use crate::backup::encryption::{Seal, Sealing};
use crate::backup::error::BackupError;
use crate::storage::{Storage, StorageError};

/// Bytes that travel between two stages at once.
pub(super) const PIECE: usize = 256 * 1024;
/// Pieces that wait before a stage: 1 MiB.
pub(super) const QUEUE: usize = 4;
/// zstd's level: 3 is its own default, and on one core faster than any database dumps.
const LEVEL: i32 = 3;
/// A destination that takes nothing for so long has failed. Stores try again by themselves for a
/// while before that; completing a large upload takes its time.
const PATIENCE: Duration = Duration::from_mins(15);

/// What happens to bytes before they are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// They are compressed already.
    None,
    /// zstd, level 3, with a checksum.
    Zstd,
}

/// What travels.
#[derive(Debug)]
pub(super) enum Piece {
    Data(Bytes),
    End,
}

/// Collects what is written into pieces and gives them to `give`.
struct Collector<F: FnMut(Piece) -> io::Result<()>> {
    buffer: Vec<u8>,
    give: F,
}

impl<F: FnMut(Piece) -> io::Result<()>> Collector<F> {
    fn new(give: F) -> Self {
        Self {
            buffer: Vec::with_capacity(PIECE),
            give,
        }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        (self.give)(Piece::Data(full.into()))
    }

    /// The data is whole.
    fn end(mut self) -> io::Result<()> {
        self.pass_on()?;
        (self.give)(Piece::End)
    }
}

impl<F: FnMut(Piece) -> io::Result<()>> Write for Collector<F> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = data.len().min(PIECE - self.buffer.len());
        self.buffer.extend_from_slice(&data[..taken]);
        if self.buffer.len() == PIECE {
            self.pass_on()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn nobody() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes it any more")
}

/// The first stage: compresses, and gives every destination the same pieces. One that is gone is
/// left out; when all are gone, so is the stage. Blocks.
pub(super) fn compress(
    compression: Compression,
    mut input: Receiver<Piece>,
    mut lanes: Vec<Sender<Piece>>,
) -> io::Result<()> {
    let alone = lanes.is_empty();
    let collector = Collector::new(move |piece| {
        lanes.retain(|lane| {
            let copy = match &piece {
                Piece::Data(bytes) => Piece::Data(bytes.clone()),
                Piece::End => Piece::End,
            };
            lane.blocking_send(copy).is_ok()
        });
        if lanes.is_empty() && !alone {
            return Err(nobody());
        }
        Ok(())
    });
    match compression {
        Compression::None => take_all(&mut input, collector)?.end(),
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(collector, LEVEL)?;
            encoder.include_checksum(true)?;
            take_all(&mut input, encoder)?.finish()?.end()
        }
    }
}

/// Encrypts; an error is one of the key. That somebody gave up is seen by the next stage, whose queue
/// ends without an end. Blocks.
pub(super) fn encrypt(
    seal: &Seal,
    mut input: Receiver<Piece>,
    output: &Sender<Piece>,
) -> Result<(), BackupError> {
    let collector = Collector::new(|piece| output.blocking_send(piece).map_err(|_| nobody()));
    let Ok(sealing) = seal.begin(collector)? else {
        return Ok(());
    };
    let _ = take_all(&mut input, sealing)
        .and_then(Sealing::finish)
        .and_then(Collector::end);
    Ok(())
}

/// Writes everything up to the end of the data; a queue that ends without one is an error.
fn take_all<W: Write>(input: &mut Receiver<Piece>, mut output: W) -> io::Result<W> {
    loop {
        match input.blocking_recv() {
            Some(Piece::Data(bytes)) => output.write_all(&bytes)?,
            Some(Piece::End) => return Ok(output),
            None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    }
}

/// An object as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// The last stage: hashes, counts and uploads. `Ok(None)` when the source or somebody else gave up;
/// nothing is left behind then. The object is visible when it has returned `Some`.
pub(super) async fn deliver(
    storage: &Arc<dyn Storage>,
    key: &str,
    mut input: Receiver<Piece>,
    given_up: impl Fn() -> bool + Send,
) -> Result<Option<Stored>, BackupError> {
    let mut upload = patiently(storage, storage.upload(key)).await?;
    let mut hash = Sha256::new();
    let mut bytes = 0_u64;
    loop {
        let piece = input.recv().await;
        if given_up() {
            upload.abort().await;
            return Ok(None);
        }
        match piece {
            Some(Piece::Data(data)) => {
                hash.update(&data);
                bytes += data.len() as u64;
                if let Err(error) = patiently(storage, upload.write(data)).await {
                    upload.abort().await;
                    return Err(error);
                }
            }
            Some(Piece::End) => break,
            None => {
                upload.abort().await;
                return Ok(None);
            }
        }
    }
    let told = match patiently(storage, upload.finish()).await {
        Ok(told) => told,
        Err(error) => {
            // The answer may have been lost and not the object.
            let _ = storage.delete(key).await;
            return Err(error);
        }
    };
    if told != bytes {
        let _ = storage.delete(key).await;
        return Err(BackupError::Damaged(format!(
            "{} keeps {told} bytes of `{key}` instead of {bytes}",
            storage.place()
        )));
    }
    Ok(Some(Stored {
        bytes,
        sha256: hex(hash),
    }))
}

/// Lower-case hex of a finished hash.
pub(super) fn hex(hash: Sha256) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in hash.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

async fn patiently<T>(
    storage: &Arc<dyn Storage>,
    call: impl Future<Output = Result<T, StorageError>>,
) -> Result<T, BackupError> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(StorageError::Unreachable {
            place: storage.place(),
            reason: format!("it took nothing for {} minutes", PATIENCE.as_secs() / 60),
        }
        .into()),
    }
}
