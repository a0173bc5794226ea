//! Trying, watching, trying again.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::SdkBody;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::failure::Failure;
use super::{Bucket, Patience};

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Bytes between two looks at whether they move.
const STEP: usize = 64 << 10;

/// Sends a body step by step, so that somebody can see whether it moves. The request was signed
/// before, with the whole body in memory: its headers are those of a plain body.
#[derive(Clone, Default)]
pub(super) struct Watch {
    content: Option<Bytes>,
    moved: Arc<AtomicU64>,
}

impl Watch {
    /// For a request with that body.
    pub(super) fn of(self, content: &Bytes) -> Self {
        Self {
            content: Some(content.clone()),
            ..self
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "Watch"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(given) = &self.content else {
            return Ok(());
        };
        let body = context.request_mut().body_mut();
        // Anything but what we gave (an encoding around it) is left as it is.
        if body.bytes().is_some_and(|b| b.len() == given.len()) {
            *body = SdkBody::from_body_1_x(Steps {
                left: given.clone(),
                moved: Arc::clone(&self.moved),
            });
        }
        Ok(())
    }
}

struct Steps {
    left: Bytes,
    moved: Arc<AtomicU64>,
}

impl Body for Steps {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.moved.fetch_add(1, Ordering::Relaxed);
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let step = STEP.min(self.left.len());
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(step)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

impl Bucket {
    /// One request, tried again while that may help.
    pub(super) async fn attempt<T, E, F>(&self, once: impl Fn(Watch) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let patience = self.patience();
        let mut attempt = 1;
        loop {
            match self.once(&once).await {
                Ok(answer) => return Ok(answer),
                Err(failure) if failure.transient && attempt < patience.attempts => {
                    pause(patience, attempt).await;
                    attempt += 1;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// One request, once, for as long as its bytes move.
    pub(super) async fn once<T, E, F>(&self, once: impl Fn(Watch) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let idle = self.patience().idle;
        let watch = Watch::default();
        let moved = Arc::clone(&watch.moved);
        let mut sending = std::pin::pin!(once(watch));
        loop {
            let before = moved.load(Ordering::Relaxed);
            match tokio::time::timeout(idle, &mut sending).await {
                Ok(result) => return result.map_err(|error| Failure::of(&error)),
                Err(_) if moved.load(Ordering::Relaxed) != before => {}
                Err(_) => {
                    return Err(Failure::broken(format!(
                        "nothing moved for {} s",
                        idle.as_secs_f64()
                    )));
                }
            }
        }
    }
}

/// Doubles, and differs by chance, so that many who failed together do not come back together.
pub(super) async fn pause(patience: Patience, attempt: u32) {
    let doubled = patience
        .pause
        .saturating_mul(1 << (attempt - 1).min(10))
        .min(LONGEST_PAUSE);
    tokio::time::sleep(doubled.mul_f64(rand::random_range(0.5..=1.0))).await;
}
