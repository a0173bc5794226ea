//! What is going on: spinners and bars on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::colour::Paint;
use crate::events::Event;

/// Plain lines about one pull come this often at most.
const PULL_PERIOD: Duration = Duration::from_secs(5);

/// Operations that take longer are told a second time, when they end.
const LONG: Duration = Duration::from_secs(5);

/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(120);

/// Draws, or gives lines to print.
pub(super) struct Progress {
    /// `None` where there is no terminal.
    screen: Option<MultiProgress>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    targets: BTreeMap<String, Target>,
    pulls: BTreeMap<String, Pull>,
}

/// Something that is being worked on.
struct Target {
    bar: ProgressBar,
    action: String,
    since: Instant,
    /// What it is waited for, as last told.
    waiting: String,
    /// When its bytes were last told in a plain line.
    told: Option<Instant>,
}

/// An image on its way.
struct Pull {
    bar: ProgressBar,
    told: Option<Instant>,
    done: bool,
}

impl Progress {
    pub(super) fn new(terminal: bool) -> Self {
        Self {
            screen: terminal.then(MultiProgress::new),
            state: Mutex::default(),
        }
    }

    /// Prints something while nothing is drawn.
    pub(super) fn suspend(&self, print: impl FnOnce()) {
        match &self.screen {
            Some(screen) => screen.suspend(print),
            None => print(),
        }
    }

    /// Takes everything away.
    pub(super) fn clear(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, target) in std::mem::take(&mut state.targets) {
            target.bar.finish_and_clear();
        }
        for (_, pull) in std::mem::take(&mut state.pulls) {
            pull.bar.finish_and_clear();
        }
        if let Some(screen) = &self.screen {
            // Nothing is left to tell when the terminal is gone.
            let _ = screen.clear();
        }
    }

    /// Takes an event; lines to print for good.
    pub(super) fn take(&self, event: &Event, paint: Paint) -> Vec<String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Started { target, action } => self.started(&mut state, target, action),
            Event::Waiting {
                target,
                state: health,
            } => self.waiting(&mut state, target, health),
            Event::Finished { target, action } => self.finished(&mut state, target, action, paint),
            Event::Failed { target, message } => {
                state.drop_target(target);
                let failed = paint.bad("failed");
                vec![format!("{target}: {failed}: {}", indented(message))]
            }
            Event::Pull { image, done, total } => self.pull(&mut state, image, *done, *total),
            Event::Bytes {
                target,
                done,
                total,
            } => self.bytes(&mut state, target, *done, *total),
            Event::Note(text) | Event::Warning(text) => vec![text.clone()],
        }
    }

    fn started(&self, state: &mut State, target: &str, action: &str) -> Vec<String> {
        let entry = self.target(state, target);
        action.clone_into(&mut entry.action);
        entry.since = Instant::now();
        entry.waiting.clear();
        entry.bar.reset_elapsed();
        entry.bar.set_message(format!("{target}: {action}"));
        self.plain(|| format!("{target}: {action}"))
    }

    fn waiting(&self, state: &mut State, target: &str, health: &str) -> Vec<String> {
        let entry = self.target(state, target);
        if entry.waiting == health {
            return Vec::new();
        }
        health.clone_into(&mut entry.waiting);
        entry.bar.set_message(format!("{target}: {health}"));
        self.plain(|| format!("{target}: {health}"))
    }

    fn finished(&self, state: &mut State, target: &str, action: &str, paint: Paint) -> Vec<String> {
        let since = state
            .targets
            .get(target)
            .filter(|entry| entry.action == action)
            .map_or_else(Instant::now, |entry| entry.since);
        state.drop_target(target);
        let took = since.elapsed();
        let time = if took >= LONG {
            format!(" took {} s", took.as_secs())
        } else {
            String::new()
        };
        if self.screen.is_some() {
            vec![format!("{} {target}: {action}{time}", paint.good("✓"))]
        } else if time.is_empty() {
            Vec::new()
        } else {
            vec![format!("{target}: {action}{time}")]
        }
    }

    fn pull(&self, state: &mut State, image: &str, done: u64, total: u64) -> Vec<String> {
        if !state.pulls.contains_key(image) {
            let style = "  {prefix} [{bar:24}] {bytes}/{total_bytes} {bytes_per_sec}";
            let pull = Pull {
                bar: self.bar(style),
                told: None,
                done: false,
            };
            pull.bar.set_prefix(format!("pull {image}"));
            state.pulls.insert(image.to_owned(), pull);
        }
        let Some(pull) = state.pulls.get_mut(image) else {
            return Vec::new();
        };
        pull.bar.set_length(total);
        pull.bar.set_position(done);
        pull.done = total > 0 && done >= total;
        if total == 0 || pull.told.is_some_and(|told| told.elapsed() < PULL_PERIOD) {
            return Vec::new();
        }
        pull.told = Some(Instant::now());
        self.plain(|| {
            format!(
                "pull {image}: {} of {} MB",
                megabytes(done),
                megabytes(total)
            )
        })
    }

    /// Data on its way: bytes, rate and time beside the target.
    fn bytes(&self, state: &mut State, target: &str, done: u64, total: Option<u64>) -> Vec<String> {
        let entry = self.target(state, target);
        let seconds = entry.since.elapsed().as_millis().max(1);
        let rate = u64::try_from(u128::from(done) * 1000 / seconds).unwrap_or(u64::MAX);
        let of = total.map_or_else(String::new, |t| format!(" of {}", megabytes(t)));
        let text = format!("{}{of} MB, {} MB/s", megabytes(done), megabytes(rate));
        let action = &entry.action;
        entry.bar.set_message(format!("{target}: {action} {text}"));
        let recent = entry.told.is_some_and(|told| told.elapsed() < PULL_PERIOD);
        if recent || entry.since.elapsed() < PULL_PERIOD {
            return Vec::new();
        }
        entry.told = Some(Instant::now());
        let line = format!("{target}: {} {text}", entry.action);
        self.plain(|| line)
    }

    /// The entry of a target, made if needed.
    fn target<'a>(&self, state: &'a mut State, target: &str) -> &'a mut Target {
        state.targets.entry(target.to_owned()).or_insert_with(|| {
            let bar = self.bar("{spinner} {msg} {elapsed}");
            if self.screen.is_some() {
                bar.enable_steady_tick(TURN);
            }
            Target {
                bar,
                action: String::new(),
                since: Instant::now(),
                waiting: String::new(),
                told: None,
            }
        })
    }

    fn bar(&self, template: &str) -> ProgressBar {
        let Some(screen) = &self.screen else {
            return ProgressBar::hidden();
        };
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        screen.add(ProgressBar::no_length().with_style(style.progress_chars("=> ")))
    }

    /// A line where nothing is drawn.
    fn plain(&self, line: impl FnOnce() -> String) -> Vec<String> {
        match self.screen {
            Some(_) => Vec::new(),
            None => vec![line()],
        }
    }
}

impl State {
    fn drop_target(&mut self, target: &str) {
        if let Some(target) = self.targets.remove(target) {
            target.bar.finish_and_clear();
        }
        // An event does not say that a pull has ended, the next end of an operation does.
        self.pulls.retain(|_, pull| {
            if pull.done {
                pull.bar.finish_and_clear();
            }
            !pull.done
        });
    }
}

/// Lines after the first (hints, the end of a log) stand below it.
fn indented(message: &str) -> String {
    message.trim_end().replace('\n', "\n  ")
}

/// With one digit after the point.
fn megabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}
