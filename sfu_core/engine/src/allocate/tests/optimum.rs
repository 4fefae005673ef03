//! Greed against the true optimum of the knapsack.

use super::*;

/// The best value within a budget by all ways to choose, without those that cost more and are worth less than others.
fn optimum(choices: &[Choice], menus: &[Menu], budget: u64) -> f64 {
    let mut states = vec![(0u64, 0.0f64)];
    for menu in menus {
        let mut next: Vec<(u64, f64)> = Vec::new();
        for choice in &choices[menu.start as usize..menu.ceiling as usize] {
            next.extend(
                states
                    .iter()
                    .map(|state| (state.0 + choice.cost, state.1 + f64::from(choice.value))),
            );
        }
        next.retain(|state| state.0 <= budget);
        next.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
        let mut best = f64::NEG_INFINITY;
        next.retain(|state| {
            let better = state.1 > best;
            best = best.max(state.1);
            better
        });
        states = next;
    }
    states.last().map_or(0.0, |state| state.1)
}

/// Truly all ways to choose.
fn enumerated(choices: &[Choice], menus: &[Menu], budget: u64) -> f64 {
    let Some((menu, rest)) = menus.split_first() else {
        return 0.0;
    };
    let all = &choices[menu.start as usize..menu.ceiling as usize];
    let affordable = all.iter().filter(|choice| choice.cost <= budget);
    affordable
        .map(|choice| f64::from(choice.value) + enumerated(choices, rest, budget - choice.cost))
        .fold(f64::NEG_INFINITY, f64::max)
}

fn solved(subscriber: &mut Subscriber, budget: u64) -> f64 {
    // The estimate from which a newcomer's margin leaves exactly the budget.
    let estimate = (budget as f64 * (1.0 + MARGIN)).ceil() as u64;
    subscriber.ask(0, estimate).utility
}

/// Share of the optimum at a random budget between nothing and everything.
fn share(random: &mut Random, count: usize, optimum: fn(&[Choice], &[Menu], u64) -> f64) -> f64 {
    let mut subscriber = super::random(random, count);
    let desired = subscriber.ask(0, 0).desired;
    let budget = random.below(desired.max(1) + 1);
    // Nobody has anything yet, and newcomers may take their least without a margin: ask as if they had been there.
    for candidate in &mut subscriber.candidates {
        candidate.hysteresis = Hysteresis::default().rose(0);
    }
    let value = solved(&mut subscriber, budget);
    let best = optimum(&subscriber.scratch.choices, &subscriber.scratch.menus, budget);
    assert!(
        value <= best * 1.000_01 + 1e-3,
        "{value} is better than the best, {best}"
    );
    if best == 0.0 { 1.0 } else { value / best }
}

fn check(mut shares: Vec<f64>, worst: f64, median: f64) {
    shares.sort_by(f64::total_cmp);
    let found = (shares[0], shares[shares.len() / 2]);
    assert!(found.0 >= worst && found.1 >= median, "worst and median: {found:?}");
}

#[test]
fn few_subscriptions_get_95_percent_of_the_optimum_at_least() {
    let mut random = Random(1);
    for count in 1..=5 {
        let shares = (0..400).map(|_| share(&mut random, count, enumerated)).collect();
        check(shares, 0.95, 0.99);
    }
}

#[test]
fn more_subscriptions_do_too() {
    let mut random = Random(2);
    for count in [6, 8, 10, 12, 16] {
        let shares = (0..60).map(|_| share(&mut random, count, optimum)).collect();
        check(shares, 0.95, 0.99);
    }
}

#[test]
fn many_subscriptions_come_close_to_the_bound() {
    let mut random = Random(3);
    for count in [30, 100, 400] {
        let shares = (0..20).map(|_| share(&mut random, count, bound)).collect();
        check(shares, 0.95, 0.99);
    }
}

/// Of the problem in which choices may be mixed: no less than the optimum.
fn bound(choices: &[Choice], menus: &[Menu], budget: u64) -> f64 {
    // The dual: for any price of a bit, what everyone takes at that price, and the budget's worth at it.
    let dual = |price: f64| {
        let taken: f64 = menus
            .iter()
            .map(|menu| {
                let all = choices[menu.start as usize..menu.ceiling as usize].iter();
                all.map(|choice| f64::from(choice.value) - price * choice.cost as f64)
                    .fold(f64::NEG_INFINITY, f64::max)
            })
            .sum();
        taken + price * budget as f64
    };
    // It is convex in the price.
    let (mut low, mut high) = (0.0, 0.1);
    for _ in 0..200 {
        let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if dual(a) < dual(b) {
            high = b;
        } else {
            low = a;
        }
    }
    dual(low)
}

#[test]
fn the_yardsticks_agree() {
    let mut random = Random(4);
    for _ in 0..300 {
        let count = 1 + random.below(4) as usize;
        let mut subscriber = super::random(&mut random, count);
        let budget = random.below(subscriber.ask(0, 0).desired.max(1));
        let (choices, menus) = (&subscriber.scratch.choices, &subscriber.scratch.menus);
        let all = enumerated(choices, menus, budget);
        assert!((optimum(choices, menus, budget) - all).abs() < 1e-6);
        assert!(bound(choices, menus, budget) >= all - 1e-3);
    }
}
