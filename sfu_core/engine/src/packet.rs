//! One received RTP packet, shared by every subscription, retransmission ring and worker.

use std::collections::VecDeque;
use std::sync::Arc;

use wire::dependency::{Frame, Structure};
use wire::picture::{PictureId, Tl0PicIdx};

use crate::ids::PayloadType;

/// Bytes held per packet: what a datagram of an Ethernet path carries.
pub const MAX_PACKET: usize = 1_500;

/// A decrypted packet with the retransmission wrapper (RFC 4588) removed.
pub struct Packet {
    /// Index of the simulcast layer, 0 the lowest.
    pub layer: u8,
    /// Extended sequence number of its layer's stream.
    pub seq: u64,
    /// RTP timestamp as sent.
    pub timestamp: u32,
    /// The same, unwrapped over the life of its layer.
    pub time: u64,
    /// Counts restarts of the layer: numbers and times before and after are unrelated, as if the layer were another.
    pub stream: u32,
    pub marker: bool,
    pub payload_type: PayloadType,
    /// Microseconds since the engines' common epoch.
    pub arrival: u64,
    /// It came by retransmission, or was made anew from what came beside it.
    pub recovered: bool,
    pub extensions: Carried,
    pub facts: Facts,
    /// Told by its dependency descriptor: holds from this frame on.
    pub structure: Option<Arc<Structure>>,
    /// It stands for one that was left out on the way here, because nobody here can use it: bytes of its payload.
    pub left_out: Option<u32>,
    payload_len: u16,
    dependency_len: u16,
    /// Payload, then the dependency descriptor.
    bytes: [u8; MAX_PACKET],
}

/// Header extensions that travel on to subscribers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// The byte of RFC 6464: V flag and level.
    pub audio_level: Option<u8>,
    /// 8 or 16 bytes.
    pub abs_capture_time: Option<AbsCaptureTime>,
    pub video_orientation: Option<u8>,
    pub playout_delay: Option<[u8; 3]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsCaptureTime {
    bytes: [u8; 16],
    len: u8,
}

impl AbsCaptureTime {
    /// `None` unless it has 8 or 16 bytes.
    pub fn new(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; 16];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        matches!(from.len(), 8 | 16).then_some(Self {
            bytes,
            len: from.len() as u8,
        })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// What payload and dependency descriptor say about its place in the stream. Default: an audio packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// First packet of a frame that is decodable alone: a subscription may begin here.
    pub keyframe: bool,
    /// First packet of a frame; of a scalable stream, of a layer's frame.
    pub frame_start: bool,
    pub temporal: u8,
    pub spatial: u8,
    /// VP8's Y bit, VP9's U bit: a receiver of lower temporal layers may go up here.
    pub switching_point: bool,
    /// Higher spatial layers refer to the frame.
    pub needed_above: bool,
    /// Of a keyframe, where the format says it.
    pub resolution: Option<(u16, u16)>,
    /// Of VP8 and VP9.
    pub ids: Option<PictureIds>,
    pub vp9: Option<Vp9Meta>,
    pub dependency: Option<Dependency>,
}

impl Facts {
    /// It says which spatial layer it is of.
    pub fn is_layered(&self) -> bool {
        match &self.dependency {
            Some(dependency) => dependency.frame.is_some(),
            None => self.vp9.is_some_and(|meta| meta.layered),
        }
    }
}

/// What the VP9 payload descriptor says (RFC 9628 section 4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp9Meta {
    /// It names its layers.
    pub layered: bool,
    /// Last packet of a layer's frame.
    pub end: bool,
    pub inter_predicted: bool,
    /// Needs the spatial layer below of the same picture.
    pub inter_layer: bool,
    /// References are in `references`.
    pub flexible: bool,
    pub references: wire::vp9::References,
    /// Spatial layers of the stream, where it is told; else 0.
    pub spatial_layers: u8,
}

/// Fields of a payload descriptor that are rewritten per subscription (RFC 7741 and RFC 9628, section 4.2). Offsets count from the first byte of the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PictureIds {
    pub picture_id: Option<PictureId>,
    pub tl0_pic_idx: Option<Tl0PicIdx>,
}

/// What the dependency descriptor says (AV1 RTP specification appendix A).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependency {
    pub number: u16,
    /// Last packet of the frame.
    pub end: bool,
    /// `None` when it refers to a structure that was not received.
    pub frame: Option<Frame>,
    /// Bit n: decode target n is being sent.
    pub active: u32,
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packet")
            .field("layer", &self.layer)
            .field("seq", &self.seq)
            .field("timestamp", &self.timestamp)
            .finish_non_exhaustive()
    }
}

impl Default for Packet {
    fn default() -> Self {
        Self {
            layer: 0,
            seq: 0,
            timestamp: 0,
            time: 0,
            stream: 0,
            marker: false,
            payload_type: PayloadType(0),
            arrival: 0,
            recovered: false,
            extensions: Carried::default(),
            facts: Facts::default(),
            structure: None,
            left_out: None,
            payload_len: 0,
            dependency_len: 0,
            bytes: [0; MAX_PACKET],
        }
    }
}

impl Packet {
    /// Empty when the packet was padding alone: its number must be skipped, nothing is sent.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[..usize::from(self.payload_len)]
    }

    /// Dependency descriptor as received; empty without one.
    pub fn dependency(&self) -> &[u8] {
        let start = usize::from(self.payload_len);
        &self.bytes[start..start + usize::from(self.dependency_len)]
    }

    /// False, and unchanged, when both together exceed [`MAX_PACKET`].
    #[must_use]
    pub fn set_content(&mut self, payload: &[u8], dependency: &[u8]) -> bool {
        if payload.len() + dependency.len() > MAX_PACKET {
            return false;
        }
        let (head, tail) = self.bytes.split_at_mut(payload.len());
        head.copy_from_slice(payload);
        tail[..dependency.len()].copy_from_slice(dependency);
        self.payload_len = payload.len() as u16;
        self.dependency_len = dependency.len() as u16;
        true
    }
}

/// Recycles packets so that the steady state allocates nothing.
///
/// Every packet handed out stays in the queue as well; the oldest is at the front and, rings being bounded in
/// time, is the first to be released by everyone else.
pub struct PacketPool {
    packets: VecDeque<Arc<Packet>>,
    max: usize,
}

/// Packets looked at before a new one is allocated. More saves memory when some track's ring outlives others', and costs time.
const LOOK: usize = 4;
/// Packets freed per call of [`PacketPool::trim`], so that a tick stays short.
const TRIM: usize = 64;

impl PacketPool {
    /// `max` packets of about 1.6 KB each.
    pub fn new(max: usize) -> Self {
        Self {
            packets: VecDeque::with_capacity(max.min(1_024)),
            max,
        }
    }

    pub fn len(&self) -> usize {
        self.packets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// A packet written by `fill`, or `None` when all are in use or `fill` declines.
    pub fn take(&mut self, fill: impl FnOnce(&mut Packet) -> bool) -> Option<Arc<Packet>> {
        let mut packet = self.free()?;
        let filled = Arc::get_mut(&mut packet).is_some_and(fill);
        if !filled {
            self.packets.push_front(packet);
            return None;
        }
        self.packets.push_back(Arc::clone(&packet));
        Some(packet)
    }

    /// Frees what was not needed since `before` (microseconds): after a burst, or when publishers left.
    pub fn trim(&mut self, before: u64) {
        for _ in 0..TRIM {
            let unused = self
                .packets
                .front_mut()
                .is_some_and(|p| p.arrival < before && Arc::get_mut(p).is_some());
            if !unused {
                return;
            }
            self.packets.pop_front();
        }
    }

    fn free(&mut self) -> Option<Arc<Packet>> {
        // Those in use stay in their places: the queue must remain in the order of age.
        let free = self
            .packets
            .iter_mut()
            .take(LOOK)
            .position(|packet| Arc::get_mut(packet).is_some());
        if let Some(packet) = free.and_then(|index| self.packets.remove(index)) {
            return Some(packet);
        }
        (self.packets.len() < self.max).then(|| Arc::new(Packet::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(arrival: u64) -> impl FnOnce(&mut Packet) -> bool {
        move |packet| {
            packet.arrival = arrival;
            true
        }
    }

    #[test]
    fn reuses_what_is_released() {
        let mut pool = PacketPool::new(8);
        for i in 0..100 {
            let held = [pool.take(at(i)).unwrap(), pool.take(at(i)).unwrap()];
            assert!(!Arc::ptr_eq(&held[0], &held[1]));
        }
        assert_eq!(pool.len(), 2);
    }

    #[test]
    fn is_bounded() {
        let mut pool = PacketPool::new(2);
        let held = [pool.take(at(0)).unwrap(), pool.take(at(0)).unwrap()];
        assert!(pool.take(at(0)).is_none());
        drop(held);
        assert!(pool.take(at(0)).is_some());
    }

    #[test]
    fn a_declined_packet_stays_free() {
        let mut pool = PacketPool::new(1);
        assert!(pool.take(|packet| packet.set_content(&[0; MAX_PACKET], &[0])).is_none());
        assert!(pool.take(at(0)).is_some());
    }

    #[test]
    fn trims_only_what_is_old_and_free() {
        let mut pool = PacketPool::new(8);
        let held: Vec<_> = (0..4).map(|i| pool.take(at(i)).unwrap()).collect();
        pool.trim(2);
        assert_eq!(pool.len(), 4);
        drop(held);
        pool.trim(2);
        assert_eq!(pool.len(), 2);
    }

    #[test]
    fn content_is_payload_then_dependency_descriptor() {
        let mut packet = Packet::default();
        assert!(packet.set_content(b"payload", b"dd"));
        assert_eq!((packet.payload(), packet.dependency()), (&b"payload"[..], &b"dd"[..]));
        assert!(!packet.set_content(&[0; MAX_PACKET], b"d"));
        assert_eq!(packet.payload(), b"payload");
    }

    #[test]
    fn abs_capture_time_has_8_or_16_bytes() {
        for (len, ok) in [(0, false), (7, false), (8, true), (12, false), (16, true), (17, false)] {
            assert_eq!(
                AbsCaptureTime::new(&vec![1; len]).is_some_and(|t| t.bytes().len() == len),
                ok,
                "{len}"
            );
        }
    }
}
