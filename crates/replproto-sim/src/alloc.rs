//! An allocator that counts: what a thread has allocated, and how much of that on behalf of a link, wherever it is freed.
//!
//! The simulator, the fuzz targets and tests of the core use this file.

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
    /// Whether what is allocated now is on behalf of the link, and what is live of that.
    static IS_OF_LINK: Cell<bool> = const { Cell::new(false) };
    static LIVE_OF_LINK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize, is_of_link: bool) {
    // A thread that ends may still free.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
    if is_of_link {
        let _ = LIVE_OF_LINK.try_with(|live| live.set(live.get() + bytes));
    }
}

/// Room in front of each block, in which its last byte says whether the block is on behalf of the link.
const fn head(layout: Layout) -> usize {
    if layout.align() > 16 {
        layout.align()
    } else {
        16
    }
}

/// The block with its head, if there can be such a one.
fn whole(layout: Layout) -> Option<Layout> {
    let head = head(layout);
    Layout::from_size_align(layout.size().checked_add(head)?, head).ok()
}

// SAFETY: each block is one of the system's, given out from behind its head, whose size is a multiple of the alignment that is
// asked for. `realloc` is the default one: a new block, a copy and a free, so that what grows counts with both of its blocks.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(whole) = whole(layout) else {
            return std::ptr::null_mut();
        };
        // SAFETY: the size is not zero, since there is a head.
        let block = unsafe { System.alloc(whole) };
        if block.is_null() {
            return block;
        }
        let _ = BLOCKS.try_with(|blocks| blocks.set(blocks.get() + 1));
        let is_of_link = IS_OF_LINK.try_with(Cell::get).unwrap_or_default();
        count(layout.size().cast_signed(), is_of_link);
        // SAFETY: both are within the block.
        unsafe {
            let given = block.add(head(layout));
            given.sub(1).write(u8::from(is_of_link));
            given
        }
    }

    unsafe fn dealloc(&self, given: *mut u8, layout: Layout) {
        let Some(whole) = whole(layout) else {
            return;
        };
        // SAFETY: `alloc` has given this out of a block of the same layout, with the mark in front of it.
        unsafe {
            let is_of_link = given.sub(1).read() != 0;
            count(-layout.size().cast_signed(), is_of_link);
            System.dealloc(given.sub(head(layout)), whole);
        }
    }
}

/// Runs this: what it allocates is on behalf of the link. There is one for each thread.
pub(crate) fn for_link<T>(work: impl FnOnce() -> T) -> T {
    /// Also after a panic.
    struct Back(bool);
    impl Drop for Back {
        fn drop(&mut self) {
            IS_OF_LINK.set(self.0);
        }
    }
    let _back = Back(IS_OF_LINK.replace(true));
    work()
}

/// What is allocated on behalf of the link, in bytes. Less than nothing is nothing: it was allocated by another thread.
pub(crate) fn live_of_link() -> u64 {
    LIVE_OF_LINK.get().max(0).cast_unsigned() as u64
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
