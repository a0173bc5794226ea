//! Our own terminal while a container has it.

use std::io::IsTerminal as _;

use rustix::termios::{self, OptionalActions, Termios};

/// Raw mode of the terminal on standard input; put back when dropped.
pub(super) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Turns it on; `None` when standard input is no terminal.
    pub(super) fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = termios::tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(&stdin, OptionalActions::Drain, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nothing is left to do when the terminal has gone away.
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// Rows and columns of the terminal on standard output.
pub(super) fn size() -> Option<(u16, u16)> {
    let size = termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}
