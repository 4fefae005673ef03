use super::*;

fn path(share: f32, burst: f32, rtt: f32) -> Path {
    Path {
        loss: Loss { share, burst },
        rtt,
        estimate: 5_000_000,
        used: 2_000_000,
    }
}

fn frames(packets: f32, layered: bool) -> Frames {
    Frames {
        rate: 30.0,
        packets,
        layered,
        keyframe: false,
    }
}

#[test]
fn how_much() {
    for (what, path, packets, expected) in [
        ("no loss", path(0.0, 1.0, 300.0), 8.0, 0.0),
        ("an accident", path(0.002, 1.0, 300.0), 8.0, 0.0),
        ("a short round trip", path(0.05, 1.0, 99.0), 8.0, 0.0),
        ("half way", path(0.05, 1.0, 125.0), 8.0, 0.05),
        ("a long round trip", path(0.05, 1.0, 150.0), 8.0, 0.1),
        ("little loss", path(0.004, 1.0, 300.0), 8.0, 0.064),
        ("heavy loss", path(0.2, 1.0, 300.0), 8.0, 0.3),
        ("all but gone", path(0.9, 1.0, 300.0), 8.0, 0.5),
        ("bursts that are too long", path(0.05, 20.0, 300.0), 8.0, 0.0),
        (
            "bursts that are long for a thin stream",
            path(0.05, 8.0, 300.0),
            2.0,
            0.0,
        ),
        ("not a number", path(f32::NAN, f32::NAN, 300.0), 8.0, 0.0),
    ] {
        let got = protection(&path, &frames(packets, false)).share;
        assert!((got - expected).abs() < 0.001, "{what}: {got}");
    }
}

#[test]
fn only_what_the_estimate_leaves() {
    for (estimate, used, expected) in [
        (5_000_000, 2_000_000, 0.1),
        (2_100_000, 2_000_000, 0.05),
        (2_000_000, 2_000_000, 0.0),
        (1_000_000, 2_000_000, 0.0),
        (90_000, 1_000, 0.0),
        (5_000_000, 0, 0.1),
    ] {
        let path = Path {
            estimate,
            used,
            ..path(0.05, 1.0, 300.0)
        };
        let got = protection(&path, &frames(8.0, false)).share;
        assert!((got - expected).abs() < 0.001, "{estimate} {used}: {got}");
    }
}

#[test]
fn repairs_come_in_time() {
    for rate in [5.0, 15.0, 30.0, 60.0] {
        for packets in [1.0, 4.0, 10.0, 40.0] {
            for burst in [1.0, 3.0, 9.0] {
                for loss in [0.01, 0.05, 0.2, 0.5] {
                    for (layered, keyframe) in [(false, false), (true, false), (true, true)] {
                        let frames = Frames {
                            rate,
                            packets,
                            layered,
                            keyframe,
                        };
                        let plan = protection(&path(loss, burst, 300.0), &frames);
                        if plan.is_none() {
                            continue;
                        }
                        // From the first frame of a group to its last repair.
                        let group = u64::from(plan.frames - 1) * 1_000_000 / rate as u64;
                        let repairs = (plan.share * packets * f32::from(plan.frames)).ceil() as u64;
                        let last = group + plan.delay + (repairs - 1) * plan.spacing;
                        assert!(last <= 2 * IN_TIME, "{last} {frames:?} {plan:?}");
                        assert!(plan.spacing <= plan.delay && plan.delay <= MAX_DISTANCE);
                    }
                }
            }
        }
    }
}

#[test]
fn layers() {
    for (what, path, layered, expected) in [
        ("every frame counts", path(0.02, 2.0, 300.0), false, (false, false, 3)),
        ("those that others need", path(0.02, 2.0, 300.0), true, (true, false, 1)),
        (
            "half the frames for parity",
            path(0.05, 2.0, 300.0),
            true,
            (false, true, 3),
        ),
        ("freezes are short", path(0.05, 2.0, 150.0), true, (true, false, 1)),
        ("bursts are long", path(0.05, 7.0, 300.0), true, (true, false, 1)),
    ] {
        let plan = protection(&path, &frames(10.0, layered));
        assert_eq!((plan.essential_only, plan.thin, plan.frames), expected, "{what}");
    }
    assert_eq!(
        protection(&path(0.05, 2.0, 300.0), &frames(10.0, true)).share,
        MAX_SHARE
    );
}

#[test]
fn keyframes_get_more_and_long_bursts_a_second_copy() {
    let key = Frames {
        keyframe: true,
        ..frames(10.0, false)
    };
    let plan = protection(&path(0.05, 2.0, 300.0), &key);
    assert!((plan.share - 0.15).abs() < 0.001 && plan.frames == 1);
    let plan = protection(&path(0.05, 20.0, 300.0), &frames(8.0, false));
    assert_eq!(plan.second_copy, Some(60_000));
}
