//! A seeded network emulator. [`Link`] is one direction of a path in simulated time: a bottleneck of given capacity with
//! its queue, then loss, delay, jitter, reordering and duplication. It opens no socket and reads no clock; the
//! program `pysfu-netem` runs the same links between real sockets or network namespaces.
//!
//! ```
//! use std::time::Duration;
//! use pysfu_netem::{Capacity, Link, LinkConfig, Loss, Queue};
//!
//! let mut link = Link::new(
//!     LinkConfig {
//!         capacity: Capacity::Constant(1_000_000),
//!         delay: Duration::from_millis(50),
//!         queue: Queue::Time(Duration::from_millis(300)),
//!         loss: Loss::independent(0.01),
//!         ..LinkConfig::default()
//!     },
//!     7,
//! );
//! link.push(Duration::ZERO, 1_250, "a packet of 10 ms");
//! assert_eq!(link.next(), Some(Duration::from_millis(10)));
//! while let Some(now) = link.next() {
//!     while let Some((arrival, packet)) = link.pop(now) {
//!         assert_eq!((arrival, packet), (Duration::from_millis(60), "a packet of 10 ms"));
//!     }
//! }
//! ```

mod bottleneck;
mod capacity;
mod codel;
mod config;
mod counters;
mod delay;
mod link;
mod loss;
mod opportunities;
pub mod profiles;
mod random;
mod script;
mod trace;
mod units;

pub use capacity::Capacity;
pub use config::{Aqm, ConfigError, LinkConfig, Queue};
pub use counters::Counters;
pub use delay::{Jitter, Reorder, Shape};
pub use link::Link;
pub use loss::{GilbertElliott, Loss};
pub use opportunities::{Opportunities, OpportunitiesError};
pub use random::Random;
pub use script::{Change, Script};
pub use trace::{Trace, TraceError};
