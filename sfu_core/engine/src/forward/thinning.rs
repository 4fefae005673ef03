//! Which packets of a track go to another node: of its layers only those that somebody beyond can use. The rest is told there as
//! left out, so the subscriptions there know what they know here: they go up and down and ask for keyframes by the same rules.
//!
//! Layers are cut by what the frames say of themselves, all up to a limit: nothing refers to a higher layer, and what lies below is
//! there to fall back to. Between two pictures the limit changes at once.

use std::collections::VecDeque;

use arrayvec::ArrayVec;

use super::filter::Limit;
use super::layers;
use crate::allocate::LayerId;
use crate::command::{MAX_LAYERS, Wanted};
use crate::crossing::left_out::{LeftOut, MAX_LEFT_OUT};
use crate::packet::Packet;
use crate::publish::track::Track;

const EVERYTHING: Limit = Limit {
    spatial: u8::MAX,
    temporal: u8::MAX,
};

/// Towards one node. Everything goes, until something is set.
pub(crate) struct Thinning {
    limit: Limit,
    /// By simulcast layer.
    lanes: ArrayVec<Box<Lane>, MAX_LAYERS>,
}

/// One stream.
struct Lane {
    stream: u32,
    /// RTP time of the newest picture, and the limit it has.
    time: u64,
    held: Limit,
    /// Those before this time had another.
    since: u64,
    before: Limit,
    left: ArrayVec<LeftOut, MAX_LEFT_OUT>,
    /// Of `left`, so many were told once. Told twice, a loss on the way does not make a gap of them.
    told: usize,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes. `ends`: as the last one of its picture.
    Goes { ends: bool },
    /// It stays behind.
    Stays,
}

impl Default for Thinning {
    fn default() -> Self {
        Self {
            limit: EVERYTHING,
            lanes: ArrayVec::new(),
        }
    }
}

impl Thinning {
    /// The highest layers of use to somebody there. To be called again when other layers of the track flow.
    pub(crate) fn set(&mut self, highest: LayerId, track: &Track) {
        let wanted = Wanted {
            paused: false,
            max_spatial: highest.spatial,
            max_temporal: highest.temporal,
        };
        self.limit = layers::limit(track, wanted);
    }

    /// With this packet a stream begins there. What came before it may be missing there, if the stream came another way until then.
    pub(crate) fn begins_with(&self, packet: &Packet) -> bool {
        let lane = self.lanes.get(usize::from(packet.layer));
        lane.is_none_or(|lane| lane.stream != packet.stream) && !packet.facts.keyframe
    }

    #[inline]
    pub(crate) fn decide(&mut self, packet: &Packet) -> Fate {
        let index = usize::from(packet.layer);
        while self.lanes.len() <= index.min(MAX_LAYERS - 1) {
            self.lanes.push(Box::new(Lane::new(packet.stream, self.limit)));
        }
        let Some(lane) = self.lanes.get_mut(index) else {
            return Fate::Goes { ends: false };
        };
        if lane.stream != packet.stream {
            **lane = Lane::new(packet.stream, self.limit);
        }
        if packet.left_out.is_some() {
            lane.leave(packet);
            return Fate::Stays;
        }
        let Some((spatial, temporal)) = labels(packet) else {
            return Fate::Goes { ends: false };
        };
        let limit = lane.limit(packet.time, self.limit);
        if spatial > limit.spatial || temporal > limit.temporal {
            lane.leave(packet);
            return Fate::Stays;
        }
        Fate::Goes {
            ends: spatial == limit.spatial && ends_frame(packet),
        }
    }

    /// Nothing more can be left out of a layer before what was is told.
    pub(crate) fn must_tell(&self, layer: u8) -> bool {
        let lane = self.lanes.get(usize::from(layer));
        lane.is_some_and(|lane| lane.left.is_full() && lane.told == 0)
    }

    /// Appends what is to be told with the next packet of a layer, and returns how much that is.
    #[inline]
    pub(crate) fn tell(&mut self, layer: u8, into: &mut VecDeque<LeftOut>) -> u8 {
        let Some(lane) = self.lanes.get_mut(usize::from(layer)) else {
            return 0;
        };
        if lane.left.is_empty() {
            return 0;
        }
        into.extend(&lane.left);
        let count = lane.left.len();
        lane.left.drain(..lane.told);
        lane.told = lane.left.len();
        count as u8
    }

    /// Nothing of the layer goes there.
    pub(crate) fn forget(&mut self, layer: u8) {
        if let Some(lane) = self.lanes.get_mut(usize::from(layer)) {
            lane.left.clear();
            lane.told = 0;
        }
    }
}

impl Lane {
    fn new(stream: u32, limit: Limit) -> Self {
        Self {
            stream,
            time: 0,
            held: limit,
            since: 0,
            before: limit,
            left: ArrayVec::new(),
            told: 0,
        }
    }

    /// Of the picture of this time: all of its packets have the same.
    fn limit(&mut self, time: u64, limit: Limit) -> Limit {
        if time > self.time {
            self.time = time;
            if self.held != limit {
                (self.before, self.since, self.held) = (self.held, time, limit);
            }
        }
        if time < self.since { self.before } else { self.held }
    }

    fn leave(&mut self, packet: &Packet) {
        let left = LeftOut::of(packet);
        let open = self.told..self.left.len();
        let last = self.left.get_mut(open).and_then(<[LeftOut]>::last_mut);
        if last.is_some_and(|last| last.extend(&left)) {
            return;
        }
        if self.left.is_full() {
            self.left.drain(..self.told);
            self.told = 0;
        }
        // Full of what was never told: whoever calls has not.
        let _ = self.left.try_push(left);
    }
}

/// Spatial and temporal layer of a packet, where subscriptions tell frames apart by them.
#[inline]
fn labels(packet: &Packet) -> Option<(u8, u8)> {
    let facts = &packet.facts;
    if packet.payload().is_empty() {
        return None;
    }
    match (&facts.dependency, &facts.vp9) {
        (Some(dependency), _) => dependency.frame.map(|frame| (frame.spatial, frame.temporal)),
        (None, Some(meta)) => meta.layered.then_some((facts.spatial, facts.temporal)),
        (None, None) => facts.ids.map(|_| (0, facts.temporal)),
    }
}

/// It is the last packet of a layer's frame, of a stream with several layers.
fn ends_frame(packet: &Packet) -> bool {
    let facts = &packet.facts;
    match (&facts.dependency, &facts.vp9) {
        (Some(dependency), _) => dependency.end,
        (None, Some(meta)) => meta.end,
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{PictureIds, Vp9Meta};

    fn packet(seq: u64, time: u64, (spatial, temporal): (u8, u8), end: bool) -> Packet {
        let mut packet = Packet::default();
        (packet.seq, packet.time) = (seq, time);
        (packet.facts.spatial, packet.facts.temporal, packet.facts.frame_start) = (spatial, temporal, true);
        packet.facts.ids = Some(PictureIds::default());
        packet.facts.vp9 = Some(Vp9Meta {
            layered: true,
            end,
            ..Vp9Meta::default()
        });
        assert!(packet.set_content(&[0; 50], &[]));
        packet
    }

    fn limited(spatial: u8, temporal: u8) -> Thinning {
        Thinning {
            limit: Limit { spatial, temporal },
            ..Thinning::default()
        }
    }

    #[test]
    fn layers_up_to_the_limit_go() {
        for (limit, layer, end, fate) in [
            ((255, 255), (2, 2), true, Fate::Goes { ends: false }),
            ((0, 255), (0, 2), true, Fate::Goes { ends: true }),
            ((0, 255), (0, 2), false, Fate::Goes { ends: false }),
            ((1, 255), (0, 2), true, Fate::Goes { ends: false }),
            ((0, 255), (1, 0), true, Fate::Stays),
            ((2, 0), (2, 0), true, Fate::Goes { ends: true }),
            ((2, 0), (0, 1), true, Fate::Stays),
        ] {
            let mut thinning = limited(limit.0, limit.1);
            assert_eq!(thinning.decide(&packet(7, 1, layer, end)), fate, "{limit:?} {layer:?}");
        }
    }

    #[test]
    fn what_does_not_say_its_layer_goes() {
        let mut thinning = limited(0, 0);
        let goes = Fate::Goes { ends: false };
        let mut plain = Packet::default();
        assert!(plain.set_content(&[1], &[]));
        plain.facts.temporal = 2;
        assert_eq!(thinning.decide(&plain), goes);
        let mut padding = packet(1, 1, (1, 1), true);
        assert!(padding.set_content(&[], &[]));
        assert_eq!(thinning.decide(&padding), goes);
        padding.left_out = Some(9);
        assert_eq!(thinning.decide(&padding), Fate::Stays, "it stayed behind before");
    }

    #[test]
    fn a_picture_has_one_limit() {
        let mut thinning = limited(1, 255);
        let goes = |thinning: &mut Thinning, seq, time, spatial| {
            thinning.decide(&packet(seq, time, (spatial, 0), false)) != Fate::Stays
        };
        assert!(goes(&mut thinning, 1, 10, 0));
        thinning.limit.spatial = 0;
        assert!(goes(&mut thinning, 2, 10, 1), "begun under the former");
        assert!(goes(&mut thinning, 3, 20, 0) && !goes(&mut thinning, 4, 20, 1));
        assert!(goes(&mut thinning, 2, 10, 1), "late");
        thinning.limit.spatial = 1;
        assert!(!goes(&mut thinning, 5, 20, 1));
        assert!(goes(&mut thinning, 6, 30, 1));
    }

    #[test]
    fn everything_is_told_twice_and_in_time() {
        let mut thinning = limited(0, 255);
        let mut told = VecDeque::new();
        assert_eq!(thinning.tell(0, &mut told), 0);
        let leave = |thinning: &mut Thinning, seq| thinning.decide(&packet(seq, seq, (1, 0), true));
        leave(&mut thinning, 1);
        assert_eq!(thinning.tell(0, &mut told), 1);
        leave(&mut thinning, 3);
        assert_eq!((thinning.tell(0, &mut told), thinning.tell(0, &mut told)), (2, 1));
        assert_eq!(thinning.tell(0, &mut told), 0);
        let numbers: Vec<_> = told.drain(..).map(|left| left.first).collect();
        assert_eq!(numbers, [1, 1, 3, 3]);
        for seq in 0..MAX_LEFT_OUT as u64 {
            assert!(!thinning.must_tell(0));
            leave(&mut thinning, 10 + seq * 2);
        }
        assert!(thinning.must_tell(0));
        assert_eq!(usize::from(thinning.tell(0, &mut told)), MAX_LEFT_OUT);
        // There is room again where all was told once.
        assert!(!thinning.must_tell(0));
        leave(&mut thinning, 99);
        assert_eq!(thinning.tell(0, &mut told), 1);
        // Another stream has other numbers.
        leave(&mut thinning, 101);
        let mut other = packet(5, 5, (0, 0), true);
        other.stream = 1;
        thinning.decide(&other);
        assert_eq!(thinning.tell(0, &mut told), 0);
        leave(&mut thinning, 6);
        thinning.forget(0);
        assert_eq!(thinning.tell(0, &mut told), 0);
    }
}
