//! What a link has done, in numbers.

use core::time::Duration;

use crate::error::Watchdog;
use crate::event::BlobFault;
use crate::pause::{PauseReason, PauseReasons};

/// Counters of one link. They only rise, apart from the levels at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stats {
    /// Messages that were begun.
    pub messages: u64,
    /// Bytes of messages that were fed.
    pub bytes: u64,
    /// Commands that the protocol does not know, ignored.
    pub unknown_commands: u64,
    /// Records handed out.
    pub records: u64,
    /// Transactions handed out.
    pub transactions: u64,
    /// Checkpoints handed out, those at the end of a base copy included.
    pub checkpoints: u64,
    /// Events handed out, of every kind, as [`Event::count`](crate::Event::count) counts them.
    pub events: u64,
    /// Entries of unknown types, passed over.
    pub skipped_unknown: u64,
    /// Entries that are only for the sender itself, passed over.
    pub skipped_local: u64,
    /// Entries of tables that are not wanted, passed over.
    pub skipped_unwanted: u64,
    /// Records whose value had to be walked and cannot be decoded, reported and passed over.
    pub skipped_undecodable: u64,
    /// Records that the host could not decode and passed over.
    pub skipped_by_host: u64,
    /// Transactions and checkpoints that became durable.
    pub commits: u64,
    /// Confirmations sent to the peer.
    pub confirmations: u64,
    /// Transfers of blobs that began.
    pub blobs_opened: u64,
    /// Blobs saved.
    pub blobs_saved: u64,
    /// Transfers aborted.
    pub blobs_aborted: u64,
    /// Blobs that failed and will come again.
    pub blobs_held: u64,
    /// Blobs that are gone at the source.
    pub blobs_gone: u64,
    /// What was wrong with the blobs that failed, held or gone, by [`BlobFault::index`].
    pub blob_faults: [u64; BlobFault::NAMES.len()],
    /// Bytes of blobs handed out.
    pub blob_bytes: u64,
    /// Chunks of dead or unneeded transfers, dropped.
    pub chunks_dropped: u64,
    /// Acknowledgements of an earlier link or of something that is over, ignored.
    pub late_acknowledgements: u64,
    /// Pings sent.
    pub pings: u64,
    /// How often each reason paused reading, by [`PauseReason::index`].
    pub pauses: [u64; PauseReason::ALL.len()],
    /// How long each reason held, by [`PauseReason::index`]. Reasons may hold at the same time.
    pub paused: [Duration; PauseReason::ALL.len()],
    /// How often each watchdog ended the link, by [`Watchdog::index`].
    pub watchdogs: [u64; Watchdog::NAMES.len()],
    /// The most bytes of messages that were held at a time, with a fixed overhead for each part.
    pub peak_retained_bytes: u64,
    /// The most events that were out at a time, counted in the same way.
    pub peak_events_out: u64,
    /// The most bytes of blobs that were out at a time, with a fixed overhead for each chunk.
    pub peak_blob_bytes_out: u64,
}

impl Stats {
    /// Time has passed, in which these reasons held.
    #[inline]
    pub(crate) fn pass(&mut self, elapsed: Duration, reasons: PauseReasons) {
        if reasons.is_empty() {
            return;
        }
        for reason in reasons.iter() {
            self.paused[reason.index()] += elapsed;
        }
    }

    /// Adds those of another link: counters are summed, and of levels the higher one is kept.
    pub fn absorb(&mut self, other: &Self) {
        let Self {
            messages,
            bytes,
            unknown_commands,
            records,
            transactions,
            checkpoints,
            events,
            skipped_unknown,
            skipped_local,
            skipped_unwanted,
            skipped_undecodable,
            skipped_by_host,
            commits,
            confirmations,
            blobs_opened,
            blobs_saved,
            blobs_aborted,
            blobs_held,
            blobs_gone,
            blob_faults,
            blob_bytes,
            chunks_dropped,
            late_acknowledgements,
            pings,
            pauses,
            paused,
            watchdogs,
            peak_retained_bytes,
            peak_events_out,
            peak_blob_bytes_out,
        } = *other;
        for (count, more) in [
            (&mut self.messages, messages),
            (&mut self.bytes, bytes),
            (&mut self.unknown_commands, unknown_commands),
            (&mut self.records, records),
            (&mut self.transactions, transactions),
            (&mut self.checkpoints, checkpoints),
            (&mut self.events, events),
            (&mut self.skipped_unknown, skipped_unknown),
            (&mut self.skipped_local, skipped_local),
            (&mut self.skipped_unwanted, skipped_unwanted),
            (&mut self.skipped_undecodable, skipped_undecodable),
            (&mut self.skipped_by_host, skipped_by_host),
            (&mut self.commits, commits),
            (&mut self.confirmations, confirmations),
            (&mut self.blobs_opened, blobs_opened),
            (&mut self.blobs_saved, blobs_saved),
            (&mut self.blobs_aborted, blobs_aborted),
            (&mut self.blobs_held, blobs_held),
            (&mut self.blobs_gone, blobs_gone),
            (&mut self.blob_bytes, blob_bytes),
            (&mut self.chunks_dropped, chunks_dropped),
            (&mut self.late_acknowledgements, late_acknowledgements),
            (&mut self.pings, pings),
        ] {
            *count += more;
        }
        let counts = self.pauses.iter_mut().zip(pauses);
        let counts = counts.chain(self.watchdogs.iter_mut().zip(watchdogs));
        for (count, more) in counts.chain(self.blob_faults.iter_mut().zip(blob_faults)) {
            *count += more;
        }
        for (time, more) in self.paused.iter_mut().zip(paused) {
            *time += more;
        }
        for (peak, other) in [
            (&mut self.peak_retained_bytes, peak_retained_bytes),
            (&mut self.peak_events_out, peak_events_out),
            (&mut self.peak_blob_bytes_out, peak_blob_bytes_out),
        ] {
            *peak = other.max(*peak);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_and_levels_do_not() {
        let link = |records, peak| {
            let mut stats = Stats {
                records,
                peak_events_out: peak,
                ..Stats::default()
            };
            stats.pauses[2] = 1;
            stats.paused[2] = Duration::from_millis(records);
            stats.watchdogs[1] = 1;
            stats.blob_faults[3] = 2;
            stats
        };
        let mut total = link(3, 70);
        total.absorb(&link(4, 20));
        let mut expected = link(7, 70);
        expected.pauses[2] = 2;
        expected.watchdogs[1] = 2;
        expected.blob_faults[3] = 4;
        assert_eq!(total, expected);
    }
}
