//! A camera in three simulcast layers, and the paths that these are measured against.

use std::time::Duration;

use netem::{Capacity, LinkConfig, Queue};

use crate::media::Source;
use crate::world::{MS, World};

/// Packets per frame and octets of payload: about 150 kb/s, 500 kb/s and 1.7 Mb/s at 30 frames per second.
const LAYERS: [(&str, (u16, u16), usize, usize); 3] = [
    ("q", (320, 180), 1, 560),
    ("h", (640, 360), 2, 1_000),
    ("f", (1_280, 720), 6, 1_150),
];
/// A keyframe is so many times as large as another frame.
const KEYFRAME: usize = 5;

pub(crate) struct Camera {
    layers: Vec<Source>,
    has_begun: bool,
}

impl Camera {
    pub(crate) const RIDS: [&str; 3] = ["q", "h", "f"];

    pub(crate) fn new(mid: &'static str) -> Self {
        let layers = LAYERS.iter().enumerate();
        let layers = layers.map(|(index, (rid, size, ..))| Source::video(1_000 + index as u32, mid, Some(rid), *size));
        Self {
            layers: layers.collect(),
            has_begun: false,
        }
    }

    /// A frame of each layer; keyframes of those that they are asked for of, and of all at first.
    pub(crate) fn send(&mut self, world: &mut World, who: usize) {
        let asked = world.people[who].keyframe_requests();
        world.people[who].rtcp.clear();
        for (source, (_, _, packets, size)) in self.layers.iter_mut().zip(LAYERS) {
            let keyframe = !self.has_begun || asked.contains(&source.ssrc);
            let count = if keyframe { packets * KEYFRAME } else { packets };
            let mut frame = source.frame(keyframe, count);
            source.sent.clear();
            for packet in &mut frame {
                packet.payload.resize(size, 0);
            }
            for packet in frame {
                world.send(who, packet);
            }
        }
        self.has_begun = true;
    }
}

/// Whether a frame is due in this millisecond: after 33 ms, 33 ms, 34 ms.
pub(crate) fn is_due(tick: u64) -> bool {
    matches!(tick % 100, 0 | 33 | 66)
}

pub(crate) fn seconds(time: f64) -> Duration {
    Duration::from_secs_f64(time)
}

pub(crate) fn link(bits_per_second: u64, delay: Duration) -> LinkConfig {
    LinkConfig {
        capacity: Capacity::kbps(bits_per_second / 1_000),
        delay,
        queue: Queue::Time(300 * MS),
        ..LinkConfig::default()
    }
}
