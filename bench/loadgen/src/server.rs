//! What the server's process and CPU used, read from /proc (Linux).

use std::collections::HashMap;
use std::fs;
use std::time::Instant;

use crate::report::{ServerCost, ThreadCost};

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
}

/// The difference of two readings.
#[derive(Clone, Debug)]
pub struct Usage {
    pub seconds: f64,
    user_share: f64,
    busy_share: Option<f64>,
    threads: Vec<ThreadCost>,
    pss_kb: u64,
}

impl Watched {
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
        reading
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
        let (user, system) = (now.user - before.user, now.system - before.system);
        Usage {
            seconds: threads.iter().map(|thread| thread.seconds).sum(),
            user_share: user as f64 / (user + system).max(1) as f64,
            busy_share: now.at.zip(before.at).map(|(now_at, before_at)| {
                let idle = now.idle.saturating_sub(before.idle) as f64 / ticks_per_second();
                (1.0 - idle / (now_at - before_at).as_secs_f64()).max(0.0)
            }),
            threads,
            pss_kb: self.pss_kb(),
        }
    }
}

impl Usage {
    /// `elapsed` in seconds.
    pub fn per_packet(&self, packets: f64, elapsed: f64) -> ServerCost {
        let process_us = self.seconds * 1e6 / packets;
        ServerCost {
            process_us,
            cpu_us: self.busy_share.map(|share| share * elapsed * 1e6 / packets),
            user_us: process_us * self.user_share,
            system_us: process_us * (1.0 - self.user_share),
            busy: self.seconds / elapsed,
            pss_kb: self.pss_kb,
            threads: self.threads.clone(),
        }
    }
}

fn ticks_per_second() -> f64 {
    // SAFETY: takes and touches no memory.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as f64
}
