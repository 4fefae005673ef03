//! The knapsack: one choice per menu, the most value within a budget.
//!
//! Greedy along the upper convex hulls of the menus is optimal for the problem in which choices may be mixed, so it also
//! tells a bound, and what is lost by not mixing is at most one step (Sinha and Zoltners 1979). With many subscriptions
//! that is little. With few it can be much: then every single choice is tried as given, with greed for the rest.

use super::menu::{Choice, Menu};

/// A result this close to the bound is good enough, as a share.
const CLOSE: f64 = 0.005;
/// Steps of greed that may be spent on trying choices: tens of microseconds. More finds better results for more
/// subscriptions, less costs less.
const WORK: usize = 60_000;
/// Choices that are fixed by trying at most.
const MAX_PINNED: usize = 3;

#[derive(Default)]
pub(super) struct Solver {
    edges: Vec<Edge>,
    /// Density, inverted, above the index of an edge.
    order: Vec<u64>,
    hull: Vec<u32>,
    pinned: Vec<bool>,
    base: Vec<u32>,
    trial: Vec<u32>,
}

/// From one choice on the hull to the next.
#[derive(Clone, Copy)]
struct Edge {
    menu: u32,
    from: u32,
    to: u32,
    cost: u64,
    gain: f64,
}

#[derive(Clone, Copy)]
struct Input<'a> {
    choices: &'a [Choice],
    menus: &'a [Menu],
    /// End of the choices of each menu.
    limits: &'a [u32],
}

impl Solver {
    /// Leaves the index of a choice per menu in `chosen` and returns their value. The first choices are taken even
    /// when they exceed the budget.
    pub(super) fn solve(
        &mut self,
        choices: &[Choice],
        menus: &[Menu],
        limits: &[u32],
        budget: u64,
        chosen: &mut Vec<u32>,
    ) -> f64 {
        let input = Input { choices, menus, limits };
        chosen.clear();
        chosen.extend(limits.iter().map(|&limit| limit - 1));
        if input.cost(chosen) <= budget {
            return input.value(chosen);
        }
        self.read_edges(input);
        chosen.clear();
        chosen.extend(menus.iter().map(|menu| menu.start));
        self.pinned.clear();
        self.pinned.resize(menus.len(), false);
        let begin = input.value(chosen);
        let (gain, bound) = self.greed(budget.saturating_sub(input.cost(chosen)), chosen);
        let bound = begin + bound;
        if begin + gain < bound * (1.0 - CLOSE) && self.edges.len() * choices.len() <= WORK {
            self.try_choices(input, budget, chosen);
        }
        input.value(chosen)
    }

    fn read_edges(&mut self, input: Input<'_>) {
        self.edges.clear();
        self.order.clear();
        for (index, (menu, &limit)) in input.menus.iter().zip(input.limits).enumerate() {
            let value = |choice: u32| input.worth(index, choice);
            let cost = |choice: u32| input.choices[choice as usize].cost as f64;
            let slope = |from: u32, to: u32| (value(to) - value(from)) / (cost(to) - cost(from));
            self.hull.clear();
            for choice in menu.start..limit {
                while let [.., before, last] = self.hull[..] {
                    if slope(before, last) > slope(last, choice) {
                        break;
                    }
                    self.hull.pop();
                }
                self.hull.push(choice);
            }
            for pair in self.hull.windows(2) {
                let (from, to) = (pair[0], pair[1]);
                let density = slope(from, to) as f32;
                // Positive floats order as their bits do.
                self.order
                    .push(u64::from(!density.to_bits()) << 32 | self.edges.len() as u64);
                self.edges.push(Edge {
                    menu: index as u32,
                    from,
                    to,
                    cost: input.choices[to as usize].cost - input.choices[from as usize].cost,
                    gain: value(to) - value(from),
                });
            }
        }
        self.order.sort_unstable();
    }

    /// Takes edges by falling density while `left` bits per second last. Returns what is gained, and a bound of it.
    fn greed(&self, mut left: u64, chosen: &mut [u32]) -> (f64, f64) {
        let (mut gain, mut bound) = (0.0, None);
        for &key in &self.order {
            let edge = &self.edges[key as u32 as usize];
            let menu = edge.menu as usize;
            if self.pinned[menu] || chosen[menu] != edge.from {
                continue;
            }
            if edge.cost <= left {
                chosen[menu] = edge.to;
                left -= edge.cost;
                gain += edge.gain;
            } else if bound.is_none() {
                bound = Some(gain + edge.gain * left as f64 / edge.cost as f64);
            }
        }
        (gain, bound.unwrap_or(gain))
    }

    /// Fixes the choices that together with greed for the rest yield most, as long as that is more than in `chosen`.
    fn try_choices(&mut self, input: Input<'_>, budget: u64, chosen: &mut Vec<u32>) {
        let mut best = input.value(chosen);
        self.base.clear();
        self.base.extend(input.menus.iter().map(|menu| menu.start));
        for _ in 0..MAX_PINNED {
            let mut found = None;
            for (index, (menu, &limit)) in input.menus.iter().zip(input.limits).enumerate() {
                if self.pinned[index] {
                    continue;
                }
                self.pinned[index] = true;
                for choice in menu.start..limit {
                    self.base[index] = choice;
                    let Some(left) = budget.checked_sub(input.cost(&self.base)) else {
                        break;
                    };
                    let mut trial = std::mem::take(&mut self.trial);
                    trial.clone_from(&self.base);
                    let value = input.value(&trial) + self.greed(left, &mut trial).0;
                    if value > best + 1e-6 {
                        best = value;
                        found = Some((index, choice));
                        chosen.clone_from(&trial);
                    }
                    self.trial = trial;
                }
                self.base[index] = menu.start;
                self.pinned[index] = false;
            }
            let Some((index, choice)) = found else { return };
            self.pinned[index] = true;
            self.base[index] = choice;
        }
    }
}

impl Input<'_> {
    fn worth(&self, menu: usize, choice: u32) -> f64 {
        let of = &self.menus[menu];
        let bonus = if choice >= of.held { of.bonus } else { 0.0 };
        f64::from(self.choices[choice as usize].value + bonus)
    }

    fn value(&self, chosen: &[u32]) -> f64 {
        chosen
            .iter()
            .enumerate()
            .map(|(menu, &choice)| self.worth(menu, choice))
            .sum()
    }

    fn cost(&self, chosen: &[u32]) -> u64 {
        chosen.iter().map(|&choice| self.choices[choice as usize].cost).sum()
    }
}
