//! Media as publishers make it: model encoders and the RTP streams that carry what they make.

pub(crate) mod h264;
pub(crate) mod publisher;
pub(crate) mod rate;
pub(crate) mod scalable;
pub(crate) mod simulcast;
pub(crate) mod spec;
pub(crate) mod stream;

use std::collections::HashMap;

use pysfu_engine::command::MediaKind;
use pysfu_engine::ids::TrackId;

use spec::Spec;

/// Octets at the end of each payload that say which frame it is of: receivers here judge by what encoders really
/// did, whatever the headers say.
pub(crate) const TAG: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) frame: u32,
    pub(crate) index: u16,
    /// Packets of the frame.
    pub(crate) count: u16,
}

impl Tag {
    pub(crate) fn write(self, payload: &mut Vec<u8>) {
        payload.extend(self.frame.to_be_bytes());
        payload.extend(self.index.to_be_bytes());
        payload.extend(self.count.to_be_bytes());
    }

    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let [f0, f1, f2, f3, i0, i1, c0, c1] = *payload.last_chunk::<TAG>()?;
        Some(Self {
            frame: u32::from_be_bytes([f0, f1, f2, f3]),
            index: u16::from_be_bytes([i0, i1]),
            count: u16::from_be_bytes([c0, c1]),
        })
    }
}

/// A frame of one layer.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) picture: u32,
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    pub(crate) references: Vec<u32>,
    /// Microseconds.
    pub(crate) captured: u64,
}

/// What is published, as everyone in the simulation knows it.
pub(crate) struct Track {
    pub(crate) id: TrackId,
    pub(crate) kind: MediaKind,
    pub(crate) spec: Spec,
    pub(crate) frames: HashMap<u32, Frame>,
    /// When keyframes were made, microseconds, and of which spatial layer.
    pub(crate) keyframes: Vec<(u64, u8)>,
}
