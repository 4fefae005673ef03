//! `recvmmsg` with UDP_GRO.

use std::io;
use std::mem::size_of;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use super::kernel::{Control, boxed, empty_header, empty_name, empty_vector, from_sockaddr, gro_segment};
use crate::counters::IoRow;
use crate::sys::check;

/// Messages per `recvmmsg`.
pub(crate) const RECEIVE_BATCH: usize = 64;
/// With UDP_GRO one message holds up to 64 KB of datagrams of one flow.
/// Not a power of two: slots at such a distance would compete for the same sets of the cache.
const RECEIVE_SLOT_GRO: usize = 65_536 + 17 * 64;
/// Without, one datagram. What is longer is no packet that we take.
const RECEIVE_SLOT: usize = 2_048;

/// Receives batches into buffers of its own.
pub(crate) struct Receiver {
    slot: usize,
    bytes: Box<[u8]>,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    received: usize,
}

// SAFETY: the pointers in `vectors` and `headers` are read by system calls alone; they point into boxes of the struct
// itself, which move with its ownership but not in memory.
unsafe impl Send for Receiver {}

impl Receiver {
    pub(crate) fn new(gro: bool) -> Self {
        let slot = if gro { RECEIVE_SLOT_GRO } else { RECEIVE_SLOT };
        let mut receiver = Self {
            slot,
            bytes: vec![0; slot * RECEIVE_BATCH].into_boxed_slice(),
            names: boxed(RECEIVE_BATCH, empty_name),
            controls: boxed(RECEIVE_BATCH, Control::default),
            vectors: boxed(RECEIVE_BATCH, empty_vector),
            headers: boxed(RECEIVE_BATCH, empty_header),
            received: RECEIVE_BATCH,
        };
        receiver.lay_out();
        receiver
    }

    /// Makes the headers that the last call has written to whole again.
    fn lay_out(&mut self) {
        let slots = self.bytes.chunks_exact_mut(self.slot);
        let parts = self.names.iter_mut().zip(&mut self.controls).zip(&mut self.vectors);
        let used = self.headers.iter_mut().take(self.received);
        for ((header, ((name, control), vector)), slot) in used.zip(parts).zip(slots) {
            vector.iov_base = slot.as_mut_ptr().cast();
            vector.iov_len = slot.len();
            let message = &mut header.msg_hdr;
            message.msg_name = (name as *mut libc::sockaddr_storage).cast();
            message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            message.msg_iov = vector;
            message.msg_iovlen = 1;
            message.msg_control = (control as *mut Control).cast();
            message.msg_controllen = size_of::<Control>() as _;
            message.msg_flags = 0;
            header.msg_len = 0;
        }
        self.received = 0;
    }

    /// Takes what waits, at most [`RECEIVE_BATCH`] messages, and returns how many; 0 when nothing waits.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.lay_out();
        // SAFETY: each of the RECEIVE_BATCH headers points to its own name, control and byte slot with their true
        // sizes (`lay_out` has renewed those that a call changed); all belong to `self`, are borrowed exclusively here,
        // and outlive the call.
        let result = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                RECEIVE_BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        match check(result) {
            Ok(count) => {
                self.received = count as usize;
                Ok(self.received)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Gives each datagram of the last batch, coalesced ones split, to `take`.
    pub(crate) fn drain(&mut self, counters: &mut IoRow, mut take: impl FnMut(SocketAddr, &mut [u8])) {
        let parts = self.names.iter().zip(self.bytes.chunks_exact_mut(self.slot));
        for (header, (name, slot)) in self.headers.iter().take(self.received).zip(parts) {
            if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                counters.receive_truncated += 1;
                continue;
            }
            let (Some(from), Some(bytes)) = (from_sockaddr(name), slot.get_mut(..header.msg_len as usize)) else {
                continue;
            };
            let segment = gro_segment(&header.msg_hdr).unwrap_or(bytes.len()).max(1);
            for datagram in bytes.chunks_mut(segment) {
                take(from, datagram);
            }
        }
    }
}
