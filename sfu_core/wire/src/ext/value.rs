//! Values of the header extensions that are read or written here.

/// MID (RFC 9143 section 14) or RID (RFC 8852 section 3.1): not empty, printable ASCII without spaces.
#[inline]
pub fn text(value: &[u8]) -> Option<&str> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    str::from_utf8(value).ok()
}

/// Transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 2); a feedback request behind it
/// is not read.
#[inline]
pub fn transport_sequence(value: &[u8]) -> Option<u16> {
    value.first_chunk().copied().map(u16::from_be_bytes)
}

/// Client-to-mixer audio level (RFC 6464).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    /// The sender found speech in it.
    pub voice: bool,
    /// 0 the loudest to 127 silence, in -dBov.
    pub level: u8,
}

impl AudioLevel {
    #[inline]
    pub fn parse(value: &[u8]) -> Option<Self> {
        value.first().map(|byte| Self {
            voice: byte & 0x80 != 0,
            level: byte & 0x7f,
        })
    }

    #[inline]
    pub fn bytes(self) -> [u8; 1] {
        [u8::from(self.voice) << 7 | (self.level & 0x7f)]
    }
}

/// Time of departure in 24 bits: seconds modulo 64 as 6.18 fixed point
/// (<http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsSendTime(pub u32);

impl AbsSendTime {
    #[inline]
    pub fn from_micros(micros: u64) -> Self {
        // Modulo 64 s first, so that the shift cannot overflow.
        Self((((micros % 64_000_000) << 18) / 1_000_000) as u32)
    }

    #[inline]
    pub fn micros(self) -> u64 {
        (u64::from(self.0) * 1_000_000) >> 18
    }

    #[inline]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let [a, b, c] = *value.first_chunk()?;
        Some(Self(u32::from_be_bytes([0, a, b, c])))
    }

    #[inline]
    pub fn bytes(self) -> [u8; 3] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [a, b, c]
    }
}

/// When the first sample or the frame was captured
/// (<http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsCaptureTime {
    /// NTP time (RFC 5905), 32.32 fixed point, of the capturing system's clock.
    pub ntp: u64,
    /// What must be added to get the time of the sender's own clock, 32.32 fixed point.
    pub clock_offset: Option<i64>,
}

impl AbsCaptureTime {
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (ntp, rest) = value.split_first_chunk()?;
        Some(Self {
            ntp: u64::from_be_bytes(*ntp),
            clock_offset: rest.first_chunk().copied().map(i64::from_be_bytes),
        })
    }

    /// The value and how much of it counts: 8 or 16 octets.
    pub fn bytes(self) -> ([u8; 16], usize) {
        let mut bytes = [0; 16];
        let (ntp, offset) = bytes.split_at_mut(8);
        ntp.copy_from_slice(&self.ntp.to_be_bytes());
        offset.copy_from_slice(&self.clock_offset.unwrap_or_default().to_be_bytes());
        (bytes, if self.clock_offset.is_some() { 16 } else { 8 })
    }
}

/// Coordination of video orientation (3GPP TS 26.114 section 7.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoOrientation {
    /// The camera faces away from the user.
    pub back_camera: bool,
    /// To be mirrored horizontally for display.
    pub flip: bool,
    /// Degrees by which the receiver turns the picture clockwise: 0, 90, 180 or 270.
    pub rotation: u16,
}

impl VideoOrientation {
    pub fn parse(value: &[u8]) -> Option<Self> {
        value.first().map(|byte| Self {
            back_camera: byte & 0x08 != 0,
            flip: byte & 0x04 != 0,
            rotation: u16::from(byte & 0x03) * 90,
        })
    }

    pub fn bytes(self) -> [u8; 1] {
        [u8::from(self.back_camera) << 3 | u8::from(self.flip) << 2 | (self.rotation / 90 % 4) as u8]
    }
}

/// Limits of the receiver's playout delay, 12 bits each, in units of 10 ms
/// (<http://www.webrtc.org/experiments/rtp-hdrext/playout-delay>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayoutDelay {
    pub min: u16,
    pub max: u16,
}

impl PlayoutDelay {
    pub fn parse(value: &[u8]) -> Option<Self> {
        let [a, b, c] = value.first_chunk().map(|bytes: &[u8; 3]| bytes.map(u16::from))?;
        Some(Self {
            min: a << 4 | b >> 4,
            max: (b & 0x0f) << 8 | c,
        })
    }

    /// Values above 4095 are clamped.
    pub fn bytes(self) -> [u8; 3] {
        let (min, max) = (self.min.min(0xfff), self.max.min(0xfff));
        [(min >> 4) as u8, (min << 4 | max >> 8) as u8, max as u8]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!(text(b"0"), Some("0"));
        assert_eq!(text(b"hi-Res_2"), Some("hi-Res_2"));
        for bad in [&b""[..], b"a b", b"a\0", b"\xc3\xa4", b"\xff"] {
            assert_eq!(text(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn audio_levels() {
        for byte in 0..=255 {
            let level = AudioLevel::parse(&[byte]).unwrap();
            assert_eq!(level.bytes(), [byte]);
        }
        assert_eq!(AudioLevel::parse(&[0xb2]), Some(AudioLevel { voice: true, level: 50 }));
        assert_eq!(AudioLevel::parse(&[]), None);
    }

    #[test]
    fn send_times() {
        assert_eq!(AbsSendTime::from_micros(0), AbsSendTime(0));
        assert_eq!(AbsSendTime::from_micros(1_000_000), AbsSendTime(1 << 18));
        assert_eq!(AbsSendTime::from_micros(65_500_000), AbsSendTime(3 << 17));
        assert!(AbsSendTime::from_micros(u64::MAX).0 < 1 << 24);
        assert_eq!(AbsSendTime(3 << 17).micros(), 1_500_000);
        assert_eq!(AbsSendTime::parse(&[1, 2, 3]), Some(AbsSendTime(0x01_02_03)));
        assert_eq!(AbsSendTime(0x01_02_03).bytes(), [1, 2, 3]);
        assert_eq!(AbsSendTime::parse(&[1, 2]), None);
    }

    #[test]
    fn transport_sequences() {
        assert_eq!(transport_sequence(&[0x12, 0x34]), Some(0x1234));
        assert_eq!(transport_sequence(&[0x12, 0x34, 0x80, 0x01]), Some(0x1234));
        assert_eq!(transport_sequence(&[0x12]), None);
    }

    #[test]
    fn capture_times() {
        let short = AbsCaptureTime {
            ntp: 0x0102_0304_0506_0708,
            clock_offset: None,
        };
        let (bytes, len) = short.bytes();
        assert_eq!(bytes[..len], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(AbsCaptureTime::parse(&bytes[..len]), Some(short));
        let long = AbsCaptureTime {
            clock_offset: Some(-2),
            ..short
        };
        let (bytes, len) = long.bytes();
        assert_eq!((len, AbsCaptureTime::parse(&bytes[..len])), (16, Some(long)));
        assert_eq!(AbsCaptureTime::parse(&bytes[..7]), None);
    }

    #[test]
    fn orientations() {
        for byte in 0..16 {
            assert_eq!(VideoOrientation::parse(&[byte]).unwrap().bytes(), [byte]);
        }
        let turned = VideoOrientation::parse(&[0x0b]).unwrap();
        assert_eq!((turned.back_camera, turned.flip, turned.rotation), (true, false, 270));
        assert_eq!(VideoOrientation::parse(&[]), None);
    }

    #[test]
    fn playout_delays() {
        let delay = PlayoutDelay { min: 0x123, max: 0xabc };
        assert_eq!(delay.bytes(), [0x12, 0x3a, 0xbc]);
        assert_eq!(PlayoutDelay::parse(&delay.bytes()), Some(delay));
        assert_eq!(PlayoutDelay { min: 0, max: 60_000 }.bytes(), [0, 0x0f, 0xff]);
        assert_eq!(PlayoutDelay::parse(&[0, 0]), None);
    }
}
