//! Reasons to pause.

use core::fmt;

/// Why the socket is not read. Any of them stops reading; any but [`PauseReason::InboundQueue`] and
/// [`PauseReason::SharedBudget`] also stops decoding: these two are lifted by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PauseReason {
    /// Too many bytes of messages are held: not decoded yet, or pinned by events and chunks that are still out.
    InboundQueue,
    /// Too many events are out that the application has not taken.
    ConsumerQueue,
    /// Too many transactions are out that are not durable.
    CommitBacklog,
    /// Too many bytes of blobs are out that are not written.
    BlobStream,
    /// The application said that it is not ready.
    NotReady,
    /// More bytes are held than [`Input::Allowance`](crate::Input::Allowance) allows: other links have the memory that all
    /// share.
    SharedBudget,
}

impl PauseReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::InboundQueue,
        Self::ConsumerQueue,
        Self::CommitBacklog,
        Self::BlobStream,
        Self::NotReady,
        Self::SharedBudget,
    ];

    /// A stable number, for tables.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name, in the form used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InboundQueue => "inbound_queue",
            Self::ConsumerQueue => "consumer_queue",
            Self::CommitBacklog => "commit_backlog",
            Self::BlobStream => "blob_stream",
            Self::NotReady => "not_ready",
            Self::SharedBudget => "shared_budget",
        }
    }
}

impl fmt::Display for PauseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of reasons to pause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PauseReasons(u8);

impl PauseReasons {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// Whether the reason is in the set.
    pub const fn contains(self, reason: PauseReason) -> bool {
        self.0 & (1 << reason.index()) != 0
    }

    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The reasons, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = PauseReason> {
        PauseReason::ALL
            .into_iter()
            .filter(move |reason| self.contains(*reason))
    }

    pub(crate) const fn set(&mut self, reason: PauseReason, on: bool) {
        let bit = 1 << reason.index();
        if on {
            self.0 |= bit;
        } else {
            self.0 &= !bit;
        }
    }

    /// The set without this reason.
    #[must_use]
    pub(crate) const fn without(mut self, reason: PauseReason) -> Self {
        self.set(reason, false);
        self
    }

    /// The first reason in which the two sets differ.
    pub(crate) fn first_difference(self, other: Self) -> Option<PauseReason> {
        Self(self.0 ^ other.0).iter().next()
    }
}

impl From<PauseReason> for PauseReasons {
    fn from(reason: PauseReason) -> Self {
        let mut reasons = Self::NONE;
        reasons.set(reason, true);
        reasons
    }
}

impl fmt::Display for PauseReasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing");
        }
        for (i, reason) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{reason}")?;
        }
        Ok(())
    }
}
