//! The node's side of one video subscription: media, parity, retransmissions, and what feedback tells of the path.

use std::collections::VecDeque;

use netem::Random;
use pysfu_engine::command::ExtensionIds;
use pysfu_engine::fec::burst::Bursts;
use pysfu_engine::fec::protection::{Frames, Path, protection};
use pysfu_engine::fec::{Encoder, Format, Media, Pool};
use wire::rtp;

pub(crate) const SSRC: u32 = 7;
pub(crate) const RATE: u64 = 30;
const INTERVAL: u64 = 1_000_000 / RATE;
const MAX_PAYLOAD: usize = 1_150;
/// A frame leaves within this time.
const PACED: u64 = 12_000;
pub(crate) const IDS: ExtensionIds = ExtensionIds {
    mid: None,
    rid: None,
    repaired_rid: None,
    audio_level: None,
    transport_cc: None,
    abs_send_time: None,
    abs_capture_time: None,
    dependency_descriptor: None,
    video_orientation: None,
    playout_delay: None,
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    /// Bits per second.
    pub(crate) bitrate: u64,
    /// Three temporal layers, or none.
    pub(crate) layered: bool,
}

/// On its way. `transport` is the transport-wide number.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) transport: usize,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Media(Vec<u8>),
    Parity(Vec<u8>),
}

pub(crate) struct Sender {
    stream: Stream,
    hybrid: bool,
    random: Random,
    rtt: u64,
    encoder: Encoder,
    pool: Pool,
    bursts: Bursts,
    sequence: u64,
    frame: u64,
    /// Packets of frames that have begun, and when they leave.
    paced: VecDeque<(u64, Vec<u8>)>,
    /// Second copies of retransmissions.
    copies: VecDeque<(u64, Vec<u8>)>,
    second_copy: Option<u64>,
    thin: bool,
    pub(crate) packets: Vec<Vec<u8>>,
    /// When each was retransmitted last.
    resent: Vec<u64>,
    /// When each transport-wide number was sent, and what arrived.
    sent: Vec<u64>,
    settled: usize,
    pub(crate) media_octets: u64,
    pub(crate) parity_octets: u64,
    /// Of frames that were left out.
    pub(crate) thinned_octets: u64,
    pub(crate) copied_octets: u64,
    pub(crate) repeated_octets: u64,
}

/// What a frame is to others, from its number alone: 0 2 1 2 as libvpx has it.
pub(crate) fn temporal(stream: Stream, frame: u64) -> u8 {
    match (stream.layered, frame % 4) {
        (false, _) | (true, 0) => 0,
        (true, 2) => 1,
        _ => 2,
    }
}

/// The frame that one needs; none of the first.
pub(crate) fn needs(stream: Stream, frame: u64) -> Option<u64> {
    let back = match (stream.layered, frame % 4) {
        (false, _) => 1,
        (true, 0) => 4,
        (true, 2) => 2,
        _ => 1,
    };
    frame.checked_sub(back)
}

impl Sender {
    pub(crate) fn new(stream: Stream, hybrid: bool, rtt: u64, seed: u64) -> Self {
        Self {
            stream,
            hybrid,
            random: Random::new(seed, 100),
            rtt,
            encoder: Encoder::new(Format::Flexfec { ssrc: SSRC }),
            pool: Pool::default(),
            bursts: Bursts::new(0),
            sequence: 0,
            frame: 0,
            paced: VecDeque::new(),
            copies: VecDeque::new(),
            second_copy: None,
            thin: false,
            packets: Vec::new(),
            resent: Vec::new(),
            sent: Vec::new(),
            settled: 0,
            media_octets: 0,
            parity_octets: 0,
            thinned_octets: 0,
            copied_octets: 0,
            repeated_octets: 0,
        }
    }

    /// Everything that leaves now. Called every millisecond.
    pub(crate) fn poll(&mut self, now: u64, nacks: &[u16], arrived: &[bool], out: &mut Vec<Datagram>) {
        self.learn(now, arrived);
        for &sequence in nacks {
            let index = usize::from(sequence);
            if self.resent[index] == 0 || now >= self.resent[index] + self.rtt {
                self.resent[index] = now.max(1);
                let packet = self.packets[index].clone();
                self.repeated_octets += packet.len() as u64;
                if let Some(after) = self.second_copy.filter(|_| self.hybrid) {
                    self.copies.push_back((now + after, packet.clone()));
                }
                self.transmit(now, Kind::Media(packet), out);
            }
        }
        while let Some(packet) = pop_due(&mut self.copies, now) {
            self.copied_octets += packet.len() as u64;
            self.transmit(now, Kind::Media(packet), out);
        }
        if now >= self.frame * INTERVAL {
            self.begin_frame(now);
        }
        while let Some(packet) = pop_due(&mut self.paced, now) {
            self.send_media(now, packet, out);
        }
        if self.encoder.next_timeout().is_some_and(|time| time <= now) {
            self.encoder.handle_timeout(now, &mut self.pool);
        }
        while let Some(repair) = self.encoder.due(now) {
            let payload = repair.parts().concat();
            self.encoder.sent(&mut self.pool);
            self.parity_octets += (payload.len() + rtp::FIXED_HEADER) as u64;
            self.transmit(now, Kind::Parity(payload), out);
        }
    }

    fn begin_frame(&mut self, now: u64) {
        let mean = self.stream.bitrate / RATE / 8;
        if self.thin && temporal(self.stream, self.frame) == 2 {
            self.thinned_octets += mean * 4 / 5;
            self.frame += 1;
            return;
        }
        // Cumulative rates of 40, 60 and 100 %.
        let mean = match (self.stream.layered, temporal(self.stream, self.frame)) {
            _ if self.frame == 0 => 5 * mean,
            (false, _) => mean,
            (true, 0) => mean * 8 / 5,
            (true, _) => mean * 4 / 5,
        };
        let len = mean * (80 + self.random.bits() % 41) / 100;
        let count = (len as usize).div_ceil(MAX_PAYLOAD);
        for index in 0..count {
            let mut packet = vec![0; rtp::FIXED_HEADER];
            let (number, time) = (self.sequence as u16, (self.frame * 3_000) as u32);
            rtp::write_header(&mut packet, index + 1 == count, 96, number, time, SSRC, false).unwrap();
            let content = self.random.bits() as u8;
            packet.resize(rtp::FIXED_HEADER + len as usize / count, content);
            let time = now + PACED * index as u64 / count as u64;
            self.paced.push_back((time, packet));
            self.sequence += 1;
        }
        self.frame += 1;
    }

    fn send_media(&mut self, now: u64, packet: Vec<u8>, out: &mut Vec<Datagram>) {
        self.media_octets += packet.len() as u64;
        let (header, payload) = packet.split_at(rtp::FIXED_HEADER);
        let frame = u64::from(rtp::Header::parse(header).unwrap().timestamp / 3_000);
        let media = Media {
            sequence: self.packets.len() as u64,
            header,
            payload_type: 96,
            payload: [&[], payload],
            essential: temporal(self.stream, frame) == 0,
            keyframe: frame == 0,
        };
        if self.hybrid {
            self.encoder.protect(now, &media, &IDS, &mut self.pool);
        }
        self.packets.push(packet.clone());
        self.resent.push(0);
        self.transmit(now, Kind::Media(packet), out);
    }

    fn transmit(&mut self, now: u64, kind: Kind, out: &mut Vec<Datagram>) {
        out.push(Datagram {
            transport: self.sent.len(),
            kind,
        });
        self.sent.push(now);
    }

    /// Feedback comes a round trip and an interval of feedback later.
    fn learn(&mut self, now: u64, arrived: &[bool]) {
        while self
            .sent
            .get(self.settled)
            .is_some_and(|&sent| sent + self.rtt + 100_000 <= now)
        {
            let received = arrived.get(self.settled).copied().unwrap_or(false);
            self.bursts.on_packet(now, received);
            self.settled += 1;
        }
        if now.is_multiple_of(500_000) {
            let path = Path {
                loss: self.bursts.loss(now),
                rtt: self.rtt as f32 / 1_000.0,
                estimate: 3 * self.stream.bitrate,
                used: self.stream.bitrate,
            };
            let thin = self.thin;
            let frames = |keyframe| Frames {
                rate: if thin { RATE / 2 } else { RATE } as f32,
                packets: (self.stream.bitrate / RATE / 8) as f32 / MAX_PAYLOAD as f32 * if thin { 1.2 } else { 1.0 },
                layered: self.stream.layered,
                keyframe,
            };
            let delta = protection(&path, &frames(false));
            self.second_copy = delta.second_copy;
            self.thin = delta.thin && self.hybrid;
            self.encoder.protect_by(protection(&path, &frames(true)), delta);
        }
    }
}

fn pop_due(queue: &mut VecDeque<(u64, Vec<u8>)>, now: u64) -> Option<Vec<u8>> {
    let due = queue.front().is_some_and(|(time, _)| *time <= now);
    due.then(|| queue.pop_front()).flatten().map(|(_, packet)| packet)
}
