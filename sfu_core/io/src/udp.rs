//! Batched UDP sockets: how they are opened and what they can.

mod kernel;
mod receive;
mod send;

use std::io;
use std::mem::size_of;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use libc::{c_int, c_void};

use crate::sys::{check, own};

pub(crate) use receive::{RECEIVE_BATCH, Receiver};
pub(crate) use send::{Mmsg, Sender};

/// Asked of the kernel. Larger rides out longer stalls of a worker and costs memory only while packets wait.
pub(crate) const SOCKET_BUFFER: usize = 8 * 1024 * 1024;

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
    let mut name = kernel::empty_name();
    let len = kernel::write_sockaddr(address, &mut name);
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

#[cfg(test)]
mod tests {
    use engine::ids::SocketId;
    use engine::transmit::TransmitArena;

    use super::send::SEND_BATCH;
    use super::*;
    use crate::counters::IoRow;

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
}
