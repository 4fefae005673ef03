//! Batched UDP: `recvmmsg` with UDP_GRO, `sendmmsg` with UDP_SEGMENT.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use engine::transmit::{Transmit, TransmitArena};
use libc::{c_int, c_void};

use crate::counters::IoRow;
use crate::sys::{check, own};

/// Asked of the kernel. Larger rides out longer stalls of a worker and costs memory only while packets wait.
pub(crate) const SOCKET_BUFFER: usize = 8 * 1024 * 1024;

/// Messages per `recvmmsg`.
pub(crate) const RECEIVE_BATCH: usize = 64;
/// With UDP_GRO one message holds up to 64 KB of datagrams of one flow.
/// Not a power of two: slots at such a distance would compete for the same sets of the cache.
const RECEIVE_SLOT_GRO: usize = 65_536 + 17 * 64;
/// Without, one datagram. What is longer is no packet that we take.
const RECEIVE_SLOT: usize = 2_048;

/// Messages per `sendmmsg`, at most UIO_MAXIOV.
const SEND_BATCH: usize = 256;
/// Waits of a millisecond for room in the send buffer, per flush. More blocks the worker for longer, fewer drops earlier.
const SEND_WAITS: u32 = 2;
/// Segmented messages refused in a row before segmentation offload is given up. One alone may be the fault of its
/// destination (a small MTU of its route).
const GSO_REFUSALS: u32 = 16;

/// Binds a non-blocking socket. IPv6 sockets take IPv6 alone.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes no pointers.
    let socket = own(unsafe { libc::socket(family, kind, 0) })?;
    // Sizes of datagrams are ours to choose: let no forged ICMP message narrow the path (IP_PMTUDISC_OMIT).
    if address.is_ipv6() {
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
        set(
            &socket,
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_OMIT,
        )?;
    } else {
        set(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT)?;
    }
    for (force, plain) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    ] {
        let size = SOCKET_BUFFER as c_int;
        set(&socket, libc::SOL_SOCKET, force, size).or_else(|_| set(&socket, libc::SOL_SOCKET, plain, size))?;
    }
    let mut name = empty_name();
    let len = write_sockaddr(address, &mut name);
    // SAFETY: `name` holds a socket address of `len` bytes and outlives the call.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const name).cast(), len) })?;
    Ok(UdpSocket::from(socket))
}

/// Bytes of receive and send buffer granted. The kernel doubles what is asked for, to cover its own overhead.
pub(crate) fn buffers(socket: &UdpSocket) -> io::Result<(usize, usize)> {
    let receive = get(socket, libc::SOL_SOCKET, libc::SO_RCVBUF)?;
    let send = get(socket, libc::SOL_SOCKET, libc::SO_SNDBUF)?;
    Ok((receive as usize / 2, send as usize / 2))
}

/// Asks for coalesced datagrams; false when the kernel cannot (before Linux 5.0).
pub(crate) fn enable_gro(socket: &UdpSocket) -> bool {
    set(socket, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok()
}

/// Whether the kernel knows segmentation offload (Linux 4.18).
pub(crate) fn has_gso(socket: &UdpSocket) -> bool {
    get(socket, libc::SOL_UDP, libc::UDP_SEGMENT).is_ok()
}

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

/// Sends what an engine has laid out. The place where another way to the network card would go.
pub(crate) trait Sender: Send {
    fn flush(&mut self, sockets: &[UdpSocket], arena: &TransmitArena, counters: &mut IoRow);
}

/// `sendmmsg`, one message per GSO group.
pub(crate) struct Mmsg {
    gso: bool,
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

/// Room for one control message with an integer, aligned as `cmsghdr` needs.
#[repr(C, align(8))]
#[derive(Clone, Copy, Default)]
struct Control([u8; 32]);

const _: () = assert!(align_of::<Control>() >= align_of::<libc::cmsghdr>());
// SAFETY: CMSG_SPACE only computes.
const _: () = assert!(size_of::<Control>() >= unsafe { libc::CMSG_SPACE(size_of::<c_int>() as u32) } as usize);

impl Control {
    /// Writes a UDP_SEGMENT message and returns the length of the control data.
    fn set_segment(&mut self, segment: u16) -> usize {
        let header: *mut libc::cmsghdr = self.0.as_mut_ptr().cast();
        // SAFETY: `self` is aligned for `cmsghdr` and has room for a header with four bytes (asserted above), so the
        // header and the unaligned write of two bytes at its data stay inside.
        unsafe {
            (*header).cmsg_level = libc::SOL_UDP;
            (*header).cmsg_type = libc::UDP_SEGMENT;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
            libc::CMSG_DATA(header).cast::<u16>().write_unaligned(segment);
            libc::CMSG_SPACE(size_of::<u16>() as u32) as usize
        }
    }
}

/// The length of coalesced datagrams, if the kernel coalesced any.
fn gro_segment(message: &libc::msghdr) -> Option<usize> {
    // SAFETY: `recvmmsg` has filled `msg_control` up to `msg_controllen`, which CMSG_FIRSTHDR and CMSG_NXTHDR respect;
    // a message of this level and type carries a `c_int` (kernel, udp_cmsg_recv).
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(message);
        while !control.is_null() {
            if (*control).cmsg_level == libc::SOL_UDP && (*control).cmsg_type == libc::UDP_GRO {
                let segment = libc::CMSG_DATA(control).cast::<c_int>().read_unaligned();
                return usize::try_from(segment).ok();
            }
            control = libc::CMSG_NXTHDR(message, control);
        }
    }
    None
}

fn set(socket: &impl AsRawFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let pointer: *const c_void = (&raw const value).cast();
    // SAFETY: `value` is a `c_int` and outlives the call.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, pointer, size_of::<c_int>() as _) })?;
    Ok(())
}

fn get(socket: &impl AsRawFd, level: c_int, option: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: writes at most `len` bytes to `value`, which outlives the call.
    check(unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut value).cast(), &mut len) })?;
    Ok(value)
}

/// Returns the length of the address; what is beyond it in `storage` stays.
fn write_sockaddr(address: SocketAddr, storage: &mut libc::sockaddr_storage) -> libc::socklen_t {
    let pointer = &raw mut *storage;
    let len = match address {
        SocketAddr::V4(v4) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from(*v4.ip()).to_be(),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: `sockaddr_storage` is large and aligned enough for every socket address.
            unsafe { pointer.cast::<libc::sockaddr_in>().write(name) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { pointer.cast::<libc::sockaddr_in6>().write(name) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    len as libc::socklen_t
}

fn from_sockaddr(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let pointer: *const libc::sockaddr_storage = storage;
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which struct the kernel wrote; `sockaddr_storage` holds and aligns each.
            let name = unsafe { &*pointer.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(name.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let name = unsafe { &*pointer.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            // Without the flow label, so that a peer has one address.
            Some(SocketAddr::V6(SocketAddrV6::new(
                ip,
                u16::from_be(name.sin6_port),
                0,
                name.sin6_scope_id,
            )))
        }
        _ => None,
    }
}

fn boxed<T>(count: usize, make: fn() -> T) -> Box<[T]> {
    (0..count).map(|_| make()).collect()
}

fn empty_name() -> libc::sockaddr_storage {
    // SAFETY: a plain C struct for which zeroes are valid.
    unsafe { zeroed() }
}

fn empty_vector() -> libc::iovec {
    libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: a plain C struct for which zeroes are valid.
    unsafe { zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ids::SocketId;

    fn pair(host: &str) -> (UdpSocket, UdpSocket) {
        let address = SocketAddr::new(host.parse().unwrap(), 0);
        (bind(address).unwrap(), bind(address).unwrap())
    }

    fn arena(to: SocketAddr, lengths: &[usize]) -> TransmitArena {
        let mut arena = TransmitArena::new(1 << 20, 1_024);
        for (i, &len) in lengths.iter().enumerate() {
            arena.reserve(len).unwrap()[..len].fill(i as u8);
            arena.commit(SocketId(0), to, len);
        }
        arena
    }

    fn receive(socket: &UdpSocket, gro: bool, want: usize) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut receiver = Receiver::new(gro);
        let mut got = Vec::new();
        let mut counters = IoRow::default();
        for _ in 0..want * 2 {
            receiver.receive(socket).unwrap();
            receiver.drain(&mut counters, |from, datagram| got.push((from, datagram.to_vec())));
        }
        got
    }

    #[test]
    fn batches_arrive_whole_with_and_without_offload() {
        for host in ["127.0.0.1", "::1"] {
            for (gso, gro) in [(true, true), (true, false), (false, true), (false, false)] {
                let (from, to) = pair(host);
                let gro = gro && enable_gro(&to);
                let gso = gso && has_gso(&from);
                let lengths = [1_200, 1_200, 1_200, 700, 50, 50, 1_200];
                let arena = arena(to.local_addr().unwrap(), &lengths);
                let mut counters = IoRow::default();
                let sockets = [from];
                Mmsg::new(gso).flush(&sockets, &arena, &mut counters);
                let got = receive(&to, gro, lengths.len());
                let expected: Vec<_> = lengths
                    .iter()
                    .enumerate()
                    .map(|(i, &len)| (sockets[0].local_addr().unwrap(), vec![i as u8; len]))
                    .collect();
                assert_eq!(got, expected, "{host} gso {gso} gro {gro}");
                assert_eq!(counters.send_messages, if gso { 3 } else { 7 });
                assert_eq!((counters.send_errors, counters.send_dropped), (0, 0));
            }
        }
    }

    #[test]
    fn more_than_one_batch_is_sent() {
        let (from, to) = pair("127.0.0.1");
        let lengths: Vec<_> = (0..SEND_BATCH * 2 + 3).map(|i| 100 + i).collect();
        let arena = arena(to.local_addr().unwrap(), &lengths);
        Mmsg::new(true).flush(&[from], &arena, &mut IoRow::default());
        let got: Vec<_> = receive(&to, false, lengths.len())
            .iter()
            .map(|(_, d)| d.len())
            .collect();
        assert_eq!(got, lengths);
    }

    #[test]
    fn a_refused_destination_does_not_stop_the_rest() {
        let (from, to) = pair("127.0.0.1");
        let good = to.local_addr().unwrap();
        let mut arena = arena("127.0.0.1:0".parse().unwrap(), &[100, 100]);
        arena.reserve(3).unwrap().copy_from_slice(b"yes");
        arena.commit(SocketId(0), good, 3);
        arena.reserve(2).unwrap().copy_from_slice(b"no");
        arena.commit(SocketId(9), good, 2);
        let mut counters = IoRow::default();
        let mut sender = Mmsg::new(true);
        sender.flush(&[from], &arena, &mut counters);
        let got = receive(&to, false, 1);
        assert_eq!(got.iter().map(|(_, d)| d.as_slice()).collect::<Vec<_>>(), [b"yes"]);
        assert_eq!(counters.send_errors, 2);
        assert!(sender.gso, "a bad destination must not end segmentation for all");
    }

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

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["192.0.2.1:5", "[2001:db8::1]:65535", "[fe80::1%3]:9"] {
            let address: SocketAddr = text.parse().unwrap();
            // Left over from another address.
            let mut name = empty_name();
            write_sockaddr("[ff02::ffff:ffff%65535]:9".parse().unwrap(), &mut name);
            write_sockaddr(address, &mut name);
            assert_eq!(from_sockaddr(&name), Some(address));
        }
        assert_eq!(from_sockaddr(&empty_name()), None);
    }
}
