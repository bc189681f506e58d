//! Flow control: one mechanism behind every reason to pause.
//!
//! Whatever the core hands out or holds it counts in a [`Gauge`]; whatever is acknowledged or let go it un-counts. The set
//! of raised reasons is compared with the set that the host has been told of, so that pauses and resumes of a reason
//! always alternate, and closing lifts them all by itself.

use crate::command::Command;
use crate::config::{FlowControl, Level, Marks};
use crate::pause::{PauseReason, PauseReasons};

/// Counts items and bytes against a high and a low mark.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauge {
    now: Level,
    marks: Marks,
    is_raised: bool,
}

impl Gauge {
    pub(crate) const fn new(marks: Marks) -> Self {
        Self {
            now: Level { items: 0, bytes: 0 },
            marks,
            is_raised: false,
        }
    }

    pub(crate) const fn level(&self) -> Level {
        self.now
    }

    pub(crate) const fn is_raised(&self) -> bool {
        self.is_raised
    }

    /// Whether the bytes are above the high mark at this moment.
    pub(crate) const fn is_above_bytes(&self) -> bool {
        self.now.bytes > self.marks.high.bytes
    }

    pub(crate) const fn high(&self) -> Level {
        self.marks.high
    }

    /// How much more can be added before the gauge is above a high mark.
    pub(crate) const fn room(&self) -> Level {
        Level {
            items: self.marks.high.items.saturating_sub(self.now.items),
            bytes: self.marks.high.bytes.saturating_sub(self.now.bytes),
        }
    }

    /// Counts first and looks at the marks then: one item that is larger than the mark is admitted alone.
    #[inline]
    pub(crate) const fn add(&mut self, items: u64, bytes: u64) {
        self.now.items += items;
        self.now.bytes += bytes;
        if self.now.items > self.marks.high.items || self.now.bytes > self.marks.high.bytes {
            self.is_raised = true;
        }
    }

    #[inline]
    pub(crate) const fn sub(&mut self, items: u64, bytes: u64) {
        debug_assert!(self.now.items >= items && self.now.bytes >= bytes);
        self.now.items = self.now.items.saturating_sub(items);
        self.now.bytes = self.now.bytes.saturating_sub(bytes);
        if self.now.items <= self.marks.low.items && self.now.bytes <= self.marks.low.bytes {
            self.is_raised = false;
        }
    }
}

/// The gauges of a link, and what the host has been told of them.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) inbound: Gauge,
    pub(crate) consumer: Gauge,
    pub(crate) commits: Gauge,
    pub(crate) blobs: Gauge,
    /// The application is not ready, and the link is set up: before that, nothing is for the application.
    pub(crate) not_ready: bool,
    /// What is held cannot be decoded without more bytes from the peer, so that pausing for its size would be for ever:
    /// what is being received is then admitted however large it is, up to its own limit.
    pub(crate) is_starved: bool,
    /// Bytes of what is out that were copied out of their parts, so that no part is charged for them.
    pub(crate) copied: u64,
    /// How much may be held before reading pauses for the sake of other links.
    pub(crate) allowance: u64,
    announced: PauseReasons,
}

impl Flow {
    pub(crate) const fn new(config: &FlowControl) -> Self {
        Self {
            inbound: Gauge::new(config.inbound),
            consumer: Gauge::new(config.consumer),
            commits: Gauge::new(config.commits),
            blobs: Gauge::new(config.blobs),
            not_ready: false,
            is_starved: false,
            copied: 0,
            allowance: Level::UNBOUNDED,
            announced: PauseReasons::NONE,
        }
    }

    /// The reasons that hold now.
    pub(crate) const fn reasons(&self) -> PauseReasons {
        let mut reasons = PauseReasons::NONE;
        reasons.set(
            PauseReason::InboundQueue,
            self.inbound.is_raised() && !self.is_starved,
        );
        reasons.set(PauseReason::ConsumerQueue, self.consumer.is_raised());
        reasons.set(PauseReason::CommitBacklog, self.commits.is_raised());
        reasons.set(PauseReason::BlobStream, self.blobs.is_raised());
        reasons.set(PauseReason::NotReady, self.not_ready);
        reasons.set(PauseReason::SharedBudget, self.held() > self.allowance);
        reasons
    }

    /// Bytes of messages that are in memory, in parts or copied out of them.
    pub(crate) const fn held(&self) -> u64 {
        self.inbound.level().bytes + self.copied
    }

    /// Whether decoding may go on: what is held falls by decoding, so it does not count.
    pub(crate) const fn may_decode(&self) -> bool {
        self.reasons()
            .without(PauseReason::InboundQueue)
            .without(PauseReason::SharedBudget)
            .is_empty()
    }

    /// The next thing that the host has not been told yet, if `reasons` are those that it should know of.
    pub(crate) fn announce(&mut self, reasons: PauseReasons) -> Option<Command> {
        let reason = self.announced.first_difference(reasons)?;
        let is_raised = reasons.contains(reason);
        self.announced.set(reason, is_raised);
        Some(if is_raised {
            Command::Pause(reason)
        } else {
            Command::Resume(reason)
        })
    }

    pub(crate) const fn has_announcement(&self, reasons: PauseReasons) -> bool {
        self.announced.bits() != reasons.bits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn level() -> impl Strategy<Value = (u64, u64)> {
        (0..20u64, 0..200u64)
    }

    proptest! {
        /// The gauge against the definition: raised by crossing the high mark, lifted by reaching the low one.
        #[test]
        fn agrees_with_a_naive_model(
            high in (1..20u64, 1..200u64),
            low in level(),
            steps in prop::collection::vec((any::<bool>(), level()), 0..200),
        ) {
            let high = Level { items: high.0, bytes: high.1 };
            let low = Level { items: low.0.min(high.items), bytes: low.1.min(high.bytes) };
            let mut gauge = Gauge::new(Marks::new(high, low));
            let (mut items, mut bytes, mut raised) = (0, 0, false);
            for (is_add, (di, db)) in steps {
                if is_add {
                    items += di;
                    bytes += db;
                    gauge.add(di, db);
                    raised |= items > high.items || bytes > high.bytes;
                } else {
                    let (di, db) = (di.min(items), db.min(bytes));
                    items -= di;
                    bytes -= db;
                    gauge.sub(di, db);
                    raised &= items > low.items || bytes > low.bytes;
                }
                prop_assert_eq!(gauge.level(), Level { items, bytes });
                prop_assert_eq!(gauge.is_raised(), raised);
            }
        }
    }
}
