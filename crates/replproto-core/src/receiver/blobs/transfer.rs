//! One transfer: what came of it, and what of that is out.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::receiver::inbox::Slot;

/// Charged for each chunk besides its bytes, so that a flood of empty chunks is bounded by the same budget.
pub(in crate::receiver) const CHUNK_OVERHEAD: u64 = 512;

#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) id: u64,
    /// The size that the peer announced.
    pub(super) size: Option<u64>,
    pub(super) received: u64,
    /// Link time (without pauses) at which anything of it came last.
    pub(super) last_activity: Duration,
    /// Chunks that were handed out and are not written, oldest first.
    out: VecDeque<ChunkOut>,
    /// Bytes in `out`.
    bytes_out: u64,
    /// It counts as an item of the gauge by itself: it has ended or was aborted, and needs nothing but the store's answer. One
    /// that is open must not count, for no pause may wait for bytes of the peer.
    is_left_to_store: bool,
}

#[derive(Debug)]
struct ChunkOut {
    bytes: u64,
    slot: Option<Slot>,
    /// Bytes that were copied out of their part.
    copied: u64,
}

/// Charges to give back: items of the blob gauge (chunks, and transfers that are left to the store), bytes of it
/// (with the overhead of the chunks), holds on parts, and bytes that were copied out of theirs.
#[derive(Debug, Default)]
pub(in crate::receiver) struct Released {
    pub(in crate::receiver) items: u64,
    pub(in crate::receiver) bytes: u64,
    pub(in crate::receiver) slots: Vec<Slot>,
    pub(in crate::receiver) copied: u64,
}

/// How many of these bytes were copied out of their part: none, if a part is held for them.
pub(in crate::receiver) const fn copied(bytes: u64, slot: Option<Slot>) -> u64 {
    if slot.is_some() { 0 } else { bytes }
}

impl Released {
    fn chunk(&mut self, chunk: ChunkOut) {
        self.items += 1;
        self.bytes += CHUNK_OVERHEAD;
        self.slots.extend(chunk.slot);
        self.copied += chunk.copied;
    }
}

impl Transfer {
    pub(super) const fn new(id: u64, size: Option<u64>, now: Duration) -> Self {
        Self {
            id,
            size,
            received: 0,
            last_activity: now,
            out: VecDeque::new(),
            bytes_out: 0,
            is_left_to_store: false,
        }
    }

    /// Bytes that are handed out and not written.
    pub(super) const fn bytes_out(&self) -> u64 {
        self.bytes_out
    }

    /// A chunk was handed out.
    pub(super) fn handed_out(&mut self, bytes: u64, slot: Option<Slot>) {
        self.bytes_out += bytes;
        self.out.push_back(ChunkOut {
            bytes,
            slot,
            copied: copied(bytes, slot),
        });
    }

    /// Bytes were written, oldest first: at most [`Transfer::bytes_out`].
    pub(super) fn written(&mut self, bytes: u64) -> Released {
        self.bytes_out -= bytes;
        let mut released = Released {
            bytes,
            ..Released::default()
        };
        let mut left = bytes;
        while let Some(chunk) = self.out.front_mut() {
            if chunk.bytes > left {
                chunk.bytes -= left;
                break;
            }
            left -= chunk.bytes;
            if let Some(chunk) = self.out.pop_front() {
                released.chunk(chunk);
            }
        }
        released
    }

    /// Nothing more of the peer is needed for it: it counts as an item until the store has answered.
    pub(super) const fn leave_to_store(&mut self) {
        self.is_left_to_store = true;
    }

    /// The store has answered: nothing of it is out any more.
    pub(super) fn release(&mut self) -> Released {
        let mut released = self.written(self.bytes_out);
        released.items += u64::from(core::mem::take(&mut self.is_left_to_store));
        released
    }
}
