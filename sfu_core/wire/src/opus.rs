//! What the first octet of an Opus packet says (RFC 6716 section 3.1), which end-to-end encryption leaves in the clear.

/// Ticks of 48 kHz in one frame, by configuration: SILK, hybrid, CELT.
const FRAME: [u16; 32] = [
    480, 960, 1_920, 2_880, 480, 960, 1_920, 2_880, 480, 960, 1_920, 2_880, 480, 960, 480, 960, 120, 240, 480, 960,
    120, 240, 480, 960, 120, 240, 480, 960, 120, 240, 480, 960,
];
/// The longest packet: 120 ms.
const MAX_DURATION: u32 = 5_760;
/// Bits of the number of frames.
const CODE: u8 = 0x03;

/// How much sound a packet holds, in ticks of 48 kHz; `None` of what is no Opus packet.
pub fn duration(payload: &[u8]) -> Option<u32> {
    let &toc = payload.first()?;
    let frames = match toc & CODE {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(payload.get(1)? & 0x3f),
    };
    let ticks = frames * u32::from(*FRAME.get(usize::from(toc >> 3))?);
    (1..=MAX_DURATION).contains(&ticks).then_some(ticks)
}

/// A packet of one frame without content, as a sender's last one before it says nothing for a while (RFC 6716 section 2.1.9): a
/// receiver makes its own comfort noise from here on, and conceals no losses.
pub fn silence(payload: &[u8]) -> Option<[u8; 1]> {
    payload.first().map(|toc| [toc & !CODE])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (payload, expected) in [
            // Chromium: CELT, fullband, 20 ms, stereo; SILK of 60 ms; two frames of 20 ms; three of 20 ms.
            (&[0xfc, 1][..], Some(960)),
            (&[0x78, 1], Some(960)),
            (&[3 << 3], Some(2_880)),
            (&[0xfd], Some(1_920)),
            (&[0xff, 3], Some(2_880)),
            (&[0xff], None),
            (&[0xff, 0], None),
            // More than 120 ms.
            (&[0xff, 7], None),
            (&[], None),
        ] {
            assert_eq!(duration(payload), expected, "{payload:?}");
        }
    }

    #[test]
    fn silence_keeps_the_configuration() {
        assert_eq!(silence(&[0x7f, 3, 9]), Some([0x7c]));
        assert_eq!(duration(&[0x7c]), Some(960));
        assert_eq!(silence(&[]), None);
    }
}
