//! Files of messages: for each its length (32 bits, little-endian) and its bytes.

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use serde::Serialize;

use crate::Result;
use crate::plan::Plan;

/// An entry that tells the publisher's position (`protocol.md` section 4): a length, a type and a number.
const TERMINATOR: [u8; 2] = [9, 0x0b];
const TERMINATOR_LENGTH: usize = 10;

/// The time at the head of a transaction, in bytes.
pub(crate) const HEADER: usize = 8;

/// The messages of a file, in memory.
pub(crate) struct Frames {
    bytes: Bytes,
    messages: Vec<Range<usize>>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Size {
    pub(crate) messages: u64,
    pub(crate) transactions: u64,
    pub(crate) records: u64,
    /// Of the messages, without what frames them.
    pub(crate) bytes: u64,
}

impl Size {
    pub(crate) const fn times(self, count: u64) -> Self {
        Self {
            messages: self.messages * count,
            transactions: self.transactions * count,
            records: self.records * count,
            bytes: self.bytes * count,
        }
    }
}

impl Frames {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut messages = Vec::new();
        let mut at = 0;
        while let Some(header) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let truncated = || format!("{}: it ends inside a message", path.display());
            let length = header.first_chunk().ok_or_else(truncated)?;
            let start = at + 4;
            at = start + u32::from_le_bytes(*length) as usize;
            if at > bytes.len() {
                return Err(truncated().into());
            }
            messages.push(start..at);
        }
        Ok(Self {
            bytes: bytes.into(),
            messages,
        })
    }

    /// How many messages of the file the plan is about: up to the last of its transactions.
    pub(crate) fn count(&self, plan: Plan) -> usize {
        let Some(transactions) = plan.transactions else {
            return self.messages.len();
        };
        let mut places = (0..self.messages.len()).filter(|&index| self.is_transaction(index));
        let last = transactions.checked_sub(1);
        let last = last.map_or(Some(0), |last| places.nth(last as usize).map(|at| at + 1));
        last.unwrap_or(self.messages.len())
    }

    /// The messages that the plan is about, repetitions included. Slices of one buffer.
    pub(crate) fn messages(&self, plan: Plan) -> impl Iterator<Item = Bytes> {
        let once = &self.messages[..self.count(plan)];
        (0..plan.repeat).flat_map(move |_| once.iter().map(|range| self.bytes.slice(range.clone())))
    }

    /// What the plan is about, on one link.
    pub(crate) fn size(&self, plan: Plan) -> Size {
        let mut size = Size::default();
        for range in &self.messages[..self.count(plan)] {
            let message = &self.bytes[range.clone()];
            size.messages += 1;
            size.bytes += message.len() as u64;
            if is_transaction(message) {
                size.transactions += 1;
                size.records += entries(without_terminator(message)).count() as u64;
            }
        }
        size.times(plan.repeat)
    }

    fn is_transaction(&self, index: usize) -> bool {
        is_transaction(&self.bytes[self.messages[index].clone()])
    }
}

/// Whether it is a transaction; otherwise it is a command (`protocol.md` section 2).
pub(crate) fn is_transaction(message: &[u8]) -> bool {
    message.first().is_some_and(|first| *first < 0x80)
}

/// A transaction without the position at its end, if it tells one.
pub(crate) fn without_terminator(transaction: &[u8]) -> &[u8] {
    match transaction.len().checked_sub(TERMINATOR_LENGTH) {
        Some(at) if at >= HEADER && transaction[at..].starts_with(&TERMINATOR) => {
            &transaction[..at]
        }
        _ => transaction,
    }
}

/// Where the entries of a transaction are: the least that must be read of it. Ends at the first that is cut off.
pub(crate) fn entries(transaction: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = HEADER;
    std::iter::from_fn(move || {
        let (length, width) = entry_length(transaction.get(at..)?)?;
        let start = at + width;
        at = start + length;
        (at <= transaction.len()).then_some(start..at)
    })
}

/// A length and how many bytes it takes (`protocol.md` section 4.1).
#[inline]
fn entry_length(bytes: &[u8]) -> Option<(usize, usize)> {
    Some(match *bytes {
        [first @ ..=0x7f, ..] => (usize::from(first), 1),
        [first @ 0x80..=0xbf, second, ..] => {
            (usize::from(first & 0x3f) << 8 | usize::from(second), 2)
        }
        [first @ 0xc0..=0xfe, b, c, d, ..] => {
            (u32::from_be_bytes([first & 0x3f, b, c, d]) as usize, 4)
        }
        [0xff, a, b, c, d, ..] => (u32::from_be_bytes([a, b, c, d]) as usize, 5),
        _ => return None,
    })
}
