//! Fuzz bodies: what must hold for any input.
//!
//! Parsers are fed octets, state machines are fed operations. A body panics when something does not hold. The programs in
//! `fuzz_targets/` hand the bodies to libFuzzer; `tests/bodies.rs` runs each over seeds and seeded mutations of them,
//! `tests/memory.rs` over inputs so long that what grows is seen.
//!
//! State machines, and what they are held against: the bandwidth estimator (limits, and that lies and repeated feedback earn
//! nothing), the retransmission ring (a map), output numbers (arithmetic over all that was skipped), the pacer (queues of serial
//! numbers), allocation (the budget, the offer, a second run), demand (what was wanted lately), the encoder and decoder of FEC
//! (packets sent), links of the emulator (their counters), the hello ahead of DTLS (its fragments in order), links between
//! nodes (what was sent).
//!
//! With a stable compiler, from the root of the repository (`--target` keeps build scripts free of the instrumentation):
//! ```sh
//! export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
//!     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
//!     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
//! cargo build -p pysfu-fuzz --features libfuzzer --bins --target x86_64-unknown-linux-gnu --target-dir target/fuzz
//! cargo run -p pysfu-fuzz --example seeds -- sfu_core/fuzz/corpus/seeds
//! mkdir -p sfu_core/fuzz/corpus/rtcp
//! target/fuzz/x86_64-unknown-linux-gnu/debug/rtcp sfu_core/fuzz/corpus/rtcp sfu_core/fuzz/corpus/seeds -max_total_time=60
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a body tells what does not hold"
)]

mod allocate;
mod bandwidth;
mod fec;
mod feedback;
mod hello;
pub mod input;
mod link;
mod media;
pub mod mutate;
mod numbering;
mod pacer;
mod packet;
mod relay;
mod ring;
mod round_trip;
mod rtcp;
pub mod seeds;
mod stun;
mod thinned;

// Parts that the engine keeps to itself.
#[path = "../../engine/src/dtls/hello.rs"]
mod engine_hello;
#[path = "../../engine/src/forward/numbering.rs"]
mod engine_numbering;

pub type Body = fn(&[u8]);

/// Every body by the name of its program.
pub const TARGETS: &[(&str, Body)] = &[
    ("demux", packet::demux),
    ("rtp", packet::rtp),
    ("ext", packet::ext),
    ("ext_values", packet::ext_values),
    ("seq", packet::seq),
    ("rtcp", rtcp::compound),
    ("rtcp_body", rtcp::body),
    ("stun", stun::message),
    ("vp8", media::vp8),
    ("vp9", media::vp9),
    ("h264", media::h264),
    ("av1", media::av1),
    ("dependency", media::dependency),
    ("red", media::red),
    ("round_trip_rtp", round_trip::rtp),
    ("round_trip_red", round_trip::red),
    ("round_trip_report", round_trip::report),
    ("round_trip_nack", round_trip::nack),
    ("round_trip_twcc", round_trip::twcc),
    ("round_trip_ccfb", round_trip::ccfb),
    ("round_trip_remb", round_trip::remb),
    ("round_trip_stun", round_trip::stun),
    ("ulpfec", fec::ulpfec),
    ("flexfec", fec::flexfec),
    ("round_trip_fec", fec::round_trip),
    ("fec_decoder", fec::decoder),
    ("fec_encoder", fec::encoder),
    ("opus_red", fec::opus),
    ("opus_recover", fec::opus_recover),
    ("twcc", feedback::twcc),
    ("ccfb", feedback::ccfb),
    ("remb", feedback::remb),
    ("hello", hello::datagrams),
    ("hello_fragments", hello::fragments),
    ("link_config", link::config),
    ("link_ends", self::relay::ends),
    ("link_liar", self::relay::liar),
    ("link_engine", self::relay::engine),
    ("link_thinned", thinned::through),
    ("bandwidth", bandwidth::bandwidth),
    ("ring", ring::ring),
    ("numbering", numbering::numbering),
    ("pacer", pacer::pacer),
    ("allocate", allocate::allocate),
    ("demand", allocate::demand),
];

/// Runs the body of that name.
pub fn run(name: &str, data: &[u8]) {
    let (_, body) = TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a target of this name");
    body(data);
}
