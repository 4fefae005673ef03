//! Who speaks: smoothed audio level and activity of one track from the levels in its packets (RFC 6464).

/// dBov below overload. A speaker becomes active at or above this loudness; a smaller number ignores soft voices.
const ON: f32 = 45.0;
/// and stays so until below this one: the gap keeps a voice near the threshold from flickering.
const OFF: f32 = 55.0;
/// Microseconds below `OFF` before a speaker counts as silent: pauses between words are shorter.
const HANGOVER: u64 = 500_000;
/// Share of a louder packet taken at once; of a softer one. Rising fast and falling slowly follows syllables, not samples.
const ATTACK: f32 = 0.35;
const RELEASE: f32 = 0.08;
/// Levels are told in steps of this many decibels.
const STEP: f32 = 3.0;
/// Without packets for this long (DTX, muted) the level falls as if silence arrived, microseconds.
const GAP: u64 = 100_000;
const SILENCE: f32 = 127.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Activity {
    /// dBov below overload, 0 to 127.
    pub(crate) level: u8,
    pub(crate) active: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Speaker {
    level: f32,
    active: bool,
    /// Last packet, and last time at or above `OFF`, microseconds.
    heard: u64,
    loud: u64,
    told: Activity,
}

impl Default for Speaker {
    fn default() -> Self {
        let told = Activity {
            level: SILENCE as u8,
            active: false,
        };
        Self {
            level: SILENCE,
            active: false,
            heard: 0,
            loud: 0,
            told,
        }
    }
}

impl Speaker {
    /// `level` as in the extension: 0 to 127.
    pub(crate) fn on_packet(&mut self, level: u8, now: u64) {
        self.heard = now;
        self.observe(f32::from(level & 0x7f), now);
    }

    /// Called a few times per second. The new value when it differs from the last one told.
    pub(crate) fn poll(&mut self, now: u64) -> Option<Activity> {
        if now.saturating_sub(self.heard) > GAP {
            for _ in 0..10 {
                self.observe(SILENCE, now);
            }
        }
        let level = if self.level == SILENCE {
            SILENCE
        } else {
            (self.level / STEP).round() * STEP
        };
        let activity = Activity {
            level: level as u8,
            active: self.active,
        };
        (activity != self.told).then(|| {
            self.told = activity;
            activity
        })
    }

    fn observe(&mut self, level: f32, now: u64) {
        let share = if level < self.level { ATTACK } else { RELEASE };
        self.level += (level - self.level) * share;
        if SILENCE - self.level < STEP / 2.0 {
            self.level = SILENCE;
        }
        if self.level <= OFF {
            self.loud = now;
        }
        if self.level <= ON {
            self.active = true;
        } else if now.saturating_sub(self.loud) >= HANGOVER {
            self.active = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of 20 ms with these levels, each repeated; activity after each run.
    fn run(runs: &[(u8, u64)]) -> Vec<bool> {
        let (mut speaker, mut now) = (Speaker::default(), 0);
        runs.iter()
            .map(|&(level, count)| {
                for _ in 0..count {
                    now += 20_000;
                    speaker.on_packet(level, now);
                }
                speaker.active
            })
            .collect()
    }

    type Case<'a> = (&'a str, &'a [(u8, u64)], &'a [bool]);

    #[test]
    fn activity() {
        let cases: &[Case<'_>] = &[
            ("silence", &[(127, 50)], &[false]),
            ("noise", &[(65, 500)], &[false]),
            ("voice", &[(25, 10)], &[true]),
            ("a click", &[(10, 1), (127, 50)], &[false, false]),
            (
                "words with pauses",
                &[(25, 20), (70, 15), (25, 20)],
                &[true, true, true],
            ),
            ("voice ends", &[(25, 50), (90, 60)], &[true, false]),
            (
                "near the threshold",
                &[(44, 100), (50, 100), (44, 100)],
                &[true, true, true],
            ),
        ];
        for (name, runs, expected) in cases {
            assert_eq!(&run(runs), expected, "{name}");
        }
    }

    #[test]
    fn tells_only_changes_and_falls_silent_without_packets() {
        let mut speaker = Speaker::default();
        assert_eq!(speaker.poll(0), None);
        for i in 0..50 {
            speaker.on_packet(30, i * 20_000);
        }
        assert_eq!(
            speaker.poll(1_000_000),
            Some(Activity {
                level: 30,
                active: true
            })
        );
        assert_eq!(speaker.poll(1_050_000), None);
        let mut last = None;
        for i in 0..40 {
            last = speaker.poll(2_000_000 + i * 250_000).or(last);
        }
        assert_eq!(
            last,
            Some(Activity {
                level: 127,
                active: false
            })
        );
    }
}
