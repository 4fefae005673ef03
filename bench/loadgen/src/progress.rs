//! One line on the terminal that tells what is going on; without a terminal, a line now and then.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// Between lines when nobody watches.
const QUIET: Duration = Duration::from_secs(5);

pub struct Progress {
    terminal: bool,
    told: Option<Instant>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            terminal: stderr().is_terminal(),
            told: None,
        }
    }
}

impl Progress {
    pub fn tell(&mut self, text: &str) {
        if self.terminal {
            let _ = write!(stderr(), "\r\x1b[2K{text}");
            let _ = stderr().flush();
        } else if self.told.is_none_or(|told| told.elapsed() >= QUIET) {
            self.told = Some(Instant::now());
            let _ = writeln!(stderr(), "{text}");
        }
    }

    /// Something that stays.
    pub fn line(&mut self, text: &str) {
        if self.terminal {
            let _ = write!(stderr(), "\r\x1b[2K");
        }
        let _ = writeln!(stderr(), "{text}");
    }
}
