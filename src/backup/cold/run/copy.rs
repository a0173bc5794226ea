//! The outage: a copy while everything runs, stop, the rest of the copy, start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::{Outcome, Report, Run, Saved, Subject};
use crate::backup::cold::journal::{After, Journal, Phase};
use crate::backup::cold::node::TreeError;
use crate::backup::cold::tree::{Pass, Staging, Watch};
use crate::backup::cold::way::{self, Helper, Way};
use crate::backup::cold::{revive, services};
use crate::backup::error::BackupError;
use crate::backup::manifest::{Outage, Role};
use crate::backup::writer::{Compression, SnapshotWriter};
use crate::config::environment::ColdMethod;
use crate::events::Event;

/// A first copy that took longer than this is brought up to date once more before the outage, so
/// that less has changed when it begins.
const SECOND_LOOK: Duration = Duration::from_secs(3);
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// What was copied.
pub(super) struct Copied {
    pub(super) outage: Outage,
    /// Copies that have to be packed still: index of the volume, folder.
    pub(super) staged: Vec<(usize, Staging)>,
    /// Exit codes of the stopped services.
    pub(super) codes: BTreeMap<String, i64>,
}

/// One volume on its way.
struct Job {
    index: usize,
    way: Way,
    watch: Arc<Watch>,
}

/// Copies everything; whatever happens, what was stopped is started again before this returns.
pub(super) async fn copy(
    run: &Run,
    subject: &Subject,
    journal: &mut Journal,
    priors: &[services::Prior],
    writer: &SnapshotWriter,
    report: &mut Report,
) -> Result<Copied, Outcome> {
    let mut jobs = choose(subject, report).await?;
    if jobs.is_empty() {
        return Err(Outcome::Skipped("it has no data yet".into()));
    }
    let mut helpers = BTreeMap::new();
    for job in jobs.iter().filter(|j| matches!(j.way, Way::Container)) {
        let volume = &subject.volumes[job.index];
        let owner = (run.project.as_str(), run.root.as_path());
        let helper = Helper::start(
            &run.engine,
            &run.helper_image,
            owner,
            volume,
            run.events.as_ref(),
        )
        .await;
        match helper {
            Ok(helper) => {
                if !helper.keeps_everything() {
                    report.remarks.push(format!(
                        "the `tar` of `{}` keeps no attributes, access control lists and holes",
                        run.helper_image
                    ));
                }
                helpers.insert(job.index, helper);
            }
            Err(error) => {
                for helper in helpers.values() {
                    helper.remove().await;
                }
                return Err(error.into());
            }
        }
    }
    let result = with_helpers(
        run,
        subject,
        journal,
        priors,
        (writer, &helpers),
        &mut jobs,
        report,
    );
    let result = result.await;
    for helper in helpers.values() {
        helper.remove().await;
    }
    let outage = result?;
    let mut staged = Vec::new();
    for job in jobs {
        if let Way::Staged(staging, _) = job.way {
            staged.push((job.index, staging));
        }
    }
    Ok(Copied {
        outage: outage.0,
        staged,
        codes: outage.1,
    })
}

async fn choose(subject: &Subject, report: &mut Report) -> Result<Vec<Job>, Outcome> {
    let mut jobs = Vec::new();
    for (index, volume) in subject.volumes.iter().enumerate() {
        let (own, minion, method) = (volume.clone(), subject.group.name.clone(), subject.method);
        let way = tokio::task::spawn_blocking(move || Way::of(&own, &minion, method));
        let way = way.await.map_err(|e| BackupError::Other(e.to_string()))??;
        report.volumes.push(Saved {
            of: volume.of.clone(),
            method: way.as_ref().map_or("", Way::name).to_owned(),
            ..Saved::default()
        });
        match way {
            Some(way) => jobs.push(Job {
                index,
                way,
                watch: Arc::default(),
            }),
            None => report
                .notes
                .push(format!("`{}` is not there and is left out", volume.of)),
        }
    }
    Ok(jobs)
}

type Helpers = BTreeMap<usize, Helper>;

async fn with_helpers(
    run: &Run,
    subject: &Subject,
    journal: &mut Journal,
    priors: &[services::Prior],
    (writer, helpers): (&SnapshotWriter, &Helpers),
    jobs: &mut [Job],
    report: &mut Report,
) -> Result<(Outage, BTreeMap<String, i64>), Outcome> {
    let begin = Instant::now();
    live(run, subject, jobs, report).await?;
    if begin.elapsed() > SECOND_LOOK {
        live(run, subject, jobs, report).await?;
    }
    quiesce(run, subject, journal).await?;

    let outage_begin = Instant::now();
    let alarm = Alarm::set(run, subject.max_downtime, jobs);
    let events = run.events.as_ref();
    let stopped = services::stop(&run.engine, &run.paths, journal, priors, events).await;
    let mut copy_time = Duration::ZERO;
    let result = match stopped {
        Ok(codes) => {
            journal.phase = Phase::Stopped;
            let copy_begin = Instant::now();
            let copied = match journal.write(&run.paths) {
                Ok(()) => stopped_copy(run, subject, (writer, helpers), jobs, report).await,
                Err(error) => Err(error.into()),
            };
            copy_time = copy_begin.elapsed();
            copied.map(|()| codes)
        }
        Err(error) => Err(error),
    };
    let rung = alarm.end();

    journal.phase = Phase::Starting;
    // What cannot be written down is done all the same.
    let _ = journal.write(&run.paths);
    let lost = services::start(&run.engine, journal, priors, events).await;
    let downtime = outage_begin.elapsed();
    finish(run, journal, lost, report).await;
    let codes = match (result, rung) {
        (Ok(codes), _) => codes,
        (Err(_), Rung::TooLong) => {
            return Err(Outcome::TooLong(subject.max_downtime.unwrap_or_default()));
        }
        (Err(_), Rung::Cancelled) => return Err(Outcome::Interrupted),
        (Err(error), Rung::No) => return Err(error.into()),
    };
    let mut methods: Vec<&str> = jobs.iter().map(|j| j.way.name()).collect();
    methods.sort_unstable();
    methods.dedup();
    let outage = Outage {
        method: methods.join("+"),
        stopped: priors.iter().map(|p| p.stopped.service.clone()).collect(),
        were_stopped: Vec::new(),
        downtime_ms: if priors.is_empty() {
            0
        } else {
            milliseconds(downtime)
        },
        copy_ms: milliseconds(copy_time),
    };
    Ok((outage, codes))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Ends the quiet time, and the journal when everything is back.
async fn finish(run: &Run, journal: &Journal, lost: Vec<(String, String)>, report: &mut Report) {
    report.not_back = lost;
    if journal.after.is_some()
        && let Err(why) = revive::run_after(run.engine.as_ref(), journal).await
        && let Some(after) = &journal.after
    {
        report.not_back.push((
            after.service.clone(),
            format!("`{}` failed: {why}", after.command.join(" ")),
        ));
    }
    if report.not_back.is_empty()
        && let Err(error) = Journal::remove(&run.paths, &journal.minion)
    {
        report.notes.push(error.to_string());
    }
}

/// Copies what can be copied while everything runs.
async fn live(
    run: &Run,
    subject: &Subject,
    jobs: &mut [Job],
    report: &mut Report,
) -> Result<(), Outcome> {
    let alarm = Alarm::set(run, None, jobs);
    let results = join_all(jobs.iter_mut().map(|job| pass(run, subject, job, false))).await;
    if alarm.end() == Rung::Cancelled {
        return Err(Outcome::Interrupted);
    }
    let mut full: Vec<(usize, String)> = Vec::new();
    for (index, result) in results {
        match result {
            Ok(_) => {}
            // A copy that does not fit is no reason to fail where the method is ours to choose.
            Err(TreeError::File(error))
                if subject.method == ColdMethod::Auto && no_room(&error.source) =>
            {
                full.push((index, error.to_string()));
            }
            Err(error) => return Err(BackupError::from(error).into()),
        }
    }
    for (index, why) in full {
        let Some(job) = jobs.iter_mut().find(|j| j.index == index) else {
            continue;
        };
        job.way = Way::Direct;
        let saved = &mut report.volumes[job.index];
        job.way.name().clone_into(&mut saved.method);
        report.notes.push(format!(
            "there was no room for a copy of `{}`: it is packed during the outage ({why})",
            saved.of
        ));
    }
    Ok(())
}

fn no_room(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
    )
}

/// One pass of a volume that is staged; others have none.
async fn pass(
    run: &Run,
    subject: &Subject,
    job: &mut Job,
    last: bool,
) -> (usize, Result<Option<Pass>, TreeError>) {
    let Way::Staged(staging, how) = std::mem::replace(&mut job.way, Way::Direct) else {
        return (job.index, Ok(None));
    };
    let target = format!("{}/{}", subject.group.name, subject.volumes[job.index].of);
    job.watch.done.store(0, Ordering::Relaxed);
    let telling = async {
        loop {
            tokio::time::sleep(TELL_EVERY).await;
            run.events.event(Event::Bytes {
                target: target.clone(),
                done: job.watch.done.load(Ordering::Relaxed),
                total: None,
            });
        }
    };
    let (staging, result) = tokio::select! {
        done = way::pass(staging, Arc::clone(&job.watch), last) => done,
        () = telling => (None, Err(TreeError::Stopped)),
    };
    if let Some(staging) = staging {
        job.way = Way::Staged(staging, how);
    }
    (job.index, result.map(Some))
}

/// Runs what belongs before the stop. What belongs after it is written down first.
async fn quiesce(run: &Run, subject: &Subject, journal: &mut Journal) -> Result<(), Outcome> {
    let Some(quiesce) = &subject.quiesce else {
        return Ok(());
    };
    if !journal
        .services
        .iter()
        .any(|s| s.service == quiesce.service)
    {
        return Ok(());
    }
    journal.after = Some(After {
        service: quiesce.service.clone(),
        command: quiesce.after.clone(),
    });
    journal.write(&run.paths).map_err(BackupError::from)?;
    let engine = run.engine.as_ref();
    let before = revive::run_in(engine, journal, &quiesce.service, &quiesce.before).await;
    if let Err(why) = before {
        let after = revive::run_after(engine, journal).await;
        let more = after
            .err()
            .map(|e| format!("; then `{}` failed: {e}", quiesce.after.join(" ")));
        return Err(BackupError::Other(format!(
            "`{}` failed in `{}`, nothing was stopped: {why}{}",
            quiesce.before.join(" "),
            quiesce.service,
            more.unwrap_or_default()
        ))
        .into());
    }
    Ok(())
}

/// What is copied while everything is stopped: the rest of the copies, and all of what has none.
async fn stopped_copy(
    run: &Run,
    subject: &Subject,
    (writer, helpers): (&SnapshotWriter, &Helpers),
    jobs: &mut [Job],
    report: &mut Report,
) -> Result<(), BackupError> {
    let passes = join_all(jobs.iter_mut().map(|job| pass(run, subject, job, true))).await;
    for (index, result) in passes {
        if let Some(pass) = result? {
            let saved = &mut report.volumes[index];
            saved.outage_bytes = pass.written;
            tell(
                &mut report.remarks,
                &mut report.notes,
                pass.moving,
                &pass.remarks.lines(),
            );
        }
    }
    for job in jobs.iter() {
        let volume = &subject.volumes[job.index];
        if matches!(job.way, Way::Staged(..)) {
            continue;
        }
        let name = format!("{}.tar", volume.object);
        let mut object = writer
            .object(&name, Role::Volume, &volume.of, Compression::Zstd)
            .await;
        let packed = match (&job.way, helpers.get(&job.index), &volume.place) {
            (Way::Container, Some(helper), _) => helper.archive_into(&job.watch, &mut object).await,
            (_, _, crate::backup::cold::volume::Place::Folder { path, .. }) => {
                let watch = Arc::clone(&job.watch);
                way::archive_into(path.clone(), watch, &mut object)
                    .await
                    .map(|packed| {
                        let (remarks, notes) = (&mut report.remarks, &mut report.notes);
                        tell(remarks, notes, packed.moving, &packed.remarks.lines());
                        packed.bytes
                    })
            }
            _ => Err(BackupError::Other("it has no helper container".into())),
        };
        match packed {
            Ok(bytes) => {
                object.finish().await?;
                report.volumes[job.index].bytes = bytes;
                report.volumes[job.index].outage_bytes = bytes;
            }
            Err(error) => {
                object.abort().await;
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Files that move while everything is stopped make the copy suspect; the rest is only told.
fn tell(remarks: &mut Vec<String>, notes: &mut Vec<String>, moving: u64, lines: &[String]) {
    if moving > 0 {
        remarks.push(format!(
            "{moving} files changed while everything was stopped: something else writes there"
        ));
    }
    notes.extend(lines.iter().cloned());
}

/// Why copying was stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rung {
    No,
    TooLong,
    Cancelled,
}

/// Stops copying when the outage gets too long, or the user has enough of it.
struct Alarm {
    task: tokio::task::JoinHandle<()>,
    rung: Arc<std::sync::Mutex<Rung>>,
}

impl Alarm {
    fn set(run: &Run, most: Option<Duration>, jobs: &[Job]) -> Self {
        let rung = Arc::new(std::sync::Mutex::new(Rung::No));
        let watches: Vec<Arc<Watch>> = jobs.iter().map(|j| Arc::clone(&j.watch)).collect();
        let mut cancelled = run.cancelled.clone();
        let note = Arc::clone(&rung);
        let task = tokio::spawn(async move {
            let too_long = async {
                match most {
                    Some(most) => tokio::time::sleep(most).await,
                    None => std::future::pending().await,
                }
            };
            let why = tokio::select! {
                () = too_long => Rung::TooLong,
                Ok(_) = cancelled.wait_for(|c| *c) => Rung::Cancelled,
            };
            *note
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner) = why;
            for watch in watches {
                watch.stop.store(true, Ordering::Relaxed);
            }
        });
        Self { task, rung }
    }

    fn end(self) -> Rung {
        self.task.abort();
        *self
            .rung
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
