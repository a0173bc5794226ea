//! The end of a dump that is text, recognised while it passes by.

use super::EndCheck;

/// What is kept: the trailers of all tools are shorter.
const KEPT: usize = 512;

/// The tool whose trailer is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trailer {
    /// `pg_dump`.
    Postgres,
    /// `pg_dumpall`.
    PostgresCluster,
    /// `mysqldump`, `mariadb-dump`.
    Mysql,
    /// Our own, of [`super::mysql`].
    Own,
}

impl Trailer {
    fn marker(self) -> &'static str {
        match self {
            Self::Postgres => "-- PostgreSQL database dump complete",
            Self::PostgresCluster => "-- PostgreSQL database cluster dump complete",
            Self::Mysql => "-- Dump completed",
            Self::Own => super::mysql::USERS_COMPLETE,
        }
    }
}

/// Holds the beginning and the end of what has passed.
pub(super) struct Text {
    trailer: Trailer,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Text {
    pub(super) fn new(trailer: Trailer) -> Self {
        Self {
            trailer,
            head: Vec::new(),
            tail: Vec::new(),
        }
    }

    /// The token of the `\restrict` line that newer `pg_dump`s begin with.
    fn token(&self) -> Option<String> {
        let head = String::from_utf8_lossy(&self.head).into_owned();
        let line = head.lines().find_map(|l| l.strip_prefix("\\restrict "))?;
        Some(line.trim().to_owned())
    }
}

impl EndCheck for Text {
    fn feed(&mut self, bytes: &[u8]) {
        let missing = KEPT.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..missing]);
        let last = &bytes[bytes.len().saturating_sub(KEPT)..];
        self.tail.extend_from_slice(last);
        let surplus = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..surplus);
    }

    fn finish(&self) -> Result<String, String> {
        let marker = self.trailer.marker();
        let missing = || Err(format!("`{marker}` is missing at its end"));
        let tail = String::from_utf8_lossy(&self.tail);
        let Some((before, after)) = tail.rsplit_once(marker) else {
            return missing();
        };
        // A whole line of its own, and after it only what the tool itself writes there.
        if !(before.is_empty() || before.ends_with('\n')) || !after.ends_with('\n') {
            return missing();
        }
        let complete = match self.trailer {
            // ` on 2026-11-20 12:35:33`, unless told to leave it out.
            Trailer::Mysql | Trailer::Own => after.lines().skip(1).all(str::is_empty),
            Trailer::Postgres | Trailer::PostgresCluster => {
                let mut lines = after.lines().filter(|l| !l.is_empty());
                let closing = self.token().map(|token| format!("\\unrestrict {token}"));
                let rest: Vec<&str> = match self.trailer {
                    // The token of a cluster's dump stands before its last words.
                    Trailer::PostgresCluster => {
                        return if lines.eq(["--"]) && after.ends_with("--\n\n") {
                            Ok(marker.to_owned())
                        } else {
                            missing()
                        };
                    }
                    _ => lines.by_ref().collect(),
                };
                after.ends_with("\n\n")
                    && match closing {
                        Some(closing) => rest == ["--", closing.as_str()],
                        None => rest == ["--"],
                    }
            }
        };
        if complete {
            Ok(marker.to_owned())
        } else {
            missing()
        }
    }
}
