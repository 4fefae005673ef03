//! Random operations in random order: nothing panics, nothing is left behind.

use pysfu_engine::Config;
use pysfu_engine::command::{Command, MediaKind, PayloadMap, Redirect, Wanted};
use pysfu_engine::ids::{PayloadType, SubscriptionId, TrackId, WorkerId};
use pysfu_engine::transmit::TransmitArena;

use crate::media::{self, Rtp, Source};
use crate::world::{MS, World};

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % limit
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        if of.is_empty() {
            None
        } else {
            Some(of[self.below(of.len() as u64) as usize].clone())
        }
    }
}

#[derive(Clone)]
struct Published {
    who: usize,
    track: TrackId,
    kind: MediaKind,
    source: usize,
}

struct Chaos {
    world: World,
    random: Random,
    here: Vec<usize>,
    tracks: Vec<Published>,
    sources: Vec<Source>,
    subscriptions: Vec<(usize, SubscriptionId, u32)>,
    next_ssrc: u32,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let config = Config {
            max_tracks_per_peer: 3,
            max_subscriptions_per_peer: 6,
            ..Config::default()
        };
        Self {
            world: World::with(2, config),
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            here: Vec::new(),
            tracks: Vec::new(),
            sources: Vec::new(),
            subscriptions: Vec::new(),
            next_ssrc: 100,
        }
    }

    fn step(&mut self) {
        match self.random.below(60) {
            0 | 1 if self.here.len() < 6 => {
                let worker = self.random.below(2) as usize;
                let who = self.world.join(worker);
                self.here.push(who);
            }
            2 => self.leave(),
            3 | 17 => self.publish(),
            4..=7 | 18 | 19 => self.subscribe(),
            8 => {
                if let Some((who, subscription, _)) = self.random.pick(&self.subscriptions) {
                    let command = Command::Unsubscribe {
                        peer: self.world.people[who].peer,
                        subscription,
                    };
                    self.world.command(self.world.people[who].worker, command);
                }
            }
            9 => {
                if let Some(published) = self.random.pick(&self.tracks) {
                    self.tracks.retain(|other| other.track != published.track);
                    let Published { who, track, .. } = published;
                    let command = Command::Unpublish {
                        peer: self.world.people[who].peer,
                        track,
                    };
                    self.world.command(self.world.people[who].worker, command);
                }
            }
            10 => {
                if let Some(Published { who, track, .. }) = self.random.pick(&self.tracks) {
                    let muted = self.random.below(2) == 0;
                    let command = Command::SetMuted {
                        peer: self.world.people[who].peer,
                        track,
                        muted,
                    };
                    self.world.command(self.world.people[who].worker, command);
                }
            }
            11 | 12 => {
                if let Some((who, subscription, _)) = self.random.pick(&self.subscriptions) {
                    let wanted = Wanted {
                        paused: self.random.below(3) == 0,
                        max_spatial: self.random.below(3) as u8,
                        max_temporal: 255,
                    };
                    let command = Command::SetWanted {
                        peer: self.world.people[who].peer,
                        subscription,
                        wanted,
                    };
                    self.world.command(self.world.people[who].worker, command);
                }
            }
            13 => self.complain(),
            14 => self.jump(),
            15 if self.random.below(4) == 0 => {
                // Two sources of one layer.
                if let Some(published) = self.random.pick(&self.tracks) {
                    self.sources[published.source].ssrc = 5_000 + self.random.below(50) as u32;
                }
            }
            16 => {
                let time = self.random.below(3_000) as u32;
                self.world.run_for(time * MS);
            }
            20 | 21 => self.redirect(),
            _ => self.talk(),
        }
    }

    /// To any track, of the wrong kind, too.
    fn redirect(&mut self) {
        let (Some((who, subscription, _)), Some(published)) =
            (self.random.pick(&self.subscriptions), self.random.pick(&self.tracks))
        else {
            return;
        };
        let redirect = Redirect {
            subscription,
            peer: self.world.people[who].peer,
            track: published.track,
            home: WorkerId(self.world.people[published.who].worker as u8),
            payloads: vec![PayloadMap {
                from: PayloadType(media::VP8),
                to: PayloadType(media::VP8),
                rtx: Some(PayloadType(media::VP8_RTX)),
            }],
        };
        let worker = self.world.people[who].worker;
        self.world.command(worker, Command::Redirect(redirect));
    }

    fn leave(&mut self) {
        let Some(who) = self.random.pick(&self.here) else {
            return;
        };
        self.here.retain(|&other| other != who);
        self.tracks.retain(|published| published.who != who);
        self.subscriptions.retain(|&(other, ..)| other != who);
        let command = Command::RemovePeer {
            peer: self.world.people[who].peer,
        };
        self.world.command(self.world.people[who].worker, command);
        self.world.people[who].offline = true;
    }

    fn publish(&mut self) {
        let Some(who) = self.random.pick(&self.here) else {
            return;
        };
        let mid = ["0", "1", "2", "3"][self.random.below(4) as usize];
        self.next_ssrc += 1;
        let video = self.random.below(2) == 0;
        let (track, source) = if video {
            (
                self.world.publish_video(who, mid, &["q", "h"]),
                Source::video(self.next_ssrc, mid, Some("q"), (320, 180)),
            )
        } else {
            (self.world.publish_audio(who, mid), Source::audio(self.next_ssrc, mid))
        };
        let kind = if video { MediaKind::Video } else { MediaKind::Audio };
        self.tracks.push(Published {
            who,
            track,
            kind,
            source: self.sources.len(),
        });
        self.sources.push(source);
    }

    fn subscribe(&mut self) {
        let (Some(who), Some(published)) = (self.random.pick(&self.here), self.random.pick(&self.tracks)) else {
            return;
        };
        let home = self.world.people[published.who].worker;
        self.next_ssrc += 2;
        let ssrc = 1_000_000 + self.next_ssrc;
        let subscription = self.world.subscribe(who, published.track, home, published.kind, ssrc);
        self.subscriptions.push((who, subscription, ssrc));
    }

    /// Media, lost, doubled and reordered, now and then as a retransmission.
    fn talk(&mut self) {
        let Some(published) = self.random.pick(&self.tracks) else {
            return;
        };
        let source = &mut self.sources[published.source];
        let mut packets: Vec<Rtp> = match published.kind {
            MediaKind::Audio => vec![source.speak(40)],
            MediaKind::Video => {
                source.rid = Some(["q", "h"][self.random.below(2) as usize]);
                source.frame(self.random.below(4) == 0, 1 + self.random.below(5) as usize)
            }
        };
        if self.random.below(5) == 0 {
            packets.push(source.padding());
        }
        if self.random.below(3) == 0 && published.kind == MediaKind::Video {
            let seq = self.random.pick(&source.sent).unwrap().seq;
            packets.push(source.again(900, seq));
        }
        if self.random.below(4) == 0 {
            packets.reverse();
        }
        for packet in packets {
            let copies = [1, 1, 1, 1, 0, 2][self.random.below(6) as usize];
            let datagram = self.world.protect(published.who, packet);
            for _ in 0..copies {
                self.world.deliver(published.who, datagram.clone());
            }
        }
        let steps = self.random.below(6) as u32;
        self.world.run_for(steps * MS);
    }

    fn complain(&mut self) {
        let Some((who, _, ssrc)) = self.random.pick(&self.subscriptions) else {
            return;
        };
        let first = self.random.below(65_536) as u16;
        let numbers: Vec<u16> = (0..300).map(|index| first.wrapping_add(index)).collect();
        self.world
            .send_rtcp(who, |out| wire::rtcp::nack::write(out, 7, ssrc, numbers).unwrap());
        let loss = wire::rtcp::pli::PictureLoss {
            sender_ssrc: 7,
            media_ssrc: ssrc,
        };
        self.world.send_rtcp(who, |out| loss.write(out).unwrap());
    }

    /// Numbers and times leap.
    fn jump(&mut self) {
        let Some(published) = self.random.pick(&self.tracks) else {
            return;
        };
        let source = &mut self.sources[published.source];
        source.seq = source.seq.wrapping_add(1 + self.random.below(20_000) as u16);
        source.timestamp = self.random.below(1 << 32) as u32;
    }

    /// Returns how many packets were forwarded.
    fn end(mut self) -> u64 {
        while !self.here.is_empty() {
            self.leave();
        }
        // Rings and the pool empty by time.
        self.world.run_for(20_000 * MS);
        for worker in 0..2 {
            let row = self.world.stats(worker).workers[0];
            let left = [
                row.peers,
                row.tracks,
                row.mirrors,
                row.subscriptions,
                row.pooled_packets,
            ];
            assert_eq!(left, [0; 5]);
            assert!(self.world.engines[worker].next_timeout().is_none());
        }
        (0..2)
            .map(|worker| self.world.stats(worker).workers[0].rtp_packets_out)
            .sum()
    }
}

#[test]
fn random_operations_leave_nothing_behind() {
    let mut forwarded = 0;
    for seed in 1..=12 {
        let mut chaos = Chaos::new(seed);
        for _ in 0..1_500 {
            chaos.step();
        }
        forwarded += chaos.end();
    }
    assert!(forwarded > 12 * 500, "{forwarded} packets forwarded");
}

#[test]
fn a_tiny_arena_delivers_the_same() {
    let heard = |arena: TransmitArena| {
        let mut world = World::new();
        let alice = world.join(0);
        let track = world.publish_video(alice, "0", &[]);
        for index in 0..5 {
            let who = world.join(0);
            world.subscribe(who, track, 0, MediaKind::Video, 9_000 + index * 10);
        }
        world.arena = arena;
        let mut source = Source::video(1_000, "0", None, (640, 360));
        for index in 0..20 {
            for packet in source.frame(index == 0, 7) {
                world.send(alice, packet);
            }
            world.run_for(30 * MS);
        }
        let tags = |who: usize| {
            world.people[who]
                .rtp
                .iter()
                .map(|packet| packet.tag().to_vec())
                .collect::<Vec<_>>()
        };
        (1..6).map(tags).collect::<Vec<_>>()
    };
    let tiny = heard(TransmitArena::new(2_000, 1));
    assert!(tiny.iter().all(|packets| packets.len() == 140));
    assert_eq!(tiny, heard(TransmitArena::new(1 << 20, 1_024)));
}
