//! Lines on standard output, by a thread of their own, so that a slow reader delays no packet.

use std::io::Write;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use serde::Serialize;

/// Lines that may wait; what comes when so many do is dropped.
const WAITING: usize = 4_096;

pub(crate) struct Output {
    lines: Option<SyncSender<String>>,
    writer: Option<JoinHandle<()>>,
}

impl Output {
    pub(crate) fn new() -> Self {
        let (lines, received) = sync_channel::<String>(WAITING);
        let writer = std::thread::spawn(move || {
            let mut out = std::io::stdout().lock();
            for line in received {
                // A reader that went away needs no lines; the emulation goes on.
                if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                    break;
                }
            }
        });
        Self {
            lines: Some(lines),
            writer: Some(writer),
        }
    }

    pub(crate) fn line(&self, value: &impl Serialize) {
        if let (Some(lines), Ok(line)) = (&self.lines, serde_json::to_string(value)) {
            // Full or closed: statistics are worth less than packets in time.
            let _ = lines.try_send(line);
        }
    }
}

/// What was said is written before the program ends.
impl Drop for Output {
    fn drop(&mut self) {
        self.lines = None;
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has been reported by the runtime.
            let _ = writer.join();
        }
    }
}
