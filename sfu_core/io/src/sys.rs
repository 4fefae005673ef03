//! Descriptors, wake-ups and interface addresses. Beside `udp.rs` the only unsafe code of this crate.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Turns the -1 of a system call into the error it left.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Owns the descriptor that a system call has just returned, or its error.
pub(crate) fn own(result: libc::c_int) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: every caller passes the result of a call that returns a new descriptor which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A counter that `epoll` and asyncio can wait on.
#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        own(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) }).map(Self)
    }

    pub(crate) fn notify(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: reads the 8 bytes of `one`. It fails only when the counter is full, and then it is readable already.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    pub(crate) fn clear(&self) {
        let mut count = [0_u8; 8];
        // SAFETY: writes at most the 8 bytes of `count`. It fails only when the counter is 0 already.
        unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Wakes one worker; however often it is woken before it looks, that costs one system call.
#[derive(Debug)]
pub(crate) struct Waker {
    fd: EventFd,
    pending: AtomicBool,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            fd: EventFd::new()?,
            pending: AtomicBool::new(false),
        })
    }

    /// To be called after the work was queued.
    pub(crate) fn wake(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            self.fd.notify();
        }
    }

    /// To be called before the queues are drained: what is queued later wakes again, and what a `wake`
    /// that found `pending` set had queued is visible after this swap.
    pub(crate) fn reset(&self) {
        self.fd.clear();
        self.pending.swap(false, Ordering::AcqRel);
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Level-triggered `epoll` with timeouts finer than a millisecond.
pub(crate) struct Poller {
    epoll: OwnedFd,
    ready: Vec<libc::epoll_event>,
    /// The kernel has `epoll_pwait2` (Linux 5.11).
    fine: bool,
}

impl Poller {
    pub(crate) fn new(most: usize) -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let epoll = own(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Self {
            epoll,
            ready: Vec::with_capacity(most.max(1)),
            fine: true,
        })
    }

    pub(crate) fn add(&self, fd: &impl AsRawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: token,
        };
        // SAFETY: `event` outlives the call, which copies it.
        check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &mut event) })?;
        Ok(())
    }

    /// Sleeps until something is readable or the time has passed. A signal ends it early.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.ready.clear();
        let found = match self.wait_fine(timeout) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                self.fine = false;
                self.wait_coarse(timeout)
            }
            other => other,
        };
        let found = match found {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other?,
        };
        // SAFETY: the kernel has initialised the first `found` entries, at most the capacity that it was given.
        unsafe { self.ready.set_len(found) };
        Ok(())
    }

    /// Tokens of what was readable at the last `wait`.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = u64> + '_ {
        self.ready.iter().map(|event| event.u64)
    }

    fn wait_fine(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        if !self.fine {
            return self.wait_coarse(timeout);
        }
        let limit = timeout.map(|t| libc::timespec {
            tv_sec: t.as_secs().min(3_600) as libc::time_t,
            tv_nsec: t.subsec_nanos().into(),
        });
        let limit = limit
            .as_ref()
            .map_or(std::ptr::null(), |limit| limit as *const libc::timespec);
        // SAFETY: `ready` has room for `capacity` events; `limit` is null or points to `limit` above; no signal mask.
        let result = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.ready.as_mut_ptr(),
                self.ready.capacity() as libc::c_int,
                limit,
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        check(result as libc::c_int).map(|n| n as usize)
    }

    fn wait_coarse(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let limit = timeout.map_or(-1, |t| t.as_nanos().div_ceil(1_000_000).min(3_600_000) as libc::c_int);
        // SAFETY: `ready` has room for `capacity` events.
        let result = unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                self.ready.as_mut_ptr(),
                self.ready.capacity() as libc::c_int,
                limit,
            )
        };
        check(result).map(|n| n as usize)
    }
}

/// Addresses of the interfaces that are up.
pub(crate) fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: `getifaddrs` writes the head of a list that is freed below.
    check(unsafe { libc::getifaddrs(&mut list) })?;
    let mut found = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` is a node of the list, which is not freed before the loop ends.
        let node = unsafe { &*next };
        next = node.ifa_next;
        if node.ifa_addr.is_null() || node.ifa_flags & libc::IFF_UP as libc::c_uint == 0 {
            continue;
        }
        // SAFETY: a non-null `ifa_addr` points to a socket address of the size that its family has.
        match i32::from(unsafe { (*node.ifa_addr).sa_family }) {
            libc::AF_INET => {
                // SAFETY: the family says that this is a `sockaddr_in`; the read needs no alignment.
                let address = unsafe { node.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned() };
                found.push(IpAddr::V4(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr))));
            }
            libc::AF_INET6 => {
                // SAFETY: the family says that this is a `sockaddr_in6`; the read needs no alignment.
                let address = unsafe { node.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
                found.push(IpAddr::V6(Ipv6Addr::from(address.sin6_addr.s6_addr)));
            }
            _ => {}
        }
    }
    // SAFETY: `list` came from `getifaddrs` and no reference into it remains.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn many_wakes_are_one() {
        let waker = Waker::new().unwrap();
        let mut poller = Poller::new(4).unwrap();
        poller.add(&waker, 7).unwrap();
        waker.wake();
        waker.wake();
        poller.wait(None).unwrap();
        assert_eq!(poller.tokens().collect::<Vec<_>>(), [7]);
        waker.reset();
        poller.wait(Some(Duration::ZERO)).unwrap();
        assert_eq!(poller.tokens().count(), 0);
        waker.wake();
        poller.wait(None).unwrap();
        assert_eq!(poller.tokens().count(), 1);
    }

    #[test]
    fn waits_as_long_as_asked() {
        for fine in [true, false] {
            let mut poller = Poller::new(1).unwrap();
            poller.fine = fine;
            let start = Instant::now();
            poller.wait(Some(Duration::from_micros(1_500))).unwrap();
            assert!(start.elapsed() >= Duration::from_micros(1_500));
        }
    }

    #[test]
    fn finds_the_loopback_address() {
        assert!(
            interface_addresses()
                .unwrap()
                .contains(&IpAddr::V4(Ipv4Addr::LOCALHOST))
        );
    }
}
