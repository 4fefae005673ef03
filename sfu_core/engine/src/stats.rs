//! Snapshots for the control plane: rows of 8-byte fields, ids first, that numpy can view as structured arrays.

/// Cleared and filled by [`crate::Engine::stats`].
#[derive(Clone, Debug, Default)]
pub struct StatsSnapshot {
    pub workers: Vec<WorkerRow>,
    pub peers: Vec<PeerRow>,
    pub layers: Vec<LayerRow>,
    pub subscriptions: Vec<SubscriptionRow>,
}

impl StatsSnapshot {
    pub fn clear(&mut self) {
        self.workers.clear();
        self.peers.clear();
        self.layers.clear();
        self.subscriptions.clear();
    }
}

macro_rules! row {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:tt,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $kind,)* }

        impl $name {
            /// Name and numpy kind (`u8`, `i8`, `f8`: all of 8 bytes) of each field, in order.
            pub const FIELDS: &'static [(&'static str, &'static str)] = &[$((stringify!($field), row!(@kind $kind)),)*];

            /// The row as it lies in memory: 8 bytes per field, native order.
            pub fn to_bytes(&self, into: &mut Vec<u8>) {
                $(into.extend_from_slice(&self.$field.to_ne_bytes());)*
            }
        }
    };
    (@kind u64) => { "u8" };
    (@kind i64) => { "i8" };
    (@kind f64) => { "f8" };
}

row!(
    /// Counters of one worker since its start, and how much it holds now.
    WorkerRow {
        worker: u64,
        peers: u64,
        tracks: u64,
        subscriptions: u64,
        /// Tracks of other workers that are forwarded here.
        mirrors: u64,
        pooled_packets: u64,
        datagrams_in: u64,
        bytes_in: u64,
        datagrams_out: u64,
        bytes_out: u64,
        rtp_packets_in: u64,
        rtp_packets_out: u64,
        rtcp_packets_in: u64,
        rtcp_packets_out: u64,
        /// Datagrams from an address that passed no connectivity check.
        dropped_unknown_source: u64,
        /// Datagrams of no known protocol (RFC 7983).
        dropped_unknown_protocol: u64,
        dropped_stun: u64,
        dropped_srtp_auth: u64,
        dropped_srtp_replay: u64,
        /// Media before DTLS was done.
        dropped_srtp_early: u64,
        dropped_malformed: u64,
        /// No track for its SSRC, MID, RID and payload type.
        dropped_no_route: u64,
        dropped_muted: u64,
        dropped_duplicate: u64,
        dropped_stray: u64,
        dropped_pool_exhausted: u64,
        dropped_crossing: u64,
        /// Packets of microphones that others of their room drown out.
        audio_withheld: u64,
        /// Data messages to peers without such a channel, or with a full one.
        dropped_data: u64,
        crossings_in: u64,
        crossings_out: u64,
        nacks_in: u64,
        nacks_out: u64,
        plis_in: u64,
        plis_out: u64,
        keyframe_requests_suppressed: u64,
        commands_failed: u64,
    }
);

row!(PeerRow {
    peer: u64,
    /// 0 new, 1 ICE connected, 2 connected.
    state: u64,
    rtt_ms: f64,
    datagrams_in: u64,
    bytes_in: u64,
    datagrams_out: u64,
    bytes_out: u64,
    tracks: u64,
    subscriptions: u64,
});

row!(LayerRow {
    track: u64,
    layer: u64,
    peer: u64,
    active: u64,
    packets: u64,
    bytes: u64,
    /// May fall when late packets arrive.
    packets_lost: i64,
    packets_recovered: u64,
    nacks_sent: u64,
    plis_sent: u64,
    jitter_ms: f64,
    bitrate_bps: f64,
    rtt_ms: f64,
    width: u64,
    height: u64,
});

row!(SubscriptionRow {
    subscription: u64,
    track: u64,
    peer: u64,
    /// Whose stream is forwarded now; -1: none.
    layer: i64,
    /// Highest spatial layer that is forwarded now, be it a simulcast layer or one within a scalable stream; -1: none.
    spatial: i64,
    /// Highest temporal layer that is forwarded now; -1: none.
    temporal: i64,
    wanted_layer: u64,
    paused: u64,
    packets: u64,
    bytes: u64,
    packets_retransmitted: u64,
    nacks_received: u64,
    plis_received: u64,
    /// Of the last receiver report, 0 to 1.
    fraction_lost: f64,
    rtt_ms: f64,
    jitter_ms: f64,
    bitrate_bps: f64,
    /// Packets of audio that carry former frames, and the bytes of these with their headers (RFC 2198).
    red_packets: u64,
    red_bytes: u64,
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_packed_eight_byte_fields() {
        fn check<T: Default>(fields: &[(&str, &str)], to_bytes: impl Fn(&T, &mut Vec<u8>)) {
            let mut bytes = Vec::new();
            to_bytes(&T::default(), &mut bytes);
            assert_eq!(bytes.len(), 8 * fields.len());
            assert_eq!(bytes.len(), size_of::<T>());
        }
        check::<WorkerRow>(WorkerRow::FIELDS, WorkerRow::to_bytes);
        check::<PeerRow>(PeerRow::FIELDS, PeerRow::to_bytes);
        check::<LayerRow>(LayerRow::FIELDS, LayerRow::to_bytes);
        check::<SubscriptionRow>(SubscriptionRow::FIELDS, SubscriptionRow::to_bytes);
    }
}
