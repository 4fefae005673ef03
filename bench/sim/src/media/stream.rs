//! One RTP stream of a publisher, with what it keeps for retransmission.

use std::collections::VecDeque;

use wire::rtcp::report::{self, SenderInfo};

use crate::rtp::{self, Rtp};

/// Packets kept: some seconds.
const HISTORY: usize = 1_500;

pub(crate) struct Stream {
    pub(crate) ssrc: u32,
    pub(crate) payload_type: u8,
    pub(crate) mid: String,
    pub(crate) rid: Option<&'static str>,
    /// Hz.
    pub(crate) clock_rate: u32,
    pub(crate) seq: u16,
    rtx_seq: u16,
    offset: u32,
    history: VecDeque<Rtp>,
    packets: u32,
    octets: u32,
}

impl Stream {
    pub(crate) fn new(ssrc: u32, payload_type: u8, clock_rate: u32, mid: &str, rid: Option<&'static str>) -> Self {
        Self {
            ssrc,
            payload_type,
            mid: mid.to_owned(),
            rid,
            clock_rate,
            // Numbers turn over soon; times of layers have nothing to do with each other.
            seq: 65_000,
            rtx_seq: 7,
            offset: ssrc.wrapping_mul(2_654_435_761),
            history: VecDeque::new(),
            packets: 0,
            octets: 0,
        }
    }

    pub(crate) fn packet(&mut self, captured: u64, payload: Vec<u8>, marker: bool, more: Option<(u8, Vec<u8>)>) -> Rtp {
        let mut extensions = vec![(rtp::MID, self.mid.as_bytes().to_vec())];
        extensions.extend(self.rid.map(|rid| (rtp::RID, rid.as_bytes().to_vec())));
        extensions.extend(more);
        self.packets += 1;
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        let packet = Rtp {
            ssrc: self.ssrc,
            payload_type: self.payload_type,
            seq: self.seq,
            timestamp: self.timestamp(captured),
            marker,
            extensions,
            payload,
            padding: 0,
        };
        self.seq = self.seq.wrapping_add(1);
        if self.clock_rate == 90_000 {
            self.history.push_back(packet.clone());
            if self.history.len() > HISTORY {
                self.history.pop_front();
            }
        }
        packet
    }

    /// In RTX format (RFC 4588 section 4), if it is still kept.
    pub(crate) fn again(&mut self, seq: u16) -> Option<Rtp> {
        let mut packet = self.history.iter().rev().find(|packet| packet.seq == seq)?.clone();
        packet.payload = [&seq.to_be_bytes(), packet.payload.as_slice()].concat();
        packet.payload_type += 1;
        packet.ssrc = rtx_ssrc(packet.ssrc);
        packet.seq = self.rtx_seq;
        self.rtx_seq = self.rtx_seq.wrapping_add(1);
        for (id, _) in &mut packet.extensions {
            if *id == rtp::RID {
                *id = rtp::REPAIRED_RID;
            }
        }
        Some(packet)
    }

    /// A sender report of `now`, microseconds.
    pub(crate) fn report(&self, now: u64) -> Vec<u8> {
        let info = SenderInfo {
            ntp: ntp(now),
            rtp_timestamp: self.timestamp(now),
            packets: self.packets,
            octets: self.octets,
        };
        let mut out = vec![0; 64];
        let len = report::write_sender(&mut out, self.ssrc, &info, []).unwrap();
        out.truncate(len);
        out
    }

    fn timestamp(&self, captured: u64) -> u32 {
        let ticks = captured * u64::from(self.clock_rate) / 1_000_000;
        self.offset.wrapping_add(ticks as u32)
    }
}

/// Of retransmissions of a stream.
pub(crate) fn rtx_ssrc(ssrc: u32) -> u32 {
    ssrc + 0x0100_0000
}

/// 32.32 fixed point, of some era.
pub(crate) fn ntp(micros: u64) -> u64 {
    (((u128::from(micros) << 32) / 1_000_000) as u64).wrapping_add(0xdead_0000_0000_0000)
}
