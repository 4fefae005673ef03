//! One line on the terminal that tells what is going on; without a terminal, a line now and then.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use tokio::time::sleep;

/// Between lines when nobody watches.
const QUIET: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(500);
const CLEAR: &str = "\r\x1b[2K";

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
            let _ = write!(stderr(), "{CLEAR}{text}");
            let _ = stderr().flush();
        } else if self.told.is_none_or(|told| told.elapsed() >= QUIET) {
            self.told = Some(Instant::now());
            let _ = writeln!(stderr(), "{text}");
        }
    }

    /// Something that stays.
    pub fn line(&mut self, text: &str) {
        self.clear();
        let _ = writeln!(stderr(), "{text}");
    }

    /// Sleeps, and tells how much of it is left.
    pub async fn sleep(&mut self, what: &str, time: Duration) {
        if !self.terminal {
            return sleep(time).await;
        }
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.tell(&format!("{what}, {:.0} s left", left.as_secs_f64().ceil()));
            sleep(left.min(TICK)).await;
        }
    }

    fn clear(&self) {
        if self.terminal {
            let _ = write!(stderr(), "{CLEAR}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
