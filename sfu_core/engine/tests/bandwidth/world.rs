//! Media flows and TCPs that share one bottleneck, in simulated time.

use std::time::Duration;

use netem::{Link, LinkConfig};

use crate::flow::{Flow, Setup};
use crate::tcp::Tcp;

/// Microseconds of a step of the simulation.
const STEP: u64 = 1_000;
/// Steps of a series.
pub(crate) const SLOT: u64 = 100_000;

#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Media { number: u64 },
    Segment { number: u64 },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) flow: usize,
    pub(crate) what: What,
    pub(crate) bytes: u32,
    pub(crate) sent: u64,
}

/// What one flow went through, a value for every [`SLOT`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    pub(crate) target: Vec<f64>,
    /// Bits per second that arrived.
    pub(crate) arrived: Vec<f64>,
    /// Longest wait of a packet in the queue, its own sending included, milliseconds.
    pub(crate) queue: Vec<f64>,
    /// Waits of all packets with their arrival.
    pub(crate) waits: Vec<(u64, f64)>,
    pub(crate) sent_bytes: u64,
    pub(crate) padding_bytes: u64,
}

pub(crate) struct World {
    pub(crate) now: u64,
    down: Link<Packet>,
    pub(crate) flows: Vec<Flow>,
    tcps: Vec<Tcp>,
    delay: u64,
    pub(crate) series: Vec<Series>,
}

pub(crate) fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

impl World {
    pub(crate) fn new(down: LinkConfig, up: LinkConfig, setups: Vec<Setup>, tcps: Vec<Tcp>, seed: u64) -> Self {
        let delay = micros(down.delay);
        let flows: Vec<_> = setups
            .into_iter()
            .enumerate()
            .map(|(index, setup)| Flow::new(index, setup, up.clone(), seed * 1_000 + index as u64))
            .collect();
        let count = flows.len() + tcps.len();
        Self {
            now: 0,
            down: Link::new(down, seed),
            flows,
            tcps,
            delay,
            series: vec![Series::default(); count],
        }
    }

    pub(crate) fn run(&mut self, until: f64) {
        let until = (until * 1e6) as u64;
        while self.now < until {
            self.step();
        }
    }

    fn step(&mut self) {
        let now = self.now;
        let mut out = Vec::new();
        for flow in &mut self.flows {
            flow.step(now, &mut out);
        }
        let media = self.flows.len();
        for (index, tcp) in self.tcps.iter_mut().enumerate() {
            tcp.step(now, media + index, &mut out);
        }
        for packet in out {
            self.down
                .push(Duration::from_micros(now), packet.bytes as usize, packet);
        }
        let slot = (now / SLOT) as usize;
        for (series, flow) in self.series.iter_mut().zip(&self.flows) {
            if series.target.len() <= slot {
                series.target.resize(slot + 1, 0.0);
            }
            series.target[slot] = flow.bandwidth.estimate().target;
            series.sent_bytes = flow.sent_bytes;
            series.padding_bytes = flow.padding_bytes;
        }
        for series in &mut self.series {
            series.arrived.resize(slot + 1, 0.0);
            series.queue.resize(slot + 1, 0.0);
        }
        while let Some((arrival, packet)) = self.down.pop(Duration::from_micros(now + STEP)) {
            let arrival = micros(arrival);
            match packet.what {
                What::Media { number } => self.flows[packet.flow].on_arrival(number, arrival),
                What::Segment { number } => self.tcps[packet.flow - media].on_arrival(number, arrival),
            }
            let series = &mut self.series[packet.flow];
            let wait = (arrival - packet.sent).saturating_sub(self.delay) as f64 / 1e3;
            series.arrived[slot] += f64::from(packet.bytes) * 8e6 / SLOT as f64;
            series.queue[slot] = series.queue[slot].max(wait);
            series.waits.push((arrival, wait));
        }
        self.now += STEP;
    }
}

impl Series {
    fn range(from: f64, to: f64) -> std::ops::Range<usize> {
        (from * 1e6) as usize / SLOT as usize..(to * 1e6) as usize / SLOT as usize
    }

    pub(crate) fn mean_arrived(&self, from: f64, to: f64) -> f64 {
        mean(&self.arrived[Self::range(from, to)])
    }

    pub(crate) fn mean_target(&self, from: f64, to: f64) -> f64 {
        mean(&self.target[Self::range(from, to)])
    }

    pub(crate) fn least_target(&self, from: f64, to: f64) -> f64 {
        self.target[Self::range(from, to)]
            .iter()
            .copied()
            .fold(f64::INFINITY, f64::min)
    }

    /// Seconds after `from` when the target first is `reached`.
    pub(crate) fn until(&self, from: f64, reached: impl Fn(f64) -> bool) -> f64 {
        let start = (from * 10.0) as usize;
        let slots = self.target[start..].iter().position(|&target| reached(target));
        slots.map_or(f64::INFINITY, |slots| slots as f64 / 10.0)
    }

    /// Milliseconds that this share of packets does not exceed.
    pub(crate) fn wait(&self, share: f64, from: f64, to: f64) -> f64 {
        let within = (from * 1e6) as u64..(to * 1e6) as u64;
        let waits = self.waits.iter().filter(|(at, _)| within.contains(at));
        quantile(waits.map(|&(_, wait)| wait).collect(), share)
    }

    /// Relative deviation of the target from its mean.
    pub(crate) fn spread(&self, from: f64, to: f64) -> f64 {
        let mean = self.mean_target(from, to);
        let targets = &self.target[Self::range(from, to)];
        let off = targets.iter().map(|target| (target / mean - 1.0).abs()).collect();
        quantile(off, 0.95)
    }
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

pub(crate) fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() as f64 * share) as usize;
    values
        .get(index.min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0.0)
}

/// Jain's index of fairness.
pub(crate) fn jain(rates: &[f64]) -> f64 {
    let sum: f64 = rates.iter().sum();
    sum * sum / (rates.len() as f64 * rates.iter().map(|rate| rate * rate).sum::<f64>())
}
