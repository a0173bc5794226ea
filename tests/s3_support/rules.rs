//! What a [`FaultProxy`](super::FaultProxy) does to which requests.

use std::time::Duration;

use super::http::Head;

/// A request as the rules see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// Bucket and key, with its percent signs undone: `/bucket/v1/shop/x`.
    pub path: String,
    /// In the order of the request; `uploads` has an empty value.
    pub query: Vec<(String, String)>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Request {
    pub fn of(head: &Head) -> Self {
        let mut words = head.first.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (plain(name), plain(value)))
            .collect();
        Self {
            method,
            path: plain(path),
            query,
            headers: head.headers.clone(),
        }
    }

    /// The value of a word of the query; empty where it has none.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Writes a whole object or a part of one.
    pub fn is_upload(&self) -> bool {
        self.method == "PUT" && self.path.matches('/').count() > 1
    }

    /// `CompleteMultipartUpload`.
    pub fn is_completion(&self) -> bool {
        self.method == "POST" && self.query("uploadId").is_some()
    }

    /// Deletes objects; taking back an upload that was never completed is something else.
    pub fn is_delete(&self) -> bool {
        self.method == "DELETE" && self.query("uploadId").is_none() || self.is_delete_of_many()
    }

    fn is_delete_of_many(&self) -> bool {
        self.method == "POST" && self.query("delete").is_some()
    }

    /// Carries one of the checksums that SDKs of 2025 send without being asked.
    pub fn flexible_checksum(&self) -> Option<&str> {
        let header = self.headers.iter().find(|(name, _)| {
            name.starts_with("x-amz-checksum-")
                || name == "x-amz-sdk-checksum-algorithm"
                || name == "x-amz-trailer"
        });
        header.map(|(name, _)| name.as_str()).or_else(|| {
            let content = self.header("x-amz-content-sha256")?;
            content
                .ends_with("-TRAILER")
                .then_some("x-amz-content-sha256")
        })
    }
}

/// Undoes percent signs.
fn plain(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        if let Some(value) = digits.and_then(|d| u8::from_str_radix(d, 16).ok()) {
            out.push(value);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Which requests, and which of those in the order they come.
///
/// ```ignore
/// When::part(2).key("dump").nth(1)         // the first try of every second part
/// When::method("GET").after(3).times(2)    // the fourth and the fifth
/// ```
#[derive(Debug, Clone)]
pub struct When {
    method: Option<&'static str>,
    key: Option<String>,
    query: Vec<(&'static str, Option<String>)>,
    kind: Option<fn(&Request) -> bool>,
    skip: usize,
    times: usize,
}

impl When {
    /// Every request.
    pub fn any() -> Self {
        Self {
            method: None,
            key: None,
            query: Vec::new(),
            kind: None,
            skip: 0,
            times: usize::MAX,
        }
    }

    pub fn method(method: &'static str) -> Self {
        Self {
            method: Some(method),
            ..Self::any()
        }
    }

    /// Whole objects and parts on their way there.
    pub fn upload() -> Self {
        Self::that(Request::is_upload)
    }

    /// Part `number` of any upload.
    pub fn part(number: u32) -> Self {
        Self::method("PUT").query_is("partNumber", &number.to_string())
    }

    /// `CreateMultipartUpload`.
    pub fn creation() -> Self {
        Self::method("POST").query("uploads")
    }

    /// `CompleteMultipartUpload`.
    pub fn completion() -> Self {
        Self::that(Request::is_completion)
    }

    /// `AbortMultipartUpload`.
    pub fn abortion() -> Self {
        Self::method("DELETE").query("uploadId")
    }

    /// Deletions of objects.
    pub fn delete() -> Self {
        Self::that(Request::is_delete)
    }

    /// Whatever `kind` says yes to.
    pub fn that(kind: fn(&Request) -> bool) -> Self {
        Self {
            kind: Some(kind),
            ..Self::any()
        }
    }

    /// Only where bucket and key contain this.
    pub fn key(mut self, part: &str) -> Self {
        self.key = Some(part.to_owned());
        self
    }

    /// Only with this word in the query.
    pub fn query(mut self, name: &'static str) -> Self {
        self.query.push((name, None));
        self
    }

    pub fn query_is(mut self, name: &'static str, value: &str) -> Self {
        self.query.push((name, Some(value.to_owned())));
        self
    }

    /// Not the first `count` of them.
    pub fn after(mut self, count: usize) -> Self {
        self.skip = count;
        self
    }

    /// Only so many of them.
    pub fn times(mut self, count: usize) -> Self {
        self.times = count;
        self
    }

    /// Only the `n`th, from 1.
    pub fn nth(self, n: usize) -> Self {
        self.after(n - 1).times(1)
    }

    /// Whether a request is meant, whichever in order it is.
    pub fn means(&self, request: &Request) -> bool {
        self.method.is_none_or(|method| method == request.method)
            && self
                .key
                .as_ref()
                .is_none_or(|key| request.path.contains(key))
            && self.kind.is_none_or(|kind| kind(request))
            && self.query.iter().all(|(name, wanted)| {
                let value = request.query(name);
                value.is_some_and(|v| wanted.as_ref().is_none_or(|wanted| wanted == v))
            })
    }

    /// Whether the one with `earlier` others of its kind before it is meant.
    pub fn strikes(&self, earlier: usize) -> bool {
        earlier >= self.skip && earlier - self.skip < self.times
    }
}

/// What happens to a request. Bytes are those of the body, framing included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answered here: the server never hears of it.
    Answer(Answer),
    /// Carried out by the server, whose answer is lost for this one.
    AnswerAfter(Answer),
    /// So many bytes reach the server, then both connections are reset.
    ResetRequest(u64),
    /// Carried out; the connection is reset after the head and so many bytes of the answer.
    ResetAnswer(u64),
    /// Carried out; the connection is reset before a byte of the answer.
    LoseAnswer,
    /// Carried out; the connection ends in good order after so many bytes of the answer.
    CloseAnswer(u64),
    /// So many bytes reach the server, then nothing ever happens again.
    StallRequest(u64),
    /// Carried out; after the head and so many bytes of the answer nothing happens again.
    StallAnswer(u64),
    /// Carried out after a while.
    Delay(Duration),
    /// Carried out; this byte of the answer arrives with all its bits turned.
    Flip(u64),
    /// Carried out; the answer's `Date` is off by so many seconds.
    Date(i64),
}

/// An answer of the proxy's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// `<Code>` of the error.
    pub code: &'static str,
    pub message: &'static str,
    /// Seconds by which the `Date` is off.
    pub skew: i64,
}

impl Answer {
    pub const fn new(status: u16, code: &'static str, message: &'static str) -> Self {
        Self {
            status,
            code,
            message,
            skew: 0,
        }
    }

    /// Status line, headers and body.
    pub fn bytes(&self, method: &str, closes: bool) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            403 => "Forbidden",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            503 => "Service Unavailable",
            _ => "Fault",
        };
        let Self { code, message, .. } = self;
        let xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message><RequestId>fault</RequestId></Error>"
        );
        let connection = if closes { "close" } else { "keep-alive" };
        let head = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nDate: {}\r\nConnection: {connection}\r\n\r\n",
            self.status,
            xml.len(),
            http_date(self.skew),
        );
        let body = if method == "HEAD" { "" } else { &xml };
        format!("{head}{body}").into_bytes()
    }
}

/// The time as HTTP writes it, `skew` seconds from now.
pub fn http_date(skew: i64) -> String {
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(skew);
    now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

impl Fault {
    pub const fn internal() -> Self {
        Self::Answer(Answer::new(
            500,
            "InternalError",
            "We encountered an internal error. Please try again.",
        ))
    }

    pub const fn unavailable() -> Self {
        Self::Answer(Answer::new(
            503,
            "ServiceUnavailable",
            "Service is unable to handle request.",
        ))
    }

    pub const fn slow_down() -> Self {
        Self::Answer(Answer::new(
            503,
            "SlowDown",
            "Please reduce your request rate.",
        ))
    }

    /// 200 with an error for a body, as `CompleteMultipartUpload` may give: nothing was assembled.
    pub const fn error_in_200() -> Self {
        Self::Answer(Answer::new(
            200,
            "InternalError",
            "We encountered an internal error. Please try again.",
        ))
    }

    /// The same, although the object is there in truth.
    pub const fn error_in_200_after_all() -> Self {
        Self::AnswerAfter(Answer::new(
            200,
            "InternalError",
            "We encountered an internal error. Please try again.",
        ))
    }

    pub const fn denied() -> Self {
        Self::Answer(Answer::new(403, "AccessDenied", "Access Denied"))
    }

    /// What Object Lock says to a delete.
    pub const fn locked() -> Self {
        Self::Answer(Answer::new(
            403,
            "AccessDenied",
            "Access Denied because object protected by object lock.",
        ))
    }

    /// The server's clock is so many seconds ahead of ours.
    pub const fn skew(seconds: i64) -> Self {
        Self::Answer(Answer {
            skew: seconds,
            ..Answer::new(
                403,
                "RequestTimeTooSkewed",
                "The difference between the request time and the current time is too large.",
            )
        })
    }
}

/// A peculiarity of some stores, for as long as the proxy lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Cloudflare R2: parts of one upload are of one size, the last one at most that large.
    EqualParts,
    /// Older stores: the checksums that SDKs of 2025 send by themselves are not implemented.
    RefuseChecksums,
    /// Amazon's with Object Lock: uploads need a checksum.
    RequireChecksums,
}
