use super::*;
use crate::fec::tests::path::Losses;

fn loss(share: f32, burst: f32) -> Loss {
    Loss { share, burst }
}

#[test]
fn redundancy_grows_with_loss_and_spreads_with_bursts() {
    for (share, burst, expected) in [
        (0.0, 1.0, &[][..]),
        (0.009, 1.0, &[]),
        (0.02, 1.0, &[1]),
        (0.05, 1.0, &[1]),
        (0.1, 1.0, &[1, 2]),
        (0.3, 1.0, &[1, 2, 3, 4]),
        (0.02, 2.0, &[3]),
        (0.05, 2.0, &[5]),
        (0.1, 2.0, &[3, 6]),
        (0.1, 3.0, &[1, 3, 5, 7]),
        (0.3, 2.0, &[1, 3, 5, 7]),
        (1.0, 1.0, &[1, 2, 3, 4]),
        (0.05, 50.0, &[7]),
    ] {
        assert_eq!(
            distances(loss(share, burst), MAX_BLOCKS).as_slice(),
            expected,
            "{share} {burst}"
        );
    }
}

#[test]
fn redundancy_fits_the_path_and_stays_until_losses_end() {
    let chance = |share, on, room, most| Chance {
        loss: loss(share, 1.0),
        on,
        room,
        most,
    };
    for (name, chance, expected) in [
        ("what suits the loss", chance(0.1, false, 4, 4), &[1, 2][..]),
        ("room for one", chance(0.1, false, 1, 4), &[1]),
        ("room for none", chance(0.1, true, 0, 4), &[]),
        ("not allowed", chance(0.1, true, 4, 0), &[]),
        ("too little to begin with", chance(0.007, false, 4, 4), &[]),
        ("enough to go on", chance(0.007, true, 4, 4), &[1]),
        ("over", chance(0.004, true, 4, 4), &[]),
    ] {
        assert_eq!(choose(&chance).as_slice(), expected, "{name}");
    }
}

#[test]
fn room_of_a_path() {
    for (target, queues, expected) in [
        // 50 kb/s of audio, 32 of them frames.
        (1_000_000.0, false, 25),
        (120_000.0, true, 1),
        (60_000.0, true, 0),
        // Losses have made the estimate small, and nothing waits.
        (60_000.0, false, 3),
    ] {
        assert_eq!(room(target, queues, 50_000.0, 32_000.0), expected, "{target} {queues}");
    }
    assert_eq!(room(f64::MAX, false, 0.0, 0.0), usize::MAX);
}

/// A stream that is one of ten on the path meets shorter bursts of its own packets.
#[test]
fn bursts_of_one_stream_among_others() {
    let path = loss(0.1, 5.0);
    assert_eq!(of_every(path, 1.0).burst.round(), 5.0);
    let own = of_every(path, 10.0);
    assert!((own.burst - 1.0 / 0.9 * (1.0 + 0.09)).abs() < 0.1, "{own:?}");
    assert_eq!(own.share, 0.1);
}

#[test]
fn writes_what_fits_and_recovers_it() {
    let frames: Vec<Vec<u8>> = (0..8).map(|index| vec![index; 20]).collect();
    let primary = Primary {
        payload_type: 111,
        data: &frames[7],
    };
    let long = vec![1; MAX_LEN + 1];
    let time = 100_u32.wrapping_sub(960);
    // Nearest first: the wrap of the timestamp, too long, empty, too far back.
    let former = [
        (time.wrapping_sub(960), &frames[6][..]),
        (time.wrapping_sub(1_920), &long[..]),
        (time.wrapping_sub(2_880), &[]),
        (time.wrapping_sub(3_840), &frames[3]),
        (time.wrapping_sub(MAX_OFFSET + 1), &frames[2]),
    ];
    let mut out = [0; 1_500];
    let len = add(&mut out, primary, time, former.into_iter()).unwrap();
    let packet = Redundant::parse(&out[..len]).unwrap();
    assert_eq!(packet.primary, primary);
    let got: Vec<_> = recover(&packet, 70_000, time, 960, |_, _| true)
        .map(|frame| (frame.sequence, frame.timestamp, frame.payload[0]))
        .collect();
    assert_eq!(
        got,
        [
            (69_996, time.wrapping_sub(3_840), 3),
            (69_999, time.wrapping_sub(960), 6)
        ]
    );
    let only = |number, _| number == 69_999;
    assert_eq!(recover(&packet, 70_000, time, 960, only).count(), 1);
    // Another duration: these times are no packets.
    assert_eq!(recover(&packet, 70_000, time, 1_000, |_, _| true).count(), 0);
    assert_eq!(recover(&packet, 70_000, time, 0, |_, _| true).count(), 0);
}

#[test]
fn is_bounded() {
    let frame = [0; 500];
    let primary = Primary {
        payload_type: 111,
        data: &frame,
    };
    let former = (1..100).map(|back| (10_000_u32.wrapping_sub(back * 10), &frame[..]));
    let mut out = [0; 1_500];
    let len = add(&mut out, primary, 10_000, former).unwrap();
    assert!(len <= MAX_PAYLOAD, "{len}");
    assert_eq!(Redundant::parse(&out[..len]).unwrap().blocks().count(), 1);
    assert!(add(&mut out[..400], primary, 10_000, std::iter::empty()).is_err());
}

/// Share of frames that a listener does not get within `MAX_DISTANCE` packets, through the format itself.
fn concealed(seed: u64, share: f64, burst: f64) -> (f64, f64) {
    const PACKETS: u32 = 15_000;
    let distances = distances(loss(share as f32, burst as f32), MAX_BLOCKS);
    let mut path = Losses::new(seed, share, burst);
    let mut played = vec![false; PACKETS as usize];
    let (mut octets, mut out) = (0, [0; 1_500]);
    let frame = |index: u32| vec![index as u8; 80];
    for index in 0..PACKETS {
        let former: Vec<_> = distances
            .iter()
            .filter_map(|&distance| index.checked_sub(u32::from(distance)))
            .map(|former| (former * 960, frame(former)))
            .collect();
        let (newest, time) = (frame(index), index * 960);
        let primary = Primary {
            payload_type: 111,
            data: &newest,
        };
        let former = former.iter().map(|(time, frame)| (*time, &frame[..]));
        let len = add(&mut out, primary, time, former).unwrap();
        octets += len;
        if path.next() {
            continue;
        }
        let packet = Redundant::parse(&out[..len]).unwrap();
        played[index as usize] = true;
        let missing = |number: u64, time: u32| time == number as u32 * 960;
        for former in recover(&packet, u64::from(index), time, 960, missing) {
            assert_eq!(former.payload, frame(former.sequence as u32));
            played[former.sequence as usize] = true;
        }
    }
    let missing = played.iter().filter(|&&played| !played).count();
    let rate = octets as f64 / f64::from(PACKETS) * 8.0 * 50.0;
    (missing as f64 / f64::from(PACKETS), rate / 1_000.0)
}

/// Goals of Q4: at most 1 % concealed at 10 % loss, 3 % at 30 %. Of 32 kb/s.
#[test]
fn concealment() {
    println!("loss burst  concealed: median, worst   kb/s");
    for (share, burst, goal) in [
        (0.1, 1.0, 0.01),
        (0.1, 2.0, 0.01),
        (0.1, 3.0, 0.01),
        (0.3, 1.0, 0.03),
        (0.3, 2.0, 0.03),
    ] {
        let mut runs: Vec<_> = (0..10).map(|seed| concealed(seed, share, burst)).collect();
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        println!(
            "{share:4} {burst:5}  {:.2} % {:.2} %   {:.0}",
            100.0 * runs[5].0,
            100.0 * runs[9].0,
            runs[5].1
        );
        assert!(runs[9].0 <= goal, "{share} {burst}: {runs:?}");
    }
}
