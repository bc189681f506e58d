//! The writes of one transaction to one record, told from each other.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::checksum::{checksum, checksum_on};

/// Records, and writes that are counted, that are known of a transaction. After so many others a write is taken for the first
/// again.
const KNOWN: usize = 4096;

/// Bits that say which records may be known: so many that few are set.
const BITS: usize = 1 << 17;

/// Tells the writes of a transaction to one record apart: they have the same version and origin (`conflicts.md` section 2.2).
/// Bounded: 300 KiB at most.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    records: Hashes,
    /// Of writes that have a digest: how many equal ones there were.
    counted: BTreeMap<(u64, u64), u32>,
}

/// One write, for an [`Entry`](super::Entry).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// See [`Entry::digest`](super::Entry::digest).
    pub digest: u64,
    /// See [`Entry::repeats`](super::Entry::repeats).
    pub repeats: bool,
}

impl Writes {
    /// The next write of the transaction, to the record `key` of `table`. Only one that `counts`, since it may have
    /// operations or is a message, or is not the first of its record, gets a digest; that of others is 0. `content` gives
    /// the hash of its kind and value.
    pub fn note(
        &mut self,
        (table, key): (&str, &[u8]),
        counts: bool,
        content: impl FnOnce() -> ContentHash,
    ) -> Write {
        // No name of a table has this byte.
        let name = table.bytes().chain([0xff]);
        let record = checksum(name.chain(key.iter().copied()));
        if self.records.all.len() >= KNOWN || self.counted.len() >= KNOWN {
            self.end_transaction();
        }
        let repeats = !self.records.insert(record);
        let digest = if repeats || counts {
            let ContentHash(content) = content();
            let equal = self.counted.entry((record, content)).or_default();
            let number = *equal;
            *equal += 1;
            checksum(
                content
                    .to_be_bytes()
                    .into_iter()
                    .chain(number.to_be_bytes()),
            )
        } else {
            0
        };
        Write { digest, repeats }
    }

    /// The next write is the first of another transaction.
    pub fn end_transaction(&mut self) {
        self.records.clear();
        self.counted.clear();
    }
}

/// Hashes of tables and keys. Nearly every record is new to its transaction, which one bit tells; a search is needed only where
/// the bit is set already.
#[derive(Clone, Debug, Default)]
struct Hashes {
    all: Vec<u64>,
    /// None before the first hash.
    bits: Vec<u64>,
}

impl Hashes {
    /// Adds a hash, and tells whether it is new.
    fn insert(&mut self, hash: u64) -> bool {
        if self.bits.is_empty() {
            self.bits.resize(BITS / 64, 0);
        }
        let (word, bit) = place(hash);
        let is_set = self.bits[word] & bit != 0;
        if is_set && self.all.contains(&hash) {
            return false;
        }
        self.bits[word] |= bit;
        self.all.push(hash);
        true
    }

    fn clear(&mut self) {
        for hash in self.all.drain(..) {
            self.bits[place(hash).0] = 0;
        }
    }
}

/// The bit of a hash: a word, and a mask.
const fn place(hash: u64) -> (usize, u64) {
    let bit = hash as usize % BITS;
    (bit / 64, 1 << (bit % 64))
}

/// A hash of an entry's kind and value: 64 bits of FNV-1a. The value in a form that is the same each time the entry comes, in
/// pieces of any size.
#[derive(Clone, Copy, Debug)]
pub struct ContentHash(u64);

impl ContentHash {
    /// That of an entry without a value.
    #[must_use]
    pub fn new(kind: u8) -> Self {
        Self(checksum([kind]))
    }

    /// Adds the next piece of the value.
    pub fn push(&mut self, piece: &[u8]) {
        self.0 = checksum_on(self.0, piece.iter().copied());
    }

    /// With a piece of the value.
    #[must_use]
    pub fn with(mut self, piece: &[u8]) -> Self {
        self.push(piece);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(writes: &mut Writes, (table, key): (&str, &[u8]), value: &[u8], counts: bool) -> Write {
        writes.note((table, key), counts, || ContentHash::new(2).with(value))
    }

    #[test]
    fn writes_to_one_record_are_told_apart() {
        let mut writes = Writes::default();
        let first = note(&mut writes, ("Dog", b"a"), b"+1", true);
        let other = note(&mut writes, ("Dog", b"b"), b"+1", true);
        let again = note(&mut writes, ("Dog", b"a"), b"+1", true);
        let more = note(&mut writes, ("Dog", b"a"), b"+2", true);
        assert!(!first.repeats && !other.repeats && again.repeats && more.repeats);
        assert_eq!(first.digest, other.digest);
        assert!(first.digest != again.digest && again.digest != more.digest);

        // The same transaction once more: the same digests.
        writes.end_transaction();
        assert_eq!(note(&mut writes, ("Dog", b"a"), b"+1", true), first);
        assert_eq!(note(&mut writes, ("Dog", b"a"), b"+1", true), again);
    }

    #[test]
    fn a_plain_write_has_no_digest_and_tables_are_told_apart() {
        let mut writes = Writes::default();
        let write = note(&mut writes, ("Dog", b"a"), b"x", false);
        assert_eq!((write.digest, write.repeats), (0, false));
        assert!(!note(&mut writes, ("Do", b"ga"), b"x", false).repeats);
        assert!(note(&mut writes, ("Dog", b"a"), b"x", false).repeats);
    }

    #[test]
    fn what_is_known_is_bounded() {
        let mut writes = Writes::default();
        for number in 0..100_000_u32 {
            let bytes = number.to_be_bytes();
            note(&mut writes, ("Dog", &bytes), b"x", true);
            note(&mut writes, ("Dog", b"a"), &bytes, true);
            assert!(writes.records.all.len() <= KNOWN && writes.counted.len() <= KNOWN);
            let set: u32 = writes
                .records
                .bits
                .iter()
                .map(|word| word.count_ones())
                .sum();
            assert!(set as usize <= writes.records.all.len());
        }
    }
}
