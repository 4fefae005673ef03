//! When to ask a publisher for a keyframe of a layer: one request for all subscribers, limited, repeated until answered.

/// Requests that may go out at once after a rest. More answer quick changes of layers at once, less spares an encoder whose
/// every keyframe costs the others' quality.
const BURST: u64 = 3;
/// Least time between two requests, as a part of the interval that is kept on average: longer than a round trip and a frame.
const SPACING: u64 = 4;
/// Doublings of the spacing while a publisher does not answer.
const MAX_BACKOFF: u32 = 3;
/// Requests after which a layer that never answers is left alone until someone asks again.
const MAX_TRIES: u32 = 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyframeRequests {
    wanted: bool,
    /// Of the last request sent, microseconds.
    sent: Option<u64>,
    /// Until when the requests sent so far count, one interval each, microseconds.
    charged: u64,
    /// Sent since the last keyframe.
    tries: u32,
}

impl KeyframeRequests {
    /// A subscriber needs one. True when it joins a request that already waits or was sent.
    pub(crate) fn want(&mut self) -> bool {
        let merged = self.wanted;
        if !self.wanted {
            self.wanted = true;
            self.tries = 0;
        }
        merged
    }

    pub(crate) fn on_keyframe(&mut self) {
        self.wanted = false;
        self.tries = 0;
    }

    /// One is on its way, though nobody has asked.
    pub(crate) fn expect(&mut self, now: u64) {
        self.sent = Some(now);
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// True when a request must go out now; it then counts as sent. `interval`: between two of them on average, microseconds.
    pub(crate) fn due(&mut self, now: u64, interval: u64) -> bool {
        if !self.wanted {
            return false;
        }
        if let Some(sent) = self.sent {
            let spacing = (interval / SPACING) << self.tries.saturating_sub(1).min(MAX_BACKOFF);
            if now.saturating_sub(sent) < spacing {
                return false;
            }
        }
        if self.tries >= MAX_TRIES {
            self.wanted = false;
            return false;
        }
        if self.charged > now.saturating_add((BURST - 1) * interval) {
            return false;
        }
        self.charged = self.charged.max(now) + interval;
        self.sent = Some(now);
        self.tries += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    /// Times in milliseconds at which requests go out, polled every 10 ms.
    fn sent(until: u64, mut step: impl FnMut(u64, &mut KeyframeRequests)) -> Vec<u64> {
        let mut requests = KeyframeRequests::default();
        (0..until)
            .step_by(10)
            .filter(|&ms| {
                step(ms, &mut requests);
                requests.due(ms * MS, 2_000 * MS)
            })
            .collect()
    }

    #[test]
    fn a_flood_of_wishes_is_a_few_requests_and_then_one_per_interval() {
        let flood = |_, requests: &mut KeyframeRequests| {
            requests.want();
            requests.on_keyframe();
            requests.want();
        };
        assert_eq!(sent(8_500, flood), [0, 500, 1_000, 2_000, 4_000, 6_000, 8_000]);
        // It is no more after a rest than at first.
        let times = sent(70_000, |ms, requests| {
            if ms >= 60_000 {
                flood(ms, requests);
            }
        });
        assert_eq!(times, [60_000, 60_500, 61_000, 62_000, 64_000, 66_000, 68_000]);
    }

    #[test]
    fn unanswered_requests_back_off_and_end() {
        let times = sent(60_000, |ms, requests| {
            if ms == 0 {
                requests.want();
            }
        });
        assert_eq!(times[..6], [0, 500, 1_500, 3_500, 7_500, 11_500]);
        assert_eq!(times.len(), MAX_TRIES as usize);
    }

    #[test]
    fn what_is_on_its_way_is_not_asked_for() {
        let times = sent(5_000, |ms, requests| match ms {
            0 => {
                requests.expect(0);
                requests.want();
            }
            1_000 => requests.on_keyframe(),
            _ => (),
        });
        assert_eq!(times, [500]);
    }

    #[test]
    fn an_answer_ends_it() {
        let times = sent(5_000, |ms, requests| match ms {
            0 => assert!(!requests.want()),
            10 => assert!(requests.want()),
            600 => requests.on_keyframe(),
            3_000 => assert!(!requests.want()),
            _ => (),
        });
        assert_eq!(times, [0, 500, 3_000, 3_500, 4_500]);
    }
}
