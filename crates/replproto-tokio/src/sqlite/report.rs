//! What is kept about records besides the records: the log of events, and what was passed over.

use std::fmt::{self, Write};

use replproto_core::event::SkippedRecord;
use replproto_core::key::Key;
use replproto_core::{RecordKind, WallTime};

use super::batch::Change;
use crate::decode::Undecodable;

/// One line of the log of events: table, id, kind, version and origin, separated by tabs. The id is the hexadecimal form
/// of its bytes, the version that of its eight bytes.
pub(super) fn write_event_line(change: &Change<'_>, out: &mut String) {
    out.clear();
    out.push_str(change.table.name());
    out.push('\t');
    for byte in change.key {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "\t{}\t{:016x}\t{}",
        change.kind,
        change.version.to_bits(),
        change.origin
    );
}

/// A record's id for a log: its bytes if it cannot be read; cut if it is long.
pub(super) struct ShownKey<'a>(pub(super) &'a [u8]);

impl fmt::Display for ShownKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 64;
        let text = match Key::decode(self.0) {
            Ok(key) => format!("{key:?}"),
            Err(_) => format!("{:02x?}", &self.0[..self.0.len().min(LONGEST)]),
        };
        f.write_str(&text[..text.floor_char_boundary(LONGEST)])
    }
}

/// A record that was passed over, whoever noticed it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Skipped<'a> {
    pub(super) table: &'a str,
    pub(super) key: &'a [u8],
    pub(super) version: f64,
    pub(super) kind: RecordKind,
    pub(super) error: String,
}

impl<'a> Skipped<'a> {
    pub(super) fn by_store(change: &Change<'a>, error: &Undecodable) -> Self {
        Self {
            table: change.table.name(),
            key: change.key,
            version: change.version,
            kind: change.kind,
            error: error.to_string(),
        }
    }
}

impl<'a> From<&'a SkippedRecord> for Skipped<'a> {
    fn from(skipped: &'a SkippedRecord) -> Self {
        Self {
            table: &skipped.table,
            key: &skipped.key,
            // A column for numbers that SQLite has, and it has no NaN.
            version: skipped.version.map_or(0.0, |WallTime(time)| time),
            kind: skipped.kind,
            error: skipped.error.to_string(),
        }
    }
}
