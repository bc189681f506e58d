//! What a link has done, in numbers.

use crate::command::PauseReason;

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
    /// Events handed out, of every kind.
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
    /// The most events that were out at a time.
    pub peak_events_out: u64,
    /// The most bytes of blobs that were out at a time, with a fixed overhead for each chunk.
    pub peak_blob_bytes_out: u64,
}
