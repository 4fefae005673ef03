//! Rooms that scenarios take place in, and what is asked of their receivers.

use std::collections::HashSet;
use std::time::Duration;

use netem::LinkConfig;

use crate::media::spec::{Format, Spec};
use crate::metrics::{Freezes, Watch, freezes, quantile};
use crate::receive::Receiver;
use crate::receive::video::Video;
use crate::world::World;

/// Publishers and what they publish: videos, and the voice of the first.
pub(super) struct Room {
    pub(super) world: World,
    pub(super) videos: Vec<usize>,
    pub(super) voice: usize,
}

impl Room {
    /// A publisher for each video; wires begin now.
    pub(super) fn new(seed: u64, videos: Vec<Spec>) -> Self {
        let mut world = World::new(seed);
        let mut publish = |spec: Spec| {
            let who = world.join();
            (who, world.publish(who, spec))
        };
        let published: Vec<_> = videos.into_iter().map(&mut publish).collect();
        let (speaker, _) = published[0];
        let voice = world.publish(speaker, Spec::microphone());
        let videos = published.into_iter().map(|(_, track)| track).collect();
        world.begin();
        Self { world, videos, voice }
    }

    /// Many small steps between rates: something fits any capacity.
    pub(super) fn gallery(seed: u64) -> Self {
        Self::new(seed, vec![Spec::tile(); 8])
    }

    pub(super) fn camera(seed: u64) -> Self {
        Self::new(seed, vec![Spec::camera(Format::Vp8)])
    }

    /// A receiver of everything behind links of its own. It is connected before they begin.
    pub(super) fn receiver(&mut self, down: LinkConfig, up: LinkConfig) -> usize {
        let who = self.connected();
        self.world.attach(who, down, up);
        self.subscribe(who);
        who
    }

    /// A client without subscriptions, the beginning of wires put off until it is there.
    pub(super) fn connected(&mut self) -> usize {
        let who = self.world.join();
        if self.world.wires.is_empty() {
            self.world.begin();
        }
        who
    }

    pub(super) fn subscribe(&mut self, who: usize) {
        for track in self.videos.clone() {
            self.world.subscribe(who, track);
        }
        self.world.subscribe(who, self.voice);
    }

    pub(super) fn watch(&self, who: usize) -> &Watch {
        &self.world.watches[&who]
    }

    pub(super) fn receivers(&self, who: usize) -> &[Receiver] {
        &self.world.peers[who].receivers
    }

    pub(super) fn videos(&self, who: usize) -> impl Iterator<Item = &Video> {
        self.receivers(who).iter().filter_map(Receiver::video)
    }

    /// The first video.
    pub(super) fn video(&self, who: usize) -> &Video {
        self.videos(who).next().unwrap()
    }

    /// Microseconds of a second since the beginning.
    pub(super) fn at(&self, seconds: f64) -> u64 {
        self.world.begun() + (seconds * 1e6) as u64
    }

    /// What stood still of a video, while the engine did not say that it is paused.
    pub(super) fn freezes(&self, who: usize, receiver: usize, from: f64, to: f64) -> Freezes {
        let receiver = &self.receivers(who)[receiver];
        let Some(video) = receiver.video() else {
            return Freezes::default();
        };
        let told = self.world.forwarded.iter();
        let told: Vec<_> = told.filter(|(_, of, _)| *of == receiver.subscription).collect();
        let paused = |from: u64, to: u64| {
            let before = told.iter().rev().find(|(at, ..)| *at <= from);
            let within = told.iter().filter(|(at, ..)| (from..=to).contains(at));
            before.into_iter().chain(within).any(|(_, _, layer)| layer.is_none())
        };
        freezes(&video.shown, self.at(from), self.at(to), paused)
    }

    /// Of all videos: the mean of the totals, and the longest one.
    pub(super) fn all_freezes(&self, who: usize, from: f64, to: f64) -> Freezes {
        let videos = (0..self.receivers(who).len()).filter(|&index| self.receivers(who)[index].is_video());
        let each: Vec<_> = videos.map(|index| self.freezes(who, index, from, to)).collect();
        Freezes {
            total: each.iter().map(|freezes| freezes.total).sum::<f64>() / each.len() as f64,
            longest: each.iter().map(|freezes| freezes.longest).fold(0.0, f64::max),
        }
    }

    /// Percent of the pictures sent between these times that were never shown.
    pub(super) fn frame_loss(&self, who: usize, from: f64, to: f64) -> f64 {
        let within = self.at(from)..self.at(to);
        let (mut sent, mut lost) = (0, 0);
        for video in self.videos(who) {
            let shown: HashSet<_> = video.shown.iter().map(|shown| shown.timestamp).collect();
            let pictures = video.sent.iter().filter(|(at, _)| within.contains(at));
            for (_, timestamp) in pictures {
                sent += 1;
                lost += u64::from(!shown.contains(timestamp));
            }
        }
        100.0 * lost as f64 / f64::from(sent.max(1))
    }

    /// Milliseconds from capture until shown that this share of pictures did not exceed.
    pub(super) fn frame_delay(&self, who: usize, share: f64, from: f64, to: f64) -> f64 {
        let within = self.at(from)..self.at(to);
        let shown = self.videos(who).flat_map(|video| &video.shown);
        let shown = shown.filter(|shown| within.contains(&shown.at));
        quantile(
            shown.map(|shown| (shown.at - shown.captured) as f64 / 1e3).collect(),
            share,
        )
    }

    /// Seconds after `from` when the first video is shown in this layer or a higher one.
    pub(super) fn reaches(&self, who: usize, spatial: u8, from: f64, to: f64) -> f64 {
        let within = self.at(from)..self.at(to);
        let mut shown = self.video(who).shown.iter();
        let found = shown.find(|shown| within.contains(&shown.at) && shown.spatial >= spatial);
        found.map_or(f64::INFINITY, |shown| (shown.at - within.start) as f64 / 1e6)
    }

    /// Percent of the time in which a voice was made up.
    pub(super) fn concealment(&self, who: usize, from: f64, to: f64) -> f64 {
        let within = self.at(from)..self.at(to);
        let voices = self.receivers(who).iter().filter_map(Receiver::voice);
        let played = voices
            .flat_map(|voice| &voice.played)
            .filter(|(at, _)| within.contains(at));
        let (mut all, mut concealed) = (0_u64, 0_u64);
        for (_, made_up) in played {
            all += 1;
            concealed += u64::from(*made_up);
        }
        if all == 0 {
            return 100.0;
        }
        100.0 * concealed as f64 / all as f64
    }
}

/// A capacity script's rate over time, bits per second, with the demand as its upper bound: what can be used between two times.
pub(super) fn could_use(config: &LinkConfig, from: f64, to: f64, demand: f64) -> f64 {
    let slot = Duration::from_millis(100);
    let slots = (from * 10.0) as u32..(to * 10.0) as u32;
    let bytes = |index: u32| {
        config
            .capacity
            .bytes_between(slot * index, slot * (index + 1))
            .unwrap_or(u64::MAX)
    };
    let rates = slots.clone().map(|index| (bytes(index) as f64 * 80.0).min(demand));
    rates.sum::<f64>() / slots.len() as f64
}
