//! Where to go on after a link has ended.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use thiserror::Error;

use crate::checksum::checksum;
use crate::config::TableFilter;
use crate::id::Name;
use crate::selection::{EVERYTHING, Selection};
use crate::time::{Sequence, WallTime};

/// How far the application has durably followed one publisher.
///
/// It comes from a terminator, a SEQUENCE_ID_UPDATE or the progress of a base copy, or is a margin below the version of a
/// record that the publisher itself wrote (`protocol.md` section 15, rulings 13 and 29). Store it in the same transaction as
/// the data it stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Cursor {
    /// Everything up to here is durable. 0 while the first base copy is under way.
    pub sequence: Sequence,
    /// The newest position up to there that the publisher has sent as one, which is all that it is ever told to be durable.
    /// 0 if it has sent none.
    pub announced: Sequence,
    /// A base copy that is under way.
    pub copy: Option<Box<CopyCursor>>,
    /// The part of the database that was followed up to here; `None`: all of it. The cursor says nothing about the rest.
    pub selection: Option<Arc<Selection>>,
}

/// How far a base copy has come (`protocol.md` sections 3.2 and 8.3).
#[derive(Clone, Debug, PartialEq)]
pub struct CopyCursor {
    /// The copy's identity: the publisher's time before its scan.
    pub copy_start: WallTime,
    /// The table that the last durable row belongs to.
    pub table: Name,
    /// The id of that row, in the bytes of its entry.
    pub after_key: Bytes,
    /// The version of the publisher's table order.
    pub order: u32,
}

/// What a store knows about a cursor. Three answers, because "there is none" and "it cannot be read" must never be
/// mixed up: only [`StoredCursor::Absent`] may start from nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredCursor {
    /// This one.
    Found(Cursor),
    /// None was ever stored.
    Absent,
    /// One was stored and cannot be read now.
    Unreadable {
        /// Why, for the error.
        why: String,
    },
}

/// Where a link starts.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Start {
    /// From nothing, with a base copy of everything.
    Copy,
    /// From a configured position in the publisher's log. 1 is the beginning of the whole log.
    At(Sequence),
    /// From a stored cursor.
    Resume(Cursor),
}

impl Start {
    /// A stored cursor always wins over a configured start (`protocol.md` section 15, ruling 14).
    ///
    /// # Errors
    /// The cursor is unreadable: starting anywhere else could lose or repeat data without notice.
    pub fn choose(stored: StoredCursor, configured: Self) -> Result<Self, CursorError> {
        match stored {
            StoredCursor::Found(cursor) => Ok(Self::Resume(cursor)),
            StoredCursor::Absent => Ok(configured),
            StoredCursor::Unreadable { why } => Err(CursorError::Unreadable(why)),
        }
    }
}

/// A cursor cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CursorError {
    /// The store could not read it. Repair the store, or say explicitly that the cursor is to be ignored.
    #[error("the stored cursor cannot be read: {0}")]
    Unreadable(String),
    /// The bytes are not those of a cursor, or are damaged.
    #[error("the bytes of the cursor are damaged")]
    Damaged,
    /// The cursor was written by a newer version of this library.
    #[error("the cursor has format {0}, which this version cannot read")]
    Format(u8),
}

/// The position was sent as one.
const FORMAT: u8 = 1;
/// It was not: the newest that was follows it.
const FORMAT_AHEAD: u8 = 2;
/// The same, and then the selection.
const FORMAT_SELECTED: u8 = 3;
const CHECKSUM: usize = 8;

impl Cursor {
    /// A cursor without a copy, at a position that the publisher has sent.
    pub const fn at(sequence: Sequence) -> Self {
        Self {
            sequence,
            announced: sequence,
            copy: None,
            selection: None,
        }
    }

    /// A cursor without a copy, at a position that the publisher has not sent.
    pub(crate) const fn asked(sequence: Sequence) -> Self {
        Self {
            sequence,
            announced: Sequence(0.0),
            copy: None,
            selection: None,
        }
    }

    /// The part of the database that was followed up to here.
    pub fn selection(&self) -> &Selection {
        self.selection.as_deref().unwrap_or(&EVERYTHING)
    }

    /// Whether it covers this table.
    pub fn covers(&self, table: &str) -> bool {
        self.selection().tables().wants(table)
    }

    /// Bytes that it takes besides itself.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        let copy = self.copy.as_deref();
        copy.map_or(0, |copy| size_of::<CopyCursor>() + copy.after_key.len())
    }

    /// The cursor as bytes, with a checksum: any damage to a single byte is noticed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let is_ahead = self.sequence.0.to_bits() != self.announced.0.to_bits();
        let format = match &self.selection {
            Some(_) => FORMAT_SELECTED,
            None if is_ahead => FORMAT_AHEAD,
            None => FORMAT,
        };
        out.push(format);
        out.extend_from_slice(&self.sequence.0.to_be_bytes());
        if format != FORMAT {
            out.extend_from_slice(&self.announced.0.to_be_bytes());
        }
        if let Some(selection) = &self.selection {
            write_selection(selection, &mut out);
        }
        if let Some(copy) = &self.copy {
            out.extend_from_slice(&copy.copy_start.0.to_be_bytes());
            out.extend_from_slice(&copy.order.to_be_bytes());
            write_text(&copy.table, &mut out);
            out.extend_from_slice(&copy.after_key);
        }
        let sum = checksum(out.iter().copied());
        out.extend_from_slice(&sum.to_be_bytes());
        out
    }

    /// The reverse of [`Cursor::to_bytes`].
    ///
    /// # Errors
    /// [`CursorError::Damaged`] or [`CursorError::Format`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CursorError> {
        let body_length = bytes
            .len()
            .checked_sub(CHECKSUM)
            .ok_or(CursorError::Damaged)?;
        let (body, sum) = bytes.split_at(body_length);
        if checksum(body.iter().copied()).to_be_bytes() != *sum {
            return Err(CursorError::Damaged);
        }
        let mut rest = body;
        let [format] = take(&mut rest)?;
        if !matches!(format, FORMAT | FORMAT_AHEAD | FORMAT_SELECTED) {
            return Err(CursorError::Format(format));
        }
        let sequence = Sequence(f64::from_be_bytes(take(&mut rest)?));
        let announced = if format == FORMAT {
            sequence
        } else {
            Sequence(f64::from_be_bytes(take(&mut rest)?))
        };
        if format == FORMAT_AHEAD && announced.0.to_bits() == sequence.0.to_bits() {
            // There is one way to write a cursor.
            return Err(CursorError::Damaged);
        }
        let selection = if format == FORMAT_SELECTED {
            Some(Arc::new(read_selection(&mut rest)?))
        } else {
            None
        };
        if rest.is_empty() {
            return Ok(Self {
                sequence,
                announced,
                copy: None,
                selection,
            });
        }
        let copy_start = WallTime(f64::from_be_bytes(take(&mut rest)?));
        let order = u32::from_be_bytes(take(&mut rest)?);
        let table = take_text(&mut rest)?;
        Ok(Self {
            sequence,
            announced,
            copy: Some(Box::new(CopyCursor {
                copy_start,
                table: table.into(),
                after_key: Bytes::copy_from_slice(rest),
                order,
            })),
            selection,
        })
    }
}

/// In a recording a cursor is the hexadecimal text of [`Cursor::to_bytes`].
#[cfg(feature = "serde")]
impl serde::Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::hex::serialize(&Bytes::from(self.to_bytes()), serializer)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = crate::hex::deserialize(deserializer)?;
        Self::from_bytes(&bytes).map_err(serde::de::Error::custom)
    }
}

/// Which of the three filters of tables it is, then names: those of tables, and those of origins.
fn write_selection(selection: &Selection, out: &mut Vec<u8>) {
    let tables = selection.tables();
    out.push(match tables {
        TableFilter::All => 0,
        TableFilter::Only(_) => 1,
        TableFilter::Except(_) => 2,
    });
    for names in [tables.names(), selection.excluded_origins()] {
        out.extend_from_slice(&(names.len() as u32).to_be_bytes());
        for name in names {
            write_text(name, out);
        }
    }
}

fn read_selection(rest: &mut &[u8]) -> Result<Selection, CursorError> {
    let [kind] = take(rest)?;
    let (names, origins) = (take_names(rest)?, take_names(rest)?);
    let tables = match kind {
        0 if names.is_empty() => TableFilter::All,
        1 => TableFilter::Only(names),
        2 if !names.is_empty() => TableFilter::Except(names),
        _ => return Err(CursorError::Damaged),
    };
    Ok(Selection::new(tables, origins))
}

/// A text of which the length fits 32 bits: it came in a message, or belongs to the configuration.
fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, CursorError> {
    let length = u32::from_be_bytes(take(rest)?) as usize;
    let (text, left) = rest.split_at_checked(length).ok_or(CursorError::Damaged)?;
    *rest = left;
    core::str::from_utf8(text).map_err(|_| CursorError::Damaged)
}

/// Names in order, each once: there is one way to write a cursor.
fn take_names(rest: &mut &[u8]) -> Result<Vec<String>, CursorError> {
    let mut names: Vec<String> = Vec::new();
    for _ in 0..u32::from_be_bytes(take(rest)?) {
        let name = take_text(rest)?;
        if names.last().is_some_and(|last| last.as_str() >= name) {
            return Err(CursorError::Damaged);
        }
        names.push(name.into());
    }
    Ok(names)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], CursorError> {
    let (taken, left) = rest.split_first_chunk().ok_or(CursorError::Damaged)?;
    *rest = left;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::tests::selection;
    use proptest::prelude::*;

    fn cursor() -> impl Strategy<Value = Cursor> {
        let copy = (any::<f64>(), ".{0,20}", any::<Vec<u8>>(), any::<u32>()).prop_map(
            |(start, table, key, order)| CopyCursor {
                copy_start: WallTime(start),
                table: table.as_str().into(),
                after_key: key.into(),
                order,
            },
        );
        let sequences = (any::<f64>(), proptest::option::of(any::<f64>()));
        let selection = proptest::option::of(selection());
        (sequences, proptest::option::of(copy), selection).prop_map(
            |((sequence, announced), copy, selection)| Cursor {
                sequence: Sequence(sequence),
                announced: Sequence(announced.unwrap_or(sequence)),
                copy: copy.map(Box::new),
                selection: selection.map(Arc::new),
            },
        )
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was(cursor in cursor()) {
            let bytes = cursor.to_bytes();
            let read = Cursor::from_bytes(&bytes).unwrap();
            prop_assert_eq!(&read.selection, &cursor.selection);
            prop_assert_eq!(read.to_bytes(), bytes);
        }

        #[test]
        fn any_damage_to_one_byte_is_noticed(cursor in cursor(), at: prop::sample::Index, xor in 1..=255u8) {
            let mut bytes = cursor.to_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= xor;
            prop_assert_eq!(Cursor::from_bytes(&bytes), Err(CursorError::Damaged));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = Cursor::from_bytes(&bytes);
        }
    }

    #[test]
    fn a_cursor_of_earlier_versions_was_sent_as_a_position() {
        let bytes = Cursor::at(Sequence(5.5)).to_bytes();
        assert_eq!((bytes[0], bytes.len()), (1, 17));
        assert_eq!(Cursor::from_bytes(&bytes), Ok(Cursor::at(Sequence(5.5))));
    }

    #[test]
    fn an_unreadable_cursor_never_starts_from_nothing() {
        let unreadable = StoredCursor::Unreadable { why: "disk".into() };
        assert!(Start::choose(unreadable, Start::Copy).is_err());
        assert_eq!(
            Start::choose(StoredCursor::Absent, Start::Copy),
            Ok(Start::Copy)
        );
        let stored = Cursor::at(Sequence(5.5));
        assert_eq!(
            Start::choose(
                StoredCursor::Found(stored.clone()),
                Start::At(Sequence(9.0))
            ),
            Ok(Start::Resume(stored))
        );
    }
}
