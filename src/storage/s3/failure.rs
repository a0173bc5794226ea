//! What a failed request means.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use jiff::Timestamp;

use super::super::StorageError;

/// Seconds from which a refused signature is the clock's fault. Amazon refuses from 900, others
/// earlier; a correct clock is never off by this much.
pub(super) const SKEW: i64 = 240;

/// A request that failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    status: u16,
    code: String,
    /// In the store's words, or those of the network.
    pub(super) reason: String,
    /// Trying again may help.
    pub(super) transient: bool,
    /// Seconds that our clock is ahead.
    ahead: Option<i64>,
}

impl Failure {
    pub(super) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let response = error.raw_response();
        let status = response.map_or(0, |r| r.status().as_u16());
        let ahead = response.and_then(seconds_ahead);
        let service = error.as_service_error();
        let code = service
            .and_then(|e| e.code())
            .unwrap_or_default()
            .to_owned();
        let said = service.and_then(|e| e.message()).unwrap_or_default();
        let reason = match (said, code.as_str(), service.is_some()) {
            ("", "", true) => format!("it answered with HTTP status {status}"),
            ("", code, true) => format!("{code} (HTTP status {status})"),
            (said, "", true) => said.to_owned(),
            (said, code, true) => format!("{code}: {said}"),
            (_, _, false) => chain(error),
        };
        let transient = match error {
            SdkError::ServiceError(_) => is_transient(status, &code),
            SdkError::ConstructionFailure(_) => false,
            SdkError::DispatchFailure(failure) => !failure.is_user(),
            // Timed out, or an answer that nobody can read.
            _ => true,
        };
        Self {
            status,
            code,
            reason,
            transient,
            ahead,
        }
    }

    /// Nothing moved for too long, or the connection broke in the middle of a body.
    pub(super) fn broken(reason: impl Into<String>) -> Self {
        Self {
            status: 0,
            code: String::new(),
            reason: reason.into(),
            transient: true,
            ahead: None,
        }
    }

    fn is(&self, codes: &[&str]) -> bool {
        codes.contains(&self.code.as_str())
    }

    /// Object, upload or bucket is not there.
    pub(super) fn is_absent(&self) -> bool {
        self.status == 404 || self.is(&["NoSuchKey", "NotFound"]) || self.is_bucket_absent()
    }

    pub(super) fn is_bucket_absent(&self) -> bool {
        self.is(&["NoSuchBucket"])
    }

    /// The upload is not known any more: aborted, or completed by an attempt whose answer was lost.
    pub(super) fn is_upload_absent(&self) -> bool {
        self.is(&["NoSuchUpload"])
    }

    /// An object of that key was there, or came at the same time.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self.status, 409 | 412)
            || self.is(&["PreconditionFailed", "ConditionalRequestConflict"])
    }

    /// The store does not know what was asked for.
    pub(super) fn is_unknown_to_store(&self) -> bool {
        self.status == 501 || self.is(&["NotImplemented"])
    }

    pub(super) fn is_denied(&self) -> bool {
        matches!(self.status, 401 | 403)
    }

    /// Refused because of a retention rule, which stores tell in words only.
    pub(super) fn is_held(&self) -> bool {
        let words = self.reason.to_ascii_lowercase();
        let named = [
            "object lock",
            "object is locked",
            "worm",
            "retention",
            "legal hold",
        ];
        self.is(&["ObjectLocked", "InvalidRetentionPeriod"])
            || (matches!(self.status, 400 | 403 | 405 | 409 | 451)
                && named.iter().any(|name| words.contains(name)))
    }

    fn skew(&self) -> Option<i64> {
        let refused = matches!(self.status, 400 | 401 | 403);
        match self.ahead {
            Some(ahead) if refused && ahead.abs() >= SKEW => Some(ahead),
            ahead if self.is(&["RequestTimeTooSkewed"]) => Some(ahead.unwrap_or(0)),
            _ => None,
        }
    }

    /// For people.
    pub(super) fn told(&self, place: &str, action: &str, key: &str) -> StorageError {
        let (place, reason) = (place.to_owned(), self.reason.clone());
        if let Some(seconds) = self.skew() {
            return StorageError::Skew { place, seconds };
        }
        if self.is_bucket_absent() {
            return StorageError::NoDestination { place, reason };
        }
        if self.is(&["NoSuchKey"]) || (self.status == 404 && self.code.is_empty()) {
            return StorageError::Missing(key.to_owned());
        }
        if self.is_conflict() && !key.is_empty() {
            return StorageError::Exists(key.to_owned());
        }
        let full = [
            "QuotaExceeded",
            "XMinioStorageFull",
            "InsufficientCapacity",
            "InsufficientStorage",
            "StorageFull",
            "AccountProblem.QuotaExceeded",
        ];
        if self.status == 507 || self.is(&full) {
            return StorageError::Full { place, reason };
        }
        let action = action.to_owned();
        if self.is_denied() {
            return StorageError::Denied {
                place,
                action,
                reason,
            };
        }
        if self.transient {
            return StorageError::Unreachable { place, reason };
        }
        let reason = match self.code.as_str() {
            "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException" => {
                format!("{reason}; is `region` in config.yml that of the bucket?")
            }
            "InvalidObjectState" => {
                format!("{reason}; it is archived: have the store bring it back first")
            }
            _ => reason,
        };
        StorageError::Other {
            place,
            action,
            reason,
        }
    }
}

fn is_transient(status: u16, code: &str) -> bool {
    const CODES: [&str; 12] = [
        "InternalError",
        "SlowDown",
        "ServiceUnavailable",
        "RequestTimeout",
        "RequestTimeoutException",
        "Throttling",
        "ThrottlingException",
        "RequestThrottled",
        "TooManyRequests",
        "OperationAborted",
        "BadDigest",
        "IncompleteBody",
    ];
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504) || CODES.contains(&code)
}

/// Our clock against the `Date` of an answer.
pub(super) fn seconds_ahead(response: &HttpResponse) -> Option<i64> {
    // An answer out of a cache tells the time of its making.
    if response.headers().get("age").is_some() {
        return None;
    }
    let date = response.headers().get("date")?;
    let theirs = DateTime::from_str(date, DateTimeFormat::HttpDate).ok()?;
    Some(Timestamp::now().as_second() - theirs.secs())
}

/// The innermost reason is what helps: `connection refused`, not `dispatch failure`.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let text = inner.to_string();
    if text.is_empty() {
        DisplayErrorContext(error).to_string()
    } else {
        text
    }
}
