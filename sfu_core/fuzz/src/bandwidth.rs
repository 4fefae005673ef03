//! The bandwidth estimator by operations: time jumps, packets go, and feedback lies.

use std::collections::HashMap;

use engine::bandwidth::{Bandwidth, Demand, Estimate, Kind, Limits, ProbeId};
use wire::rtcp::{Packet, ccfb, packets, twcc};

use crate::input::Input;

/// Packets remembered at most, and what one can have.
const REMEMBERED: u64 = 2_048;
const LARGEST: u64 = 65_535;
const KINDS: [Kind; 5] = [Kind::Media, Kind::Audio, Kind::Rtx, Kind::Fec, Kind::Padding];

struct World {
    bandwidth: Bandwidth,
    limits: Limits,
    now: u64,
    /// Number of the next packet.
    next: u64,
    /// Bytes of each number not told of yet.
    untold: HashMap<u16, u64>,
    /// The receiver's clock over ours.
    offset: u64,
    probe: Option<ProbeId>,
}

pub(crate) fn bandwidth(data: &[u8]) {
    let mut input = Input::new(data);
    let rate = |input: &mut Input<'_>| match input.u16() {
        0xffff => f64::INFINITY,
        0xfffe => f64::NAN,
        0xfffd => -1.0,
        some => f64::from(some) * f64::from(some),
    };
    let limits = Limits {
        start: rate(&mut input),
        min: f64::from(input.u16()) * 8.0,
        max: f64::from(input.u16()) * 2_000.0,
    };
    let (now, next) = (u64::from(input.u32()) << (input.u8() % 16), u64::from(input.u16()));
    let mut world = World {
        bandwidth: Bandwidth::new(now, limits),
        limits,
        now,
        next,
        untold: HashMap::new(),
        offset: u64::from(input.u32()) << (input.u8() % 12),
        probe: None,
    };
    while !input.is_empty() {
        let operation = input.u8();
        match operation % 16 {
            0..=5 => world.send(&mut input, operation),
            6..=8 => world.tell(&mut input),
            9 => world.tell_of_nothing_sent(&mut input),
            10 => world.tell_streams(&mut input),
            11 => world.tell_octets(input.some()),
            12 => world.claim(&mut input),
            13 => {
                let demand = Demand {
                    allocated: rate(&mut input),
                    next: rate(&mut input),
                    most: rate(&mut input),
                };
                world.bandwidth.set_demand(world.now, demand);
            }
            14 => world.now += u64::from(input.u8()) << (input.u8() % 32),
            _ => world.now += u64::from(input.u16()),
        }
        world.poll();
    }
}

impl World {
    fn send(&mut self, input: &mut Input<'_>, operation: u8) {
        let (shape, gap) = (input.u8(), input.u8());
        for index in 0..=u64::from(shape & 0x0f) {
            let bytes = if shape == 0xff { u32::MAX } else { u32::from(shape) * 8 };
            let sequence = self.next as u16;
            let kind = KINDS[usize::from(operation >> 4) % KINDS.len()];
            self.bandwidth.on_sent(
                sequence,
                self.now,
                bytes,
                kind,
                self.probe.filter(|_| operation >= 0x80),
            );
            self.bandwidth
                .on_sent_stream(sequence, u32::from(operation & 1), sequence.wrapping_mul(3));
            self.untold.insert(sequence, u64::from(bytes).min(LARGEST));
            self.now += u64::from(gap) * index;
            self.next += 1;
        }
    }

    /// Of numbers up to the newest, at times that are near the truth or not.
    fn tell(&mut self, input: &mut Input<'_>) {
        let (count, back) = (u64::from(input.u8() % 64) + 1, u64::from(input.u8()));
        let first = self.next.wrapping_sub(back);
        let mut at = (self.now + self.offset).saturating_sub(u64::from(input.u16()) * 20);
        let spread = u64::from(input.u8());
        let lie = input.u8();
        let mut arrivals = Vec::new();
        for index in 0..count {
            at = match lie {
                0xff => at.wrapping_sub(spread * 1_000),
                0xfe => u64::from(input.u32()) << 8,
                _ => at + spread * 50,
            };
            let arrives = lie & 0x0f != 1 || index % 3 == 0;
            arrivals.push(arrives.then_some(at));
        }
        // Negative or beyond the wrap of the reference: told modulo 2^24 units, as on the wire.
        let arrivals: Vec<_> = arrivals.iter().map(|at| at.map(|at| at % (1 << 62))).collect();
        let mut out = [0; 2_000];
        let Ok(written) = twcc::write(&mut out, 1, 2, 0, first as u16, arrivals.iter().copied()) else {
            return;
        };
        for index in 0..written.told {
            self.untold.remove(&(first.wrapping_add(index as u64) as u16));
        }
        self.tell_octets(&out[..written.len]);
        // Said twice, it is no news.
        let before = told(&self.bandwidth.estimate());
        self.tell_octets(&out[..written.len]);
        assert_eq!(
            told(&self.bandwidth.estimate()),
            before,
            "repeated feedback changes nothing"
        );
    }

    /// Arrivals of packets that never were, beyond the newest.
    fn tell_of_nothing_sent(&mut self, input: &mut Input<'_>) {
        let first = self.next.wrapping_add(u64::from(input.u16()) % 16_000);
        let at = self.now + self.offset;
        let arrivals: Vec<_> = (0..u64::from(input.u8() % 64) + 1)
            .map(|index| Some(at + index * 250))
            .collect();
        let mut out = [0; 2_000];
        let Ok(written) = twcc::write(&mut out, 1, 2, 0, first as u16, arrivals.iter().copied()) else {
            return;
        };
        let (before, refused) = (told(&self.bandwidth.estimate()), self.bandwidth.refused());
        self.tell_octets(&out[..written.len]);
        assert_eq!(self.bandwidth.refused() - refused, written.told as u64, "each is a lie");
        assert_eq!(told(&self.bandwidth.estimate()), before, "a lie earns nothing");
    }

    fn tell_streams(&mut self, input: &mut Input<'_>) {
        let timestamp = input.u32();
        let reports: Vec<_> = (0..input.u8() % 4)
            .map(|_| {
                let (ssrc, back) = (u32::from(input.u8() % 3), u16::from(input.u8()));
                let metrics: Vec<_> = input.some().iter().map(|&octet| metric(octet)).collect();
                (ssrc, (self.next as u16).wrapping_sub(back).wrapping_mul(3), metrics)
            })
            .collect();
        let mut out = [0; 4_000];
        if let Ok(len) = ccfb::write(&mut out, 1, timestamp, reports) {
            self.untold.clear();
            self.tell_octets(&out[..len]);
        }
    }

    /// Whatever a compound packet says.
    fn tell_octets(&mut self, octets: &[u8]) {
        for packet in packets(octets).flatten() {
            match packet {
                Packet::TransportWide(feedback) => self.bandwidth.on_transport_feedback(self.now, &feedback),
                Packet::CongestionControl(feedback) => self.bandwidth.on_ccfb(self.now, &feedback),
                Packet::MaximumBitrate(limit) => self.bandwidth.on_remb(self.now, limit.bitrate),
                _ => {}
            }
        }
    }

    fn claim(&mut self, input: &mut Input<'_>) {
        let value = input.u64() >> (input.u8() % 64);
        if input.bool() {
            self.bandwidth.on_remb(self.now, value);
        } else {
            self.bandwidth.on_round_trip(self.now, value);
        }
    }

    fn poll(&mut self) {
        let most = self.limits.max.max(1_000.0);
        if let Some(probe) = self.bandwidth.poll(self.now) {
            assert!(
                probe.bits_per_second > 0.0 && probe.bits_per_second <= most * 1.2,
                "{probe:?}"
            );
            assert!(probe.bytes < 4_000_000 && probe.packets < 4_000, "{probe:?}");
            self.probe = Some(probe.id);
        }
        let estimate = self.bandwidth.estimate();
        let least = self.limits.min.clamp(1_000.0, most);
        assert!((least..=most).contains(&estimate.target), "{estimate:?}");
        assert!((0.0..=estimate.target).contains(&estimate.media), "{estimate:?}");
        assert!((0.0..=1.0).contains(&estimate.loss), "{estimate:?}");
        assert!(estimate.queue.is_finite() && estimate.queue >= 0.0, "{estimate:?}");
        let acknowledged = estimate.acknowledged.unwrap_or(0.0);
        assert!(acknowledged.is_finite() && acknowledged >= 0.0, "{estimate:?}");
        let in_flight = self.bandwidth.in_flight();
        assert!(in_flight <= REMEMBERED * LARGEST, "{in_flight}");
    }
}

fn metric(octet: u8) -> Option<ccfb::Metric> {
    (octet & 1 != 0).then_some(ccfb::Metric {
        ecn: octet >> 6,
        offset: if octet == 0xff { 0x1fff } else { u16::from(octet) * 31 },
    })
}

/// What follows from feedback alone.
fn told(estimate: &Estimate) -> (f64, f64, u64) {
    (estimate.target, estimate.loss, estimate.queue.to_bits())
}
