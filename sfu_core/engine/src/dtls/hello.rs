//! The ClientHello, read ahead of the handshake to choose the version.
//!
//! A server of DTLS 1.2 picks the SRTP profile by its own preference (AES-GCM); the one of 1.3 that we use takes the
//! client's first. Chromium lists AES-CM with HMAC-SHA1 first, which costs twice the time per packet, so it gets 1.2.
//! Firefox lists AES-GCM first and gets 1.3.

use std::ops::Range;

/// Bytes of datagrams kept until the hello is whole; then all begins anew.
pub(super) const MAX_BUFFERED: usize = 24 * 1024;
/// Bytes of one hello. Those with post-quantum key shares have about 2,000.
const MAX_HELLO: usize = 8 * 1024;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const RECORD_HEADER: usize = 13;
const USE_SRTP: u16 = 14;
/// RFC 5764 section 4.1.2.
const AES128_CM_HMAC_SHA1_80: u16 = 0x0001;
/// RFC 7714 section 14.2.
const AEAD_AES: Range<u16> = 0x0007..0x0009;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Dtls12,
    /// 1.3 where the client offers it.
    Best,
}

/// Datagrams until they hold a whole ClientHello.
#[derive(Default)]
pub(super) struct HelloBuffer {
    datagrams: Vec<Vec<u8>>,
    buffered: usize,
    /// The message, without its header; `None` where a fragment is missing.
    hello: Vec<Option<u8>>,
}

impl HelloBuffer {
    /// Once the hello is whole: the version to speak, and all datagrams so far.
    pub(super) fn push(&mut self, datagram: &[u8]) -> Option<(Version, Vec<Vec<u8>>)> {
        if self.buffered + datagram.len() > MAX_BUFFERED {
            *self = Self::default();
        }
        let mut relevant = false;
        for (total, offset, fragment) in fragments(datagram) {
            if total > MAX_HELLO || offset + fragment.len() > total {
                continue;
            }
            if self.hello.len() != total {
                self.hello = vec![None; total];
            }
            let place = &mut self.hello[offset..offset + fragment.len()];
            place.iter_mut().zip(fragment).for_each(|(to, &from)| *to = Some(from));
            relevant = true;
        }
        if !relevant {
            return None;
        }
        self.buffered += datagram.len();
        self.datagrams.push(datagram.to_vec());
        let hello: Vec<u8> = self.hello.iter().copied().collect::<Option<_>>()?;
        Some((
            version_for(srtp_profiles(&hello).unwrap_or_default()),
            std::mem::take(&mut self.datagrams),
        ))
    }
}

fn version_for(profiles: impl Iterator<Item = u16> + Clone) -> Version {
    let mut known = profiles.filter(|id| *id == AES128_CM_HMAC_SHA1_80 || AEAD_AES.contains(id));
    let cm_first = known.clone().next() == Some(AES128_CM_HMAC_SHA1_80);
    if cm_first && known.any(|id| AEAD_AES.contains(&id)) {
        Version::Dtls12
    } else {
        Version::Best
    }
}

/// Length of the message, offset and bytes of each fragment of a ClientHello (RFC 6347 sections 4.1 and 4.2.2).
fn fragments(datagram: &[u8]) -> impl Iterator<Item = (usize, usize, &[u8])> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let (header, more) = rest.split_first_chunk::<RECORD_HEADER>()?;
        let (record, more) = more.split_at_checked(usize::from(u16::from_be_bytes([header[11], header[12]])))?;
        rest = more;
        Some((header[0], record))
    })
    .filter(|(kind, _)| *kind == HANDSHAKE)
    .filter_map(|(_, record)| match *record {
        [CLIENT_HELLO, t0, t1, t2, _, _, o0, o1, o2, l0, l1, l2, ref rest @ ..] => {
            let number = |a, b, c| u32::from_be_bytes([0, a, b, c]) as usize;
            Some((number(t0, t1, t2), number(o0, o1, o2), rest.get(..number(l0, l1, l2))?))
        }
        _ => None,
    })
}

/// RFC 5764 section 4.1.1.
fn srtp_profiles(hello: &[u8]) -> Option<Profiles<'_>> {
    // Version and random, session id, cookie, cipher suites, compression methods (RFC 6347 section 4.2.1).
    let (_, rest) = hello.split_at_checked(34)?;
    let (_, rest) = vector8(rest)?;
    let (_, rest) = vector8(rest)?;
    let (_, rest) = vector16(rest)?;
    let (_, rest) = vector8(rest)?;
    let (mut extensions, _) = vector16(rest)?;
    while let &[k0, k1, ref rest @ ..] = extensions {
        let (body, rest) = vector16(rest)?;
        if u16::from_be_bytes([k0, k1]) == USE_SRTP {
            return Some(Profiles(vector16(body)?.0));
        }
        extensions = rest;
    }
    None
}

#[derive(Clone, Copy, Default)]
struct Profiles<'a>(&'a [u8]);

impl Iterator for Profiles<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        let (id, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*id))
    }
}

fn vector8(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&len, rest) = bytes.split_first()?;
    rest.split_at_checked(len.into())
}

fn vector16(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*len).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With one other extension before use_srtp.
    fn hello(profiles: &[u16]) -> Vec<u8> {
        let mut hello = vec![0xfe, 0xfd];
        hello.extend([7; 32]);
        hello.extend([0, 2, 8, 8, 0, 2, 0x13, 1, 1, 0]);
        let mut extensions = vec![0, 10, 0, 4, 0, 2, 0, 29];
        let list: Vec<u8> = profiles.iter().flat_map(|id| id.to_be_bytes()).collect();
        extensions.extend([0, 14, 0, list.len() as u8 + 3, 0, list.len() as u8]);
        extensions.extend(list);
        extensions.push(0);
        hello.extend((extensions.len() as u16).to_be_bytes());
        hello.extend(extensions);
        hello
    }

    fn datagram(hello: &[u8], fragment: Range<usize>) -> Vec<u8> {
        let part = &hello[fragment.clone()];
        let mut out = vec![HANDSHAKE, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, part.len() as u8 + 12];
        out.extend([CLIENT_HELLO, 0, 0, hello.len() as u8, 0, 0]);
        out.extend([0, 0, fragment.start as u8, 0, 0, part.len() as u8]);
        out.extend(part);
        out
    }

    #[test]
    fn chooses_the_version_that_keys_gcm() {
        for (profiles, version) in [
            (&[1, 8, 7][..], Version::Dtls12),
            (&[5, 1, 2, 7], Version::Dtls12),
            (&[7, 8, 1], Version::Best),
            (&[8, 1], Version::Best),
            (&[1], Version::Best),
            (&[1, 2], Version::Best),
            (&[], Version::Best),
        ] {
            let hello = hello(profiles);
            let whole = datagram(&hello, 0..hello.len());
            assert_eq!(
                HelloBuffer::default().push(&whole),
                Some((version, vec![whole])),
                "{profiles:?}"
            );
        }
    }

    #[test]
    fn waits_for_all_fragments_in_any_order() {
        let hello = hello(&[1, 7]);
        let middle = hello.len() / 2;
        let parts = [datagram(&hello, middle..hello.len()), datagram(&hello, 0..middle + 3)];
        let mut buffer = HelloBuffer::default();
        assert_eq!(buffer.push(&parts[0]), None);
        assert_eq!(buffer.push(&parts[0]), None);
        assert_eq!(buffer.push(b"not DTLS at all"), None);
        let kept = vec![parts[0].clone(), parts[0].clone(), parts[1].clone()];
        assert_eq!(buffer.push(&parts[1]), Some((Version::Dtls12, kept)));
    }

    #[test]
    fn is_bounded() {
        let hello = hello(&[1, 7]);
        let mut buffer = HelloBuffer::default();
        for _ in 0..10_000 {
            assert_eq!(buffer.push(&datagram(&hello, 5..hello.len())), None);
            assert!(buffer.buffered <= MAX_BUFFERED);
        }
        assert!(buffer.push(&datagram(&hello, 0..9)).is_some());
    }

    #[test]
    fn never_panics() {
        let hello = hello(&[1, 8, 7]);
        let whole = datagram(&hello, 0..hello.len());
        for i in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[i] = value;
                let _ = HelloBuffer::default().push(&changed);
                let _ = HelloBuffer::default().push(&changed[..i]);
            }
        }
        for len in 0..hello.len() {
            let _ = srtp_profiles(&hello[..len]);
        }
    }
}
