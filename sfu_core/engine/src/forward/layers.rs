//! Which layer a subscription should get.

use super::filter::Limit;
use crate::command::{View, Wanted};
use crate::publish::rates::MAX_SPATIAL;
use crate::publish::track::Track;

/// The highest active layer within what is wanted; when none of those flows, the lowest that does. `None` when paused
/// or when nothing flows.
pub(super) fn target(active: impl IntoIterator<Item = bool>, wanted: Wanted) -> Option<u8> {
    if wanted.paused {
        return None;
    }
    let (mut within, mut above) = (None, None);
    for (layer, active) in (0u8..).zip(active) {
        if !active {
            continue;
        }
        if layer <= wanted.max_spatial {
            within = Some(layer);
        } else if above.is_none() {
            above = Some(layer);
        }
    }
    within.or(above)
}

/// Displays ask for odd sizes by rounding: a layer of this share of each side still covers them.
const COVER: f32 = 0.95;

/// The lowest layer that covers what is shown; the highest when none does, or when a size is not known. `sizes`: the lowest
/// first. Portrait covers landscape.
pub(super) fn covering(sizes: impl IntoIterator<Item = Option<(u16, u16)>>, view: View) -> u8 {
    if view.width == 0 || view.height == 0 {
        return u8::MAX;
    }
    let sides = |(width, height): (u16, u16)| (f32::from(width.max(height)), f32::from(width.min(height)));
    let (long, short) = sides((view.width, view.height));
    let mut sizes = (0u8..).zip(sizes).peekable();
    while let Some((layer, size)) = sizes.next() {
        let Some(size) = size else { break };
        let (width, height) = sides(size);
        // The highest of them is the best there is, also when higher ones become known.
        if width >= long * COVER && height >= short * COVER && sizes.peek().is_some() {
            return layer;
        }
    }
    u8::MAX
}

/// What is wanted within the stream of a layer: what is wanted of spatial layers chooses between streams where there are
/// several.
pub(super) fn limit(track: &Track, wanted: Wanted) -> Limit {
    let temporal = wanted.max_temporal;
    let spatial = match track.layers.as_slice() {
        [only] => {
            let layers = (0..MAX_SPATIAL as u8).map(|layer| only.spatial.may_flow(layer));
            let wanted = Wanted {
                paused: false,
                max_spatial: wanted.max_spatial,
                max_temporal: temporal,
            };
            target(layers, wanted).unwrap_or(wanted.max_spatial)
        }
        _ => u8::MAX,
    };
    Limit { spatial, temporal }
}

/// Whether a subscription that has nothing yet may begin with a layer that is not its target: any picture at once is
/// better than the right one later, and the target follows with its next keyframe.
pub(super) fn may_begin_with(layer: u8, wanted: Wanted, target: Option<u8>) -> bool {
    !wanted.paused && (layer <= wanted.max_spatial || target == Some(layer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let cases: [(&[bool], u8, bool, Option<u8>); 10] = [
            (&[true, true, true], 255, false, Some(2)),
            (&[true, true, true], 1, false, Some(1)),
            (&[true, true, false], 2, false, Some(1)),
            (&[false, false, true], 2, false, Some(2)),
            (&[false, false, true], 0, false, Some(2)),
            (&[false, true, true], 0, false, Some(1)),
            (&[true, false, true], 1, false, Some(0)),
            (&[false, false, false], 2, false, None),
            (&[true, true, true], 2, true, None),
            (&[], 2, false, None),
        ];
        for (active, max_spatial, paused, expected) in cases {
            let wanted = Wanted {
                paused,
                max_spatial,
                max_temporal: 255,
            };
            assert_eq!(
                target(active.iter().copied(), wanted),
                expected,
                "{active:?} {max_spatial} {paused}"
            );
        }
    }

    #[test]
    fn the_view_picks_the_lowest_layer_that_covers_it() {
        let hd = [Some((320, 180)), Some((640, 360)), Some((1280, 720))];
        type Size = (u16, u16);
        let cases: [(&[Option<Size>], Size, u8); 12] = [
            (&hd, (0, 0), 255),
            (&hd, (160, 90), 0),
            (&hd, (320, 180), 0),
            (&hd, (330, 186), 0),
            (&hd, (350, 197), 1),
            (&hd, (180, 320), 0),
            (&hd, (1280, 720), 255),
            (&hd, (4_000, 3_000), 255),
            (&[None, None], (10, 10), 255),
            (&[Some((320, 180)), None], (10, 10), 0),
            (&[None, Some((320, 180))], (10, 10), 255),
            (&[], (10, 10), 255),
        ];
        for (sizes, (width, height), expected) in cases {
            let view = View {
                width,
                height,
                priority: 0,
            };
            assert_eq!(
                covering(sizes.iter().copied(), view),
                expected,
                "{sizes:?} {width}x{height}"
            );
        }
    }

    #[test]
    fn beginnings() {
        for (layer, max_spatial, paused, target, expected) in [
            (0, 2, false, Some(2), true),
            (2, 0, false, Some(0), false),
            (2, 0, false, Some(2), true),
            (0, 2, true, None, false),
        ] {
            let wanted = Wanted {
                paused,
                max_spatial,
                max_temporal: 255,
            };
            assert_eq!(may_begin_with(layer, wanted, target), expected);
        }
    }
}
