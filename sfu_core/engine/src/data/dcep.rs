//! Data Channel Establishment Protocol (RFC 8832).

/// DATA_CHANNEL_OPEN (section 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Open<'a> {
    pub(super) reliability: Reliability,
    pub(super) label: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reliability {
    pub(super) ordered: bool,
    pub(super) limit: Limit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Reliable,
    Retransmissions(u32),
    /// Milliseconds.
    Lifetime(u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    Open(Open<'a>),
    Ack,
}

/// Section 8.2.1.
const ACK: u8 = 2;
const OPEN: u8 = 3;
const OPEN_HEADER: usize = 12;
/// Section 8.2.2: the bit of unordered channel types.
const UNORDERED: u8 = 0x80;

impl<'a> Message<'a> {
    /// `None` for what is malformed or unknown. The label must be UTF-8; sub-protocol and priority are not used.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        match *bytes {
            [ACK, ..] => Some(Self::Ack),
            [OPEN, channel_type, _, _, r0, r1, r2, r3, l0, l1, p0, p1, ref rest @ ..] => {
                let parameter = u32::from_be_bytes([r0, r1, r2, r3]);
                let limit = match channel_type & !UNORDERED {
                    0 => Limit::Reliable,
                    1 => Limit::Retransmissions(parameter),
                    2 => Limit::Lifetime(parameter),
                    _ => return None,
                };
                let (label, protocol) = rest.split_at_checked(u16::from_be_bytes([l0, l1]).into())?;
                if protocol.len() < usize::from(u16::from_be_bytes([p0, p1])) {
                    return None;
                }
                let label = std::str::from_utf8(label).ok()?;
                let ordered = channel_type & UNORDERED == 0;
                Some(Self::Open(Open {
                    reliability: Reliability { ordered, limit },
                    label,
                }))
            }
            _ => None,
        }
    }

    pub(super) fn write(&self) -> Vec<u8> {
        match self {
            Self::Ack => vec![ACK],
            Self::Open(Open { reliability, label }) => {
                let (channel_type, parameter) = match reliability.limit {
                    Limit::Reliable => (0, 0),
                    Limit::Retransmissions(n) => (1, n),
                    Limit::Lifetime(ms) => (2, ms),
                };
                let unordered = if reliability.ordered { 0 } else { UNORDERED };
                let mut out = Vec::with_capacity(OPEN_HEADER + label.len());
                out.extend([OPEN, channel_type | unordered, 0, 0]);
                out.extend(parameter.to_be_bytes());
                out.extend((label.len() as u16).to_be_bytes());
                out.extend([0, 0]);
                out.extend(label.as_bytes());
                out
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_round_trips() {
        for limit in [
            Limit::Reliable,
            Limit::Retransmissions(0),
            Limit::Retransmissions(7),
            Limit::Lifetime(500),
        ] {
            for ordered in [true, false] {
                let open = Message::Open(Open {
                    reliability: Reliability { ordered, limit },
                    label: "_lossy",
                });
                assert_eq!(Message::parse(&open.write()), Some(open));
            }
        }
        assert_eq!(Message::parse(&Message::Ack.write()), Some(Message::Ack));
    }

    #[test]
    fn reads_what_a_browser_sends() {
        let bytes = b"\x03\x81\x01\x00\x00\x00\x00\x00\x00\x06\x00\x02_lossyxy";
        let reliability = Reliability {
            ordered: false,
            limit: Limit::Retransmissions(0),
        };
        assert_eq!(
            Message::parse(bytes),
            Some(Message::Open(Open {
                reliability,
                label: "_lossy"
            }))
        );
    }

    #[test]
    fn refuses_what_is_malformed() {
        let good = Message::Open(Open {
            reliability: Reliability {
                ordered: true,
                limit: Limit::Reliable,
            },
            label: "ab",
        })
        .write();
        for len in 0..good.len() {
            assert_eq!(Message::parse(&good[..len]), None, "{len}");
        }
        for (at, byte) in [(0, 9), (1, 3), (1, 0x7f), (9, 3), (11, 1), (12, 0xff)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(Message::parse(&bad), None, "{at}");
        }
    }
}
