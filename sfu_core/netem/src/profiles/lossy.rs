//! Loss that no congestion causes, and delay that steps.

use std::time::Duration;

use super::{Profile, ms, s};
use crate::capacity::Capacity;
use crate::config::{ConfigError, LinkConfig, Queue};
use crate::loss::Loss;
use crate::script::{Change, Script};

/// What the link carries. Loss comes behind it, so that 10 % of it is lost at 10 % loss.
const CAPACITY: Capacity = Capacity::kbps(3_000);

fn link(rtt: Duration, loss: Loss) -> LinkConfig {
    LinkConfig {
        capacity: CAPACITY,
        delay: rtt / 2,
        queue: Queue::Time(ms(300)),
        loss,
        ..LinkConfig::default()
    }
}

/// Feedback is lost like media.
fn profile(name: String, rtt: Duration, loss: Loss) -> Profile {
    let up = LinkConfig {
        capacity: Capacity::Unlimited,
        ..link(rtt, loss)
    };
    Profile::of_one_flow(name, s(60), link(rtt, loss), up)
}

/// Each packet is lost with probability `share`, either way.
pub fn random(share: f64, rtt: Duration) -> Profile {
    let name = format!("loss-{}-rtt-{}ms", percent(share), rtt.as_millis());
    profile(name, rtt, Loss::independent(share))
}

/// `share` of the packets is lost in bursts of `length` packets on average, either way.
pub fn bursts(share: f64, length: f64, rtt: Duration) -> Result<Profile, ConfigError> {
    let name = format!("bursts-{}-length-{length}-rtt-{}ms", percent(share), rtt.as_millis());
    Ok(profile(name, rtt, Loss::bursts(share, length)?))
}

/// 50 ms more from 20 s on, as when a route changes: no congestion.
pub fn delay_step() -> Profile {
    let rtt = ms(50);
    let mut profile = profile("delay-step-50ms".to_owned(), rtt, Loss::None);
    profile.down.script = Script::new([(s(20), Change::AddDelay(ms(50)))]);
    profile
}

pub fn all() -> Vec<Profile> {
    const RTTS: [u64; 3] = [50, 150, 300];
    let random = [0.02, 0.05, 0.1, 0.2]
        .into_iter()
        .flat_map(|share| RTTS.map(|rtt| random(share, ms(rtt))));
    let bursts = [(0.01, 2.0), (0.03, 5.0), (0.05, 10.0), (0.1, 20.0)]
        .into_iter()
        .flat_map(|(share, length)| [150, 300].map(|rtt| bursts(share, length, ms(rtt)).ok()))
        .flatten();
    random.chain(bursts).chain([delay_step()]).collect()
}

fn percent(share: f64) -> String {
    format!("{}pct", (share * 1e4).round() / 1e2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_is_there() {
        assert_eq!(all().len(), 4 * 3 + 4 * 2 + 1);
        assert_eq!(random(0.1, ms(150)).name, "loss-10pct-rtt-150ms");
    }
}
