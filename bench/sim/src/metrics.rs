//! What is watched of a call, and the numbers that are made of it.

use crate::peer::Told;
use crate::receive::video::Shown;

/// Microseconds of a step of a series.
pub(crate) const SLOT: u64 = 100_000;
/// Frames over which W3C's webrtc-stats takes the mean duration of a frame.
const FRAMES: usize = 30;

/// What one client went through: a value for every [`SLOT`] since its wires began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// Bits per second.
    pub(crate) estimate: Vec<f64>,
    pub(crate) allocated: Vec<f64>,
    pub(crate) capacity: Vec<f64>,
    /// Bytes that the wire could have carried so far.
    pub(crate) carried: Vec<u64>,
    /// Bits per second that went into the wire.
    pub(crate) sent: Vec<f64>,
    /// Longest wait, milliseconds.
    pub(crate) queue: Vec<f64>,
    pub(crate) told: Vec<Told>,
    pub(crate) layer: Vec<f64>,
    /// Wait of each packet, milliseconds, with its time, microseconds.
    pub(crate) waits: Vec<(u64, f32)>,
    bytes: u64,
    longest: f64,
}

impl Watch {
    /// `wait`: in the queue, milliseconds; none when it was dropped there.
    pub(crate) fn on_sent(&mut self, at: u64, bytes: usize, wait: Option<f64>) {
        self.bytes += (bytes + crate::wires::UDP_IP) as u64;
        let Some(wait) = wait else { return };
        self.longest = self.longest.max(wait);
        self.waits.push((at, wait as f32));
    }

    pub(crate) fn on_slot(
        &mut self,
        (estimate, allocated): (f64, f64),
        capacity: Option<u64>,
        carried: u64,
        told: Told,
        layer: Option<u8>,
    ) {
        self.estimate.push(estimate);
        self.allocated.push(allocated);
        self.capacity
            .push(capacity.map_or(f64::NAN, |capacity| capacity as f64));
        self.carried.push(carried);
        self.sent
            .push(std::mem::take(&mut self.bytes) as f64 * 8e6 / SLOT as f64);
        self.queue.push(std::mem::take(&mut self.longest));
        self.told.push(told);
        self.layer.push(layer.map_or(-1.0, f64::from));
    }

    /// Milliseconds that this share of packets sent within these seconds did not exceed.
    pub(crate) fn wait(&self, share: f64, from: f64, to: f64) -> f64 {
        let within = (from * 1e6) as u64..(to * 1e6) as u64;
        let waits = self.waits.iter().filter(|(at, _)| within.contains(at));
        quantile(waits.map(|&(_, wait)| f64::from(wait)).collect(), share)
    }

    /// Share of what the wire could have carried that arrived, padding left out; of useful kinds, percent.
    pub(crate) fn use_of_capacity(&self, from: f64, to: f64) -> f64 {
        let (first, last) = (slot(from), slot(to).min(self.carried.len()) - 1);
        let could = (self.carried[last] - self.carried[first]) as f64;
        let useful = self.told[first + 1..=last].iter().map(Told::useful).sum::<u64>() as f64;
        100.0 * useful / could
    }

    /// Bits per second of what was of use.
    pub(crate) fn mean_useful(&self, from: f64, to: f64) -> f64 {
        let told = &self.told[slot(from)..slot(to).min(self.told.len())];
        told.iter().map(Told::useful).sum::<u64>() as f64 * 8e6 / SLOT as f64 / told.len() as f64
    }

    pub(crate) fn mean_estimate(&self, from: f64, to: f64) -> f64 {
        mean(&self.estimate[slot(from)..slot(to)])
    }

    pub(crate) fn least_estimate(&self, from: f64, to: f64) -> f64 {
        let estimates = self.estimate[slot(from)..slot(to)].iter();
        estimates.copied().fold(f64::INFINITY, f64::min)
    }

    /// Seconds after `from` when the estimate first is `reached`; infinite when it never is before `to`.
    pub(crate) fn until(&self, from: f64, to: f64, reached: impl Fn(f64) -> bool) -> f64 {
        let slots = self.estimate[slot(from)..slot(to).min(self.estimate.len())].iter();
        let found = slots.clone().position(|&estimate| reached(estimate));
        found.map_or(f64::INFINITY, |found| (found + 1) as f64 * SLOT as f64 / 1e6)
    }

    /// Percent by which the estimate is off its mean, in 95 % of the time at most.
    pub(crate) fn spread(&self, from: f64, to: f64) -> f64 {
        let mean = self.mean_estimate(from, to);
        let off = self.estimate[slot(from)..slot(to)]
            .iter()
            .map(|estimate| 100.0 * (estimate / mean - 1.0).abs());
        quantile(off.collect(), 0.95)
    }

    /// Parity and what else was not asked for, of what was sent, percent.
    pub(crate) fn redundancy(&self, from: f64, to: f64) -> f64 {
        let told = &self.told[slot(from)..slot(to).min(self.told.len())];
        let parity = told.iter().map(|told| told.parity).sum::<u64>() as f64;
        let media = told.iter().map(|told| told.video + told.repair).sum::<u64>() as f64;
        100.0 * parity / media.max(1.0)
    }

    pub(crate) fn padding(&self, from: f64, to: f64) -> f64 {
        let told = &self.told[slot(from)..slot(to).min(self.told.len())];
        let padding = told.iter().map(|told| told.padding).sum::<u64>() as f64;
        let all = told.iter().map(|told| told.useful() + told.padding).sum::<u64>() as f64;
        100.0 * padding / all.max(1.0)
    }
}

impl Told {
    pub(crate) fn useful(&self) -> u64 {
        self.video + self.audio + self.repair + self.parity
    }
}

fn slot(seconds: f64) -> usize {
    (seconds * 1e6) as usize / SLOT as usize
}

/// What stood still, seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Freezes {
    pub total: f64,
    pub longest: f64,
}

/// Gaps above three frames and above a frame and 150 ms (W3C webrtc-stats, totalFreezesDuration), between two times, with the
/// one that is open at the end. Times in which `paused` are no freezes.
pub(crate) fn freezes(shown: &[Shown], from: u64, to: u64, paused: impl Fn(u64, u64) -> bool) -> Freezes {
    let mut found = Freezes::default();
    let times = shown.iter().map(|shown| shown.at).filter(|&at| at <= to);
    let times: Vec<u64> = times.chain([to]).collect();
    for (index, pair) in times.windows(2).enumerate() {
        let (last, next) = (pair[0], pair[1]);
        let since = index.saturating_sub(FRAMES);
        let frame = match index - since {
            0 => 33_333,
            frames => (last - times[since]) / frames as u64,
        };
        let gap = next - last;
        if next > from && gap > (3 * frame).max(frame + 150_000) && !paused(last, next) {
            let gap = (next - last.max(from)) as f64 / 1e6;
            found.total += gap;
            found.longest = found.longest.max(gap);
        }
    }
    found
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The value that `share` of all do not exceed; 0 without any.
pub fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() as f64 * share).ceil() as usize;
    values.get(index.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// Jain's index of fairness, percent of 1.
pub(crate) fn jain(rates: &[f64]) -> f64 {
    let sum: f64 = rates.iter().sum();
    sum * sum / (rates.len() as f64 * rates.iter().map(|rate| rate * rate).sum::<f64>()).max(1.0)
}
