//! Record values (`value-codec.md`).
//!
//! A value arrives as bytes that refer to a [`Dictionary`], and stays that way until someone asks: a [`RawValue`] is the
//! two together and costs nothing. From there:
//!
//! * [`RawValue::field`] reads one field of a record, without the others;
//! * [`RawValue::walk`] shows everything in order without allocating, and [`RawValue::read_all`] is the walk that only
//!   checks;
//! * [`RawValue::write_json`] writes JSON straight from the bytes;
//! * [`RawValue::decode`] builds an owned [`Value`];
//! * `RawValue::deserialize` fills a type of your own (feature `serde`);
//! * [`RawValue::blob_references`] tells which files the value refers to.
//!
//! All of them are the same walk over the bytes, so they agree on what is valid. Nothing in a value can make them panic,
//! recurse deeper than [`MAX_DEPTH`] or do more than linear work.

mod bigint;
mod blob;
#[cfg(feature = "serde")]
mod de;
mod dictionary;
mod encode;
mod error;
mod extension;
mod field;
pub(crate) mod json;
mod name;
mod raw;
mod reader;
mod records;
pub(crate) mod scan;
mod take;
#[cfg(test)]
mod tests;
mod text;
mod tree;
mod typed;
mod walk;

pub use bigint::{BigInt, DECIMAL_BITS_MAX, ParseBigIntError};
pub use blob::{BlobExtension, BlobReference};
pub use dictionary::Dictionary;
pub use encode::{EncodeError, Profile};
pub use error::{ValueError, ValueErrorKind};
pub use field::FieldValue;
pub use json::JsonStyle;
pub use raw::RawValue;
pub use reader::BigIntRef;
pub use text::Text;
pub use tree::Value;
pub use walk::{Event, Totals};

/// How many containers (arrays, maps, objects, ...) may stand inside each other.
pub const MAX_DEPTH: u32 = 128;

/// How much a value may unfold to for each of its bytes: bytes of field names, and [`WORK_PER_FIELD`] for each field.
///
/// Names come from the dictionary, and slots can be empty, so a record of one byte can stand for many; without a bound a
/// peer could make a few kilobytes unfold to terabytes. Real records stay below 50 or so.
pub const WORK_PER_BYTE: usize = 128;

/// What a field counts for beside the bytes of its name, see [`WORK_PER_BYTE`].
pub const WORK_PER_FIELD: usize = 16;

/// What any value may unfold to before [`WORK_PER_BYTE`] counts: room for a short record with long names.
pub const WORK_FREE: usize = 16 * 1024;

/// What one use of a structure counts for.
fn work(fields: usize, name_bytes: usize) -> u32 {
    let work = fields.saturating_mul(WORK_PER_FIELD) + name_bytes;
    u32::try_from(work).unwrap_or(u32::MAX)
}
