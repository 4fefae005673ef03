//! Microphones of rooms that span nodes.

use pysfu_engine::Config;
use pysfu_engine::command::{Codec, Command, MediaKind, Publish, PublishedCodec, Sound};
use pysfu_engine::ids::{GroupId, Mid, PayloadType, TrackId};

use super::{Nodes, OUT, assert_continuous, way};
use crate::media::{OPUS, Source};
use crate::world::MS;

const ROOM: GroupId = GroupId(5);
const QUIET: u8 = 90;
const LOUD: u8 = 20;

struct Microphone {
    who: usize,
    track: TrackId,
    source: Source,
    level: u8,
}

impl Microphone {
    fn new(nodes: &mut Nodes, node: usize, ssrc: u32) -> Self {
        let who = nodes.world.join(node);
        let track = TrackId(nodes.world.id());
        let publish = Publish {
            track,
            peer: nodes.world.people[who].peer,
            kind: MediaKind::Audio,
            mid: Mid::from("0").unwrap(),
            codecs: vec![PublishedCodec {
                payload_type: PayloadType(OPUS),
                rtx_payload_type: None,
                codec: Codec::Opus,
                clock_rate: 48_000,
                nack: false,
                pli: false,
            }],
            rids: Vec::new(),
            ssrcs: Vec::new(),
            sound: Sound {
                group: Some(ROOM),
                encrypted: false,
            },
            fec: Default::default(),
        };
        nodes.world.command(node, Command::Publish(publish));
        Self {
            who,
            track,
            source: Source::audio(ssrc, "0"),
            level: QUIET,
        }
    }
}

fn speak(nodes: &mut Nodes, microphones: &mut [Microphone], packets: usize) {
    for _ in 0..packets {
        for microphone in &mut *microphones {
            let packet = microphone.source.speak(microphone.level);
            nodes.world.send(microphone.who, packet);
        }
        nodes.world.run_for(20 * MS);
    }
}

/// A node sends only those that are among its loudest, and each node chooses among its own and those.
#[test]
fn the_loudest_of_all_nodes_are_heard() {
    let config = Config {
        loudest: 2,
        ..Config::default()
    };
    let mut nodes = Nodes::new(2, config);
    nodes.join(0, 1, &way(30, 0.0));
    let mut microphones: Vec<_> = (0..6)
        .map(|index| Microphone::new(&mut nodes, if index < 4 { 0 } else { 1 }, 500 + index))
        .collect();
    let listener = nodes.world.join(1);
    for (index, ssrc) in (0..6).zip((OUT..).step_by(10)) {
        let mut track = microphones[index].track;
        if index < 4 {
            let here = TrackId(nodes.world.id());
            nodes.mirror_as(here, 1, 0, track, MediaKind::Audio, Some(ROOM));
            track = here;
        }
        nodes.world.subscribe(listener, track, 1, MediaKind::Audio, ssrc);
    }
    speak(&mut nodes, &mut microphones, 50);
    let heard = |nodes: &mut Nodes, microphones: &mut [Microphone], loud: [usize; 2]| {
        for (index, microphone) in microphones.iter_mut().enumerate() {
            microphone.level = if loud.contains(&index) { LOUD } else { QUIET };
        }
        speak(nodes, microphones, 200);
        let (crossed, before) = (nodes.row(0, 1).media_sent, nodes.world.people[listener].rtp.len());
        speak(nodes, microphones, 50);
        let counts: Vec<usize> = (0..6)
            .map(|index| {
                let rtp = &nodes.world.people[listener].rtp[before..];
                rtp.iter().filter(|packet| packet.ssrc == OUT + 10 * index).count()
            })
            .collect();
        (nodes.row(0, 1).media_sent - crossed, counts)
    };
    let (crossed, counts) = heard(&mut nodes, &mut microphones, [0, 3]);
    assert_eq!(crossed, 100, "two of four cross");
    assert!(
        counts[0] >= 48 && counts[3] >= 48 && counts.iter().sum::<usize>() <= 100,
        "{counts:?}"
    );
    let (crossed, counts) = heard(&mut nodes, &mut microphones, [1, 5]);
    assert_eq!(crossed, 100);
    assert!(
        counts[1] >= 48 && counts[5] >= 48 && counts.iter().sum::<usize>() <= 100,
        "{counts:?}"
    );
    for ssrc in (OUT..).step_by(10).take(6) {
        let rtp = nodes.world.people[listener].rtp.iter();
        let of: Vec<_> = rtp.filter(|packet| packet.ssrc == ssrc).cloned().collect();
        assert_continuous(&of);
    }
}

#[test]
fn a_voice_over_a_lossy_link_is_whole() {
    let mut nodes = Nodes::pair(50, 0.03);
    let mut microphones = [Microphone::new(&mut nodes, 0, 500)];
    microphones[0].level = LOUD;
    let listener = nodes.world.join(1);
    let here = nodes.mirror(1, 0, microphones[0].track, MediaKind::Audio);
    nodes.world.subscribe(listener, here, 1, MediaKind::Audio, OUT);
    speak(&mut nodes, &mut microphones, 500);
    nodes.world.run_for(500 * MS);
    let rtp = &nodes.world.people[listener].rtp;
    assert_continuous(rtp);
    assert!(rtp.len() >= 480, "{}", rtp.len());
    assert!(nodes.row(1, 0).repaired > 0);
}
