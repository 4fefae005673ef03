//! More open microphones than are forwarded.

use std::time::Duration;

use pysfu_engine::command::{Command, Sound};

use super::{Call, LOUD, QUIET, in_room, speech};
use crate::media::AUDIO_LEVEL;
use crate::world::MS;

#[test]
fn each_gets_the_loudest_few_of_a_large_room() {
    for workers in [1, 2, 3] {
        let mut call = Call::new(workers, 3);
        for index in 0..9 {
            call.join(index % usize::from(workers), in_room());
        }
        call.subscribe_all();
        call.run(3_000 * MS);
        for speaking in [[1, 4, 8], [2, 4, 6], [0, 5, 7]] {
            for (index, microphone) in call.microphones.iter_mut().enumerate() {
                microphone.level = if speaking.contains(&index) { LOUD } else { QUIET };
            }
            let before: Vec<u64> = (0..workers).map(|worker| withheld(&call, worker)).collect();
            call.run(3_000 * MS);
            (0..9).for_each(|who| drop(call.heard(who)));
            call.run(1_000 * MS);
            for who in 0..9 {
                let expected: Vec<usize> = speaking.iter().copied().filter(|&index| index != who).collect();
                assert_eq!(call.heard(who), expected, "{workers} workers, {who} of {speaking:?}");
            }
            assert!((0..workers).any(|worker| withheld(&call, worker) > before[usize::from(worker)]));
        }
    }
}

fn withheld(call: &Call, worker: u8) -> u64 {
    call.world.stats(worker.into()).workers[0].audio_withheld
}

/// The first word is there from its beginning; nothing is concealed when others come and go; numbers have no holes.
#[test]
fn a_new_speaker_is_heard_at_once_and_nobody_conceals_anything() {
    for workers in [1, 2] {
        let mut call = Call::new(workers, 2);
        for index in 0..6 {
            call.join(index % usize::from(workers), in_room());
        }
        call.subscribe_all();
        call.run(3_000 * MS);
        let mut latest = Duration::ZERO;
        for turn in 0..12 {
            let speaker = (turn * 5 + 1) % 6;
            let first = call.microphones[speaker].source.seq;
            call.microphones[speaker].level = LOUD;
            let began = call.world.now;
            let ears = (speaker + 1) % 6;
            let word = format!(" opus {first}");
            while !call
                .listener(ears, 9_000 + speaker as u32)
                .played()
                .iter()
                .any(|frame| frame.contains(&word))
            {
                call.run(MS);
                assert!(call.world.now - began < 100 * MS, "{speaker} is not heard");
            }
            latest = latest.max(call.world.now - began);
            call.run(1_500 * MS);
            call.microphones[speaker].level = QUIET;
            call.run(1_000 * MS);
        }
        // The second packet of a word tells speech from a click.
        assert!(latest <= 45 * MS, "{latest:?}");
        for who in 0..6 {
            for index in (0..6).filter(|&index| index != who) {
                let listener = call.listener(who, 9_000 + index as u32);
                assert_eq!(
                    (listener.holes(), listener.concealed(60 * MS, Duration::ZERO)),
                    (0, 0.0),
                    "{who} {index}"
                );
            }
        }
    }
}

/// A shared screen's sound belongs to no group, a telephone gateway tells no levels: both are heard beside the loudest.
#[test]
fn sounds_without_a_level_and_without_a_room_are_heard_always() {
    let mut call = Call::new(1, 2);
    for index in 0..6 {
        call.join(0, if index == 5 { Sound::default() } else { in_room() });
    }
    call.subscribe_all();
    for (index, microphone) in call.microphones.iter_mut().enumerate() {
        microphone.level = if index < 2 { LOUD } else { QUIET };
    }
    for _ in 0..50 {
        for index in 0..6 {
            let microphone = &mut call.microphones[index];
            let mut packet = speech(&mut microphone.source, microphone.level);
            if index == 4 {
                packet.extensions.retain(|(id, _)| *id != AUDIO_LEVEL);
            }
            let who = microphone.who;
            call.world.send(who, packet);
        }
        (0..20).for_each(|_| call.step());
    }
    assert_eq!(call.heard(3), [0, 1, 4, 5]);
}

#[test]
fn zero_is_everybody() {
    let mut call = Call::new(1, 0);
    for _ in 0..8 {
        call.join(0, in_room());
    }
    call.subscribe_all();
    call.run(500 * MS);
    assert_eq!(call.heard(0), [1, 2, 3, 4, 5, 6, 7]);
}

/// Who leaves or is muted by the server makes room.
#[test]
fn places_are_free_again() {
    let mut call = Call::new(1, 2);
    for _ in 0..5 {
        call.join(0, in_room());
    }
    call.subscribe_all();
    call.run(500 * MS);
    // As their first packets come.
    assert_eq!(call.heard(3), [0, 2]);
    let (peer, track) = (call.world.people[0].peer, call.microphones[0].track);
    let muted = Command::SetMuted {
        peer,
        track,
        muted: true,
    };
    call.world.command(0, muted);
    call.run(500 * MS);
    assert_eq!(call.heard(3), [2, 4]);
    let (peer, track) = (call.world.people[2].peer, call.microphones[2].track);
    call.world.command(0, Command::Unpublish { peer, track });
    call.run(500 * MS);
    assert_eq!(call.heard(3), [1, 4]);
}

/// What is encrypted end to end is never silenced in its publisher's name: it ceases, and begins again without a hole.
#[test]
fn encrypted_voices_have_no_frames_of_ours() {
    let mut call = Call::new(1, 1);
    let encrypted = Sound {
        encrypted: true,
        ..in_room()
    };
    (0..3).for_each(|_| {
        call.join(0, encrypted);
    });
    let ssrc = call.subscribe(2, 0, true);
    call.run(3_000 * MS);
    for turn in [1, 0, 1, 0] {
        for (index, microphone) in call.microphones.iter_mut().enumerate() {
            microphone.level = if index == turn { LOUD } else { QUIET };
        }
        call.run(3_000 * MS);
    }
    let listener = call.listener(2, ssrc);
    assert!(listener.markers >= 2);
    assert_eq!(listener.holes(), 0);
    assert!(call.world.people[2].rtp.iter().all(|packet| packet.payload.len() > 1));
}
