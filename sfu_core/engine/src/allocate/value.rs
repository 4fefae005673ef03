//! What a layer is worth to a subscriber: concave in pixels, relative to the size in which it is shown.

use super::{Candidate, Layer, Source};

/// Any picture at all, in units of the best picture. More makes "everyone a little" stronger against "someone more".
const PRESENCE: f32 = 4.0;
/// By rank: who speaks, who spoke before, and before that. Others count 1.
const SPEAKERS: [f32; 3] = [2.0, 1.5, 1.25];
/// A shared screen is what the meeting looks at.
const SCREEN: f32 = 2.0;
const MAX_PRIORITY: i8 = 6;
/// A layer of this share of the shown area covers it (95 % of each side, as in the control plane's `subscriptions`).
const COVER: f32 = 0.9;
/// Pixels of a tile whose quality counts as much as its presence says; larger tiles count more, by their diagonal.
const USUAL_TILE: f32 = 640.0 * 360.0;
const TILE_WEIGHTS: (f32, f32) = (0.5, 3.0);
/// Frame rates (and what they are worth) below which motion stutters, and above which nothing is gained.
const CAMERA_MOTION: (f32, f32) = (15.0, 0.75);
const SCREEN_MOTION: (f32, f32) = (5.0, 0.8);
const FULL_MOTION: f32 = 30.0;

/// Precomputed for all layers of one candidate.
pub(super) struct Scale {
    pub(super) weight: f32,
    /// Weight of the quality as opposed to the presence.
    tile: f32,
    source: Source,
    pixels: f32,
}

impl Scale {
    /// `best`: the largest picture that the track has, in pixels.
    pub(super) fn new(candidate: &Candidate, best: f32) -> Self {
        let source = match candidate.source {
            Source::Camera => 1.0,
            Source::Screen => SCREEN,
        };
        let rank = candidate.speaker_rank.map(usize::from);
        let speaker = rank.and_then(|rank| SPEAKERS.get(rank)).copied().unwrap_or(1.0);
        let priority = f32::from(candidate.priority.clamp(-MAX_PRIORITY, MAX_PRIORITY)).exp2();
        let shown = candidate.wanted.map(|(w, h)| f32::from(w) * f32::from(h));
        let pixels = shown.filter(|&shown| shown > 0.0).map_or(best, |shown| shown.min(best));
        Self {
            weight: source * speaker * priority,
            tile: (pixels / USUAL_TILE).sqrt().clamp(TILE_WEIGHTS.0, TILE_WEIGHTS.1),
            source: candidate.source,
            pixels: (pixels * COVER).max(1.0),
        }
    }

    pub(super) fn value(&self, layer: &Layer) -> f32 {
        self.weight * (PRESENCE + self.tile * self.quality(layer))
    }

    /// 0 to 1.
    fn quality(&self, layer: &Layer) -> f32 {
        let share = (pixels(layer) / self.pixels).min(1.0);
        let fps = layer.frames_per_second;
        match self.source {
            // Squared below the bound: no resolution makes up for stutter.
            Source::Camera => share.sqrt() * motion(fps, CAMERA_MOTION, 2),
            Source::Screen => (share * share.sqrt()).sqrt() * motion(fps, SCREEN_MOTION, 1),
        }
    }
}

pub(super) fn pixels(layer: &Layer) -> f32 {
    f32::from(layer.width) * f32::from(layer.height)
}

fn motion(fps: f32, (bound, worth): (f32, f32), power: i32) -> f32 {
    if fps < bound {
        return worth * (fps.max(0.0) / bound).powi(power);
    }
    worth + (1.0 - worth) * ((fps - bound) / (FULL_MOTION - bound)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{camera, layer};
    use super::*;

    #[test]
    fn motion_before_detail_for_cameras_and_after_it_for_screens() {
        let at = |spatial: u8, fps: f32| {
            let mut layer = layer(spatial, 2, 1, true);
            layer.frames_per_second = fps;
            layer
        };
        let cases = [
            // (source, better, worse)
            (Source::Camera, at(0, 15.0), at(1, 7.5)),
            (Source::Camera, at(0, 30.0), at(2, 7.5)),
            (Source::Camera, at(1, 15.0), at(0, 30.0)),
            (Source::Camera, at(2, 30.0), at(2, 15.0)),
            (Source::Screen, at(1, 5.0), at(0, 30.0)),
            (Source::Screen, at(2, 5.0), at(1, 30.0)),
            (Source::Screen, at(1, 15.0), at(1, 5.0)),
        ];
        for (source, better, worse) in cases {
            let candidate = Candidate { source, ..camera(0..0) };
            let scale = Scale::new(&candidate, 1280.0 * 720.0);
            assert!(
                scale.value(&better) > scale.value(&worse),
                "{source:?} {better:?} {worse:?}"
            );
        }
    }

    #[test]
    fn nothing_is_gained_beyond_the_shown_size() {
        let candidate = Candidate {
            wanted: Some((660, 370)),
            ..camera(0..0)
        };
        let scale = Scale::new(&candidate, 1280.0 * 720.0);
        assert_eq!(scale.value(&layer(1, 2, 1, true)), scale.value(&layer(2, 2, 1, true)));
        assert!(scale.value(&layer(1, 2, 1, true)) > scale.value(&layer(0, 2, 1, true)));
    }

    #[test]
    fn weights() {
        let weight = |change: fn(&mut Candidate)| {
            let mut candidate = camera(0..0);
            change(&mut candidate);
            Scale::new(&candidate, 1.0).weight
        };
        assert_eq!(weight(|_| ()), 1.0);
        assert_eq!(weight(|c| c.priority = 2), 4.0);
        assert_eq!(weight(|c| c.priority = -1), 0.5);
        assert_eq!(weight(|c| c.priority = i8::MAX), 64.0);
        assert_eq!(weight(|c| c.speaker_rank = Some(0)), 2.0);
        assert_eq!(weight(|c| c.speaker_rank = Some(9)), 1.0);
        assert_eq!(weight(|c| c.source = Source::Screen), 2.0);
    }
}
