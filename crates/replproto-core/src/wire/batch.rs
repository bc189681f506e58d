//! Transaction batches (`protocol.md` section 4).

use alloc::vec::Vec;

use super::entry::NewEntry;
use super::varint;
use crate::time::{Sequence, WallTime};

/// Bytes before the first item: the time, which a receiver does not use.
pub const HEADER_LENGTH: usize = 8;

/// The length that, with [`TERMINATOR_FIRST_BYTE`], tells a terminator from an entry. No entry is that short.
pub const TERMINATOR_LENGTH: usize = 9;

/// The first byte of a terminator.
pub const TERMINATOR_FIRST_BYTE: u8 = 11;

/// The sequence, if these are the bytes of a terminator.
#[inline]
pub fn terminator(item: &[u8]) -> Option<Sequence> {
    let item: &[u8; TERMINATOR_LENGTH] = item.try_into().ok()?;
    let (first, sequence) = item.split_first_chunk::<1>()?;
    (first[0] == TERMINATOR_FIRST_BYTE)
        .then(|| sequence.try_into().ok().map(f64::from_be_bytes))
        .flatten()
        .map(Sequence)
}

/// Writes a batch: for publishers, tests and simulations.
///
/// ```
/// use replproto_core::wire::{BatchBuilder, NewEntry};
/// use replproto_core::{Sequence, WallTime};
///
/// let mut batch = BatchBuilder::new(WallTime(1747252561000.0));
/// batch.entry(&NewEntry { kind: 2, table: 5, key: b"k1", version: 1747252561000.0, ..NewEntry::default() });
/// let bytes = batch.finish(Some(Sequence(1747252561003.0)));
/// assert_eq!(bytes[0], 0x42);
/// ```
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    out: Vec<u8>,
    entry: Vec<u8>,
}

impl BatchBuilder {
    /// A batch of this time, which must be one of the years 1970 to 19,800 for the batch to be recognised as one.
    pub fn new(time: WallTime) -> Self {
        Self {
            out: time.0.to_be_bytes().to_vec(),
            entry: Vec::new(),
        }
    }

    /// Appends an entry.
    pub fn entry(&mut self, entry: &NewEntry<'_>) -> &mut Self {
        self.entry.clear();
        entry.encode(&mut self.entry);
        varint::encode(self.entry.len() as u32, &mut self.out);
        self.out.extend_from_slice(&self.entry);
        self
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether there is no entry yet.
    pub fn is_empty(&self) -> bool {
        self.out.len() == HEADER_LENGTH
    }

    /// Ends the batch, with a terminator if there is a sequence. Without one the batch must not be empty.
    pub fn finish(mut self, sequence: Option<Sequence>) -> Vec<u8> {
        if let Some(sequence) = sequence {
            self.out
                .extend_from_slice(&[TERMINATOR_LENGTH as u8, TERMINATOR_FIRST_BYTE]);
            self.out.extend_from_slice(&sequence.0.to_be_bytes());
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::entry::Flags;

    #[test]
    fn the_protocols_worked_batch() {
        let time = 1_747_252_561_000.0;
        let mut batch = BatchBuilder::new(WallTime(time));
        batch.entry(&NewEntry {
            kind: 1,
            flags: Flags::FULL,
            table: 5,
            key: b"k1",
            version: time,
            user: b"admin",
            value: &[0xde, 0x00, 0x01, 0xa1, 0x6e, 0x01],
            ..NewEntry::default()
        });
        batch.entry(&NewEntry {
            kind: 2,
            node: 3,
            table: 5,
            key: b"k1",
            version: time,
            ..NewEntry::default()
        });
        let bytes = batch.finish(Some(Sequence(time + 3.0)));
        assert_eq!(bytes.len(), 61);
        assert_eq!(bytes[8], 26);
        assert_eq!(bytes[8 + 27], 15);
        assert_eq!(terminator(&bytes[52..]), Some(Sequence(time + 3.0)));
        assert_eq!(terminator(&bytes[51..60]), None);
    }
}
