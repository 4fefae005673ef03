//! One layer of a published track, at home or mirrored from another worker.

use std::sync::Arc;

use wire::rtcp::report::ReportBlock;

use super::facts::Dependencies;
use super::keyframe::KeyframeRequests;
use super::liveness::Liveness;
use super::nack::{Arrival, NackList, RoundTrip};
use super::rates::{MAX_SPATIAL, Rates};
use super::receive::{Extender, MAX_DROPOUT, ReceiveStats, Timeline};
use super::ring::Ring;
use crate::command::PublishedCodec;
use crate::crossing::SourceClock;
use crate::fec::Decoder;
use crate::packet::Packet;

/// Between the numbers of two tracks of which one comes in the place of the other: more than a ring spans.
const RESTART: u64 = 1 << 16;

/// What all subscriptions of a track share of one layer.
#[derive(Default)]
pub struct Layer {
    /// Recent packets, for retransmission.
    pub ring: Ring,
    /// Media flows.
    pub active: bool,
    /// From the publisher's last sender report.
    pub clock: Option<SourceClock>,
    /// Of the last keyframe that told it.
    pub resolution: Option<(u16, u16)>,
    /// The resolution has changed since it was looked at last.
    pub(crate) resized: bool,
    pub(crate) keyframes: KeyframeRequests,
    pub(crate) upstream: Upstream,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) rates: Rates,
    /// Its spatial layers, when it is scalable.
    pub(crate) spatial: Spatial,
}

/// The spatial layers of a scalable stream.
#[derive(Default)]
pub(crate) struct Spatial {
    liveness: Liveness,
    /// Bit n: layer n flowed once and does no longer, while others do.
    vanished: u8,
    /// Of the last keyframe that told them.
    sizes: [Option<(u16, u16)>; MAX_SPATIAL],
}

/// What a packet meant for its layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The layer begins to flow with it.
    pub(crate) begins: bool,
    /// Other spatial layers flow in it than before.
    pub(crate) spatial: bool,
}

/// State towards the publisher. A mirror has none: its home does the work.
#[derive(Default)]
pub(crate) struct Upstream {
    /// Of the media stream, once a packet came.
    pub(crate) ssrc: Option<u32>,
    pub(crate) clock_rate: u32,
    pub(crate) stats: ReceiveStats,
    pub(crate) nacks: NackList,
    pub(crate) recovered: u64,
    pub(crate) recovered_fec: u64,
    pub(crate) nacks_sent: u64,
    pub(crate) plis_sent: u64,
    pub(crate) fir_serial: u8,
    /// Uses FIR, for PLI was not negotiated.
    pub(crate) fir: bool,
    /// NACK was negotiated.
    pub(crate) nack: bool,
    pub(crate) dependencies: Dependencies,
    /// Of parity beside the stream, once some came.
    pub(crate) decoder: Option<Box<Decoder>>,
    extender: Extender,
    timeline: Timeline,
    stream: u32,
    /// Of one that comes over a link.
    renumbering: Renumbering,
}

/// Numbers of a track that comes over a link, after another one came in its place.
#[derive(Clone, Copy, Debug, Default)]
struct Renumbering {
    /// The next packet is the first of another track.
    anew: bool,
    /// Added to numbers, and to counts of restarts.
    seq: u64,
    stream: u32,
    /// The last count of restarts.
    last: u32,
}

/// Where a packet is in its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) seq: u64,
    pub(crate) time: u64,
    pub(crate) stream: u32,
    /// The layer cannot be repaired: only a keyframe helps.
    pub(crate) broken: bool,
    /// What a retransmission says of it.
    pub(crate) round_trip: Option<RoundTrip>,
}

/// Why a packet has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misplaced {
    Duplicate,
    /// Its number is far from all others; the next packet tells whether the source restarted.
    Stray,
}

impl Layer {
    /// Place of a packet of the media stream itself. `now` in microseconds.
    pub(crate) fn place(&mut self, ssrc: u32, seq: u16, timestamp: u32, now: u64) -> Result<Place, Misplaced> {
        let up = &mut self.upstream;
        let mut broken = false;
        let seq = match up.ssrc {
            Some(known) if known != ssrc => {
                broken = true;
                up.restart();
                up.extender.take_over(seq)
            }
            _ => {
                let before = up.extender.highest();
                let seq = up.extender.extend(seq).ok_or(Misplaced::Stray)?;
                if before.is_some_and(|before| seq >= before + u64::from(MAX_DROPOUT)) {
                    broken = true;
                    up.restart();
                }
                seq
            }
        };
        up.ssrc = Some(ssrc);
        if self.ring.is_known(seq) {
            return Err(Misplaced::Duplicate);
        }
        up.stats.on_packet(seq, timestamp, up.clock_rate, now);
        let arrival = up.nacks.on_packet(seq, now);
        broken |= arrival == Arrival::TooManyMissing;
        let time = up.timeline.unwrap(timestamp);
        Ok(Place {
            seq,
            time,
            stream: up.stream,
            broken,
            round_trip: None,
        })
    }

    /// Place of a packet that came by retransmission and had this number (RFC 4588 section 4).
    pub(crate) fn place_repair(&mut self, original: u16, timestamp: u32, now: u64) -> Result<Place, Misplaced> {
        let up = &mut self.upstream;
        let seq = up.extender.locate(original).ok_or(Misplaced::Stray)?;
        if self.ring.is_known(seq) {
            return Err(Misplaced::Duplicate);
        }
        let arrival = up.nacks.on_packet(seq, now);
        up.recovered += 1;
        let round_trip = match arrival {
            Arrival::Closes { round_trip } => round_trip,
            _ => None,
        };
        let time = up.timeline.unwrap(timestamp);
        Ok(Place {
            seq,
            time,
            stream: up.stream,
            broken: false,
            round_trip,
        })
    }

    /// For the next receiver report (RFC 3550 section 6.4.1); `None` before the first packet.
    pub(crate) fn report_block(&mut self, now: u64) -> Option<ReportBlock> {
        let ssrc = self.upstream.ssrc?;
        let reception = self.upstream.stats.report()?;
        // The middle of the NTP timestamp, and the time since it came in units of 1/65536 s.
        let (last_sender_report, delay) = self.clock.map_or((0, 0), |clock| {
            let since = now.saturating_sub(clock.arrival);
            (
                (clock.ntp >> 16) as u32,
                (since.min(u64::from(u32::MAX)) * 65_536 / 1_000_000) as u32,
            )
        });
        Some(ReportBlock {
            ssrc,
            fraction_lost: reception.fraction_lost,
            cumulative_lost: reception.cumulative_lost,
            highest_sequence: reception.extended_highest,
            jitter: reception.jitter,
            last_sender_report,
            delay,
        })
    }

    /// What follows over a link is of another track.
    pub(crate) fn begin_anew(&mut self) {
        self.upstream.renumbering.anew = self.ring.end() != 0;
    }

    /// Number and count of restarts, of a packet that came over a link with these: another track goes on far above what came
    /// before.
    pub(crate) fn renumber(&mut self, seq: u64, stream: u32) -> (u64, u32) {
        let end = self.ring.end();
        let renumbering = &mut self.upstream.renumbering;
        if std::mem::take(&mut renumbering.anew) {
            renumbering.seq = (end + RESTART).wrapping_sub(seq);
            renumbering.stream = renumbering.last.wrapping_add(1).wrapping_sub(stream);
            self.upstream.dependencies = Dependencies::default();
        }
        let stream = stream.wrapping_add(self.upstream.renumbering.stream);
        self.upstream.renumbering.last = stream;
        (seq.wrapping_add(self.upstream.renumbering.seq), stream)
    }

    /// What follows does not continue what came before: packets were dropped here on purpose.
    pub(crate) fn interrupt(&mut self) {
        self.upstream.stream = self.upstream.stream.wrapping_add(1);
        self.upstream.decoder = None;
    }

    /// Keeps a packet for retransmission and counts it. `least`: silence of a layer that never means anything, microseconds.
    pub(crate) fn keep(&mut self, packet: &Arc<Packet>, least: u64) -> Kept {
        let payload = packet.payload().len();
        self.packets += u64::from(packet.left_out.is_none());
        self.bytes += payload as u64;
        self.rates.add(packet);
        if packet.facts.keyframe {
            self.keyframes.on_keyframe();
            let before = self.resolution;
            self.resolution = packet.facts.resolution.or(before);
            self.resized |= self.resolution != before;
            self.spatial.on_keyframe(packet);
        }
        self.ring.insert(Arc::clone(packet));
        if payload == 0 {
            // What is left out flows where it comes from.
            let layered = packet.left_out.is_some() && packet.facts.vp9.is_some() | packet.facts.dependency.is_some();
            return Kept {
                begins: false,
                spatial: layered && self.spatial.on_packet(packet, least),
            };
        }
        Kept {
            begins: !std::mem::replace(&mut self.active, true),
            spatial: packet.facts.is_layered() && self.spatial.on_packet(packet, least),
        }
    }

    pub(crate) fn bits_per_second(&self, now: u64) -> f64 {
        self.rates.bits_per_second(now)
    }
}

impl Spatial {
    pub(crate) fn flows(&self, layer: u8) -> bool {
        self.liveness.flows(layer.into())
    }

    /// Neither it nor one below it is known to be gone: the layers of a keyframe come one by one.
    pub(crate) fn may_flow(&self, layer: u8) -> bool {
        let up_to = u8::MAX >> (7 - layer.min(7));
        self.flows(layer) || self.vanished & up_to == 0
    }

    pub(crate) fn size(&self, layer: usize) -> Option<(u16, u16)> {
        *self.sizes.get(layer)?
    }

    /// True when others may flow than before.
    pub(crate) fn check(&mut self, now: u64, least: u64) -> bool {
        let mut vanished = self.vanished | self.liveness.vanished(now, least);
        // After a common pause nothing is known of any of them.
        vanished &= if self.liveness.any_flows() { u8::MAX } else { 0 };
        std::mem::replace(&mut self.vanished, vanished) != vanished
    }

    /// The same.
    fn on_packet(&mut self, packet: &Packet, least: u64) -> bool {
        // What was sent again may be of a layer that is gone.
        if packet.recovered {
            return false;
        }
        let layer = packet.facts.spatial;
        let bit = 1 << layer.min(7);
        let returns = self.vanished & bit != 0;
        self.vanished &= !bit;
        let due = self
            .liveness
            .on_packet(layer.into(), packet.time, packet.arrival, least);
        due && self.check(packet.arrival, least) || returns
    }

    fn on_keyframe(&mut self, packet: &Packet) {
        let mut set = |sizes: &[(u16, u16)]| {
            for (place, size) in self.sizes.iter_mut().zip(sizes) {
                *place = Some(*size);
            }
        };
        if let Some(structure) = &packet.structure {
            set(structure.sizes());
        } else if packet.facts.vp9.is_some()
            && let Ok(descriptor) = wire::vp9::Descriptor::parse(packet.payload())
            && let Some(structure) = descriptor.structure
        {
            set(structure.sizes());
        }
    }
}

impl Upstream {
    /// Of the packet that is about to be placed.
    pub(crate) fn set_format(&mut self, format: &PublishedCodec) {
        self.clock_rate = format.clock_rate;
        self.nack = format.nack;
        self.fir = !format.pli;
    }

    fn restart(&mut self) {
        self.stream = self.stream.wrapping_add(1);
        self.timeline = Timeline::default();
        self.nacks = NackList::default();
        self.stats.restart();
        self.decoder = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::nack::{MAX_TRIES, Patience};
    use super::*;

    const MS: u64 = 1_000;

    fn packet(place: Place) -> Arc<Packet> {
        let mut packet = Packet::default();
        packet.seq = place.seq;
        assert!(packet.set_content(b"x", &[]));
        Arc::new(packet)
    }

    #[test]
    fn a_repaired_packet_takes_its_place_once() {
        let mut layer = Layer::default();
        layer.upstream.clock_rate = 90_000;
        let seqs: Vec<_> = [7, 8, 10]
            .iter()
            .map(|&seq| {
                let place = layer.place(1, seq, 0, 0).unwrap();
                layer.keep(&packet(place), 0);
                place.seq
            })
            .collect();
        let mut asked = Vec::new();
        let patience = Patience {
            max_age: 1_000 * MS,
            max_tries: MAX_TRIES,
        };
        layer.upstream.nacks.due(10 * MS, None, patience, &mut asked);
        assert_eq!(asked, [9]);
        let place = layer.place_repair(9, 0, 30 * MS).unwrap();
        assert_eq!(
            (place.seq, place.round_trip),
            (seqs[1] + 1, Some(RoundTrip::Measured(20 * MS)))
        );
        layer.keep(&packet(place), 0);
        assert_eq!(layer.place_repair(9, 0, 31 * MS), Err(Misplaced::Duplicate));
        assert_eq!(layer.place(1, 9, 0, 31 * MS), Err(Misplaced::Duplicate));
        assert_eq!((layer.upstream.recovered, layer.upstream.stats.lost()), (1, 1));
    }

    #[test]
    fn another_ssrc_is_another_stream() {
        let mut layer = Layer::default();
        layer.upstream.clock_rate = 90_000;
        let first = layer.place(1, 60_000, 5, 0).unwrap();
        layer.keep(&packet(first), 0);
        let second = layer.place(2, 60_000, 9, 0).unwrap();
        assert!(second.seq > first.seq && second.stream != first.stream && second.broken);
        assert!(!layer.place(2, 60_001, 9, 0).unwrap().broken);
    }
}
