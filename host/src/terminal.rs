// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The user's terminal, for an interactive session.

use std::io::{self, IsTerminal};

use rustix::termios::{self, OptionalActions, Termios};

/// Standard input in raw mode: every key goes to the guest, Ctrl-C too. Dropping this restores the terminal.
#[derive(Debug)]
pub struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Switches to raw mode. None if standard input is not a terminal.
    ///
    /// # Errors
    ///
    /// The terminal does not take the mode.
    pub fn enter() -> io::Result<Option<RawMode>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = termios::tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Some(RawMode { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The size of the terminal on standard output as (rows, columns); 24 by 80 if there is none.
pub fn size() -> (u16, u16) {
    match termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        _ => (24, 80),
    }
}
