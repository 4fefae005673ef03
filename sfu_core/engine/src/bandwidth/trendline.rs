//! Is a queue growing or standing? A line through the last delays, and how far they are above the least ever seen.
//!
//! As draft-ietf-rmcat-gcc-02 section 5 the trend of delay tells overuse before losses do, and the threshold adapts to the noise
//! of the path (section 5.4). Beyond it, the standing queue is told by the least delay of late, and a jump of delay that
//! is a change of path and not a queue is taken out (see [`super::step`]).

use std::cell::Cell;

use super::grouping::Sample;
use super::step::{Revoked, Steps};

/// Samples in the window: with the interval, its longest time.
const WINDOW: usize = 48;
/// Samples closer than this are one, the least of them, microseconds.
const INTERVAL: u64 = 8_000;
/// Time the line goes through, microseconds. Longer sees smaller slopes, and later.
const SPAN: u64 = 400_000;
/// At few packets the line goes back this far to get its samples, microseconds.
const LONGEST_SPAN: u64 = 1_000_000;
const FEWEST_SAMPLES: usize = 6;
/// Milliseconds by which delay must rise along the line to be overuse. Lower reacts sooner, and to noise.
const LEAST_RISE: f64 = 6.0;
/// Deviations of the samples from the line that a rise must exceed, for the line's own error and for its memory.
const NOISE_NOW: f64 = 2.0;
const NOISE_BEFORE: f64 = 1.5;
/// A standing queue beyond this many milliseconds (plus noise) is overuse too. Higher leaves latency, lower starves
/// where delay varies.
const STANDING: f64 = 28.0;
/// The standing queue is the least delay within this time, microseconds.
const STANDING_SPAN: u64 = 120_000;
/// And of what arrived no longer ago than that and so much, microseconds. Shorter sees a flood sooner, and takes for one what fills
/// the queue for a moment.
const LONGEST_ARRIVAL: i64 = 250_000;
/// The path's own delay is the least of this many seconds. Longer forgets a change of path later, shorter takes a
/// lasting queue for the path.
const BASE_SECONDS: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    Normal,
    /// A queue grows.
    Over,
    /// It does not grow, and stands too long.
    Standing,
    /// A queue drains.
    Under,
}

#[derive(Debug)]
pub(super) struct Trendline {
    steps: Steps,
    /// (sent, delay) in microseconds, oldest first, as a ring.
    samples: [(u64, i64); WINDOW],
    next: usize,
    len: usize,
    /// Least delay by second, newest at `base_at`; `i64::MAX` where there was none.
    base: [i64; BASE_SECONDS],
    base_second: u64,
    /// Least delay of the second in which the last step began, before it.
    base_before: i64,
    /// The path's delay is kept while others fill the queue: its emptiness can't be seen.
    hold_base: bool,
    /// Slow mean of the deviation from the line, milliseconds.
    noise: f64,
    /// The capacity keeps changing.
    is_volatile: bool,
    rise: f64,
    /// The queue, since it was last asked for: often between two samples.
    queue: Cell<Option<f64>>,
}

impl Trendline {
    pub(super) fn new() -> Self {
        Self {
            steps: Steps::default(),
            samples: [(0, 0); WINDOW],
            next: 0,
            len: 0,
            base: [i64::MAX; BASE_SECONDS],
            base_second: 0,
            base_before: i64::MAX,
            hold_base: false,
            noise: 2.0,
            is_volatile: false,
            rise: 0.0,
            queue: Cell::new(None),
        }
    }

    pub(super) fn push(&mut self, sample: Sample) {
        self.queue.set(None);
        let (delay, revoked) = self.steps.push(sample);
        if let Some(revoked) = revoked {
            self.revoke(revoked);
        }
        if self.steps.began() == Some(sample.sent) {
            let second = sample.sent / 1_000_000;
            self.base_before = match second == self.base_second {
                true => self.base[(second % BASE_SECONDS as u64) as usize],
                false => i64::MAX,
            };
        }
        match self.newest() {
            Some((sent, _)) if sample.sent < sent => return,
            Some((sent, before)) if sample.sent - sent < INTERVAL => {
                if delay < before {
                    self.sample_mut(0).1 = delay;
                }
            }
            _ => {
                self.samples[self.next] = (sample.sent, delay);
                self.next = (self.next + 1) % WINDOW;
                self.len = (self.len + 1).min(WINDOW);
            }
        }
        if !self.steps.is_suspicious() {
            self.learn_base(sample.sent, delay);
        }
    }

    /// More packets were lost at once than the path loses.
    pub(super) fn on_overflow(&mut self) {
        if let Some(revoked) = self.steps.disprove() {
            self.revoke(revoked);
        }
    }

    pub(super) fn set_volatile(&mut self, is_volatile: bool) {
        self.is_volatile = is_volatile;
    }

    /// Judges what was pushed. `tolerant`: others hold the queue, a standing one says nothing about us.
    pub(super) fn usage(&mut self, tolerant: bool) -> Usage {
        let Some(line) = self.line() else { return Usage::Normal };
        self.rise = line.rise;
        let threshold = LEAST_RISE
            .max(NOISE_NOW * line.deviation * (12.0 / line.count).sqrt())
            .max(NOISE_BEFORE * self.noise);
        // Noise is learned where there is no trend, and slowly (draft-ietf-rmcat-gcc-02 section 5.4, K_d < K_u the other way
        // round: a path gets noisy at once).
        let weight = if line.deviation > self.noise { 0.05 } else { 0.01 };
        if line.rise.abs() <= threshold && self.queue() <= self.standing() {
            self.noise += weight * (line.deviation.min(50.0) - self.noise);
        }
        if self.steps.is_suspicious() {
            return Usage::Normal;
        }
        let stands = self.queue() > self.standing() && line.rise > -LEAST_RISE;
        // A capacity that keeps changing passes for noise, and there a queue must be seen soon.
        let noise = if self.is_volatile { 0.0 } else { self.noise };
        let is_queue = self.queue() > LEAST_RISE + NOISE_BEFORE * noise;
        let grows = line.rise > threshold && is_queue && line.is_rising_still;
        if line.rise < -threshold {
            Usage::Under
        } else if grows {
            Usage::Over
        } else if stands && !tolerant {
            Usage::Standing
        } else {
            Usage::Normal
        }
    }

    /// Milliseconds that packets wait at least, above the path's own delay.
    pub(super) fn queue(&self) -> f64 {
        let queue = self.queue.get().unwrap_or_else(|| self.measured_queue());
        self.queue.set(Some(queue));
        queue
    }

    fn measured_queue(&self) -> f64 {
        let Some((newest, last)) = self.newest() else {
            return 0.0;
        };
        // A flooded path takes long to bring what was sent at once.
        let recent = (0..self.len)
            .map(|index| self.sample(index))
            .take_while(|&(sent, delay)| newest - sent <= STANDING_SPAN && last - delay <= LONGEST_ARRIVAL)
            .map(|(_, delay)| delay)
            .min();
        let base = self.base.iter().copied().min().unwrap_or(i64::MAX);
        match recent {
            Some(recent) if base < i64::MAX => (recent - base).max(0) as f64 / 1e3,
            _ => 0.0,
        }
    }

    /// Whether the path's delay changed within the last `span` microseconds.
    pub(super) fn has_stepped(&self, span: u64) -> bool {
        self.steps.has_stepped(span)
    }

    /// Milliseconds of queue that are too much even if it does not grow.
    pub(super) fn standing(&self) -> f64 {
        STANDING + NOISE_BEFORE * self.noise
    }

    /// What was taken for a queue is the path: it counts from the delay of now.
    pub(super) fn rebase(&mut self) {
        let queue = (self.queue() * 1e3) as i64;
        for least in self.base.iter_mut().filter(|least| **least < i64::MAX) {
            *least += queue;
        }
        self.queue.set(None);
    }

    /// Milliseconds of deviation that are usual here.
    pub(super) fn noise(&self) -> f64 {
        self.noise
    }

    pub(super) fn hold_base(&mut self, hold: bool) {
        self.hold_base = hold;
    }

    /// The receiver's clock was set anew.
    pub(super) fn reset(&mut self) {
        *self = Self {
            noise: self.noise,
            ..Self::new()
        };
    }

    /// What was thought a step was none: its samples are put back where they were.
    fn revoke(&mut self, revoked: Revoked) {
        self.queue.set(None);
        for index in 0..self.len {
            let sample = self.sample_mut(index);
            if sample.0 >= revoked.since {
                sample.1 += revoked.amount;
            }
        }
        let began = revoked.since / 1_000_000;
        for second in began..=self.base_second.min(began + BASE_SECONDS as u64 - 1) {
            let slot = &mut self.base[(second % BASE_SECONDS as u64) as usize];
            if second == began {
                *slot = self.base_before;
            } else if *slot < i64::MAX {
                *slot += revoked.amount;
            }
        }
    }

    fn line(&self) -> Option<Line> {
        let (newest, _) = self.newest()?;
        let mut count = 0;
        let (mut sum_x, mut sum_y, mut sum_xx, mut sum_xy, mut sum_yy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        let origin = self.sample(0).1;
        for index in 0..self.len {
            let (sent, delay) = self.sample(index);
            let age = newest - sent;
            if age > LONGEST_SPAN || (age > SPAN && count >= FEWEST_SAMPLES * 2) {
                break;
            }
            let x = -(age as f64) / 1e3;
            let y = (delay - origin) as f64 / 1e3;
            count += 1;
            sum_x += x;
            sum_y += y;
            sum_xx += x * x;
            sum_xy += x * y;
            sum_yy += y * y;
        }
        if count < FEWEST_SAMPLES {
            return None;
        }
        let n = count as f64;
        let spread = sum_xx - sum_x * sum_x / n;
        let slope = (sum_xy - sum_x * sum_y / n) / spread.max(1.0);
        let left = (sum_yy - sum_y * sum_y / n - slope * slope * spread).max(0.0);
        let span = newest - self.sample(count - 1).0;
        let half = self.sample(count / 2).1;
        Some(Line {
            rise: slope * span as f64 / 1e3,
            deviation: (left / (n - 2.0)).sqrt(),
            count: n,
            is_rising_still: origin >= half,
        })
    }

    fn learn_base(&mut self, sent: u64, delay: i64) {
        let second = sent / 1_000_000;
        let passed = second.saturating_sub(self.base_second);
        if passed > 0 && !self.hold_base {
            for ahead in 0..passed.min(BASE_SECONDS as u64) {
                self.base[((second - ahead) % BASE_SECONDS as u64) as usize] = i64::MAX;
            }
        }
        self.base_second = self.base_second.max(second);
        let slot = &mut self.base[(self.base_second % BASE_SECONDS as u64) as usize];
        *slot = (*slot).min(delay);
    }

    fn newest(&self) -> Option<(u64, i64)> {
        (self.len > 0).then(|| self.sample(0))
    }

    /// The sample `back` before the newest.
    fn sample(&self, back: usize) -> (u64, i64) {
        self.samples[(self.next + WINDOW - 1 - back) % WINDOW]
    }

    fn sample_mut(&mut self, back: usize) -> &mut (u64, i64) {
        &mut self.samples[(self.next + WINDOW - 1 - back) % WINDOW]
    }
}

struct Line {
    /// Milliseconds from one end to the other.
    rise: f64,
    /// Milliseconds.
    deviation: f64,
    count: f64,
    is_rising_still: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample each 10 ms, its delay in milliseconds by the time in seconds; feedback each 50 ms. What was said when.
    fn judge(seconds: u64, delay: impl Fn(f64) -> f64) -> (Trendline, Vec<(f64, Usage)>) {
        let mut trendline = Trendline::new();
        let mut said = Vec::new();
        for index in 0..seconds * 100 {
            let time = index as f64 / 100.0;
            trendline.push(Sample {
                sent: index * 10_000,
                delay: (delay(time) * 1e3) as i64 - 5_000_000,
            });
            if index % 5 == 4 {
                said.push((time, trendline.usage(false)));
            }
        }
        (trendline, said)
    }

    fn first(said: &[(f64, Usage)], usage: Usage) -> Option<f64> {
        said.iter().find(|&&(_, now)| now == usage).map(|&(time, _)| time)
    }

    fn noise(time: f64, most: f64) -> f64 {
        ((time * 1e4).sin() * 43_758.545).fract().abs() * most
    }

    #[test]
    fn a_queue_is_told_as_it_grows_and_as_it_drains() {
        // 5 % more than the path carries from the fifth second on, then 20 % less.
        let (trendline, said) = judge(8, |time| {
            30.0 + noise(time, 2.0) + (time - 5.0).clamp(0.0, 1.0) * 50.0 - (time - 6.5).clamp(0.0, 0.25) * 200.0
        });
        let grows = first(&said, Usage::Over).unwrap();
        assert!((5.05..5.5).contains(&grows), "{grows}");
        let drains = first(&said, Usage::Under).unwrap();
        assert!((6.5..6.9).contains(&drains), "{drains}");
        assert!(trendline.queue() < 4.0);
    }

    #[test]
    fn noise_and_steps_are_no_queue() {
        for most in [2.0, 10.0, 30.0] {
            let (_, said) = judge(20, |time| 30.0 + noise(time, most));
            let wrong = said
                .iter()
                .filter(|(_, usage)| matches!(usage, Usage::Over | Usage::Standing))
                .count();
            assert!(wrong <= 1, "{most} {wrong}");
        }
        let (trendline, said) = judge(10, |time| 30.0 + noise(time, 2.0) + if time > 5.0 { 50.0 } else { 0.0 });
        assert_eq!((first(&said, Usage::Over), first(&said, Usage::Standing)), (None, None));
        assert!(trendline.queue() < 4.0);
    }

    /// A step that is disproved after the delay fell again leaves the path's own delay as it was: no queue is seen that is not there.
    #[test]
    fn a_disproved_step_does_not_lower_the_delay_of_the_path() {
        for fell in [5.15, 5.4, 6.2] {
            let mut trendline = Trendline::new();
            let push = |trendline: &mut Trendline, from: u64, to: u64| {
                for index in from..to {
                    let time = index as f64 / 100.0;
                    let late = if (5.0..fell).contains(&time) { 250_000 } else { 0 };
                    trendline.push(Sample {
                        sent: index * 10_000,
                        delay: 30_000 + late + index as i64 % 3 * 500,
                    });
                }
            };
            push(&mut trendline, 0, 590);
            trendline.on_overflow();
            push(&mut trendline, 590, 900);
            assert!(trendline.queue() < 4.0, "{fell}: {}", trendline.queue());
        }
    }

    /// What is sent within 60 ms arrives within most of a second.
    #[test]
    fn a_flood_is_seen_before_what_was_sent_long_after_it_arrives() {
        let mut trendline = Trendline::new();
        for index in 0..7 {
            trendline.push(Sample {
                sent: index * 10_000,
                delay: 30_000 + index as i64 * 120_000,
            });
        }
        assert!(trendline.queue() > 300.0, "{}", trendline.queue());
        assert_eq!(trendline.usage(false), Usage::Over);
    }

    #[test]
    fn a_standing_queue_is_told_unless_others_hold_it() {
        let fills = |time: f64| 30.0 + (time - 3.0).clamp(0.0, 1.0) * 50.0;
        let (mut trendline, said) = judge(6, fills);
        assert!(first(&said, Usage::Standing).is_some());
        assert_eq!(trendline.usage(true), Usage::Normal);
        assert!((48.0..51.0).contains(&trendline.queue()));
        trendline.rebase();
        assert_eq!((trendline.queue(), trendline.usage(false)), (0.0, Usage::Normal));
        // Long enough for the path's own delay to be forgotten.
        let (trendline, _) = judge(20, fills);
        assert!(trendline.queue() < 1.0);
    }
}
