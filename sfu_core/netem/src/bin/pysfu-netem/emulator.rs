//! Pairs of links in real time, with their statistics and changes.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use pysfu_netem::{Counters, Link, LinkConfig, Random};
use serde::Serialize;

use crate::control::{Command, Commands, Line};
use crate::lateness::{Lateness, Summary};
use crate::output::Output;
use crate::wait::{self, Ready, Wait};
use crate::{Emulation, Failure, specification};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the client.
    Down,
    /// To the server.
    Up,
}

/// One pair of links per number; a pair begins when first asked for.
pub(crate) struct Emulator<T> {
    began: Instant,
    pairs: BTreeMap<u32, Pair<T>>,
    down: LinkConfig,
    up: LinkConfig,
    seed: u64,
    /// From one look at the links to the next, at least.
    gather: Duration,
    looked: Duration,
    report_every: Duration,
    report_at: Duration,
    output: Output,
    commands: Commands,
}

struct Pair<T> {
    /// The links' time counts from here.
    began: Duration,
    down: Link<T>,
    up: Link<T>,
    late: Lateness,
    late_ever: Lateness,
}

#[derive(Serialize)]
struct Report {
    t_s: f64,
    link: u32,
    /// The last of this link; lateness is that of all the time, otherwise of the time since the report before.
    #[serde(rename = "final")]
    last: bool,
    down: Counters,
    up: Counters,
    late_us: Summary,
}

impl<T: Clone> Emulator<T> {
    pub(crate) fn new(options: &Emulation) -> Result<Self, Failure> {
        let [down, up] = specification::links(options)?;
        let output = Output::new();
        if options.realtime {
            // This thread alone, which is why the output has begun before.
            wait::realtime().map_err(Failure::io("--realtime"))?;
        }
        let report_every = Duration::from_millis(options.report_ms);
        Ok(Self {
            began: Instant::now(),
            pairs: BTreeMap::new(),
            down,
            up,
            seed: options.seed,
            gather: Duration::from_micros(options.gather_us),
            looked: Duration::ZERO,
            report_every,
            report_at: report_every,
            output,
            commands: Commands::new(),
        })
    }

    pub(crate) fn say(&self, value: &impl Serialize) {
        self.output.line(value);
    }

    /// Makes the pair begin now.
    pub(crate) fn open(&mut self, number: u32) {
        let began = self.began.elapsed();
        let (down, up, seed) = (&self.down, &self.up, self.seed);
        self.pairs.entry(number).or_insert_with(|| {
            // Seeds of neighbouring runs and links must not meet.
            let mut seeds = Random::new(seed, 1_000 + u64::from(number));
            Pair {
                began,
                down: Link::new(down.clone(), seeds.bits()),
                up: Link::new(up.clone(), seeds.bits()),
                late: Lateness::new(),
                late_ever: Lateness::new(),
            }
        });
    }

    /// Ends the pair, with a last report.
    pub(crate) fn close(&mut self, number: u32) {
        if let Some(mut pair) = self.pairs.remove(&number) {
            let report = pair.report(self.began.elapsed(), number, true);
            self.output.line(&report);
        }
    }

    pub(crate) fn push(&mut self, number: u32, direction: Direction, bytes: usize, item: T) {
        let now = self.began.elapsed();
        if let Some(pair) = self.pairs.get_mut(&number) {
            let since = now.saturating_sub(pair.began);
            pair.link(direction).push(since, bytes, item);
        }
    }

    /// All that has arrived: each link is looked at once, however much it was.
    pub(crate) fn deliver(&mut self, mut take: impl FnMut(Direction, T)) {
        let now = self.began.elapsed();
        for pair in self.pairs.values_mut() {
            let since = now.saturating_sub(pair.began);
            for direction in [Direction::Down, Direction::Up] {
                while let Some((arrival, item)) = pair.link(direction).pop(since) {
                    pair.late.record(since - arrival);
                    pair.late_ever.record(since - arrival);
                    take(direction, item);
                }
            }
        }
    }

    /// Waits for the next event, and does what is not the caller's: reports and commands. False when the program shall end.
    pub(crate) fn wait(&mut self, wait: &mut Wait) -> Result<bool, Failure> {
        let gathering = (self.looked + self.gather).saturating_sub(self.began.elapsed());
        if !gathering.is_zero() {
            thread::sleep(gathering);
        }
        let Ready { ended, commands } = wait.wait(self.timeout()).map_err(Failure::io("ppoll"))?;
        if commands {
            match self.commands.read() {
                None => wait.no_more_commands(),
                Some(lines) => lines.into_iter().for_each(|line| self.command(line)),
            }
        }
        let now = self.began.elapsed();
        self.looked = now;
        if !self.report_every.is_zero() && now >= self.report_at {
            for (&number, pair) in &mut self.pairs {
                self.output.line(&pair.report(now, number, false));
            }
            // A missed time is not made up for.
            self.report_at = now + self.report_every;
        }
        if ended {
            let numbers: Vec<u32> = self.pairs.keys().copied().collect();
            numbers.into_iter().for_each(|number| self.close(number));
        }
        Ok(!ended)
    }

    /// Until the next arrival or report.
    fn timeout(&self) -> Option<Duration> {
        let arrivals = self.pairs.values().flat_map(|pair| {
            let next = [pair.down.next(), pair.up.next()].into_iter().flatten();
            next.map(|next| pair.began + next)
        });
        let report = (!self.report_every.is_zero() && !self.pairs.is_empty()).then_some(self.report_at);
        let next = arrivals.chain(report).min()?;
        Some(next.saturating_sub(self.began.elapsed()))
    }

    fn command(&mut self, line: Line) {
        let now = self.began.elapsed();
        match line {
            Line::Bad(error) => self.output.line(&serde_json::json!({ "error": error })),
            Line::Command(command) => {
                let chosen = self
                    .pairs
                    .iter_mut()
                    .filter(|(number, _)| command.link.is_none_or(|link| link == **number));
                let mut links = 0;
                for (_, pair) in chosen {
                    pair.change(now, &command);
                    links += 1;
                }
                let t_s = now.as_secs_f64();
                self.output.line(&serde_json::json!({ "t_s": t_s, "changed": links }));
                if command.link.is_none() {
                    self.keep(*command);
                }
            }
        }
    }

    /// Links to come begin as changed.
    fn keep(&mut self, command: Command) {
        for (config, change, script) in [
            (&mut self.down, command.down, command.down_script),
            (&mut self.up, command.up, command.up_script),
        ] {
            change.into_iter().for_each(|change| config.apply(change));
            script.into_iter().for_each(|script| config.script = script);
        }
    }
}

impl<T: Clone> Pair<T> {
    fn link(&mut self, direction: Direction) -> &mut Link<T> {
        match direction {
            Direction::Down => &mut self.down,
            Direction::Up => &mut self.up,
        }
    }

    fn change(&mut self, now: Duration, command: &Command) {
        let since = now.saturating_sub(self.began);
        for (link, change, script) in [
            (&mut self.down, &command.down, &command.down_script),
            (&mut self.up, &command.up, &command.up_script),
        ] {
            if let Some(change) = change {
                link.set(since, change.clone());
            }
            if let Some(script) = script {
                link.run(since, script);
            }
        }
    }

    fn report(&mut self, now: Duration, number: u32, last: bool) -> Report {
        // Queues are as of the last time a link was told.
        let since = now.saturating_sub(self.began);
        self.down.advance_to(since);
        self.up.advance_to(since);
        let late_us = if last {
            self.late_ever.summary()
        } else {
            self.late.summary()
        };
        self.late.clear();
        Report {
            t_s: now.as_secs_f64(),
            link: number,
            last,
            down: self.down.counters(),
            up: self.up.counters(),
            late_us,
        }
    }
}
