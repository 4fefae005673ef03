//! RFC 8867 sections 5.1 to 5.8: test cases for congestion control of interactive media. Where a function
//! does not say otherwise: one-way delay 50 ms, end-to-end jitter up to 30 ms, a drop-tail queue of 300 ms, no loss.

use std::time::Duration;

use super::{Flow, Profile, Source, ms, s};
use crate::capacity::Capacity;
use crate::config::{LinkConfig, Queue};
use crate::delay::Jitter;
use crate::script::Script;

const DELAY: Duration = ms(50);
const QUEUE: Duration = ms(300);
const JITTER: Duration = ms(30);

/// A link of these constant capacities: (seconds, kbit/s), the first at 0.
fn link(delay: Duration, capacities: &[(u64, u64)]) -> LinkConfig {
    let steps = capacities.iter().map(|&(start, kbps)| (s(start), kbps * 1_000));
    LinkConfig {
        capacity: Capacity::kbps(capacities.first().map_or(0, |&(_, kbps)| kbps)),
        delay,
        queue: Queue::Time(QUEUE),
        jitter: Some(Jitter::normal(JITTER)),
        script: Script::capacities(steps.skip(1)),
        ..LinkConfig::default()
    }
}

/// The way back where a section has nothing to say about it: the delay, and capacity in plenty.
fn way_back(delay: Duration) -> LinkConfig {
    LinkConfig {
        delay,
        jitter: Some(Jitter::normal(JITTER)),
        ..LinkConfig::default()
    }
}

fn media(start: u64, end: u64) -> Flow {
    Flow {
        start: s(start),
        ..Flow::media(s(end))
    }
}

/// Variable capacity with a single flow: 1, 2.5, 0.6 and 1 Mb/s.
pub fn rfc8867_5_1(delay: Duration) -> Profile {
    let down = link(delay, &[(0, 1_000), (40, 2_500), (60, 600), (80, 1_000)]);
    Profile::of_one_flow("rfc8867-5.1", s(100), down, way_back(delay))
}

/// Variable capacity with two flows: 4, 2, 3.5, 1 and 2 Mb/s.
pub fn rfc8867_5_2(delay: Duration) -> Profile {
    let down = link(
        delay,
        &[(0, 4_000), (25, 2_000), (50, 3_500), (75, 1_000), (100, 2_000)],
    );
    Profile {
        flows: vec![media(0, 125); 2],
        ..Profile::of_one_flow("rfc8867-5.2", s(125), down, way_back(delay))
    }
}

/// Media both ways, so that feedback meets congestion: 2, 1, 0.5 and 2 Mb/s down; 2, 0.8 and 2 Mb/s up.
pub fn rfc8867_5_3(delay: Duration) -> Profile {
    let down = link(delay, &[(0, 2_000), (20, 1_000), (40, 500), (60, 2_000)]);
    let up = link(delay, &[(0, 2_000), (35, 800), (70, 2_000)]);
    let back = Flow {
        upwards: true,
        ..media(0, 100)
    };
    Profile {
        flows: vec![media(0, 100), back],
        ..Profile::of_one_flow("rfc8867-5.3", s(100), down, up)
    }
}

/// Three media flows, one after another, on 3.5 Mb/s.
pub fn rfc8867_5_4() -> Profile {
    Profile {
        flows: vec![media(0, 120), media(20, 120), media(40, 120)],
        ..Profile::of_one_flow("rfc8867-5.4", s(120), link(DELAY, &[(0, 3_500)]), way_back(DELAY))
    }
}

/// Five media flows with delays of 10 to 150 ms on 4 Mb/s. The delays are those of the flows; the shared links add none.
pub fn rfc8867_5_5() -> Profile {
    let flows = [10, 25, 50, 100, 150].into_iter().zip([0, 10, 20, 30, 40]);
    Profile {
        flows: flows
            .map(|(delay, start)| Flow {
                delay: ms(delay),
                ..media(start, 300)
            })
            .collect(),
        ..Profile::of_one_flow(
            "rfc8867-5.5",
            s(300),
            link(Duration::ZERO, &[(0, 4_000)]),
            way_back(Duration::ZERO),
        )
    }
}

/// Media that begins 5 s after a long TCP flow on 2 Mb/s. The section asks for queues of 300 ms and of 1 s.
pub fn rfc8867_5_6(queue: Duration) -> Profile {
    let tcp = Flow {
        source: Source::LongTcp,
        ..media(0, 120)
    };
    let down = LinkConfig {
        queue: Queue::Time(queue),
        ..link(DELAY, &[(0, 2_000)])
    };
    Profile {
        flows: vec![media(5, 120), tcp],
        ..Profile::of_one_flow(
            format!("rfc8867-5.6-{}ms", queue.as_millis()),
            s(120),
            down,
            way_back(DELAY),
        )
    }
}

/// Two media flows beside ten that fetch files of 30 to 50 kB, on 2 Mb/s.
pub fn rfc8867_5_7() -> Profile {
    let files = Flow {
        source: Source::ShortTcp {
            smallest_bytes: 30_000,
            largest_bytes: 50_000,
            mean_pause_ms: 10_000,
        },
        ..media(0, 300)
    };
    Profile {
        flows: [vec![media(5, 300); 2], vec![files; 10]].concat(),
        ..Profile::of_one_flow("rfc8867-5.7", s(300), link(DELAY, &[(0, 2_000)]), way_back(DELAY))
    }
}

/// Three media flows on 3.5 Mb/s, of which one pauses between 40 and 60 s.
pub fn rfc8867_5_8() -> Profile {
    let pausing = Flow {
        pause: Some((s(40), s(60))),
        ..media(0, 120)
    };
    Profile {
        flows: vec![pausing, media(0, 120), media(0, 120)],
        ..Profile::of_one_flow("rfc8867-5.8", s(120), link(DELAY, &[(0, 3_500)]), way_back(DELAY))
    }
}

pub fn all() -> Vec<Profile> {
    vec![
        rfc8867_5_1(DELAY),
        rfc8867_5_2(DELAY),
        rfc8867_5_3(DELAY),
        rfc8867_5_4(),
        rfc8867_5_5(),
        rfc8867_5_6(QUEUE),
        rfc8867_5_6(s(1)),
        rfc8867_5_7(),
        rfc8867_5_8(),
    ]
}
