//! The memory bound of a link.

use super::blobs::{self, CHUNK_OVERHEAD};
use super::{copying, run, session};
use crate::config::Config;

/// The bytes that a link has on behalf of its peer at most, whatever the peer sends and however slow the host is: in the
/// [`Receiver`](crate::Receiver), and in what it has handed out and the host has not given back. See [`Config::memory_bound`].
///
/// Each is the worst case of its kind, and they cannot all come at a time. The simulator compares what is allocated with the
/// total after each step, and so do the fuzz targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryBound {
    /// Parts of messages that are not decoded, or that something handed out points into. Small ones cost up to three times
    /// what they count.
    pub inbound: u64,
    /// The record or the command that is just arriving: its parts, and the whole that they are joined to.
    pub item: u64,
    /// Events that are out, records that were copied out of their parts included.
    pub events: u64,
    /// What the peer makes us remember, what runs of records that are out still have of what it said before, and what the next
    /// command unfolds to.
    pub context: u64,
    /// Chunks of blobs that are out.
    pub blob_bytes: u64,
    /// Bookkeeping of blobs: transfers with the report of their failure, references with the transactions that wait for
    /// them, finished ones and failed ones.
    pub blob_keys: u64,
    /// Transactions that are out, with their cursors.
    pub commits: u64,
    /// The receiver itself.
    pub fixed: u64,
}

impl MemoryBound {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.parts()
            .iter()
            .fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// Each part with what it is, in a few words.
    pub const fn parts(&self) -> [(&'static str, u64); 8] {
        [
            ("parts of messages that are held", self.inbound),
            ("the record or command that is arriving", self.item),
            ("events that are out", self.events),
            ("tables and names that are remembered", self.context),
            ("bytes of blobs that are out", self.blob_bytes),
            ("what is known of blobs", self.blob_keys),
            ("transactions that are out", self.commits),
            ("the link itself", self.fixed),
        ]
    }
}

/// The report of a failed blob that waits to be handed out, and the command to throw it away.
const FAILURE: u64 = 1024;

/// A transaction that is out: its place in the order, and its cursor.
const COMMIT: u64 = 512;

/// A transaction that waits for blobs: its place in the order, and the place of a copy.
const WAITING: u64 = 512;

/// The receiver, its lists while they are short, and what it says to the peer.
const FIXED: u64 = 64 << 10;

impl Config {
    /// The most memory that the link takes, if the host obeys pauses and feeds messages in parts of at most `part` bytes. The
    /// memory of the host's store comes on top.
    pub fn memory_bound(&self, part: u64) -> MemoryBound {
        let (limits, flow) = (&self.limits, &self.flow);
        let of = |count: u64, size: u64| count.saturating_mul(size);
        let item = limits.record.max(limits.command) as u64;
        // One that ends does so after its mark was passed.
        let run = part.max(run::RUN_BYTES as u64);
        let transfers = (limits.open_blobs as u64).saturating_add(flow.blobs.high.items);
        let given_up = session::IDLE_AT_A_TIME as u64;
        let blob_keys = [
            of(transfers.saturating_add(2), blobs::TRANSFER + FAILURE),
            of(given_up, FAILURE),
            of(limits.blob_references as u64, blobs::KEY + WAITING),
            of(limits.finished_blobs as u64, blobs::KEY),
            of(blobs::BlobTries::CAPACITY as u64, blobs::TRY),
        ];
        let texts = [&self.node_name, &self.database];
        let own = self
            .excluded_origins
            .iter()
            .chain(self.tables.names())
            .chain(texts);
        let own: usize = own.map(|text| text.len() + 64).sum();
        MemoryBound {
            inbound: of(flow.inbound.high.bytes.saturating_add(part), 3),
            item: of(item.saturating_add(part), 2),
            events: flow.consumer.high.bytes.saturating_add(run),
            context: of(limits.context as u64, 3),
            blob_bytes: flow.blobs.high.bytes.saturating_add(run + CHUNK_OVERHEAD),
            blob_keys: blob_keys.into_iter().fold(0, u64::saturating_add),
            commits: of(
                flow.commits.high.items.saturating_add(2),
                COMMIT + copying::KEY_MAX as u64,
            ),
            fixed: FIXED + 4 * own as u64,
        }
    }
}
