//! A viewer as browsers are: asks for what is missing at once and every round trip, decodes what is complete, shows it
//! without delay, and counts gaps.

use std::collections::BTreeMap;

use pysfu_engine::fec::{Decoder, Format, Received};
use wire::rtp;

use super::sender::{Datagram, IDS, Kind, RATE, SSRC, Stream, needs};

/// `totalFreezesDuration` of W3C webrtc-stats: a gap above three frames and above a frame and 150 ms.
const FREEZE: u64 = 150_000 + 1_000_000 / RATE;

pub(crate) struct Receiver {
    stream: Stream,
    decoder: Decoder,
    rtt: u64,
    /// By sequence number: the frame, and whether it ends it.
    here: Vec<Option<(u64, bool)>>,
    highest: usize,
    /// When each missing number was asked for.
    asked: BTreeMap<u16, u64>,
    /// By frame.
    decoded: Vec<bool>,
    /// Number of the first packet of the oldest frame that is not decoded.
    oldest: usize,
    next_shown: u64,
    last_shown: u64,
    /// Microseconds in gaps, and their number.
    pub(crate) frozen: u64,
    pub(crate) freezes: u64,
    pub(crate) recovered: u64,
}

impl Receiver {
    pub(crate) fn new(stream: Stream, rtt: u64) -> Self {
        Self {
            stream,
            decoder: Decoder::new(Format::Flexfec { ssrc: SSRC }, SSRC),
            rtt,
            here: Vec::new(),
            highest: 0,
            asked: BTreeMap::new(),
            decoded: Vec::new(),
            oldest: 0,
            next_shown: 0,
            last_shown: 0,
            frozen: 0,
            freezes: 0,
            recovered: 0,
        }
    }

    pub(crate) fn handle(&mut self, now: u64, datagram: &Datagram, originals: &[Vec<u8>]) {
        match &datagram.kind {
            Kind::Media(packet) => {
                let (header, payload) = packet.split_at(rtp::FIXED_HEADER);
                self.insert(header);
                let received = Received {
                    header,
                    payload_type: 96,
                    payload,
                };
                self.decoder.handle_media(&received, &IDS);
            }
            Kind::Parity(payload) => self.decoder.handle_repair(payload),
        }
        while let Some(packet) = self.decoder.poll_recovered().map(<[u8]>::to_vec) {
            let header = rtp::Header::parse(&packet).unwrap();
            assert_eq!(packet, originals[usize::from(header.sequence)]);
            self.recovered += u64::from(self.insert(&packet));
        }
        self.show(now);
    }

    /// What to ask for now.
    pub(crate) fn nacks(&mut self, now: u64) -> Vec<u16> {
        let rtt = self.rtt;
        let due = self
            .asked
            .iter_mut()
            .filter(|(_, asked)| **asked == 0 || now >= **asked + rtt);
        due.map(|(&sequence, asked)| {
            *asked = now;
            sequence
        })
        .collect()
    }

    /// The gap that is open at the end counts.
    pub(crate) fn finish(&mut self, now: u64) {
        self.count_gap(now);
    }

    fn insert(&mut self, packet: &[u8]) -> bool {
        let header = rtp::Header::parse(packet).unwrap();
        let index = usize::from(header.sequence);
        if self.here.len() <= index {
            self.here.resize(index + 1, None);
        }
        self.asked.remove(&header.sequence);
        self.asked
            .extend((self.highest + 1..index).map(|missing| (missing as u16, 0)));
        self.highest = self.highest.max(index);
        let frame = u64::from(header.timestamp / 3_000);
        self.here[index].replace((frame, header.marker)).is_none()
    }

    /// Decodes and shows what can be, beginning with the oldest frame that is not decoded.
    fn show(&mut self, now: u64) {
        let (mut complete, mut all_decoded) = (true, true);
        let mut former = None;
        for index in self.oldest..self.here.len() {
            let Some((frame, last)) = self.here[index] else {
                (complete, all_decoded, former) = (false, false, None);
                continue;
            };
            if former.is_some_and(|(_, last)| last) || index == self.oldest {
                // Only the end of the frame before tells where this one begins.
                complete = true;
            }
            former = self.here[index];
            let at = frame as usize;
            if self.decoded.len() <= at {
                self.decoded.resize(at + 1, false);
            }
            if !last {
                continue;
            }
            let decodable = needs(self.stream, frame).is_none_or(|needed| self.decoded[needed as usize]);
            if complete && decodable && !self.decoded[at] {
                self.decoded[at] = true;
                if frame >= self.next_shown {
                    self.count_gap(now);
                    (self.next_shown, self.last_shown) = (frame + 1, now);
                }
            }
            all_decoded &= self.decoded[at];
            if all_decoded {
                self.oldest = index + 1;
            }
        }
    }

    fn count_gap(&mut self, now: u64) {
        if self.last_shown > 0 && now - self.last_shown > FREEZE {
            self.frozen += now - self.last_shown;
            self.freezes += 1;
        }
    }
}
