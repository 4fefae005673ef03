//! Both directions of one link.

use std::collections::{BTreeMap, VecDeque};

use crate::history::History;
use crate::kept::Kept;
use crate::missing::Missing;
use crate::parity::{Encoder, MIN_LOSS, MIN_RTT, Received, plan};
use crate::report::{MAX_MESSAGE, Report};
use crate::seal::{Head, Keys, Kind, MAX_DATAGRAM, Opener, Refused, Sealer, numbered};
use crate::window::Window;

/// What was sent is kept for repair for some round trips. Longer mends more losses of what was sent again, and holds more packets.
const HISTORY_AGE: u64 = 1_000_000;
const HISTORY_RTTS: u64 = 5;
const HISTORY_LEAST: u64 = 150_000;
/// What arrived is kept for sums within these.
const KEPT_BYTES: usize = 2 * 1024 * 1024;
const KEPT_AGE: u64 = 200_000;
/// Reports while media flow. Shorter follows losses closer, longer costs less. Microseconds, as all times. What is missing
/// is asked for when it is missed, not only then.
const REPORT: u64 = 100_000;
/// So long after the last of what is sent the other side is told that it was: it may be lost. Longer repairs it later, shorter
/// tells it between frames.
const TAIL: u64 = 40_000;
/// The same where something is lost and the way is long, after as much as makes a datagram of control a small part of it. Shorter
/// repairs the ends of frames sooner, and tells it between the packets of a frame.
const TAIL_SOON: u64 = 4_000;
const TAIL_BYTES: u64 = 5_000;
/// Datagrams while nothing else is sent. Longer costs less; of `SILENCE` it must be so small a part that losses alone do not
/// make a link look dead.
const KEEPALIVE: u64 = 100_000;
/// Without a datagram for so long the link does not carry: other ways are taken. Shorter takes them sooner, longer rides out
/// more. Of reports alone four are lost in a row once in hours at 5 % loss.
pub(crate) const SILENCE: u64 = 400_000;
/// Round trip that is assumed before the first is measured.
const FIRST_RTT: u64 = 100_000;
/// Numbers that the other side may ask for at once.
const MAX_REPEATS: usize = 4_096;
/// Messages that were not acknowledged. More lets more tracks begin within a round trip.
const MAX_MESSAGES: usize = 4_096;
/// A message is sent again after so long at the latest: the round trip is no measure after an end, or its machine, has stood
/// still. Shorter repeats in vain over ways of such round trips.
const MAX_AGAIN: u64 = 1_000_000;
/// Parity of the other side is expected while some has come within this.
const PARITY_LASTS: u64 = 2_000_000;
/// Losses are judged over so many numbers, or after `JUDGED_AFTER` over a few.
const JUDGED: u64 = 400;
const LEAST_JUDGED: u64 = 50;
const JUDGED_AFTER: u64 = 1_000_000;
/// Weight of the newest judgement. Higher reacts faster, lower is steadier.
const NEWEST: f64 = 0.3;
/// Of so many the other side may tell that they were sent before the first of them arrives.
const MAX_LAST: u64 = 4_096;
/// No way is longer, microseconds.
const MAX_RTT: u64 = 10_000_000;
const MASK: u64 = (1 << 48) - 1;

/// `link`: the id that the other side gave this link, which its datagrams begin with.
pub struct Config {
    pub link: u32,
    pub send: Keys,
    pub receive: Keys,
}

/// What a link knows of itself. Counts are of datagrams since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Smoothed round trip in microseconds; 0 before the first.
    pub rtt: u64,
    /// Share of what we send that is lost on its way, before repair.
    pub loss: f64,
    /// Mean length of a run of losses.
    pub burst: f64,
    pub media_sent: u64,
    pub parity_sent: u64,
    pub repeats_sent: u64,
    pub bytes_sent: u64,
    pub redundant_bytes_sent: u64,
    pub media_received: u64,
    pub bytes_received: u64,
    pub repaired: u64,
    pub mended: u64,
    /// Never came.
    pub given_up: u64,
    /// Came again: a repetition that crossed with what it repeats, or a replay.
    pub duplicates: u64,
    /// Not authentic or not understood.
    pub refused: u64,
}

/// What came over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival<'a> {
    Media(&'a [u8]),
    /// Once and in order, as the other side told them.
    Message(&'a [u8]),
}

/// What a packet is made of. It must not change while the link has it: it is sealed from again.
pub trait Text {
    /// What stands in front, the same octets each time. `None` when it cannot be told; then the packet does not go.
    fn write_head(&self, out: &mut Head) -> Option<()>;
    /// What follows, in the order of the datagram. What is long goes last: what stands before is copied once more.
    fn parts(&self) -> [&[u8]; 2];
}

impl Text for [u8] {
    fn write_head(&self, _: &mut Head) -> Option<()> {
        Some(())
    }

    fn parts(&self) -> [&[u8]; 2] {
        [&[], self]
    }
}

impl Text for Vec<u8> {
    fn write_head(&self, _: &mut Head) -> Option<()> {
        Some(())
    }

    fn parts(&self) -> [&[u8]; 2] {
        [&[], self]
    }
}

pub struct Link<T> {
    sealer: Sealer,
    opener: Opener,
    history: History<T>,
    encoder: Encoder,
    parity_due: bool,
    repeats: VecDeque<u64>,
    /// The first of them is the second copy of what was sent just now.
    second: Option<u64>,
    /// Those that were not acknowledged, the first with this number, and when each is to be sent again.
    messages: VecDeque<(u64, Vec<u8>)>,
    /// When to look at them.
    message_at: u64,
    first_message: u32,
    heard_messages: u32,
    /// Those that came before one in front of them, at most `MAX_MESSAGES`.
    early_messages: BTreeMap<u32, Vec<u8>>,
    media: Window,
    parity: Window,
    control: Window,
    missing: Missing,
    kept: Kept,
    /// A datagram as it came, while it is opened.
    copy: Vec<u8>,
    parity_heard: Option<u64>,
    report_at: u64,
    tail_at: u64,
    /// Octets sent when the other side was told last how much that is.
    told_at: u64,
    last_sent: u64,
    last_heard: u64,
    /// When the newest report that the other side has heard was sent.
    echoed: u64,
    /// The newest time that the other side told, and when.
    echo: Option<(u64, u64)>,
    judged: Judged,
    asked: Vec<u64>,
    payload: Vec<u8>,
    stats: Stats,
}

/// Where the other side's counts stood when losses were judged last.
#[derive(Clone, Copy, Debug, Default)]
struct Judged {
    at: u64,
    end: u64,
    lost: u32,
    runs: u32,
    once: bool,
}

impl<T: Text> Link<T> {
    /// `None` when the cipher refuses a key.
    pub fn new(now: u64, config: &Config) -> Option<Self> {
        Some(Self {
            sealer: Sealer::new(config.link, &config.send)?,
            opener: Opener::new(&config.receive)?,
            history: History::new(HISTORY_AGE),
            encoder: Encoder::default(),
            parity_due: false,
            repeats: VecDeque::new(),
            second: None,
            messages: VecDeque::new(),
            message_at: u64::MAX,
            first_message: 0,
            heard_messages: 0,
            early_messages: BTreeMap::new(),
            media: Window::default(),
            parity: Window::default(),
            control: Window::default(),
            missing: Missing::default(),
            kept: Kept::new(KEPT_BYTES, KEPT_AGE),
            copy: Vec::new(),
            parity_heard: None,
            report_at: now,
            tail_at: u64::MAX,
            told_at: 0,
            last_sent: now,
            last_heard: now,
            echoed: now,
            echo: None,
            judged: Judged {
                at: now,
                ..Judged::default()
            },
            asked: Vec::new(),
            payload: Vec::new(),
            stats: Stats::default(),
        })
    }

    /// Seals a packet into `out`, which is then to be sent, and keeps it for who asks for it again. Returns the length; `None`
    /// when it does not fit.
    pub fn send(&mut self, now: u64, packet: T, out: &mut [u8]) -> Option<usize> {
        let room = out.len().min(MAX_DATAGRAM);
        let (stamp, len) = self.sealer.seal(Kind::Media, &packet, &mut out[..room])?;
        let datagram = out.get(..len)?;
        self.parity_due |= self.encoder.add(stamp.number, datagram);
        self.history.keep(now, stamp, datagram, packet);
        self.stats.media_sent += 1;
        self.stats.bytes_sent += len as u64;
        self.tail_at = now + self.tail();
        Some(len)
    }

    /// A few octets for the other side's user, at most 256. They are repeated until they arrive. False when too many wait.
    pub fn tell(&mut self, message: &[u8]) -> bool {
        if message.len() > MAX_MESSAGE || self.messages.len() >= MAX_MESSAGES {
            return false;
        }
        self.messages.push_back((0, message.to_vec()));
        self.message_at = 0;
        true
    }

    /// Parity, what the other side asked for, and control, until `None`.
    pub fn poll_transmit(&mut self, now: u64, out: &mut [u8]) -> Option<usize> {
        if std::mem::take(&mut self.parity_due) {
            let (_, len) = self.sealer.seal(Kind::Parity, self.encoder.payload(), out)?;
            self.stats.parity_sent += 1;
            return Some(self.count_redundant(len));
        }
        while let Some(number) = self.repeats.pop_front() {
            // Without parity there is room for a second copy, and on a long way no time to lose this one.
            let twice = self.stats.rtt >= MIN_RTT && !self.encoder.is_on() && self.second != Some(number);
            let interval = if self.second.take() == Some(number) {
                0
            } else {
                self.rtt() * 3 / 4
            };
            if let Some(len) = self.history.write_again(now, number, interval, &self.sealer, out) {
                self.stats.repeats_sent += 1;
                if twice {
                    self.second = Some(number);
                    self.repeats.push_front(number);
                }
                return Some(self.count_redundant(len));
            }
        }
        if now < self.next_timeout() {
            return None;
        }
        self.write_control(now);
        let (_, len) = self.sealer.seal(Kind::Control, self.payload.as_slice(), out)?;
        Some(self.count_redundant(len))
    }

    /// Lets go of packets that nobody will ask for any more, also of a link over which nothing goes.
    pub fn expire(&mut self, now: u64) {
        self.history.tidy(now);
    }

    /// When to call `poll_transmit`, if nothing else happens.
    pub fn next_timeout(&self) -> u64 {
        let missing = self.missing.next().unwrap_or(u64::MAX);
        self.report_at
            .min(self.tail_at)
            .min(self.message_at)
            .min(missing)
            .min(self.last_sent + KEEPALIVE)
    }

    /// Opens a datagram in place. What it brings goes to `deliver`. Nothing has changed when it is refused.
    pub fn receive(
        &mut self,
        now: u64,
        datagram: &mut [u8],
        mut deliver: impl FnMut(Arrival<'_>),
    ) -> Result<(), Refused> {
        let result = self.take(now, datagram, &mut deliver);
        match result {
            Err(Refused::Replayed) => self.stats.duplicates += 1,
            Err(_) => self.stats.refused += 1,
            Ok(()) => (),
        }
        result
    }

    /// The next keys of what we send. The other side must have them.
    pub fn rotate_send(&mut self, keys: &Keys) -> bool {
        self.sealer.rotate(keys)
    }

    /// The next keys of what we receive; those before are still good for what is under way.
    pub fn rotate_receive(&mut self, keys: &Keys) -> bool {
        self.opener.rotate(keys)
    }

    /// Something authentic has come lately, and the other side hears us, too.
    pub fn is_alive(&self, now: u64) -> bool {
        now < self.last_heard + SILENCE && now < self.echoed + SILENCE + self.stats.rtt
    }

    pub fn stats(&self) -> Stats {
        Stats {
            given_up: self.missing.given_up(),
            ..self.stats
        }
    }

    fn tail(&self) -> u64 {
        let lossy = self.stats.loss >= MIN_LOSS && self.stats.rtt >= MIN_RTT;
        if lossy && self.stats.bytes_sent - self.told_at >= TAIL_BYTES {
            TAIL_SOON
        } else {
            TAIL
        }
    }

    fn rtt(&self) -> u64 {
        match self.stats.rtt {
            0 => FIRST_RTT,
            rtt => rtt,
        }
    }

    fn count_redundant(&mut self, len: usize) -> usize {
        self.stats.bytes_sent += len as u64;
        self.stats.redundant_bytes_sent += len as u64;
        len
    }

    fn write_control(&mut self, now: u64) {
        self.asked.clear();
        let (asked, interval) = (&mut self.asked, self.stats.rtt.max(1) + self.stats.rtt / 10 + 5_000);
        self.missing.due(now, interval, 256, |number| asked.push(number));
        let (echo, echo_delay) = match self.echo {
            Some((time, at)) => (time, u32::try_from(now - at).unwrap_or(u32::MAX)),
            None => (0, 0),
        };
        let report = Report {
            time: now & MASK,
            echo,
            echo_delay,
            sent: self.sealer.next(Kind::Media),
            end: self.media.end(),
            lost: self.missing.lost() as u32,
            runs: self.missing.runs() as u32,
            messages: self.heard_messages,
        };
        report.write(&self.asked, &mut self.payload);
        let again = now + (self.rtt() + self.rtt() / 2).min(MAX_AGAIN);
        self.message_at = u64::MAX;
        let mut number = self.first_message;
        for (at, octets) in &mut self.messages {
            if *at <= now && Report::add_message(number, octets, &mut self.payload) {
                *at = again;
            }
            self.message_at = self.message_at.min(*at);
            number = number.wrapping_add(1);
        }
        self.report_at = u64::MAX;
        self.tail_at = u64::MAX;
        self.told_at = self.stats.bytes_sent;
        self.last_sent = now;
    }

    fn take(&mut self, now: u64, datagram: &mut [u8], deliver: &mut impl FnMut(Arrival<'_>)) -> Result<(), Refused> {
        let (kind, number) = numbered(datagram).ok_or(Refused::Malformed)?;
        let window = match kind {
            Kind::Media => &self.media,
            Kind::Parity => &self.parity,
            Kind::Control => &self.control,
        };
        if !window.is_new(number) {
            return Err(Refused::Replayed);
        }
        // Sums need the sealed octets; whether they are authentic is known only afterwards.
        let copies = kind == Kind::Media && self.expects_parity(now) && datagram.len() <= MAX_DATAGRAM;
        if copies {
            self.copy.clear();
            self.copy.extend_from_slice(datagram);
        }
        let len = datagram.len();
        let (_, _, body) = self.opener.open(datagram)?;
        self.last_heard = now;
        self.stats.bytes_received += len as u64;
        match kind {
            Kind::Media => {
                if copies {
                    self.kept.keep(now, number, &self.copy);
                }
                self.note_media(now, number);
                deliver(Arrival::Media(body));
            }
            Kind::Parity => {
                self.parity.mark(number);
                self.parity_heard = Some(now);
                self.mend(now, body, deliver);
            }
            Kind::Control => {
                self.control.mark(number);
                self.on_control(now, body, deliver).ok_or(Refused::Malformed)?;
            }
        }
        Ok(())
    }

    fn expects_parity(&self, now: u64) -> bool {
        self.parity_heard.is_some_and(|at| now < at + PARITY_LASTS)
    }

    fn note_media(&mut self, now: u64, number: u64) {
        let end = self.media.end();
        if number > end {
            self.missing.add(now, end..number, self.expects_parity(now));
        } else if number < end {
            self.stats.repaired += u64::from(self.missing.arrived(now, number, self.stats.rtt));
        }
        self.media.mark(number);
        self.stats.media_received += 1;
        self.report_at = self.report_at.min(now + REPORT);
    }

    /// One missing member of a sum is made anew; of several none can be, so they are asked for.
    fn mend(&mut self, now: u64, payload: &[u8], deliver: &mut impl FnMut(Arrival<'_>)) {
        let Some(sum) = Received::parse(payload) else {
            return;
        };
        // Of the newest members the sum may be the first to tell.
        if let Some(last) = sum.numbers().last()
            && last >= self.media.end()
            && last < self.media.end() + MAX_LAST
        {
            self.missing.add(now, self.media.end()..last + 1, true);
            self.media.reach(last);
        }
        let mut missing = sum.numbers().filter(|number| self.missing.contains(*number));
        let Some(first) = missing.next() else {
            return;
        };
        if missing.next().is_some() {
            drop(missing);
            for number in sum.numbers() {
                self.missing.hurry(now, number);
            }
            return;
        }
        drop(missing);
        let mut datagram = [0; MAX_DATAGRAM];
        let Some(len) = sum.mend(first, &self.kept, &mut datagram) else {
            self.missing.hurry(now, first);
            return;
        };
        let datagram = &mut datagram[..len];
        if numbered(datagram) != Some((Kind::Media, first)) || !self.media.is_new(first) {
            return;
        }
        if let Ok((_, _, body)) = self.opener.open(datagram) {
            self.missing.mended(first);
            self.media.mark(first);
            self.stats.mended += 1;
            self.stats.media_received += 1;
            deliver(Arrival::Media(body));
        }
    }

    fn on_control(&mut self, now: u64, payload: &[u8], deliver: &mut impl FnMut(Arrival<'_>)) -> Option<()> {
        let (repeats, heard, early) = (&mut self.repeats, &mut self.heard_messages, &mut self.early_messages);
        let mut acknowledge = false;
        let report = Report::read(
            payload,
            |number| {
                if repeats.len() < MAX_REPEATS {
                    repeats.push_back(number);
                }
            },
            |number, octets| {
                acknowledge = true;
                if number != *heard {
                    let is_expected = number.wrapping_sub(*heard) < MAX_MESSAGES as u32;
                    if is_expected && octets.len() <= MAX_MESSAGE {
                        early.entry(number).or_insert_with(|| octets.to_vec());
                    }
                    return;
                }
                deliver(Arrival::Message(octets));
                *heard = heard.wrapping_add(1);
                while let Some(next) = early.remove(heard) {
                    deliver(Arrival::Message(&next));
                    *heard = heard.wrapping_add(1);
                }
            },
        )?;
        if acknowledge {
            self.report_at = now;
        }
        // Nobody but the sender knows that the last ones were sent. They may still be on their way.
        let end = self.media.end();
        if report.sent > end && report.sent - end <= MAX_LAST {
            let parity = self.expects_parity(now);
            self.missing.add(now, end..report.sent, parity);
            self.media.reach(report.sent - 1);
        }
        if self.echo.is_none_or(|(time, _)| report.time > time) {
            self.echo = Some((report.time, now));
        }
        if report.echo != 0 {
            let rtt = (now & MASK)
                .wrapping_sub(report.echo)
                .wrapping_sub(u64::from(report.echo_delay))
                & MASK;
            // What is longer was not sent by this side.
            if rtt < MAX_RTT {
                let since = (now & MASK).wrapping_sub(report.echo) & MASK;
                self.echoed = self.echoed.max(now.saturating_sub(since));
                self.stats.rtt = match self.stats.rtt {
                    0 => rtt.max(1),
                    smoothed => (smoothed * 7 + rtt) / 8,
                };
                let age = HISTORY_LEAST + HISTORY_RTTS * self.stats.rtt;
                self.history.set_max_age(age.min(HISTORY_AGE));
            }
        }
        while !self.messages.is_empty() && self.first_message.wrapping_sub(report.messages) as i32 <= -1 {
            self.messages.pop_front();
            self.first_message = self.first_message.wrapping_add(1);
        }
        self.judge(now, &report);
        Some(())
    }

    /// What the other side's counts say of losses, and how much parity they are worth.
    fn judge(&mut self, now: u64, report: &Report) {
        let former = self.judged;
        let sent = report.end.saturating_sub(former.end);
        let elapsed = now.saturating_sub(former.at);
        if sent < JUDGED && (elapsed < JUDGED_AFTER || sent < LEAST_JUDGED) {
            return;
        }
        self.judged = Judged {
            at: now,
            end: report.end.max(former.end),
            lost: report.lost,
            runs: report.runs,
            once: true,
        };
        let lost = f64::from(report.lost.wrapping_sub(former.lost));
        let runs = f64::from(report.runs.wrapping_sub(former.runs));
        let weight = if former.once { NEWEST } else { 1.0 };
        self.stats.loss += weight * ((lost / sent as f64).min(1.0) - self.stats.loss);
        if runs > 0.0 {
            let burst = (lost / runs).max(1.0);
            self.stats.burst += if self.stats.burst == 0.0 {
                burst
            } else {
                NEWEST * (burst - self.stats.burst)
            };
        }
        let rate = sent as f64 / (elapsed.max(1) as f64 / 1e6);
        self.encoder
            .set(plan(self.stats.loss, self.stats.burst.max(1.0), self.stats.rtt, rate));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::OVERHEAD;

    #[test]
    fn a_packet_that_does_not_fit_is_refused() {
        let keys = Keys {
            key: [0; 16],
            salt: [0; 12],
        };
        let config = Config {
            link: 1,
            send: keys.clone(),
            receive: keys,
        };
        let mut link = Link::new(0, &config).unwrap();
        let mut out = [0; 2_000];
        assert!(link.send(0, vec![0; MAX_DATAGRAM - OVERHEAD], &mut out).is_some());
        assert!(link.send(0, vec![0; MAX_DATAGRAM - OVERHEAD + 1], &mut out).is_none());
        assert_eq!(link.stats().media_sent, 1);
    }
}
