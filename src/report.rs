//! The only place that prints. Data goes to standard output, talk to standard error, so that
//! `summoner … --json | jq` and `summoner status > file` hold nothing else.

mod ask;
mod colour;
mod progress;
mod secrets;
mod table;

use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use serde::Serialize;

use self::colour::Paint;
use self::progress::Progress;
use self::secrets::Secrets;
use crate::engine::EngineError;
use crate::events::{Event, Events};

pub use self::ask::AskError;
pub use self::colour::Color;

/// Prints.
pub struct Report {
    out: Stream,
    err: Stream,
    /// Somebody can be asked: standard input and standard error are terminals.
    interactive: bool,
    progress: Progress,
    secrets: Secrets,
}

/// One of the two outputs.
struct Stream {
    to: Mutex<Box<dyn Write + Send>>,
    paint: Paint,
    /// Columns, when it is a terminal.
    width: Option<usize>,
    /// Nobody reads it any more.
    closed: AtomicBool,
    /// Something could not be written, and not because nobody reads: a full disk.
    lost: AtomicBool,
}

impl Stream {
    fn write(&self, text: &str) {
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        let written = to.write_all(text.as_bytes()).and_then(|()| to.flush());
        // `summoner logs | head` is no failure; and where else should we say that we cannot speak?
        if let Err(error) = written {
            self.closed.store(true, Ordering::Relaxed);
            let lost = error.kind() != io::ErrorKind::BrokenPipe;
            self.lost.store(lost, Ordering::Relaxed);
        }
    }
}

impl Report {
    /// Whether data could not be written: what was asked for did not arrive.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.out.lost.load(Ordering::Relaxed)
    }

    /// On the process's own streams.
    #[must_use]
    pub fn new(color: Color) -> Self {
        let stdout = io::stdout().is_terminal();
        let stderr = io::stderr().is_terminal();
        Self {
            out: Stream {
                to: Mutex::new(Box::new(io::stdout())),
                paint: Paint::choose(color, stdout, |name| std::env::var(name).ok()),
                width: stdout.then(columns).flatten(),
                closed: AtomicBool::new(false),
                lost: AtomicBool::new(false),
            },
            err: Stream {
                to: Mutex::new(Box::new(io::stderr())),
                paint: Paint::choose(color, stderr, |name| std::env::var(name).ok()),
                width: None,
                closed: AtomicBool::new(false),
                lost: AtomicBool::new(false),
            },
            interactive: io::stdin().is_terminal() && stderr,
            progress: Progress::new(stderr && !is_dumb()),
            secrets: Secrets::default(),
        }
    }

    /// Into writers, as if neither were a terminal.
    #[must_use]
    pub fn into_writers(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        let stream = |to| Stream {
            to: Mutex::new(to),
            paint: Paint::plain(),
            width: None,
            closed: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        };
        Self {
            out: stream(out),
            err: stream(err),
            interactive: false,
            progress: Progress::new(false),
            secrets: Secrets::default(),
        }
    }

    /// Never shows these values from now on, wherever they turn up: the last line of defence.
    /// Those shorter than 6 bytes are left alone, they would make a riddle of ordinary text.
    pub fn redact(&self, values: impl IntoIterator<Item = String>) {
        self.secrets.add(values);
    }

    /// Whether nobody reads standard output any more; a stream of lines may end then.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.out.closed.load(Ordering::Relaxed)
    }

    // Data.

    /// Text as it is.
    pub fn data(&self, text: &str) {
        self.print(&self.out, text);
    }

    /// A line of data.
    pub fn line(&self, text: &str) {
        self.print(&self.out, &format!("{text}\n"));
    }

    /// A line of data that tells where it comes from, as `name | text`; each name has its colour.
    pub fn labelled(&self, label: &str, width: usize, text: &str) {
        let label = self.out.paint.label(label, width);
        self.line(&format!("{label} | {text}"));
    }

    /// The text of a plan: what is made, changed and removed in its colour.
    pub fn plan(&self, text: &str) {
        self.data(&self.out.paint.plan(text));
    }

    /// Rows under their headers, in columns. On a terminal the last column is cut where the
    /// screen ends.
    pub fn table(&self, headers: &[&str], rows: Vec<Vec<String>>) {
        let rows = rows
            .into_iter()
            .map(|row| row.iter().map(|cell| self.secrets.hide(cell)).collect())
            .collect();
        let lines = table::lines(headers, rows, self.out.width);
        for (number, line) in lines.iter().enumerate() {
            match number {
                0 => self.line(&self.out.paint.bold(line)),
                _ => self.line(line),
            }
        }
    }

    /// One JSON document.
    pub fn json(&self, value: &impl Serialize) -> Result<()> {
        let mut value = serde_json::to_value(value)?;
        // Before it is text: there a secret may be written with escapes.
        self.secrets.hide_in(&mut value);
        self.line(&serde_json::to_string_pretty(&value)?);
        Ok(())
    }

    /// `text`, green where there are colours: for cells and lines of data.
    #[must_use]
    pub fn good(&self, text: &str) -> String {
        self.out.paint.good(text)
    }

    /// `text`, red where there are colours: for cells and lines of data.
    #[must_use]
    pub fn bad(&self, text: &str) -> String {
        self.out.paint.bad(text)
    }

    // Talk.

    /// A remark.
    pub fn note(&self, text: &str) {
        self.print(&self.err, &format!("{text}\n"));
    }

    /// What to type next.
    pub fn hint(&self, text: &str) {
        let lead = self.err.paint.faint("hint:");
        self.print(&self.err, &format!("  {lead} {text}\n"));
    }

    /// Something to know of.
    pub fn warn(&self, text: &str) {
        let lead = self.err.paint.warning("warning:");
        self.print(&self.err, &format!("{lead} {text}\n"));
    }

    /// Something that failed, as text with its own `  hint:` lines.
    pub fn fail(&self, text: &str) {
        let lead = self.err.paint.bad("error:");
        self.print(&self.err, &format!("{lead} {text}\n"));
    }

    /// An error with its causes in one line, and the hint of the engine's error among them.
    pub fn error(&self, error: &anyhow::Error) {
        let hint = error
            .chain()
            .find_map(|cause| cause.downcast_ref::<EngineError>())
            .and_then(EngineError::hint);
        self.error_with(error, hint.as_deref());
    }

    /// An error with its causes in one line, and what to type next unless its text says so.
    pub fn error_with(&self, error: &anyhow::Error, hint: Option<&str>) {
        let text = causes(error);
        self.fail(&text);
        if let Some(hint) = hint.filter(|_| !text.contains("hint:")) {
            self.hint(hint);
        }
    }

    // Questions.

    /// Asks yes or no. Without a terminal that is an error whose hint is `--yes`.
    pub fn confirm(&self, question: &str) -> Result<bool> {
        let question = self.secrets.hide(question);
        Ok(ask::confirm(self.interactive, &question)?)
    }

    /// Asks to type a name before something is lost; whether it was typed. Without a terminal
    /// that is an error whose hint is `flag`, such as `--yes-purge`.
    pub fn ask_name(&self, question: &str, expected: &str, flag: &str) -> Result<bool> {
        let question = self.secrets.hide(question);
        Ok(ask::name(self.interactive, &question, expected, flag)?)
    }

    // Progress.

    /// Takes spinners and bars away; what comes next stands below the finished lines.
    pub fn finish_progress(&self) {
        self.progress.clear();
    }

    fn print(&self, stream: &Stream, text: &str) {
        let text = self.secrets.hide(text);
        self.progress.suspend(|| stream.write(&text));
    }
}

impl Events for Report {
    fn event(&self, event: Event) {
        match event {
            Event::Note(text) => self.note(&text),
            Event::Warning(text) => self.warn(&text),
            event => {
                for line in self.progress.take(&event, self.err.paint) {
                    self.note(&line);
                }
            }
        }
    }
}

/// `outer: inner: innermost`, without the causes that are already told by the error above them.
fn causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let told = cause.to_string();
        if text.is_empty() {
            text = told;
        } else if !text.contains(&told) {
            // Several lines, as the problems of a file, start on their own.
            text.push_str(if told.contains('\n') { ":\n" } else { ": " });
            text.push_str(&told);
        }
    }
    text
}

fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// A terminal that cannot move its cursor.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

#[cfg(test)]
mod tests;
