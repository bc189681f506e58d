//! What a link has done, in numbers.

use crate::pause::PauseReason;

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
    /// The most bytes of messages that were held at a time, with a fixed overhead for each part.
    pub peak_retained_bytes: u64,
    /// The most events that were out at a time, counted in the same way.
    pub peak_events_out: u64,
    /// The most bytes of blobs that were out at a time, with a fixed overhead for each chunk.
    pub peak_blob_bytes_out: u64,
}

impl Stats {
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
            blob_bytes,
            chunks_dropped,
            late_acknowledgements,
            pings,
            pauses,
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
        for (count, more) in self.pauses.iter_mut().zip(pauses) {
            *count += more;
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
        let link = |records, peak| Stats {
            records,
            pauses: [1, 0, 2, 0, 0],
            peak_events_out: peak,
            ..Stats::default()
        };
        let mut total = link(3, 70);
        total.absorb(&link(4, 20));
        assert_eq!(
            total,
            Stats {
                records: 7,
                pauses: [2, 0, 4, 0, 0],
                peak_events_out: 70,
                ..Stats::default()
            }
        );
    }
}
