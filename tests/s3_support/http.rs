//! As much of HTTP/1.1 as a proxy needs that lets bytes through as they are: where a head ends,
//! where its body ends.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// A head larger than this is nobody's.
const LONGEST_HEAD: usize = 64 * 1024;

/// The head of a request or of an answer, with its very bytes.
#[derive(Debug, Clone)]
pub struct Head {
    /// As it came, with the empty line at its end.
    pub raw: Vec<u8>,
    /// The first line, without its end.
    pub first: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Bytes that are told beforehand.
    Length(u64),
    Chunked,
    /// Until the connection ends.
    UntilClosed,
}

impl Head {
    /// The next head; `None` when the other side has closed instead.
    pub async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Self>> {
        let mut raw = Vec::new();
        loop {
            let before = raw.len();
            let limit = (LONGEST_HEAD - before) as u64;
            (&mut *from).take(limit).read_until(b'\n', &mut raw).await?;
            if raw.is_empty() {
                return Ok(None);
            }
            let line = &raw[before..];
            if !line.ends_with(b"\n") {
                return Err(Error::new(ErrorKind::UnexpectedEof, "half a head"));
            }
            if line == b"\r\n" || line == b"\n" {
                break;
            }
        }
        let text = String::from_utf8_lossy(&raw).into_owned();
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Some(Self {
            raw,
            first,
            headers,
        }))
    }

    /// A header's value; `name` in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn has_word(&self, name: &str, word: &str) -> bool {
        self.get(name).is_some_and(|value| {
            value
                .split(',')
                .any(|part| part.trim().eq_ignore_ascii_case(word))
        })
    }

    fn length(&self) -> Option<u64> {
        self.get("content-length")
            .and_then(|value| value.parse().ok())
    }

    /// The body of a request: none where nothing is said.
    pub fn request_body(&self) -> Body {
        if self.has_word("transfer-encoding", "chunked") {
            Body::Chunked
        } else {
            Body::Length(self.length().unwrap_or(0))
        }
    }

    /// The body of an answer to `method`.
    pub fn answer_body(&self, method: &str) -> Body {
        let status = self.status();
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            Body::Length(0)
        } else if self.has_word("transfer-encoding", "chunked") {
            Body::Chunked
        } else {
            self.length().map_or(Body::UntilClosed, Body::Length)
        }
    }

    /// The status of an answer; 0 for what is none.
    pub fn status(&self) -> u16 {
        self.first
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or(0)
    }

    /// The same head with other values of `name`; added where it is missing.
    pub fn with(&self, name: &str, value: &str) -> Vec<u8> {
        let mut out = format!("{}\r\n", self.first);
        for line in String::from_utf8_lossy(&self.raw).lines().skip(1) {
            let named = line.split_once(':').map(|(n, _)| n.trim());
            if !line.is_empty() && !named.is_some_and(|n| n.eq_ignore_ascii_case(name)) {
                out.push_str(line);
                out.push_str("\r\n");
            }
        }
        out.push_str(&[name, ": ", value, "\r\n\r\n"].concat());
        out.into_bytes()
    }
}

/// Hands out a body piece by piece, framing included, and knows where it ends.
pub struct Pieces {
    left: Left,
}

enum Left {
    Bytes(u64),
    /// Before the line that tells the next chunk's size.
    Chunk,
    /// Bytes of this chunk with the line end after them.
    InChunk(u64),
    /// After the last chunk: trailers until an empty line.
    Trailers,
    UntilClosed,
    Nothing,
}

impl Pieces {
    pub fn new(body: Body) -> Self {
        let left = match body {
            Body::Length(0) => Left::Nothing,
            Body::Length(bytes) => Left::Bytes(bytes),
            Body::Chunked => Left::Chunk,
            Body::UntilClosed => Left::UntilClosed,
        };
        Self { left }
    }

    /// The next bytes as they came, `None` at the end; a body that ends too soon is an error.
    pub async fn next(
        &mut self,
        from: &mut (impl AsyncBufRead + Unpin),
    ) -> Result<Option<Vec<u8>>> {
        match self.left {
            Left::Nothing => Ok(None),
            Left::Bytes(bytes) => {
                let piece = some_of(from, bytes).await?;
                self.left = match bytes - piece.len() as u64 {
                    0 => Left::Nothing,
                    left => Left::Bytes(left),
                };
                Ok(Some(piece))
            }
            Left::InChunk(bytes) => {
                let piece = some_of(from, bytes).await?;
                self.left = match bytes - piece.len() as u64 {
                    0 => Left::Chunk,
                    left => Left::InChunk(left),
                };
                Ok(Some(piece))
            }
            Left::Chunk => {
                let line = line(from).await?;
                let text = String::from_utf8_lossy(&line);
                let size = text.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16)
                    .map_err(|_| Error::new(ErrorKind::InvalidData, "not a chunk's size"))?;
                self.left = if size == 0 {
                    Left::Trailers
                } else {
                    Left::InChunk(size + 2)
                };
                Ok(Some(line))
            }
            Left::Trailers => {
                let line = line(from).await?;
                if line == b"\r\n" || line == b"\n" {
                    self.left = Left::Nothing;
                }
                Ok(Some(line))
            }
            Left::UntilClosed => {
                let buffer = from.fill_buf().await?;
                let piece = buffer.to_vec();
                from.consume(piece.len());
                Ok((!piece.is_empty()).then_some(piece))
            }
        }
    }
}

async fn some_of(from: &mut (impl AsyncBufRead + Unpin), most: u64) -> Result<Vec<u8>> {
    let buffer = from.fill_buf().await?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let piece = buffer[..buffer.len().min(most)].to_vec();
    from.consume(piece.len());
    if piece.is_empty() {
        return Err(Error::new(ErrorKind::UnexpectedEof, "half a body"));
    }
    Ok(piece)
}

async fn line(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    from.take(LONGEST_HEAD as u64)
        .read_until(b'\n', &mut line)
        .await?;
    if line.ends_with(b"\n") {
        Ok(line)
    } else {
        Err(Error::new(ErrorKind::UnexpectedEof, "half a chunk"))
    }
}
