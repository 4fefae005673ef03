//! RTP packets: header and payload (RFC 3550 section 5).

use crate::cursor::BufferFull;
use crate::ext;

/// Octets of the fixed header.
pub const FIXED_HEADER: usize = 12;

const VERSION: u8 = 2 << 6;
const PADDING: u8 = 0x20;
const EXTENSION: u8 = 0x10;
const MARKER: u8 = 0x80;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("RTP version is not 2")]
    Version,
    #[error("RTP packet ends within its header")]
    Truncated,
    #[error("RTP padding is empty or longer than the payload")]
    Padding,
}

/// Borrows nothing: positions are those in the packet it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub marker: bool,
    /// 0 to 127.
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    /// The packet ends with padding, which [`payload`] leaves out.
    pub padding: bool,
    /// Octets before the payload, with contributing sources and extension.
    pub len: usize,
    pub extension: Option<Extension>,
}

/// Where the header extension is, without its own header of four octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension {
    /// "Defined by profile": tells the form (RFC 8285 section 4.1.2).
    pub profile: u16,
    pub start: usize,
    pub end: usize,
}

impl Header {
    /// Checks everything up to the payload; padding is checked by [`payload`], for it may still be encrypted.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<Self, Error> {
        let Some(fixed) = packet.first_chunk::<FIXED_HEADER>() else {
            return Err(Error::Truncated);
        };
        let [first, second, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3] = *fixed;
        if first & 0xc0 != VERSION {
            return Err(Error::Version);
        }
        // Contributing sources, 15 at most.
        let mut len = FIXED_HEADER + usize::from(first & 0x0f) * 4;
        let mut extension = None;
        if first & EXTENSION != 0 {
            let Some([p0, p1, l0, l1]) = packet.get(len..).and_then(|rest| rest.first_chunk()).copied() else {
                return Err(Error::Truncated);
            };
            let start = len + 4;
            len = start + usize::from(u16::from_be_bytes([l0, l1])) * 4;
            extension = Some(Extension {
                profile: u16::from_be_bytes([p0, p1]),
                start,
                end: len,
            });
        }
        if len > packet.len() {
            return Err(Error::Truncated);
        }
        Ok(Self {
            marker: second & MARKER != 0,
            payload_type: second & !MARKER,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([r0, r1, r2, r3]),
            padding: first & PADDING != 0,
            len,
            extension,
        })
    }

    /// Extension elements of the packet that this was parsed from.
    #[inline]
    pub fn extensions<'a>(&self, packet: &'a [u8]) -> ext::Iter<'a> {
        match self.extension {
            Some(at) => ext::Iter::new(at.profile, packet.get(at.start..at.end).unwrap_or_default()),
            None => ext::Iter::default(),
        }
    }
}

/// What lies between header and padding; empty when the packet is padding alone.
#[inline]
pub fn payload<'a>(packet: &'a [u8], header: &Header) -> Result<&'a [u8], Error> {
    let content = packet.get(header.len..).ok_or(Error::Truncated)?;
    if !header.padding {
        return Ok(content);
    }
    // RFC 3550 section 5.1: the last octet counts the padding, itself included.
    let padding = content.last().copied().map_or(0, usize::from);
    let len = content.len().checked_sub(padding).ok_or(Error::Padding)?;
    if padding == 0 {
        return Err(Error::Padding);
    }
    Ok(&content[..len])
}

/// Writes the fixed header, without contributing sources and padding, and returns its length.
///
/// With `has_extension` the caller appends what [`ext::Writer`] makes.
#[inline]
pub fn write_header(
    out: &mut [u8],
    marker: bool,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    has_extension: bool,
) -> Result<usize, BufferFull> {
    let header = out.first_chunk_mut::<FIXED_HEADER>().ok_or(BufferFull)?;
    let [s0, s1] = sequence.to_be_bytes();
    let [t0, t1, t2, t3] = timestamp.to_be_bytes();
    let [r0, r1, r2, r3] = ssrc.to_be_bytes();
    let first = VERSION | (u8::from(has_extension) * EXTENSION);
    let second = (payload_type & !MARKER) | (u8::from(marker) * MARKER);
    *header = [first, second, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3];
    Ok(FIXED_HEADER)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opus from Chromium: one-byte extensions audio level (1) and mid (4).
    const AUDIO: [u8; 27] = [
        0x90, 0xef, 0x5b, 0x1d, 0x0a, 0x1b, 0x2c, 0x3d, 0xde, 0xad, 0xbe, 0xef, 0xbe, 0xde, 0x00, 0x01, 0x10, 0xb2,
        0x40, 0x30, 0x78, 0x0b, 0xe4, 0xc1, 0x36, 0xec, 0xc5,
    ];

    #[test]
    fn parses_a_packet() {
        let header = Header::parse(&AUDIO).unwrap();
        assert_eq!(
            header,
            Header {
                marker: true,
                payload_type: 111,
                sequence: 0x5b1d,
                timestamp: 0x0a1b_2c3d,
                ssrc: 0xdead_beef,
                padding: false,
                len: 20,
                extension: Some(Extension {
                    profile: 0xbede,
                    start: 16,
                    end: 20,
                }),
            }
        );
        let elements: Vec<_> = header.extensions(&AUDIO).collect();
        assert_eq!(elements, [(1, &[0xb2][..]), (4, &[0x30][..])]);
        assert_eq!(payload(&AUDIO, &header), Ok(&AUDIO[20..]));
    }

    #[test]
    fn skips_contributing_sources() {
        let mut packet = [0; 24];
        packet[0] = 0x82;
        packet[20..].copy_from_slice(b"data");
        let header = Header::parse(&packet).unwrap();
        assert_eq!((header.len, header.extension), (20, None));
        assert_eq!(header.extensions(&packet).count(), 0);
        assert_eq!(payload(&packet, &header), Ok(&b"data"[..]));
    }

    #[test]
    fn refuses_what_ends_within_the_header() {
        for len in 0..20 {
            assert_eq!(Header::parse(&AUDIO[..len]), Err(Error::Truncated), "{len}");
        }
        let mut packet = AUDIO;
        packet[0] |= 0x0f;
        assert_eq!(Header::parse(&packet), Err(Error::Truncated));
        packet[0] = 0x50;
        assert_eq!(Header::parse(&packet), Err(Error::Version));
        packet = AUDIO;
        packet[14..16].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(Header::parse(&packet), Err(Error::Truncated));
    }

    /// CVE-2025-49140: the padding count must never reach into the header.
    #[test]
    fn padding_never_underflows() {
        for (tail, expected) in [
            (&[][..], Err(Error::Padding)),
            (&[0], Err(Error::Padding)),
            (&[1], Ok(&[][..])),
            (&[2], Err(Error::Padding)),
            (&[255], Err(Error::Padding)),
            (&[7, 8, 0, 2], Ok(&[7, 8])),
            (&[0, 0, 0, 4], Ok(&[])),
            (&[0, 0, 0, 5], Err(Error::Padding)),
            (&[7, 8, 9, 0], Err(Error::Padding)),
        ] {
            let mut packet = vec![0; FIXED_HEADER];
            packet[0] = 0xa0;
            packet.extend_from_slice(tail);
            let header = Header::parse(&packet).unwrap();
            assert!(header.padding);
            assert_eq!(payload(&packet, &header), expected, "{tail:?}");
        }
    }

    #[test]
    fn a_header_of_another_packet_is_harmless() {
        let header = Header::parse(&AUDIO).unwrap();
        assert_eq!(payload(&AUDIO[..16], &header), Err(Error::Truncated));
        assert_eq!(header.extensions(&AUDIO[..18]).count(), 0);
    }

    #[test]
    fn writes_what_it_parses() {
        let mut out = [0; 20];
        assert_eq!(
            write_header(&mut out, true, 111, 0x5b1d, 0x0a1b_2c3d, 0xdead_beef, true),
            Ok(12)
        );
        assert_eq!(out[..12], AUDIO[..12]);
        assert_eq!(write_header(&mut out, false, 255, 1, 2, 3, false), Ok(12));
        let header = Header::parse(&out).unwrap();
        assert_eq!((header.marker, header.payload_type, header.len), (false, 127, 12));
        assert_eq!(write_header(&mut out[..11], false, 0, 0, 0, 0, false), Err(BufferFull));
    }
}
