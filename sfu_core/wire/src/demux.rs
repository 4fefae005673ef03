//! Which protocol a datagram of a bundled transport belongs to (RFC 7983, and RFC 5761 for RTCP beside RTP).

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Stun,
    Dtls,
    /// RTP, mostly protected by SRTP.
    Rtp,
    /// RTCP, mostly protected by SRTCP.
    Rtcp,
}

/// Octets of a STUN header (RFC 8489 section 5).
const STUN_HEADER: usize = 20;
/// Octets of a DTLS 1.2 record header; a DTLS 1.3 record with its tag is longer than that too (RFC 9147 section 4).
const DTLS_RECORD: usize = 13;
/// Octets of a fixed RTP header (RFC 3550 section 5.1).
const RTP_HEADER: usize = 12;
/// Octets of the shortest RTCP packet that tells its sender (RFC 3550 section 6.4.2).
const RTCP_HEADER: usize = 8;

/// `None` for protocols that are not spoken here (ZRTP, TURN channels, QUIC) and for what is too short to be anything.
#[inline]
pub fn classify(datagram: &[u8]) -> Option<Kind> {
    let (&first, rest) = datagram.split_first()?;
    let (kind, shortest) = match first {
        0..=3 => (Kind::Stun, STUN_HEADER),
        20..=63 => (Kind::Dtls, DTLS_RECORD),
        // RFC 5761 section 4: RTCP types 192 to 223 are where RTP would have payload types 64 to 95 with the marker set.
        128..=191 => match rest.first()? {
            192..=223 => (Kind::Rtcp, RTCP_HEADER),
            _ => (Kind::Rtp, RTP_HEADER),
        },
        _ => return None,
    };
    (datagram.len() >= shortest).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_first_bytes() {
        for first in 0..=255_u8 {
            let mut datagram = [0; 20];
            datagram[0] = first;
            let expected = match first {
                0..=3 => Some(Kind::Stun),
                20..=63 => Some(Kind::Dtls),
                128..=191 => Some(Kind::Rtp),
                _ => None,
            };
            assert_eq!(classify(&datagram), expected, "{first}");
        }
    }

    #[test]
    fn table_of_second_bytes() {
        for second in 0..=255_u8 {
            let mut datagram = [0x80; 12];
            datagram[1] = second;
            let expected = if (192..=223).contains(&second) {
                Kind::Rtcp
            } else {
                Kind::Rtp
            };
            assert_eq!(classify(&datagram), Some(expected), "{second}");
        }
    }

    #[test]
    fn too_short() {
        for (first, second, shortest) in [(0, 1, 20), (22, 254, 13), (0x80, 96, 12), (0x80, 200, 8)] {
            let mut datagram = [0; 20];
            datagram[0] = first;
            datagram[1] = second;
            assert!(classify(&datagram[..shortest]).is_some());
            for len in 0..shortest {
                assert_eq!(classify(&datagram[..len]), None);
            }
        }
    }
}
