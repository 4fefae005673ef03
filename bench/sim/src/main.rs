//! `pysfu-sim`: runs quality scenarios in simulated time.
#![allow(clippy::unwrap_used, reason = "a failure ends the run")]

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use pysfu_sim::metrics::quantile;
use pysfu_sim::scenario::{Outcome, Scenario, Setup, all};
use serde_json::json;

#[derive(Parser)]
#[command(
    name = "pysfu-sim",
    version,
    about = "The quality scenarios Q1 to Q8 in simulated time"
)]
struct Cli {
    /// Only scenarios whose name begins so; may be repeated
    #[arg(long)]
    scenario: Vec<String>,
    /// Runs of each scenario, with seeds from 1
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// One run with this seed instead
    #[arg(long)]
    seed: Option<u64>,
    /// Shortened: proves that everything works
    #[arg(long)]
    quick: bool,
    /// Tell the time series of the first seed
    #[arg(long)]
    series: bool,
    /// A line of JSON for each value
    #[arg(long)]
    json: bool,
    /// Names of the scenarios alone
    #[arg(long)]
    list: bool,
    /// [default: one per CPU]
    #[arg(long)]
    threads: Option<usize>,
}

/// Seconds of CPU for a scenario of cost 1, about.
const SECONDS: f64 = 1.0;

fn main() {
    let cli = Cli::parse();
    let chosen = |scenario: &Scenario| {
        cli.scenario.is_empty() || cli.scenario.iter().any(|name| scenario.name.starts_with(name.as_str()))
    };
    let scenarios: Vec<_> = all().into_iter().filter(chosen).collect();
    if cli.list {
        scenarios.iter().for_each(|scenario| tell(&scenario.name));
        return;
    }
    let seeds: Vec<u64> = cli.seed.map_or_else(|| (1..=cli.seeds).collect(), |seed| vec![seed]);
    let jobs: Vec<_> = scenarios
        .iter()
        .flat_map(|scenario| seeds.iter().map(move |&seed| (scenario, seed)))
        .collect();
    let threads = cli
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    if cli.json {
        let cost: f64 = jobs.iter().map(|(scenario, _)| scenario.cost).sum();
        tell(&json!({"plan": {"seconds": cost * SECONDS / threads as f64}}).to_string());
    }
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    results.lock().unwrap().resize_with(jobs.len(), || None);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            scope.spawn(|| {
                while let Some((scenario, seed)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let at = jobs
                        .iter()
                        .position(|job| std::ptr::eq(job.0, *scenario) && job.1 == *seed);
                    let outcome = scenario.run(Setup {
                        seed: *seed,
                        quick: cli.quick,
                    });
                    if cli.json {
                        let seconds = scenario.cost * SECONDS / threads as f64;
                        let done = json!({"scenario": scenario.name, "seed": seed, "seconds": seconds});
                        tell(&json!({"done": done}).to_string());
                    }
                    results.lock().unwrap()[at.unwrap_or_default()] = Some(outcome);
                }
            });
        }
    });
    let results: Vec<Outcome> = results.into_inner().unwrap().into_iter().flatten().collect();
    for (scenario, outcomes) in scenarios.iter().zip(results.chunks(seeds.len())) {
        if cli.json {
            write_json(scenario, &seeds, outcomes, cli.series);
        } else {
            write_table(scenario, outcomes, cli.series);
        }
    }
}

fn tell(line: &str) {
    writeln!(std::io::stdout().lock(), "{line}").unwrap();
}

fn write_json(scenario: &Scenario, seeds: &[u64], outcomes: &[Outcome], series: bool) {
    let (name, variant) = (&scenario.name, scenario.variant);
    for (seed, outcome) in seeds.iter().zip(outcomes) {
        for sample in &outcome.samples {
            let sample = json!({
                "scenario": name, "variant": variant, "metric": sample.metric, "unit": sample.unit, "seed": seed,
                "value": sample.value,
            });
            tell(&json!({"sample": sample}).to_string());
        }
        if series && seed == &seeds[0] {
            for series in &outcome.series {
                let series = json!({
                    "scenario": name, "variant": variant, "seed": seed, "name": series.name, "unit": series.unit,
                    "times": series.times, "values": series.values,
                });
                tell(&json!({"series": series}).to_string());
            }
        }
    }
}

/// Medians, with the least and the greatest value.
fn write_table(scenario: &Scenario, outcomes: &[Outcome], series: bool) {
    tell(&format!("{} {}", scenario.name, scenario.variant));
    for (index, sample) in outcomes[0].samples.iter().enumerate() {
        let values: Vec<f64> = outcomes.iter().map(|outcome| outcome.samples[index].value).collect();
        let [least, median, most] = [0.0, 0.5, 1.0].map(|share| quantile(values.clone(), share));
        let (metric, unit) = (sample.metric, sample.unit);
        tell(&format!("  {metric:24} {median:10.2} {unit:4} ({least:.2}–{most:.2})"));
    }
    if series && let Some(first) = outcomes[0].series.first() {
        let names: Vec<_> = outcomes[0].series.iter().map(|series| series.name.as_str()).collect();
        tell(&format!("  time {}", names.join(" ")));
        for (slot, time) in first.times.iter().enumerate() {
            let values: Vec<_> = outcomes[0]
                .series
                .iter()
                .map(|series| match series.values.get(slot) {
                    Some(value) if series.unit == "bit/s" => format!("{:.0}k", value / 1e3),
                    Some(value) => format!("{value:.1}"),
                    None => "-".to_owned(),
                })
                .collect();
            tell(&format!("  {time:.1} {}", values.join(" ")));
        }
    }
}
