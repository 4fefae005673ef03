//! A call of 25 pictures a second, each of four packets, on a path of 50 ms; the subscriber tells what came every 50 ms.

use super::*;

const FRAME: u64 = 40_000;
const DELAY: i64 = 50_000;
/// Their clock is ahead of ours.
const AHEAD: i64 = 7_000_000_000;

/// Pictures from the `from`th on are sent; those that `comes` tells the delay of arrive.
fn run(freezes: &mut Freezes, pictures: std::ops::Range<u64>, comes: impl Fn(u64) -> Option<i64>) {
    for number in pictures {
        let due = number * FRAME;
        if number == 0 {
            freezes.on_keyframe();
        }
        freezes.on_picture(end(number), 0, due);
        if let Some(delay) = comes(number) {
            let at = due as i64 + delay + AHEAD;
            freezes.on_arrived((at - AHEAD) as u64 + 75_000, end(number), at);
        }
    }
}

fn end(number: u64) -> u16 {
    (65_000 + 4 * number + 3) as u16
}

fn told(freezes: &Freezes, pictures: u64) -> (u64, u64) {
    let told = freezes.told(pictures * FRAME + DELAY as u64 + 75_000);
    (told.count, told.total_ms as u64)
}

#[test]
fn a_smooth_call_never_freezes() {
    let mut freezes = Freezes::default();
    run(&mut freezes, 0..1_000, |number| {
        Some(DELAY + (number as i64 * 37) % 60 * 1_000)
    });
    assert_eq!(told(&freezes, 1_000), (0, 0));
    assert_eq!(freezes.told(0).delivered, 1_000);
}

#[test]
fn a_gap_counts_from_when_the_next_picture_was_due() {
    for (extra, expected) in [
        (100, (0, 0)),
        (149, (0, 0)),
        (151, (1, 191)),
        (400, (1, 440)),
        (2_000, (1, 2_040)),
    ] {
        let mut freezes = Freezes::default();
        // A queue builds up at once and drains slowly.
        run(&mut freezes, 0..200, |number| {
            Some(
                DELAY
                    + if number < 100 {
                        0
                    } else {
                        (extra * 1_000 - (number as i64 - 100) * 20_000).max(0)
                    },
            )
        });
        assert_eq!(told(&freezes, 200), expected, "{extra}");
    }
}

#[test]
fn a_publisher_that_sends_nothing_is_no_freeze() {
    let mut freezes = Freezes::default();
    run(&mut freezes, 0..100, |_| Some(DELAY));
    // A still screen: nothing for 8 s.
    assert_eq!(told(&freezes, 300).0, 0);
    run(&mut freezes, 300..400, |_| Some(DELAY));
    assert_eq!(told(&freezes, 400), (0, 0));
}

#[test]
fn what_is_asked_for_holds_up_what_follows_until_it_is_there() {
    for (repair, expected) in [(100, 0), (300, 1)] {
        let mut freezes = Freezes::default();
        run(&mut freezes, 0..100, |_| Some(DELAY));
        let lost = end(100).wrapping_sub(2);
        freezes.on_picture(end(100), 0, 100 * FRAME);
        freezes.on_asked(100 * FRAME + 100_000, lost, 0);
        freezes.on_arrived(100 * FRAME + 125_000, end(100), 100 * FRAME as i64 + DELAY + AHEAD);
        run(&mut freezes, 101..120, |_| Some(DELAY));
        assert_eq!(freezes.told(0).delivered, 100);
        let at = (100 * FRAME) as i64 + DELAY + repair * 1_000;
        freezes.on_arrived(120 * FRAME, lost, at + AHEAD);
        assert_eq!(freezes.told(0).delivered, 120);
        let told = told(&freezes, 120);
        assert_eq!(told.0, expected, "{repair}");
        assert!(expected == 0 || told.1 == 340, "{told:?}");
    }
}

#[test]
fn a_packet_that_nobody_asks_for_was_recovered() {
    let mut freezes = Freezes::default();
    // The last packet of every tenth picture is lost; forward error correction brings it back.
    run(&mut freezes, 0..100, |number| (number % 10 != 5).then_some(DELAY));
    for step in 0..20 {
        freezes.poll(100 * FRAME + step * 100_000);
    }
    assert_eq!(told(&freezes, 100), (0, 0));
    assert_eq!(freezes.told(0).delivered, 100);
}

#[test]
fn feedback_that_is_lost_is_no_freeze() {
    let mut freezes = Freezes::default();
    run(&mut freezes, 0..200, |number| {
        (!(100..115).contains(&number)).then_some(DELAY)
    });
    freezes.poll(210 * FRAME);
    assert_eq!(told(&freezes, 200), (0, 0));
}

#[test]
fn a_picture_of_a_higher_temporal_layer_holds_up_nobody_below() {
    let mut freezes = Freezes::default();
    freezes.on_keyframe();
    for number in 0..100_u64 {
        let temporal = (number % 2) as u8;
        freezes.on_picture(end(number), temporal, number * FRAME);
        let at = (number * FRAME) as i64 + DELAY;
        if number == 51 {
            freezes.on_asked(at as u64 + 60_000, end(51), 1);
        } else {
            freezes.on_arrived(at as u64 + 75_000, end(number), at + AHEAD);
        }
    }
    assert_eq!(told(&freezes, 100), (0, 0));
    assert_eq!(freezes.told(0).delivered, 99);
}

#[test]
fn a_keyframe_ends_what_is_missing() {
    let mut freezes = Freezes::default();
    run(&mut freezes, 0..50, |_| Some(DELAY));
    run(&mut freezes, 50..51, |_| None);
    freezes.on_asked(50 * FRAME + 100_000, end(50), 0);
    run(&mut freezes, 51..60, |_| Some(DELAY));
    freezes.on_keyframe_request();
    // It is given up: what follows is of no use though it comes.
    freezes.poll(50 * FRAME + 2_000_000);
    assert_eq!(freezes.told(0).delivered, 50);
    freezes.on_keyframe();
    run(&mut freezes, 60..100, |_| Some(DELAY));
    assert_eq!(freezes.told(0).delivered, 90);
    assert_eq!(told(&freezes, 100), (1, 10 * 40 + 40));
}

#[test]
fn asking_for_keyframes_by_the_clock_is_no_freeze() {
    let mut freezes = Freezes::default();
    for second in 0..10 {
        run(&mut freezes, second * 25..(second + 1) * 25, |_| Some(DELAY));
        freezes.on_keyframe_request();
    }
    assert_eq!(told(&freezes, 250), (0, 0));
    assert_eq!(freezes.told(0).delivered, 250);
}

#[test]
fn what_is_withheld_before_a_keyframe_is_a_freeze_until_it_comes() {
    let mut freezes = Freezes::default();
    run(&mut freezes, 0..50, |_| Some(DELAY));
    freezes.on_cut();
    assert_eq!(told(&freezes, 75), (1, 26 * 40));
    freezes.on_keyframe();
    run(&mut freezes, 75..100, |_| Some(DELAY));
    assert_eq!(told(&freezes, 100), (1, 26 * 40));
}

#[test]
fn a_dead_path_is_a_freeze_that_goes_on_and_a_pause_is_none() {
    let mut freezes = Freezes::default();
    run(&mut freezes, 0..50, |_| Some(DELAY));
    run(&mut freezes, 50..1_000, |_| None);
    let (count, total) = told(&freezes, 1_000);
    assert_eq!(count, 1);
    assert!((37_000..=39_000).contains(&total), "{total}");
    freezes.poll(1_000 * FRAME);
    freezes.reset();
    let ended = told(&freezes, 2_000);
    assert!(ended.0 == 1 && ended.1.abs_diff(total) < 200, "{ended:?} {total}");
    run(&mut freezes, 2_000..2_100, |_| Some(DELAY));
    assert_eq!(told(&freezes, 2_100), ended);
}

/// Whatever a subscriber claims: bounded memory, no overflow, and never more frozen time than there was.
#[test]
fn claims_are_bounded() {
    let mut random = 1_u64;
    let mut draw = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut freezes = Freezes::default();
    let mut now = 0;
    for _ in 0..100_000 {
        now += draw(20_000);
        let sequence = draw(1 << 16) as u16;
        match draw(8) {
            0 => freezes.on_asked(now, sequence, draw(4) as u8),
            1 => freezes.on_keyframe_request(),
            2 => freezes.on_arrived(now, sequence, i64::MIN + draw(1 << 20) as i64),
            3 => freezes.on_arrived(
                now,
                freezes.newest.map_or(0, |(end, _)| end),
                i64::MAX - draw(1 << 20) as i64,
            ),
            4 => freezes.poll(now),
            5 if draw(50) == 0 => freezes.on_cut(),
            6 if draw(50) == 0 => freezes.on_keyframe(),
            _ => freezes.on_picture(sequence, draw(3) as u8, now),
        }
        assert!(freezes.pictures.len() <= MOST_PICTURES && freezes.holes.len() <= MOST_HOLES);
    }
    let told = freezes.told(now);
    assert!(told.total_ms <= 2.0 * now as f64 / 1e3, "{told:?} in {now}");
}
