//! The way from this worker to one subscribing peer: what the path carries, who gets how much of it, and what waits.

mod marks;

use std::sync::Arc;

pub(crate) use marks::{Arrived, Marks};

use wire::rtcp::twcc;

use crate::allocate::Standing;
use crate::bandwidth::{Bandwidth, Kind, Limits, ProbeId};
use crate::config::Config;
use crate::fec::Fates;
use crate::forward::Budget;
use crate::ids::SubscriptionId;
use crate::pacer::Pacer;
use crate::packet::Packet;

/// Below it not even audio gets through, bits per second.
const MIN_BITRATE: f64 = 50_000.0;

/// Nothing is taken away so soon after the first feedback, microseconds: the first probes tell what the path carries. Longer
/// floods thin paths, shorter makes good ones flicker.
const FIRST_DECISION: u64 = 400_000;
/// Losses in a queue of so many milliseconds are its own. Higher takes some for the path's, and sends parity into congestion; lower
/// overlooks losses of a path with much jitter.
pub(crate) const CONGESTED: f64 = 50.0;
/// So are those around a fall of the estimate to this share or below, for so long, microseconds: it answers them already. And
/// those at the start, when nothing tells a queue from a long path.
const FALL: f64 = 0.9;
const AFTER_FALL: u64 = 1_000_000;
const START: u64 = 1_500_000;
/// Pace over what audio was sent with: it may be repeated more often at any time. Less delays it then, more lets it fill a thin path.
const AUDIO_ROOM: f64 = 2.0;
/// Bytes of UDP and IPv4.
pub(crate) const UDP_IP: u32 = 28;

pub(crate) struct Downlink {
    pub(crate) bandwidth: Bandwidth,
    pub(crate) pacer: Pacer<Waiting>,
    /// The subscriber has said something of what arrives. Until then nothing is held back: it may never say anything.
    pub(crate) answers: bool,
    /// It reports by stream (RFC 8888).
    pub(crate) by_stream: bool,
    pub(crate) standing: Standing,
    /// When layers are decided again, microseconds.
    pub(crate) decide_at: u64,
    /// Bits per second as decided last.
    pub(crate) allocated: f64,
    /// Of audio as sent then.
    pub(crate) audio: f64,
    /// With everything at its best.
    pub(crate) desired: f64,
    pub(crate) marks: Marks,
    pub(crate) sent: SentBytes,
    /// Of retransmissions to all its subscriptions.
    pub(crate) budget: Budget,
    /// The estimate at the last feedback, and until when losses are of congestion, microseconds.
    target: f64,
    congested_until: u64,
    /// What the path loses, once it lost something that parity could mend.
    pub(crate) fates: Option<Box<Fates>>,
}

/// Bytes on the wire since the beginning, by their purpose.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SentBytes([u64; Kind::COUNT]);

impl SentBytes {
    pub(crate) fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// What the pacer holds. Keys are taken again when subscriptions end, ids are not.
pub(crate) enum Waiting {
    Media {
        key: usize,
        id: SubscriptionId,
        packet: Arc<Packet>,
    },
    /// A packet that was asked again, by its number.
    Repair {
        key: usize,
        id: SubscriptionId,
        sequence: u16,
    },
    /// Parity of a subscription, when its turn comes.
    Parity { key: usize, id: SubscriptionId },
}

impl Downlink {
    /// `now` in microseconds.
    pub(crate) fn new(now: u64, config: &Config) -> Self {
        let limits = Limits {
            start: config.start_bitrate as f64,
            min: MIN_BITRATE,
            max: config.max_bitrate as f64,
        };
        Self {
            bandwidth: Bandwidth::new(now, limits),
            pacer: Pacer::default(),
            answers: false,
            by_stream: false,
            standing: Standing::default(),
            decide_at: 0,
            allocated: 0.0,
            desired: 0.0,
            marks: Marks::default(),
            sent: SentBytes::default(),
            budget: Budget::new(now),
            target: 0.0,
            congested_until: 0,
            audio: 0.0,
            fates: None,
        }
    }

    /// The subscriber told something of what arrives.
    pub(crate) fn on_answer(&mut self, now: u64) {
        if !std::mem::replace(&mut self.answers, true) {
            self.decide_at = now + FIRST_DECISION;
            self.congested_until = now + START;
        }
    }

    /// Paces by the estimate, with room for repair. Audio cannot be made less: held back to a smaller pace it would only come late.
    /// Neither is held back what stays allocated while the target is lower for a moment, to see whether losses fall with it.
    pub(crate) fn set_pace(&mut self, now: u64) {
        let (target, rtx) = (self.bandwidth.target(), self.bandwidth.rtx());
        let repair = rtx.min(target * self.bandwidth.rtx_share());
        let kept = if self.bandwidth.tests_losses() {
            self.allocated + repair
        } else {
            0.0
        };
        let rate = (target + repair).max(kept).max(self.audio * AUDIO_ROOM);
        self.pacer.set_rate(now, Some(rate as u64));
    }

    /// Keeps account of what the path loses, from the first loss on. `newest`: the transport-wide number sent last.
    pub(crate) fn learn_losses(&mut self, now: u64, newest: u16, feedback: &twcc::Feedback<'_>) {
        let statuses = || {
            feedback
                .statuses()
                .map(|status| (status.sequence, status.arrival.is_some()))
        };
        let Some((first, _)) = statuses().next() else { return };
        let target = self.bandwidth.target();
        if target < FALL * std::mem::replace(&mut self.target, target) {
            self.congested_until = self.congested_until.max(now + AFTER_FALL);
        }
        let congested = self.bandwidth.queue() > CONGESTED || now < self.congested_until;
        if self.fates.is_none() && (congested || statuses().all(|(_, received)| received)) {
            return;
        }
        let fates = self.fates.get_or_insert_with(|| Box::new(Fates::new(now, first)));
        fates.on_feedback(now, newest, congested, statuses());
    }

    /// What is sent is told to the one and asked of the other.
    pub(crate) fn parts(&mut self) -> (SentLog<'_>, &mut Pacer<Waiting>) {
        let log = SentLog {
            bandwidth: &mut self.bandwidth,
            by_stream: self.by_stream,
            probe: None,
            fills: false,
            marks: &mut self.marks,
            sent: &mut self.sent,
            rtx: self.answers.then_some(&mut self.budget),
        };
        (log, &mut self.pacer)
    }
}

/// Where the estimator learns what was sent.
pub struct SentLog<'a> {
    bandwidth: &'a mut Bandwidth,
    by_stream: bool,
    /// The cluster that the next packets belong to.
    pub(crate) probe: Option<ProbeId>,
    /// The next packets are padding, whatever they hold.
    pub(crate) fills: bool,
    marks: &'a mut Marks,
    sent: &'a mut SentBytes,
    /// Of a path that is known.
    rtx: Option<&'a mut Budget>,
}

impl SentLog<'_> {
    /// Whether the path has so many bytes left for retransmissions; they are taken.
    pub(crate) fn takes_rtx(&mut self, now: u64, bytes: usize) -> bool {
        let rate = self.bandwidth.target() * self.bandwidth.rtx_share();
        let budget = self.rtx.as_deref_mut();
        budget.is_none_or(|budget| budget.take_of_path(now, rate, bytes))
    }

    /// Bytes that the path has left for retransmissions; infinite where it is not known.
    pub(crate) fn rtx_left(&mut self, now: u64) -> f64 {
        let rate = self.bandwidth.target() * self.bandwidth.rtx_share();
        let budget = self.rtx.as_deref_mut();
        budget.map_or(f64::INFINITY, |budget| budget.left_of_path(now, rate))
    }

    /// A datagram of `bytes` left with these numbers. `now` in microseconds.
    #[inline]
    pub(crate) fn on_sent(&mut self, now: u64, transport: u16, (ssrc, sequence): (u32, u16), bytes: usize, kind: Kind) {
        let on_wire = bytes as u32 + UDP_IP;
        self.sent.0[kind as usize] += u64::from(on_wire);
        self.bandwidth.on_sent(transport, now, on_wire, kind, self.probe);
        if self.by_stream {
            self.bandwidth.on_sent_stream(transport, ssrc, sequence);
        }
    }

    /// Of the packet that left last: whether it arrived is to be told of this packet of the media.
    pub(crate) fn mark(&mut self, now: u64, transport: u16, (ssrc, sequence): (u32, u16)) {
        self.marks.push(now, transport, ssrc, sequence);
    }
}
