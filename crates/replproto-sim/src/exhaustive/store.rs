//! The blobs that are in the store and not saved.

use std::collections::VecDeque;

use replproto_core::BlobId;

use super::wire::{CHUNK_BYTES, FILES};
use crate::oracles::{Result, Violation, hold};

/// A blob that arrives.
#[derive(Debug)]
pub(super) struct Arriving {
    pub(super) blob: BlobId,
    pub(super) file: usize,
    /// The publisher's transfer, once its first chunk is here.
    transfer: Option<u8>,
    chunks: u8,
    unwritten: u64,
    is_whole: bool,
}

/// The store, oldest blob first.
#[derive(Debug, Default)]
pub(super) struct Store {
    blobs: VecDeque<Arriving>,
    /// Those that are to be thrown away, until it has said that they are.
    aborted: VecDeque<BlobId>,
}

impl Store {
    pub(super) fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Whether any blob still has bytes to come.
    pub(super) fn awaits_bytes(&self) -> bool {
        self.blobs.iter().any(|blob| !blob.is_whole)
    }

    pub(super) fn open(&mut self, blob: BlobId, file: usize) {
        self.blobs.push_back(Arriving {
            blob,
            file,
            transfer: None,
            chunks: 0,
            unwritten: 0,
            is_whole: false,
        });
    }

    /// The chunks of a blob are those of one transfer, from its first on, and end with its last.
    pub(super) fn arrive(&mut self, blob: BlobId, bytes: &[u8], last: bool) -> Result {
        let index = self.find(blob)?;
        let arriving = &mut self.blobs[index];
        let transfer = *bytes.first().unwrap_or(&u8::MAX);
        let transfer = *arriving.transfer.get_or_insert(transfer);
        let expected = [transfer, arriving.chunks, u8::from(last)];
        let is_next = bytes.len() == CHUNK_BYTES
            && bytes[..3] == expected
            && usize::from(transfer) % FILES.len() == arriving.file
            && !arriving.is_whole;
        hold("blobs", is_next, || {
            format!("{bytes:02x?} of {blob} instead of {expected:?}")
        })?;
        arriving.chunks += 1;
        arriving.unwritten += CHUNK_BYTES as u64;
        arriving.is_whole = last;
        Ok(())
    }

    fn find(&self, blob: BlobId) -> Result<usize> {
        let index = self.blobs.iter().position(|other| other.blob == blob);
        index.ok_or_else(|| Violation::new("blobs", format!("{blob} is not under way")))
    }

    /// Throws a blob away.
    pub(super) fn abort(&mut self, blob: BlobId) -> Result<Option<Arriving>> {
        let index = self.find(blob)?;
        self.aborted.push_back(blob);
        Ok(self.blobs.remove(index))
    }

    /// The oldest of those that were to be thrown away is.
    pub(super) fn thrown_away(&mut self) -> Option<BlobId> {
        self.aborted.pop_front()
    }

    /// Whether this one was to be thrown away, and has failed instead.
    pub(super) fn has_failed_meanwhile(&mut self, blob: BlobId) -> bool {
        let index = self.aborted.iter().position(|other| *other == blob);
        index.and_then(|index| self.aborted.remove(index)).is_some()
    }

    /// The oldest blob fails.
    pub(super) fn fail(&mut self) -> Option<Arriving> {
        self.blobs.pop_front()
    }

    /// Writes up to `most` bytes of the oldest blob that has any.
    pub(super) fn write(&mut self, most: u64) -> Option<(BlobId, u64)> {
        let blob = self.blobs.iter_mut().find(|blob| blob.unwritten > 0)?;
        let bytes = blob.unwritten.min(most);
        blob.unwritten -= bytes;
        Some((blob.blob, bytes))
    }

    /// Saves the oldest blob that is whole and written.
    pub(super) fn save(&mut self) -> Option<Arriving> {
        let is_done = |blob: &Arriving| blob.is_whole && blob.unwritten == 0;
        let index = self.blobs.iter().position(is_done)?;
        self.blobs.remove(index)
    }

    /// Whether [`Store::write`], [`Store::save`] or [`Store::thrown_away`] has anything to do.
    pub(super) fn is_busy(&self) -> bool {
        let mut blobs = self.blobs.iter();
        !self.aborted.is_empty() || blobs.any(|blob| blob.unwritten > 0 || blob.is_whole)
    }
}
