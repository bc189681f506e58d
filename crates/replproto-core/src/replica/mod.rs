//! The rules of a replica: what becomes of a row when entries of several writers concern it (`conflicts.md` section 5).
//!
//! A publisher keeps the history of a record and can look back; a replica cannot. It keeps, besides a row's value, a bounded
//! [`Memory`] of who wrote what last, and that is enough to end with the publisher's row whatever the order in which the
//! entries come, however late, and however often they come again.
//!
//! Everything here is a pure function of a [`Row`] and an [`Entry`]. A store reads the row, calls [`Row::apply`], and writes
//! the row back in the transaction that stores the cursor:
//!
//! ```
//! use replproto_core::replica::{Action, Effect, Entry, Row, digest};
//! use replproto_core::value::Value;
//! use replproto_core::WallTime;
//!
//! let number = |value| Value::Number(value);
//! let entry = |version, action| Entry {
//!     version: WallTime(version),
//!     origin: "node-a".into(),
//!     expires_at: None,
//!     digest: digest(0, &version.to_be_bytes(), 0),
//!     repeats: false,
//!     action,
//! };
//! let mut row = Row::default();
//! let put = Action::Put(Some(vec![("n".into(), number(5.0))].into()));
//! row.apply(&entry(1.0, put))?;
//! let add = Value::Object(vec![
//!     ("__op__".into(), Value::Text("add".into())),
//!     ("value".into(), number(2.0)),
//! ]);
//! let patch = entry(2.0, Action::Patch(vec![("n".into(), add)].into()));
//! assert_eq!(row.apply(&patch)?, Effect::Changed);
//! // Publishers repeat what came after the cursor: an addition counts once.
//! assert_eq!(row.apply(&patch)?, Effect::Dropped);
//! assert_eq!(row.fields().and_then(|fields| fields.get("n")), Some(&number(7.0)));
//! # Ok::<(), replproto_core::replica::RecordError>(())
//! ```

mod apply;
mod field;
mod fields;
mod memory;
mod stored;
#[cfg(test)]
mod tests;

use alloc::string::String;

use thiserror::Error;

use crate::checksum::checksum;
use crate::id::Name;
use crate::time::WallTime;

pub use field::{CannotAdd, Field, Request};
pub use fields::{Content, Fields};
pub use memory::{Memory, Stamp};
pub use stored::MemoryError;

/// One entry of the publisher's log, as far as it concerns a row.
#[derive(Clone, Debug)]
pub struct Entry<F> {
    /// The version: finite.
    pub version: WallTime,
    /// The node that wrote it.
    pub origin: Name,
    /// The expiry of the record.
    pub expires_at: Option<WallTime>,
    /// See [`digest`].
    pub digest: u64,
    /// Its transaction writes this record more than once.
    pub repeats: bool,
    /// The action.
    pub action: Action<F>,
}

/// The action of an entry (`protocol.md` section 5.1).
#[derive(Clone, Debug)]
pub enum Action<F> {
    /// The record becomes this. A put of nothing is a deletion.
    Put(Option<Content<F>>),
    /// Fields of the record change.
    Patch(Content<F>),
    /// The record is deleted.
    Delete,
    /// The record is no longer held in full; what is left of it, if anything.
    Invalidate(Option<Content<F>>),
    /// A message to the record's id. A publisher sends it with the row's version.
    Message,
    /// The record moved to other nodes.
    Relocate,
}

/// The outcome of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is known already, or something newer has made it meaningless: nothing has changed.
    Dropped,
    /// The memory of the row has changed, and perhaps its value.
    Changed,
}

/// An entry that cannot be carried out. The row has not changed; the entry is to be skipped, counted and listed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It asks for an operation that is not known.
    #[error("the patch asks for the unknown operation {0:?}")]
    UnknownOperation(String),
    /// It adds what cannot be added.
    #[error("the patch adds to the field {field:?}: {error}")]
    CannotAdd {
        /// The field.
        field: String,
        /// The reason.
        error: CannotAdd,
    },
}

/// A record as a replica holds it.
#[derive(Clone, Debug)]
pub struct Row<F> {
    content: Option<Content<F>>,
    /// The content is what the record holds. Otherwise it has been invalidated, and the next patch shows it again.
    is_shown: bool,
    expires_at: Option<WallTime>,
    memory: Memory<F>,
}

impl<F> Default for Row<F> {
    fn default() -> Self {
        Self {
            content: None,
            is_shown: false,
            expires_at: None,
            memory: Memory::default(),
        }
    }
}

impl<F> Row<F> {
    /// A row as it was stored.
    pub const fn new(
        content: Option<Content<F>>,
        is_shown: bool,
        expires_at: Option<WallTime>,
        memory: Memory<F>,
    ) -> Self {
        Self {
            content,
            is_shown,
            expires_at,
            memory,
        }
    }

    /// The content; `None` if it is deleted, invalidated, or was never written.
    pub const fn content(&self) -> Option<&Content<F>> {
        if self.is_shown {
            self.content.as_ref()
        } else {
            None
        }
    }

    /// The fields, if the record holds an object.
    pub const fn fields(&self) -> Option<&Fields<F>> {
        match self.content() {
            Some(Content::Object(fields)) => Some(fields),
            _ => None,
        }
    }

    /// The rest of a record that has been invalidated: a later patch builds on it.
    pub const fn hidden(&self) -> Option<&Content<F>> {
        if self.is_shown {
            None
        } else {
            self.content.as_ref()
        }
    }

    /// The expiry, from the entry that changed it last.
    pub const fn expires_at(&self) -> Option<WallTime> {
        self.expires_at
    }

    /// The memory besides its value.
    pub const fn memory(&self) -> &Memory<F> {
        &self.memory
    }
}

/// Tells one write from another that has the same version and origin: 64 bits of a hash (FNV-1a) over the entry's kind and the
/// bytes of its value. `repeat`: how many entries equal to it in all this came before it for the same record in its transaction.
#[must_use]
pub fn digest(kind: u8, value: &[u8], repeat: u32) -> u64 {
    let rest = [kind].into_iter().chain(repeat.to_be_bytes());
    checksum(value.iter().copied().chain(rest))
}
