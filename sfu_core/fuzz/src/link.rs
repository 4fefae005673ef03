//! What a network of the emulator is like, as JSON, and what such a link does with packets.

use std::time::Duration;

use netem::{Link, LinkConfig};

use crate::input::Input;

const PACKETS: usize = 40;

/// A configuration that is accepted comes back the same, and a link of it carries packets without making or losing any
/// that it does not count.
pub(crate) fn config(data: &[u8]) {
    let Ok(config) = serde_json::from_slice::<LinkConfig>(data) else {
        return;
    };
    let json = serde_json::to_string(&config).unwrap();
    let again: LinkConfig = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), json);
    if config.check().is_ok() {
        carry(config, data);
    }
}

fn carry(config: LinkConfig, data: &[u8]) {
    let mut input = Input::new(data);
    let mut link = Link::new(config, u64::from(input.u8()));
    let (mut now, mut delivered) = (Duration::ZERO, 0);
    for number in 0..PACKETS {
        now += Duration::from_micros(u64::from(input.u16()));
        link.push(now, usize::from(input.u8()) * 6, number);
        while let Some((arrival, _)) = link.pop(now) {
            assert!(arrival <= now);
            delivered += 1;
        }
    }
    // As long as something moves, step by step.
    for _ in 0..10_000 {
        let Some(next) = link.next() else { break };
        assert!(next >= now, "{next:?} before {now:?}");
        now = next;
        while link.pop(now).is_some() {
            delivered += 1;
        }
    }
    let counters = link.counters();
    assert_eq!((counters.offered, counters.delivered), (PACKETS as u64, delivered));
    let gone = counters.dropped_queue + counters.dropped_codel + counters.lost;
    assert!(delivered + gone + counters.queue_packets as u64 <= counters.offered + counters.duplicated);
}
