use super::*;

const MS: u64 = 1_000;

/// A voice that ends at `now` after packets of 20 ms with these levels, each repeated; silent before.
fn voice(now: u64, runs: &[(u8, u64)]) -> Voice {
    let packets: u64 = runs.iter().map(|&(_, count)| count).sum();
    let mut voice = Voice::default();
    let mut at = now - packets * 20 * MS;
    for &(level, count) in runs {
        for _ in 0..count {
            at += 20 * MS;
            voice.on_packet(level, at);
        }
    }
    voice
}

#[test]
fn whose_place_is_taken() {
    const NOW: u64 = 60_000 * MS;
    type Runs = &'static [(u8, u64)];
    type Case = (&'static str, Runs, &'static [(Runs, u64)], Option<usize>);
    // Holders: levels and for how long they have had their place, milliseconds.
    let cases: &[Case] = &[
        ("a click", &[(127, 5), (20, 1)], &[(&[(127, 500)], 9_000)], None),
        (
            "speech, after 40 ms",
            &[(127, 5), (30, 2)],
            &[(&[(127, 500)], 9_000)],
            Some(0),
        ),
        ("a murmur", &[(55, 500)], &[(&[(127, 500)], 9_000)], None),
        (
            "the one who was silent longest",
            &[(30, 2)],
            &[
                (&[(30, 9), (127, 150)], 9_000),
                (&[(30, 9), (127, 250)], 9_000),
                (&[(30, 500)], 9_000),
            ],
            Some(1),
        ),
        (
            "a pause within a turn",
            &[(30, 50)],
            &[(&[(30, 50), (127, 90)], 9_000)],
            None,
        ),
        (
            "everybody speaks alike",
            &[(30, 50)],
            &[(&[(33, 500)], 9_000), (&[(30, 500)], 9_000)],
            None,
        ),
        (
            "the softest of those who speak",
            &[(20, 50)],
            &[(&[(30, 500)], 9_000), (&[(40, 500)], 9_000), (&[(33, 500)], 9_000)],
            Some(1),
        ),
        ("one who has just begun", &[(20, 50)], &[(&[(40, 40)], 900)], None),
        ("nobody has a place", &[(20, 50)], &[], None),
    ];
    for (name, newcomer, holders, expected) in cases {
        let holders = holders.iter().map(|&(runs, age)| Holder {
            voice: voice(NOW, runs),
            since: NOW - age * MS,
        });
        assert_eq!(displaced(NOW, &voice(NOW, newcomer), holders), *expected, "{name}");
    }
}

#[test]
fn packets_far_apart_are_not_in_a_row() {
    let mut voice = Voice::default();
    for packet in 1..10 {
        voice.on_packet(20, packet * 400 * MS);
    }
    assert_eq!(voice.run, 1);
}

#[test]
fn places_are_bounded_and_released() {
    let mut group = Group::new(GroupId(1), 2);
    for (track, free) in [(1, true), (2, true), (3, false)] {
        assert_eq!(group.places(true).take_free(track, 0), free);
    }
    assert_eq!(group.places(true).replace(1, 3, 5), Some(2));
    assert_eq!(group.places(true).replace(7, 3, 5), None);
    group.release(1);
    assert_eq!(group.places(true).held, [(3, 5)]);
    for track in 10..10 + MAX_UNRANKED {
        assert!(group.places(false).take_free(track, 0));
    }
    assert!(!group.places(false).take_free(99, 0));
}

/// Thirty people who take turns of 1 to 8 s, two at a time and with pauses, over open microphones with noise: places change about
/// as often as turns do, and a speaker is heard within 50 ms.
#[test]
fn a_meeting() {
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut voices = [Voice::default(); 30];
    let mut places: Vec<(usize, u64)> = Vec::new();
    let mut turns = [(0, 0_u64, 0_u64); 2];
    let (mut changes, mut began, mut worst) = (0, 0, 0);
    for tick in 1..=15_000_u64 {
        let now = tick * 20 * MS;
        for turn in &mut turns {
            if now >= turn.2 {
                *turn = (random(30) as usize, now, now + (1_000 + random(7_000)) * MS);
                began += 1;
            }
        }
        for who in 0..30 {
            // Words of 440 ms, pauses of 160 ms.
            let speaks = turns
                .iter()
                .any(|&(turn, since, _)| turn == who && (now - since) / MS % 600 < 440);
            let level = if speaks { 20 + random(25) } else { 60 + random(40) };
            voices[who].on_packet(level as u8, now);
            let heard = places.iter().any(|&(holder, _)| holder == who);
            if !heard {
                if places.len() < 6 {
                    places.push((who, now));
                    continue;
                }
                let holders = places.iter().map(|&(holder, since)| Holder {
                    voice: voices[holder],
                    since,
                });
                if let Some(place) = displaced(now, &voices[who], holders) {
                    places[place] = (who, now);
                    changes += 1;
                }
            }
        }
        for &(who, since, _) in &turns {
            if !places.iter().any(|&(holder, _)| holder == who) {
                worst = worst.max(now + 20 * MS - since);
            }
        }
    }
    println!(
        "{began} turns, {changes} changes of places, heard after {} ms at worst",
        worst / MS
    );
    assert!(changes <= began, "{changes} changes, {began} turns");
    assert!(worst <= 50 * MS, "{worst}");
}
