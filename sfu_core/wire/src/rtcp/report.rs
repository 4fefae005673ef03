//! Sender and receiver reports (RFC 3550 sections 6.4.1 and 6.4.2).

use super::{WriteError, begin, finish, packet_type, set_count};
use crate::cursor::{Reader, Writer};

const BLOCK: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport<'a> {
    pub ssrc: u32,
    pub info: SenderInfo,
    blocks: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiverReport<'a> {
    pub ssrc: u32,
    blocks: &'a [u8],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// NTP time, 32.32 fixed point, of the same instant as `rtp_timestamp`.
    pub ntp: u64,
    pub rtp_timestamp: u32,
    pub packets: u32,
    /// Octets of payload, without headers and padding.
    pub octets: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source that is reported on.
    pub ssrc: u32,
    /// Of 256, since the previous report.
    pub fraction_lost: u8,
    /// 24 bits with sign; clamped when written.
    pub cumulative_lost: i32,
    /// Cycles in the upper half.
    pub highest_sequence: u32,
    /// Timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report; 0 when none came.
    pub last_sender_report: u32,
    /// Since that one came, in units of 1/65536 s.
    pub delay: u32,
}

impl<'a> SenderReport<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(body);
        Some(Self {
            ssrc: reader.u32()?,
            info: SenderInfo {
                ntp: reader.u64()?,
                rtp_timestamp: reader.u32()?,
                packets: reader.u32()?,
                octets: reader.u32()?,
            },
            // Profile-specific extensions may follow.
            blocks: reader.bytes(usize::from(count) * BLOCK)?,
        })
    }

    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        blocks(self.blocks)
    }
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(body);
        Some(Self {
            ssrc: reader.u32()?,
            blocks: reader.bytes(usize::from(count) * BLOCK)?,
        })
    }

    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        blocks(self.blocks)
    }
}

/// Writes a sender report with at most 31 blocks.
pub fn write_sender(
    out: &mut [u8],
    ssrc: u32,
    info: &SenderInfo,
    blocks: impl IntoIterator<Item = ReportBlock>,
) -> Result<usize, WriteError> {
    let mut writer = begin(out, 0, packet_type::SENDER_REPORT)?;
    writer.u32(ssrc)?;
    writer.bytes(&info.ntp.to_be_bytes())?;
    writer.u32(info.rtp_timestamp)?;
    writer.u32(info.packets)?;
    writer.u32(info.octets)?;
    write_blocks(writer, blocks)
}

/// Writes a receiver report with at most 31 blocks; without any it still opens a compound packet.
pub fn write_receiver(
    out: &mut [u8],
    ssrc: u32,
    blocks: impl IntoIterator<Item = ReportBlock>,
) -> Result<usize, WriteError> {
    let mut writer = begin(out, 0, packet_type::RECEIVER_REPORT)?;
    writer.u32(ssrc)?;
    write_blocks(writer, blocks)
}

fn blocks(bytes: &[u8]) -> impl Iterator<Item = ReportBlock> + use<'_> {
    let mut reader = Reader(bytes);
    std::iter::from_fn(move || {
        let ssrc = reader.u32()?;
        let [fraction_lost, c0, c1, c2] = reader.array()?;
        Some(ReportBlock {
            ssrc,
            fraction_lost,
            // Shifted down again so that the sign of 24 bits becomes that of 32.
            cumulative_lost: i32::from_be_bytes([c0, c1, c2, 0]) >> 8,
            highest_sequence: reader.u32()?,
            jitter: reader.u32()?,
            last_sender_report: reader.u32()?,
            delay: reader.u32()?,
        })
    })
}

fn write_blocks(mut writer: Writer<'_>, blocks: impl IntoIterator<Item = ReportBlock>) -> Result<usize, WriteError> {
    let mut count = 0;
    for block in blocks {
        let lost = block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
        writer.u32(block.ssrc)?;
        writer.u32(u32::from(block.fraction_lost) << 24 | lost)?;
        writer.u32(block.highest_sequence)?;
        writer.u32(block.jitter)?;
        writer.u32(block.last_sender_report)?;
        writer.u32(block.delay)?;
        count += 1;
    }
    set_count(&mut writer, count)?;
    finish(writer)
}

#[cfg(test)]
mod tests {
    use super::super::tests::only;
    use super::super::{Error, Packet};
    use super::*;

    const INFO: SenderInfo = SenderInfo {
        ntp: 0xe1e2_e3e4_0102_0304,
        rtp_timestamp: 0x1122_3344,
        packets: 1_000,
        octets: 123_456,
    };

    fn block(ssrc: u32, cumulative_lost: i32) -> ReportBlock {
        ReportBlock {
            ssrc,
            fraction_lost: 7,
            cumulative_lost,
            highest_sequence: 0x0001_ffee,
            jitter: 99,
            last_sender_report: 0xe3e4_0102,
            delay: 65_536,
        }
    }

    #[test]
    fn sender_report_octets() {
        let mut out = [0; 64];
        let len = write_sender(&mut out, 0xdead_beef, &INFO, [block(5, -2)]).unwrap();
        assert_eq!(
            out[..len],
            [
                0x81, 200, 0, 12, 0xde, 0xad, 0xbe, 0xef, 0xe1, 0xe2, 0xe3, 0xe4, 1, 2, 3, 4, 0x11, 0x22, 0x33, 0x44,
                0, 0, 0x03, 0xe8, 0, 0x01, 0xe2, 0x40, 0, 0, 0, 5, 7, 0xff, 0xff, 0xfe, 0, 1, 0xff, 0xee, 0, 0, 0, 99,
                0xe3, 0xe4, 1, 2, 0, 1, 0, 0
            ]
        );
        let Ok(Packet::SenderReport(report)) = only(&out[..len]) else {
            panic!("not a sender report");
        };
        assert_eq!((report.ssrc, report.info), (0xdead_beef, INFO));
        assert_eq!(report.blocks().collect::<Vec<_>>(), [block(5, -2)]);
    }

    #[test]
    fn receiver_report_round_trip() {
        let blocks: Vec<_> = [0, 1, -1, 0x7f_ffff, -0x80_0000]
            .into_iter()
            .enumerate()
            .map(|(index, lost)| block(index as u32, lost))
            .collect();
        let mut out = [0; 256];
        let len = write_receiver(&mut out, 3, blocks.iter().copied()).unwrap();
        let Ok(Packet::ReceiverReport(report)) = only(&out[..len]) else {
            panic!("not a receiver report");
        };
        assert_eq!(report.ssrc, 3);
        assert_eq!(report.blocks().collect::<Vec<_>>(), blocks);
        assert_eq!(write_receiver(&mut out, 3, []), Ok(8));
    }

    #[test]
    fn limits() {
        let mut out = [0; 1_024];
        assert!(write_receiver(&mut out, 3, vec![block(1, 0); 31]).is_ok());
        assert_eq!(
            write_receiver(&mut out, 3, vec![block(1, 0); 32]),
            Err(WriteError::TooMany)
        );
        assert_eq!(
            write_receiver(&mut out[..31], 3, [block(1, 0)]),
            Err(WriteError::BufferFull)
        );
        let len = write_receiver(&mut out, 3, [block(1, i32::MAX)]).unwrap();
        let Ok(Packet::ReceiverReport(report)) = only(&out[..len]) else {
            panic!("not a receiver report");
        };
        assert_eq!(report.blocks().next().unwrap().cumulative_lost, 0x7f_ffff);
    }

    #[test]
    fn more_blocks_announced_than_present() {
        let mut out = [0; 64];
        let len = write_sender(&mut out, 1, &INFO, [block(5, 0)]).unwrap();
        out[0] = 0x82;
        assert_eq!(only(&out[..len]), Err(Error::Report));
        out[..8].copy_from_slice(&[0x80, 200, 0, 1, 0, 0, 0, 1]);
        assert_eq!(only(&out[..8]), Err(Error::Report));
    }
}
