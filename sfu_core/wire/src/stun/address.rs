//! XOR-MAPPED-ADDRESS (RFC 8489 section 14.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{MAGIC_COOKIE, TransactionId};
use crate::cursor::Reader;

const IPV4: u8 = 1;
const IPV6: u8 = 2;
const PORT_MASK: u16 = (MAGIC_COOKIE >> 16) as u16;

pub(super) fn parse(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    let mut reader = Reader(value);
    let [_, family] = reader.array()?;
    let port = reader.u16()? ^ PORT_MASK;
    let ip = match family {
        IPV4 => IpAddr::from(Ipv4Addr::from_bits(reader.u32()? ^ MAGIC_COOKIE)),
        IPV6 => IpAddr::from(Ipv6Addr::from_bits(
            u128::from_be_bytes(reader.array()?) ^ mask(transaction),
        )),
        _ => return None,
    };
    reader.0.is_empty().then(|| SocketAddr::new(ip, port))
}

/// The value and how much of it counts.
pub(super) fn octets(address: SocketAddr, transaction: &TransactionId) -> ([u8; 20], usize) {
    let mut octets = [0; 20];
    let (head, ip) = octets.split_at_mut(4);
    let (family, len) = match address.ip() {
        IpAddr::V4(v4) => {
            ip[..4].copy_from_slice(&(v4.to_bits() ^ MAGIC_COOKIE).to_be_bytes());
            (IPV4, 8)
        }
        IpAddr::V6(v6) => {
            ip.copy_from_slice(&(v6.to_bits() ^ mask(transaction)).to_be_bytes());
            (IPV6, 20)
        }
    };
    let [p0, p1] = (address.port() ^ PORT_MASK).to_be_bytes();
    head.copy_from_slice(&[0, family, p0, p1]);
    (octets, len)
}

/// Magic cookie, then transaction id.
fn mask(transaction: &TransactionId) -> u128 {
    let low = transaction.iter().fold(0, |bits, &octet| bits << 8 | u128::from(octet));
    u128::from(MAGIC_COOKIE) << 96 | low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let transaction = *b"0123456789ab";
        for text in ["192.0.2.1:32853", "0.0.0.0:0", "[2001:db8::1]:65535", "[::]:1"] {
            let address = text.parse().unwrap();
            let (octets, len) = octets(address, &transaction);
            assert_eq!(parse(&octets[..len], &transaction), Some(address));
            assert_eq!(parse(&octets[..len - 1], &transaction), None);
        }
    }

    #[test]
    fn malformed() {
        let transaction = [0; 12];
        for value in [
            &[][..],
            &[0],
            &[0, 1, 0, 0],
            &[0, 3, 0, 0, 1, 2, 3, 4],
            &[0, 1, 0, 0, 1, 2, 3, 4, 5],
        ] {
            assert_eq!(parse(value, &transaction), None, "{value:?}");
        }
    }
}
