//! Statistics of the moment.

use std::time::Instant;

use super::Engine;
use crate::ids::PeerId;
use crate::peer::PeerState;
use crate::publish::track::Origin;
use crate::stats::{LayerRow, PeerRow, StatsSnapshot, WorkerRow};

impl Engine {
    /// What the path to a peer is taken to carry, bits per second; none as long as it says nothing of what arrives.
    pub fn estimate(&self, peer: PeerId) -> Option<f64> {
        let peer = self.peers.get(*self.peer_keys.get(&peer)?)?;
        let downlink = peer.downlink.as_deref().filter(|downlink| downlink.answers)?;
        Some(downlink.bandwidth.estimate().target)
    }

    /// Adds the rows of this engine to a snapshot.
    pub fn stats(&self, now: Instant, into: &mut StatsSnapshot) {
        let at = self.micros(now);
        let home = self.tracks.iter().filter(|(_, track)| track.is_home()).count();
        into.workers.push(WorkerRow {
            peers: self.peers.len() as u64,
            tracks: home as u64,
            mirrors: (self.tracks.len() - home) as u64,
            subscriptions: self.subscribers.len() as u64,
            pooled_packets: self.pool.len() as u64,
            ..self.counters
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
        for (_, track) in &self.tracks {
            let Origin::Peer { key, id } = track.origin else {
                continue;
            };
            let round_trip = self.peers.get(key).and_then(|peer| peer.round_trip);
            into.layers
                .extend(track.layers.iter().enumerate().map(|(index, layer)| {
                    let up = &layer.upstream;
                    let (width, height) = layer.resolution.unwrap_or_default();
                    LayerRow {
                        track: track.id.0,
                        layer: index as u64,
                        peer: id.0,
                        active: layer.active.into(),
                        packets: layer.packets,
                        bytes: layer.bytes,
                        packets_lost: up.stats.lost(),
                        packets_recovered: up.recovered,
                        nacks_sent: up.nacks_sent,
                        plis_sent: up.plis_sent,
                        jitter_ms: f64::from(up.stats.jitter()) * 1_000.0 / f64::from(up.clock_rate.max(1)),
                        bitrate_bps: layer.bits_per_second(at),
                        rtt_ms: milliseconds(round_trip),
                        width: width.into(),
                        height: height.into(),
                    }
                }));
        }
        self.subscription_rows(at, &mut into.subscriptions);
    }
}

fn milliseconds(micros: Option<u64>) -> f64 {
    micros.unwrap_or(0) as f64 / 1_000.0
}
