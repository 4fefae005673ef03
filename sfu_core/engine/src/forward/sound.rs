//! Audio towards one subscriber: redundancy (RFC 2198), gaps while others are louder, and silence before them.

use wire::opus;
use wire::red::Primary;

use super::sent::Sent;
use super::{Egress, Subscription};
use crate::command::MediaKind;
use crate::fec::opus_red::{self, Distances, MAX_PAYLOAD};
use crate::ids::PayloadType;
use crate::packet::Packet;
use crate::publish::track::Track;

#[derive(Debug)]
pub(super) struct Sound {
    /// Payload type of RED.
    red: Option<u8>,
    distances: Distances,
    /// Of the track, that is being forwarded.
    stretch: u32,
    /// That carried former frames, and the bytes of these.
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// What had been sent when redundancy was last decided: packets, bytes, those of former frames.
    counted: (u64, u64, u64),
    /// Share lost by receiver reports, smoothed.
    lost: f32,
}

/// Bytes of a packet of audio that are no frame: RTP with extensions, SRTP.
const HEADERS: u64 = 48;
/// Weight of the newest receiver report.
const NEWEST: f32 = 0.2;

/// Bits per second without redundancy, and of the frames alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SoundRates {
    pub plain: f64,
    pub frames: f64,
}

impl Sound {
    pub(super) fn new(red: Option<PayloadType>) -> Self {
        Self {
            red: red.map(|payload_type| payload_type.0),
            distances: Distances::new(),
            stretch: 0,
            packets: 0,
            bytes: 0,
            counted: (0, 0, 0),
            lost: 0.0,
        }
    }

    /// The subscription begins with what is being forwarded of the track.
    pub(super) fn begin(&mut self, track: &Track) {
        self.stretch = track.stretch.serial;
    }
}

impl Subscription {
    /// The subscriber negotiated RED.
    pub fn takes_redundancy(&self) -> bool {
        self.sound.red.is_some()
    }

    pub fn is_redundant(&self) -> bool {
        !self.sound.distances.is_empty()
    }

    /// How often a payload is in a packet, former ones taken for as long as the newest.
    #[inline]
    pub(crate) fn copies(&self) -> u32 {
        1 + self.sound.distances.len() as u32
    }

    /// Since [`count_sound`](Self::count_sound) was called, a second ago; nothing of video.
    pub fn sound_rates(&self) -> SoundRates {
        if self.kind == MediaKind::Video {
            return SoundRates::default();
        }
        let (packets, bytes, former) = self.sound.counted;
        let plain = (self.bytes - bytes).saturating_sub(self.sound.bytes - former);
        SoundRates {
            plain: plain as f64 * 8.0,
            frames: plain.saturating_sub((self.packets - packets) * HEADERS) as f64 * 8.0,
        }
    }

    /// Packets since the last call.
    pub fn count_sound(&mut self) -> u64 {
        let (before, ..) = std::mem::replace(&mut self.sound.counted, (self.packets, self.bytes, self.sound.bytes));
        self.packets - before
    }

    /// Share lost as receiver reports tell it, smoothed over calls once a second.
    pub fn smoothed_loss(&mut self) -> f32 {
        let reported = self.reports.reception.fraction_lost as f32;
        self.sound.lost += (reported - self.sound.lost) * NEWEST;
        self.sound.lost
    }

    /// Which former frames go along from now on, if the subscriber takes RED.
    pub fn set_redundancy(&mut self, distances: &Distances) {
        if self.sound.red.is_some() && self.sound.distances != *distances {
            self.sound.distances = distances.clone();
        }
    }

    /// The track may have been silent here while others were louder: numbers close up, times go on. True when it was; `None` for a
    /// packet from before that.
    #[inline]
    pub(super) fn follow_stretch(&mut self, packet: &Packet, track: &Track) -> Option<bool> {
        match self.sound.stretch == track.stretch.serial {
            true => Some(false),
            false => self.begin_stretch(packet, track),
        }
    }

    #[cold]
    fn begin_stretch(&mut self, packet: &Packet, track: &Track) -> Option<bool> {
        if packet.seq < track.stretch.first {
            return None;
        }
        self.sound.stretch = track.stretch.serial;
        self.sequence.begin(packet.seq);
        // The first packet after silence (RFC 3551 section 4.1).
        Some(true)
    }

    /// The packet is sent as it came.
    #[inline]
    pub(super) fn is_plain(&self, packet: &Packet, track: &Track) -> bool {
        self.sound.distances.is_empty() && packet.seq < track.stretch.fades
    }

    /// Sends a packet as silence or with former frames; bytes sent.
    #[inline(never)]
    pub(super) fn send_sound(
        &mut self,
        outgoing: Sent,
        packet: &Packet,
        track: &Track,
        egress: &mut Egress<'_>,
    ) -> Option<usize> {
        let (payload, plain) = (packet.payload(), outgoing.payload_type);
        if packet.seq >= track.stretch.fades {
            let silence = opus::silence(payload)?;
            return self.send(outgoing, plain, &silence, packet, egress);
        }
        let layer = track.layers.get(usize::from(packet.layer))?;
        let oldest = track.stretch.first;
        let former = self.sound.distances.iter().filter_map(|&distance| {
            let number = packet.seq.checked_sub(distance.into())?;
            let kept = layer.ring.get(number)?;
            let same = number >= oldest && kept.stream == packet.stream && kept.payload_type == packet.payload_type;
            same.then(|| (kept.timestamp, kept.payload()))
        });
        let primary = Primary {
            payload_type: plain,
            data: payload,
        };
        let mut room = [0; MAX_PAYLOAD];
        let added = opus_red::add(&mut room, primary, packet.timestamp, former).ok();
        match (self.sound.red, added.and_then(|len| room.get(..len))) {
            // Without a former frame RED is of no use.
            (Some(red), Some(with)) if with.len() > payload.len() + 1 => {
                self.sound.packets += 1;
                self.sound.bytes += (with.len() - payload.len()) as u64;
                self.send(outgoing, red, with, packet, egress)
            }
            _ => self.send(outgoing, plain, payload, packet, egress),
        }
    }
}
