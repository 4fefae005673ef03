//! Binding requests and their answers, as far as an ICE-lite agent is concerned (RFC 8489, RFC 8445 section 16).

use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, Mac};
use sha1::Sha1;

const HEADER: usize = 20;
const COOKIE: u32 = 0x2112_a442;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
/// Attribute types from here on may be ignored (RFC 8489 section 14).
const OPTIONAL: u16 = 0x8000;

const INTEGRITY_LEN: usize = 20;
const FINGERPRINT_XOR: u32 = 0x5354_554e;
/// Unknown attributes named in one answer.
const MAX_UNKNOWN: usize = 8;

/// A binding request with a user name, an integrity that is yet to be checked, and the right fingerprint.
pub(super) struct Check<'a> {
    datagram: &'a [u8],
    /// Where the integrity attribute begins.
    integrity: usize,
    pub(super) username: &'a str,
    pub(super) priority: u32,
    pub(super) nominates: bool,
    pub(super) peer_is_controlled: bool,
    /// Types of comprehension-required attributes that we don't know.
    pub(super) unknown: Vec<u16>,
}

/// Why a request is answered with an error; the last field is the password that the answer is signed with.
pub(super) enum Failure {
    Unauthorized,
    UnknownAttributes(Vec<u16>, String),
    RoleConflict(String),
}

impl<'a> Check<'a> {
    /// `None` for what is not a well-formed binding request of ICE (RFC 8445 section 7.1: user name, integrity, fingerprint).
    pub(super) fn parse(datagram: &'a [u8]) -> Option<Self> {
        let mut check = Self {
            datagram,
            integrity: 0,
            username: "",
            priority: 0,
            nominates: false,
            peer_is_controlled: false,
            unknown: Vec::new(),
        };
        let mut fingerprint = None;
        for attribute in attributes(datagram)? {
            let Attribute { kind, start, value } = attribute?;
            match kind {
                // What follows the integrity is not protected by it (RFC 8489 section 14.5).
                FINGERPRINT => fingerprint = Some((start, value)),
                _ if check.integrity > 0 => {}
                MESSAGE_INTEGRITY if value.len() == INTEGRITY_LEN => check.integrity = start,
                USERNAME => check.username = std::str::from_utf8(value).ok()?,
                PRIORITY => check.priority = u32::from_be_bytes(value.try_into().ok()?),
                USE_CANDIDATE => check.nominates = true,
                ICE_CONTROLLED => check.peer_is_controlled = true,
                MESSAGE_INTEGRITY_SHA256 | OPTIONAL.. => {}
                unknown if check.unknown.len() < MAX_UNKNOWN => check.unknown.push(unknown),
                _ => {}
            }
        }
        let (start, value) = fingerprint?;
        let is_last = start + 8 == datagram.len();
        let is_right = value == (crc32(datagram.get(..start)?) ^ FINGERPRINT_XOR).to_be_bytes();
        (is_last && is_right && check.integrity > 0 && !check.username.is_empty()).then_some(check)
    }

    pub(super) fn is_authentic(&self, password: &str) -> bool {
        let value = self.integrity + 4;
        let (Some(before), Some(tag)) = (
            self.datagram.get(..self.integrity),
            self.datagram.get(value..value + INTEGRITY_LEN),
        ) else {
            return false;
        };
        integrity_of(before, password).is_some_and(|mac| mac.verify_slice(tag).is_ok())
    }
}

/// The local user fragment that a binding request addresses: what precedes the colon of its USERNAME
/// (RFC 8445 section 7.2.2). Cheap and unauthenticated: only good for finding the peer.
pub fn local_ufrag(datagram: &[u8]) -> Option<&str> {
    let username = attributes(datagram)?.find_map(|attribute| match attribute {
        Some(Attribute {
            kind: USERNAME, value, ..
        }) => Some(Some(value)),
        Some(_) => None,
        None => Some(None),
    })??;
    Some(std::str::from_utf8(username).ok()?.split_once(':')?.0)
}

pub(super) fn success_response(check: &Check<'_>, remote: SocketAddr, password: &str) -> Option<Vec<u8>> {
    let mut answer = Writer::new(BINDING_SUCCESS, check.datagram)?;
    answer.attribute(XOR_MAPPED_ADDRESS, &xor_address(remote, check.datagram));
    answer.finish(Some(password))
}

pub(super) fn failure_response(request: &[u8], failure: &Failure) -> Option<Vec<u8>> {
    let mut answer = Writer::new(BINDING_ERROR, request)?;
    let (class, number, reason) = match failure {
        Failure::Unauthorized => (4, 1, "Unauthorized"),
        Failure::UnknownAttributes(..) => (4, 20, "Unknown Attribute"),
        Failure::RoleConflict(_) => (4, 87, "Role Conflict"),
    };
    answer.attribute(ERROR_CODE, &[&[0, 0, class, number], reason.as_bytes()].concat());
    match failure {
        Failure::Unauthorized => answer.finish(None),
        Failure::UnknownAttributes(types, password) => {
            let types: Vec<u8> = types.iter().flat_map(|kind| kind.to_be_bytes()).collect();
            answer.attribute(UNKNOWN_ATTRIBUTES, &types);
            answer.finish(Some(password))
        }
        Failure::RoleConflict(password) => answer.finish(Some(password)),
    }
}

struct Attribute<'a> {
    kind: u16,
    /// Of the attribute, from the beginning of the message.
    start: usize,
    value: &'a [u8],
}

/// Attributes of a binding request, until the first malformed one, which is `None`.
fn attributes(datagram: &[u8]) -> Option<impl Iterator<Item = Option<Attribute<'_>>>> {
    let &[t0, t1, l0, l1, c0, c1, c2, c3, ..] = datagram else {
        return None;
    };
    let len = HEADER + usize::from(u16::from_be_bytes([l0, l1]));
    let is_request = u16::from_be_bytes([t0, t1]) == BINDING_REQUEST
        && u32::from_be_bytes([c0, c1, c2, c3]) == COOKIE
        && len == datagram.len()
        && len.is_multiple_of(4);
    let mut start = HEADER;
    let mut malformed = false;
    is_request.then(|| {
        std::iter::from_fn(move || {
            if start == datagram.len() || malformed {
                return None;
            }
            let attribute = attribute_at(datagram, start);
            match &attribute {
                Some(attribute) => start += 4 + attribute.value.len().next_multiple_of(4),
                None => malformed = true,
            }
            Some(attribute)
        })
    })
}

fn attribute_at(datagram: &[u8], start: usize) -> Option<Attribute<'_>> {
    let &[k0, k1, l0, l1, ref rest @ ..] = datagram.get(start..)? else {
        return None;
    };
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    // Padding included, for the message ends at a multiple of four.
    rest.get(..len.next_multiple_of(4))?;
    Some(Attribute {
        kind: u16::from_be_bytes([k0, k1]),
        start,
        value: &rest[..len],
    })
}

struct Writer(Vec<u8>);

impl Writer {
    /// With the transaction id of the request.
    fn new(kind: u16, request: &[u8]) -> Option<Self> {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(request.get(4..HEADER)?);
        Some(Self(bytes))
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.0.extend(kind.to_be_bytes());
        self.0.extend((value.len() as u16).to_be_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self.set_len(self.0.len());
    }

    fn finish(mut self, password: Option<&str>) -> Option<Vec<u8>> {
        if let Some(password) = password {
            let tag = integrity_of(&self.0, password)?.finalize().into_bytes();
            self.attribute(MESSAGE_INTEGRITY, &tag);
        }
        // Its length field counts the fingerprint already (RFC 8489 section 14.7).
        self.set_len(self.0.len() + 8);
        let crc = crc32(&self.0) ^ FINGERPRINT_XOR;
        self.attribute(FINGERPRINT, &crc.to_be_bytes());
        Some(self.0)
    }

    fn set_len(&mut self, total: usize) {
        let len = (total - HEADER) as u16;
        self.0[2..4].copy_from_slice(&len.to_be_bytes());
    }
}

/// RFC 8489 section 14.5: over what precedes the attribute, with a header length as if the message ended behind it.
fn integrity_of(before: &[u8], password: &str) -> Option<Hmac<Sha1>> {
    let (kind, rest) = before.split_at_checked(2)?;
    let len = (before.len() + 4 + INTEGRITY_LEN - HEADER) as u16;
    let mac = <Hmac<Sha1> as Mac>::new_from_slice(password.as_bytes()).ok()?;
    Some(
        mac.chain_update(kind)
            .chain_update(len.to_be_bytes())
            .chain_update(rest.get(2..)?),
    )
}

/// RFC 8489 section 14.2.
fn xor_address(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let port = address.port() ^ (COOKIE >> 16) as u16;
    let (family, octets) = match address.ip().to_canonical() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mut value = vec![0, family];
    value.extend(port.to_be_bytes());
    // Cookie and transaction id.
    let mask = request.iter().skip(4);
    value.extend(octets.iter().zip(mask).map(|(octet, mask)| octet ^ mask));
    value
}

/// ISO 3309, as in Ethernet.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let mut value = i as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 {
                    0xedb8_8320 ^ (value >> 1)
                } else {
                    value >> 1
                };
                bit += 1;
            }
            table[i] = value;
            i += 1;
        }
        table
    };
    !bytes
        .iter()
        .fold(!0, |crc, &byte| TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 section 2.1.
    const REQUEST: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\
        \x00\x06\x00\x09evtj:h6vY\x20\x20\x20\x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\
        \xc1\xb5\x71\xa2\x80\x28\x00\x04\xe5\x7a\x3b\xcf";
    const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

    #[test]
    fn reads_the_request_of_rfc_5769() {
        let check = Check::parse(REQUEST).unwrap();
        assert_eq!(
            (check.username, check.priority, check.nominates),
            ("evtj:h6vY", 0x6e00_01ff, false)
        );
        assert!(check.peer_is_controlled && check.unknown.is_empty());
        assert!(check.is_authentic(PASSWORD));
        assert!(!check.is_authentic("another"));
        assert_eq!(local_ufrag(REQUEST), Some("evtj"));
    }

    /// RFC 5769 sections 2.2 and 2.3, whose addresses and transaction are these.
    #[test]
    fn xors_addresses_as_rfc_5769() {
        let v4 = xor_address("192.0.2.1:32853".parse().unwrap(), REQUEST);
        assert_eq!(v4, [0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        let v6 = xor_address("[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap(), REQUEST);
        let want = b"\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9";
        assert_eq!(v6, want);
    }

    #[test]
    fn any_changed_or_missing_byte_is_noticed() {
        for i in 0..REQUEST.len() {
            let mut changed = REQUEST.to_vec();
            changed[i] ^= 0x55;
            assert!(
                Check::parse(&changed).is_none_or(|check| !check.is_authentic(PASSWORD)),
                "{i}"
            );
            assert!(
                Check::parse(&REQUEST[..i]).is_none() && local_ufrag(&REQUEST[..i]).is_none(),
                "{i}"
            );
        }
    }

    #[test]
    fn answers_are_smaller_than_what_provokes_them() {
        let failure = failure_response(REQUEST, &Failure::Unauthorized).unwrap();
        assert_eq!(failure[..4], [1, 0x11, 0, failure.len() as u8 - 20]);
        assert_eq!(failure[4..20], REQUEST[4..20]);
        assert!(failure.len() < 20 + 8 + 24 + 8);
        assert_eq!(
            failure.last_chunk(),
            Some(&(crc32(&failure[..failure.len() - 8]) ^ FINGERPRINT_XOR).to_be_bytes())
        );
    }
}
