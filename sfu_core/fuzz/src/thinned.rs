//! A scalable stream on its way through a node: whatever is left out before it and by it is told, and nothing else.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use ::relay::{Arrival, Config, Keys, Link, MAX_DATAGRAM};
use engine::command::{AddLink, Command, MediaKind, Mirror};
use engine::ids::{LinkId, SocketId, TrackId};
use engine::transmit::TransmitArena;
use engine::{Config as Engines, DtlsIdentity, Engine};

use crate::input::Input;

const SOCKET: SocketId = SocketId(0);
/// Where the stream comes from, and where it goes: keys of the engine and of the other end.
const NEAR: (u32, u8, u8) = (5, 1, 2);
const FAR: (u32, u8, u8) = (7, 3, 4);
const THEIRS: TrackId = TrackId(30);
const OURS: TrackId = TrackId(31);
const VP9: u8 = 96;

/// Flags of packets, and of frames that are left out.
const TELLS: u8 = 64;
const ALONE: u8 = 128;
const VP9_PICTURE: u8 = 1 | 4 | 8 | 16;

fn keys(from: u8) -> Keys {
    Keys {
        key: [from; 16],
        salt: [from; 12],
    }
}

struct World {
    engine: Engine,
    arena: TransmitArena,
    now: Instant,
    near: Link<Vec<u8>>,
    far: Link<Vec<u8>>,
    /// What came to the far end: numbers of packets, of empty ones, and of those that are told as left out.
    came: Vec<u64>,
    told: BTreeSet<u64>,
}

fn address(of: (u32, u8, u8)) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, of.1], 7_000))
}

impl World {
    fn new() -> Self {
        static IDENTITY: OnceLock<Arc<DtlsIdentity>> = OnceLock::new();
        let identity = IDENTITY.get_or_init(|| Arc::new(DtlsIdentity::generate().unwrap()));
        let now = Instant::now();
        let mut engine = Engine::new(now, Engines::default(), Arc::clone(identity));
        let [near, far] = [NEAR, FAR].map(|(id, ours, theirs)| {
            let add = AddLink {
                link: LinkId(id),
                theirs: id + 1,
                send: keys(ours),
                receive: keys(theirs),
                socket: SOCKET,
                remote: None,
            };
            engine.handle_command(now, Command::AddLink(add));
            let config = Config {
                link: id,
                send: keys(theirs),
                receive: keys(ours),
            };
            Link::new(0, &config).unwrap()
        });
        let mirror = Mirror {
            track: OURS,
            link: LinkId(NEAR.0),
            theirs: THEIRS,
            kind: MediaKind::Video,
            group: None,
        };
        engine.handle_command(now, Command::Mirror(mirror));
        Self {
            engine,
            arena: TransmitArena::new(64 * 1_024, 256),
            now,
            near,
            far,
            came: Vec::new(),
            told: BTreeSet::new(),
        }
    }

    /// Both ends say what they have to say, and the engine answers.
    fn exchange(&mut self) {
        let mut out = [0; MAX_DATAGRAM];
        for (link, of) in [(&mut self.near, NEAR), (&mut self.far, FAR)] {
            while let Some(len) = link.poll_transmit(0, &mut out) {
                self.engine
                    .handle_datagram(self.now, SOCKET, address(of), &mut out[..len]);
            }
        }
        loop {
            self.arena.clear();
            let more = self.engine.poll_transmit(self.now, &mut self.arena);
            for message in self.arena.messages() {
                let (start, end) = (message.start as usize, (message.start + message.len) as usize);
                for datagram in self.arena.bytes()[start..end].chunks(message.segment.into()) {
                    let datagram = &mut datagram.to_vec();
                    if message.to == address(NEAR) {
                        self.near.receive(0, datagram, |_| ()).unwrap();
                        continue;
                    }
                    let (came, told) = (&mut self.came, &mut self.told);
                    let opened = self.far.receive(0, datagram, |arrival| {
                        if let Arrival::Media(packet) = arrival {
                            read(packet, came, told);
                        }
                    });
                    opened.unwrap();
                }
            }
            if !more {
                break;
            }
        }
        while self.engine.poll_event().is_some() || self.engine.poll_crossing().is_some() {}
    }

    fn send(&mut self, packet: Vec<u8>) {
        let mut out = [0; MAX_DATAGRAM];
        let len = self.near.send(0, packet, &mut out).unwrap();
        self.engine
            .handle_datagram(self.now, SOCKET, address(NEAR), &mut out[..len]);
    }
}

/// As the wire format says it: `engine/src/crossing/wire.rs`.
fn read(packet: &[u8], came: &mut Vec<u64>, told: &mut BTreeSet<u64>) {
    assert_eq!(packet[..8], OURS.0.to_be_bytes());
    let mut number = [0; 8];
    number[2..].copy_from_slice(&packet[15..21]);
    let number = u64::from_be_bytes(number);
    let flags = packet[8];
    if flags & TELLS != 0 {
        let mut rest = &packet[28..28 + usize::from(packet[27])];
        while let [high, low, count, _, _, _, shape, more @ ..] = rest {
            let back = i64::from(i16::from_be_bytes([*high, *low]));
            told.extend((0..u64::from(*count)).map(|index| number.checked_add_signed(-back).unwrap() + index));
            rest = &more[2 * usize::from(shape >> 3 & 1) + 2 * usize::from(shape >> 5 & 1)..];
        }
        assert!(rest.is_empty());
    }
    if flags & ALONE == 0 {
        came.push(number);
    }
}

/// A frame of a spatial and temporal layer.
#[derive(Clone, Copy)]
struct Frame {
    picture: u16,
    spatial: u8,
    temporal: u8,
}

fn entry(number: u64, told_by: u64, frame: Frame) -> Vec<u8> {
    let back = (told_by - number) as i16;
    let mut entry = back.to_be_bytes().to_vec();
    entry.extend([1, 0, 20, frame.spatial << 4 | frame.temporal, VP9_PICTURE]);
    entry.extend(frame.picture.to_be_bytes());
    entry
}

fn packet(number: u64, frame: Frame, told: &[u8]) -> Vec<u8> {
    let mut packet = THEIRS.0.to_be_bytes().to_vec();
    packet.extend([if told.is_empty() { 0 } else { TELLS }, 0, VP9, 0, 0, 0, 0]);
    packet.extend(&number.to_be_bytes()[2..]);
    packet.extend(&(u64::from(frame.picture) * 3_000).to_be_bytes()[2..]);
    if !told.is_empty() {
        packet.push(told.len() as u8);
        packet.extend(told);
    }
    // With picture id and layers, inter-predicted, whole (RFC 9628 section 4.2).
    let [high, low] = (frame.picture | 0x8000).to_be_bytes();
    packet.extend([
        0b1110_1100,
        high,
        low,
        frame.temporal << 5 | frame.spatial << 1,
        9,
        0x55,
    ]);
    packet
}

/// What crosses is within what is wanted, all else is told, to an end that knows of that; any other gets everything.
pub(crate) fn through(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    let wants = input.u8();
    let (most, knows) = ((wants & 3, wants >> 2 & 3), wants & 16 == 0);
    let track = OURS.0.to_be_bytes();
    let attach: &[u8] = if knows { &[2, 1] } else { &[2] };
    assert!(world.far.tell(&[&[1], &track[..], attach].concat()));
    assert!(world.far.tell(&[&[3], &track[..], &[most.0, most.1]].concat()));
    // One layer; no flags, a source, no name; VP9 at 90 kHz.
    let formats = [1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, VP9, 4, 0, 1, 0x5f, 0x90];
    let theirs = THEIRS.0.to_be_bytes();
    world.exchange();
    assert!(world.near.tell(&[&[5], &theirs[..], &formats].concat()));
    world.exchange();
    let (mut number, mut picture) = (100, 0);
    let (mut came, mut told) = (Vec::new(), BTreeSet::new());
    let mut last = 2;
    while !input.is_empty() || last > 0 {
        let op = if input.is_empty() { 0 } else { input.u8() };
        last -= u8::from(input.is_empty()).min(last);
        picture += u16::from(op & 0x80 == 0);
        let frame = Frame {
            picture,
            spatial: op & 3,
            temporal: op >> 2 & 3,
        };
        // Some stayed behind on the way here.
        let before = u64::from(op >> 4 & 3);
        let of = number + before;
        let mut entries = Vec::new();
        for number in number..of {
            let shape = input.u8();
            let left = Frame {
                picture,
                spatial: shape & 3,
                temporal: shape >> 2 & 3,
            };
            entries.extend(entry(number, of, left));
            match knows {
                true => _ = told.insert(number),
                false => came.push(number),
            }
        }
        // Now and then they come again.
        for _ in 0..1 + u8::from(op & 0x40 != 0) {
            world.send(packet(of, frame, &entries));
        }
        let wanted = frame.spatial <= most.0 && frame.temporal <= most.1;
        match wanted || !knows {
            true => came.push(of),
            false => _ = told.insert(of),
        }
        number = of + 1;
        world.exchange();
    }
    assert_eq!(world.came, came, "{most:?}, {knows}");
    assert_eq!(world.told, told, "{most:?}, {knows}");
}
