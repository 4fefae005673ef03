//! Forwarding a packet allocates nothing: counted by the allocator itself.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing helper is a failing test")]

#[allow(dead_code, reason = "shared with the scenarios")]
#[path = "transport/client.rs"]
mod client;
mod counting;
#[allow(dead_code, reason = "shared with the scenarios")]
#[path = "scenarios/media.rs"]
mod media;
#[allow(dead_code, reason = "shared with the scenarios")]
#[path = "transport/stun.rs"]
mod stun;
#[allow(dead_code, reason = "shared with the scenarios")]
#[path = "scenarios/world.rs"]
mod world;

use std::time::Duration;

use pysfu_engine::Config;
use pysfu_engine::command::{AddLink, Command, Keys, MediaKind, Mirror};
use pysfu_engine::ids::{LinkId, TrackId, WorkerId};
use wire::rtcp::report::{self, ReportBlock};
use wire::rtcp::{nack, twcc};

use counting::allocations;
use media::{Source, TRANSPORT_CC};
use world::{Cable, MS, Person, SOCKET, World, engine_address};

/// A prepared datagram of a client, and the time since the one before.
struct Arrival {
    who: usize,
    after: Duration,
    datagram: Vec<u8>,
}

/// Takes datagrams in, flushing and ticking as a worker does. Returns allocations and datagrams out.
fn run(world: &mut World, arrivals: &mut [Arrival]) -> (u64, u64) {
    let mut sent = 0;
    let counted = allocations(|| {
        for arrival in arrivals {
            let Person { worker, address, .. } = world.people[arrival.who];
            world.now += arrival.after;
            world.engines[worker].handle_datagram(world.now, SOCKET, address, &mut arrival.datagram);
            for worker in 0..world.engines.len() {
                if world.engines[worker].next_timeout().is_some_and(|at| at <= world.now) {
                    world.engines[worker].handle_timeout(world.now);
                }
                while let Some((to, crossing)) = world.engines[worker].poll_crossing() {
                    world.engines[usize::from(to.0)].handle_crossing(world.now, WorkerId(worker as u8), crossing);
                }
            }
            for engine in &mut world.engines {
                world.arena.clear();
                assert!(!engine.poll_transmit(world.now, &mut world.arena));
                sent += world.arena.volume().0;
                while engine.poll_event().is_some() {}
            }
        }
    });
    (counted, sent)
}

fn assert_none_dropped(world: &World) {
    for worker in 0..world.engines.len() {
        let row = world.stats(worker).workers[0];
        let dropped = (
            row.dropped_pool_exhausted,
            row.dropped_srtp_auth,
            row.dropped_malformed,
            row.dropped_no_route,
        );
        assert_eq!(dropped, (0, 0, 0, 0), "worker {worker}");
    }
}

#[test]
fn forwarding_allocates_nothing() {
    let mut world = World::with(2, Config::default());
    let alice = world.join(0);
    let track = world.publish_video(alice, "0", &["q", "h"]);
    for index in 0..10 {
        let who = world.join(index % 2);
        world.subscribe(who, track, 0, MediaKind::Video, 9_000 + index as u32 * 10);
    }
    world.run_for(10 * MS);
    let mut sources = [
        Source::video(1_000, "0", Some("q"), (320, 180)),
        Source::video(1_001, "0", Some("h"), (640, 360)),
    ];
    let mut arrivals = Vec::new();
    for frame in 0..400 {
        for source in &mut sources {
            for mut packet in source.frame(frame % 50 == 0, 10) {
                packet.payload.resize(1_000, 7);
                let datagram = world.protect(alice, packet);
                arrivals.push(Arrival {
                    who: alice,
                    after: MS,
                    datagram,
                });
            }
        }
    }
    // What is kept for retransmission, pooled or remembered has its full size after the first five seconds.
    let (warm, steady) = arrivals.split_at_mut(5_000);
    let (counted, _) = run(&mut world, warm);
    assert!(counted > 0, "the counter counts");
    let (counted, sent) = run(&mut world, steady);
    assert!(sent > 10 * steady.len() as u64 / 2, "{sent} datagrams sent");
    assert_eq!(counted, 0, "allocations while forwarding {} packets", steady.len());
    assert_none_dropped(&world);
}

/// One node with a client that publishes and links to three others. What those say is made outside of what is counted.
#[test]
fn links_allocate_nothing() {
    const OTHERS: usize = 3;
    let mut world = World::with(1 + OTHERS as u8, Config::default());
    let alice = world.join(0);
    let track = world.publish_video(alice, "0", &[]);
    for other in 1..=OTHERS {
        let keys = |from: usize| Keys {
            key: [from as u8; 16],
            salt: [other as u8; 12],
        };
        for (here, there) in [(0, other), (other, 0)] {
            let way = netem::Link::new(netem::LinkConfig::default(), 0);
            world.cables.push(Cable {
                from: here,
                to: there,
                way,
            });
            let add = AddLink {
                link: LinkId(other as u32),
                theirs: other as u32,
                send: keys(here),
                receive: keys(there),
                socket: SOCKET,
                remote: Some(engine_address(there)),
            };
            world.command(here, Command::AddLink(add));
        }
        let mirror = Mirror {
            track: TrackId(world.id()),
            link: LinkId(other as u32),
            theirs: track,
            kind: MediaKind::Video,
            group: None,
        };
        let here = mirror.track;
        world.command(other, Command::Mirror(mirror));
        let viewer = world.join(other);
        world.subscribe(viewer, here, other, MediaKind::Video, 9_000);
    }
    world.run_for(100 * MS);
    let mut source = Source::video(1_000, "0", None, (640, 360));
    let (mut begun, mut counted, mut sent) = (0, 0, 0);
    for frame in 0..800 {
        for mut packet in source.frame(frame % 100 == 0, 10) {
            packet.payload.resize(1_000, 7);
            let mut arrived = vec![(world.people[alice].address, world.protect(alice, packet))];
            let at = world.now - world.start;
            for cable in world.cables.iter_mut().filter(|cable| cable.to == 0) {
                while let Some((_, datagram)) = cable.way.pop(at) {
                    arrived.push((engine_address(cable.from), datagram));
                }
            }
            world.now += MS;
            let (now, engine, arena) = (world.now, &mut world.engines[0], &mut world.arena);
            arena.clear();
            let allocated = allocations(|| {
                for (from, datagram) in &mut arrived {
                    engine.handle_datagram(now, SOCKET, *from, datagram);
                }
                if engine.next_timeout().is_some_and(|due| due <= now) {
                    engine.handle_timeout(now);
                }
                assert!(!engine.poll_transmit(now, arena));
                while engine.poll_event().is_some() {}
            });
            // Histories, rings and pools have their full size after some seconds.
            match frame {
                0..500 => begun += allocated,
                _ => counted += allocated,
            }
            for message in arena.messages() {
                let Some(other) = (1..=OTHERS).find(|&other| engine_address(other) == message.to) else {
                    continue;
                };
                let (start, end) = (message.start as usize, (message.start + message.len) as usize);
                for datagram in arena.bytes()[start..end].chunks(message.segment.into()) {
                    sent += 1;
                    // Some are lost and asked for.
                    if sent % 50 != 0 {
                        let mut datagram = datagram.to_vec();
                        world.engines[other].handle_datagram(now, SOCKET, engine_address(0), &mut datagram);
                    }
                }
            }
            for other in 1..=OTHERS {
                if world.engines[other].next_timeout().is_some_and(|due| due <= now) {
                    world.engines[other].handle_timeout(now);
                }
                world.drain(other);
            }
        }
    }
    let links = world.stats(0).links;
    assert_eq!(links.len(), OTHERS);
    for row in links {
        assert!(row.media_sent > 7_900 && row.repeats_sent > 100, "{row:?}");
    }
    assert!(begun > 0, "the counter counts");
    assert_eq!(counted, 0, "allocations while some of {sent} datagrams went over links");
    assert_none_dropped(&world);
}

#[test]
fn thirty_who_talk_to_each_other_allocate_nothing() {
    const PEOPLE: usize = 30;
    let mut world = World::with(2, Config::default());
    for index in 0..PEOPLE {
        world.join(index % 2);
    }
    for speaker in 0..PEOPLE {
        let track = world.publish_audio(speaker, "0");
        for listener in (0..PEOPLE).filter(|&listener| listener != speaker) {
            let ssrc = 10_000 + (speaker * PEOPLE + listener) as u32;
            world.subscribe(listener, track, speaker % 2, MediaKind::Audio, ssrc);
        }
    }
    world.run_for(10 * MS);
    let mut sources: Vec<_> = (0..PEOPLE as u32).map(|who| Source::audio(1_000 + who, "0")).collect();
    let mut arrivals = Vec::new();
    for turn in 0..500 {
        for (who, source) in sources.iter_mut().enumerate() {
            // Half of them talk, by turns.
            let level = if (who + turn / 50) % 2 == 0 { 30 } else { 100 };
            let mut packet = source.speak(level);
            packet.payload.resize(120, 7);
            let datagram = world.protect(who, packet);
            arrivals.push(Arrival {
                who,
                after: 20 * MS / PEOPLE as u32,
                datagram,
            });
        }
    }
    let (warm, steady) = arrivals.split_at_mut(250 * PEOPLE);
    run(&mut world, warm);
    let (counted, sent) = run(&mut world, steady);
    assert!(sent >= (steady.len() * (PEOPLE - 1)) as u64, "{sent} datagrams sent");
    // Each worker tells the control plane of levels four times a second, in a list that grows in a few steps.
    let lists = 2 * 5 * 4;
    assert!(
        counted <= 4 * lists,
        "{counted} allocations while forwarding {sent} packets"
    );
    assert_none_dropped(&world);
}

#[test]
fn feedback_of_subscribers_allocates_nothing() {
    const SUBSCRIBERS: usize = 10;
    const WARM: usize = 1_000;
    // The path is known to carry everything: no padding, which would take numbers.
    let config = Config {
        start_bitrate: 50_000_000,
        max_bitrate: 50_000_000,
        ..Config::default()
    };
    let mut world = World::with(2, config);
    let alice = world.join(0);
    let track = world.publish_video(alice, "0", &[]);
    for index in 0..SUBSCRIBERS {
        let who = world.join(index % 2);
        world.subscribe(who, track, 0, MediaKind::Video, 9_000 + index as u32 * 10);
    }
    world.run_for(10 * MS);
    let mut source = Source::video(1_000, "0", None, (640, 360));
    let mut packets = Vec::new();
    for frame in 0..1_600 {
        for mut packet in source.frame(frame % 100 == 0, 5) {
            packet.payload.resize(1_000, 7);
            packets.push(packet);
        }
    }
    let steady = packets.split_off(5_000);
    let mut arrivals = Vec::new();
    for packet in packets.split_off(1) {
        let datagram = world.protect(alice, packet);
        arrivals.push(Arrival {
            who: alice,
            after: MS,
            datagram,
        });
    }
    // What subscribers got first tells which numbers they will have next.
    world.send(alice, packets.remove(0));
    (0..2).for_each(|_| (0..2).for_each(|worker| world.drain(worker)));
    let mut next: Vec<_> = world.people[1..]
        .iter()
        .map(|person| {
            let first = person.rtp.first().unwrap();
            let transport = first.extension(TRANSPORT_CC).unwrap();
            let transport = u16::from_be_bytes(transport.try_into().unwrap());
            let sent = arrivals.len() as u16 + 1;
            (first.seq.wrapping_add(sent), transport.wrapping_add(sent))
        })
        .collect();
    run(&mut world, &mut arrivals);

    arrivals.clear();
    let mut warm = Vec::new();
    let mut asked = 0;
    for (count, packet) in steady.into_iter().enumerate() {
        // The first feedback of a subscriber finds no state for it.
        if count == WARM {
            warm = std::mem::take(&mut arrivals);
            asked = 0;
        }
        let datagram = world.protect(alice, packet);
        arrivals.push(Arrival {
            who: alice,
            after: MS,
            datagram,
        });
        for (index, (seq, transport)) in next.iter_mut().enumerate() {
            let ssrc = 9_000 + index as u32 * 10;
            let newest = *seq;
            *seq = seq.wrapping_add(1);
            *transport = transport.wrapping_add(1);
            let mut tell = |datagram| {
                arrivals.push(Arrival {
                    who: index + 1,
                    after: Duration::ZERO,
                    datagram,
                });
            };
            if count % 100 == index * 10 {
                asked += 2;
                *transport = transport.wrapping_add(2);
                let lost = [newest.wrapping_sub(9), newest.wrapping_sub(7)];
                tell(world.protect_rtcp(index + 1, |out| nack::write(out, 1, ssrc, lost).unwrap()));
            }
            if count % 100 == index * 10 + 3 {
                let first = transport.wrapping_sub(100);
                let times = (0..100).map(|packet| Some((count as u64 + 5_000 + packet) * 1_000));
                let serial = (count / 100) as u8;
                tell(world.protect_rtcp(index + 1, |out| {
                    twcc::write(out, 1, ssrc, serial, first, times).unwrap().len
                }));
            }
            if count % 1_000 == index * 10 + 5 {
                let block = ReportBlock {
                    ssrc,
                    fraction_lost: 2,
                    cumulative_lost: 20,
                    highest_sequence: newest.into(),
                    jitter: 100,
                    last_sender_report: 0,
                    delay: 0,
                };
                tell(world.protect_rtcp(index + 1, |out| report::write_receiver(out, 1, [block]).unwrap()));
            }
        }
    }
    run(&mut world, &mut warm);
    let before: u64 = (0..2).map(|worker| retransmitted(&world, worker)).sum();
    let (counted, sent) = run(&mut world, &mut arrivals);
    let again = (0..2).map(|worker| retransmitted(&world, worker)).sum::<u64>() - before;
    assert!(again > asked * 9 / 10, "{again} of {asked} sent again");
    assert_eq!(counted, 0, "allocations while sending {sent} datagrams");
    assert_none_dropped(&world);
}

fn retransmitted(world: &World, worker: usize) -> u64 {
    let rows = world.stats(worker).subscriptions;
    rows.iter().map(|row| row.packets_retransmitted).sum()
}
