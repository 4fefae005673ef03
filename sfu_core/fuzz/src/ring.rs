//! The retransmission ring by operations, against a map of what it should hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::packet::Packet;
use engine::publish::ring::Ring;

use crate::input::Input;

/// Numbers that the ring spans at most.
const SPAN: u64 = 8_192;
const FIRST: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    arrival: u64,
    stream: u32,
    keyframe: bool,
}

#[derive(Default)]
struct Model {
    /// What lies below is forgotten; 0 before the first packet.
    floor: u64,
    end: u64,
    held: BTreeMap<u64, Held>,
    /// Number of the newest keyframe that came.
    keyframe: Option<u64>,
}

impl Model {
    fn insert(&mut self, number: u64, packet: Held) {
        if self.floor == 0 || number >= self.end + SPAN {
            self.held.clear();
            (self.floor, self.end) = (number, number);
        }
        if number < self.floor {
            return;
        }
        if packet.keyframe {
            self.keyframe = self.keyframe.max(Some(number));
        }
        self.held.insert(number, packet);
        self.end = self.end.max(number + 1);
        self.floor = self.floor.max(self.end.saturating_sub(SPAN));
        self.held = self.held.split_off(&self.floor);
    }

    fn expire(&mut self, time: u64, run: u64, max: usize) {
        let begins = self.keyframe.filter(|number| {
            let recent = self.held.get(number).is_some_and(|packet| packet.arrival >= run);
            recent && self.end - number <= max as u64
        });
        let goes = |number: &u64, packet: &Held| packet.arrival < time && begins.is_none_or(|first| *number < first);
        let old = self.held.iter().take_while(|(number, packet)| goes(number, packet));
        if let Some((&last, _)) = old.last() {
            self.floor = last + 1;
            self.held = self.held.split_off(&self.floor);
        }
    }

    fn since_keyframe(&self, max: usize) -> Option<u64> {
        let newest = self.held.get(&self.end.checked_sub(1)?)?;
        let numbers = (self.floor..self.end).rev().take(max);
        let unbroken = numbers.map_while(|number| Some((number, self.held.get(&number)?)));
        let mut same = unbroken.take_while(|(_, packet)| packet.stream == newest.stream);
        same.find(|(_, packet)| packet.keyframe).map(|(number, _)| number)
    }
}

pub(crate) fn ring(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut ring, mut model) = (Ring::default(), Model::default());
    let (mut time, mut stream) = (1_000_000_u64, 0);
    while !input.is_empty() {
        let (operation, value) = (input.u8(), input.u8());
        let end = model.end.max(FIRST);
        let number = match operation % 8 {
            0 | 1 => end + u64::from(value % 4),
            2 => end + u64::from(value) * 64,
            3 => end.saturating_sub(u64::from(value)).max(1),
            4 => end.saturating_sub(u64::from(value) * 40).max(1),
            5 => {
                time += u64::from(value) * 1_000;
                stream += u32::from(value == 255);
                continue;
            }
            6 => {
                let before = time.saturating_sub(u64::from(value) * 2_000);
                let (run, max) = (before.saturating_sub(200_000), usize::from(operation) * 4);
                ring.expire(before, run, max);
                model.expire(before, run, max);
                agree(&ring, &model);
                continue;
            }
            _ => {
                let found = ring.since_keyframe(usize::from(value)).map(|packet| packet.seq);
                assert_eq!(found, model.since_keyframe(usize::from(value)));
                continue;
            }
        };
        let held = model.held.contains_key(&number);
        assert_eq!(ring.get(number).is_some(), held);
        assert_eq!(ring.is_known(number), held || number < model.floor);
        let packet = Held {
            // Not always in order.
            arrival: time - u64::from(operation >> 6) * 30_000,
            stream,
            keyframe: operation & 0x38 == 0,
        };
        ring.insert(Arc::new(made(number, packet)));
        model.insert(number, packet);
        assert!(ring.is_known(number), "it is held or too old");
        assert_eq!(ring.end(), model.end);
        for near in [model.floor.saturating_sub(1), model.floor, model.end - 1, model.end] {
            assert_eq!(ring.get(near).map(|found| read(found)), model.held.get(&near).copied());
        }
        if value.is_multiple_of(16) {
            agree(&ring, &model);
        }
    }
    agree(&ring, &model);
}

fn made(number: u64, held: Held) -> Packet {
    let mut packet = Packet::default();
    (packet.seq, packet.arrival, packet.stream) = (number, held.arrival, held.stream);
    packet.facts.keyframe = held.keyframe;
    packet
}

fn read(packet: &Packet) -> Held {
    Held {
        arrival: packet.arrival,
        stream: packet.stream,
        keyframe: packet.facts.keyframe,
    }
}

fn agree(ring: &Ring, model: &Model) {
    let found = ring.iter().map(|packet| (packet.seq, read(packet)));
    assert!(found.eq(model.held.iter().map(|(&number, &held)| (number, held))));
    assert!(ring.iter().count() as u64 <= SPAN);
}
