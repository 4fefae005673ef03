//! What the workers log, kept until whoever runs them asks for it: a bounded queue whose eventfd is readable when something is
//! in it. A place in the code that logs too often is held back, and its next record says how many were.

use std::collections::{HashMap, VecDeque};
use std::fmt::{Debug, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;
use std::{io, mem};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record as SpanRecord};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::sys::EventFd;

/// Records that wait at most. More rides out a longer stall of the control plane.
const MAX_WAITING: usize = 512;
/// Of one place in the code: so many at once, then so many per second. More tells more of a fault, less keeps the log readable
/// when a client provokes one.
const BURST: f64 = 20.0;
const PER_SECOND: f64 = 1.0;
const MAX_FIELDS: usize = 16;
/// Octets of a text.
const MAX_TEXT: usize = 256;

/// From other crates only what is a warning or worse.
const OWN: &str = "pysfu_";

#[derive(Clone, Debug, PartialEq)]
pub struct LogRecord {
    pub level: Level,
    /// Module path.
    pub target: String,
    pub message: String,
    pub fields: Vec<(&'static str, LogValue)>,
    /// Records of the same place in the code that were held back before this one.
    pub suppressed: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum LogValue {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
}

/// The process' log; one for all cores.
#[derive(Clone)]
pub struct Logs(Arc<Queue>);

struct Queue {
    /// 0 off, 1 errors, up to 5 everything.
    level: AtomicU8,
    state: Mutex<State>,
    readable: EventFd,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<LogRecord>,
    places: HashMap<Identifier, Place>,
}

/// Where in the code something is logged.
struct Place {
    tokens: f64,
    at: Instant,
    suppressed: u64,
}

impl Logs {
    /// Begins to listen at the first call. Until a level is set nothing is kept.
    pub fn global() -> io::Result<&'static Self> {
        static LOGS: OnceLock<Logs> = OnceLock::new();
        if let Some(logs) = LOGS.get() {
            return Ok(logs);
        }
        let logs = Self::new()?;
        if LOGS.set(logs.clone()).is_ok() {
            // Fails where a program has a subscriber of its own: then that one is told.
            let _ = tracing::subscriber::set_global_default(logs);
        }
        LOGS.get().ok_or_else(|| io::Error::other("no log"))
    }

    fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Queue {
            level: AtomicU8::new(0),
            state: Mutex::default(),
            readable: EventFd::new()?,
        })))
    }

    /// What is less severe is neither kept nor made. `None` keeps nothing.
    pub fn set_level(&self, level: Option<Level>) {
        let number = level.map_or(0, number);
        self.0.level.store(number, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }

    /// Readable while records wait.
    pub fn fd(&self) -> RawFd {
        self.0.readable.as_raw_fd()
    }

    /// All that waits, oldest first.
    pub fn take(&self) -> Vec<LogRecord> {
        let mut state = self.0.lock();
        self.0.readable.clear();
        mem::take(&mut state.waiting).into()
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; a queue is valid whatever happened to a holder.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held briefly, and never by who waits for Python.
    fn push(&self, place: Identifier, now: Instant, make: impl FnOnce() -> LogRecord) {
        let mut state = self.lock();
        let room = state.waiting.len() < MAX_WAITING;
        let place = state.places.entry(place).or_insert(Place {
            tokens: BURST,
            at: now,
            suppressed: 0,
        });
        let passed = now.saturating_duration_since(mem::replace(&mut place.at, now));
        place.tokens = (place.tokens + passed.as_secs_f64() * PER_SECOND).min(BURST);
        if place.tokens < 1.0 || !room {
            place.suppressed += 1;
            return;
        }
        place.tokens -= 1.0;
        let suppressed = mem::take(&mut place.suppressed);
        let was_empty = state.waiting.is_empty();
        state.waiting.push_back(LogRecord { suppressed, ..make() });
        if was_empty {
            self.readable.notify();
        }
    }
}

impl Subscriber for Logs {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_own = metadata.target().starts_with(OWN);
        let least = self.0.level.load(Ordering::Relaxed);
        let wanted = if is_own { least } else { least.min(number(Level::WARN)) };
        metadata.is_event() && number(*metadata.level()) <= wanted
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let levels = [
            LevelFilter::OFF,
            LevelFilter::ERROR,
            LevelFilter::WARN,
            LevelFilter::INFO,
            LevelFilter::DEBUG,
        ];
        let level = usize::from(self.0.level.load(Ordering::Relaxed));
        Some(levels.get(level).copied().unwrap_or(LevelFilter::TRACE))
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        self.0.push(metadata.callsite(), Instant::now(), || {
            let mut fields = Fields::default();
            event.record(&mut fields);
            LogRecord {
                level: *metadata.level(),
                target: cut(metadata.target()),
                message: fields.message,
                fields: fields.others,
                suppressed: 0,
            }
        });
    }

    // Spans are not kept.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &SpanRecord<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// More severe is less.
fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// Where to cut for at most so many octets, between characters.
fn boundary(text: &str, most: usize) -> usize {
    let mut places = (0..=most.min(text.len())).rev();
    places.find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

fn cut(text: &str) -> String {
    text[..boundary(text, MAX_TEXT)].to_owned()
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, LogValue)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: LogValue) {
        if self.others.len() < MAX_FIELDS {
            self.others.push((field.name(), value));
        }
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, LogValue::Bool(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, LogValue::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, LogValue::Unsigned(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, LogValue::Float(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, LogValue::Text(cut(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = Bounded(String::new());
        // Ends early where it is cut.
        let _ = write!(text, "{value:?}");
        if field.name() == "message" {
            self.message = text.0;
        } else {
            self.put(field, LogValue::Text(text.0));
        }
    }
}

/// Takes no more than [`MAX_TEXT`], however much a value has to say.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = MAX_TEXT.saturating_sub(self.0.len());
        self.0.push_str(&text[..boundary(text, room)]);
        if text.len() > room {
            Err(std::fmt::Error)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn logged(level: Option<Level>, act: impl FnOnce()) -> Vec<LogRecord> {
        let logs = Logs::new().unwrap();
        logs.set_level(level);
        tracing::subscriber::with_default(logs.clone(), act);
        logs.take()
    }

    #[test]
    fn fields_keep_their_types_and_texts_an_end() {
        let records = logged(Some(Level::INFO), || {
            let long = "ä".repeat(MAX_TEXT);
            tracing::warn!(worker = 3_u64, low = -1, share = 0.5, is_bad = true, name = "x", long, list = ?[1, 2], "a {}", "b");
        });
        let [record] = &records[..] else {
            panic!("{records:?}");
        };
        assert_eq!((record.level, &*record.message), (Level::WARN, "a b"));
        assert_eq!(record.target, "pysfu_io::logs::tests");
        let text = |text: &str| LogValue::Text(text.to_owned());
        let expected = [
            ("worker", LogValue::Unsigned(3)),
            ("low", LogValue::Signed(-1)),
            ("share", LogValue::Float(0.5)),
            ("is_bad", LogValue::Bool(true)),
            ("name", text("x")),
            ("long", text(&"ä".repeat(MAX_TEXT / 2))),
            ("list", text("[1, 2]")),
        ];
        assert_eq!(record.fields, expected);
    }

    #[test]
    fn the_level_is_honoured() {
        let all = || {
            tracing::error!("1");
            tracing::warn!("2");
            tracing::info!("3");
            tracing::debug!("4");
            tracing::trace!("5");
            tracing::info!(target: "sctp_proto", "of others");
            tracing::warn!(target: "sctp_proto", "6");
        };
        for (level, expected) in [
            (None, ""),
            (Some(Level::ERROR), "1"),
            (Some(Level::WARN), "126"),
            (Some(Level::DEBUG), "12346"),
        ] {
            let messages: String = logged(level, all).iter().map(|record| &*record.message).collect();
            assert_eq!(messages, expected, "{level:?}");
        }
    }

    #[test]
    fn one_place_that_logs_much_is_held_back_and_says_so() {
        let records = logged(Some(Level::INFO), || {
            for number in 0..1_000 {
                tracing::info!(number, "often");
            }
            tracing::info!("seldom");
        });
        assert_eq!(records.len(), BURST as usize + 1);
        assert_eq!(records.last().map(|record| &*record.message), Some("seldom"));
    }

    #[test]
    fn what_was_held_back_is_counted_and_the_queue_is_bounded() {
        let place = || tracing::callsite::Identifier(callsite());
        let made = || LogRecord {
            level: Level::INFO,
            target: String::new(),
            message: String::new(),
            fields: Vec::new(),
            suppressed: 0,
        };
        let logs = Logs::new().unwrap();
        let begun = Instant::now();
        for _ in 0..100 {
            logs.0.push(place(), begun, made);
        }
        assert_eq!(logs.take().len(), BURST as usize);
        logs.0.push(place(), begun + Duration::from_millis(1_100), made);
        assert_eq!(logs.take()[0].suppressed, 100 - BURST as u64);
        for second in 0..10_000 {
            logs.0.push(place(), begun + Duration::from_secs(10 + second), made);
        }
        assert_eq!(logs.take().len(), MAX_WAITING);
        assert!(logs.take().is_empty());
    }

    fn callsite() -> &'static dyn tracing::callsite::Callsite {
        struct Nowhere;
        impl tracing::callsite::Callsite for Nowhere {
            fn set_interest(&self, _: tracing::subscriber::Interest) {}

            fn metadata(&self) -> &Metadata<'_> {
                unreachable!("only compared")
            }
        }
        &Nowhere
    }
}
