//! Waiting for sockets, time, commands and signals, to well under a millisecond.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

pub(crate) struct Wait {
    signals: OwnedFd,
    /// Standard input has not ended.
    commands: bool,
    polled: Vec<libc::pollfd>,
}

/// What there is to do, besides the time.
pub(crate) struct Ready {
    pub(crate) ended: bool,
    pub(crate) commands: bool,
}

const OWN: usize = 2;

/// From now on this thread runs when it can, whatever others do. The kernel keeps it from more than 95 % of a CPU.
pub(crate) fn realtime() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: 0 is this thread, and the parameter lives until the call returns.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

impl Wait {
    /// To be called before other threads start: they inherit that SIGINT and SIGTERM are blocked.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the set is initialised by `sigemptyset` before anything reads it, and outlives the calls.
        let signals = unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGINT);
            libc::sigaddset(&raw mut set, libc::SIGTERM);
            libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC)
        };
        if signals < 0 {
            return Err(io::Error::last_os_error());
        }
        // The kernel otherwise lets timers of a thread be 50 µs late to save wake-ups.
        // SAFETY: takes plain numbers.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
        Ok(Self {
            // SAFETY: a new descriptor that nothing else owns.
            signals: unsafe { OwnedFd::from_raw_fd(signals) },
            commands: true,
            polled: Vec::new(),
        })
    }

    /// Replaces the descriptors to wait for.
    pub(crate) fn watch(&mut self, descriptors: impl IntoIterator<Item = RawFd>) {
        let own = [self.signals.as_raw_fd(), libc::STDIN_FILENO];
        self.polled = own
            .into_iter()
            .chain(descriptors)
            .map(|fd| libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            })
            .collect();
    }

    /// Standard input has ended: there will be no more commands.
    pub(crate) fn no_more_commands(&mut self) {
        self.commands = false;
    }

    /// Until something can be read, or `timeout` has passed.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Ready> {
        if !self.commands {
            // `poll` ignores negative descriptors.
            self.polled[1].fd = -1;
        }
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), |timeout| &raw const *timeout);
        // SAFETY: the descriptors and the time live until the call returns, and their count is given.
        let count = unsafe {
            libc::ppoll(
                self.polled.as_mut_ptr(),
                self.polled.len() as libc::nfds_t,
                timeout,
                std::ptr::null(),
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
            self.polled.iter_mut().for_each(|polled| polled.revents = 0);
        }
        Ok(Ready {
            ended: self.polled[0].revents != 0,
            commands: self.polled[1].revents != 0,
        })
    }

    /// Whether the descriptor at this place of those watched can be read.
    pub(crate) fn readable(&self, index: usize) -> bool {
        self.polled[OWN + index].revents != 0
    }
}
