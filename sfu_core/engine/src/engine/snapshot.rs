//! Statistics of the moment.

use std::time::Instant;

use super::Engine;
use crate::bandwidth::{Constraint, Kind};
use crate::downlink::Downlink;
use crate::ids::PeerId;
use crate::peer::PeerState;
use crate::publish::layer::Layer;
use crate::publish::track::{Origin, Track};
use crate::stats::{
    DownlinkRow, FeedbackKind, LayerRow, LimitedBy, PeerRow, StatsSnapshot, SubscriptionRow, WorkerRow,
};

impl Engine {
    /// Adds the rows of this engine to a snapshot.
    pub fn stats(&self, now: Instant, into: &mut StatsSnapshot) {
        let at = self.micros(now);
        let (downlinks, layers, subscriptions) = (into.downlinks.len(), into.layers.len(), into.subscriptions.len());
        self.downlink_rows(at, &mut into.downlinks);
        self.layer_rows(at, &mut into.layers);
        self.subscription_rows(at, &mut into.subscriptions);
        self.links.rows(self.config.worker.0.into(), &mut into.links);
        let mut totals = self.counters;
        into.downlinks
            .iter()
            .skip(downlinks)
            .for_each(|row| totals.add_downlink(row));
        into.layers.iter().skip(layers).for_each(|row| totals.add_layer(row));
        let live = into.subscriptions.iter().skip(subscriptions);
        live.for_each(|row| totals.add_subscription(row));
        let home = self.tracks.iter().filter(|(_, track)| track.is_home()).count();
        into.workers.push(WorkerRow {
            peers: self.peers.len() as u64,
            tracks: home as u64,
            mirrors: (self.tracks.len() - home) as u64,
            subscriptions: self.subscribers.len() as u64,
            pooled_packets: self.pool.len() as u64,
            ..totals
        });
        into.peers.extend(self.peers.iter().map(|(_, peer)| PeerRow {
            peer: peer.id.0,
            state: match peer.state {
                PeerState::New => 0,
                PeerState::IceConnected => 1,
                PeerState::Connected => 2,
            },
            rtt_ms: milliseconds(peer.round_trip),
            datagrams_in: peer.datagrams_in,
            bytes_in: peer.bytes_in,
            datagrams_out: peer.datagrams_out,
            bytes_out: peer.bytes_out,
            tracks: peer.tracks.len() as u64,
            subscriptions: peer.subscriptions.len() as u64,
        }));
    }

    fn layer_rows(&self, at: u64, rows: &mut Vec<LayerRow>) {
        for (number, track) in &self.tracks {
            let Origin::Peer { key, id } = track.origin else {
                continue;
            };
            let peer = self.peers.get(key);
            let round_trip = peer.and_then(|peer| peer.round_trip);
            let layers = track.layers.iter().enumerate();
            rows.extend(layers.map(|(index, layer)| {
                let sources = peer.map(|peer| peer.demux.sources(number, index as u8));
                let (ssrc, rtx_ssrc) = sources.unwrap_or_default();
                LayerRow {
                    track: track.id.0,
                    layer: index as u64,
                    peer: id.0,
                    rtt_ms: milliseconds(round_trip),
                    ssrc: ssrc.into(),
                    rtx_ssrc: rtx_ssrc.into(),
                    ..layer_row(at, layer)
                }
            }));
        }
    }

    fn downlink_rows(&self, at: u64, rows: &mut Vec<DownlinkRow>) {
        let known = self.peers.iter().filter_map(|(_, peer)| {
            let downlink = peer.downlink.as_deref()?;
            Some(downlink_row(at, peer.id, peer.round_trip, downlink))
        });
        rows.extend(known);
    }

    /// What a track, a subscription and a path did stays counted when they end. A mirror's layers are its home's.
    pub(super) fn retire_track(&mut self, at: u64, track: &Track) {
        if track.is_home() {
            let layers = track.layers.iter();
            layers.for_each(|layer| self.counters.add_layer(&layer_row(at, layer)));
        }
    }

    pub(super) fn retire_subscription(&mut self, row: &SubscriptionRow) {
        self.counters.add_subscription(row);
    }

    pub(super) fn retire_downlink(&mut self, at: u64, peer: PeerId, downlink: &Downlink) {
        self.counters.add_downlink(&downlink_row(at, peer, None, downlink));
    }
}

/// Without whose it is.
fn layer_row(at: u64, layer: &Layer) -> LayerRow {
    let up = &layer.upstream;
    let (width, height) = layer.resolution.unwrap_or_default();
    LayerRow {
        active: layer.active.into(),
        packets: layer.packets,
        bytes: layer.bytes,
        packets_lost: up.stats.lost(),
        packets_recovered: up.recovered,
        packets_recovered_fec: up.recovered_fec,
        nacks_sent: up.nacks_sent,
        plis_sent: up.plis_sent,
        jitter_ms: f64::from(up.stats.jitter()) * 1_000.0 / f64::from(up.clock_rate.max(1)),
        bitrate_bps: layer.bits_per_second(at),
        width: width.into(),
        height: height.into(),
        ..LayerRow::default()
    }
}

fn downlink_row(at: u64, peer: PeerId, round_trip: Option<u64>, downlink: &Downlink) -> DownlinkRow {
    let estimate = downlink.bandwidth.estimate();
    let constraint = downlink.bandwidth.constraint();
    let feedback = match (downlink.answers, constraint, downlink.by_stream) {
        (false, ..) => FeedbackKind::None,
        (true, Constraint::Receiver, _) => FeedbackKind::Receiver,
        (true, _, true) => FeedbackKind::ByStream,
        (true, _, false) => FeedbackKind::TransportWide,
    };
    let limited_by = match constraint {
        _ if !downlink.answers => LimitedBy::None,
        Constraint::Application => LimitedBy::Application,
        Constraint::Delay => LimitedBy::Delay,
        Constraint::Loss => LimitedBy::Loss,
        Constraint::Receiver => LimitedBy::Receiver,
        Constraint::Maximum => LimitedBy::Maximum,
    };
    let pacer = downlink.pacer.counters();
    DownlinkRow {
        peer: peer.0,
        feedback: feedback as u64,
        limited_by: limited_by as u64,
        estimate_bps: if downlink.answers { estimate.target } else { 0.0 },
        acknowledged_bps: estimate.acknowledged.unwrap_or_default(),
        allocated_bps: downlink.allocated,
        desired_bps: downlink.desired,
        loss: estimate.loss,
        rtt_ms: milliseconds(round_trip.or(estimate.round_trip)),
        queue_ms: estimate.queue.max(0.0),
        pacer_ms: milliseconds(Some(downlink.pacer.queue_delay(at))),
        pacer_packets: downlink.pacer.len() as u64,
        pacer_dropped: pacer.dropped_audio + pacer.dropped_video + pacer.dropped_repair,
        bytes: downlink.sent.total(),
        rtx_bytes: downlink.sent.of(Kind::Rtx),
        fec_bytes: downlink.sent.of(Kind::Fec),
        padding_bytes: downlink.sent.of(Kind::Padding),
    }
}

fn milliseconds(micros: Option<u64>) -> f64 {
    micros.unwrap_or(0) as f64 / 1_000.0
}
