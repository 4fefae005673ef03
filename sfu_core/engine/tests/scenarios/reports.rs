//! RTCP both ways: reports, transport-wide feedback, REMB.

use pysfu_engine::command::{Command, MediaKind};
use wire::rtcp::Packet;
use wire::rtcp::report::{ReportBlock, SenderInfo};

use crate::media::Source;
use crate::world::{MS, World};

const OUT: u32 = 9_000;

fn speak(world: &mut World, who: usize, source: &mut Source, packets: usize) {
    for _ in 0..packets {
        let packet = source.speak(30);
        world.send(who, packet);
        world.run_for(20 * MS);
    }
}

#[test]
fn publisher_gets_receiver_reports() {
    let mut world = World::new();
    let alice = world.join(0);
    world.publish_audio(alice, "0");
    let mut source = Source::audio(1_000, "0");
    speak(&mut world, alice, &mut source, 10);
    let info = SenderInfo {
        ntp: 0x0123_4567_89ab_cdef,
        rtp_timestamp: source.timestamp,
        packets: 10,
        octets: 100,
    };
    world.send_rtcp(alice, |out| {
        wire::rtcp::report::write_sender(out, 1_000, &info, []).unwrap()
    });
    source.speak(30);
    speak(&mut world, alice, &mut source, 100);
    let blocks = world.people[alice].messages(|packet| match packet {
        Packet::ReceiverReport(report) => report.blocks().find(|block| block.ssrc == 1_000),
        _ => None,
    });
    assert!((2..=4).contains(&blocks.len()));
    assert_eq!(blocks.iter().map(|block| block.cumulative_lost).max(), Some(1));
    let last = blocks.last().unwrap();
    assert_eq!(last.last_sender_report, 0x4567_89ab);
    let expected = (world.now - world.start).as_secs_f64();
    assert!(f64::from(last.delay) / 65_536.0 <= expected && last.delay > 65_536);
    let names = world.people[alice].messages(|packet| match packet {
        Packet::SourceDescription(description) => description
            .chunks()
            .next()
            .and_then(|chunk| chunk.cname)
            .map(<[u8]>::len),
        _ => None,
    });
    assert!(!names.is_empty());
}

#[test]
fn every_packet_is_told_in_transport_wide_feedback() {
    let mut world = World::new();
    let alice = world.join(0);
    world.publish_audio(alice, "0");
    let mut source = Source::audio(1_000, "0");
    for index in 0..200 {
        let packet = source.speak(30);
        let datagram = world.protect(alice, packet);
        if index % 10 != 3 {
            world.deliver(alice, datagram);
        }
        world.run_for(10 * MS);
    }
    world.run_for(200 * MS);
    let told = world.people[alice].messages(|packet| match packet {
        Packet::TransportWide(feedback) => Some(feedback.statuses().collect::<Vec<_>>()),
        _ => None,
    });
    assert!((15..=45).contains(&told.len()), "{} messages", told.len());
    let arrived: Vec<_> = told
        .concat()
        .iter()
        .filter(|s| s.arrival.is_some())
        .map(|s| s.sequence)
        .collect();
    let expected: Vec<_> = (0..200u16)
        .filter(|index| index % 10 != 3)
        .map(|index| index + 1)
        .collect();
    assert_eq!(arrived, expected);
}

#[test]
fn a_publisher_without_transport_wide_feedback_gets_remb() {
    let mut world = World::new();
    let alice = world.join(0);
    let peer = world.people[alice].peer;
    world.command(
        0,
        Command::SetFeedback {
            peer,
            transport_cc: false,
            remb: true,
        },
    );
    world.publish_video(alice, "0", &[]);
    let mut source = Source::video(1_000, "0", None, (640, 360));
    for index in 0..100 {
        for packet in source.frame(index == 0, 3) {
            world.send(alice, packet);
        }
        world.run_for(30 * MS);
    }
    let grants = world.people[alice].messages(|packet| match packet {
        Packet::MaximumBitrate(remb) => Some((remb.bitrate, remb.sources().collect::<Vec<_>>())),
        Packet::TransportWide(_) => panic!("not negotiated"),
        _ => None,
    });
    assert!(!grants.is_empty());
    assert!(
        grants
            .iter()
            .all(|(bitrate, sources)| *bitrate >= 4_000_000 && *sources == [1_000])
    );
}

#[test]
fn subscriber_gets_sender_reports_on_the_publishers_clock() {
    let mut world = World::new();
    let (alice, bob) = (world.join(0), world.join(0));
    let track = world.publish_audio(alice, "0");
    world.subscribe(bob, track, 0, MediaKind::Audio, OUT);
    let mut source = Source::audio(1_000, "0");
    speak(&mut world, alice, &mut source, 5);
    let ntp = 0xe000_0000_0000_0000;
    let info = SenderInfo {
        ntp,
        rtp_timestamp: source.timestamp,
        packets: 5,
        octets: 50,
    };
    world.send_rtcp(alice, |out| {
        wire::rtcp::report::write_sender(out, 1_000, &info, []).unwrap()
    });
    let reported = world.now;
    speak(&mut world, alice, &mut source, 150);
    let reports = world.people[bob].messages(|packet| match packet {
        Packet::SenderReport(report) if report.ssrc == OUT => Some(report.info),
        _ => None,
    });
    assert!((2..=4).contains(&reports.len()));
    let last = reports.last().unwrap();
    let seconds = (last.ntp - ntp) as f64 / 2f64.powi(32);
    assert!(seconds > 1.0 && seconds <= (world.now - reported).as_secs_f64());
    // The subscriber's timestamps are the publisher's, moved by a constant.
    let offset = world.people[bob].rtp[0]
        .timestamp
        .wrapping_sub(source.sent[0].timestamp);
    let expected = info
        .rtp_timestamp
        .wrapping_add((seconds * 48_000.0).round() as u32)
        .wrapping_add(offset);
    assert!(last.rtp_timestamp.wrapping_sub(expected).wrapping_add(2) <= 4);
    // And its answer is a round-trip time.
    let block = ReportBlock {
        ssrc: OUT,
        fraction_lost: 64,
        last_sender_report: (last.ntp >> 16) as u32,
        delay: 0,
        ..ReportBlock::default()
    };
    world.send_rtcp(bob, |out| wire::rtcp::report::write_receiver(out, 77, [block]).unwrap());
    let row = world.stats(0).subscriptions[0];
    assert_eq!(row.fraction_lost, 0.25);
    assert!(row.rtt_ms > 0.0 && row.rtt_ms < 1_100.0, "{}", row.rtt_ms);
    assert!(world.stats(0).peers.iter().any(|peer| peer.rtt_ms == row.rtt_ms));
}
