//! A scalable stream that crosses links to other nodes: of its layers only those that somebody beyond can use.

use std::ops::Range;

use netem::LinkConfig;
use pysfu_engine::Config;
use pysfu_engine::command::{Command, MediaKind, View};
use pysfu_engine::ids::SubscriptionId;
use pysfu_engine::stats::LinkRow;

use super::decoder::{self, Shown};
use super::encoder::{Between, Mode, Told};
use super::{Call, MODES, PICTURE, join, layers, mode};
use crate::links::{Nodes, link, way};
use crate::media::Rtp;
use crate::world::MS;

const VP8: (&str, Mode) = ("VP8 L1T3", mode(Told::Vp8, 1, 3, Between::Always));
const VP9: Mode = mode(Told::Vp9, 3, 3, Between::Always);
const AV1: Mode = mode(Told::Dependency, 3, 3, Between::InKeyframes);
const SECOND: u64 = 1_000;
/// How long less is wanted before less is sent, and a margin, milliseconds.
const LINGER: u64 = 5_600;
const ALL: (u8, u8) = (255, 255);
const LEAST: (u8, u8) = (0, 0);

/// Nodes in a row, the publisher at one end and Bob at the other.
fn over(hops: usize, way: &LinkConfig, mode: Mode) -> Call {
    let mut nodes = Nodes::new(hops as u8 + 1, Config::default());
    for hop in 0..hops {
        nodes.join(hop, hop + 1, way);
    }
    let mut call = Call::among(nodes.world, hops, mode, 1);
    call.encoder.octets = 350;
    call
}

/// Somebody else.
struct Viewer {
    who: usize,
    subscription: SubscriptionId,
    received: Vec<(u64, Rtp)>,
}

impl Viewer {
    fn new(call: &mut Call, node: usize, wants: (u8, u8)) -> Self {
        let who = join(&mut call.world, node);
        let subscription = SubscriptionId(call.world.id());
        call.subscribe(who, subscription);
        call.want_for(who, subscription, wants);
        Self {
            who,
            subscription,
            received: Vec::new(),
        }
    }

    fn leave(&self, call: &mut Call) {
        let person = &call.world.people[self.who];
        let (peer, subscription) = (person.peer, self.subscription);
        let leave = Command::Unsubscribe { peer, subscription };
        call.world.command(person.worker, leave);
    }

    fn shown(&self, call: &Call) -> Vec<Shown> {
        decoder::check(&call.encoder, &self.received, &call.lost())
    }
}

impl Call {
    fn film(&mut self, milliseconds: u64, viewers: &mut [Viewer]) {
        for _ in 0..milliseconds / PICTURE {
            self.picture();
            self.collect(viewers);
        }
    }

    fn collect(&mut self, viewers: &mut [Viewer]) {
        let now = self.now();
        for viewer in viewers.iter_mut() {
            let got = std::mem::take(&mut self.world.people[viewer.who].rtp);
            viewer.received.extend(got.into_iter().map(|packet| (now, packet)));
        }
    }

    /// What was lost last is repeated.
    fn settle(&mut self, viewers: &mut [Viewer]) {
        self.world.run_for(500 * MS);
        self.collect(viewers);
        let (now, got) = (self.now(), std::mem::take(&mut self.world.people[self.bob].rtp));
        self.received.extend(got.into_iter().map(|packet| (now, packet)));
    }

    fn row(&self, from: usize, to: usize) -> LinkRow {
        let stats = self.world.stats(from);
        let id = u64::from(link(from, to).0);
        *stats.links.iter().find(|row| row.link == id).unwrap()
    }

    /// Bits per second from each node to the next, over two seconds.
    fn rates(&mut self, viewers: &mut [Viewer]) -> Vec<u64> {
        let sent = |call: &Call| -> Vec<u64> {
            let rows = (0..call.node).map(|node| call.row(node, node + 1).bytes_sent);
            rows.collect()
        };
        let (before, begun) = (sent(self), self.now());
        self.film(2 * SECOND, viewers);
        let took = self.now() - begun;
        let bits = sent(self).into_iter().zip(before);
        bits.map(|(now, before)| (now - before) * 8_000 / took).collect()
    }
}

/// Milliseconds from `since` until a picture of at least these layers is shown.
fn reached(shown: &[Shown], since: u64, (spatial, temporal): (u8, u8)) -> u64 {
    let mut later = shown.iter().filter(|shown| shown.at > since);
    let first = later.find(|shown| shown.spatial >= spatial && shown.temporal >= temporal);
    first.map_or(u64::MAX, |shown| shown.at - since)
}

/// The longest time without a picture.
fn longest(shown: &[Shown], times: Range<u64>) -> u64 {
    let within: Vec<_> = shown.iter().filter(|shown| times.contains(&shown.at)).collect();
    let gaps = within.windows(2).map(|pair| pair[1].at.saturating_sub(pair[0].at));
    gaps.max().unwrap_or(u64::MAX)
}

/// Much is wanted, then little, much and little again: what crosses follows, and pictures go on.
#[test]
fn what_crosses_follows_what_is_wanted_beyond() {
    for (name, mode) in MODES.into_iter().chain([VP8]) {
        for loss in [0.0, 0.03] {
            let mut call = over(1, &way(30, loss), mode);
            call.film(2 * SECOND, &mut []);
            let best = (mode.spatial - 1, mode.temporal - 1);
            let all = call.rates(&mut [])[0];
            let lowered = call.now();
            call.want(0, 0);
            call.film(LINGER, &mut []);
            let low = call.rates(&mut [])[0];
            let keyframes = call.keyframes;
            let raised = call.now();
            call.want(255, 255);
            call.film(2 * SECOND, &mut []);
            let again = call.rates(&mut [])[0];
            let asked = call.keyframes - keyframes;
            let lowered_again = call.now();
            call.want(0, 0);
            call.film(LINGER, &mut []);
            let low_again = call.rates(&mut [])[0];
            call.settle(&mut []);
            let shown = call.check();
            let up = reached(&shown, raised, best);
            let last = shown.iter().rev();
            let last = last.map(|shown| (shown.at, (shown.spatial, shown.temporal)));
            let down = last.into_iter().find(|(_, layers)| *layers != LEAST).unwrap().0;
            let down = down.saturating_sub(lowered_again);
            let still = [lowered..raised, raised..lowered_again].map(|times| longest(&shown, times));
            println!(
                "{name:>22} {:>2} %: {:>4} {:>3} {:>4} {:>3} kbit/s, up in {up} ms with {asked} keyframes, down in {down} ms, \
                 at most {still:?} ms without a picture",
                loss * 100.0,
                all / 1_000,
                low / 1_000,
                again / 1_000,
                low_again / 1_000,
            );
            // A second layer is twice as large as the first, a third three times, and each temporal layer doubles the frames.
            let share = [1, 3, 6][usize::from(mode.spatial) - 1] << (mode.temporal - 1);
            let margin = if loss > 0.0 { 30_000 } else { 12_000 };
            for (low, all) in [(low, all), (low_again, again)] {
                assert!(low < all * 13 / 10 / share + margin, "{name}: {low} of {all}");
            }
            assert!(again * 3 > all * 2, "{name}: {again}, {all} before");
            assert!(up <= 600 && down <= 400, "{name}: {up} {down}");
            assert!(asked <= u32::from(mode.spatial > 1), "{name}: {asked} keyframes");
            // Between two pictures of the lowest layer a repetition may be waited for, or a keyframe.
            let frame = PICTURE << (mode.temporal - 1);
            assert!(still.iter().all(|still| *still <= frame + 200), "{name}: {still:?}");
            assert_eq!(layers(&shown, raised + 800..lowered_again), best, "{name}");
            assert_eq!(layers(&shown, lowered + 800..raised), LEAST, "{name}");
            let stats = call.world.stats(1);
            assert_eq!((stats.workers[0].dropped_malformed, call.row(1, 0).given_up), (0, 0));
        }
    }
}

/// Layers change at random over a path that loses: nobody is ever sent what cannot be decoded.
#[test]
fn wants_change_at_random_beyond_a_link() {
    for (name, mode) in MODES.into_iter().chain([VP8]) {
        for seed in super::seeds(2) {
            let mut call = over(1, &way(20, 0.02), mode);
            call.random = super::Random(seed * 2 + 1);
            let mut viewers = [0, 1].map(|_| Viewer::new(&mut call, 1, ALL));
            call.film(SECOND, &mut viewers);
            for _ in 0..12 {
                let who = call.random.below(3) as usize;
                let wants = [mode.spatial, mode.temporal].map(|layers| call.random.below(u64::from(layers) + 1) as u8);
                let wants = (wants[0], wants[1]);
                match viewers.get(who) {
                    Some(viewer) => {
                        let (who, subscription) = (viewer.who, viewer.subscription);
                        call.want_for(who, subscription, wants);
                    }
                    None => call.want(wants.0, wants.1),
                }
                let milliseconds = 300 + call.random.below(7_000);
                call.film(milliseconds, &mut viewers);
            }
            call.want(255, 255);
            call.film(3 * SECOND, &mut viewers);
            let end = call.now();
            call.settle(&mut viewers);
            let best = (mode.spatial - 1, mode.temporal - 1);
            let shown = call.check();
            assert_eq!(layers(&shown, end - 1_000..end), best, "{name} {seed}");
            for viewer in &viewers {
                let shown = viewer.shown(&call);
                assert!(longest(&shown, 0..end) <= 1_000, "{name} {seed}");
            }
        }
    }
}

/// Two who want different layers share what crosses; when one leaves it is what the other wants.
#[test]
fn who_wants_more_decides_until_they_leave() {
    for (name, mode) in [("VP9", VP9), ("AV1", AV1)] {
        let mut call = over(1, &way(30, 0.03), mode);
        let mut viewers = [Viewer::new(&mut call, 1, LEAST)];
        call.film(LINGER + 2 * SECOND, &mut viewers);
        let both = call.rates(&mut viewers)[0];
        let begun = call.now();
        let (peer, subscription) = (call.world.people[call.bob].peer, call.subscription);
        call.world.command(1, Command::Unsubscribe { peer, subscription });
        call.film(LINGER, &mut viewers);
        let one = call.rates(&mut viewers)[0];
        let end = call.now();
        call.settle(&mut viewers);
        println!("{name}: {} kbit/s for two, {} for one", both / 1_000, one / 1_000);
        assert!(one * 8 < both, "{name}: {one} of {both}");
        let shown = viewers[0].shown(&call);
        assert_eq!(layers(&shown, 1_000..end), LEAST, "{name}");
        assert!(longest(&shown, begun..end) <= 4 * PICTURE + 200, "{name}");
        let best = layers(&call.check(), 1_000..begun);
        assert_eq!(best, (2, 2), "{name}");
        viewers[0].leave(&mut call);
        call.film(SECOND, &mut []);
        let before = call.row(0, 1).media_sent;
        call.film(SECOND, &mut []);
        assert_eq!(call.row(0, 1).media_sent, before, "{name}: for nobody");
    }
}

/// Each link of a way carries what somebody beyond it wants.
#[test]
fn wants_are_passed_on_hop_by_hop() {
    for (name, mode) in [("VP9", VP9), ("AV1", AV1), VP8] {
        let mut call = over(2, &way(20, 0.02), mode);
        let mut viewers = [Viewer::new(&mut call, 1, ALL)];
        call.want(0, 0);
        call.film(LINGER + SECOND, &mut viewers);
        let [first, second] = call.rates(&mut viewers)[..] else {
            unreachable!()
        };
        viewers[0].leave(&mut call);
        call.film(LINGER, &mut []);
        // Twice: for the node between lets go of the layers before the one beyond does.
        let [lower, lowest] = call.rates(&mut [])[..] else {
            unreachable!()
        };
        let (raised, keyframes) = (call.now(), call.keyframes);
        call.want(255, 255);
        call.film(2 * SECOND, &mut []);
        let [higher, highest] = call.rates(&mut [])[..] else {
            unreachable!()
        };
        let end = call.now();
        call.settle(&mut []);
        let shown = call.check();
        let best = (mode.spatial - 1, mode.temporal - 1);
        let up = reached(&shown, raised, best);
        println!(
            "{name}: {:?} kbit/s, up in {up} ms",
            [first, second, lower, lowest, higher, highest].map(|rate| rate / 1_000)
        );
        assert!(
            second * 2 < first && lower * 2 < first && lowest < second + 30_000,
            "{name}"
        );
        assert!(higher > lower * 2 && highest > lowest * 2, "{name}");
        assert!(up <= 700, "{name}: {up} ms");
        assert!(call.keyframes - keyframes <= u32::from(mode.spatial > 1), "{name}");
        assert!(longest(&shown, raised..end) <= 4 * PICTURE + 200, "{name}");
    }
}

/// What is shown small is sent small, and stays so: layers that do not cross are not taken for ones that are not there.
#[test]
fn a_thumbnail_takes_the_lowest_layer_until_it_is_enlarged() {
    for (name, mode) in [("VP9", VP9), ("AV1", AV1)] {
        let mut call = over(1, &way(30, 0.0), mode);
        call.film(2 * SECOND, &mut []);
        let view = |call: &mut Call, width, height| {
            let (peer, subscription) = (call.world.people[call.bob].peer, call.subscription);
            let view = View {
                width,
                height,
                priority: 0,
            };
            let set = Command::SetView {
                peer,
                subscription,
                view,
            };
            call.world.command(1, set);
        };
        let all = call.rates(&mut [])[0];
        view(&mut call, 160, 90);
        call.film(LINGER, &mut []);
        let small: Vec<_> = (0..6).map(|_| call.rates(&mut [])[0]).collect();
        assert!(small.iter().all(|rate| rate * 4 < all), "{name}: {small:?} of {all}");
        let (enlarged, keyframes) = (call.now(), call.keyframes);
        view(&mut call, 1_280, 720);
        call.film(3 * SECOND, &mut []);
        let shown = call.check();
        let up = reached(&shown, enlarged, (2, 2));
        println!("{name}: {all} then {small:?} bit/s, enlarged within {up} ms");
        assert!(up <= 500, "{name}: {up} ms");
        assert_eq!(call.keyframes - keyframes, 1, "{name}");
    }
}

/// A track that comes another way is thinned there, too, and goes on.
#[test]
fn a_way_round_carries_what_is_wanted() {
    for (name, mode) in [("VP9", VP9), ("AV1", AV1), VP8] {
        let mut call = over(2, &way(20, 0.0), mode);
        let mut nodes = Nodes { world: call.world };
        nodes.join(0, 2, &way(20, 0.0));
        call.world = nodes.world;
        call.want(0, 0);
        call.film(LINGER + 2 * SECOND, &mut []);
        let moved = call.now();
        let mut nodes = Nodes { world: call.world };
        nodes.mirror_as(call.tracks[2], 2, 0, call.tracks[0], MediaKind::Video, None);
        call.world = nodes.world;
        call.film(2 * SECOND, &mut []);
        let before = call.row(0, 2).bytes_sent;
        call.film(2 * SECOND, &mut []);
        let low = call.row(0, 2).bytes_sent - before;
        let raised = call.now();
        call.want(255, 255);
        call.film(2 * SECOND, &mut []);
        let before = call.row(0, 2).bytes_sent;
        call.film(2 * SECOND, &mut []);
        let all = call.row(0, 2).bytes_sent - before;
        let shown = call.check();
        assert!(low * 5 < all * 2, "{name}: {low} of {all}");
        assert_eq!(layers(&shown, moved..raised), LEAST, "{name}");
        assert!(longest(&shown, moved..raised) <= 4 * PICTURE + 200, "{name}");
        let best = (mode.spatial - 1, mode.temporal - 1);
        assert!(reached(&shown, raised, best) <= 600, "{name}");
    }
}

/// A keyframe crosses without its upper layers just when they are wanted: they are known to be there, and asked for.
#[test]
fn a_keyframe_that_overtakes_a_wish_hides_nothing() {
    for (name, mode) in MODES.into_iter().filter(|(_, mode)| mode.spatial > 1) {
        let mut call = over(1, &way(30, 0.0), mode);
        call.want(0, 0);
        call.film(LINGER + 2 * SECOND, &mut []);
        let (raised, keyframes) = (call.now(), call.keyframes);
        call.want(255, 255);
        call.picture_with(true);
        call.film(2 * SECOND, &mut []);
        call.settle(&mut []);
        // Until the next packet that crosses tells that the upper layers stayed behind.
        let shown = decoder::check_but(&call.encoder, &call.received, &call.lost(), raised..raised + 300);
        let best = (mode.spatial - 1, mode.temporal - 1);
        assert!(reached(&shown, raised, best) <= 800, "{name}");
        assert!(
            call.keyframes - keyframes <= 2,
            "{name}: {}",
            call.keyframes - keyframes
        );
    }
}

/// Packets that leave no room in front of them: what stays behind goes ahead by itself.
#[test]
fn large_packets_are_told_about_ahead() {
    for (name, mode) in MODES.into_iter().chain([VP8]).filter(|(_, mode)| mode.spatial == 1) {
        let mut call = over(1, &way(30, 0.0), mode);
        call.encoder.octets = 1_310;
        call.film(SECOND, &mut []);
        call.want(0, 0);
        call.film(LINGER, &mut []);
        let low = call.rates(&mut [])[0];
        call.want(255, 255);
        call.film(SECOND, &mut []);
        let all = call.rates(&mut [])[0];
        call.settle(&mut []);
        let shown = call.check();
        assert!(low * 3 < all * 2, "{name}: {low} of {all}");
        assert!(longest(&shown, SECOND..call.now()) <= 4 * PICTURE, "{name}");
        assert_eq!(call.row(0, 1).dropped, 0, "{name}");
    }
}

/// Who begins to watch while little crosses begins with that, and what it wants follows.
#[test]
fn a_newcomer_beyond_begins_with_what_crossed() {
    for (name, mode) in MODES.into_iter().chain([VP8]) {
        let mut call = over(1, &way(30, 0.0), mode);
        call.want(0, 0);
        call.film(LINGER + SECOND, &mut []);
        // A keyframe that is still kept.
        call.picture_with(true);
        call.film(SECOND / 2, &mut []);
        let came = call.now();
        let mut viewers = [Viewer::new(&mut call, 1, ALL)];
        call.film(3 * SECOND, &mut viewers);
        call.settle(&mut viewers);
        let received = &viewers[0].received;
        let shown = decoder::check_but(&call.encoder, received, &call.lost(), came..came + 300);
        let best = (mode.spatial - 1, mode.temporal - 1);
        assert!(
            shown[0].at <= came + 4 * PICTURE,
            "{name}: after {}",
            shown[0].at - came
        );
        assert!(reached(&shown, came, best) <= 800, "{name}");
        assert!(longest(&shown, came..call.now()) <= 4 * PICTURE + 200, "{name}");
        assert_eq!(layers(&call.check(), came..call.now()), LEAST, "{name}");
    }
}
