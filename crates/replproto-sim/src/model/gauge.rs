//! A gauge by its definition: a reason is raised when a count is above its high mark, and lifted when both counts are at or
//! below their low marks.

use replproto_core::config::{Level, Marks};

#[derive(Clone, Copy, Debug)]
pub(super) struct Gauge {
    marks: Marks,
    pub(super) now: Level,
    pub(super) is_raised: bool,
}

impl Gauge {
    pub(super) const fn new(marks: Marks) -> Self {
        let now = Level { items: 0, bytes: 0 };
        Self {
            marks,
            now,
            is_raised: false,
        }
    }

    pub(super) const fn add(&mut self, items: u64, bytes: u64) {
        self.now.items += items;
        self.now.bytes += bytes;
        let Marks { high, .. } = self.marks;
        self.is_raised =
            self.is_raised || self.now.items > high.items || self.now.bytes > high.bytes;
    }

    pub(super) const fn remove(&mut self, items: u64, bytes: u64) {
        self.now.items = self.now.items.saturating_sub(items);
        self.now.bytes = self.now.bytes.saturating_sub(bytes);
        let Marks { low, .. } = self.marks;
        self.is_raised =
            self.is_raised && (self.now.items > low.items || self.now.bytes > low.bytes);
    }
}
