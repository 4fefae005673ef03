//! Spatial and temporal layers of VP9, by its payload descriptor alone (RFC 9628 sections 3 and 4).
//!
//! A frame is forwarded when it is wanted and nothing that it refers to was dropped: in flexible mode its references are
//! told; in non-flexible mode a spatial layer must be unbroken since it began, and a temporal layer since a switching-up
//! point. A frame that was not received counts as forwarded: the gap in the numbers tells the subscriber, and a repair
//! may fill it.

mod layer;

use layer::Layer;

use super::filter::Limit;
use super::pictures::Unwrap;
use super::temporal::Seen;
use crate::packet::{Packet, Vp9Meta};

const MAX_SPATIAL: usize = 8;
/// Pictures remembered: as far back as a reference can point.
const PICTURES: usize = 128;

/// What became of a picture's frames. Bit n: of spatial layer n.
#[derive(Clone, Copy, Debug, Default)]
struct Picture {
    /// 0: none.
    number: u64,
    forwarded: u16,
    dropped: u16,
    /// It is a keyframe.
    key: bool,
    /// A frame with an end that was not the publisher's was forwarded.
    closed: bool,
    /// With the frame of this layer it ends.
    last: u8,
    /// Highest temporal layer that was wanted when it began, and whether its own is higher.
    temporal: u8,
    unwanted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Forwarded,
    Dropped,
    /// Not received, or forgotten.
    No,
}

#[derive(Debug)]
pub(super) struct Svc {
    pictures: [Picture; PICTURES],
    unwrap: Unwrap,
    newest: u64,
    /// Since the last keyframe, its picture's number, and before it.
    layers: [Layer; MAX_SPATIAL],
    key: u64,
    former: [Layer; MAX_SPATIAL],
    /// Highest spatial layer that is forwarded, and of the stream.
    spatial: u8,
    top: u8,
    limit: Limit,
    /// What was wanted when the newest picture began.
    held: Limit,
    /// A frame of the forwarded layer could not be forwarded.
    broken: bool,
    seen: Seen,
}

/// The frame of one spatial layer.
#[derive(Clone, Copy)]
struct Frame<'a> {
    number: u64,
    spatial: u8,
    temporal: u8,
    needed_above: bool,
    switching_up: bool,
    meta: &'a Vp9Meta,
}

impl Svc {
    pub(super) fn new(limit: Limit) -> Self {
        Self {
            pictures: [Picture::default(); PICTURES],
            unwrap: Unwrap::default(),
            newest: 0,
            layers: [Layer::default(); MAX_SPATIAL],
            key: 0,
            former: [Layer::default(); MAX_SPATIAL],
            spatial: 0,
            top: 0,
            limit,
            held: limit,
            broken: false,
            seen: Seen::default(),
        }
    }

    /// Another stream takes over.
    pub(super) fn begin(&mut self) {
        *self = Self::new(self.limit);
    }

    pub(super) fn set_limit(&mut self, limit: Limit) {
        self.limit = limit;
    }

    /// Whether the packet is forwarded, and then whether it ends the picture.
    pub(super) fn pass(&mut self, packet: &Packet) -> Option<bool> {
        let facts = &packet.facts;
        let Some(meta) = facts.vp9.as_ref().filter(|meta| meta.layered) else {
            return Some(false);
        };
        let frame = self.frame(packet, meta);
        let slot = slot(frame.number);
        if !self.open(&frame) {
            return None;
        }
        match self.known(frame.number, frame.spatial) {
            Known::Dropped => return None,
            Known::Forwarded => {}
            Known::No => {
                let forwards = self.decide(&frame);
                self.record(&frame, forwards);
                if !forwards {
                    return None;
                }
            }
        }
        let picture = &mut self.pictures[slot];
        if packet.marker && picture.key && frame.spatial < picture.last && frame.number == self.newest {
            // The keyframe has fewer layers than it told.
            (self.spatial, self.top) = (frame.spatial, frame.spatial);
        }
        Some(meta.end && frame.spatial == picture.last && picture.closed)
    }

    /// The frame stayed behind on its way here. What is above it stayed there, too.
    pub(super) fn leave_out(&mut self, packet: &Packet) {
        let Some(meta) = packet.facts.vp9.as_ref().filter(|meta| meta.layered) else {
            return;
        };
        let frame = self.frame(packet, meta);
        if !self.open(&frame) || self.known(frame.number, frame.spatial) != Known::No {
            return;
        }
        self.record(&frame, false);
        // The publisher has it, whatever a keyframe showed here.
        self.top = self.top.max(frame.spatial);
        let begun = self.pictures[slot(frame.number)].forwarded != 0;
        let of_all = begun || frame.temporal == 0;
        if frame.number >= self.key && of_all && (1..=self.spatial).contains(&frame.spatial) {
            self.spatial = frame.spatial - 1;
        }
    }

    fn frame<'a>(&mut self, packet: &Packet, meta: &'a Vp9Meta) -> Frame<'a> {
        let facts = &packet.facts;
        // Without picture ids the time tells pictures apart.
        let number = facts.ids.as_ref().and_then(|ids| self.unwrap.next(ids));
        Frame {
            number: number.unwrap_or(packet.time).max(1),
            spatial: facts.spatial.min(MAX_SPATIAL as u8 - 1),
            temporal: facts.temporal,
            needed_above: facts.needed_above,
            switching_up: facts.switching_point,
            meta,
        }
    }

    /// The picture of the frame is remembered from now on; false when it is forgotten already.
    #[inline]
    fn open(&mut self, frame: &Frame<'_>) -> bool {
        let slot = slot(frame.number);
        if self.pictures[slot].number < frame.number {
            if frame.number > self.newest {
                self.newest = frame.number;
                self.held = self.limit;
            }
            let (last, temporal) = self.then(frame.number);
            self.pictures[slot] = Picture {
                number: frame.number,
                last,
                temporal,
                unwanted: frame.temporal > temporal,
                ..Picture::default()
            };
        }
        self.pictures[slot].number == frame.number
    }

    /// Also when frames are missing for another reason than a change of layers.
    pub(super) fn needs_keyframe(&self) -> bool {
        let wanted = self.limit.spatial.min(self.top);
        // Down is possible at once where everything below is forwarded, too.
        let down = wanted < self.spatial && self.layers[usize::from(wanted)].is_whole();
        self.broken || wanted != self.spatial && !down
    }

    pub(super) fn layers(&self) -> (u8, u8) {
        (self.spatial, self.seen.highest().min(self.held.temporal))
    }

    /// Spatial and temporal layer up to which a picture is forwarded that comes late: as those that came before it.
    fn then(&self, number: u64) -> (u8, u8) {
        let mut later =
            (number + 1..self.newest.min(number + PICTURES as u64)).map(|later| &self.pictures[slot(later)]);
        let later = later.find(|later| later.number > number && later.number < self.newest);
        later.map_or((self.spatial, self.held.temporal), |later| (later.last, later.temporal))
    }

    fn decide(&mut self, frame: &Frame<'_>) -> bool {
        if frame.spatial == 0 && !frame.meta.inter_predicted {
            self.begin_key(frame);
        }
        self.top = self.top.max(frame.spatial);
        let picture = self.pictures[slot(frame.number)];
        if frame.temporal > picture.temporal {
            return false;
        }
        if frame.number != self.newest {
            // What was wanted then: a part of the picture may be forwarded already.
            return self.is_needed(frame, picture.last) && self.is_decodable(frame, false);
        }
        let wanted = self.held.spatial;
        if frame.spatial > self.spatial {
            let up = frame.spatial <= wanted && !picture.closed && self.is_decodable(frame, true);
            if up {
                self.spatial = frame.spatial;
            }
            return up;
        }
        let decodable = self.is_decodable(frame, false);
        let above = picture.forwarded >> (frame.spatial + 1);
        // A layer that was dropped until now is gone over to only if nothing is in doubt.
        let certain = self.layers[usize::from(frame.spatial)].is_whole() || self.is_decodable(frame, true);
        if frame.spatial == wanted && decodable && above == 0 && certain {
            self.spatial = frame.spatial;
        }
        if frame.spatial == self.spatial && frame.temporal == 0 {
            self.broken = !decodable;
        }
        decodable && self.is_needed(frame, self.spatial)
    }

    fn is_needed(&self, frame: &Frame<'_>, highest: u8) -> bool {
        frame.spatial == highest || frame.spatial < highest && frame.needed_above
    }

    /// A keyframe: everything begins anew, at the layer that is wanted.
    fn begin_key(&mut self, frame: &Frame<'_>) {
        if frame.meta.spatial_layers > 0 {
            self.top = frame.meta.spatial_layers.min(MAX_SPATIAL as u8) - 1;
        }
        let picture = &mut self.pictures[slot(frame.number)];
        picture.key = true;
        self.former = self.layers;
        self.key = frame.number;
        if frame.number == self.newest {
            // Frames above may have come before this one: if some were forwarded, the picture ends where it would have.
            let dropped = picture.dropped.trailing_zeros().max(1) as u8 - 1;
            self.spatial = match picture.forwarded {
                0 => self.held.spatial.min(self.top).min(dropped),
                _ => picture.last.min(dropped),
            };
        }
        for (spatial, layer) in (0..).zip(&mut self.layers) {
            match spatial <= self.spatial {
                // What was not received yet counts as forwarded.
                true => layer.begin(frame.number),
                false => layer.end(),
            }
        }
        self.broken = false;
    }

    fn layer(&self, number: u64, spatial: u8) -> &Layer {
        let layers = if number < self.key { &self.former } else { &self.layers };
        &layers[usize::from(spatial)]
    }

    fn record(&mut self, frame: &Frame<'_>, forwards: bool) {
        let bit = 1 << frame.spatial;
        let layers = match frame.number < self.key {
            true => &mut self.former,
            false => &mut self.layers,
        };
        let layer = &mut layers[usize::from(frame.spatial)];
        let picture = &mut self.pictures[slot(frame.number)];
        if !forwards {
            picture.dropped |= bit;
            layer.on_drop(frame.number, frame.temporal);
            return;
        }
        picture.forwarded |= bit;
        if frame.number == self.newest {
            picture.last = self.spatial;
        }
        picture.closed |= frame.spatial == picture.last && picture.last < self.top;
        if !frame.meta.inter_predicted && frame.temporal == 0 {
            layer.begin(frame.number);
        }
        if frame.switching_up {
            layer.on_switching_up(frame.number, frame.temporal);
        }
        if frame.spatial == self.spatial && frame.number == self.newest {
            self.seen.on_frame(frame.temporal);
        }
    }

    /// Nothing that it refers to was dropped; `strictly`: all earlier pictures that it refers to were forwarded.
    fn is_decodable(&self, frame: &Frame<'_>, strictly: bool) -> bool {
        let is_fine = |known| match known {
            Known::Forwarded => true,
            Known::Dropped => false,
            Known::No => !strictly,
        };
        let meta = frame.meta;
        let below = match frame.spatial.checked_sub(1) {
            // Its turn is still to come, perhaps.
            Some(below) if meta.inter_layer => self.known(frame.number, below) != Known::Dropped,
            _ => true,
        };
        let layer = self.layer(frame.number, frame.spatial);
        let before = match (meta.inter_predicted, meta.flexible) {
            (false, _) => true,
            (true, true) => {
                let mut references = meta.references.as_slice().iter();
                layer.has_begun()
                    && references.all(|&difference| {
                        let number = frame.number.saturating_sub(difference.into());
                        // What will be dropped when it comes is as good as dropped.
                        let picture = &self.pictures[slot(number)];
                        let will_come = picture.number != number || !picture.unwanted;
                        is_fine(self.known(number, frame.spatial)) && will_come
                    })
            }
            // A lower layer without those above would be shown alone.
            (true, false) => {
                let last = self.pictures[slot(frame.number)].last.max(frame.spatial);
                (frame.spatial..=last).all(|spatial| {
                    let layer = self.layer(frame.number, spatial);
                    layer.is_unbroken(frame.number, frame.temporal)
                })
            }
        };
        below && before
    }

    fn known(&self, number: u64, spatial: u8) -> Known {
        let picture = &self.pictures[slot(number)];
        let bit = 1 << spatial;
        match () {
            () if picture.number != number => Known::No,
            () if picture.forwarded & bit != 0 => Known::Forwarded,
            () if picture.dropped & bit != 0 => Known::Dropped,
            () => Known::No,
        }
    }
}

fn slot(number: u64) -> usize {
    number as usize % PICTURES
}

#[cfg(test)]
mod tests;
