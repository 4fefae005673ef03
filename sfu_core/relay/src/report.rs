//! What a control datagram says: a report of what has arrived, and messages of the user.
//!
//! ```text
//! time (6) | echo (6) | echo delay (4) | sent (6) | end (6) | lost (4) | runs (4) | message acknowledged (4)
//! runs of numbers that are asked for: count (1), each first number (6) and 64 bits of those behind it (8)
//! messages: number (4) | length (2) | octets, until the end
//! ```

use crate::seal::{MAX_DATAGRAM, OVERHEAD};

pub(crate) const MAX_ASKED: usize = 60;
/// Of a message of the user, in octets.
pub(crate) const MAX_MESSAGE: usize = 256;

/// Times are those of each side's own clock, microseconds, 48 bits; 0: none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) time: u64,
    pub(crate) echo: u64,
    /// Between the arrival of what had `echo` as its time, and this.
    pub(crate) echo_delay: u32,
    /// One above the highest media number that was sent: the last ones may have been lost.
    pub(crate) sent: u64,
    /// One above the highest media number that has arrived.
    pub(crate) end: u64,
    pub(crate) lost: u32,
    pub(crate) runs: u32,
    /// Messages below this have arrived.
    pub(crate) messages: u32,
}

const FIXED: usize = 40;

impl Report {
    /// Writes the report and what is asked for (rising). Returns how many of `asked` found room.
    pub(crate) fn write(&self, asked: &[u64], out: &mut Vec<u8>) -> usize {
        out.clear();
        out.extend_from_slice(&self.time.to_be_bytes()[2..]);
        out.extend_from_slice(&self.echo.to_be_bytes()[2..]);
        out.extend_from_slice(&self.echo_delay.to_be_bytes());
        out.extend_from_slice(&self.sent.to_be_bytes()[2..]);
        out.extend_from_slice(&self.end.to_be_bytes()[2..]);
        out.extend_from_slice(&self.lost.to_be_bytes());
        out.extend_from_slice(&self.runs.to_be_bytes());
        out.extend_from_slice(&self.messages.to_be_bytes());
        let count_at = out.len();
        out.push(0);
        let mut taken = 0;
        while let Some(&first) = asked.get(taken)
            && usize::from(out[count_at]) < MAX_ASKED
        {
            let mut bits = 0_u64;
            taken += 1;
            while let Some(&next) = asked.get(taken)
                && (1..=64).contains(&next.wrapping_sub(first))
            {
                bits |= 1 << (next - first - 1);
                taken += 1;
            }
            out.extend_from_slice(&first.to_be_bytes()[2..]);
            out.extend_from_slice(&bits.to_be_bytes());
            out[count_at] += 1;
        }
        taken
    }

    /// Adds a message; false when there is no room.
    pub(crate) fn add_message(number: u32, octets: &[u8], out: &mut Vec<u8>) -> bool {
        let fits = out.len() + 6 + octets.len() <= MAX_DATAGRAM - OVERHEAD;
        if fits {
            out.extend_from_slice(&number.to_be_bytes());
            out.extend_from_slice(&(octets.len() as u16).to_be_bytes());
            out.extend_from_slice(octets);
        }
        fits
    }

    /// The report; what it asks for goes to `ask`, a message with its number to `hear`. `None` when it is cut short.
    pub(crate) fn read(payload: &[u8], mut ask: impl FnMut(u64), mut hear: impl FnMut(u32, &[u8])) -> Option<Self> {
        let (fixed, mut rest) = payload.split_at_checked(FIXED)?;
        let report = Self {
            time: u48(fixed, 0)?,
            echo: u48(fixed, 6)?,
            echo_delay: u32_at(fixed, 12)?,
            sent: u48(fixed, 16)?,
            end: u48(fixed, 22)?,
            lost: u32_at(fixed, 28)?,
            runs: u32_at(fixed, 32)?,
            messages: u32_at(fixed, 36)?,
        };
        let (&count, after) = rest.split_first()?;
        rest = after;
        for _ in 0..count.min(MAX_ASKED as u8) {
            let (run, after) = rest.split_at_checked(14)?;
            rest = after;
            let first = u48(run, 0)?;
            let bits = u64::from_be_bytes(*run.get(6..)?.first_chunk()?);
            ask(first);
            (0..64)
                .filter(|bit| bits >> bit & 1 == 1)
                .for_each(|bit| ask(first + bit + 1));
        }
        while !rest.is_empty() {
            let (head, after) = rest.split_at_checked(6)?;
            let len = usize::from(u16::from_be_bytes([head[4], head[5]]));
            let (octets, after) = after.split_at_checked(len)?;
            rest = after;
            hear(u32_at(head, 0)?, octets);
        }
        Some(report)
    }
}

fn u48(octets: &[u8], at: usize) -> Option<u64> {
    let mut value = [0; 8];
    value[2..].copy_from_slice(octets.get(at..at + 6)?);
    Some(u64::from_be_bytes(value))
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*octets.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let report = Report {
            time: 1,
            echo: (1 << 48) - 1,
            echo_delay: 3,
            sent: 8,
            end: 4,
            lost: 5,
            runs: 6,
            messages: 7,
        };
        let asked = [3, 4, 67, 68, 100, 1_000_000];
        let mut out = Vec::new();
        assert_eq!(report.write(&asked, &mut out), asked.len());
        assert!(Report::add_message(9, b"message", &mut out));
        let (mut numbers, mut messages) = (Vec::new(), Vec::new());
        let read = Report::read(
            &out,
            |number| numbers.push(number),
            |number, octets| messages.push((number, octets.to_vec())),
        );
        assert_eq!(read, Some(report));
        assert_eq!(numbers, asked);
        assert_eq!(messages, [(9, b"message".to_vec())]);
        for len in 0..out.len() {
            assert!(
                len == out.len() - 13 || Report::read(&out[..len], |_| (), |_, _| ()).is_none(),
                "{len}"
            );
        }
    }

    #[test]
    fn what_finds_no_room_is_told() {
        let asked: Vec<u64> = (0..100).map(|index| index * 1_000).collect();
        let mut out = Vec::new();
        assert_eq!(Report::default().write(&asked, &mut out), MAX_ASKED);
        let messages = (0..).take_while(|number| Report::add_message(*number, &[0; MAX_MESSAGE], &mut out));
        assert!(messages.count() >= 1);
        assert!(out.len() <= MAX_DATAGRAM - OVERHEAD);
    }
}
