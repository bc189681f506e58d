//! How a series of links is run.

use std::time::Duration;

use replproto_core::{Start, config};
use tokio::sync::watch;

use super::stop::Stop;
use crate::progress::Snapshot;

/// How [`run`](super::run) goes about it. [`RunOptions::default`] follows for ever.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunOptions {
    /// Where to start when the sink has no cursor. A stored cursor always wins (`protocol.md` section 15, ruling 14).
    pub start: Start,
    /// Start at [`start`](Self::start) although there is a cursor, and whoever gave it. Holds until a link has brought a
    /// cursor of its own.
    pub ignore_cursor: bool,
    /// What to do when the publisher no longer has its log from the cursor on.
    pub on_gap: OnGap,
    /// What to do when the sink's cursor was made for less than is to be followed now.
    pub on_wider: OnWider,
    /// End well after so long without a message, when nothing is under way: set up, no base copy, no blob open or
    /// missing, nothing queued and nothing to be confirmed. Time in which this process was not running does not count.
    pub until_idle: Option<Duration>,
    /// End with [`RunError::Deadline`](super::RunError::Deadline) after so long.
    pub deadline: Option<Duration>,
    /// The first delay before a dial; it doubles from dial to dial.
    pub first_delay: Duration,
    /// The longest delay before a dial.
    pub longest_delay: Duration,
    /// Draw each delay evenly between zero and what it would be, with this seed: so that many links which lost their peer
    /// together do not come back together. The seed should be another for each link.
    pub jitter: Option<u64>,
    /// How often the sink may fail, without the cursor advancing in between, before the run ends with its error.
    pub storage_tries: u32,
    /// How long a call of the sink, or the end of a blob's writer, may still take when the run is to end at once: after
    /// [`Stop::shutdown`], the end of a drain, or the deadline. After that it is left to itself: a sink is to be rolled back
    /// before it is used again.
    pub patience: Duration,
    /// How much is put into one storage transaction.
    pub grouping: Grouping,
    /// The time that a storage transaction may wait for the peer, in all, before the sink is asked whether it may do so for as long
    /// again ([`Sink::may_wait`](crate::Sink::may_wait)). Another link that writes to the same SQLite file is held up so long at
    /// most; it waits twice as long before it fails.
    pub transaction_wait: Duration,
    /// Where to tell what is going on.
    pub progress: watch::Sender<Snapshot>,
    /// How to end it from outside. Keep a clone.
    pub stop: Stop,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            start: Start::Copy,
            ignore_cursor: false,
            on_gap: OnGap::default(),
            on_wider: OnWider::default(),
            until_idle: None,
            deadline: None,
            first_delay: Duration::from_millis(500),
            longest_delay: Duration::from_secs(30),
            jitter: None,
            storage_tries: 10,
            patience: Duration::from_secs(5),
            grouping: Grouping::default(),
            transaction_wait: Duration::from_secs(30),
            progress: watch::Sender::default(),
            stop: Stop::new(),
        }
    }
}

/// What to do when the publisher no longer has its log from the cursor on. It then sends, unasked, a copy of what has changed since
/// the cursor, which does not say what was deleted meanwhile (`protocol.md` section 15, ruling 26).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnGap {
    /// Ask for a complete base copy, after which the replica is what the publisher has.
    #[default]
    Copy,
    /// Take what it sends, and remove nothing: records that were deleted meanwhile stay.
    Keep,
    /// End with [`RunError::Gap`](super::RunError::Gap).
    Stop,
}

/// What to do when the sink's cursor was made for less than is to be followed now: for fewer tables, or without the writes of a node.
/// What the publisher has of the rest lies before the cursor and would never come (`protocol.md` section 15, ruling 27).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnWider {
    /// Ask for a complete base copy.
    #[default]
    Copy,
    /// End with [`RunError::Wider`](super::RunError::Wider).
    Refuse,
    /// Go on from the cursor, without what is older.
    Ignore,
}

impl OnGap {
    /// What it is to a single link.
    pub(super) const fn of_link(self) -> config::OnGap {
        match self {
            Self::Keep => config::OnGap::Keep,
            Self::Copy | Self::Stop => config::OnGap::Close,
        }
    }
}

/// When a group of transactions is committed although more are waiting. It is committed at once when none is waiting.
///
/// A storage transaction is committed at the end of one of the publisher's transactions only, so a large one goes past
/// these bounds: it spills in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grouping {
    /// The publisher's transactions. Half of
    /// [`FlowControl::commits`](replproto_core::config::FlowControl::commits) bounds it too, so that the link goes on
    /// while the sink commits.
    pub transactions: u64,
    /// Records.
    pub records: u64,
    /// Bytes of records.
    pub bytes: u64,
    /// Since the first of them was taken.
    pub age: Duration,
}

impl Default for Grouping {
    fn default() -> Self {
        Self {
            transactions: 1000,
            records: 16_384,
            bytes: 8 << 20,
            age: Duration::from_millis(50),
        }
    }
}
