//! What publishers send.

use pysfu_engine::command::Codec;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Opus,
    Vp8,
    H264,
    /// K-SVC, as Chromium sends it by default.
    Vp9,
    /// Told by dependency descriptors.
    Av1,
}

impl Format {
    pub(crate) fn codec(self) -> Codec {
        match self {
            Self::Opus => Codec::Opus,
            Self::Vp8 => Codec::Vp8,
            Self::H264 => Codec::H264,
            Self::Vp9 => Codec::Vp9,
            Self::Av1 => Codec::Av1,
        }
    }

    /// That of retransmissions is the next one.
    pub(crate) fn payload_type(self) -> u8 {
        match self {
            Self::Opus => 111,
            Self::Vp8 => 96,
            Self::Vp9 => 98,
            Self::H264 => 102,
            Self::Av1 => 45,
        }
    }

    pub(crate) fn clock_rate(self) -> u32 {
        if self == Self::Opus { 48_000 } else { 90_000 }
    }

    /// All layers in one stream.
    pub(crate) fn scalable(self) -> bool {
        matches!(self, Self::Vp9 | Self::Av1)
    }
}

/// A spatial layer; bits per second of its own frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer {
    pub(crate) size: (u16, u16),
    pub(crate) rate: f64,
}

#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) format: Format,
    /// From the lowest to the highest.
    pub(crate) layers: Vec<Layer>,
    /// Temporal layers of each.
    pub(crate) temporal: u8,
}

pub(crate) const FPS: u64 = 30;
/// Microseconds.
pub(crate) const FRAME: u64 = 1_000_000 / FPS;
/// Of audio.
pub(crate) const PTIME: u64 = 20_000;
pub(crate) const RIDS: [&str; 3] = ["q", "h", "f"];

const fn layer(size: (u16, u16), rate: f64) -> Layer {
    Layer { size, rate }
}

/// What browsers send of a camera at 720p.
const CAMERA: [Layer; 3] = [
    layer((320, 180), 150e3),
    layer((640, 360), 500e3),
    layer((1_280, 720), 1_700e3),
];

impl Spec {
    /// A camera at 720p: simulcast, or layers in one stream.
    pub(crate) fn camera(format: Format) -> Self {
        Self {
            format,
            layers: CAMERA.to_vec(),
            temporal: if format == Format::H264 { 1 } else { 3 },
        }
    }

    /// One of many in a gallery: a quarter of the rates.
    pub(crate) fn tile() -> Self {
        let mut spec = Self::camera(Format::Vp8);
        for layer in &mut spec.layers {
            layer.rate *= 0.27;
        }
        spec
    }

    /// One stream at 720p without layers.
    pub(crate) fn single(rate: f64) -> Self {
        Self {
            format: Format::Vp8,
            layers: vec![layer((1_280, 720), rate)],
            temporal: 1,
        }
    }

    pub(crate) fn microphone() -> Self {
        Self {
            format: Format::Opus,
            layers: vec![layer((0, 0), 32e3)],
            temporal: 1,
        }
    }

    /// Bits per second of what a receiver of these layers gets.
    pub(crate) fn rate(&self, spatial: u8, temporal: u8) -> f64 {
        let share = share_up_to(self.temporal, temporal);
        let top = usize::from(spatial);
        let all = match self.format {
            // Upper layers refer to lower ones.
            Format::Av1 => self.layers[..=top].iter().map(|layer| layer.rate).sum(),
            _ => self.layers[top].rate,
        };
        all * share
    }
}

/// Temporal layer of a frame by its position after a keyframe.
pub(crate) fn temporal_of(layers: u8, position: u32) -> u8 {
    match layers {
        1 => 0,
        2 => [0, 1][position as usize % 2],
        _ => [0, 2, 1, 2][position as usize % 4],
    }
}

/// What the bits of a temporal layer are of all.
fn share(layers: u8, temporal: u8) -> f64 {
    match layers {
        1 => 1.0,
        2 => [0.6, 0.4][usize::from(temporal)],
        _ => [0.4, 0.2, 0.4][usize::from(temporal)],
    }
}

fn share_up_to(layers: u8, temporal: u8) -> f64 {
    (0..=temporal.min(layers - 1)).map(|layer| share(layers, layer)).sum()
}

/// Size of a frame of a temporal layer against the mean.
pub(crate) fn weight(layers: u8, temporal: u8) -> f64 {
    let frames = match layers {
        1 => 1.0,
        2 => 0.5,
        _ => [0.25, 0.25, 0.5][usize::from(temporal)],
    };
    share(layers, temporal) / frames
}
