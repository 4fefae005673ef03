//! Limits and timings of an engine. Each tunable says what raising and lowering it does.

use std::time::Duration;

use crate::ids::WorkerId;

#[derive(Clone, Debug)]
pub struct Config {
    pub worker: WorkerId,
    /// How many there are.
    pub workers: u8,
    /// Caps bound memory against hostile clients. Raise for bigger rooms.
    pub max_peers: usize,
    pub max_tracks_per_peer: usize,
    pub max_subscriptions_per_peer: usize,
    pub max_data_channels_per_peer: usize,
    /// Bytes. SDKs send chunks of 15 KB to 64 KB.
    pub max_data_message: usize,
    /// Bytes queued towards one data peer before lossy messages are dropped and reliable ones refused.
    pub max_data_buffered: usize,
    /// A peer without a nominated pair is dropped after this.
    pub ice_timeout: Duration,
    /// A peer whose checks cease is dropped after this (RFC 7675 section 5.1: 30 s at most).
    pub consent_timeout: Duration,
    /// How far back a retransmission may reach. Longer costs memory per published layer, shorter loses frames on long paths.
    pub retransmission_window: Duration,
    /// Between two keyframe requests for one layer, on average; a few may come sooner. Longer spares the others' quality from
    /// keyframes, shorter heals sooner who cannot be helped with what is kept.
    pub keyframe_interval: Duration,
    /// A simulcast or spatial layer that is silent for this long, and for three of its own frames, while others flow counts
    /// as inactive. Shorter replaces a vanished layer sooner, longer forgives more of a lossy or jittery publisher.
    pub layer_timeout: Duration,
    /// Microphones of a room that are forwarded at a time; 0: all. More lets more people talk at once, and costs every
    /// subscriber and this worker for each of them.
    pub loudest: usize,
    /// Former frames that a packet of audio carries at most where packets are lost, 0 to 4. More survives longer bursts and costs the bit
    /// rate of the audio each.
    pub audio_redundancy: usize,
    /// Bits per second that a subscriber's path is taken to carry before it is known. More shows the best picture sooner on a good
    /// path and floods a thin one for a moment.
    pub start_bitrate: u64,
    /// Never more than this goes to one subscriber, bits per second.
    pub max_bitrate: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            worker: WorkerId(0),
            workers: 1,
            max_peers: 20_000,
            max_tracks_per_peer: 64,
            max_subscriptions_per_peer: 2_048,
            max_data_channels_per_peer: 16,
            max_data_message: 256 * 1024,
            max_data_buffered: 4 * 1024 * 1024,
            ice_timeout: Duration::from_secs(30),
            consent_timeout: Duration::from_secs(15),
            retransmission_window: Duration::from_millis(1_000),
            keyframe_interval: Duration::from_secs(2),
            layer_timeout: Duration::from_millis(150),
            loudest: 6,
            audio_redundancy: 4,
            start_bitrate: 5_000_000,
            max_bitrate: 200_000_000,
        }
    }
}
