//! The ceiling: what plain code can forward on this kernel. A bare relay that copies each packet to everyone else,
//! encrypted for each with a key of its own, and does nothing besides: no ICE, no RTCP, no rewriting, no statistics.
//! Servers are judged by their distance to it, measured in the same session.

mod cipher;
mod control;
mod relay;
mod socket;

use std::net::SocketAddrV4;

use clap::{Parser, ValueEnum};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Crypto {
    /// AES-128-GCM as in RFC 7714.
    Gcm,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

#[derive(Debug, Parser)]
#[command(
    name = "pysfu-ceiling",
    version,
    about = "A bare fan-out relay: the yardstick of forwarding"
)]
pub(crate) struct Options {
    /// TCP address where participants announce themselves; media goes to the same IPv4 address. Port 0: any free one,
    /// told on standard output.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddrV4,
    #[arg(long, value_enum, default_value = "gcm")]
    crypto: Crypto,
    /// UDP segmentation offload: one message for neighbours of equal size to one destination.
    #[arg(long, value_enum, default_value = "on")]
    gso: Switch,
    /// Run on this CPU.
    #[arg(long)]
    cpu: Option<usize>,
    /// Bytes asked of the kernel for the receive buffer.
    #[arg(long, default_value_t = 8 << 20)]
    rcvbuf: i32,
    /// Bytes of the transmit arena: so much is encrypted before it is sent.
    #[arg(long, default_value_t = 1 << 20)]
    arena: usize,
}

fn main() {
    let options = Options::parse();
    if let Some(cpu) = options.cpu {
        socket::pin(cpu);
    }
    if let Err(error) = relay::run(&options) {
        eprintln!("pysfu-ceiling: {error}");
        std::process::exit(1);
    }
}
