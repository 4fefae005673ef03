//! Which layers of a track flow: simulcast layers of a track, or spatial layers of a scalable stream.
//!
//! A layer has vanished when others go on while it misses several of its own frames; when everything is silent, a share
//! of a still screen for instance, nothing is known of any of them for a long time.

/// Layers watched at most.
pub(crate) const MAX_MEMBERS: usize = 8;
/// Own frames that a layer may miss while others go on. Fewer finds a vanished layer sooner, more forgives an encoder that drops frames.
const MISSED: u64 = 3;
/// Common silences from which a layer need not come back with the first that do. More forgives layers that are not in
/// step, fewer finds one that vanished beside slow ones sooner.
const GRACES: u8 = 2;
/// Longest gap between frames that is believed to be a cadence, microseconds. Longer is patient with slower screen shares.
const MAX_INTERVAL: u64 = 1_000_000;
/// A track may pause altogether without its layers being gone, microseconds.
const PAUSE: u64 = 5_000_000;

#[derive(Clone, Copy, Debug, Default)]
struct Member {
    flows: bool,
    /// RTP time and arrival of its newest frame.
    time: u64,
    frame: u64,
    /// Between two of its frames, smoothed, microseconds; 0 before the second one.
    interval: u64,
    /// Arrival of its last packet, microseconds.
    last: u64,
    /// Common silences that ended since then.
    graces: u8,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Liveness {
    members: [Member; MAX_MEMBERS],
    /// Arrival of the last packet of any of them.
    last: u64,
    /// When the first came back from a common silence.
    resumed: u64,
    /// Before this none of them can have vanished.
    due: u64,
}

impl Liveness {
    /// `time` is the packet's RTP time, unwrapped, `least` the silence that never means anything, microseconds. True when
    /// the member begins to flow, or when [`vanished`](Self::vanished) should be asked.
    #[inline]
    pub(crate) fn on_packet(&mut self, member: usize, time: u64, arrival: u64, least: u64) -> bool {
        if arrival > self.last + least {
            self.resumed = arrival;
            for member in &mut self.members {
                member.graces = member.graces.saturating_add(1);
            }
        }
        let Some(member) = self.members.get_mut(member) else {
            return false;
        };
        if time > member.time || !member.flows {
            member.on_frame(time, arrival);
        }
        (member.last, member.graces) = (arrival, 0);
        self.last = arrival;
        if !std::mem::replace(&mut member.flows, true) {
            self.due = 0;
        }
        arrival >= self.due
    }

    /// Bit n: member n has ceased to flow since the last call.
    pub(crate) fn vanished(&mut self, now: u64, least: u64) -> u8 {
        let (last, resumed) = (self.last, self.resumed);
        let flowing = self.members.iter().filter(|member| member.flows).count();
        let mut vanished = 0;
        self.due = u64::MAX;
        for (index, member) in self.members.iter_mut().enumerate().filter(|(_, member)| member.flows) {
            let since = match member.graces {
                ..=GRACES => member.last.max(resumed),
                _ => member.last,
            };
            let due = since + member.patience(least);
            if last > due || now > member.last + PAUSE.max(least) {
                member.flows = false;
                vanished |= 1 << index;
            } else if flowing > 1 {
                self.due = self.due.min(due + 1);
            }
        }
        vanished
    }

    pub(crate) fn any_flows(&self) -> bool {
        self.members.iter().any(|member| member.flows)
    }

    pub(crate) fn flows(&self, member: usize) -> bool {
        self.members.get(member).is_some_and(|member| member.flows)
    }
}

impl Member {
    fn patience(&self, least: u64) -> u64 {
        match self.interval {
            0 => least.max(MAX_INTERVAL),
            interval => least.max(MISSED * interval),
        }
    }

    /// Slower at once, faster little by little: bursts between pauses are no cadence.
    fn on_frame(&mut self, time: u64, arrival: u64) {
        if self.frame > 0 {
            let gap = arrival.saturating_sub(self.frame).min(MAX_INTERVAL);
            self.interval = match self.interval {
                0 => gap,
                interval if gap > interval => interval + (gap - interval) / 2,
                interval => interval - (interval - gap) / 8,
            };
        }
        (self.time, self.frame) = (time, arrival);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;
    const LEAST: u64 = 150 * MS;

    /// Milliseconds at which members cease and begin to flow. `sends` says whether a frame of a member comes at this
    /// millisecond; checks come with packets and every 100 ms.
    fn run(until: u64, sends: impl Fn(u64, usize) -> bool) -> Vec<(u64, usize, bool)> {
        let mut liveness = Liveness::default();
        let mut seen = Vec::new();
        let mut known = [false; 3];
        for ms in 1_000..1_000 + until {
            let now = ms * MS;
            let mut check = ms % 100 == 0;
            for member in 0..3 {
                if sends(ms - 1_000, member) {
                    check |= liveness.on_packet(member, ms, now, LEAST);
                }
            }
            if check {
                liveness.vanished(now, LEAST);
            }
            for (member, known) in known.iter_mut().enumerate() {
                if std::mem::replace(known, liveness.flows(member)) != liveness.flows(member) {
                    seen.push((ms - 1_000, member, *known));
                }
            }
        }
        seen
    }

    fn every(interval: u64) -> impl Fn(u64, usize) -> bool {
        move |ms, _| ms % interval == 0
    }

    #[test]
    fn the_top_layer_vanishes_and_returns() {
        let seen = run(6_000, |ms, member| {
            ms % 33 == 0 && !(member == 2 && (2_000..4_000).contains(&ms))
        });
        let begins = [(0, 0, true), (0, 1, true), (0, 2, true)];
        assert_eq!(seen[..3], begins);
        let [(gone, 2, false), (back, 2, true)] = seen[3..] else {
            panic!("{seen:?}");
        };
        assert!(
            (2_120..2_200).contains(&gone) && (4_000..4_033).contains(&back),
            "{seen:?}"
        );
    }

    #[test]
    fn a_common_pause_says_nothing() {
        for (pause, ceases) in [(400, false), (2_000, false), (4_900, false), (6_000, true)] {
            let seen = run(12_000, |ms, _| ms % 33 == 0 && !(2_000..2_000 + pause).contains(&ms));
            assert_eq!(seen.len() > 3, ceases, "{pause}: {seen:?}");
        }
        // After it, who does not come back is gone.
        let seen = run(8_000, |ms, member| {
            ms % 33 == 0 && !(2_000..4_000).contains(&ms) && (member < 2 || ms < 2_000)
        });
        assert_eq!(seen.len(), 4);
        assert!((4_150..6_000).contains(&seen[3].0), "{seen:?}");
    }

    #[test]
    fn slow_and_irregular_cadences_do_not_flap() {
        for interval in [33, 67, 200, 500, 1_000] {
            assert_eq!(run(20_000, every(interval)).len(), 3, "{interval}");
        }
        // 30 frames per second above 5, and all of them in bursts with rests.
        let seen = run(20_000, |ms, member| ms % if member == 0 { 200 } else { 33 } == 0);
        assert_eq!(seen.len(), 3, "{seen:?}");
        let seen = run(20_000, |ms, member| {
            ms % if member == 0 { 200 } else { 33 } == 0 && ms % 1_500 < 700
        });
        assert_eq!(seen.len(), 3, "{seen:?}");
        // A frame now and then that the encoder dropped.
        let seen = run(20_000, |ms, member| ms % 33 == 0 && !(member == 2 && ms / 33 % 20 < 3));
        assert_eq!(seen.len(), 3, "{seen:?}");
    }

    #[test]
    fn a_slow_layer_that_vanishes_is_found_too() {
        let seen = run(10_000, |ms, member| ms % 200 == 0 && (member != 2 || ms < 5_000));
        assert_eq!(seen.len(), 4);
        assert!(seen[3].0 < 5_900, "{seen:?}");
    }

    #[test]
    fn packets_of_one_frame_are_no_cadence() {
        let mut liveness = Liveness::default();
        for frame in 0..20_u64 {
            for packet in 0..10 {
                liveness.on_packet(0, 1 + frame * 3_000, 1_000 * MS + frame * 33 * MS + packet, LEAST);
            }
        }
        assert!((32 * MS..34 * MS).contains(&liveness.members[0].interval));
        assert!(!liveness.on_packet(MAX_MEMBERS, 1, 1, LEAST));
    }
}
