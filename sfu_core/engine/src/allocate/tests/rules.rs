//! What is decided without a past.

use super::*;

/// Enough for `kilobits` of video with the margin of a step up.
fn enough(kilobits: u64) -> u64 {
    kilobits * 1_150 + 10
}

fn decided(subscriber: &mut Subscriber, budget: u64) -> Vec<Option<LayerId>> {
    subscriber.ask(0, budget);
    subscriber.targets()
}

const fn l(spatial: u8, temporal: u8) -> Option<LayerId> {
    Some(LayerId { spatial, temporal })
}

#[test]
fn one_camera_climbs_its_ladder() {
    let track = simulcast();
    for (kilobits, expected) in [
        (0, None),
        (50, None),
        (60, l(0, 0)),
        (90, l(0, 1)),
        (150, l(0, 2)),
        // 360p at 7.5 frames per second would fit.
        (200, l(0, 2)),
        (300, l(1, 1)),
        (500, l(1, 2)),
        // 720p at 7.5 frames per second would fit.
        (800, l(1, 2)),
        (1_200, l(2, 1)),
        (2_000, l(2, 2)),
    ] {
        let mut subscriber = Subscriber::new(&[&track]);
        assert_eq!(decided(&mut subscriber, enough(kilobits)), [expected], "{kilobits}");
    }
}

#[test]
fn one_screen_prefers_detail() {
    let track = simulcast();
    for (kilobits, expected) in [
        (150, l(0, 2)),
        (200, l(1, 0)),
        (500, l(1, 2)),
        (800, l(2, 0)),
        (2_000, l(2, 2)),
    ] {
        let mut subscriber = Subscriber::new(&[&track]);
        subscriber.candidates[0].source = Source::Screen;
        assert_eq!(decided(&mut subscriber, enough(kilobits)), [expected], "{kilobits}");
    }
}

#[test]
fn limits_of_the_subscriber() {
    let track = simulcast();
    type Change = fn(&mut Subscriber);
    let table: [(&str, Change, Option<LayerId>); 9] = [
        ("highest spatial", |s| s.candidates[0].max_spatial = 1, l(1, 2)),
        ("highest temporal", |s| s.candidates[0].max_temporal = 1, l(2, 1)),
        ("shown small", |s| s.candidates[0].wanted = Some((320, 180)), l(0, 2)),
        (
            "shown a little larger",
            |s| s.candidates[0].wanted = Some((336, 189)),
            l(0, 2),
        ),
        ("shown larger", |s| s.candidates[0].wanted = Some((400, 225)), l(1, 2)),
        ("shown in no pixels", |s| s.candidates[0].wanted = Some((0, 0)), l(2, 2)),
        ("paused", |s| s.candidates[0].paused = true, None),
        (
            "only above what is wanted",
            |s| {
                s.candidates[0].max_spatial = 0;
                s.layers[..3].iter_mut().for_each(|layer| layer.active = false);
            },
            l(1, 0),
        ),
        (
            "nothing flows",
            |s| s.layers.iter_mut().for_each(|layer| layer.active = false),
            None,
        ),
    ];
    for (name, change, expected) in table {
        let mut subscriber = Subscriber::new(&[&track]);
        change(&mut subscriber);
        assert_eq!(decided(&mut subscriber, u64::MAX), [expected], "{name}");
    }
}

#[test]
fn reasons_of_a_pause() {
    let track = simulcast();
    let mut subscriber = Subscriber::new(&[&track, &track, &track, &[]]);
    subscriber.candidates[0].paused = true;
    subscriber.layers[9..18]
        .iter_mut()
        .for_each(|layer| layer.active = false);
    subscriber.ask(0, 10_000);
    let targets: Vec<_> = subscriber.decisions.iter().map(|decision| decision.target).collect();
    let expected = [
        Reason::Asked,
        Reason::NothingFlows,
        Reason::Bandwidth,
        Reason::NothingFlows,
    ];
    assert_eq!(targets, expected.map(Target::Paused));
}

#[test]
fn everyone_gets_a_little_before_anybody_gets_more() {
    let track = simulcast();
    let mut subscriber = Subscriber::new(&[track.as_slice(); 5]);
    assert_eq!(decided(&mut subscriber, enough(5 * 60)), [l(0, 0); 5]);
    // One track has nothing small.
    let single = [layer(2, 2, 2_000, true)];
    let mut subscriber = Subscriber::new(&[&track, &single, &track]);
    assert_eq!(decided(&mut subscriber, enough(2_120)), [l(0, 0), l(2, 2), l(0, 0)]);
}

#[test]
fn priority_speakers_and_screens_go_first() {
    let track = simulcast();
    type Change = fn(&mut Candidate);
    let changes: [Change; 3] = [
        |c| c.priority = 1,
        |c| c.speaker_rank = Some(0),
        |c| c.source = Source::Screen,
    ];
    for change in changes {
        let mut subscriber = Subscriber::new(&[track.as_slice(); 4]);
        change(&mut subscriber.candidates[2]);
        let targets = decided(&mut subscriber, enough(60));
        assert_eq!(targets, [None, None, l(0, 0), None], "the others pause first");
        let targets = decided(&mut subscriber, enough(2_000 + 3 * 150));
        assert!(targets.iter().all(Option::is_some));
        assert!(targets[2] > targets[0] && targets[2] > targets[3], "{targets:?}");
    }
    // Far apart, even presence yields.
    let mut subscriber = Subscriber::new(&[track.as_slice(); 2]);
    subscriber.candidates[0].priority = 6;
    subscriber.candidates[1].priority = -6;
    assert_eq!(decided(&mut subscriber, enough(300)), [l(1, 1), None]);
}

#[test]
fn large_tiles_get_more_than_small_ones() {
    let track = simulcast();
    let mut subscriber = Subscriber::new(&[track.as_slice(); 5]);
    for candidate in &mut subscriber.candidates {
        candidate.wanted = Some((320, 180));
    }
    subscriber.candidates[4].wanted = Some((1280, 720));
    let targets = decided(&mut subscriber, enough(1_800));
    assert_eq!(targets, [l(0, 2), l(0, 2), l(0, 2), l(0, 2), l(2, 1)]);
}

#[test]
fn audio_and_repair_are_reserved() {
    let track = simulcast();
    let mut subscriber = Subscriber::new(&[&track]);
    subscriber.audio = 100_000;
    subscriber.overhead = 0.125;
    let need = 100_000 + enough(500) * 9 / 8;
    assert_eq!(decided(&mut subscriber, need - 1_000), [l(1, 1)]);
    assert_eq!(decided(&mut subscriber, need + 1_000), [l(1, 2)]);
    let summary = subscriber.ask(0, need + 1_000);
    assert_eq!((summary.video, summary.total), (500_000, 662_500));
    assert_eq!(summary.desired, 100_000 + 2_250_000);
    assert_eq!(decided(&mut subscriber, 100_000), [None]);
}

#[test]
fn what_may_not_pause_keeps_its_least() {
    let track = simulcast();
    let mut subscriber = Subscriber::new(&[&track, &track]);
    subscriber.candidates[1].may_pause = false;
    let summary = subscriber.ask(0, 0);
    assert_eq!(subscriber.targets(), [None, l(0, 0)]);
    assert!(summary.over_budget && summary.total == 60_000);
}

#[test]
fn an_encoder_that_overshoots_is_taken_at_its_word() {
    let mut track = simulcast();
    // 720p with less than it says, 360p with more than 720p.
    track[5].bits_per_second = 900_000;
    track[8].bits_per_second = 800_000;
    track[6].bits_per_second = 300_000;
    track[7].bits_per_second = 500_000;
    let mut subscriber = Subscriber::new(&[&track]);
    assert_eq!(decided(&mut subscriber, enough(850)), [l(2, 2)]);
}

#[test]
fn steps_tell_the_estimates_that_buy_them() {
    let track = simulcast();
    for count in [1, 3] {
        let mut subscriber = Subscriber::new(&vec![track.as_slice(); count]);
        subscriber.audio = 64_000;
        subscriber.overhead = 0.125;
        let mut summary = subscriber.decide(0, 0);
        let mut seen = 0;
        while let Some(&step) = summary.steps.first() {
            let before = (subscriber.targets(), summary.utility);
            if count == 1 {
                assert_eq!(
                    decided(&mut subscriber, step - step / 100),
                    before.0,
                    "less than {step} would do"
                );
            }
            summary = subscriber.decide(0, step);
            assert!(summary.utility > before.1, "{step} buys nothing");
            seen += 1;
        }
        assert_eq!(subscriber.targets(), vec![l(2, 2); count]);
        assert_eq!(summary.total, summary.desired);
        assert!(seen >= 5, "{seen}");
    }
}

#[test]
fn further_steps_lie_on_top_of_the_first() {
    let track = simulcast();
    let mut subscriber = Subscriber::new(&[track.as_slice(); 4]);
    let summary = subscriber.decide(0, enough(4 * 60));
    assert_eq!(summary.steps[..], [enough(270) - 9, enough(300) - 9, enough(330) - 9]);
    // What failed a moment ago is no aim.
    subscriber.decide(1, enough(270));
    let summary = subscriber.decide(2, 240_000);
    let rising = subscriber
        .candidates
        .iter()
        .filter(|c| c.hysteresis.failed(2).is_some())
        .count();
    assert_eq!((rising, summary.steps.len()), (1, 3));
}
