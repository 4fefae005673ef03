//! Picture loss indication (RFC 4585 section 6.3.1).

use super::{WriteError, begin_feedback, finish, packet_type};
use crate::cursor::Reader;

pub(super) const FORMAT: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureLoss {
    pub sender_ssrc: u32,
    /// The stream that needs a keyframe.
    pub media_ssrc: u32,
}

impl PictureLoss {
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        Some(Self {
            sender_ssrc: reader.u32()?,
            media_ssrc: reader.u32()?,
        })
    }

    pub fn write(&self, out: &mut [u8]) -> Result<usize, WriteError> {
        finish(begin_feedback(
            out,
            FORMAT,
            packet_type::PAYLOAD_FEEDBACK,
            self.sender_ssrc,
            self.media_ssrc,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{only, packet};
    use super::super::{Error, Packet};
    use super::*;

    #[test]
    fn octets() {
        let pli = PictureLoss {
            sender_ssrc: 1,
            media_ssrc: 0xdead_beef,
        };
        let mut out = [0; 12];
        assert_eq!(pli.write(&mut out), Ok(12));
        assert_eq!(out, [0x81, 206, 0, 2, 0, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef]);
        assert_eq!(only(&out), Ok(Packet::PictureLoss(pli)));
        assert_eq!(pli.write(&mut out[..11]), Err(WriteError::BufferFull));
    }

    #[test]
    fn too_short() {
        assert_eq!(only(&packet(1, 206, &[0, 0, 0, 1])), Err(Error::PictureLoss));
    }
}
