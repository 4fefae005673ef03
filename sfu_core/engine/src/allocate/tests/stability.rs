//! Up slowly, down at once, and no flapping.

use super::*;

const S: u64 = 1_000_000;

fn settled(tracks: usize, budget: u64) -> Subscriber {
    let track = simulcast();
    let mut subscriber = Subscriber::new(&vec![track.as_slice(); tracks]);
    subscriber.run((0, 20), || budget);
    subscriber.switches = 0;
    subscriber
}

#[test]
fn down_at_once_and_up_with_a_margin_or_with_patience() {
    let mut subscriber = settled(1, 2_400_000);
    assert_eq!(subscriber.targets(), [Some(id(2, 2))]);
    subscriber.decide(20 * S, 1_990_000);
    assert_eq!(subscriber.targets(), [Some(id(2, 1))]);
    // Enough again, yet not by the margin: for a while nothing happens.
    subscriber.run((20, 22), || 2_100_000);
    assert_eq!(subscriber.targets(), [Some(id(2, 1))]);
    subscriber.run((22, 24), || 2_100_000);
    assert_eq!(subscriber.targets(), [Some(id(2, 2))]);
    subscriber.decide(40 * S, 1_000_000);
    assert_eq!(subscriber.targets(), [Some(id(1, 2))]);
    subscriber.decide(40 * S + 100_000, 2_310_000);
    assert_eq!(subscriber.targets(), [Some(id(2, 2))], "with the margin at once");
    assert_eq!(subscriber.switches, 4);
}

/// What was held may take more for a second, and is given up at once when the path carries less.
#[test]
fn a_layer_that_takes_more_for_a_moment_is_kept() {
    let takes = |subscriber: &mut Subscriber, share: f64| {
        for (layer, usual) in subscriber.layers.iter_mut().zip(simulcast()) {
            layer.bits_per_second = (usual.bits_per_second as f64 * share) as u64;
        }
    };
    let best = [Some(id(2, 2))];
    let mut subscriber = settled(1, 2_400_000);
    takes(&mut subscriber, 1.25);
    subscriber.decide(20 * S, 2_400_000);
    assert_eq!(subscriber.targets(), best);
    takes(&mut subscriber, 1.0);
    subscriber.decide(20 * S + 500_000, 2_400_000);
    takes(&mut subscriber, 1.25);
    subscriber.decide(21 * S + 100_000, 2_400_000);
    assert_eq!(subscriber.targets(), best, "the time begins anew");
    subscriber.decide(22 * S + 50_000, 2_400_000);
    assert_eq!(subscriber.targets(), best);
    subscriber.decide(22 * S + 150_000, 2_400_000);
    assert_ne!(subscriber.targets(), best, "it lasts");
    let mut subscriber = settled(1, 2_400_000);
    takes(&mut subscriber, 1.25);
    subscriber.decide(20 * S, 2_300_000);
    assert_ne!(subscriber.targets(), best, "the path gave way as well");
}

/// A queue empties: what fits well into what comes after that stays, and the last picture anyhow.
#[test]
fn a_queue_that_empties_takes_no_layers() {
    let mut subscriber = settled(1, 1_300_000);
    let before = subscriber.targets();
    subscriber.resume = Some(1_500_000);
    subscriber.decide(20 * S, 500_000);
    assert_eq!(subscriber.targets(), before);
    subscriber.resume = Some(900_000);
    subscriber.decide(20 * S, 500_000);
    assert_ne!(subscriber.targets(), before);
    subscriber.resume = Some(100_000);
    subscriber.decide(21 * S, 10_000);
    assert_eq!(subscriber.targets(), [Some(id(0, 0))]);
    subscriber.resume = None;
    subscriber.decide(22 * S, 10_000);
    assert_eq!(subscriber.targets(), [None]);
}

#[test]
fn patience_begins_anew_when_the_budget_dips() {
    let mut subscriber = settled(1, 1_400_000);
    let mut tick = 0;
    subscriber.run((20, 80), || {
        tick += 1;
        if tick % 20 == 0 { 1_900_000 } else { 2_100_000 }
    });
    assert_eq!((subscriber.targets(), subscriber.switches), (vec![Some(id(2, 1))], 0));
}

#[test]
fn a_noisy_budget_does_not_flap() {
    for tracks in [1, 2, 5, 20] {
        let mut switches = Vec::new();
        for step in 0..24 {
            let mut random = Random(100 + step);
            let budget = 100_000.0 * tracks as f64 * 1.13f64.powi(step as i32);
            let mut noise = || (budget * random.around(0.1)) as u64;
            let track = simulcast();
            let mut subscriber = Subscriber::new(&vec![track.as_slice(); tracks]);
            subscriber.run((0, 20), &mut noise);
            subscriber.switches = 0;
            subscriber.run((20, 140), &mut noise);
            switches.push(subscriber.switches);
        }
        switches.sort_unstable();
        // Of all subscriptions together, in two minutes of 1,200 estimates.
        assert!(switches[12] <= 10 && switches[23] <= 30, "{tracks}: {switches:?}");
    }
}

#[test]
fn a_layer_that_fails_again_and_again_is_tried_ever_more_rarely() {
    let mut subscriber = settled(1, 1_400_000);
    // The path looks wide until the layer is on it.
    let mut tries = Vec::new();
    for tick in 200..2_200 {
        let high = subscriber.candidates[0].current == Some(id(2, 2));
        if high {
            tries.push(tick / 10);
        }
        subscriber.decide(tick * 100_000, if high { 1_500_000 } else { 2_500_000 });
    }
    let gaps: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        gaps.is_sorted() && gaps.len() <= 8 && *gaps.last().unwrap() >= 60,
        "{gaps:?}"
    );
}

#[test]
fn a_path_that_returns_is_used_at_once() {
    let mut subscriber = settled(3, 8_000_000);
    assert_eq!(subscriber.targets(), [Some(id(2, 2)); 3]);
    subscriber.run((20, 60), || 800_000);
    let low = subscriber.targets();
    assert!(low.iter().all(|&layer| layer >= Some(id(0, 1))), "{low:?}");
    subscriber.decide(60 * S, 8_000_000);
    assert_eq!(subscriber.targets(), [Some(id(2, 2)); 3]);
    assert!(subscriber.switches <= 8, "{}", subscriber.switches);
}

#[test]
fn a_path_that_has_grown_ends_the_wait_of_what_failed() {
    for tracks in [1, 4] {
        let mut subscriber = settled(tracks, 500_000 * tracks as u64);
        for second in [20, 30, 40] {
            // Up, and down again a second later.
            subscriber.run((second, second + 1), || 1_400_000 * tracks as u64);
            subscriber.run((second + 1, second + 8), || 500_000 * tracks as u64);
        }
        let before = subscriber.targets();
        subscriber.decide(48 * S, 1_400_000 * tracks as u64);
        assert_eq!(subscriber.targets(), before, "it failed thrice");
        subscriber.decide(48 * S + 100_000, 2_400_000 * tracks as u64);
        assert_eq!(subscriber.targets(), vec![Some(id(2, 2)); tracks]);
    }
}

#[test]
fn a_newcomer_gets_its_picture_at_once_and_others_make_room() {
    let mut subscriber = settled(2, 150_000);
    assert_eq!(subscriber.targets(), [Some(id(0, 0)); 2]);
    // One that was paused for lack of bandwidth waits for the margin; one that is new does not.
    subscriber.candidates.push(camera(0..9));
    subscriber.candidates.push(Candidate {
        hysteresis: Hysteresis::default().rose(0),
        ..camera(0..9)
    });
    for (second, budget, all) in [(21, 181_000, false), (22, 241_000, false), (23, 277_000, true)] {
        subscriber.decide(second * S, budget);
        let shown: Vec<_> = subscriber.targets().iter().map(Option::is_some).collect();
        assert_eq!(shown, [true, true, true, all], "{second}");
    }
    let mut subscriber = settled(2, 2_300_000);
    let before = subscriber
        .decisions
        .iter()
        .map(|decision| decision.bits_per_second)
        .sum::<u64>();
    subscriber.candidates.push(camera(0..9));
    subscriber.decide(21 * S, before + 59_999);
    assert!(subscriber.targets().iter().all(Option::is_some));
    assert!(
        subscriber.decisions[..2]
            .iter()
            .map(|decision| decision.bits_per_second)
            .sum::<u64>()
            < before
    );
}

#[test]
fn a_vanished_layer_is_replaced_at_once_and_is_no_failure() {
    let mut subscriber = settled(1, 5_000_000);
    subscriber.layers[6..].iter_mut().for_each(|layer| layer.active = false);
    subscriber.decide(21 * S, 5_000_000);
    assert_eq!(subscriber.targets(), [Some(id(1, 2))]);
    subscriber.layers[6..].iter_mut().for_each(|layer| layer.active = true);
    subscriber.decide(22 * S, 5_000_000);
    assert_eq!(subscriber.targets(), [Some(id(2, 2))]);
    // The only layer left is above.
    subscriber.candidates[0].current = Some(id(0, 2));
    subscriber.layers[..6].iter_mut().for_each(|layer| layer.active = false);
    subscriber.decide(23 * S, 810_000);
    assert_eq!(subscriber.targets(), [Some(id(2, 0))]);
}

#[test]
fn little_is_not_traded_between_subscriptions() {
    let mut subscriber = settled(2, 1_500_000);
    let before = subscriber.targets();
    let mut random = Random(7);
    // The encoders' rates wander a little, and with them what is best.
    for tick in 200..1_200 {
        for (layer, nominal) in subscriber.layers.iter_mut().zip(simulcast().iter().cycle()) {
            layer.bits_per_second = (nominal.bits_per_second as f64 * random.around(0.03)) as u64;
        }
        subscriber.decide(tick * 100_000, 1_500_000);
    }
    assert_eq!((subscriber.targets(), subscriber.switches), (before, 0));
}

#[test]
fn a_new_speaker_takes_over() {
    let mut subscriber = settled(4, 2_700_000);
    for speaker in [1, 3, 0] {
        for (index, candidate) in subscriber.candidates.iter_mut().enumerate() {
            candidate.speaker_rank = (index == speaker).then_some(0);
        }
        subscriber.run((20, 25), || 2_700_000);
        let targets = subscriber.targets();
        let best = targets.iter().max();
        assert_eq!(best, Some(&targets[speaker]), "{targets:?}");
        assert!(targets.iter().filter(|&target| Some(target) == best).count() < 4);
    }
}
