//! The scenarios by their names, and what a run of one tells.

mod q1;
mod q2;
mod q3;
mod q4;
mod q5;
mod q6;
mod q7;
mod q8;
mod room;

use serde::Serialize;

use crate::metrics::{SLOT, Watch};

/// One scenario, or one variant of it.
pub struct Scenario {
    pub name: String,
    /// Empty, or what is done differently.
    pub variant: &'static str,
    /// What a run costs, in the unit of the others.
    pub cost: f64,
    run: Box<dyn Fn(Setup) -> Outcome + Send + Sync>,
}

/// How a scenario is run.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub seed: u64,
    /// So short that it only proves that everything works.
    pub quick: bool,
}

/// What a run tells.
#[derive(Default)]
pub struct Outcome {
    pub samples: Vec<Sample>,
    pub series: Vec<Series>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    pub metric: &'static str,
    pub unit: &'static str,
    /// Infinite: it never came.
    pub value: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Series {
    pub name: String,
    pub unit: &'static str,
    /// Seconds.
    pub times: Vec<f64>,
    pub values: Vec<f64>,
}

impl Scenario {
    fn new(name: impl Into<String>, cost: f64, run: impl Fn(Setup) -> Outcome + Send + Sync + 'static) -> Self {
        Self {
            name: name.into(),
            variant: "",
            cost,
            run: Box::new(run),
        }
    }

    fn variant(self, variant: &'static str) -> Self {
        Self { variant, ..self }
    }

    pub fn run(&self, setup: Setup) -> Outcome {
        (self.run)(setup)
    }
}

impl Outcome {
    pub(crate) fn tell(&mut self, metric: &'static str, unit: &'static str, value: f64) {
        self.samples.push(Sample { metric, unit, value });
    }

    /// The median of a metric told once.
    pub fn value(&self, metric: &str) -> Option<f64> {
        let found = self.samples.iter().find(|sample| sample.metric == metric);
        found.map(|sample| sample.value)
    }

    /// The series of a client, their names with a suffix where there are several.
    pub(crate) fn show(&mut self, watch: &Watch, suffix: &str) {
        let mut add = |name: &str, unit, values: Vec<f64>| {
            let times = (1..=values.len()).map(|slot| slot as f64 * SLOT as f64 / 1e6).collect();
            self.series.push(Series {
                name: format!("{name}{suffix}"),
                unit,
                times,
                values,
            });
        };
        add("capacity", "bit/s", watch.capacity.clone());
        add("estimate", "bit/s", watch.estimate.clone());
        add("allocated", "bit/s", watch.allocated.clone());
        add("sent", "bit/s", watch.sent.clone());
        add("queue", "ms", watch.queue.clone());
        add("layer", "", watch.layer.clone());
    }
}

/// All of them, in order.
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    q1::add(&mut all);
    q2::add(&mut all);
    q3::add(&mut all);
    q4::add(&mut all);
    q5::add(&mut all);
    q6::add(&mut all);
    q7::add(&mut all);
    q8::add(&mut all);
    all
}
