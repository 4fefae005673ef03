//! Adaptation to what each subscriber's path carries: its feedback, and which layers fit.

use std::time::Instant;

use wire::rtcp::{ccfb, remb, twcc};

use super::Engine;
use crate::allocate::{self, Candidate, Decision, Layer, LayerId, Request, Scratch};
use crate::bandwidth::Demand;
use crate::command::MediaKind;
use crate::downlink::{Arrived, Downlink};
use crate::publish::track::LayerRate;

/// Between two decisions, microseconds. Shorter follows the estimate closer and costs more; a path that gives way is heeded at
/// once.
const DECIDE: u64 = 200_000;
/// Bytes that headers, SRTP, UDP and IP add to media, as a share of it.
const HEADERS: f32 = 0.06;

/// Speakers that are told apart: one more than have a weight of their own, as one may be the subscriber.
const RANKS: u8 = 4;

/// Memory for decisions, used again with each.
#[derive(Default)]
pub(super) struct Allocator {
    layers: Vec<Layer>,
    candidates: Vec<Candidate>,
    /// Of the candidates.
    keys: Vec<usize>,
    decisions: Vec<Decision>,
    scratch: Scratch,
}

impl Engine {
    pub(super) fn handle_transport_feedback(&mut self, now: Instant, key: usize, feedback: &twcc::Feedback<'_>) {
        let at = self.micros(now);
        let peer = &mut self.peers[key];
        let (newest, may_protect) = (peer.transport_sequence.wrapping_sub(1), peer.may_protect);
        let Some(downlink) = peer.downlink.as_deref_mut() else {
            return;
        };
        downlink.on_answer(at);
        downlink.bandwidth.on_transport_feedback(at, feedback);
        if may_protect {
            downlink.learn_losses(at, newest, feedback);
        }
        let arrived = downlink.marks.on_transport_feedback(feedback);
        self.settle_arrivals(at, key, arrived);
        self.tend_downlink(now, key);
    }

    pub(super) fn handle_stream_feedback(&mut self, now: Instant, key: usize, feedback: &ccfb::Feedback<'_>) {
        let at = self.micros(now);
        let config = &self.config;
        let downlink = &mut self.peers[key].downlink;
        let downlink = downlink.get_or_insert_with(|| Box::new(Downlink::new(at, config)));
        // Numbers by stream are remembered from the first report on.
        if std::mem::replace(&mut downlink.by_stream, true) {
            downlink.on_answer(at);
            downlink.bandwidth.on_ccfb(at, feedback);
            let bandwidth = &downlink.bandwidth;
            let find = |ssrc, sequence| bandwidth.transport_number(ssrc, sequence);
            let arrived = downlink.marks.on_ccfb(feedback, find);
            self.settle_arrivals(at, key, arrived);
            self.tend_downlink(now, key);
        }
    }

    /// Each subscription is told what arrived of it.
    fn settle_arrivals(&mut self, at: u64, key: usize, arrived: Vec<Arrived>) {
        let peer = &mut self.peers[key];
        for packet in &arrived {
            let subscriber = peer.by_ssrc.get(&packet.ssrc);
            if let Some(subscriber) = subscriber.and_then(|&key| self.subscribers.get_mut(key)) {
                subscriber.state.on_arrived(at, packet.sequence, packet.at);
            }
        }
        if let Some(downlink) = peer.downlink.as_deref_mut() {
            downlink.marks.recycle(arrived);
        }
    }

    pub(super) fn handle_receiver_estimate(&mut self, now: Instant, key: usize, estimate: &remb::MaximumBitrate<'_>) {
        let at = self.micros(now);
        let config = &self.config;
        let downlink = &mut self.peers[key].downlink;
        let downlink = downlink.get_or_insert_with(|| Box::new(Downlink::new(at, config)));
        downlink.on_answer(at);
        downlink.bandwidth.on_remb(at, estimate.bitrate);
        self.tend_downlink(now, key);
    }

    /// To be called after feedback, and from time to time.
    pub(super) fn tend_downlink(&mut self, now: Instant, key: usize) {
        let at = self.micros(now);
        let peer = &mut self.peers[key];
        let Some(downlink) = peer.downlink.as_deref_mut().filter(|downlink| downlink.answers) else {
            return;
        };
        if let Some(round_trip) = peer.round_trip {
            downlink.bandwidth.on_round_trip(at, round_trip);
        }
        let probe = downlink.bandwidth.poll(at);
        let target = downlink.bandwidth.target();
        downlink.set_pace(at);
        let fill = downlink.bandwidth.fill(at).map(|rate| rate as u64);
        let fills = downlink.pacer.set_fill(at, fill);
        let probes = fills | probe.is_some_and(|probe| downlink.pacer.probe(at, probe));
        if at >= downlink.decide_at || target < downlink.allocated {
            self.decide_layers(now, key);
        }
        if probes {
            self.queue(key);
        }
    }

    /// Which layers the peer's subscriptions get.
    fn decide_layers(&mut self, now: Instant, key: usize) {
        let at = self.micros(now);
        let parity = self.plan_protection(at, key);
        let mut work = std::mem::take(&mut self.allocator);
        work.clear();
        let mut audio = 0.0;
        for &key in &self.peers[key].subscriptions {
            let subscriber = &self.subscribers[key];
            let track = &self.tracks[subscriber.track];
            if track.kind == MediaKind::Audio {
                audio += subscriber.state.bits_per_second(at);
                continue;
            }
            let first = work.layers.len();
            work.layers.extend(track.layer_rates(at).iter().map(layer));
            allocate::complete(&mut work.layers[first..], track.about.description.source);
            let layers = first as u32..work.layers.len() as u32;
            work.candidates.push(subscriber.state.candidate(layers, track));
            work.keys.push(key);
        }
        close_ranks(&mut work.candidates);
        let Some(downlink) = self.peers[key].downlink.as_deref_mut() else {
            self.allocator = work;
            return;
        };
        let estimate = downlink.bandwidth.estimate();
        let request = Request {
            now: at,
            budget: estimate.media as u64,
            resume: estimate.resume.map(|resume| resume as u64),
            audio: audio as u64,
            overhead: HEADERS + parity,
            layers: &work.layers,
            candidates: &work.candidates,
            standing: downlink.standing,
        };
        let summary = allocate::allocate(&request, &mut work.scratch, &mut work.decisions);
        downlink.audio = audio;
        downlink.standing = summary.standing;
        downlink.decide_at = at + DECIDE;
        downlink.allocated = summary.total as f64;
        downlink.desired = summary.desired as f64;
        // What a step needs includes what must stay free.
        let most = summary.steps.iter().copied().fold(summary.desired, u64::max) as f64;
        downlink.bandwidth.set_demand(
            at,
            Demand {
                allocated: downlink.allocated,
                next: summary.steps.first().map_or(most, |&next| next as f64),
                most,
            },
        );
        for ((&key, decision), candidate) in work.keys.iter().zip(&work.decisions).zip(&work.candidates) {
            let range = candidate.layers.start as usize..candidate.layers.end as usize;
            let layers = work.layers.get(range).unwrap_or_default();
            let subscriber = &mut self.subscribers[key];
            let track = &self.tracks[subscriber.track];
            if subscriber.state.set_allocation(decision, layers, track) {
                self.steer(now, key);
            }
        }
        self.allocator = work;
    }
}

impl Allocator {
    fn clear(&mut self) {
        self.layers.clear();
        self.candidates.clear();
        self.keys.clear();
        self.decisions.clear();
    }
}

/// A speaker who is not seen (one's own self, or who has no camera on) leaves the place to the next.
fn close_ranks(candidates: &mut [Candidate]) {
    let mut next = 0;
    for rank in 0..RANKS {
        let mut seen = 0;
        for candidate in candidates
            .iter_mut()
            .filter(|candidate| candidate.speaker_rank == Some(rank))
        {
            (candidate.speaker_rank, seen) = (Some(next), 1);
        }
        next += seen;
    }
}

fn layer(rate: &LayerRate) -> Layer {
    let (width, height) = rate.resolution.unwrap_or_default();
    Layer {
        id: LayerId {
            spatial: rate.spatial,
            temporal: rate.temporal,
        },
        active: rate.active,
        bits_per_second: rate.bits_per_second,
        width,
        height,
        frames_per_second: rate.frames_per_second,
    }
}
