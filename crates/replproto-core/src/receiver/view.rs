//! What can be seen of a link.

use super::Receiver;
use super::ending::Life;
use crate::id::Name;
use crate::stats::Stats;
use crate::time::Instant;

impl Receiver {
    /// Whether the link has ended and still has something to say. Inputs change nothing any more.
    pub const fn is_closing(&self) -> bool {
        matches!(self.life, Life::Closing(_))
    }

    /// Whether the link is over and its last command has been given.
    pub const fn is_closed(&self) -> bool {
        matches!(self.life, Life::Closed)
    }

    /// The peer's own name, once it has said it.
    pub const fn peer(&self) -> Option<&Name> {
        self.session.peer()
    }

    /// The tables that the peer has said it has, with commas between them: at most [`TEXT_MAX`](crate::TEXT_MAX) bytes, for a log.
    pub fn tables_offered(&self) -> &str {
        self.session.offered()
    }

    /// Whether the peer has answered the subscription.
    pub const fn is_set_up(&self) -> bool {
        self.session.is_following()
    }

    /// Whether a base copy is under way: from its start until it is durable. An old peer does not announce its copy, which
    /// then is under way from its first row.
    pub const fn is_copying(&self) -> bool {
        self.copying.is_under_way()
    }

    /// Whether the link is set up and nothing is under way: no message, event, commit, blob, copy or confirmation. What a
    /// program that follows "until there is nothing new" waits for.
    pub fn is_idle(&self) -> bool {
        self.is_set_up()
            && !self.is_copying()
            && !self.inbox.is_within_message()
            && !self.is_ending()
            && self.is_done()
            && self.confirm.is_none()
            && self.blobs.is_quiet()
            && !self.blobs.has_gap()
    }

    /// The bytes of messages that are held, with a fixed overhead for each part: those not decoded yet, and those
    /// that events and chunks point into.
    pub const fn retained_bytes(&self) -> u64 {
        self.flow.inbound.level().bytes
    }

    /// The same, and the bytes that were copied out of parts which are held no more: what the link takes of a
    /// [`SharedBudget`](crate::SharedBudget).
    pub const fn held_bytes(&self) -> u64 {
        self.flow.held()
    }

    /// Whether nothing of what is held can be given back before more has come from the peer, and the link would read it if
    /// it might hold more: it holds the beginning of a record or a command.
    pub fn is_starved(&self) -> bool {
        self.holds_a_beginning() && !self.is_draining() && self.flow.may_decode()
    }

    /// Whether all that is held is the beginning of something.
    pub(super) fn holds_a_beginning(&self) -> bool {
        self.is_drained && !self.inbox.is_empty() && !self.inbox.has_slices_out()
    }

    /// Events that are out, as [`Event::count`](crate::Event::count) counts them.
    pub const fn events_out(&self) -> u64 {
        self.flow.consumer.level().items
    }

    /// Transactions and checkpoints that are out and not durable.
    pub const fn commits_out(&self) -> u64 {
        self.flow.commits.level().items
    }

    /// Bytes of blobs that are out and not written, with a fixed overhead for each chunk.
    pub const fn blob_bytes_out(&self) -> u64 {
        self.flow.blobs.level().bytes
    }

    /// Bytes of events that are out, with a fixed overhead for each command.
    pub const fn event_bytes_out(&self) -> u64 {
        self.flow.consumer.level().bytes
    }

    /// Since when the oldest transaction is here that is not settled: it is not durable, or a blob of it is not saved, so
    /// nothing after it can be confirmed. It counts from its first record on. `None`: there is none.
    pub fn unsettled_since(&self) -> Option<Instant> {
        match self.life {
            Life::Open => self.ledger.unsettled_since(),
            _ => None,
        }
    }

    /// Blobs that failed and hold the cursor until they have come again.
    pub const fn blobs_missing(&self) -> u64 {
        self.blobs.gaps()
    }

    /// Counters, as of the last input.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Counters as they are at `now`, which is not before the last input: pauses that are under way count up to it.
    pub fn stats_at(&self, now: Instant) -> Stats {
        let mut stats = self.stats;
        stats.pass(now.since(self.timers.now()), self.pause_reasons());
        stats
    }
}
