//! The publisher's database: a log of transactions, the rows that it amounts to, and the contents of the blobs.

use std::collections::BTreeMap;

use crate::rng::Rng;

/// The first position of the log, in milliseconds since 1970; with a fraction, which must not be lost.
const TIME: f64 = 1_747_252_561_000.25;

/// The tables, in the order in which they are copied.
pub(crate) const TABLES: [&str; 2] = ["Cat", "Dog"];

/// A table that the receiver does not want.
pub(crate) const UNWANTED: &str = "Fox";

/// A row's place: its table, by index, and its key.
pub(crate) type Place = (usize, String);

/// What a row holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) version: f64,
    pub(crate) mark: u32,
    /// The file id of its blob.
    pub(crate) file: Option<String>,
}

/// A change of one row; `None` deletes it.
#[derive(Clone, Debug)]
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
            let place = (rng.below(2) as usize, format!("k{:03}", rng.below(60)));
            if changes.iter().any(|change| change.place == place) {
                continue;
            }
            let old = self.rows.get(&place).and_then(|row| row.file.clone());
            let row = (!rng.chance(150)).then(|| Row {
                version: sequence,
                mark: rng.next() as u32,
                file: self.file_of(old, rng),
            });
            match &row {
                Some(row) => self.rows.insert(place.clone(), row.clone()),
                None => self.rows.remove(&place),
            };
            changes.push(Change { place, row });
        }
        self.log.push(Transaction { sequence, changes });
    }

    /// A row's blob: the same as before, that of another row, a new one, or none.
    fn file_of(&mut self, old: Option<String>, rng: &mut Rng) -> Option<String> {
        if !rng.chance(300) {
            return None;
        }
        if old.is_some() && rng.chance(400) {
            return old;
        }
        if rng.chance(100)
            && let Some(file) = self.rows.values().find_map(|row| row.file.clone())
        {
            return Some(file);
        }
        self.files += 1;
        Some(format!("{:x}", self.files))
    }

    /// Whether the blob is one of those that may be gone for ever.
    pub(crate) fn is_gone(file: &str) -> bool {
        Rng::named(0, file).below(9) == 0
    }

    /// The content of a blob, which follows from its file id: fewer bytes than `end`.
    pub(crate) fn content(file: &str, end: u64) -> Vec<u8> {
        let id = u64::from_str_radix(file, 16).unwrap_or_default();
        let mut rng = Rng::new(id);
        let length = match rng.below(5) {
            0 => 0,
            1 => rng.below(end.min(20)),
            _ => rng.below(end),
        };
        (0..length).map(|_| rng.next() as u8).collect()
    }
}
