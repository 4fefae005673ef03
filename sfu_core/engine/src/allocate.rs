//! Which layer of each subscription a subscriber gets, so that the sum fits its path.
//!
//! A decision over plain values: [`allocate`] reads an estimate, what the tracks offer and what the subscriber wants, and
//! writes one [`Decision`] per candidate. It is a multiple-choice knapsack (one layer per track, utilities of
//! `value.rs`), solved greedily by utility per bit on each track's convex hull (`solve.rs`), so that a slightly other
//! budget gives a slightly other result. Rules on top of it:
//! - audio is reserved first, and a share for repair (RTX, FEC) is kept on top of the video;
//! - everyone gets a lowest layer before anybody gets a better one, unless priorities are far apart;
//! - over the budget, layers fall at once; up goes only what fits with a [`MARGIN`], or fitted for [`PATIENCE`], and
//!   what failed lately waits longer each time ([`Hysteresis`]);
//! - what cannot be carried at all is paused and said to be, the least useful first.
//!
//! Call order: [`complete`] once per track and tick over its layers, [`allocate`] per subscriber, [`Demand`] per track.

mod assume;
mod demand;
mod hysteresis;
mod menu;
mod solve;
mod value;

use std::ops::Range;

use arrayvec::ArrayVec;

pub use assume::complete;
pub(crate) use demand::join;
pub use demand::{Demand, highest_wanted};
pub use hysteresis::{Backoff, Hysteresis, Standing};

use menu::{Choice, Menu};
use solve::Solver;

/// What a step up must leave free of the estimate. More makes switches rarer and wastes capacity; less makes a noisy estimate flap.
const MARGIN: f64 = 0.15;
/// A step up that leaves only this much free is taken when it fitted for [`PATIENCE`].
const SLIM_MARGIN: f64 = 0.03;
/// Microseconds. Longer is steadier, shorter uses the last 15 % of a steady path sooner.
const PATIENCE: u64 = 3_000_000;
/// What is sent while a queue empties takes this share of the path at most. More keeps layers, less empties it sooner.
const DRAINS: f64 = 0.85;
/// A budget that exceeds the total that failed last by this much ends all waiting: the path has recovered. More heeds
/// failures longer, less returns sooner after a drop.
const CHANGED: f64 = 0.5;
/// Steps up that are told as aims of probes.
const STEPS: usize = 3;
/// Encoders vary: what is held may rise above a budget that stays by this share for so long, microseconds, before something must
/// fall. More lets queues grow, less gives up layers for a moment's motion.
const EXCESS: f64 = 0.1;
const EXCESS_LASTS: u64 = 1_000_000;
/// More than any path carries; keeps sums far from overflow, whatever is measured.
const MAX_RATE: u64 = 1 << 40;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LayerId {
    pub spatial: u8,
    pub temporal: u8,
}

impl LayerId {
    /// The best there is, whatever that is.
    pub const BEST: Self = Self {
        spatial: u8::MAX,
        temporal: u8::MAX,
    };
}

/// What forwarding one (spatial, temporal) pair means. Zero is unknown; [`complete`] replaces it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Layer {
    pub id: LayerId,
    /// Media flows.
    pub active: bool,
    /// Bits per second with everything that it depends on: the lower temporal layers, and the lower spatial ones of a
    /// scalable stream. As measured, so that an encoder that overshoots is taken at its word.
    pub bits_per_second: u64,
    pub width: u16,
    pub height: u16,
    pub frames_per_second: f32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Motion before detail: 15 frames per second come before a higher resolution.
    #[default]
    Camera,
    /// Detail before motion: text must be legible.
    Screen,
}

/// One video subscription.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub source: Source,
    /// Each step doubles (halves) what it is worth; 0 is usual, beyond ±6 nothing changes.
    pub priority: i8,
    /// 0 is who speaks now, then who spoke before.
    pub speaker_rank: Option<u8>,
    /// Pixels in which it is shown; `None` is as large as there is.
    pub wanted: Option<(u16, u16)>,
    pub max_spatial: u8,
    pub max_temporal: u8,
    /// By the subscriber.
    pub paused: bool,
    /// It may be paused for lack of bandwidth. Otherwise it keeps its lowest layer even over the budget.
    pub may_pause: bool,
    /// What the last decision gave it.
    pub current: Option<LayerId>,
    pub hysteresis: Hysteresis,
    /// Its track's place in [`Request::layers`], with those that do not flow.
    pub layers: Range<u32>,
}

pub struct Request<'a> {
    /// Microseconds.
    pub now: u64,
    /// Estimate of the path, bits per second.
    pub budget: u64,
    /// While it is low so that a queue empties: the estimate after that. What is well below it stays, and nothing is paused.
    pub resume: Option<u64>,
    /// Bits per second of audio, taken off first.
    pub audio: u64,
    /// Bits of repair sent per bit of video, 0 to 1.
    pub overhead: f32,
    /// Of all tracks; subscribers of one worker can share it.
    pub layers: &'a [Layer],
    pub candidates: &'a [Candidate],
    /// [`Summary::standing`] of the last call for this subscriber.
    pub standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Layer(LayerId),
    Paused(Reason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// By the subscriber.
    Asked,
    /// To be told as a stream state.
    Bandwidth,
    NothingFlows,
}

/// For the candidate of the same index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    pub target: Target,
    pub bits_per_second: u64,
    /// To be handed back with the next request.
    pub hysteresis: Hysteresis,
}

impl Decision {
    pub fn layer(&self) -> Option<LayerId> {
        match self.target {
            Target::Layer(layer) => Some(layer),
            Target::Paused(_) => None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Video as decided, without repair.
    pub video: u64,
    /// All that will be sent: audio, video, repair.
    pub total: u64,
    /// Estimates from which one, two, three steps more are taken at once: what probes should aim at. Empty when nothing is
    /// left to improve.
    pub steps: ArrayVec<u64, STEPS>,
    /// What everything at its best needs, audio and repair included: no estimate above it is of use.
    pub desired: u64,
    /// Total utility; compares decisions over the same candidates.
    pub utility: f64,
    /// It exceeds the budget: even the least does not fit, or what is held is kept for a moment.
    pub over_budget: bool,
    /// To be handed back with the next request.
    pub standing: Standing,
}

/// Memory that is used again with each call.
#[derive(Default)]
pub struct Scratch {
    choices: Vec<Choice>,
    menus: Vec<Menu>,
    /// Ends of what may be chosen now, index of what is chosen: by menu.
    limits: Vec<u32>,
    stay: Vec<u32>,
    rise: Vec<u32>,
    steps: Vec<(f64, u64)>,
    solver: Solver,
}

/// Decides for one subscriber. `decisions` is cleared and filled, one per candidate.
pub fn allocate(request: &Request<'_>, scratch: &mut Scratch, decisions: &mut Vec<Decision>) -> Summary {
    let costs = Costs::new(request);
    let budget = costs.video_budget(request.budget);
    let draining = request
        .resume
        .map(|resume| (costs.video_budget(resume) as f64 * DRAINS) as u64);
    let last_failed = request.standing.total.last_failed();
    let has_recovered = last_failed.is_some_and(|failed| spared(budget, CHANGED) >= failed);
    scratch.read_menus(request, has_recovered);
    let standing = scratch.choose(request, budget, draining, has_recovered);
    decisions.clear();
    let mut summary = Summary {
        standing,
        ..Summary::default()
    };
    let mut desired = 0;
    for ((candidate, menu), &chosen) in request.candidates.iter().zip(&scratch.menus).zip(&scratch.stay) {
        let (held, choice) = (scratch.choices[menu.held as usize], scratch.choices[chosen as usize]);
        summary.video += choice.cost;
        summary.utility += f64::from(choice.value);
        desired += menu.desired;
        decisions.push(menu.decide(request.now, candidate, chosen, held, choice));
    }
    summary.total = costs.estimate_for(summary.video);
    summary.desired = costs.estimate_for(desired);
    summary.over_budget = summary.video > budget;
    scratch.tell_steps(&costs, &mut summary);
    summary
}

/// From video to all that is sent, and back.
struct Costs {
    audio: u64,
    factor: f64,
}

impl Costs {
    fn new(request: &Request<'_>) -> Self {
        // `max` makes none of what is no number.
        let overhead = request.overhead.max(0.0).clamp(0.0, 1.0);
        Self {
            audio: request.audio.min(MAX_RATE),
            factor: 1.0 + f64::from(overhead),
        }
    }

    fn video_budget(&self, estimate: u64) -> u64 {
        (estimate.min(MAX_RATE).saturating_sub(self.audio) as f64 / self.factor) as u64
    }

    fn estimate_for(&self, video: u64) -> u64 {
        (video as f64 * self.factor).ceil() as u64 + self.audio
    }
}

/// What may be used of `budget` to leave a margin free.
fn spared(budget: u64, margin: f64) -> u64 {
    (budget as f64 / (1.0 + margin)) as u64
}

/// What may be used while nobody rises: `available`, or all of `held` for a while. And since when that is so because layers
/// take more than they did.
fn tolerated(request: &Request<'_>, held: u64, available: u64, draining: Option<u64>) -> (u64, Option<u64>) {
    if draining.is_some_and(|draining| held <= draining) {
        return (available.max(held), None);
    }
    let former = request.standing;
    let has_stayed = former.budget > 0 && available >= former.budget - former.budget / 50;
    if held <= available || held as f64 > available as f64 * (1.0 + EXCESS) || !has_stayed {
        return (available, None);
    }
    let since = former.over_since.unwrap_or(request.now).min(request.now);
    let is_brief = request.now - since < EXCESS_LASTS;
    (if is_brief { held } else { available }, Some(since))
}

impl Scratch {
    fn read_menus(&mut self, request: &Request<'_>, has_recovered: bool) {
        self.choices.clear();
        self.menus.clear();
        for candidate in request.candidates {
            let range = candidate.layers.start as usize..candidate.layers.end as usize;
            let layers = request.layers.get(range).unwrap_or_default();
            let failed = candidate.hysteresis.failed(request.now).filter(|_| !has_recovered);
            let menu = Menu::read(candidate, failed, layers, request.resume.is_none(), &mut self.choices);
            self.menus.push(menu);
        }
    }

    /// Leaves the choice of each menu in `stay`. `draining`: what may be kept while a queue empties.
    fn choose(&mut self, request: &Request<'_>, budget: u64, draining: Option<u64>, has_recovered: bool) -> Standing {
        let now = request.now;
        // First nobody rises: what stays, and what must fall now.
        self.limits.clear();
        self.limits.extend(self.menus.iter().map(|menu| menu.held + 1));
        let held = self.cost(self.menus.iter().map(|menu| menu.held));
        let available = budget;
        let (budget, over_since) = tolerated(request, held, available, draining);
        let staying = self
            .solver
            .solve(&self.choices, &self.menus, &self.limits, budget, &mut self.stay);
        let mut total = request.standing.total;
        if held > budget {
            let none_left = self
                .stay
                .iter()
                .all(|&choice| self.choices[choice as usize].layer.is_none());
            total = total.fell(now, Some(held), none_left);
        }
        let standing = |waiting_since, total| Standing {
            waiting_since,
            over_since,
            budget: available,
            total,
        };
        self.limits.clear();
        self.limits.extend(self.menus.iter().map(|menu| menu.ceiling));
        let mut places = self.stay.iter().zip(&self.limits);
        if places.all(|(&chosen, &limit)| chosen + 1 == limit) {
            return standing(None, total);
        }
        let failed = total.failed(now).filter(|_| !has_recovered);
        let ceiling = failed.map_or(u64::MAX, |failed| spared(failed, SLIM_MARGIN));
        if self.rises(ceiling.min(spared(budget, MARGIN)), staying) {
            std::mem::swap(&mut self.stay, &mut self.rise);
            return standing(None, total.rose(now));
        }
        if !self.rises(ceiling.min(spared(budget, SLIM_MARGIN)), staying) {
            return standing(None, total);
        }
        let since = request.standing.waiting_since.unwrap_or(now).min(now);
        if now - since < PATIENCE {
            return standing(Some(since), total);
        }
        std::mem::swap(&mut self.stay, &mut self.rise);
        standing(None, total.rose(now))
    }

    /// Whether something better than `staying` fits; it is then in `rise`.
    fn rises(&mut self, budget: u64, staying: f64) -> bool {
        let value = self
            .solver
            .solve(&self.choices, &self.menus, &self.limits, budget, &mut self.rise);
        value > staying + 1e-4 && self.cost(self.rise.iter().copied()) <= budget
    }

    fn cost(&self, chosen: impl Iterator<Item = u32>) -> u64 {
        chosen.map(|choice| self.choices[choice as usize].cost).sum()
    }

    /// The steps of most utility per bit, one per candidate, each on top of those before it.
    fn tell_steps(&mut self, costs: &Costs, summary: &mut Summary) {
        self.steps.clear();
        let chosen = self.menus.iter().zip(&self.stay);
        self.steps.extend(chosen.filter_map(|(menu, &chosen)| {
            let from = self.choices[chosen as usize];
            let above = self.choices[chosen as usize + 1..(menu.ceiling as usize).max(chosen as usize + 1)].iter();
            above
                .map(|to| {
                    let more = to.cost - from.cost;
                    (f64::from(to.value - from.value) / more.max(1) as f64, more)
                })
                .max_by(|a, b| a.0.total_cmp(&b.0))
        }));
        let mut video = summary.video;
        while !summary.steps.is_full() {
            let best = self.steps.iter().enumerate().max_by(|a, b| a.1.0.total_cmp(&b.1.0));
            let Some((index, _)) = best else { break };
            video += self.steps.swap_remove(index).1;
            let with_margin = (video as f64 * (1.0 + MARGIN)).ceil() as u64 + 1;
            summary.steps.push(costs.estimate_for(with_margin));
        }
    }
}

#[cfg(test)]
mod tests;
