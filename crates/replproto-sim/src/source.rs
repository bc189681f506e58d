//! The publisher's database: a log of transactions, the rows that it amounts to, and the contents of the blobs.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::rng::Rng;

/// The first position of the log, in milliseconds since 1970; with a fraction, which must not be lost.
const TIME: f64 = 1_747_252_561_000.25;

/// The tables, in the order in which they are copied.
pub(crate) const TABLES: [&str; 2] = ["Cat", "Dog"];

/// A table that the receiver does not want.
pub(crate) const UNWANTED: &str = "Fox";

/// A row's key: a letter and three digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key([u8; 4]);

impl Key {
    fn new(number: u64) -> Self {
        let digit = |power: u64| b'0' + (number / power % 10) as u8;
        Self([b'k', digit(100), digit(10), digit(1)])
    }

    /// The key of these bytes, if they are one.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

/// A row's place: its table, by index, and its key.
pub(crate) type Place = (usize, Key);

/// The id of a blob's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct File(u32);

impl File {
    /// The file of this id, if it is one.
    pub(crate) fn read(id: &str) -> Option<Self> {
        u32::from_str_radix(id, 16).ok().map(Self)
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// What a row holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) version: f64,
    pub(crate) mark: u32,
    /// Its blob.
    pub(crate) file: Option<File>,
}

/// A change of one row; `None` deletes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) place: Place,
    pub(crate) row: Option<Row>,
}

/// A transaction of the log.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    /// Its position, which is also the version of its changes.
    pub(crate) sequence: f64,
    pub(crate) changes: Vec<Change>,
}

#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) log: Vec<Transaction>,
    pub(crate) rows: BTreeMap<Place, Row>,
    /// The log is kept from this index on.
    pub(crate) kept_from: usize,
    files: u32,
}

impl Source {
    /// The position of the newest transaction.
    pub(crate) fn head(&self) -> f64 {
        self.log
            .last()
            .map_or(TIME, |transaction| transaction.sequence)
    }

    /// The position before the oldest transaction that is kept.
    pub(crate) fn floor(&self) -> f64 {
        match self.kept_from.checked_sub(1) {
            Some(before) => self.log[before].sequence,
            None => 0.0,
        }
    }

    /// The index of the first transaction after this position.
    pub(crate) fn after(&self, sequence: f64) -> usize {
        self.log
            .partition_point(|transaction| transaction.sequence <= sequence)
    }

    /// Writes one more transaction.
    pub(crate) fn write(&mut self, rng: &mut Rng) {
        let sequence = self.head() + rng.range(1, 5) as f64 / 4.0;
        let mut changes: Vec<Change> = Vec::new();
        for _ in 0..rng.range(1, 12) {
            let place = (rng.below(2) as usize, Key::new(rng.below(60)));
            if changes.iter().any(|change| change.place == place) {
                continue;
            }
            let old = self.rows.get(&place).and_then(|row| row.file);
            let row = (!rng.chance(150)).then(|| Row {
                version: sequence,
                mark: rng.next() as u32,
                file: self.file_of(old, rng),
            });
            match row {
                Some(row) => self.rows.insert(place, row),
                None => self.rows.remove(&place),
            };
            changes.push(Change { place, row });
        }
        self.log.push(Transaction { sequence, changes });
    }

    /// A row's blob: the same as before, that of another row, a new one, or none.
    fn file_of(&mut self, old: Option<File>, rng: &mut Rng) -> Option<File> {
        if !rng.chance(300) {
            return None;
        }
        if old.is_some() && rng.chance(400) {
            return old;
        }
        if rng.chance(100)
            && let Some(file) = self.rows.values().find_map(|row| row.file)
        {
            return Some(file);
        }
        self.files += 1;
        Some(File(self.files))
    }

    /// Whether there has ever been such a blob.
    pub(crate) const fn has_had(&self, file: File) -> bool {
        file.0 <= self.files
    }

    /// Whether the blob is one of those that may be gone for ever.
    pub(crate) fn is_gone(file: File) -> bool {
        Rng::new(u64::from(file.0)).below(9) == 0
    }
}

/// The contents of the blobs: slices of noise, so that none has to be made.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    noise: Bytes,
    /// Blobs have fewer bytes than this.
    end: u64,
}

impl Contents {
    /// Where a content may begin in the noise.
    const STARTS: u64 = 4096;

    pub(crate) fn new(end: u64) -> Self {
        let mut rng = Rng::new(end);
        let words = (0..(Self::STARTS + end).div_ceil(8)).map(|_| rng.next().to_le_bytes());
        Self {
            noise: words.flatten().collect(),
            end,
        }
    }

    /// The content of a blob, which follows from its file id.
    pub(crate) fn of(&self, file: File) -> Bytes {
        let mut rng = Rng::new(u64::from(file.0));
        let length = match rng.below(5) {
            0 => 0,
            1 => rng.below(self.end.min(20)),
            _ => rng.below(self.end),
        };
        let start = rng.below(Self::STARTS) as usize;
        self.noise.slice(start..start + length as usize)
    }
}
