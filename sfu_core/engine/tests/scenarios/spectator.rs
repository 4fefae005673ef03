//! One who looks at a video as browsers do: recovers, asks for what is missing at once and every round trip, shows frames in
//! order as soon as they are complete, and counts freezes.

use std::collections::BTreeMap;

use pysfu_engine::fec::{Decoder, Format, Received};
use wire::rtcp::{nack, pli};
use wire::rtp::{self, Header};

use crate::media::{FLEXFEC, RED, Rtp, ULPFEC, VP8, VP8_RTX};
use crate::world::extension_ids;

/// `totalFreezesDuration` of W3C webrtc-stats: a gap above three frames and above a frame and 150 ms.
const FREEZE: u64 = 150_000 + 33_333;
/// Without a new frame for so long a keyframe is asked for, microseconds.
const PATIENCE: u64 = 1_000_000;

pub(crate) struct Spectator {
    ssrc: u32,
    round_trip: u64,
    decoder: Decoder,
    /// By extended number.
    here: BTreeMap<u64, Part>,
    /// Of the next packet to be shown.
    next: Option<u64>,
    highest: u64,
    /// When each missing number was asked for.
    asked: BTreeMap<u64, u64>,
    pleaded: u64,
    last: u64,
    pub(crate) frames: u64,
    /// Microseconds in gaps.
    pub(crate) frozen: u64,
    pub(crate) recovered: u64,
    pub(crate) parity: u64,
    pub(crate) in_red: u64,
}

#[derive(Clone, Copy)]
struct Part {
    marker: bool,
    /// A keyframe begins.
    keyframe: bool,
}

impl Spectator {
    /// `round_trip` in microseconds.
    pub(crate) fn new(ssrc: u32, format: Format, round_trip: u64) -> Self {
        Self {
            ssrc,
            round_trip,
            decoder: Decoder::new(format, ssrc),
            here: BTreeMap::new(),
            next: None,
            highest: 0,
            asked: BTreeMap::new(),
            pleaded: 0,
            last: 0,
            frames: 0,
            frozen: 0,
            recovered: 0,
            parity: 0,
            in_red: 0,
        }
    }

    pub(crate) fn on_rtp(&mut self, now: u64, packet: &Rtp, plain: &[u8]) {
        let header = Header::parse(plain).unwrap();
        let mut head = plain[..header.len].to_vec();
        match packet.payload_type {
            FLEXFEC => {
                self.parity += 1;
                self.decoder.handle_repair(&packet.payload);
            }
            RED if packet.payload[0] == ULPFEC => {
                self.parity += 1;
                self.insert(packet.seq, None);
                self.decoder.handle_repair(&packet.payload[1..]);
            }
            RED => {
                self.in_red += 1;
                assert_eq!(packet.payload[0], VP8);
                self.on_media(&head, packet.seq, &packet.payload[1..]);
            }
            VP8 if packet.ssrc == self.ssrc => self.on_media(&head, packet.seq, &packet.payload),
            // RFC 4588 section 4: as it was the first time.
            VP8_RTX if packet.ssrc == self.ssrc + 1 && packet.payload.len() >= 2 => {
                let (number, payload) = packet.payload.split_at(2);
                head[1] = head[1] & 0x80 | VP8;
                head[2..4].copy_from_slice(number);
                head[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
                self.on_media(&head, u16::from_be_bytes([number[0], number[1]]), payload);
            }
            _ => return,
        }
        while let Some(packet) = self.decoder.poll_recovered().map(<[u8]>::to_vec) {
            let header = Header::parse(&packet).unwrap();
            let payload = rtp::payload(&packet, &header).unwrap().to_vec();
            self.recovered += 1;
            self.insert(header.sequence, Some((header.marker, &payload)));
        }
        self.show(now);
    }

    fn on_media(&mut self, head: &[u8], sequence: u16, payload: &[u8]) {
        let received = Received {
            header: head,
            payload_type: VP8,
            payload,
        };
        self.decoder.handle_media(&received, &extension_ids());
        self.insert(
            sequence,
            (!payload.is_empty()).then_some((head[1] & 0x80 != 0, payload)),
        );
    }

    /// Without content it is parity, or nothing in the place of something.
    fn insert(&mut self, sequence: u16, content: Option<(bool, &[u8])>) {
        if self.highest == 0 {
            self.highest = (1 << 16) + u64::from(sequence);
        }
        let number = wire::seq::extend(self.highest, sequence);
        self.asked.remove(&number);
        self.asked
            .extend((self.highest + 1..number).map(|missing| (missing, 0)));
        self.highest = self.highest.max(number);
        let (marker, payload) = content.unwrap_or((false, &[]));
        // The descriptor has four octets; S bit and the P bit of the frame.
        let keyframe = payload.len() > 4 && payload[0] & 0x10 != 0 && payload[4] & 1 == 0;
        self.here.entry(number).or_insert(Part { marker, keyframe });
    }

    fn show(&mut self, now: u64) {
        if self.next.is_none() {
            self.next = self
                .here
                .iter()
                .find(|(_, part)| part.keyframe)
                .map(|(&number, _)| number);
        }
        while let Some(next) = self.next {
            // A keyframe that is complete ends all waiting.
            let keyframes = self.here.range(next + 1..).filter(|(_, part)| part.keyframe);
            let starts = std::iter::once(next).chain(keyframes.map(|(&number, _)| number));
            let Some(end) = starts.into_iter().find_map(|start| self.end(start)) else {
                break;
            };
            self.shown(now);
            self.next = Some(end + 1);
        }
        let oldest = self.next.unwrap_or(0);
        self.here.retain(|&number, _| number >= oldest);
        self.asked.retain(|&number, _| number >= oldest);
    }

    /// The last packet of a frame that is complete.
    fn end(&self, start: u64) -> Option<u64> {
        let mut parts = (start..).map_while(|number| Some((number, self.here.get(&number)?)));
        parts.find(|(_, part)| part.marker).map(|(number, _)| number)
    }

    fn shown(&mut self, now: u64) {
        self.frames += 1;
        if self.last > 0 && now - self.last > FREEZE {
            self.frozen += now - self.last;
        }
        self.last = now;
    }

    /// RTCP to be sent now.
    pub(crate) fn asks(&mut self, now: u64) -> Option<Vec<u8>> {
        let mut out = vec![0; 1_200];
        let due = |asked: u64| asked == 0 || now >= asked + self.round_trip;
        let missing: Vec<u16> = self
            .asked
            .iter_mut()
            .filter(|(_, asked)| due(**asked))
            .take(200)
            .map(|(&number, asked)| {
                *asked = now;
                number as u16
            })
            .collect();
        let len = if !missing.is_empty() {
            nack::write(&mut out, 1, self.ssrc, missing).unwrap()
        } else if now > PATIENCE + self.last.max(self.pleaded) {
            self.pleaded = now;
            let loss = pli::PictureLoss {
                sender_ssrc: 1,
                media_ssrc: self.ssrc,
            };
            loss.write(&mut out).unwrap()
        } else {
            return None;
        };
        out.truncate(len);
        Some(out)
    }
}
