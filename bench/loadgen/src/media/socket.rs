//! UDP sockets of connections: one each, connected to its server, read and written in batches.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::MediaOptions;

pub(super) const BATCH: usize = 32;
/// What a coalesced read may hold (UDP_GRO).
const SLOT_GRO: usize = 65_536 + 1_088;
const SLOT: usize = 2_048;
/// Room for a timestamp and a segment size.
const CONTROL: usize = 64;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn set(socket: &UdpSocket, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: `value` is a `c_int` and outlives the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// A non-blocking socket on a port that the kernel picks.
pub(super) fn bind(address: SocketAddr, options: &MediaOptions) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    let buffer = libc::c_int::try_from(options.receive_buffer).unwrap_or(libc::c_int::MAX);
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, buffer)
        .or_else(|_| set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, buffer))?;
    if options.receive_gro {
        set(&socket, libc::SOL_UDP, libc::UDP_GRO, 1)?;
    }
    if options.kernel_timestamps {
        set(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    }
    Ok(socket)
}

/// Datagrams that this socket had no room for since it was opened; 0 when the kernel does not tell (before Linux 4.12).
pub(super) fn drops(socket: &UdpSocket) -> u64 {
    /// `SK_MEMINFO_DROPS`, the last of `SK_MEMINFO_VARS` words (linux/sock_diag.h).
    const DROPS: usize = 8;
    let mut words = [0_u32; DROPS + 1];
    let mut len = size_of_val(&words) as libc::socklen_t;
    // SAFETY: `words` has room for `len` bytes, and both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            (&raw mut words).cast(),
            &raw mut len,
        )
    };
    if result == 0 { words[DROPS].into() } else { 0 }
}

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// Reads batches from any socket into buffers of its own.
pub(super) struct Receiver {
    slot: usize,
    timestamps: bool,
    bytes: Box<[u8]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    received: usize,
}

// SAFETY: the pointers in `vectors` and `headers` are read by system calls alone; they point into boxes of the struct
// itself, which move with its ownership but not in memory.
unsafe impl Send for Receiver {}

impl Receiver {
    pub(super) fn new(gro: bool, timestamps: bool) -> Self {
        let slot = if gro { SLOT_GRO } else { SLOT };
        // SAFETY: plain C structs for which zeroes are valid.
        let (vector, header) = unsafe { (std::mem::zeroed::<libc::iovec>(), std::mem::zeroed::<libc::mmsghdr>()) };
        let mut receiver = Self {
            slot,
            timestamps: timestamps || gro,
            bytes: vec![0; slot * BATCH].into_boxed_slice(),
            controls: vec![Control([0; CONTROL]); BATCH].into_boxed_slice(),
            vectors: vec![vector; BATCH].into_boxed_slice(),
            headers: vec![header; BATCH].into_boxed_slice(),
            received: BATCH,
        };
        receiver.lay_out();
        receiver
    }

    fn lay_out(&mut self) {
        let parts = self.vectors.iter_mut().zip(&mut self.controls);
        let slots = self.bytes.chunks_exact_mut(self.slot);
        for ((header, (vector, control)), slot) in self.headers.iter_mut().take(self.received).zip(parts).zip(slots) {
            vector.iov_base = slot.as_mut_ptr().cast();
            vector.iov_len = slot.len();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            if self.timestamps {
                header.msg_hdr.msg_control = (&raw mut control.0).cast();
                header.msg_hdr.msg_controllen = CONTROL;
            }
        }
        self.received = 0;
    }

    /// Datagrams that wait, at most [`BATCH`] messages; 0 when there is none or the socket has an error to tell.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> usize {
        self.lay_out();
        // SAFETY: every header points to a vector, and that to a slot, of `self` with their true sizes; control buffers
        // likewise. All outlive the call and are borrowed exclusively.
        let result = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        self.received = usize::try_from(result).unwrap_or(0);
        self.received
    }

    /// Gives each datagram with its kernel timestamp (ns since 1970) if asked for, coalesced ones split.
    pub(super) fn drain(&mut self, mut take: impl FnMut(Option<u64>, &mut [u8])) {
        let slots = self.bytes.chunks_exact_mut(self.slot);
        for (header, slot) in self.headers.iter().take(self.received).zip(slots) {
            let Some(bytes) = slot.get_mut(..header.msg_len as usize) else {
                continue;
            };
            let (segment, at) = if self.timestamps {
                controls(&header.msg_hdr)
            } else {
                (None, None)
            };
            let segment = segment.unwrap_or(bytes.len()).max(1);
            for datagram in bytes.chunks_mut(segment) {
                take(at, datagram);
            }
        }
    }
}

/// Segment size of coalesced datagrams, and when the kernel took them.
fn controls(message: &libc::msghdr) -> (Option<usize>, Option<u64>) {
    let (mut segment, mut at) = (None, None);
    // SAFETY: `recvmmsg` has filled the control buffer up to `msg_controllen`, which CMSG_FIRSTHDR and CMSG_NXTHDR
    // respect; messages of these types carry a `c_int` and a `timespec`.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(message);
        while !control.is_null() {
            let data = libc::CMSG_DATA(control);
            match ((*control).cmsg_level, (*control).cmsg_type) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    segment = usize::try_from(data.cast::<libc::c_int>().read_unaligned()).ok();
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let time = data.cast::<libc::timespec>().read_unaligned();
                    at = Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64);
                }
                _ => {}
            }
            control = libc::CMSG_NXTHDR(message, control);
        }
    }
    (segment, at)
}

/// Datagrams of one connection, sent together.
pub(super) struct Outgoing {
    bytes: Box<[u8]>,
    ends: Vec<usize>,
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; SLOT * 64].into_boxed_slice(),
            ends: Vec::with_capacity(64),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.ends.len() >= 64
    }

    /// Room for one datagram, or `None`: send first.
    pub(super) fn room(&mut self) -> Option<&mut [u8]> {
        let start = self.ends.last().copied().unwrap_or(0);
        self.bytes.get_mut(start..start + SLOT)
    }

    pub(super) fn commit(&mut self, len: usize) {
        let start = self.ends.last().copied().unwrap_or(0);
        self.ends.push(start + len);
    }

    /// Sends everything; what the kernel refuses is lost, as on any network.
    pub(super) fn send(&mut self, socket: &UdpSocket) {
        if self.ends.is_empty() {
            return;
        }
        // SAFETY: plain C structs for which zeroes are valid.
        let (vector, header) = unsafe { (std::mem::zeroed::<libc::iovec>(), std::mem::zeroed::<libc::mmsghdr>()) };
        let mut vectors = [vector; 64];
        let mut headers = [header; 64];
        let mut start = 0;
        let count = self.ends.len().min(64);
        for ((vector, header), &end) in vectors.iter_mut().zip(&mut headers).zip(&self.ends) {
            let datagram = self.bytes.get_mut(start..end).unwrap_or_default();
            vector.iov_base = datagram.as_mut_ptr().cast();
            vector.iov_len = datagram.len();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            start = end;
        }
        let mut done = 0;
        while done < count {
            // SAFETY: the first `count` headers point to vectors of this frame and bytes of `self`; all outlive the call.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    headers.as_mut_ptr().add(done),
                    (count - done) as libc::c_uint,
                    0,
                )
            };
            done += usize::try_from(sent).unwrap_or(0).max(1);
        }
        self.ends.clear();
    }
}

/// Readiness of many sockets.
pub(super) struct Poller {
    fd: std::os::fd::OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        use std::os::fd::FromRawFd;
        // SAFETY: takes no pointers; the descriptor is new and owned by nobody else.
        let fd = unsafe { std::os::fd::OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Self {
            fd,
            events: Vec::with_capacity(256),
        })
    }

    pub(super) fn add(&self, fd: &impl AsRawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: token,
        };
        // SAFETY: `event` outlives the call.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event) })?;
        Ok(())
    }

    pub(super) fn wait(&mut self, time: Duration) -> &[libc::epoll_event] {
        let time = libc::timespec {
            tv_sec: time.as_secs() as libc::time_t,
            tv_nsec: time.subsec_nanos().into(),
        };
        self.events.clear();
        // SAFETY: room for `capacity` events; the kernel tells how many it wrote.
        unsafe {
            let count = libc::epoll_pwait2(
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.capacity() as libc::c_int,
                &raw const time,
                std::ptr::null(),
            );
            self.events.set_len(usize::try_from(count).unwrap_or(0));
        }
        &self.events
    }
}

/// An eventfd: wakes the media thread.
#[derive(Debug)]
pub(super) struct Waker(std::os::fd::OwnedFd);

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        use std::os::fd::FromRawFd;
        // SAFETY: takes no pointers; the descriptor is new and owned by nobody else.
        Ok(Self(unsafe {
            std::os::fd::OwnedFd::from_raw_fd(check(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC))?)
        }))
    }

    pub(super) fn wake(&self) {
        let one = 1_u64;
        // SAFETY: eight bytes are read from `one`. A full counter means that the thread is about to wake anyway.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    pub(super) fn reset(&self) {
        let mut value = 0_u64;
        // SAFETY: eight bytes are written to `value`.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut value).cast(), 8) };
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_full_socket_drops_is_its_own() {
        let local = "127.0.0.1:0".parse().unwrap();
        let small = MediaOptions {
            receive_buffer: 1,
            ..MediaOptions::default()
        };
        let full = bind(local, &small).unwrap();
        let other = bind(local, &MediaOptions::default()).unwrap();
        let from = UdpSocket::bind(local).unwrap();
        for _ in 0..100 {
            from.send_to(&[0; 1_200], full.local_addr().unwrap()).unwrap();
            from.send_to(&[0; 1_200], other.local_addr().unwrap()).unwrap();
        }
        let mut receiver = Receiver::new(false, false);
        let mut taken = |socket: &UdpSocket| {
            std::iter::from_fn(|| Some(receiver.receive(socket)).filter(|&n| n > 0)).sum::<usize>()
        };
        let (of_full, of_other) = (taken(&full), taken(&other));
        assert!(of_full < 100);
        assert_eq!((drops(&full), drops(&other), of_other), (100 - of_full as u64, 0, 100));
    }

    #[test]
    fn a_batch_is_sent_whole_and_read_with_the_time_of_arrival() {
        let local = "127.0.0.1:0".parse().unwrap();
        let stamped = MediaOptions {
            kernel_timestamps: true,
            ..MediaOptions::default()
        };
        let from = bind(local, &MediaOptions::default()).unwrap();
        let to = bind(local, &stamped).unwrap();
        from.connect(to.local_addr().unwrap()).unwrap();
        let mut outgoing = Outgoing::new();
        for len in 1..=20_usize {
            outgoing.room().unwrap()[..len].fill(len as u8);
            outgoing.commit(len);
        }
        let before = crate::media::wall_clock();
        outgoing.send(&from);
        let mut receiver = Receiver::new(false, true);
        assert_eq!(receiver.receive(&to), 20);
        let mut lens = Vec::new();
        receiver.drain(|at, datagram| {
            // The kernel's clock ticks more coarsely than ours may have been read.
            assert!(at.unwrap() + 10_000_000 > before);
            assert!(datagram.iter().all(|&byte| usize::from(byte) == datagram.len()));
            lens.push(datagram.len());
        });
        assert_eq!(lens, (1..=20).collect::<Vec<_>>());
    }
}
