//! Questions, when there is somebody to ask.

use dialoguer::console::Term;
use dialoguer::{Confirm, Input};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Standard input or standard error is no terminal.
    #[error("cannot ask without a terminal: {question}\n  hint: add `{flag}` to answer in advance")]
    NoTerminal {
        /// What would have been asked.
        question: String,
        /// What answers it on the command line.
        flag: String,
    },
    /// The terminal went away, or the question was broken off.
    #[error("the question was not answered: {0}")]
    Unanswered(#[source] dialoguer::Error),
}

/// Makes the terminal ready for a question: what was typed before it was asked is no answer to it,
/// and Ctrl-C breaks it off as an error instead of ending us with the cursor hidden.
fn ready() {
    let _ = rustix::termios::tcflush(std::io::stdin(), rustix::termios::QueueSelector::IFlush);
    if tokio::runtime::Handle::try_current().is_ok() {
        // Once a handler is there, the signal no longer ends the process by itself.
        let _ = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt());
    }
}

/// What a question that was broken off leaves behind: nothing.
fn broken_off(error: dialoguer::Error) -> AskError {
    let _ = Term::stderr().show_cursor();
    AskError::Unanswered(error)
}

/// Yes or no; no by default.
pub(super) fn confirm(interactive: bool, question: &str) -> Result<bool, AskError> {
    if !interactive {
        return Err(AskError::NoTerminal {
            question: question.to_owned(),
            flag: "--yes".to_owned(),
        });
    }
    ready();
    // `None` is escape or `q`: no.
    let answer = Confirm::new()
        .with_prompt(question)
        .default(false)
        .interact_on_opt(&Term::stderr())
        .map_err(broken_off)?;
    Ok(answer.unwrap_or(false))
}

/// A name to be typed; an empty answer is a no.
pub(super) fn name(
    interactive: bool,
    question: &str,
    expected: &str,
    flag: &str,
) -> Result<bool, AskError> {
    if !interactive {
        return Err(AskError::NoTerminal {
            question: question.to_owned(),
            flag: format!("{flag} {expected}"),
        });
    }
    ready();
    let answer: String = Input::new()
        .with_prompt(question)
        .allow_empty(true)
        .interact_text_on(&Term::stderr())
        .map_err(broken_off)?;
    Ok(answer.trim() == expected)
}
