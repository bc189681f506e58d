//! From a record as it came to the text that a store keeps.

use replproto_core::Record;
use replproto_core::key::KeyError;
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
}

/// The decoded form of one record at a time, in buffers that are used again.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    /// The id as tagged JSON.
    pub(crate) id: String,
    /// The value as JSON; empty if there is none.
    pub(crate) value: String,
}

/// Buffers that one record made larger than this are not kept.
const KEPT_BYTES: usize = 1 << 20;

impl Decoded {
    /// Decodes a record.
    ///
    /// # Errors
    /// What is wrong with it. All kinds of records are decoded whole, also those that change nothing, since what counts as
    /// skipped must not depend on what the store holds.
    pub(crate) fn read(&mut self, record: &Record<'_>) -> Result<(), Undecodable> {
        for buffer in [&mut self.id, &mut self.value] {
            buffer.clear();
            buffer.shrink_to(KEPT_BYTES);
        }
        if record.key_bytes().is_empty() {
            return Err(Undecodable::NoKey);
        }
        record.key()?.write_json(&mut self.id, JsonStyle::Tagged);
        if let Some(value) = record.value() {
            value.write_json(&mut self.value, JsonStyle::Natural)?;
        }
        Ok(())
    }

    /// The value, or what stands for a value that is not there.
    pub(crate) fn value_or(&self, absent: &'static str) -> &str {
        if self.value.is_empty() {
            absent
        } else {
            &self.value
        }
    }
}

/// What a put without a value leaves.
pub(crate) const NO_VALUE: &str = "null";

/// What a patch without a value changes.
pub(crate) const NO_CHANGES: &str = "{}";
