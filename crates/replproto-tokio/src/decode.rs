//! From a record as it came to the text that a store keeps.

use replproto_core::Record;
use replproto_core::key::{self, KeyError};
#[cfg(feature = "sqlite")]
use replproto_core::replica::RecordError;
use replproto_core::value::{JsonStyle, ValueError};
use thiserror::Error;

/// A record that no store can use.
#[derive(Clone, Debug, Error)]
pub(crate) enum Undecodable {
    /// Senders leave out an id that is too long for them (`protocol.md` section 5, field 5).
    #[error("the sender lost the record's id")]
    NoKey,
    #[error("the record's id cannot be read: {0}")]
    Key(#[from] KeyError),
    #[error("the value cannot be read: {0}")]
    Value(#[from] ValueError),
    #[error("as JSON the record takes more than the {limit} bytes of a row (`--max-row`)")]
    TooLarge { limit: u64 },
    #[cfg(feature = "sqlite")]
    #[error("the patch has too many attributes to be merged")]
    TooManyChanges,
    #[cfg(feature = "sqlite")]
    #[error(transparent)]
    Refused(#[from] RecordError),
}

/// Appends the id as tagged JSON and the value as JSON, nothing for a value that is not there, and tells the length of the id.
/// `limit`: the most bytes that the value may take as JSON.
///
/// # Errors
/// What is wrong with the record; nothing is appended then. All kinds of records are decoded whole, also those that change
/// nothing, since what counts as skipped must not depend on what the store holds.
pub(crate) fn append(
    record: &Record<'_>,
    out: &mut String,
    limit: usize,
) -> Result<usize, Undecodable> {
    let before = out.len();
    let appended = try_append(record, out, limit);
    if appended.is_err() {
        out.truncate(before);
    }
    appended
}

fn try_append(record: &Record<'_>, out: &mut String, limit: usize) -> Result<usize, Undecodable> {
    let length = append_id(record, out)?;
    if let Some(value) = record.value() {
        let length_max = out.len().saturating_add(limit);
        if !value.write_json_within(out, JsonStyle::Natural, length_max)? {
            let limit = limit as u64;
            return Err(Undecodable::TooLarge { limit });
        }
    }
    Ok(length)
}

/// Appends the id as tagged JSON, and tells its length.
pub(crate) fn append_id(record: &Record<'_>, out: &mut String) -> Result<usize, Undecodable> {
    if record.key_bytes().is_empty() {
        return Err(Undecodable::NoKey);
    }
    let before = out.len();
    key::write_json(record.key_bytes(), out, JsonStyle::Tagged)?;
    Ok(out.len() - before)
}

/// The most that a record may take as JSON in a [`MemorySink`](crate::MemorySink), in bytes.
pub(crate) const MEMORY_ROW_MAX: usize = 64 << 20;

/// The decoded form of a record.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    /// The id as tagged JSON.
    pub(crate) id: String,
    /// The value as JSON; empty if there is none.
    pub(crate) value: String,
}

impl Decoded {
    /// Decodes a record.
    ///
    /// # Errors
    /// As [`append`].
    pub(crate) fn read(&mut self, record: &Record<'_>) -> Result<(), Undecodable> {
        let mut text = String::new();
        let length = append(record, &mut text, MEMORY_ROW_MAX)?;
        self.value = text.split_off(length);
        self.id = text;
        Ok(())
    }
}
