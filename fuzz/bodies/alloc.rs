//! An allocator that counts, and the rule that memory is bounded by the input.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator. It counts per thread, so that tests which run at the same time do not disturb each other.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static BLOCKS: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that ends may still free.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call goes to the system's allocator as it came. `realloc` is the default one: a new block, a copy and a
// free, so that what grows counts with both of its blocks.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = BLOCKS.try_with(|blocks| blocks.set(blocks.get() + 1));
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `GlobalAlloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, and `alloc` took the block from the same allocator.
        unsafe { System.dealloc(block, layout) }
    }
}

/// What the allocations of this thread amount to, in bytes, while and after something ran.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// The most at any moment above what there was before.
    pub(crate) peak: usize,
    /// What is still there.
    pub(crate) kept: isize,
    /// How many blocks were allocated.
    pub(crate) blocks: usize,
}

/// Runs this and counts.
pub(crate) fn measure<T>(work: impl FnOnce() -> T) -> (T, Usage) {
    let (before, blocks) = (LIVE.get(), BLOCKS.get());
    PEAK.set(before);
    let result = work();
    let usage = Usage {
        peak: (PEAK.get() - before).cast_unsigned(),
        kept: LIVE.get() - before,
        blocks: BLOCKS.get() - blocks,
    };
    (result, usage)
}

/// Runs this, which may have at most `limit` bytes allocated at any moment.
///
/// # Panics
/// It has more.
#[track_caller]
pub(crate) fn within<T>(limit: usize, work: impl FnOnce() -> T) -> T {
    let (result, usage) = measure(work);
    assert!(
        usage.peak <= limit,
        "{} bytes allocated, in {} blocks, {limit} are allowed",
        usage.peak,
        usage.blocks
    );
    result
}
