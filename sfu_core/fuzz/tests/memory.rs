//! What is fed for long does not grow: the most that each body held at any time, over hundreds of kilobytes of operations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use pysfu_fuzz::mutate::Random;
use pysfu_fuzz::run;

struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn add(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    MOST.set(MOST.get().max(held));
}

// SAFETY: the system's allocator does the work; cells of a thread without destructors count.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add(-(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn long_inputs_hold_little() {
    // The bodies' models are in it.
    for (body, kilobytes) in [
        ("bandwidth", 3_000),
        ("hello", 1_200),
        ("link_ends", 3_000),
        ("link_liar", 3_000),
        ("link_engine", 3_000),
        ("pacer", 1_000),
        ("ring", 60_000),
    ] {
        let mut random = Random::new(7);
        let data: Vec<u8> = (0..400_000).map(|_| random.below(256) as u8).collect();
        let before = HELD.get();
        MOST.set(before);
        run(body, &data);
        let most = (MOST.get() - before) / 1_000;
        println!("{body}: {most} kB");
        assert!((1..kilobytes).contains(&most), "{body}: {most} kB");
    }
}
