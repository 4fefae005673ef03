//! A TUN device in each of several network namespaces, and a pair of links between every two of them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::str::FromStr;

use clap::Args;
use serde::Serialize;

use crate::device::{Address, Device};
use crate::emulator::{Direction, Emulator};
use crate::wait::Wait;
use crate::{Emulation, Failure};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// A namespace (a name of `ip netns`, a process id, a path, or - for this one) and the address of its device, once for each
    #[arg(long = "at", value_name = "NAMESPACE=ADDRESS/PREFIX", required = true)]
    members: Vec<Member>,
    /// Name of all devices (they lie in different namespaces)
    #[arg(long, default_value = "netem0")]
    device: String,
    #[arg(long, default_value_t = 1_500)]
    mtu: u16,
    #[command(flatten)]
    emulation: Emulation,
}

#[derive(Clone, Debug)]
struct Member {
    namespace: String,
    address: Address,
}

impl FromStr for Member {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, address) = text.split_once('=').ok_or("expected NAMESPACE=ADDRESS/PREFIX")?;
        Ok(Self {
            namespace: namespace.to_owned(),
            address: address.parse()?,
        })
    }
}

/// Which link leads from one member to another: `up` from the one named first, `down` back to it.
#[derive(Debug, Serialize)]
struct Pair<'a> {
    link: u32,
    between: [&'a str; 2],
}

/// A packet and the place of the device that it goes to.
type Crossing = (usize, Vec<u8>);

/// Packets read from one device before the others have their turn.
const BATCH: usize = 64;
/// Pairs grow with the square.
const MAX_MEMBERS: usize = 64;

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let members = &options.members;
    check(members)?;
    let mut wait = Wait::new().map_err(Failure::io("signals"))?;
    let device = Device {
        name: &options.device,
        mtu: options.mtu,
    };
    // Before the emulator starts its thread: only this one changes its namespace.
    let devices = members
        .iter()
        .map(|member| device.open(&member.namespace, member.address, false))
        .collect::<Result<Vec<_>, _>>()?;
    let places: BTreeMap<Ipv4Addr, usize> = members.iter().map(|member| member.address.ip).zip(0..).collect();
    let mut emulator: Emulator<Crossing> = Emulator::new(&options.emulation)?;
    let mut pairs = Vec::new();
    for (second, other) in members.iter().enumerate() {
        for (first, member) in members.iter().enumerate().take(second) {
            let link = number(first, second);
            emulator.open(link);
            let between = [member.namespace.as_str(), other.namespace.as_str()];
            pairs.push(Pair { link, between });
        }
    }
    emulator.say(&serde_json::json!({ "device": options.device, "links": pairs }));
    wait.watch(devices.iter().map(AsRawFd::as_raw_fd));
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        if !emulator.wait(&mut wait)? {
            return Ok(());
        }
        for (from, mut device) in devices.iter().enumerate() {
            for _ in 0..BATCH {
                if !wait.readable(from) {
                    break;
                }
                let Ok(length) = device.read(&mut buffer) else {
                    break;
                };
                let packet = &buffer[..length];
                // Nobody is there, or it is no IPv4: the kernel speaks of itself on new devices.
                let Some(&to) = destination(packet).and_then(|address| places.get(&address)) else {
                    continue;
                };
                let (direction, link) = if from < to {
                    (Direction::Up, number(from, to))
                } else {
                    (Direction::Down, number(to, from))
                };
                emulator.push(link, direction, length, (to, packet.to_vec()));
            }
        }
        emulator.deliver(|_, (to, packet)| {
            // What the kernel does not take is lost, as elsewhere.
            let _ = (&devices[to]).write(&packet);
        });
    }
}

fn check(members: &[Member]) -> Result<(), Failure> {
    let usage = |text: String| Err(Failure::Usage(text));
    if !(2..=MAX_MEMBERS).contains(&members.len()) {
        return usage(format!("2 to {MAX_MEMBERS} namespaces can be joined"));
    }
    for (place, member) in members.iter().enumerate() {
        for other in members.iter().take(place) {
            if other.namespace == member.namespace || other.address.ip == member.address.ip {
                return usage(format!("namespaces and addresses need to differ: {}", member.namespace));
            }
        }
    }
    Ok(())
}

/// The number of a pair, whatever members come after it.
fn number(first: usize, second: usize) -> u32 {
    (second * (second - 1) / 2 + first) as u32
}

/// Of an IPv4 packet (RFC 791 section 3.1).
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let is_ipv4 = packet.first()? >> 4 == 4;
    let octets: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    is_ipv4.then(|| octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_have_numbers_of_their_own() {
        let numbers: Vec<u32> = (1..5)
            .flat_map(|second| (0..second).map(move |first| number(first, second)))
            .collect();
        assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn only_ipv4_has_a_destination() {
        let mut packet = [0; 20];
        packet[0] = 0x45;
        packet[16..].copy_from_slice(&[10, 0, 0, 7]);
        assert_eq!(destination(&packet), Some(Ipv4Addr::new(10, 0, 0, 7)));
        assert_eq!(destination(&packet[..19]), None);
        packet[0] = 0x60;
        assert_eq!(destination(&packet), None);
    }
}
