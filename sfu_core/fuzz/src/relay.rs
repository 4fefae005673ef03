//! Links between nodes: two ends over a bad path, an end whose other end is a liar, an engine behind it.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ::relay::{Arrival, Config, Keys, Link, MAX_DATAGRAM};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use engine::command::{
    AddLink, Codec, Command, FecFormats, IceCredentials, MediaKind, Mirror, Publish, PublishedCodec, Sound,
};
use engine::ids::{LinkId, Mid, PayloadType, PeerId, SocketId, TrackId};
use engine::transmit::TransmitArena;
use engine::{Config as Engines, DtlsIdentity, Engine};

use crate::input::Input;

const MS: u64 = 1_000;
/// Datagrams under way at most.
const PATH: usize = 64;

fn keys(from: u8) -> Keys {
    Keys {
        key: [from; 16],
        salt: [from ^ 0xff; 12],
    }
}

fn link(id: u32, ours: u8, theirs: u8) -> Link<Vec<u8>> {
    let config = Config {
        link: id,
        send: keys(ours),
        receive: keys(theirs),
    };
    Link::new(0, &config).unwrap()
}

/// Two ends over a path that loses, swaps, doubles and spoils. What arrives was sent, packets at most once and messages all
/// in order; nothing spoiled is believed.
pub(crate) fn ends(data: &[u8]) {
    let mut input = Input::new(data);
    let mut ends = [link(0, 1, 2), link(1, 2, 1)];
    let mut path: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut out = [0; MAX_DATAGRAM];
    let (mut now, mut sent, mut told, mut phase) = (0, 0_u32, [0_u32; 2], 2_u8);
    let mut came: Vec<u32> = Vec::new();
    let mut heard = [0_u32; 2];
    while !input.is_empty() {
        let op = input.u8();
        let end = usize::from(op >> 7);
        match op & 0b111 {
            0 | 1 => {
                let filler = [7; 255];
                let payload = &filler[..usize::from(input.u8())];
                let packet = [sent.to_be_bytes().as_slice(), payload].concat();
                let len = ends[0].send(now, packet, &mut out).unwrap();
                sent += 1;
                path.push((1, out[..len].to_vec()));
            }
            2 => told[end] += u32::from(ends[end].tell(&told[end].to_be_bytes())),
            3 => {
                phase = u8::wrapping_add(phase, 1);
                assert!(ends[1].rotate_receive(&keys(phase)) && ends[0].rotate_send(&keys(phase)));
            }
            _ => now += u64::from(op >> 3) * MS,
        }
        for (from, end) in ends.iter_mut().enumerate() {
            for _ in 0..8 {
                let Some(len) = end.poll_transmit(now, &mut out) else {
                    break;
                };
                path.push((1 - from, out[..len].to_vec()));
            }
        }
        while path.len() > PATH || (input.bool() && !path.is_empty()) {
            let fate = input.u8();
            let index = usize::from(fate >> 3) % path.len();
            let (to, mut datagram) = path.remove(index);
            let good = match fate & 0b111 {
                0 => continue,
                1 => {
                    let at = usize::from(input.u8()) % datagram.len();
                    datagram[at] ^= 1 << (fate >> 5);
                    false
                }
                2 => {
                    path.push((to, datagram.clone()));
                    true
                }
                _ => true,
            };
            let (came, heard) = (&mut came, &mut heard);
            let opened = ends[to].receive(now, &mut datagram, |arrival| match arrival {
                Arrival::Media(packet) => {
                    let number = u32::from_be_bytes(*packet.first_chunk().unwrap());
                    assert!(to == 1 && number < sent && packet[4..].iter().all(|octet| *octet == 7));
                    came.push(number);
                }
                Arrival::Message(message) => {
                    assert_eq!(message, heard[to].to_be_bytes());
                    heard[to] += 1;
                }
            });
            assert!(good || opened.is_err());
        }
    }
    assert!(heard[0] <= told[1] && heard[1] <= told[0]);
    let count = came.len();
    came.sort_unstable();
    came.dedup();
    assert_eq!(came.len(), count, "a packet came twice");
}

/// The octets as what a datagram of this kind carries, as the other end seals it.
fn sealed(id: u32, from: u8, kind: u8, number: u64, body: &[u8]) -> Vec<u8> {
    let Keys { key, salt: mut nonce } = keys(from);
    nonce[0] ^= kind;
    for (octet, of) in nonce[6..].iter_mut().zip(&number.to_be_bytes()[2..]) {
        *octet ^= of;
    }
    let mut datagram = vec![0b1100_0000 | kind];
    datagram.extend(id.to_be_bytes());
    datagram.extend(&number.to_be_bytes()[2..]);
    let mut body = body.to_vec();
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap());
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&*datagram), &mut body)
        .unwrap();
    datagram.extend(body);
    datagram
}

/// The other end says anything under good keys: numbers that leap, sums of nothing, reports of what was never sent.
pub(crate) fn liar(data: &[u8]) {
    let mut input = Input::new(data);
    let mut honest = link(5, 1, 2);
    let mut out = [0; MAX_DATAGRAM];
    let (mut now, mut numbers) = (0, [0_u64; 3]);
    while !input.is_empty() {
        let op = input.u8();
        now += u64::from(op >> 4) * MS;
        honest.send(now, b"some media".to_vec(), &mut out).unwrap();
        let kind = op % 3;
        let number = &mut numbers[usize::from(kind)];
        *number = match op & 0b1100 {
            0b1100 => input.u64() >> 16,
            0b1000 => *number + u64::from(input.u16()),
            _ => *number + 1,
        };
        let len = usize::from(input.u16() % 1_400);
        let mut datagram = sealed(0, 2, kind, *number, input.bytes(len));
        let _ = honest.receive(now, &mut datagram, |_| ());
        for _ in 0..64 {
            if honest.poll_transmit(now, &mut out).is_none() {
                break;
            }
        }
        let stats = honest.stats();
        assert!((0.0..=1.0).contains(&stats.loss) && stats.burst >= 0.0, "{stats:?}");
        honest.next_timeout();
        honest.is_alive(now);
    }
}

const OURS: TrackId = TrackId(1);
const MIRROR: TrackId = TrackId(2);
const THEIRS: TrackId = TrackId(3);
const PEER: PeerId = PeerId(4);
const LINK: LinkId = LinkId(5);
const SOCKET: SocketId = SocketId(0);

fn node(now: Instant) -> Engine {
    static IDENTITY: OnceLock<Arc<DtlsIdentity>> = OnceLock::new();
    let identity = IDENTITY.get_or_init(|| Arc::new(DtlsIdentity::generate().unwrap()));
    let mut engine = Engine::new(now, Engines::default(), Arc::clone(identity));
    let publish = Publish {
        track: OURS,
        peer: PEER,
        kind: MediaKind::Video,
        mid: Mid::from("0").unwrap(),
        codecs: vec![PublishedCodec {
            payload_type: PayloadType(96),
            rtx_payload_type: None,
            codec: Codec::Vp8,
            clock_rate: 90_000,
            nack: true,
            pli: true,
        }],
        rids: Vec::new(),
        ssrcs: Vec::new(),
        sound: Sound::default(),
        fec: FecFormats::default(),
    };
    let local = IceCredentials {
        ufrag: "ufrag".to_owned(),
        pwd: "a-password-of-22-characters".to_owned(),
    };
    let link = AddLink {
        link: LINK,
        theirs: 6,
        send: keys(1),
        receive: keys(2),
        socket: SOCKET,
        remote: None,
    };
    let mirror = Mirror {
        track: MIRROR,
        link: LINK,
        theirs: THEIRS,
        kind: MediaKind::Video,
        group: None,
    };
    for command in [
        Command::AddPeer { peer: PEER, local },
        Command::Publish(publish),
        Command::AddLink(link),
        Command::Mirror(mirror),
    ] {
        engine.handle_command(now, command);
    }
    engine
}

/// Another node sends any packets and messages, of tracks that are there and others.
pub(crate) fn engine(data: &[u8]) {
    let mut input = Input::new(data);
    let mut now = Instant::now();
    let mut engine = node(now);
    let mut other = link(LINK.0, 2, 1);
    let mut arena = TransmitArena::new(64 * 1_024, 256);
    let mut out = [0; MAX_DATAGRAM];
    let from = SocketAddr::from(([192, 0, 2, 1], 7_000));
    let mut at = 0;
    while !input.is_empty() {
        let op = input.u8();
        let step = u64::from(op >> 4) * 10;
        (at, now) = (at + step * MS, now + Duration::from_millis(step));
        let mut octets = input.some().to_vec();
        // Behind the kind of a message, in front of a packet.
        let place = usize::from(op & 1);
        let named = [
            None,
            Some(OURS),
            Some(THEIRS),
            Some(TrackId(64 * u64::from(input.u8()))),
        ][usize::from(op >> 1 & 0b11)];
        if let (Some(track), Some(name)) = (named, octets.get_mut(place..place + 8)) {
            name.copy_from_slice(&track.0.to_be_bytes());
        }
        let len = match op & 1 {
            0 => other.send(at, octets, &mut out),
            _ => {
                assert!(other.tell(&octets) || octets.len() > 256 || at == 0);
                other.poll_transmit(at, &mut out)
            }
        };
        if let Some(len) = len {
            engine.handle_datagram(now, SOCKET, from, &mut out[..len]);
        }
        if engine.next_timeout().is_some_and(|due| due <= now) {
            engine.handle_timeout(now);
        }
        loop {
            arena.clear();
            if !engine.poll_transmit(now, &mut arena) {
                break;
            }
        }
        for message in arena.messages() {
            let (start, end) = (message.start as usize, (message.start + message.len) as usize);
            for datagram in arena.bytes()[start..end].chunks(message.segment.into()) {
                let opened = other.receive(at, &mut datagram.to_vec(), |_| ());
                assert!(opened.is_ok(), "{opened:?}");
            }
        }
        while engine.poll_event().is_some() || engine.poll_crossing().is_some() {}
    }
    engine.handle_command(now, Command::RemoveLink { link: LINK });
    let mut stats = Default::default();
    engine.stats(now, &mut stats);
    assert_eq!(stats.workers[0].mirrors, 0);
}
