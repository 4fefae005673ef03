//! What the batch calls are given: names, control messages, vectors and headers, as the kernel lays them out.

use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use libc::c_int;

/// Room for one control message with an integer, aligned as `cmsghdr` needs.
#[repr(C, align(8))]
#[derive(Clone, Copy, Default)]
pub(super) struct Control([u8; 32]);

const _: () = assert!(align_of::<Control>() >= align_of::<libc::cmsghdr>());
// SAFETY: CMSG_SPACE only computes.
const _: () = assert!(size_of::<Control>() >= unsafe { libc::CMSG_SPACE(size_of::<c_int>() as u32) } as usize);

impl Control {
    /// Writes a UDP_SEGMENT message and returns the length of the control data.
    pub(super) fn set_segment(&mut self, segment: u16) -> usize {
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
pub(super) fn gro_segment(message: &libc::msghdr) -> Option<usize> {
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

/// Returns the length of the address; what is beyond it in `storage` stays.
pub(super) fn write_sockaddr(address: SocketAddr, storage: &mut libc::sockaddr_storage) -> libc::socklen_t {
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

pub(super) fn from_sockaddr(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
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

pub(super) fn boxed<T>(count: usize, make: fn() -> T) -> Box<[T]> {
    (0..count).map(|_| make()).collect()
}

pub(super) fn empty_name() -> libc::sockaddr_storage {
    // SAFETY: a plain C struct for which zeroes are valid.
    unsafe { zeroed() }
}

pub(super) fn empty_vector() -> libc::iovec {
    libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }
}

pub(super) fn empty_header() -> libc::mmsghdr {
    // SAFETY: a plain C struct for which zeroes are valid.
    unsafe { zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;

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
