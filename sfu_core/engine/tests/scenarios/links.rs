//! Nodes joined by links: what is published on one is seen on the others.

mod broken;
mod hostile;
mod media;
mod tree;
mod voices;

use std::collections::HashSet;
use std::time::Duration;

use netem::{Change, LinkConfig, Loss};
use pysfu_engine::command::{AddLink, Command, MediaKind, Mirror};
use pysfu_engine::ids::{GroupId, LinkId, TrackId};
use pysfu_engine::stats::LinkRow;
use pysfu_engine::{Config, Event};

use crate::media::{Rtp, Source};
use crate::world::{Cable, MS, SOCKET, World, engine_address};

pub(crate) const OUT: u32 = 9_000;

/// Engines that are nodes of their own, and somebody with a camera on the first.
pub(crate) struct Nodes {
    pub(crate) world: World,
}

/// The id that engine `from` gives its link to `to`.
pub(crate) fn link(from: usize, to: usize) -> LinkId {
    LinkId(1_000 + from as u32 * 100 + to as u32)
}

pub(crate) fn keys(from: usize, to: usize, phase: u8) -> relay::Keys {
    relay::Keys {
        key: [from as u8, to as u8, phase, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        salt: [7; 12],
    }
}

pub(crate) fn way(delay: u64, loss: f64) -> LinkConfig {
    LinkConfig {
        delay: Duration::from_millis(delay),
        loss: Loss::independent(loss),
        ..LinkConfig::default()
    }
}

impl Nodes {
    pub(crate) fn new(count: u8, config: Config) -> Self {
        let mut world = World::with(count, config);
        world.tick = MS;
        Self { world }
    }

    /// Two nodes with a link between them.
    pub(crate) fn pair(delay: u64, loss: f64) -> Self {
        let mut nodes = Self::new(2, Config::default());
        nodes.join(0, 1, &way(delay, loss));
        nodes
    }

    /// A cable and a link.
    pub(crate) fn join(&mut self, one: usize, other: usize, way: &LinkConfig) {
        for (from, to) in [(one, other), (other, one)] {
            self.world.cables.push(Cable {
                from,
                to,
                way: netem::Link::new(way.clone(), (from * 100 + to) as u64),
            });
            self.world.command(
                from,
                Command::AddLink(AddLink {
                    link: link(from, to),
                    theirs: link(to, from).0,
                    send: keys(from, to, 0),
                    receive: keys(to, from, 0),
                    socket: SOCKET,
                    remote: Some(engine_address(to)),
                }),
            );
        }
    }

    /// `theirs` of node `there` as a track of node `here`.
    pub(crate) fn mirror(&mut self, here: usize, there: usize, theirs: TrackId, kind: MediaKind) -> TrackId {
        let track = TrackId(self.world.id());
        self.mirror_as(track, here, there, theirs, kind, None);
        track
    }

    pub(crate) fn mirror_as(
        &mut self,
        track: TrackId,
        here: usize,
        there: usize,
        theirs: TrackId,
        kind: MediaKind,
        group: Option<GroupId>,
    ) {
        let mirror = Mirror {
            track,
            link: link(here, there),
            theirs,
            kind,
            group,
        };
        self.world.command(here, Command::Mirror(mirror));
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize, loss: f64) {
        let at = self.world.now - self.world.start;
        for cable in &mut self.world.cables {
            if (cable.from, cable.to) == (from, to) {
                cable.way.set(at, Change::Loss(Loss::independent(loss)));
            }
        }
    }

    pub(crate) fn cut_both(&mut self, one: usize, other: usize, loss: f64) {
        self.cut(one, other, loss);
        self.cut(other, one, loss);
    }

    pub(crate) fn row(&self, from: usize, to: usize) -> LinkRow {
        let stats = self.world.stats(from);
        let row = stats.links.iter().find(|row| row.link == u64::from(link(from, to).0));
        *row.unwrap()
    }

    pub(crate) fn was_told(&self, event: &Event) -> bool {
        self.world.events.contains(event)
    }

    /// A frame of each layer every 33 ms; whoever films answers requests for keyframes.
    pub(crate) fn film(&mut self, camera: &mut Camera, frames: usize) {
        for _ in 0..frames {
            let asked = self.world.people[camera.who].keyframe_requests();
            camera.asked += asked.len();
            self.world.people[camera.who].rtcp.clear();
            for source in &mut camera.layers {
                let first = source.sent.is_empty();
                for packet in source.frame(first || asked.contains(&source.ssrc), 2) {
                    self.world.send(camera.who, packet);
                }
            }
            self.world.run_for(33 * MS);
        }
    }
}

/// Somebody who sends two layers.
pub(crate) struct Camera {
    pub(crate) who: usize,
    pub(crate) track: TrackId,
    pub(crate) layers: [Source; 2],
    /// Times that a keyframe was asked for.
    pub(crate) asked: usize,
}

impl Camera {
    pub(crate) fn new(nodes: &mut Nodes, node: usize) -> Self {
        let who = nodes.world.join(node);
        let track = nodes.world.publish_video(who, "0", &["q", "h"]);
        let layers = [
            Source::video(1_000, "0", Some("q"), (320, 180)),
            Source::video(1_001, "0", Some("h"), (640, 360)),
        ];
        Self {
            who,
            track,
            layers,
            asked: 0,
        }
    }

    /// How many of the last packets of the best layer did not come.
    pub(crate) fn missing(&self, received: &[Rtp], last: usize) -> usize {
        let received: HashSet<_> = received.iter().map(Rtp::tag).collect();
        let sent = &self.layers[1].sent;
        let wanted = &sent[sent.len() - last..];
        wanted.iter().filter(|sent| !received.contains(sent.tag())).count()
    }
}

/// Their numbers follow each other, whatever the order in which they came.
pub(crate) fn assert_continuous(packets: &[Rtp]) {
    let mut numbers: Vec<u64> = Vec::new();
    for packet in packets {
        let last = numbers.last().copied().unwrap_or(1 << 20 | u64::from(packet.seq));
        numbers.push(wire::seq::extend(last, packet.seq));
    }
    numbers.sort_unstable();
    let gaps: Vec<_> = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
    assert!(gaps.is_empty(), "{gaps:?}");
}
