//! Stands between real clients and a real server, and treats their packets as the links of `pysfu_netem` say: as a relay of UDP,
//! or between network namespaces, by a TUN device in each.

mod control;
mod device;
mod emulator;
mod lateness;
mod mesh;
mod output;
mod relay;
mod specification;
mod tun;
mod wait;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use pysfu_netem::profiles;

#[derive(Debug, Parser)]
#[command(name = "pysfu-netem", version, about = "A seeded network emulator for real sockets")]
struct Options {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Relay UDP between clients and a server
    Relay(relay::Options),
    /// Join two network namespaces by a TUN device in each (needs root)
    Tun(tun::Options),
    /// Join any number of network namespaces, each pair by a link of its own (needs root)
    Mesh(mesh::Options),
    /// Print the names of the profiles, or one of them as JSON
    Profiles {
        name: Option<String>,
        /// Makes the cellular traces
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

/// What both modes share.
#[derive(Args, Debug)]
struct Emulation {
    /// Both directions as of a named profile (see `pysfu-netem profiles`)
    #[arg(long)]
    profile: Option<String>,
    /// Direction to the client: JSON, or a file of it
    #[arg(long, value_name = "JSON|FILE")]
    down: Option<String>,
    /// Direction to the server: JSON, or a file of it
    #[arg(long, value_name = "JSON|FILE")]
    up: Option<String>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run ahead of other programs (SCHED_FIFO, needs root): packets leave in time though the machine is busy
    #[arg(long)]
    realtime: bool,
    /// What comes within so many microseconds passes together: up to that much later, for less of the CPU
    #[arg(long, default_value_t = 0)]
    gather_us: u64,
    /// Milliseconds between two lines of statistics; 0 for none
    #[arg(long, default_value_t = 100)]
    report_ms: u64,
}

fn main() -> ExitCode {
    let result = match Options::parse().mode {
        Mode::Relay(options) => relay::run(&options),
        Mode::Tun(options) => tun::run(&options),
        Mode::Mesh(options) => mesh::run(&options),
        Mode::Profiles { name, seed } => print_profiles(name, seed),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pysfu-netem: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_profiles(name: Option<String>, seed: u64) -> Result<(), Failure> {
    let Some(name) = name else {
        for profile in profiles::all(seed) {
            println!("{}", profile.name);
        }
        return Ok(());
    };
    let profile = profiles::named(&name, seed).ok_or(specification::Error::NoProfile(name))?;
    println!("{}", serde_json::to_string(&profile)?);
    Ok(())
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    #[error(transparent)]
    Specification(#[from] specification::Error),
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}: not permitted; joining namespaces needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN) and /dev/net/tun")]
    NotPermitted(String),
    #[error("{0}")]
    Usage(String),
}

impl Failure {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Io(what.into(), error)
    }
}
