//! Which addresses a node listens on, and which it announces.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::core::StartError;
use crate::sys::interface_addresses;
use crate::udp;

/// Unspecified addresses become those of the interfaces, so that an answer leaves from the address that was asked.
pub(crate) fn bind_addresses(bind: &[IpAddr]) -> io::Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for &address in bind {
        if !address.is_unspecified() {
            addresses.push(address);
            continue;
        }
        for candidate in interface_addresses()? {
            // Link-local addresses need a zone that candidates cannot carry (RFC 8445 section 5.1.1.1).
            let link_local = matches!(candidate, IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfe80);
            if candidate.is_ipv4() == address.is_ipv4() && !link_local {
                addresses.push(candidate);
            }
        }
    }
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

pub(crate) fn open_sockets(addresses: &[IpAddr], port: u16, worker: usize) -> Result<Vec<UdpSocket>, StartError> {
    let port = match port {
        0 => 0,
        first => u16::try_from(usize::from(first) + worker)
            .map_err(|_| StartError::Settings("the UDP ports of the workers pass 65535"))?,
    };
    addresses
        .iter()
        .map(|&ip| {
            let address = SocketAddr::new(ip, port);
            udp::bind(address).map_err(|reason| StartError::Bind { address, reason })
        })
        .collect()
}

/// External addresses stand in for the bound ones of their family.
pub(crate) fn announced(sockets: &[UdpSocket], external: &[IpAddr]) -> io::Result<Vec<SocketAddr>> {
    let mut result = Vec::new();
    for socket in sockets {
        let bound = socket.local_addr()?;
        let same_family = |ip: &&IpAddr| ip.is_ipv4() == bound.is_ipv4();
        let mut stand_ins = external.iter().filter(same_family).peekable();
        if stand_ins.peek().is_none() {
            result.push(bound);
        }
        result.extend(stand_ins.map(|&ip| SocketAddr::new(ip, bound.port())));
    }
    result.sort();
    result.dedup();
    Ok(result)
}
