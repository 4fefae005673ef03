//! Values measured over seeds, and what they should be.

use crate::world::quantile;

const SEEDS: u64 = 10;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    Within(f64, f64),
    /// Printed, not judged.
    Told,
}

impl Goal {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
            Self::Within(least, most) => (least..=most).contains(&value),
            Self::Told => true,
        }
    }
}

/// Measures `run` once per seed. The median of each column has to meet its goal; the worst and best are printed beside it.
pub(crate) fn judge(name: &str, columns: &[(&str, Goal)], run: impl Fn(u64) -> Vec<f64>) {
    let runs: Vec<_> = (1..=SEEDS).map(run).collect();
    let mut text = Vec::new();
    let mut missed = Vec::new();
    for (index, &(column, goal)) in columns.iter().enumerate() {
        let values: Vec<_> = runs.iter().map(|run| run[index]).collect();
        let [least, median, most] = [0.0, 0.5, 1.0].map(|share| quantile(values.clone(), share));
        text.push(format!("{column} {median:.2} ({least:.2}–{most:.2})"));
        if !goal.holds(median) {
            missed.push(format!("{column} {median:.3}, goal {goal:?}"));
        }
    }
    println!("{name}: {}", text.join(", "));
    assert!(missed.is_empty(), "{name}: {}", missed.join("; "));
}
