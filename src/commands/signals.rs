//! Ctrl-C, and the system's wish that we end: what is under way is finished or taken back first.

use std::sync::Arc;

use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::report::Report;

/// Listens while it lives.
pub(super) struct Listening {
    task: tokio::task::JoinHandle<()>,
    /// Turns true at the first signal.
    pub(super) cancelled: watch::Receiver<bool>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// From now on Ctrl-C and SIGTERM turn [`Listening::cancelled`] true instead of ending us; the
/// second one ends us at once, which any run survives as it survives a power cut.
pub(super) fn listen(report: &Arc<Report>) -> Listening {
    let (cancel, cancelled) = watch::channel(false);
    let report = Arc::clone(report);
    let task = tokio::spawn(async move {
        heard().await;
        cancel.send_replace(true);
        report.note(
            "stopping when what is under way is done or taken back; Ctrl-C again ends at once",
        );
        heard().await;
        let _ = kill_process(getpid(), Signal::KILL);
        // A dropped sender would look like no cancellation at all.
        cancel.closed().await;
    });
    Listening { task, cancelled }
}

async fn heard() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return drop(tokio::signal::ctrl_c().await);
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
