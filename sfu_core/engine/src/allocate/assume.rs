//! What is not known yet of a track's layers, from what is known of the others.

use super::value::pixels;
use super::{Layer, Source};

/// A picture without known size, and what it takes: 720p cameras are sent with about 2.5 Mb/s.
const CAMERA: (u16, u16) = (1280, 720);
const SCREEN: (u16, u16) = (1920, 1080);
const USUAL_RATE: f64 = 2_500_000.0;
const USUAL_PIXELS: f64 = 1280.0 * 720.0;
/// Four times the pixels take about 3.5 times the bits, as browsers' own tables of simulcast rates have it.
const RATE_EXPONENT: f64 = 0.9;
/// Share of the bits with one, two... temporal layers less, at half the frame rate each.
const TEMPORAL_SHARES: [f64; 4] = [1.0, 0.6, 0.4, 0.3];
const USUAL_FPS: f32 = 30.0;

/// Fills in sizes, frame rates and bit rates that are zero. `layers`: all of one track, in any order.
pub fn complete(layers: &mut [Layer], source: Source) {
    let top = layers.iter().map(|layer| layer.id.spatial).max().unwrap_or(0);
    let top_temporal = layers.iter().map(|layer| layer.id.temporal).max().unwrap_or(0);
    let sized = layers.iter().find(|layer| pixels(layer) > 0.0).copied();
    let timed = layers.iter().find(|layer| layer.frames_per_second > 0.0).copied();
    for layer in layers.iter_mut() {
        if pixels(layer) == 0.0 {
            let (from, size) = sized.map_or_else(
                || {
                    let usual = match source {
                        Source::Camera => CAMERA,
                        Source::Screen => SCREEN,
                    };
                    (top, usual)
                },
                |known| (known.id.spatial, (known.width, known.height)),
            );
            let scale = f64::from(i16::from(layer.id.spatial) - i16::from(from)).exp2();
            let scaled = |side: u16| (f64::from(side) * scale).clamp(1.0, 16_384.0) as u16;
            (layer.width, layer.height) = (scaled(size.0), scaled(size.1));
        }
        if layer.frames_per_second <= 0.0 || layer.frames_per_second.is_nan() {
            let (from, fps) = timed.map_or((top_temporal, USUAL_FPS), |known| {
                (known.id.temporal, known.frames_per_second)
            });
            let scale = f32::from(i16::from(layer.id.temporal) - i16::from(from)).exp2();
            layer.frames_per_second = (fps * scale).clamp(0.1, 240.0);
        }
    }
    // The sizes are there by now. The nearest layer that is measured says the most; one that was assumed before from
    // another says the same as that.
    let unit = |layer: &Layer| {
        let fewer = usize::from(top_temporal - layer.id.temporal).min(TEMPORAL_SHARES.len() - 1);
        f64::from(pixels(layer)).powf(RATE_EXPONENT) * TEMPORAL_SHARES[fewer]
    };
    for index in 0..layers.len() {
        let layer = layers[index];
        if layer.bits_per_second > 0 {
            continue;
        }
        let distance = |other: &&Layer| {
            let spatial = u16::from(layer.id.spatial.abs_diff(other.id.spatial));
            spatial * 256 + u16::from(layer.id.temporal.abs_diff(other.id.temporal))
        };
        let measured = layers.iter().filter(|other| other.bits_per_second > 0);
        let per_unit = match measured.min_by_key(distance) {
            Some(near) => near.bits_per_second as f64 / unit(near),
            None => USUAL_RATE / USUAL_PIXELS.powf(RATE_EXPONENT),
        };
        layers[index].bits_per_second = (per_unit * unit(&layer)).max(1.0) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::super::LayerId;
    use super::*;

    fn ladder(spatials: u8, temporals: u8) -> Vec<Layer> {
        let ids = (0..spatials).flat_map(|spatial| (0..temporals).map(move |temporal| LayerId { spatial, temporal }));
        ids.map(|id| Layer { id, ..Layer::default() }).collect()
    }

    #[test]
    fn a_track_of_which_nothing_is_known_is_the_usual_one() {
        let mut layers = ladder(3, 3);
        complete(&mut layers, Source::Camera);
        let of = |spatial: usize, temporal: usize| layers[spatial * 3 + temporal];
        assert_eq!((of(2, 2).width, of(2, 2).height), (1280, 720));
        assert_eq!((of(0, 0).width, of(0, 0).height), (320, 180));
        let fps: Vec<_> = (0..3).map(|temporal| of(1, temporal).frames_per_second).collect();
        assert_eq!(fps, [7.5, 15.0, 30.0]);
        let kilobits = |spatial, temporal| of(spatial, temporal).bits_per_second.div_ceil(1_000);
        assert_eq!((kilobits(2, 2), kilobits(1, 2), kilobits(0, 2)), (2_500, 718, 207));
        assert_eq!((kilobits(2, 1), kilobits(2, 0)), (1_500, 1_000));
        let mut screen = ladder(1, 1);
        complete(&mut screen, Source::Screen);
        assert_eq!((screen[0].width, screen[0].height), (1920, 1080));
    }

    #[test]
    fn what_is_known_scales_to_the_rest_and_stays() {
        let mut layers = ladder(2, 2);
        layers[1] = Layer {
            bits_per_second: 100_000,
            width: 320,
            height: 240,
            frames_per_second: 24.0,
            ..layers[1]
        };
        let known = layers[1];
        complete(&mut layers, Source::Camera);
        assert_eq!(layers[1], known);
        assert_eq!((layers[3].width, layers[3].height), (640, 480));
        assert_eq!((layers[0].frames_per_second, layers[3].frames_per_second), (12.0, 24.0));
        assert_eq!(layers[0].bits_per_second, 60_000);
        assert!((340_000..360_000).contains(&layers[3].bits_per_second));
    }

    #[test]
    fn nonsense_stays_within_bounds() {
        let mut layers = ladder(1, 1);
        layers[0].id = LayerId {
            spatial: 255,
            temporal: 255,
        };
        layers[0].frames_per_second = f32::NAN;
        layers.push(Layer {
            width: u16::MAX,
            height: u16::MAX,
            frames_per_second: f32::INFINITY,
            ..Layer::default()
        });
        complete(&mut layers, Source::Camera);
        for layer in &layers {
            assert!(layer.width > 0 && layer.height > 0 && layer.bits_per_second > 0);
            assert!(layer.frames_per_second > 0.0);
        }
        complete(&mut [], Source::Camera);
    }
}
