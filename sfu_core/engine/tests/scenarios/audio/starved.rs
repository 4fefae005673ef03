//! A path that is too thin for everything: audio goes first.

use std::time::Duration;

use netem::{Capacity, LinkConfig, Queue, Script};
use pysfu_engine::command::MediaKind;

use super::{Call, LOUD, in_room, speech};
use crate::media::Source;
use crate::path::Path;
use crate::world::MS;

const VIDEO: u32 = 19_000;
/// Octets of a frame of Opus: 16 kb/s.
const FRAME: usize = 40;

/// 100 kb/s, one who talks and two who are silent with DTX, and a video of 400 kb/s that does not fit: nothing of the voice is lost, and
/// it waits for no video. What waits, does so behind the probes that look for room for the video: 3 kB every 4 s are 250 ms here.
#[test]
fn video_never_starves_audio() {
    for seed in 0..3 {
        let mut call = Call::new(1, 6);
        for _ in 0..3 {
            call.join(0, in_room());
        }
        let (alice, bob) = (call.microphones[0].who, call.world.join(0));
        let video = call.world.publish_video(alice, "1", &[]);
        let link = LinkConfig {
            capacity: Capacity::kbps(100),
            delay: 40 * MS,
            queue: Queue::Time(300 * MS),
            ..LinkConfig::default()
        };
        let path = Path::new(call.world.now, link, Script::default(), seed).telling_all();
        call.world.people[bob].path = Some(Box::new(path));
        let voices: Vec<u32> = (0..3).map(|index| call.subscribe(bob, index, true)).collect();
        call.world.subscribe(bob, video, 0, MediaKind::Video, VIDEO);
        let mut camera = Source::video(1_100, "1", None, (640, 360));
        for tick in 0..60_000_u64 {
            if tick % 33 == 0 {
                let asked = call.world.people[alice].keyframe_requests().contains(&camera.ssrc);
                call.world.people[alice].rtcp.clear();
                for mut packet in camera.frame(asked || tick == 0, if asked { 6 } else { 2 }) {
                    packet.payload.resize(800, 0);
                    call.world.send(alice, packet);
                }
                camera.sent.clear();
            }
            for index in 0..3 {
                if tick % if index > 0 { 400 } else { 20 } == index as u64 * 5 {
                    let microphone = &mut call.microphones[index];
                    let mut packet = speech(&mut microphone.source, LOUD);
                    packet.payload.truncate(if index > 0 { 1 } else { FRAME });
                    if index > 0 {
                        microphone.source.timestamp = microphone.source.timestamp.wrapping_add(19 * 960);
                    }
                    let who = microphone.who;
                    call.world.send(who, packet);
                }
            }
            call.step();
        }
        let listener = call.listener(bob, voices[0]);
        // After the first seconds, in which the path is found out.
        let from = Duration::from_secs(10);
        let (lost, waits) = (listener.lost(from), listener.waits(from));
        let (median, p95) = (waits[waits.len() / 2], waits[waits.len() * 95 / 100]);
        println!(
            "seed {seed}: lost {:.2} %, wait {median:?}, p95 {p95:?}, longest {:?}",
            100.0 * lost,
            waits[waits.len() - 1]
        );
        assert!(
            lost < 0.001 && median <= 20 * MS && p95 <= 200 * MS,
            "{lost} {median:?} {p95:?}"
        );
    }
}
