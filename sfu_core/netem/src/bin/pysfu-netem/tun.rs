//! Two TUN devices in two network namespaces, and a link each way between them.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use clap::Args;

use crate::device::{Address, Device};
use crate::emulator::{Direction, Emulator};
use crate::wait::Wait;
use crate::{Emulation, Failure};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Namespace of the client: a name of `ip netns`, a process id, a path, or - for this one
    #[arg(long, value_name = "NAMESPACE")]
    client: String,
    /// Namespace of the server
    #[arg(long, value_name = "NAMESPACE")]
    server: String,
    /// Address of the client's device
    #[arg(long, default_value = "10.99.0.1/30")]
    client_address: Address,
    /// Address of the server's device
    #[arg(long, default_value = "10.99.0.2/30")]
    server_address: Address,
    /// Name of both devices (they lie in different namespaces)
    #[arg(long, default_value = "netem0")]
    device: String,
    /// Send everything of the client's namespace this way
    #[arg(long)]
    default_route: bool,
    #[arg(long, default_value_t = 1_500)]
    mtu: u16,
    #[command(flatten)]
    emulation: Emulation,
}

/// Packets read from one device before the other has its turn.
const BATCH: usize = 64;

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    if options.client == options.server {
        return Err(Failure::Usage("the namespaces need to differ".to_owned()));
    }
    let mut wait = Wait::new().map_err(Failure::io("signals"))?;
    // Before the emulator starts its thread: only this one changes its namespace.
    let device = Device {
        name: &options.device,
        mtu: options.mtu,
    };
    let devices = [
        device.open(&options.client, options.client_address, options.default_route)?,
        device.open(&options.server, options.server_address, false)?,
    ];
    let mut emulator: Emulator<Vec<u8>> = Emulator::new(&options.emulation)?;
    emulator.open(0);
    emulator.say(&serde_json::json!({
        "device": options.device,
        "client": options.client_address.ip,
        "server": options.server_address.ip,
    }));
    wait.watch(devices.iter().map(AsRawFd::as_raw_fd));
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        if !emulator.wait(&mut wait)? {
            return Ok(());
        }
        for (index, direction) in [Direction::Up, Direction::Down].into_iter().enumerate() {
            for _ in 0..BATCH {
                if !wait.readable(index) {
                    break;
                }
                let Ok(length) = (&devices[index]).read(&mut buffer) else {
                    break;
                };
                emulator.push(0, direction, length, buffer[..length].to_vec());
            }
            emulator.deliver(|direction, packet| {
                let mut to = match direction {
                    Direction::Up => &devices[1],
                    Direction::Down => &devices[0],
                };
                // What the kernel does not take is lost, as elsewhere.
                let _ = to.write(&packet);
            });
        }
    }
}
