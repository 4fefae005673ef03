//! Batched UDP: `recvmmsg`, and `sendmmsg` with or without UDP_SEGMENT.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

const BATCH: usize = 64;
const SLOT: usize = 2_048;
/// Messages per call.
const MESSAGES: usize = 256;
/// Kernel limits on one segmented message.
const MAX_SEGMENTS: usize = 64;
const MAX_BYTES: usize = 65_000;

pub(crate) struct Socket(UdpSocket);

impl Socket {
    /// IPv4 only: the yardstick runs on loopback.
    pub(crate) fn bind(address: SocketAddr, receive_buffer: i32) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        for option in [
            libc::SO_RCVBUFFORCE,
            libc::SO_RCVBUF,
            libc::SO_SNDBUFFORCE,
            libc::SO_SNDBUF,
        ] {
            // SAFETY: the option's value is a `c_int` that outlives the call. The forced sizes need root; the plain ones
            // follow, which would only be smaller, so that a failure of either is no harm.
            let set = unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    option,
                    (&raw const receive_buffer).cast(),
                    size_of::<i32>() as libc::socklen_t,
                )
            };
            if set == 0 && option == libc::SO_SNDBUFFORCE {
                break;
            }
        }
        Ok(Self(socket))
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Until a datagram waits, at most `milliseconds`.
    pub(crate) fn wait(&self, milliseconds: i32) {
        let mut wanted = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry, which outlives the call.
        unsafe { libc::poll(&raw mut wanted, 1, milliseconds) };
    }
}

fn name(address: SocketAddr) -> libc::sockaddr_in {
    let (ip, port) = match address {
        SocketAddr::V4(v4) => (*v4.ip(), v4.port()),
        SocketAddr::V6(v6) => (Ipv4Addr::UNSPECIFIED, v6.port()),
    };
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(ip).to_be(),
        },
        sin_zero: [0; 8],
    }
}

fn empty<T>() -> T {
    // SAFETY: only used for plain C structs of the socket interface, for which zeroes are valid.
    unsafe { std::mem::zeroed() }
}

/// One read.
pub(crate) struct Batch {
    bytes: Box<[u8]>,
    names: Box<[libc::sockaddr_in]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    len: usize,
}

impl Batch {
    pub(crate) fn new() -> Self {
        let mut batch = Self {
            bytes: vec![0; BATCH * SLOT].into_boxed_slice(),
            names: (0..BATCH).map(|_| empty()).collect(),
            vectors: (0..BATCH).map(|_| empty()).collect(),
            headers: (0..BATCH).map(|_| empty()).collect(),
            len: 0,
        };
        let parts = batch
            .names
            .iter_mut()
            .zip(&mut batch.vectors)
            .zip(batch.bytes.chunks_exact_mut(SLOT));
        for (header, ((name, vector), slot)) in batch.headers.iter_mut().zip(parts) {
            vector.iov_base = slot.as_mut_ptr().cast();
            vector.iov_len = slot.len();
            header.msg_hdr.msg_name = (name as *mut libc::sockaddr_in).cast();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
        }
        batch
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn receive(&mut self, socket: &Socket) -> usize {
        for header in &mut self.headers {
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        }
        // SAFETY: every header points to its own name, vector and slot in boxes of `self`, with their true sizes.
        let count = unsafe {
            libc::recvmmsg(
                socket.0.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        self.len = usize::try_from(count).unwrap_or(0);
        self.len
    }

    pub(crate) fn datagram(&mut self, slot: usize) -> Option<(SocketAddr, &mut [u8])> {
        let from = self.names.get(slot)?;
        let ip = Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr));
        let from = SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(from.sin_port)));
        let len = self.headers.get(slot)?.msg_len as usize;
        Some((from, self.bytes.get_mut(slot * SLOT..slot * SLOT + len)?))
    }

    pub(crate) fn bytes(&self, slot: usize, len: usize) -> &[u8] {
        self.bytes.get(slot * SLOT..slot * SLOT + len).unwrap_or_default()
    }
}

#[repr(C, align(8))]
struct Control([u8; 32]);

struct Message {
    to: SocketAddr,
    start: usize,
    len: usize,
    segment: usize,
    segments: usize,
}

/// What waits to be sent.
pub(crate) struct Arena {
    bytes: Box<[u8]>,
    used: usize,
    gso: bool,
    messages: Vec<Message>,
    names: Box<[libc::sockaddr_in]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

impl Arena {
    pub(crate) fn new(size: usize, gso: bool) -> Self {
        Self {
            bytes: vec![0; size.max(2 * SLOT)].into_boxed_slice(),
            used: 0,
            gso,
            messages: Vec::with_capacity(MESSAGES),
            names: (0..MESSAGES).map(|_| empty()).collect(),
            controls: (0..MESSAGES).map(|_| Control([0; 32])).collect(),
            vectors: (0..MESSAGES).map(|_| empty()).collect(),
            headers: (0..MESSAGES).map(|_| empty()).collect(),
        }
    }

    /// Room for one datagram; sends first when there is none.
    pub(crate) fn reserve(&mut self, socket: &Socket, len: usize) -> &mut [u8] {
        if self.used + len > self.bytes.len() || self.messages.len() == MESSAGES {
            self.flush(socket);
        }
        &mut self.bytes[self.used..self.used + len]
    }

    pub(crate) fn commit(&mut self, to: SocketAddr, len: usize) {
        let start = self.used;
        self.used += len;
        if let Some(last) = self.messages.last_mut().filter(|_| self.gso) {
            let whole = last.len == last.segment * last.segments;
            if whole
                && last.to == to
                && len <= last.segment
                && last.segments < MAX_SEGMENTS
                && last.len + len <= MAX_BYTES
            {
                last.len += len;
                last.segments += 1;
                return;
            }
        }
        self.messages.push(Message {
            to,
            start,
            len,
            segment: len,
            segments: 1,
        });
    }

    pub(crate) fn flush(&mut self, socket: &Socket) {
        let parts = self.names.iter_mut().zip(&mut self.controls).zip(&mut self.vectors);
        for ((header, ((to, control), vector)), message) in self.headers.iter_mut().zip(parts).zip(&self.messages) {
            *to = name(message.to);
            vector.iov_base = self.bytes[message.start..].as_mut_ptr().cast();
            vector.iov_len = message.len;
            let header = &mut header.msg_hdr;
            header.msg_name = (to as *mut libc::sockaddr_in).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_control = std::ptr::null_mut();
            header.msg_controllen = 0;
            if message.segments > 1 {
                header.msg_control = (control as *mut Control).cast();
                // SAFETY: `control` is aligned for `cmsghdr` and has room for a header and two bytes of data.
                unsafe {
                    header.msg_controllen = libc::CMSG_SPACE(2) as usize;
                    let control: *mut libc::cmsghdr = header.msg_control.cast();
                    (*control).cmsg_level = libc::SOL_UDP;
                    (*control).cmsg_type = libc::UDP_SEGMENT;
                    (*control).cmsg_len = libc::CMSG_LEN(2) as usize;
                    libc::CMSG_DATA(control)
                        .cast::<u16>()
                        .write_unaligned(message.segment as u16);
                }
            }
        }
        let mut done = 0;
        while done < self.messages.len() {
            // SAFETY: the headers up to `messages.len()` were laid out above and point into boxes of `self`.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.0.as_raw_fd(),
                    self.headers.as_mut_ptr().add(done),
                    (self.messages.len() - done) as libc::c_uint,
                    0,
                )
            };
            // A message that the kernel refuses is left out.
            done += usize::try_from(sent).unwrap_or(0).max(1);
        }
        self.messages.clear();
        self.used = 0;
    }
}

/// Runs this thread, and those it will start, on one CPU.
pub(crate) fn pin(cpu: usize) {
    // SAFETY: a plain C struct for which zeroes are valid; the index is within it.
    unsafe {
        let mut set: libc::cpu_set_t = empty();
        libc::CPU_SET(cpu.min(libc::CPU_SETSIZE as usize - 1), &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}
