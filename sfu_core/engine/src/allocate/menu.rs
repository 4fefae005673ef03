//! What one subscription may get: choices by rising cost, each worth more than those before it.

use super::value::{Scale, pixels};
use super::{Candidate, Decision, Hysteresis, Layer, LayerId, MAX_RATE, Reason, Target};

/// What a subscription would lose by leaving its layer downwards beside the picture, as a share of its weight: keeps
/// layers from being traded between subscriptions for little. More is steadier, less follows changes sooner.
const STICKINESS: f32 = 0.05;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    /// Bits per second.
    pub(super) cost: u64,
    pub(super) value: f32,
    /// `None` is paused.
    pub(super) layer: Option<LayerId>,
}

const PAUSED: Choice = Choice {
    cost: 0,
    value: 0.0,
    layer: None,
};

/// A run of choices; never empty. Indices are into all choices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Menu {
    pub(super) start: u32,
    /// The choice that it may keep without any margin: what it has, or the least for a newcomer.
    pub(super) held: u32,
    /// End of the choices, without those that failed lately.
    pub(super) ceiling: u32,
    /// Worth of not falling below `held`.
    pub(super) bonus: f32,
    /// Bits per second of the best choice.
    pub(super) desired: u64,
}

impl Menu {
    /// `failed`: a layer that may not be taken now. Unless `may_pause`, what is shown goes on.
    pub(super) fn read(
        candidate: &Candidate,
        failed: Option<LayerId>,
        layers: &[Layer],
        may_pause: bool,
        choices: &mut Vec<Choice>,
    ) -> Self {
        let start = choices.len();
        let best = layers.iter().map(pixels).fold(1.0, f32::max);
        let scale = Scale::new(candidate, best);
        if candidate.paused {
            choices.push(PAUSED);
            return Self::only(start);
        }
        let within = |layer: &&Layer| {
            layer.active && layer.id.spatial <= candidate.max_spatial && layer.id.temporal <= candidate.max_temporal
        };
        if candidate.may_pause && (may_pause || candidate.current.is_none()) {
            choices.push(PAUSED);
        }
        let lowest = choices.len();
        choices.extend(layers.iter().filter(within).map(|layer| Choice::new(layer, &scale)));
        if choices.len() == lowest {
            // Nothing within what is wanted flows: the lowest that does.
            let flowing = layers.iter().filter(|layer| layer.active);
            match flowing.min_by_key(|layer| layer.id) {
                Some(layer) => choices.push(Choice::new(layer, &scale)),
                None => {
                    choices.truncate(start);
                    choices.push(PAUSED);
                    return Self::only(start);
                }
            }
        }
        let layered = &choices[lowest..];
        let worth = candidate.current.map(|current| worth_of_staying(current, layered));
        let failed = failed
            .and_then(|failed| find(failed, layered))
            .map(|choice| choice.value);
        keep_useful(choices, start);
        let useful = &choices[start..];
        let up_to = |worth: f32| useful.iter().position(|choice| choice.value >= worth);
        let held = match worth {
            Some(worth) => up_to(worth).unwrap_or(useful.len() - 1),
            // Any picture at once is better than the right one later.
            None if candidate.hysteresis.is_new() => lowest - start,
            None => 0,
        };
        let ceiling = failed.and_then(up_to).unwrap_or(useful.len()).max(held + 1);
        Self {
            start: start as u32,
            held: (start + held) as u32,
            ceiling: (start + ceiling) as u32,
            bonus: worth.map_or(0.0, |_| STICKINESS * scale.weight),
            desired: useful.last().map_or(0, |best| best.cost),
        }
    }

    fn only(start: usize) -> Self {
        let start = start as u32;
        Self {
            start,
            held: start,
            ceiling: start + 1,
            bonus: 0.0,
            desired: 0,
        }
    }

    /// `chosen` is the index of `choice`, and `held` the choice at [`Menu::held`].
    pub(super) fn decide(
        &self,
        now: u64,
        candidate: &Candidate,
        chosen: u32,
        held: Choice,
        choice: Choice,
    ) -> Decision {
        let target = match choice.layer {
            Some(layer) => Target::Layer(layer),
            None if candidate.paused => Target::Paused(Reason::Asked),
            None if self.desired == 0 => Target::Paused(Reason::NothingFlows),
            None => Target::Paused(Reason::Bandwidth),
        };
        let hysteresis = candidate.hysteresis;
        let hysteresis = match target {
            Target::Paused(Reason::Asked | Reason::NothingFlows) => Hysteresis::default(),
            _ if chosen > self.held || hysteresis.is_new() => hysteresis.rose(now),
            // Whoever falls because its layer is gone, or no longer wanted, has not failed.
            _ if chosen < self.held && held.layer == candidate.current => {
                hysteresis.fell(now, candidate.current, choice.layer.is_none())
            }
            _ => hysteresis,
        };
        Decision {
            target,
            bits_per_second: choice.cost,
            hysteresis,
        }
    }
}

impl Choice {
    fn new(layer: &Layer, scale: &Scale) -> Self {
        Self {
            cost: layer.bits_per_second.clamp(1, MAX_RATE),
            value: scale.value(layer),
            layer: Some(layer.id),
        }
    }
}

/// Value up to which nothing rises: that of the current layer, or of the best replacement that is not above it.
fn worth_of_staying(current: LayerId, choices: &[Choice]) -> f32 {
    if let Some(choice) = find(current, choices) {
        return choice.value;
    }
    let below = choices
        .iter()
        .filter(|choice| choice.layer.is_some_and(|layer| layer.spatial <= current.spatial));
    let best = below.map(|choice| choice.value).max_by(f32::total_cmp);
    let lowest = || {
        choices
            .iter()
            .min_by_key(|choice| choice.layer)
            .map(|choice| choice.value)
    };
    best.or_else(lowest).unwrap_or(0.0)
}

fn find(layer: LayerId, choices: &[Choice]) -> Option<&Choice> {
    choices.iter().find(|choice| choice.layer == Some(layer))
}

/// Sorts by cost and drops what costs more than something as good.
fn keep_useful(choices: &mut Vec<Choice>, start: usize) {
    let run = &mut choices[start..];
    run.sort_unstable_by(|a, b| a.cost.cmp(&b.cost).then(b.value.total_cmp(&a.value)));
    let mut kept = start + 1;
    for index in start + 1..choices.len() {
        if choices[index].value > choices[kept - 1].value {
            choices[kept] = choices[index];
            kept += 1;
        }
    }
    choices.truncate(kept);
}
