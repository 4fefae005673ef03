//! Several cameras in front of one subscriber, whose path changes; publishers that send what they are told is wanted.

use std::time::Duration;

use netem::{Capacity, LinkConfig, Queue, Script};
use pysfu_engine::Event;
use pysfu_engine::command::{Command, Description, MediaKind, Source as Shown, View, Wanted};
use pysfu_engine::ids::{SubscriptionId, TrackId};

use crate::media::Source;
use crate::path::{Frames, Path};
use crate::world::{MS, WANT_ALL, World};

/// Packets per frame and octets of payload: about 150 kb/s, 500 kb/s and 1.7 Mb/s at 30 frames per second.
const LAYERS: [(&str, (u16, u16), usize, usize); 3] = [
    ("q", (320, 180), 1, 560),
    ("h", (640, 360), 2, 1_000),
    ("f", (1_280, 720), 6, 1_150),
];
/// A keyframe is so many times as large as another frame.
const KEYFRAME: usize = 5;
/// From an event of the engine to what the publisher sends: signaling and encoder.
const OBEYS: u64 = 150;

pub(crate) struct Camera {
    pub(crate) who: usize,
    pub(crate) track: TrackId,
    pub(crate) subscription: SubscriptionId,
    sources: Vec<Source>,
    /// Layers that it sends, and from which millisecond on it sends others.
    sends: [bool; 3],
    told: Option<(u64, [bool; 3])>,
    /// It heeds what is wanted.
    pub(crate) obeys: bool,
    /// Layers that have failed.
    pub(crate) broken: [bool; 3],
    fresh: [bool; 3],
    /// Keyframe requests that came, by layer.
    pub(crate) requests: [usize; 3],
    /// Layer forwarded, at the end of each 20 ms.
    pub(crate) history: Vec<Option<u8>>,
}

pub(crate) struct Meeting {
    pub(crate) world: World,
    pub(crate) bob: usize,
    pub(crate) cameras: Vec<Camera>,
    pub(crate) frames: Frames,
    pub(crate) ticks: u64,
    seen: usize,
}

pub(crate) fn link(bits_per_second: u64) -> LinkConfig {
    LinkConfig {
        capacity: Capacity::kbps(bits_per_second / 1_000),
        delay: 25 * MS,
        queue: Queue::Time(300 * MS),
        ..LinkConfig::default()
    }
}

pub(crate) fn view(width: u16, height: u16) -> View {
    View {
        width,
        height,
        priority: 0,
    }
}

impl Meeting {
    /// With so many cameras, the first of which shows a screen where that is said.
    pub(crate) fn new(cameras: usize, screen: bool, config: LinkConfig, script: Script) -> Self {
        let mut world = World::new();
        world.tick = MS;
        let bob = world.join(0);
        let path = Path::new(world.now, config, script, 1);
        let frames = path.frames();
        let mut meeting = Self {
            world,
            bob,
            cameras: Vec::new(),
            frames,
            ticks: 0,
            seen: 0,
        };
        for index in 0..cameras {
            let shown = if screen && index == 0 {
                Shown::Screen
            } else {
                Shown::Camera
            };
            meeting.add(index, shown);
        }
        meeting.world.people[bob].path = Some(Box::new(path));
        meeting
    }

    fn add(&mut self, index: usize, shown: Shown) {
        let world = &mut self.world;
        let who = world.join(0);
        let track = world.publish_video(who, "0", &["q", "h", "f"]);
        let peer = world.people[who].peer;
        let description = Description {
            source: shown,
            sizes: LAYERS.iter().map(|(_, size, ..)| *size).collect(),
        };
        world.command(
            0,
            Command::Describe {
                peer,
                track,
                description,
            },
        );
        let ssrc = 9_000 + index as u32 * 10;
        let subscription = world.subscribe(self.bob, track, 0, MediaKind::Video, ssrc);
        let layers = (0u32..).zip(LAYERS);
        let sources = layers.map(|(layer, (rid, size, ..))| Source::video(1_000 + layer, "0", Some(rid), size));
        self.cameras.push(Camera {
            who,
            track,
            subscription,
            sources: sources.collect(),
            sends: [true; 3],
            told: None,
            obeys: true,
            broken: [false; 3],
            fresh: [true; 3],
            requests: [0; 3],
            history: Vec::new(),
        });
    }

    pub(crate) fn show(&mut self, camera: usize, view: View) {
        let peer = self.world.people[self.bob].peer;
        let subscription = self.cameras[camera].subscription;
        self.world.command(
            0,
            Command::SetView {
                peer,
                subscription,
                view,
            },
        );
    }

    pub(crate) fn want(&mut self, camera: usize, paused: bool) {
        let peer = self.world.people[self.bob].peer;
        let subscription = self.cameras[camera].subscription;
        let wanted = Wanted { paused, ..WANT_ALL };
        self.world.command(
            0,
            Command::SetWanted {
                peer,
                subscription,
                wanted,
            },
        );
    }

    pub(crate) fn speak(&mut self, camera: usize, rank: Option<u8>) {
        let Camera { who, track, .. } = self.cameras[camera];
        let peer = self.world.people[who].peer;
        self.world.command(0, Command::SetSpeaker { peer, track, rank });
    }

    pub(crate) fn run(&mut self, time: Duration) {
        for _ in 0..time.as_millis() {
            let tick = self.ticks;
            self.ticks += 1;
            // 33 ms, 33 ms, 34 ms; not all cameras at once.
            for camera in 0..self.cameras.len() {
                if matches!((tick + 7 * camera as u64) % 100, 0 | 33 | 66) {
                    self.send_frames(camera);
                }
            }
            self.world.step();
            self.obey();
            if tick % 20 == 19 {
                for camera in 0..self.cameras.len() {
                    let layer = self.forwarded(camera);
                    self.cameras[camera].history.push(layer);
                }
            }
        }
    }

    fn send_frames(&mut self, camera: usize) {
        let camera = &mut self.cameras[camera];
        let asked = self.world.people[camera.who].keyframe_requests();
        self.world.people[camera.who].rtcp.clear();
        for (index, (_, _, packets, size)) in LAYERS.into_iter().enumerate() {
            let source = &mut camera.sources[index];
            let count = asked.iter().filter(|&&ssrc| ssrc == source.ssrc).count();
            camera.requests[index] += count;
            if !camera.sends[index] || camera.broken[index] {
                // Time goes on where nothing is sent.
                source.timestamp = source.timestamp.wrapping_add(3_000);
                continue;
            }
            let keyframe = std::mem::take(&mut camera.fresh[index]) || count > 0;
            let mut frame = source.frame(keyframe, if keyframe { packets * KEYFRAME } else { packets });
            source.sent.clear();
            for packet in &mut frame {
                packet.payload.resize(size, 0);
            }
            for packet in frame {
                self.world.send(camera.who, packet);
            }
        }
    }

    /// Publishers switch layers as they are told, a little later.
    fn obey(&mut self) {
        for event in &self.world.events[self.seen..] {
            let Event::LayersWanted { track, highest } = event else {
                continue;
            };
            let sends = [0, 1, 2].map(|layer| highest.is_some_and(|(spatial, _)| layer <= spatial));
            for camera in self
                .cameras
                .iter_mut()
                .filter(|camera| camera.track == *track && camera.obeys)
            {
                camera.told = Some((self.ticks + OBEYS, sends));
            }
        }
        self.seen = self.world.events.len();
        for camera in &mut self.cameras {
            if let Some((_, sends)) = camera.told.filter(|&(at, _)| at <= self.ticks) {
                for ((fresh, now), before) in camera.fresh.iter_mut().zip(sends).zip(camera.sends) {
                    // A layer begins with a keyframe.
                    *fresh |= now && !before;
                }
                (camera.sends, camera.told) = (sends, None);
            }
        }
    }

    pub(crate) fn sends(&self, camera: usize) -> [bool; 3] {
        self.cameras[camera].sends
    }

    pub(crate) fn forwarded(&self, camera: usize) -> Option<u8> {
        let wanted = self.cameras[camera].subscription;
        let mut layers = self.world.events.iter().rev().filter_map(|event| match event {
            Event::LayerForwarded { subscription, layer } if *subscription == wanted => Some(*layer),
            _ => None,
        });
        layers.next().flatten()
    }

    /// Layers of a camera between two moments, seconds.
    pub(crate) fn layers(&self, camera: usize, from: f64, to: f64) -> &[Option<u8>] {
        &self.cameras[camera].history[(from * 50.0) as usize..(to * 50.0) as usize]
    }

    /// How often each camera was on each layer (the first count is for none).
    pub(crate) fn told(&self, from: f64, to: f64) -> Vec<[usize; 4]> {
        let count = |camera: usize| {
            let mut counts = [0; 4];
            for layer in self.layers(camera, from, to) {
                counts[layer.map_or(0, |layer| usize::from(layer) + 1)] += 1;
            }
            counts
        };
        (0..self.cameras.len()).map(count).collect()
    }

    /// Bits per second that reached the subscriber's link between now and `time` from now.
    pub(crate) fn sent_over(&mut self, time: Duration) -> f64 {
        let sent = |meeting: &Self| {
            let peer = meeting.world.people[meeting.bob].peer.0;
            let stats = meeting.world.stats(0);
            let rows = stats.peers.iter().find(|row| row.peer == peer);
            rows.map_or(0, |row| row.bytes_out + row.datagrams_out * 28)
        };
        let before = sent(self);
        self.run(time);
        (sent(self) - before) as f64 * 8.0 / time.as_secs_f64()
    }
}
