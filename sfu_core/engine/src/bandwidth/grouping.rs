//! Packets that were sent or that arrived together tell one delay between them
//! (draft-ietf-rmcat-gcc-02 section 5.2, with the least delay of a group in place of its last packet's).

/// Packets sent within this time are one group (section 5.2 of the draft), microseconds.
const BURST: u64 = 5_000;
/// Packets that arrive this close to each other were held up and let go together, microseconds.
const HELD_UP: i64 = 5_000;
/// A group of packets held up together ends after so much time of sending, microseconds.
const LONGEST: u64 = 100_000;

/// The delay at one moment, on top of the unknown difference of the clocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// When the group's first packet was sent, microseconds.
    pub(super) sent: u64,
    /// Least of arrival − sending, microseconds. The first packets of a frame sent at once wait less than its last,
    /// so the size of frames does not look like a queue.
    pub(super) delay: i64,
}

#[derive(Debug, Default)]
pub(super) struct Grouping {
    open: Option<Group>,
}

#[derive(Debug)]
struct Group {
    sample: Sample,
    last_sent: u64,
    last_arrival: i64,
}

impl Grouping {
    /// Takes the next packet in order of sending; returns a group when it ends.
    pub(super) fn push(&mut self, sent: u64, arrival: i64) -> Option<Sample> {
        let delay = arrival - sent as i64;
        if let Some(open) = &mut self.open {
            let age = sent.saturating_sub(open.sample.sent);
            let since = arrival - open.last_arrival;
            let is_held_up = since <= HELD_UP && delay < open.sample.delay && age < LONGEST;
            if age <= BURST || is_held_up {
                open.sample.delay = open.sample.delay.min(delay);
                open.last_sent = open.last_sent.max(sent);
                open.last_arrival = open.last_arrival.max(arrival);
                return None;
            }
        }
        let fresh = Group {
            sample: Sample { sent, delay },
            last_sent: sent,
            last_arrival: arrival,
        };
        self.open.replace(fresh).map(|group| group.sample)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(packets: &[(u64, i64)]) -> Vec<(u64, i64)> {
        let mut grouping = Grouping::default();
        let mut ended: Vec<_> = packets
            .iter()
            .filter_map(|&(sent, at)| grouping.push(sent, at))
            .collect();
        ended.extend(grouping.push(u64::MAX, 0));
        ended.iter().map(|sample| (sample.sent, sample.delay)).collect()
    }

    #[test]
    fn table() {
        for (packets, expected) in [
            // A frame of five packets at once waits for itself: its first tells.
            (
                &[
                    (0, 20_000),
                    (0, 24_000),
                    (0, 28_000),
                    (33_000, 53_000),
                    (33_000, 57_000),
                ][..],
                vec![(0, 20_000), (33_000, 20_000)],
            ),
            // Spaced packets are groups of their own.
            (
                &[(0, 20_000), (6_000, 26_000), (12_000, 33_000)],
                vec![(0, 20_000), (6_000, 20_000), (12_000, 21_000)],
            ),
            // Held up for 40 ms, let go at once.
            (
                &[
                    (0, 60_000),
                    (10_000, 61_000),
                    (20_000, 62_000),
                    (30_000, 63_000),
                    (60_000, 80_000),
                ],
                vec![(0, 33_000), (60_000, 20_000)],
            ),
            // Overtaken within a group.
            (&[(0, 24_000), (1_000, 20_000)], vec![(0, 19_000)]),
            (&[], vec![]),
        ] {
            assert_eq!(groups(packets), expected, "{packets:?}");
        }
    }
}
