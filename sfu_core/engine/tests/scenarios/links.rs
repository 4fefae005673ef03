//! Two nodes joined by a link: what is published on one is seen on the other.

use std::time::Duration;

use netem::{LinkConfig, Loss};
use pysfu_engine::Config;
use pysfu_engine::command::{AddLink, Command, MediaKind, Mirror};
use pysfu_engine::ids::{LinkId, TrackId};

use crate::media::Source;
use crate::world::{Cable, MS, SOCKET, World, engine_address};

const OUT: u32 = 9_000;

/// Engines 0 and 1 are nodes of their own.
fn nodes(delay: Duration, loss: f64) -> World {
    let mut world = World::with(2, Config::default());
    world.tick = MS;
    for (from, to) in [(0, 1), (1, 0)] {
        let config = LinkConfig {
            delay,
            loss: Loss::independent(loss),
            ..LinkConfig::default()
        };
        world.cables.push(Cable {
            from,
            to,
            way: netem::Link::new(config, from as u64),
        });
        let keys = |end: usize| relay::Keys {
            key: [end as u8; 16],
            salt: [7; 12],
        };
        world.command(
            from,
            Command::AddLink(AddLink {
                link: LinkId(100 + from as u32),
                theirs: 100 + to as u32,
                send: keys(from),
                receive: keys(to),
                socket: SOCKET,
                remote: Some(engine_address(to)),
            }),
        );
    }
    world
}

fn mirror(world: &mut World, theirs: TrackId, kind: MediaKind) -> TrackId {
    let track = TrackId(world.id());
    let mirror = Mirror {
        track,
        link: LinkId(101),
        theirs,
        kind,
        group: None,
    };
    world.command(1, Command::Mirror(mirror));
    track
}

fn layers() -> [Source; 2] {
    [
        Source::video(1_000, "0", Some("q"), (320, 180)),
        Source::video(1_001, "0", Some("h"), (640, 360)),
    ]
}

/// A frame of each layer every 33 ms.
fn film(world: &mut World, who: usize, sources: &mut [Source], frames: usize) {
    for _ in 0..frames {
        let asked = !world.people[who].keyframe_requests().is_empty();
        world.people[who].rtcp.clear();
        for source in &mut *sources {
            let first = source.sent.is_empty();
            for packet in source.frame(first || asked, 2) {
                world.send(who, packet);
            }
        }
        world.run_for(33 * MS);
    }
}

#[test]
fn media_cross_a_link_and_nothing_is_lost() {
    for (delay, loss) in [(0, 0.0), (50, 0.0), (50, 0.03)] {
        let mut world = nodes(Duration::from_millis(delay), loss);
        let (alice, bob) = (world.join(0), world.join(1));
        let track = world.publish_video(alice, "0", &["q", "h"]);
        let mut sources = layers();
        film(&mut world, alice, &mut sources, 30);
        let here = mirror(&mut world, track, MediaKind::Video);
        world.run_for(300 * MS);
        world.subscribe(bob, here, 1, MediaKind::Video, OUT);
        // Messages that are lost are repeated.
        let losses = if loss > 0.0 { 6 } else { 0 };
        world.run_for((2 + losses) * Duration::from_millis(delay) + 40 * MS);
        let begun = world.people[bob].rtp.len();
        assert!(begun > 0, "begins with what the home keeps");
        assert_eq!(world.people[bob].rtp[0].payload[4] & 1, 0, "a keyframe");
        film(&mut world, alice, &mut sources, 150);
        world.run_for(500 * MS);
        let received: std::collections::HashSet<_> = world.people[bob]
            .rtp
            .iter()
            .map(|packet| packet.tag().to_vec())
            .collect();
        let last = &sources[1].sent;
        let missing = last[last.len() - 300..]
            .iter()
            .filter(|sent| !received.contains(sent.tag()))
            .count();
        assert_eq!(missing, 0, "{delay} ms, {loss}: of the best layer");
    }
}
