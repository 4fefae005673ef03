//! Snapshots for the control plane: rows of 8-byte fields, ids first, that numpy can view as structured arrays.

/// Cleared and filled by [`crate::Engine::stats`].
#[derive(Clone, Debug, Default)]
pub struct StatsSnapshot {
    pub workers: Vec<WorkerRow>,
    pub peers: Vec<PeerRow>,
    pub downlinks: Vec<DownlinkRow>,
    pub layers: Vec<LayerRow>,
    pub subscriptions: Vec<SubscriptionRow>,
    pub links: Vec<LinkRow>,
}

impl StatsSnapshot {
    pub fn clear(&mut self) {
        self.workers.clear();
        self.peers.clear();
        self.downlinks.clear();
        self.layers.clear();
        self.subscriptions.clear();
        self.links.clear();
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
        /// Bytes to subscribers whose paths are estimated, with UDP and IP headers, and those among them that repair
        /// losses or fill probes.
        downlink_bytes: u64,
        downlink_rtx_bytes: u64,
        downlink_fec_bytes: u64,
        downlink_padding_bytes: u64,
        /// Pictures sent, those that arrived whole as far as subscribers tell, and how often and long they stood still.
        pictures_sent: u64,
        pictures_delivered: u64,
        freezes: u64,
        freeze_ms: u64,
        /// Packets that publishers lost on their way up and that were made good, and those of them that were by parity.
        uplink_packets_recovered: u64,
        uplink_packets_recovered_fec: u64,
        commands_failed: u64,
    }
);

impl WorkerRow {
    pub(crate) fn add_downlink(&mut self, row: &DownlinkRow) {
        self.downlink_bytes += row.bytes;
        self.downlink_rtx_bytes += row.rtx_bytes;
        self.downlink_fec_bytes += row.fec_bytes;
        self.downlink_padding_bytes += row.padding_bytes;
    }

    pub(crate) fn add_layer(&mut self, row: &LayerRow) {
        self.uplink_packets_recovered += row.packets_recovered;
        self.uplink_packets_recovered_fec += row.packets_recovered_fec;
    }

    pub(crate) fn add_subscription(&mut self, row: &SubscriptionRow) {
        self.pictures_sent += row.pictures;
        self.pictures_delivered += row.pictures_delivered;
        self.freezes += row.freezes;
        self.freeze_ms += row.freeze_ms as u64;
    }
}

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

row!(
    /// The path to one subscriber that says something of what arrives there.
    DownlinkRow {
        peer: u64,
        /// Of [`FeedbackKind`].
        feedback: u64,
        /// Of [`LimitedBy`].
        limited_by: u64,
        /// What the path is taken to carry, everything included.
        estimate_bps: f64,
        /// What arrives, by transport-wide feedback; 0: unknown.
        acknowledged_bps: f64,
        /// What the layers decided on need, with audio and repair.
        allocated_bps: f64,
        /// The same with everything at its best.
        desired_bps: f64,
        /// Share of packets that were lost of late, 0 to 1.
        loss: f64,
        /// 0: unknown.
        rtt_ms: f64,
        /// Time that packets wait in the network.
        queue_ms: f64,
        /// Time that packets wait here.
        pacer_ms: f64,
        pacer_packets: u64,
        /// Packets that the pacer dropped since the beginning: what waited too long.
        pacer_dropped: u64,
        /// On the wire since the beginning, with UDP and IP headers.
        bytes: u64,
        rtx_bytes: u64,
        fec_bytes: u64,
        padding_bytes: u64,
    }
);

/// Where an estimate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedbackKind {
    /// Nothing was told yet.
    None = 0,
    TransportWide = 1,
    /// RFC 8888.
    ByStream = 2,
    /// REMB alone.
    Receiver = 3,
}

/// What holds an estimate where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedBy {
    /// There is no estimate.
    None = 0,
    Application = 1,
    Delay = 2,
    Loss = 3,
    Receiver = 4,
    Maximum = 5,
}

/// Why nothing of a subscription is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseReason {
    None = 0,
    /// The subscriber wants it so.
    Asked = 1,
    /// Its path carries too little.
    Bandwidth = 2,
}

row!(LayerRow {
    track: u64,
    layer: u64,
    peer: u64,
    active: u64,
    packets: u64,
    bytes: u64,
    /// May fall when late packets arrive.
    packets_lost: i64,
    /// By retransmission or forward error correction.
    packets_recovered: u64,
    /// By forward error correction alone.
    packets_recovered_fec: u64,
    nacks_sent: u64,
    plis_sent: u64,
    jitter_ms: f64,
    bitrate_bps: f64,
    rtt_ms: f64,
    width: u64,
    height: u64,
    /// By which its packets are told apart; 0: not known yet.
    ssrc: u64,
    rtx_ssrc: u64,
});

row!(SubscriptionRow {
    subscription: u64,
    track: u64,
    peer: u64,
    is_video: u64,
    /// Whose stream is forwarded now; -1: none.
    layer: i64,
    /// Highest spatial layer that is forwarded now, be it a simulcast layer or one within a scalable stream; -1: none.
    spatial: i64,
    /// Highest temporal layer that is forwarded now; -1: none.
    temporal: i64,
    /// Layers that are decided on; -1: none is. `spatial` and `temporal` follow with the next keyframe or switching point.
    target_spatial: i64,
    target_temporal: i64,
    wanted_layer: u64,
    paused: u64,
    /// Of [`PauseReason`].
    pause_reason: u64,
    packets: u64,
    bytes: u64,
    /// Sent; those of video.
    pictures: u64,
    /// Arrived whole, as far as the subscriber tells.
    pictures_delivered: u64,
    /// Times that the picture stood still, and how long altogether and by now; 0 without feedback on packets.
    freezes: u64,
    freeze_ms: f64,
    frozen_ms: f64,
    packets_retransmitted: u64,
    rtx_bytes: u64,
    /// Sent to probe the path; packets sent again for that among them.
    padding_bytes: u64,
    nacks_received: u64,
    plis_received: u64,
    /// Of the last receiver report, 0 to 1.
    fraction_lost: f64,
    rtt_ms: f64,
    jitter_ms: f64,
    /// Of media alone, over the last second.
    bitrate_bps: f64,
    /// Packets of audio that carry former frames, and the bytes of these with their headers (RFC 2198).
    red_packets: u64,
    red_bytes: u64,
    /// Forward error correction sent.
    fec_packets: u64,
    fec_bytes: u64,
    /// Of forward error correction and of retransmissions, per bit of media over the last second.
    fec_share: f64,
    rtx_share: f64,
});

row!(
    /// A link to a worker of another node. Counts are of datagrams since it began.
    LinkRow {
        link: u64,
        worker: u64,
        /// Authentic datagrams come, and the other end hears ours.
        alive: u64,
        /// Tracks that come over it.
        mirrors: u64,
        /// 0: unknown.
        rtt_ms: f64,
        /// Share of what we send that is lost on its way, before repair, and the mean length of a run of losses.
        loss: f64,
        burst: f64,
        media_sent: u64,
        parity_sent: u64,
        /// Sent again, for they were asked for.
        repeats_sent: u64,
        bytes_sent: u64,
        /// Of parity, repeats and control.
        redundant_bytes_sent: u64,
        /// Packets for which there was no room, or no link that carries.
        dropped: u64,
        media_received: u64,
        bytes_received: u64,
        /// Lost at first, and made good by a repeat or by parity.
        repaired: u64,
        mended: u64,
        /// Never came.
        given_up: u64,
        duplicates: u64,
        /// Not authentic, or not understood.
        refused: u64,
    }
);

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
        check::<DownlinkRow>(DownlinkRow::FIELDS, DownlinkRow::to_bytes);
        check::<LayerRow>(LayerRow::FIELDS, LayerRow::to_bytes);
        check::<SubscriptionRow>(SubscriptionRow::FIELDS, SubscriptionRow::to_bytes);
        check::<LinkRow>(LinkRow::FIELDS, LinkRow::to_bytes);
    }
}
