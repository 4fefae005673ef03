//! What the server's process and CPU used, read from /proc (Linux).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::report::{ServerCost, ThreadCost, per};

/// A server on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    pub pid: u32,
    /// The CPU that it runs on, alone.
    pub cpu: Option<usize>,
}

/// A reading.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// CPU ns by thread.
    threads: HashMap<u32, u64>,
    /// Ticks of the process in user mode and in the kernel.
    user: u64,
    system: u64,
    /// Ticks that the CPU was idle. The kernel counts idle time exactly and samples the rest a hundred times a second,
    /// so what is busy is better taken as what is not idle.
    idle: u64,
    at: Option<Instant>,
    /// Datagrams that the kernel dropped at each of the process's UDP sockets, by inode.
    drops: HashMap<u64, u64>,
}

/// The difference of two readings.
#[derive(Clone, Debug)]
pub struct Usage {
    pub seconds: f64,
    user_share: f64,
    busy_share: Option<f64>,
    threads: Vec<ThreadCost>,
    pss_kb: u64,
    receive_drops: u64,
}

impl Watched {
    pub fn is_there(&self) -> bool {
        Path::new(&format!("/proc/{}", self.pid)).exists()
    }

    pub fn read(&self) -> Reading {
        let mut reading = Reading::default();
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid))
            .into_iter()
            .flatten()
            .flatten();
        for task in tasks {
            let id = task.file_name().to_str().and_then(|name| name.parse().ok());
            let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let ns = stat.split_whitespace().next().and_then(|ns| ns.parse().ok());
            if let (Some(id), Some(ns)) = (id, ns) {
                reading.threads.insert(id, ns);
            }
        }
        // Behind the name in parentheses: fields 14 and 15 of proc(5) are the 12th and 13th.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let fields: Vec<u64> = stat
            .rsplit_once(") ")
            .map(|(_, rest)| rest.split(' ').map(|field| field.parse().unwrap_or(0)).collect())
            .unwrap_or_default();
        reading.user = fields.get(11).copied().unwrap_or(0);
        reading.system = fields.get(12).copied().unwrap_or(0);
        if let Some(cpu) = self.cpu {
            let name = format!("cpu{cpu} ");
            let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
            let line = stat
                .lines()
                .find_map(|line| line.strip_prefix(&name))
                .unwrap_or_default();
            // cpuN user nice system idle iowait irq softirq steal
            let ticks = line.split_whitespace().skip(3).take(2);
            reading.idle = ticks.map(|field| field.parse::<u64>().unwrap_or(0)).sum();
            reading.at = Some(Instant::now());
        }
        reading.drops = self.drops();
        reading
    }

    fn drops(&self) -> HashMap<u64, u64> {
        let links = fs::read_dir(format!("/proc/{}/fd", self.pid))
            .into_iter()
            .flatten()
            .flatten();
        let own: HashSet<u64> = links
            .filter_map(|link| socket_inode(fs::read_link(link.path()).ok()?.to_str()?))
            .collect();
        let mut drops = HashMap::new();
        for table in ["udp", "udp6"] {
            let table = fs::read_to_string(format!("/proc/{}/net/{table}", self.pid)).unwrap_or_default();
            drops.extend(
                table
                    .lines()
                    .filter_map(socket_drops)
                    .filter(|(inode, _)| own.contains(inode)),
            );
        }
        drops
    }

    pub fn pss_kb(&self) -> u64 {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).unwrap_or_default();
        rollup
            .lines()
            .find_map(|line| line.strip_prefix("Pss:")?.trim().split(' ').next()?.parse().ok())
            .unwrap_or(0)
    }

    pub fn since(&self, before: &Reading) -> Usage {
        let now = self.read();
        let mut threads: Vec<ThreadCost> = now
            .threads
            .iter()
            .map(|(&id, &ns)| ThreadCost {
                id,
                seconds: ns.saturating_sub(before.threads.get(&id).copied().unwrap_or(0)) as f64 / 1e9,
            })
            .filter(|thread| thread.seconds > 0.001)
            .collect();
        threads.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        let user = now.user.saturating_sub(before.user);
        let system = now.system.saturating_sub(before.system);
        Usage {
            seconds: threads.iter().map(|thread| thread.seconds).sum(),
            user_share: user as f64 / (user + system).max(1) as f64,
            busy_share: now.at.zip(before.at).map(|(now_at, before_at)| {
                let idle = now.idle.saturating_sub(before.idle) as f64 / ticks_per_second();
                (1.0 - idle / (now_at - before_at).as_secs_f64()).max(0.0)
            }),
            threads,
            receive_drops: now
                .drops
                .iter()
                .map(|(inode, drops)| drops.saturating_sub(before.drops.get(inode).copied().unwrap_or(0)))
                .sum(),
            pss_kb: self.pss_kb(),
        }
    }
}

impl Usage {
    #[cfg(test)]
    pub(crate) fn dropping(receive_drops: u64) -> Self {
        Self {
            seconds: 0.1,
            user_share: 0.5,
            busy_share: None,
            threads: Vec::new(),
            pss_kb: 0,
            receive_drops,
        }
    }

    /// `elapsed` in seconds.
    pub fn per_packet(&self, packets: u64, elapsed: f64) -> ServerCost {
        let process_us = per(self.seconds * 1e6, packets);
        ServerCost {
            process_us,
            cpu_us: self.busy_share.and_then(|share| per(share * elapsed * 1e6, packets)),
            user_us: process_us.map(|us| us * self.user_share),
            system_us: process_us.map(|us| us * (1.0 - self.user_share)),
            busy: self.seconds / elapsed,
            busiest: self.busiest(elapsed),
            receive_drops: self.receive_drops,
            pss_kb: self.pss_kb,
            threads: self.threads.clone(),
        }
    }

    /// Share of a core, at most 1: of the busiest thread or, when the server has a CPU to itself, of that CPU.
    fn busiest(&self, elapsed: f64) -> f64 {
        let thread = self.threads.first().map_or(0.0, |thread| thread.seconds / elapsed);
        thread.max(self.busy_share.unwrap_or(0.0)).min(1.0)
    }
}

/// `socket:[519704]`, as the links in /proc/PID/fd read.
fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Inode and dropped datagrams of a line of /proc/net/udp: columns 10 and 13. None for its head.
fn socket_drops(line: &str) -> Option<(u64, u64)> {
    let mut columns = line.split_whitespace().skip(9);
    let inode = columns.next()?.parse().ok()?;
    Some((inode, columns.nth(2)?.parse().ok()?))
}

fn ticks_per_second() -> f64 {
    // SAFETY: takes and touches no memory.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as f64
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::process::id;

    use super::*;

    #[test]
    fn a_full_socket_of_the_process_is_seen() {
        let (here, there) = (
            UdpSocket::bind("127.0.0.1:0").unwrap(),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
        );
        let watched = Watched { pid: id(), cpu: None };
        let before = watched.read();
        // Nobody reads: the default buffer is full long before.
        for _ in 0..2_000 {
            there.send_to(&[0; 1_200], here.local_addr().unwrap()).unwrap();
        }
        let drops = watched.since(&before).receive_drops;
        assert!(drops > 500, "{drops}");
    }

    #[test]
    fn lines_of_proc() {
        let head = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
        let line = " 2806: 0100007F:A410 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 519704 2 0000000031e9cd0c 12 ";
        assert_eq!((socket_drops(head), socket_drops(line)), (None, Some((519_704, 12))));
        assert_eq!(
            (socket_inode("socket:[519704]"), socket_inode("/dev/null")),
            (Some(519_704), None)
        );
    }

    #[test]
    fn one_busy_thread_of_many_is_the_measure() {
        let thread = |id, seconds| ThreadCost { id, seconds };
        let mut usage = Usage {
            seconds: 1.2,
            user_share: 0.5,
            busy_share: None,
            threads: vec![thread(1, 0.6), thread(2, 0.6)],
            pss_kb: 0,
            receive_drops: 0,
        };
        let cost = usage.per_packet(1, 1.0);
        assert_eq!((cost.busy, cost.busiest), (1.2, 0.6));
        usage.busy_share = Some(0.99);
        assert_eq!(usage.per_packet(1, 1.0).busiest, 0.99);
    }
}
