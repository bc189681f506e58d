//! Where to go on after a link has ended.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use thiserror::Error;

use crate::checksum::checksum;
use crate::id::Name;
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
const CHECKSUM: usize = 8;

impl Cursor {
    /// A cursor without a copy, at a position that the publisher has sent.
    pub const fn at(sequence: Sequence) -> Self {
        Self {
            sequence,
            announced: sequence,
            copy: None,
        }
    }

    /// A cursor without a copy, at a position that the publisher has not sent.
    pub(crate) const fn asked(sequence: Sequence) -> Self {
        Self {
            sequence,
            announced: Sequence(0.0),
            copy: None,
        }
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
        out.push(if is_ahead { FORMAT_AHEAD } else { FORMAT });
        out.extend_from_slice(&self.sequence.0.to_be_bytes());
        if is_ahead {
            out.extend_from_slice(&self.announced.0.to_be_bytes());
        }
        if let Some(copy) = &self.copy {
            out.extend_from_slice(&copy.copy_start.0.to_be_bytes());
            out.extend_from_slice(&copy.order.to_be_bytes());
            // A table's name came in a message, whose length fits 32 bits.
            out.extend_from_slice(&(copy.table.len() as u32).to_be_bytes());
            out.extend_from_slice(copy.table.as_bytes());
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
        if format != FORMAT && format != FORMAT_AHEAD {
            return Err(CursorError::Format(format));
        }
        let sequence = Sequence(f64::from_be_bytes(take(&mut rest)?));
        let announced = if format == FORMAT_AHEAD {
            Sequence(f64::from_be_bytes(take(&mut rest)?))
        } else {
            sequence
        };
        if format == FORMAT_AHEAD && announced.0.to_bits() == sequence.0.to_bits() {
            // There is one way to write a cursor.
            return Err(CursorError::Damaged);
        }
        if rest.is_empty() {
            return Ok(Self {
                sequence,
                announced,
                copy: None,
            });
        }
        let copy_start = WallTime(f64::from_be_bytes(take(&mut rest)?));
        let order = u32::from_be_bytes(take(&mut rest)?);
        let table_length = u32::from_be_bytes(take(&mut rest)?) as usize;
        let (table, after_key) = rest
            .split_at_checked(table_length)
            .ok_or(CursorError::Damaged)?;
        let table = core::str::from_utf8(table).map_err(|_| CursorError::Damaged)?;
        Ok(Self {
            sequence,
            announced,
            copy: Some(Box::new(CopyCursor {
                copy_start,
                table: table.into(),
                after_key: Bytes::copy_from_slice(after_key),
                order,
            })),
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

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], CursorError> {
    let (taken, left) = rest.split_first_chunk().ok_or(CursorError::Damaged)?;
    *rest = left;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;
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
        (sequences, proptest::option::of(copy)).prop_map(|((sequence, announced), copy)| Cursor {
            sequence: Sequence(sequence),
            announced: Sequence(announced.unwrap_or(sequence)),
            copy: copy.map(Box::new),
        })
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was(cursor in cursor()) {
            let bytes = cursor.to_bytes();
            prop_assert_eq!(Cursor::from_bytes(&bytes).unwrap().to_bytes(), bytes);
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
