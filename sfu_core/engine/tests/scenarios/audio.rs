//! Many microphones, lossy paths, silence: what a listener hears.

mod loudest;
mod redundancy;
mod starved;

use std::collections::HashMap;
use std::time::Duration;

use pysfu_engine::Config;
use pysfu_engine::command::{Codec, Command, MediaKind, PayloadMap, Publish, PublishedCodec, Sound, Subscribe};
use pysfu_engine::ids::{GroupId, Mid, PayloadType, Ssrc, SubscriptionId, TrackId, WorkerId};

use crate::listener::{Listener, RED};
use crate::media::{OPUS, Rtp, Source};
use crate::world::{MS, WANT_ALL, World};

const ROOM: GroupId = GroupId(77);
const QUIET: u8 = 80;
const LOUD: u8 = 25;

/// A microphone and who hears it.
pub(crate) struct Microphone {
    who: usize,
    home: usize,
    pub(crate) track: TrackId,
    pub(crate) source: Source,
    level: u8,
}

/// A call of voices alone.
pub(crate) struct Call {
    pub(crate) world: World,
    pub(crate) microphones: Vec<Microphone>,
    /// By subscriber and SSRC.
    listeners: HashMap<(usize, u32), Listener>,
    /// Per person, packets received that the listeners know.
    seen: Vec<usize>,
    ticks: u64,
}

impl Call {
    pub(crate) fn new(workers: u8, loudest: usize) -> Self {
        let config = Config {
            loudest,
            ..Config::default()
        };
        let mut world = World::with(workers, config);
        world.tick = MS;
        Self {
            world,
            microphones: Vec::new(),
            listeners: HashMap::new(),
            seen: Vec::new(),
            ticks: 0,
        }
    }

    /// Somebody joins with a microphone.
    pub(crate) fn join(&mut self, worker: usize, sound: Sound) -> usize {
        let who = self.world.join(worker);
        let track = TrackId(self.world.id());
        let codec = |payload_type, codec| PublishedCodec {
            payload_type: PayloadType(payload_type),
            rtx_payload_type: None,
            codec,
            clock_rate: 48_000,
            nack: false,
            pli: false,
        };
        let publish = Publish {
            track,
            peer: self.world.people[who].peer,
            kind: MediaKind::Audio,
            mid: Mid::from("0").unwrap(),
            codecs: vec![codec(RED, Codec::Red), codec(OPUS, Codec::Opus)],
            rids: Vec::new(),
            ssrcs: Vec::new(),
            sound,
            fec: Default::default(),
        };
        self.world.command(worker, Command::Publish(publish));
        self.microphones.push(Microphone {
            who,
            home: worker,
            track,
            source: Source::audio(1_000 + who as u32, "0"),
            level: QUIET,
        });
        who
    }

    /// `who` hears the microphone `index`; the SSRC tells which.
    pub(crate) fn subscribe(&mut self, who: usize, index: usize, red: bool) -> u32 {
        let ssrc = 9_000 + index as u32;
        let microphone = &self.microphones[index];
        let (track, home) = (microphone.track, microphone.home);
        let subscribe = Subscribe {
            subscription: SubscriptionId(self.world.id()),
            peer: self.world.people[who].peer,
            track,
            home: WorkerId(home as u8),
            kind: MediaKind::Audio,
            mid: Mid::from("s").unwrap(),
            ssrc: Ssrc(ssrc),
            rtx_ssrc: None,
            payloads: vec![PayloadMap {
                from: PayloadType(OPUS),
                to: PayloadType(OPUS),
                rtx: None,
            }],
            red: red.then_some(PayloadType(RED)),
            wanted: WANT_ALL,
            fec: Default::default(),
            fec_ssrc: None,
        };
        self.world
            .command(self.world.people[who].worker, Command::Subscribe(subscribe));
        ssrc
    }

    /// Everybody hears everybody else.
    fn subscribe_all(&mut self) {
        for index in 0..self.microphones.len() {
            for who in 0..self.microphones.len() {
                if self.microphones[index].who != self.microphones[who].who {
                    self.subscribe(self.microphones[who].who, index, true);
                }
            }
        }
        self.world.run_for(20 * MS);
    }

    pub(crate) fn run(&mut self, time: Duration) {
        for _ in 0..time.as_millis() {
            for index in 0..self.microphones.len() {
                // Not all at the same time.
                if (self.ticks + index as u64 * 7).is_multiple_of(20) {
                    let microphone = &mut self.microphones[index];
                    let packet = speech(&mut microphone.source, microphone.level);
                    let who = microphone.who;
                    self.world.send(who, packet);
                }
            }
            self.step();
        }
    }

    pub(crate) fn step(&mut self) {
        self.ticks += 1;
        self.world.step();
        let at = self.world.now - self.world.start;
        self.seen.resize(self.world.people.len(), 0);
        for (who, person) in self.world.people.iter().enumerate() {
            for packet in &person.rtp[self.seen[who]..] {
                if matches!(packet.payload_type, OPUS | RED) {
                    self.listeners.entry((who, packet.ssrc)).or_default().hear(at, packet);
                }
            }
            self.seen[who] = person.rtp.len();
        }
    }

    pub(crate) fn listener(&self, who: usize, ssrc: u32) -> Listener {
        self.listeners.get(&(who, ssrc)).cloned().unwrap_or_default()
    }

    /// Microphones that `who` got something of since the last call.
    fn heard(&mut self, who: usize) -> Vec<usize> {
        let mut heard: Vec<usize> = self.world.people[who]
            .rtp
            .drain(..)
            .filter(|packet| packet.payload.len() > 1)
            .map(|packet| packet.ssrc as usize - 9_000)
            .collect();
        self.seen[who] = 0;
        heard.sort_unstable();
        heard.dedup();
        heard
    }
}

/// A frame of 20 ms: configuration 31, mono.
fn frame(source: &Source) -> Vec<u8> {
    let mut payload = vec![0xf8];
    payload.extend(format!(" opus {}", source.seq).bytes());
    payload.resize(80, 0);
    payload
}

fn speech(source: &mut Source, level: u8) -> Rtp {
    let payload = frame(source);
    let mut packet = source.speak(level);
    packet.payload = payload.clone();
    if let Some(sent) = source.sent.last_mut() {
        sent.payload = payload;
    }
    packet
}

fn in_room() -> Sound {
    Sound {
        group: Some(ROOM),
        encrypted: false,
    }
}
