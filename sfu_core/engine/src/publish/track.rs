//! A published track: its layers and the packets that wait to be forwarded.

use std::fmt::Write;
use std::sync::Arc;

use arrayvec::ArrayVec;

use super::layer::Layer;
use super::liveness::{Liveness, MAX_MEMBERS};
use super::mirror::Mirror;
use super::rates::{MAX_SPATIAL, MAX_TEMPORAL};
use super::speaker::Speaker;
use super::voids::Frames;
use super::wishes::Wishes;
use crate::allocate::LayerId;
use crate::command::{Codec, FecFormats, MediaKind, Publish, PublishedCodec, Sound};
use crate::crossing::{About, Cname, Formats, Neighbour};
use crate::ids::{LinkId, PayloadType, PeerId, TrackId, WorkerId};
use crate::loudest::Voice;
use crate::packet::Packet;

/// Layers per track at most; browsers send three.
const MAX_LAYERS: usize = MAX_MEMBERS;
/// Sides of pictures that are believed, pixels.
const MAX_SIDE: u16 = 16_384;

/// Where a track comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A peer of this worker: its key and id.
    Peer { key: usize, id: PeerId },
    /// Mirrored from its home.
    Worker(WorkerId),
    /// Comes from another node, over a link of this worker, where the other end calls it `theirs`.
    Link { link: LinkId, theirs: TrackId },
}

impl Origin {
    /// Where it is mirrored from.
    pub(crate) fn neighbour(self) -> Option<Neighbour> {
        match self {
            Self::Peer { .. } => None,
            Self::Worker(worker) => Some(Neighbour::Worker(worker)),
            Self::Link { link, .. } => Some(Neighbour::Link(link)),
        }
    }
}

/// What forwarding one layer of a track takes, as measured over the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerRate {
    /// Simulcast layer, or spatial layer of a track that is one scalable stream.
    pub spatial: u8,
    pub temporal: u8,
    /// Media flows.
    pub active: bool,
    /// With everything that it depends on; zero when it is not known yet.
    pub bits_per_second: u64,
    pub frames_per_second: f32,
    pub resolution: Option<(u16, u16)>,
}

/// Simulcast layers times temporal layers at most.
pub type LayerRates = ArrayVec<LayerRate, { MAX_LAYERS * MAX_TEMPORAL }>;

/// A place among the microphones of a room, or the wish for one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// Key.
    pub(crate) group: usize,
    pub(crate) voice: Voice,
    /// It is forwarded.
    pub(crate) placed: bool,
    /// Packets that still go, as silence, after the place was lost.
    pub(crate) fading: u8,
    /// Number of the last packet that was forwarded.
    pub(crate) last: u64,
}

/// Which packets of an audio track are forwarded: subscriptions close the gap to what came before `first`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) serial: u32,
    pub(crate) first: u64,
    /// From this number on packets are sent as silence.
    pub(crate) fades: u64,
}

pub struct Track {
    pub id: TrackId,
    pub kind: MediaKind,
    pub layers: Vec<Layer>,
    pub(crate) origin: Origin,
    /// Formats that the publisher may send, with their repair formats. A mirror knows no repair formats.
    pub(crate) codecs: Vec<PublishedCodec>,
    /// Formats of parity beside them. A mirror knows none.
    pub(crate) fec: FecFormats,
    /// Of all its layers, where ULPFEC may come among them.
    pub(crate) frames: Frames,
    /// Who mirrors this track.
    pub(crate) mirrors: Vec<Mirror>,
    /// Keys of the subscriptions of this worker.
    pub(crate) subscribers: Vec<usize>,
    /// Of the publisher, the same for all its tracks: tells receivers what to keep in sync.
    pub(crate) cname: Cname,
    /// Of its layers, at home.
    pub(crate) liveness: Liveness,
    pub(crate) about: Arc<About>,
    pub(crate) wishes: Wishes,
    pub(crate) muted: bool,
    pub(crate) started: bool,
    pub(crate) speaker: Speaker,
    pub(crate) sound: Sound,
    pub(crate) member: Option<Member>,
    pub(crate) stretch: Stretch,
    /// Of one that comes over a link: the other end was asked for it.
    pub(crate) attached: bool,
    /// Link and name of where it came from until it was moved; what still comes from there is taken.
    pub(crate) former: Option<(LinkId, TrackId)>,
    /// Bit n: nothing of layer n has come since then.
    pub(crate) moved: u8,
    /// Which publication this is, random: tracks of two names are the same when it is.
    pub(crate) source: u64,
    /// The subscribers know that packets wait.
    pub(crate) announced: bool,
    pending: Vec<Arc<Packet>>,
    /// Packets that were pending before `pending[0]`, since the track began.
    taken: u64,
}

impl Track {
    pub(crate) fn published(publish: &Publish, peer: usize) -> Self {
        let origin = Origin::Peer {
            key: peer,
            id: publish.peer,
        };
        let mut track = Self::new(publish.track, publish.kind, origin);
        track.sound = publish.sound;
        let _ = write!(track.cname, "{}", publish.peer.0);
        track.source = random();
        track.update(publish);
        track
    }

    pub(crate) fn mirror(id: TrackId, kind: MediaKind, home: WorkerId) -> Self {
        Self::new(id, kind, Origin::Worker(home))
    }

    /// It comes over a link.
    pub(crate) fn relayed(id: TrackId, kind: MediaKind, (link, theirs): (LinkId, TrackId)) -> Self {
        Self::new(id, kind, Origin::Link { link, theirs })
    }

    fn new(id: TrackId, kind: MediaKind, origin: Origin) -> Self {
        Self {
            id,
            kind,
            layers: Vec::new(),
            origin,
            codecs: Vec::new(),
            fec: FecFormats::default(),
            frames: Frames::default(),
            mirrors: Vec::new(),
            subscribers: Vec::new(),
            cname: Cname::new(),
            liveness: Liveness::default(),
            about: Arc::default(),
            wishes: Wishes::default(),
            muted: false,
            started: false,
            speaker: Speaker::default(),
            sound: Sound::default(),
            member: None,
            stretch: Stretch {
                serial: 0,
                first: 0,
                fades: u64::MAX,
            },
            attached: false,
            former: None,
            moved: 0,
            source: 0,
            announced: false,
            pending: Vec::new(),
            taken: 0,
        }
    }

    /// Formats and layers after a negotiation. Layers that remain keep their state.
    pub(crate) fn update(&mut self, publish: &Publish) {
        self.codecs.clone_from(&publish.codecs);
        let layers = publish.rids.len().max(publish.ssrcs.len()).clamp(1, MAX_LAYERS);
        self.layers.resize_with(layers, Layer::default);
        if self.fec != publish.fec {
            self.fec = publish.fec;
            self.layers.iter_mut().for_each(|layer| layer.upstream.decoder = None);
        }
    }

    pub(crate) fn formats(&self) -> Formats {
        let codecs = self
            .codecs
            .iter()
            .map(|c| (c.payload_type, c.codec, c.clock_rate))
            .collect();
        Formats {
            codecs,
            layers: self.layers.len() as u8,
            sound: self.sound,
            cname: self.cname,
            source: self.source,
        }
    }

    /// Takes over what the home says.
    pub(crate) fn set_formats(&mut self, formats: &Formats) {
        self.cname = formats.cname;
        self.sound = formats.sound;
        if std::mem::replace(&mut self.source, formats.source) != formats.source {
            self.moved = u8::MAX;
            self.layers.iter_mut().for_each(Layer::begin_anew);
        }
        self.codecs.clear();
        self.codecs.extend(
            formats
                .codecs
                .iter()
                .map(|&(payload_type, codec, clock_rate)| PublishedCodec {
                    payload_type,
                    rtx_payload_type: None,
                    codec,
                    clock_rate,
                    nack: false,
                    pli: false,
                }),
        );
        self.layers
            .resize_with(usize::from(formats.layers).clamp(1, MAX_LAYERS), Layer::default);
    }

    pub fn codec(&self, payload_type: PayloadType) -> Option<Codec> {
        self.format(payload_type).map(|c| c.codec)
    }

    /// Hz.
    pub fn clock_rate(&self, payload_type: PayloadType) -> Option<u32> {
        self.format(payload_type).map(|c| c.clock_rate)
    }

    pub(crate) fn format(&self, payload_type: PayloadType) -> Option<&PublishedCodec> {
        self.codecs.iter().find(|c| c.payload_type == payload_type)
    }

    /// The format whose retransmissions have this payload type.
    pub(crate) fn repaired_format(&self, repair: PayloadType) -> Option<&PublishedCodec> {
        self.codecs.iter().find(|c| c.rtx_payload_type == Some(repair))
    }

    /// It is one RTP stream: what a subscriber wants of spatial layers is within it.
    pub fn is_single(&self) -> bool {
        self.layers.len() == 1
    }

    /// What each layer takes, the lowest first.
    pub fn layer_rates(&self, now: u64) -> LayerRates {
        let mut rates = LayerRates::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let (spatials, temporals) = layer.rates.extent();
            let top = spatials.clamp(1, MAX_SPATIAL) - 1;
            let spatials = if self.is_single() { 0..top + 1 } else { top..top + 1 };
            for spatial in spatials {
                let flows = top == 0 || !self.is_single() || layer.spatial.flows(spatial as u8);
                let number = if self.is_single() { spatial } else { index };
                let resolution = match spatial == top {
                    true => layer.spatial.size(spatial).or(layer.resolution),
                    false => layer.spatial.size(spatial),
                }
                .or(self.declared(number));
                for temporal in 0..temporals.max(1) {
                    let rate = layer.rates.of(spatial, temporal, now);
                    rates.push(LayerRate {
                        spatial: number as u8,
                        temporal: temporal as u8,
                        active: layer.active && flows,
                        bits_per_second: rate.bits_per_second as u64,
                        frames_per_second: rate.frames_per_second as f32,
                        resolution,
                    });
                }
            }
        }
        rates
    }

    /// Width and height of each layer as far as they are known, the lowest first: by keyframes, or as the publisher says.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = Option<(u16, u16)>> {
        let single = self.layers.first().filter(|_| self.is_single());
        let spatials = single.map_or(0, |only| only.rates.extent().0.max(self.about.description.sizes.len()));
        let count = if self.is_single() { spatials } else { self.layers.len() };
        (0..count).map(move |number| {
            let told = match single {
                Some(only) if count == 1 => only.spatial.size(0).or(only.resolution),
                Some(only) => only.spatial.size(number),
                None => self.layers.get(number).and_then(|layer| layer.resolution),
            };
            told.or_else(|| self.declared(number))
        })
    }

    fn declared(&self, layer: usize) -> Option<(u16, u16)> {
        let &(width, height) = self.about.description.sizes.get(layer)?;
        let sound = 1..=MAX_SIDE;
        (sound.contains(&width) && sound.contains(&height)).then_some((width, height))
    }

    /// Published by a peer of this worker.
    /// ULPFEC may come among its media, in RED. FlexFEC goes first.
    pub(crate) fn takes_ulpfec(&self) -> bool {
        self.fec.ulpfec.is_some() && self.fec.flexfec.is_none()
    }

    pub(crate) fn is_home(&self) -> bool {
        matches!(self.origin, Origin::Peer { .. })
    }

    /// Someone receives it, here or on another worker.
    pub(crate) fn is_watched(&self) -> bool {
        !self.subscribers.is_empty() || !self.mirrors.is_empty()
    }

    /// What the other end of a link says that it can use, or other layers flow: less may cross.
    pub(crate) fn follow_links(&mut self) {
        let mut mirrors = std::mem::take(&mut self.mirrors);
        for mirror in &mut mirrors {
            if let (Some(thinning), Some(Some(highest))) = (&mut mirror.thinning, mirror.wants) {
                thinning.set(highest, self);
            }
        }
        self.mirrors = mirrors;
    }

    pub(crate) fn neighbours(&self) -> impl Iterator<Item = Neighbour> {
        self.mirrors.iter().map(|mirror| mirror.to)
    }

    pub(crate) fn mirror_mut(&mut self, to: Neighbour) -> Option<&mut Mirror> {
        self.mirrors.iter_mut().find(|mirror| mirror.to == to)
    }

    /// What one mirror says that it can use.
    pub(crate) fn set_wants(&mut self, of: Neighbour, wants: Option<LayerId>) {
        if let Some(mirror) = self.mirror_mut(of) {
            mirror.wants = Some(wants);
            self.gather_elsewhere();
        }
    }

    pub(crate) fn forget_mirror(&mut self, to: Neighbour) {
        self.mirrors.retain(|mirror| mirror.to != to);
        self.gather_elsewhere();
    }

    fn gather_elsewhere(&mut self) {
        let wants = self.mirrors.iter().filter_map(|mirror| mirror.wants);
        self.wishes.gather_elsewhere(wants);
    }

    pub(crate) fn push(&mut self, packet: Arc<Packet>) {
        self.pending.push(packet);
    }

    /// Number of the next packet that will be pushed.
    pub(crate) fn end(&self) -> u64 {
        self.taken + self.pending.len() as u64
    }

    /// A packet that is still pending, by its number.
    pub(crate) fn pending(&self, number: u64) -> Option<&Arc<Packet>> {
        self.pending.get(usize::try_from(number.checked_sub(self.taken)?).ok()?)
    }

    /// Of each layer that flows what is kept since its last keyframe, `max` packets at most, in order of arrival.
    pub(crate) fn since_keyframes(&self, max: usize) -> Vec<Arc<Packet>> {
        let flowing = self.layers.iter().filter(|layer| layer.active);
        let runs = flowing.filter_map(|layer| {
            let first = layer.ring.since_keyframe(max)?.seq;
            Some((first..layer.ring.end()).filter_map(|seq| layer.ring.get(seq)))
        });
        let mut packets: Vec<_> = runs.flatten().cloned().collect();
        packets.sort_by_key(|packet| packet.arrival);
        packets
    }

    /// Every subscriber has seen them.
    pub(crate) fn clear_pending(&mut self) {
        self.taken += self.pending.len() as u64;
        self.pending.clear();
        self.announced = false;
    }
}

/// Zero when the system has no randomness: then another publication is taken for the same one.
fn random() -> u64 {
    let mut bytes = [0; 8];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_packets_keep_their_numbers() {
        let mut track = Track::mirror(TrackId(1), MediaKind::Audio, WorkerId(0));
        let packets: Vec<_> = (0..3).map(|_| Arc::new(Packet::default())).collect();
        track.push(Arc::clone(&packets[0]));
        track.clear_pending();
        assert_eq!(
            (track.end(), track.pending(0).is_none(), track.pending(1).is_none()),
            (1, true, true)
        );
        track.push(Arc::clone(&packets[1]));
        track.push(Arc::clone(&packets[2]));
        assert!(track.pending(2).is_some_and(|p| Arc::ptr_eq(p, &packets[2])));
        assert_eq!(track.end(), 3);
    }

    const MS: u64 = 1_000;

    fn keep(track: &mut Track, ms: u64, layer: u8, (spatial, temporal): (u8, u8), needed_above: bool) {
        let mut packet = Packet::default();
        (packet.layer, packet.seq) = (layer, ms * 16 + u64::from(spatial));
        (packet.arrival, packet.time) = (ms * MS, ms * 90);
        packet.facts.vp9 = Some(crate::packet::Vp9Meta {
            layered: true,
            ..Default::default()
        });
        (packet.facts.spatial, packet.facts.temporal) = (spatial, temporal);
        (packet.facts.frame_start, packet.facts.needed_above) = (true, needed_above);
        assert!(packet.set_content(&[0; 125], &[]));
        track.layers[usize::from(layer)].keep(&Arc::new(packet), 150 * MS);
    }

    fn told(track: &Track, ms: u64) -> Vec<(u8, u8, bool, u64, f32)> {
        let rates = track.layer_rates(ms * MS).into_iter();
        rates
            .map(|rate| {
                (
                    rate.spatial,
                    rate.temporal,
                    rate.active,
                    rate.bits_per_second,
                    rate.frames_per_second,
                )
            })
            .collect()
    }

    #[test]
    fn rates_of_one_scalable_stream() {
        let mut track = Track::mirror(TrackId(1), MediaKind::Video, WorkerId(0));
        track.layers.resize_with(1, Layer::default);
        for (index, ms) in (10_000..12_500).step_by(25).enumerate() {
            let temporal = (index % 2) as u8;
            keep(&mut track, ms, 0, (0, temporal), true);
            keep(&mut track, ms, 0, (1, temporal), false);
        }
        assert_eq!(
            told(&track, 12_500),
            [
                (0, 0, true, 20_000, 20.0),
                (0, 1, true, 40_000, 40.0),
                (1, 0, true, 40_000, 20.0),
                (1, 1, true, 80_000, 40.0)
            ]
        );
        for ms in (12_500..13_000).step_by(25) {
            keep(&mut track, ms, 0, (0, 0), true);
        }
        // The upper one has vanished.
        let after = told(&track, 13_000);
        assert_eq!(
            after.iter().map(|rate| rate.2).collect::<Vec<_>>(),
            [true, true, false, false]
        );
        assert!(!track.layers[0].spatial.may_flow(1) && track.layers[0].spatial.may_flow(0));
    }

    #[test]
    fn rates_of_simulcast() {
        let mut track = Track::mirror(TrackId(1), MediaKind::Video, WorkerId(0));
        track.layers.resize_with(3, Layer::default);
        for (index, ms) in (10_000..12_000).step_by(25).enumerate() {
            keep(&mut track, ms, 0, (0, 0), false);
            keep(&mut track, ms, 2, (0, (index % 2) as u8), false);
        }
        track.layers[2].resolution = Some((1_280, 720));
        assert_eq!(
            told(&track, 12_000),
            [
                (0, 0, true, 40_000, 40.0),
                (1, 0, false, 0, 0.0),
                (2, 0, true, 20_000, 20.0),
                (2, 1, true, 40_000, 40.0)
            ]
        );
        assert_eq!(
            track.layer_rates(0).last().map(|rate| rate.resolution),
            Some(Some((1_280, 720)))
        );
    }
}
