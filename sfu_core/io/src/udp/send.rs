//! `sendmmsg` with UDP_SEGMENT.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use engine::transmit::{Transmit, TransmitArena};
use libc::c_int;

use super::kernel::{Control, boxed, empty_header, empty_name, empty_vector, write_sockaddr};
use crate::counters::IoRow;
use crate::sys::check;

/// Messages per `sendmmsg`, at most UIO_MAXIOV.
pub(super) const SEND_BATCH: usize = 256;
/// Waits of a millisecond for room in the send buffer, per flush. More blocks the worker for longer, fewer drops earlier.
const SEND_WAITS: u32 = 2;
/// Segmented messages refused in a row before segmentation offload is given up. One alone may be the fault of its
/// destination (a small MTU of its route).
const GSO_REFUSALS: u32 = 16;

/// Sends what an engine has laid out. The place where another way to the network card would go.
pub(crate) trait Sender: Send {
    fn flush(&mut self, sockets: &[UdpSocket], arena: &TransmitArena, counters: &mut IoRow);
}

/// `sendmmsg`, one message per GSO group.
pub(crate) struct Mmsg {
    pub(super) gso: bool,
    refused: u32,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    queued: Vec<Transmit>,
}

// SAFETY: the pointers in `vectors` and `headers` are written before each system call and are read by it alone;
// they point into boxes that move with the struct's ownership, not in memory.
unsafe impl Send for Mmsg {}

impl Mmsg {
    pub(crate) fn new(gso: bool) -> Self {
        Self {
            gso,
            refused: 0,
            names: boxed(SEND_BATCH, empty_name),
            controls: boxed(SEND_BATCH, Control::default),
            vectors: boxed(SEND_BATCH, empty_vector),
            headers: boxed(SEND_BATCH, empty_header),
            queued: Vec::with_capacity(SEND_BATCH),
        }
    }

    /// Sends `queued`, all of one socket, and empties it.
    fn send_queued(&mut self, sockets: &[UdpSocket], arena: &TransmitArena, waits: &mut u32, counters: &mut IoRow) {
        let Some(socket) = self.queued.first().and_then(|t| sockets.get(usize::from(t.socket.0))) else {
            counters.send_errors += self.queued.len() as u64;
            self.queued.clear();
            return;
        };
        self.lay_out(arena);
        let count = self.queued.len();
        let mut done = 0;
        while done < count {
            counters.send_calls += 1;
            // SAFETY: `lay_out` has pointed the first `count` headers at names, controls and vectors of `self` and at
            // bytes of `arena` (whose ranges it checked); all outlive the call, which only reads them and writes `msg_len`.
            let result = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    self.headers.as_mut_ptr().add(done),
                    (count - done) as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                )
            };
            match check(result) {
                Ok(sent) => {
                    let sent = &self.queued[done..(done + sent as usize).min(count)];
                    let segmented = sent.iter().filter(|t| is_segmented(t)).count();
                    if segmented > 0 {
                        self.refused = 0;
                    }
                    counters.send_messages += sent.len() as u64;
                    counters.send_gso_messages += segmented as u64;
                    done += sent.len().max(1);
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => {
                        if *waits == 0 {
                            counters.send_dropped += (count - done) as u64;
                            break;
                        }
                        *waits -= 1;
                        wait_writable(socket);
                    }
                    code => {
                        let first = self.queued[done];
                        if is_segmented(&first) && self.send_singly(socket, arena, &first, counters) {
                            self.count_refusal(code, counters);
                        } else {
                            counters.send_errors += 1;
                        }
                        done += 1;
                    }
                },
            }
        }
        self.queued.clear();
    }

    /// Points a header at each queued message.
    fn lay_out(&mut self, arena: &TransmitArena) {
        let parts = self.names.iter_mut().zip(&mut self.controls).zip(&mut self.vectors);
        for ((header, ((name, control), vector)), transmit) in self.headers.iter_mut().zip(parts).zip(&self.queued) {
            let bytes = bytes_of(arena, transmit);
            let name_len = write_sockaddr(transmit.to, name);
            vector.iov_base = bytes.as_ptr().cast_mut().cast();
            vector.iov_len = bytes.len();
            let message = &mut header.msg_hdr;
            message.msg_name = (name as *mut libc::sockaddr_storage).cast();
            message.msg_namelen = name_len;
            message.msg_iov = vector;
            message.msg_iovlen = 1;
            message.msg_flags = 0;
            if is_segmented(transmit) {
                message.msg_controllen = control.set_segment(transmit.segment) as _;
                message.msg_control = (control as *mut Control).cast();
            } else {
                message.msg_control = std::ptr::null_mut();
                message.msg_controllen = 0;
            }
        }
    }

    /// The datagrams of one message, each by its own call. False when none could be sent.
    fn send_singly(
        &self,
        socket: &UdpSocket,
        arena: &TransmitArena,
        transmit: &Transmit,
        counters: &mut IoRow,
    ) -> bool {
        let mut sent = false;
        for datagram in bytes_of(arena, transmit).chunks(usize::from(transmit.segment.max(1))) {
            counters.send_calls += 1;
            if socket.send_to(datagram, transmit.to).is_ok() {
                counters.send_messages += 1;
                sent = true;
            }
        }
        sent
    }

    /// A message was refused as a group though its datagrams went alone.
    fn count_refusal(&mut self, code: Option<c_int>, counters: &mut IoRow) {
        self.refused += 1;
        // EIO: the interface cannot checksum segments; ENOPROTOOPT: the kernel does not know the option.
        let unsupported = matches!(code, Some(libc::EIO | libc::ENOPROTOOPT));
        if self.gso && (unsupported || self.refused >= GSO_REFUSALS) {
            self.gso = false;
            counters.gso = 0;
            tracing::warn!(worker = counters.worker, error = ?code, "UDP segmentation offload is refused and now off");
        }
    }
}

impl Sender for Mmsg {
    fn flush(&mut self, sockets: &[UdpSocket], arena: &TransmitArena, counters: &mut IoRow) {
        let mut waits = SEND_WAITS;
        for transmit in arena.messages() {
            let mut rest = *transmit;
            while rest.len > 0 {
                let len = if self.gso {
                    rest.len
                } else {
                    rest.len.min(u32::from(rest.segment.max(1)))
                };
                let other = self.queued.first().is_some_and(|t| t.socket != rest.socket);
                if other || self.queued.len() == SEND_BATCH {
                    self.send_queued(sockets, arena, &mut waits, counters);
                }
                self.queued.push(Transmit { len, ..rest });
                rest.start += len;
                rest.len -= len;
            }
        }
        if !self.queued.is_empty() {
            self.send_queued(sockets, arena, &mut waits, counters);
        }
    }
}

fn is_segmented(transmit: &Transmit) -> bool {
    transmit.len > u32::from(transmit.segment)
}

fn bytes_of<'a>(arena: &'a TransmitArena, transmit: &Transmit) -> &'a [u8] {
    let start = transmit.start as usize;
    arena
        .bytes()
        .get(start..start + transmit.len as usize)
        .unwrap_or_default()
}

fn wait_writable(socket: &UdpSocket) {
    let mut wanted = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: one entry, which outlives the call.
    unsafe { libc::poll(&mut wanted, 1, 1) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_refusals_end_segmentation() {
        let mut sender = Mmsg::new(true);
        let mut counters = IoRow {
            gso: 1,
            ..IoRow::default()
        };
        sender.count_refusal(Some(libc::EINVAL), &mut counters);
        assert!(sender.gso);
        sender.count_refusal(Some(libc::EIO), &mut counters);
        assert_eq!((sender.gso, counters.gso), (false, 0));
        let mut sender = Mmsg::new(true);
        for _ in 0..GSO_REFUSALS {
            sender.count_refusal(Some(libc::EINVAL), &mut counters);
        }
        assert!(!sender.gso);
    }
}
