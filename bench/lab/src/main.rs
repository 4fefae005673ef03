//! The engine without sockets: what forwarding costs by itself. Peers are connected as in the engine's own tests, by real
//! ICE, DTLS and SRTP in simulated time; then prepared packets go in, and what comes out is counted and dropped.
//!
//! `pysfu-lab forward` measures once. `pysfu-lab serve` reads requests from standard input, a line of JSON each, and
//! answers each with a line: the set-up stays out of what `pytest-benchmark` times.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "shares the harness of the engine's tests; a failure ends the run"
)]

#[allow(dead_code, reason = "of the engine's tests")]
#[path = "../../../sfu_core/engine/tests/transport/client.rs"]
mod client;
mod fanout;
#[allow(dead_code, reason = "of the engine's tests")]
#[path = "../../../sfu_core/engine/tests/scenarios/media.rs"]
mod media;
#[allow(dead_code, reason = "of the engine's tests")]
#[path = "../../../sfu_core/engine/tests/transport/stun.rs"]
mod stun;
#[allow(dead_code, reason = "of the engine's tests")]
#[path = "../../../sfu_core/engine/tests/scenarios/world.rs"]
mod world;

use std::io::BufRead;

use clap::{Parser, Subcommand};
use serde::Deserialize;

use fanout::{Fanout, Setup};

#[derive(Parser)]
#[command(name = "pysfu-lab", version, about = "The engine without sockets")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Forward so many packets and tell the time of each
    Forward {
        #[command(flatten)]
        setup: Setup,
        /// Packets out, about
        #[arg(long, default_value_t = 100_000)]
        packets: u64,
    },
    /// Serve requests from standard input
    Serve,
}

/// `{"setup": {…}}`, `{"forward": 10000}`
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Request {
    Setup(Setup),
    Forward(u64),
}

fn main() {
    match Cli::parse().command {
        Command::Forward { setup, packets } => {
            let mut fanout = Fanout::new(&setup);
            fanout.prepare(packets);
            println!("{}", serde_json::to_string(&fanout.run()).unwrap());
        }
        Command::Serve => serve(),
    }
}

/// The answer to `setup` has the profile that was negotiated. After a `forward` is answered, packets for another one of
/// the same size are made ready.
fn serve() {
    let mut fanout: Option<Fanout> = None;
    for line in std::io::stdin().lock().lines() {
        match serde_json::from_str(&line.unwrap()).unwrap() {
            Request::Setup(setup) => {
                let new = Fanout::new(&setup);
                println!("{}", serde_json::json!({"profile": new.profile()}));
                fanout = Some(new);
            }
            Request::Forward(packets) => {
                let fanout = fanout.as_mut().unwrap();
                if fanout.is_empty() {
                    fanout.prepare(packets);
                }
                println!("{}", serde_json::to_string(&fanout.run()).unwrap());
                fanout.prepare(packets);
                println!("{{}}");
            }
        }
    }
}
