//! Where the cursor may be although the publisher has not sent that position: a margin below the version of a whole batch
//! of its own, after which one with a higher version has begun.

use std::collections::BTreeSet;
use std::time::Duration;

use replproto_core::wire::entry::Entry;
use replproto_core::wire::varint;
use replproto_core::{Cursor, Records};

use crate::oracles::{Result, hold};

/// The publisher's own number.
const OWN: u32 = 0;

#[derive(Debug)]
pub(super) struct Progress {
    /// In milliseconds.
    margin: f64,
    in_copy: bool,
    /// The batch that has begun: whether all of it is the publisher's own, and the version of its last entry.
    batch: Option<(bool, f64)>,
    /// Versions of whole batches of its own, of which none with a higher one has been followed.
    whole: Vec<f64>,
    /// Positions that follow from the others, as bits.
    allowed: BTreeSet<u64>,
}

impl Progress {
    pub(super) fn new(margin: Duration) -> Self {
        Self {
            margin: margin.as_secs_f64() * 1000.0,
            in_copy: false,
            batch: None,
            whole: Vec::new(),
            allowed: BTreeSet::new(),
        }
    }

    pub(super) fn records(&mut self, records: &Records) {
        let mut rest = &records.bytes()[..];
        for record in records {
            // Entries that are passed over lie between the records.
            while let Some((length, start)) = varint::decode(rest) {
                let (item, behind) = rest[start..].split_at(length as usize);
                rest = behind;
                if item.as_ptr_range().contains(&record.key_bytes().as_ptr()) {
                    let is_own = Entry::parse(item).is_ok_and(|entry| entry.node == OWN);
                    self.entry(is_own, record.version().0);
                    break;
                }
            }
        }
    }

    /// An entry that is handed out, or told to be unusable.
    pub(super) fn entry(&mut self, is_own: bool, version: f64) {
        if self.batch.is_none() && !self.in_copy {
            for whole in self.whole.extract_if(.., |whole| *whole < version) {
                self.allowed.insert((whole - self.margin).to_bits());
            }
        }
        let was_own = self.batch.is_none_or(|(was_own, _)| was_own);
        self.batch = Some((was_own && is_own, version));
    }

    pub(super) fn end(&mut self) {
        if let Some((true, version)) = self.batch.take()
            && !self.in_copy
        {
            self.whole.push(version);
        }
    }

    pub(super) fn copy(&mut self, begins: bool) {
        self.in_copy = begins;
        self.whole.clear();
    }

    /// A cursor is handed out after one at `before`.
    pub(super) fn check(&self, cursor: &Cursor, before: f64) -> Result {
        let Cursor {
            sequence: at,
            announced,
            ..
        } = cursor;
        hold("durability", announced <= at, || {
            format!("{announced} is before the cursor at {at}")
        })?;
        let is_right = at == announced || at.0 == before || self.allowed.contains(&at.0.to_bits());
        hold("durability", is_right, || {
            format!("the cursor is at {at}, {announced} was sent, and no version leads there")
        })
    }
}
