//! One layer of a published track, at home or mirrored from another worker.

use std::sync::Arc;

use wire::rtcp::report::ReportBlock;

use super::keyframe::KeyframeRequests;
use super::nack::{Arrival, NackList};
use super::receive::{Extender, MAX_DROPOUT, ReceiveStats, Timeline};
use super::ring::Ring;
use crate::command::PublishedCodec;
use crate::crossing::SourceClock;
use crate::meter::Meter;
use crate::packet::Packet;

/// A track may pause altogether (a still screen share) without its layers being gone, microseconds.
const PAUSE: u64 = 5_000_000;

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
    pub(crate) keyframes: KeyframeRequests,
    pub(crate) upstream: Upstream,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    meter: Meter,
    /// Arrival of the last packet with payload, microseconds.
    last_media: u64,
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
    pub(crate) nacks_sent: u64,
    pub(crate) plis_sent: u64,
    pub(crate) fir_serial: u8,
    /// Uses FIR, for PLI was not negotiated.
    pub(crate) fir: bool,
    /// NACK was negotiated.
    pub(crate) nack: bool,
    extender: Extender,
    timeline: Timeline,
    stream: u32,
}

/// Where a packet is in its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) seq: u64,
    pub(crate) time: u64,
    pub(crate) stream: u32,
    /// The layer cannot be repaired: only a keyframe helps.
    pub(crate) broken: bool,
    /// Measured by a retransmission, microseconds.
    pub(crate) round_trip: Option<u64>,
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

    /// What follows does not continue what came before: packets were dropped here on purpose.
    pub(crate) fn interrupt(&mut self) {
        self.upstream.stream = self.upstream.stream.wrapping_add(1);
    }

    /// Keeps a packet for retransmission and counts it. True when the layer begins to flow with it.
    pub(crate) fn keep(&mut self, packet: &Arc<Packet>) -> bool {
        let payload = packet.payload().len();
        self.packets += 1;
        self.bytes += payload as u64;
        self.meter.add(payload, packet.arrival);
        if packet.facts.keyframe {
            self.keyframes.on_keyframe();
            self.resolution = packet.facts.resolution.or(self.resolution);
        }
        self.ring.insert(Arc::clone(packet));
        if payload == 0 {
            return false;
        }
        self.last_media = packet.arrival;
        !std::mem::replace(&mut self.active, true)
    }

    /// True when the layer ceases to flow. `track_silence`: since the last packet of any layer, microseconds.
    pub(crate) fn check_silence(&mut self, now: u64, timeout: u64, track_silence: u64) -> bool {
        let ceases = self.active && is_silent(self.silence(now), timeout, track_silence);
        self.active &= !ceases;
        ceases
    }

    /// Microseconds since the last packet.
    pub(crate) fn silence(&self, now: u64) -> u64 {
        now.saturating_sub(self.last_media)
    }

    pub(crate) fn bits_per_second(&self, now: u64) -> f64 {
        self.meter.bits_per_second(now)
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
    }
}

fn is_silent(silence: u64, timeout: u64, track_silence: u64) -> bool {
    silence > timeout && (track_silence <= timeout || silence > timeout.max(PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    #[test]
    fn silence() {
        for (own, track, expected) in [
            (0, 0, false),
            (999, 0, false),
            (1_001, 20, true),
            // The whole track pauses.
            (1_001, 1_001, false),
            (5_001, 5_001, true),
        ] {
            assert_eq!(is_silent(own * MS, 1_000 * MS, track * MS), expected, "{own} {track}");
        }
    }

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
                layer.keep(&packet(place));
                place.seq
            })
            .collect();
        let mut asked = Vec::new();
        layer.upstream.nacks.due(10 * MS, None, 1_000 * MS, &mut asked);
        assert_eq!(asked, [9]);
        let place = layer.place_repair(9, 0, 30 * MS).unwrap();
        assert_eq!((place.seq, place.round_trip), (seqs[1] + 1, Some(20 * MS)));
        layer.keep(&packet(place));
        assert_eq!(layer.place_repair(9, 0, 31 * MS), Err(Misplaced::Duplicate));
        assert_eq!(layer.place(1, 9, 0, 31 * MS), Err(Misplaced::Duplicate));
        assert_eq!((layer.upstream.recovered, layer.upstream.stats.lost()), (1, 1));
    }

    #[test]
    fn another_ssrc_is_another_stream() {
        let mut layer = Layer::default();
        layer.upstream.clock_rate = 90_000;
        let first = layer.place(1, 60_000, 5, 0).unwrap();
        layer.keep(&packet(first));
        let second = layer.place(2, 60_000, 9, 0).unwrap();
        assert!(second.seq > first.seq && second.stream != first.stream && second.broken);
        assert!(!layer.place(2, 60_001, 9, 0).unwrap().broken);
    }
}
