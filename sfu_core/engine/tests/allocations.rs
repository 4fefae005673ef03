//! Forwarding a packet allocates nothing: counted by the allocator itself.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing helper is a failing test")]

#[allow(dead_code, reason = "shared with the scenarios")]
#[path = "transport/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with the scenarios")]
#[path = "scenarios/media.rs"]
mod media;
#[allow(dead_code, reason = "shared with the scenarios")]
#[path = "transport/stun.rs"]
mod stun;
#[allow(dead_code, reason = "shared with the scenarios")]
#[path = "scenarios/world.rs"]
mod world;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use pysfu_engine::Config;
use pysfu_engine::command::MediaKind;
use pysfu_engine::ids::WorkerId;

use media::Source;
use world::{MS, SOCKET, World};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed to the system's allocator with the arguments it came with. The counter is a
// constant-initialised thread-local without destructor, so that touching it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(run: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    run();
    ALLOCATIONS.with(Cell::get) - before
}

/// Sends prepared datagrams at 1 ms each, flushing and ticking as a worker does, and counts.
fn run(world: &mut World, from: usize, datagrams: &mut [Vec<u8>]) -> (u64, u64) {
    let address = world.people[from].address;
    let mut sent = 0;
    let counted = allocations(|| {
        for datagram in datagrams {
            world.now += MS;
            world.engines[0].handle_datagram(world.now, SOCKET, address, datagram);
            for worker in 0..world.engines.len() {
                if world.engines[worker].next_timeout().is_some_and(|at| at <= world.now) {
                    world.engines[worker].handle_timeout(world.now);
                }
                while let Some((to, crossing)) = world.engines[worker].poll_crossing() {
                    world.engines[usize::from(to.0)].handle_crossing(world.now, WorkerId(worker as u8), crossing);
                }
            }
            for engine in &mut world.engines {
                world.arena.clear();
                assert!(!engine.poll_transmit(world.now, &mut world.arena));
                sent += world.arena.messages().len() as u64;
            }
        }
    });
    (counted, sent)
}

#[test]
fn forwarding_allocates_nothing() {
    let mut world = World::with(2, Config::default());
    let alice = world.join(0);
    let track = world.publish_video(alice, "0", &["q", "h"]);
    for index in 0..10 {
        let who = world.join(index % 2);
        world.subscribe(who, track, 0, MediaKind::Video, 9_000 + index as u32 * 10);
    }
    world.run_for(10 * MS);
    let mut sources = [
        Source::video(1_000, "0", Some("q"), (320, 180)),
        Source::video(1_001, "0", Some("h"), (640, 360)),
    ];
    let mut datagrams = Vec::new();
    for frame in 0..400 {
        for source in &mut sources {
            for mut packet in source.frame(frame % 50 == 0, 10) {
                packet.payload.resize(1_000, 7);
                datagrams.push(world.protect(alice, packet));
            }
        }
    }
    // What is kept for retransmission, pooled or remembered has its full size after the first five seconds.
    let (warm, steady) = datagrams.split_at_mut(5_000);
    let (counted, _) = run(&mut world, alice, warm);
    assert!(counted > 0, "the counter counts");
    let (counted, sent) = run(&mut world, alice, steady);
    assert!(sent > 10 * steady.len() as u64 / 2, "{sent} datagrams sent");
    assert_eq!(counted, 0, "allocations while forwarding {} packets", steady.len());
    assert_eq!(world.stats(0).workers[0].dropped_pool_exhausted, 0);
}
