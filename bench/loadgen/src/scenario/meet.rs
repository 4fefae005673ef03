//! Rooms of a few people who stay whatever happens, and come back when they are thrown out: who heard nothing for how long.
//!
//! Orders come as lines on standard input, answers go to standard output as lines of JSON: `report` tells what everyone heard
//! since the last one, and `look` tells it without a new beginning; `end`, or the end of the input, ends it.

use std::cell::RefCell;
use std::io::{BufRead, Write};
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use engine::event::SrtpProfile;
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, sleep_until};

use super::ScenarioError;
use super::call::{Tracks, publication};
use crate::media::{Counts, Heard, MediaHandle, Silence, Source};
use crate::plan::{Codec, Kind};
use crate::progress::Progress;
use crate::sdp::Receiving;
use crate::signaling::{Adapter, End, Join, Server, Session, SignalingError, Subscribe};

/// What LiveKit's clients wait before each attempt to come back; the last one again and again.
const BACKOFF: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(300),
    Duration::from_millis(1_200),
    Duration::from_millis(2_700),
    Duration::from_millis(4_800),
    Duration::from_millis(7_000),
];
/// How long everyone may take to be in at the beginning.
const GATHERING: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
pub struct Plan {
    pub room: String,
    pub rooms: Range<u32>,
    pub members: Range<u32>,
    pub speakers: u32,
    pub cameras: u32,
    pub publish_only: bool,
    /// Joins per second.
    pub rate: f64,
    pub cipher: SrtpProfile,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    /// Everyone is in, or not in time.
    Gathered {
        participants: usize,
        present: usize,
        errors: Vec<String>,
    },
    Report(&'a Report),
}

/// Since the last report, but for what says otherwise.
#[derive(Serialize)]
pub struct Report {
    /// ms since 1970.
    at_ms: f64,
    participants: Vec<Told>,
    /// Of a look: none.
    counts: Option<Counts>,
}

#[derive(Serialize)]
struct Told {
    name: String,
    room: String,
    /// Its transport is connected and its session goes on.
    present: bool,
    /// Since it came first: joins anew, sessions resumed by another connection, attempts that failed.
    rejoins: u32,
    resumes: u32,
    failures: u32,
    /// Of the last attempt that failed.
    error: String,
    /// Of the last time it was away, until its transport was connected again.
    away_ms: Option<f64>,
    /// Identities of the other participants, as the server tells it.
    others: Vec<String>,
    audio: Silence,
    video: Silence,
}

#[derive(Default)]
struct Person {
    name: String,
    room: String,
    present: bool,
    rejoins: u32,
    resumes: u32,
    failures: u32,
    error: String,
    away_ms: Option<f64>,
    session: Option<Session>,
}

type Shared = Rc<RefCell<Person>>;

pub async fn run(server: &Server, media: MediaHandle, plan: Plan) -> Result<Report, ScenarioError> {
    let mut progress = Progress::default();
    let mut orders = read_orders();
    let adapter = Rc::new(Adapter::new(server, media.clone()).await?);
    media.set_source(
        Kind::Audio,
        Source::Synthetic {
            packets_per_frame: 1,
            payload: 80,
            frames_per_second: 50.0,
            keyframe_interval: Duration::from_secs(1),
        },
    );
    media.set_source(
        Kind::Video,
        Source::Synthetic {
            packets_per_frame: 2,
            payload: 900,
            frames_per_second: 25.0,
            keyframe_interval: Duration::from_secs(3),
        },
    );
    let begun = Instant::now();
    let mut people: Vec<Shared> = Vec::new();
    for room in plan.rooms.clone() {
        for member in plan.members.clone() {
            let index = people.len() as u32;
            let join = plan.join(index, room, member);
            let person = Rc::new(RefCell::new(Person {
                name: join.identity.clone(),
                room: join.room.clone(),
                ..Person::default()
            }));
            people.push(Rc::clone(&person));
            sleep_until((begun + Duration::from_secs_f64(f64::from(index) / plan.rate)).into()).await;
            tokio::task::spawn_local(live(Rc::clone(&adapter), media.clone(), join, person));
        }
    }
    let present = || people.iter().filter(|person| person.borrow().present).count();
    while present() < people.len() && begun.elapsed() < GATHERING {
        sleep(LOOK).await;
    }
    progress.line(&format!("{} of {} participants are in", present(), people.len()));
    let mut errors: Vec<String> = people.iter().map(|person| person.borrow().error.clone()).collect();
    errors.retain(|error| !error.is_empty());
    errors.sort();
    errors.dedup();
    tell(&Line::Gathered {
        participants: people.len(),
        present: present(),
        errors,
    });
    loop {
        let order = orders.recv().await;
        let look = order.as_deref() == Some("look");
        let heard = media.listen(!look).await?;
        let report = Report {
            at_ms: now_ms(),
            participants: people
                .iter()
                .zip(heard)
                .map(|(person, heard)| person.borrow().told(heard))
                .collect(),
            counts: if look { None } else { Some(media.take().await?) },
        };
        match order.as_deref() {
            Some("report" | "look") => tell(&Line::Report(&report)),
            None | Some("end") => return Ok(report),
            Some(other) => progress.line(&format!("{other:?} is no order: there are report, look and end")),
        }
    }
}

impl Plan {
    fn join(&self, index: u32, room: u32, member: u32) -> Join {
        // SSRCs are made of it: two of one room must differ.
        let number = 4 * ((room * 64 + member) % 0x1_0000);
        let mut publish = Vec::new();
        let of = |codec| Tracks {
            codec,
            simulcast: false,
        };
        if member < self.speakers {
            publish.push(publication(number, of(Codec::Opus)));
        }
        if member < self.cameras {
            publish.push(publication(number + 1, of(Codec::Vp8)));
        }
        let others = |all: u32| all.saturating_sub(u32::from(member < all)) as usize;
        let subscribe = match self.publish_only {
            true => Subscribe::None,
            false => Subscribe::All(Receiving {
                audio: others(self.speakers),
                video: others(self.cameras),
            }),
        };
        Join {
            room: format!("{}-{room}", self.room),
            index,
            identity: format!("member-{room}-{member}"),
            publish,
            subscribe,
            paused: false,
            cipher: self.cipher,
            gateway: 0,
        }
    }
}

impl Person {
    fn told(&self, heard: Heard) -> Told {
        Told {
            name: self.name.clone(),
            room: self.room.clone(),
            present: self.present,
            rejoins: self.rejoins,
            resumes: self.resumes + self.session.as_ref().map_or(0, Session::resumes),
            failures: self.failures,
            error: self.error.clone(),
            away_ms: self.away_ms,
            others: self.session.as_ref().map(Session::others).unwrap_or_default(),
            audio: heard.audio,
            video: heard.video,
        }
    }
}

/// Joins, and joins again whenever the session is over, as LiveKit's clients do.
async fn live(adapter: Rc<Adapter>, media: MediaHandle, mut join: Join, person: Shared) {
    let mut attempt = 0;
    let mut gone: Option<Instant> = None;
    loop {
        sleep(*BACKOFF.get(attempt).unwrap_or(&BACKOFF[BACKOFF.len() - 1])).await;
        let mut session = match enter(&adapter, &media, &join).await {
            Ok(session) => session,
            Err(error) => {
                let mut person = person.borrow_mut();
                person.failures += 1;
                person.error = error.to_string();
                attempt += 1;
                join.gateway += 1;
                continue;
            }
        };
        let ended = session.ended();
        {
            let mut person = person.borrow_mut();
            person.session = Some(session);
            person.present = true;
            if let Some(gone) = gone {
                person.rejoins += 1;
                person.away_ms = Some(gone.elapsed().as_secs_f64() * 1e3);
            }
        }
        let end = ended.await;
        gone = Some(Instant::now());
        attempt = 0;
        let mut person = person.borrow_mut();
        person.present = false;
        person.resumes += person.session.take().map_or(0, |session| session.resumes());
        match end {
            End::Dismissed => {
                "the server dismissed it".clone_into(&mut person.error);
                return;
            }
            // The gateway itself is well.
            End::Rejoin => {}
            End::Broken => join.gateway += 1,
        }
    }
}

async fn enter(adapter: &Adapter, media: &MediaHandle, join: &Join) -> Result<Session, SignalingError> {
    let session = adapter.join(join.clone()).await?;
    for &connection in &session.connections {
        if media.connected(connection).await?.failed {
            return Err(SignalingError::Refused("ICE or DTLS failed".to_owned()));
        }
    }
    Ok(session)
}

/// Lines of standard input, which is read by a thread of its own: reading it blocks.
fn read_orders() -> UnboundedReceiver<String> {
    let (orders, receiver) = unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if orders.send(line.trim().to_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn tell(line: &Line<'_>) {
    if let Ok(text) = serde_json::to_string(line) {
        let mut out = std::io::stdout().lock();
        // Who does not read any more closes standard input as well.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

fn now_ms() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0.0, |time| time.as_secs_f64() * 1e3)
}
