//! The rules of a replica: what becomes of a row when entries of several writers concern it (`conflicts.md` section 5).
//!
//! A publisher keeps the history of a record and can look back; a replica cannot. It keeps, besides a row's value, a bounded
//! [`Memory`] of who wrote what last, and that is enough to end with the publisher's row whatever the order in which the
//! entries come, however late, and however often they come again.
//!
//! Everything here is a pure function of a row and an [`Entry`]. A store that holds rows as text or bytes reads a row's memory,
//! calls [`Memory::apply`], does what the [`Outcome`] says, and writes both back in the transaction that stores the cursor.
//! One that holds values can leave all of it to [`Row`]:
//!
//! ```
//! use replproto_core::replica::{Action, Content, ContentHash, Entry, Row, Writes};
//! use replproto_core::value::Value;
//! use replproto_core::WallTime;
//!
//! let number = |value| Value::Number(value);
//! let mut writes = Writes::default();
//! let mut entry = |version: f64, action: Action<Content<Value>>| {
//!     writes.end_transaction();
//!     let write = writes.note(("Dog", b"rex"), true, || ContentHash::new(2).with(&version.to_be_bytes()));
//!     Entry {
//!         version: WallTime(version),
//!         origin: "node-a".into(),
//!         expires_at: None,
//!         digest: write.digest,
//!         repeats: write.repeats,
//!         action,
//!     }
//! };
//! let mut row = Row::default();
//! let put = Action::Put(Some(vec![("n".into(), number(5.0))].into()));
//! row.apply(&entry(1.0, put))?;
//! let add = Value::Object(vec![
//!     ("__op__".into(), Value::Text("add".into())),
//!     ("value".into(), number(2.0)),
//! ]);
//! let patch = entry(2.0, Action::Patch(vec![("n".into(), add)].into()));
//! assert!(!row.apply(&patch)?.is_dropped);
//! // Publishers repeat what came after the cursor: an addition counts once.
//! assert!(row.apply(&patch)?.is_dropped);
//! assert_eq!(row.fields().and_then(|fields| fields.get("n")), Some(&number(7.0)));
//! # Ok::<(), replproto_core::replica::RecordError>(())
//! ```

mod apply;
mod entry;
mod field;
mod fields;
mod memory;
mod row;
mod stored;
#[cfg(test)]
mod tests;
mod writes;

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use thiserror::Error;

use crate::id::Name;
use crate::time::WallTime;

pub use field::{CannotAdd, Field, Request};
pub use fields::{Content, Fields};
pub use memory::{Memory, Stamp};
pub use row::Row;
pub use stored::MemoryError;
pub use writes::{ContentHash, Write, Writes};

/// For how long publishers keep their log by default: so much later than it was written an entry may still come. A store that
/// forgets a deletion earlier may show the record again.
pub const RETENTION: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// One entry of the publisher's log, as far as it concerns a row.
#[derive(Clone, Debug)]
pub struct Entry<P> {
    /// The version: finite.
    pub version: WallTime,
    /// The node that wrote it.
    pub origin: Name,
    /// The expiry of the record.
    pub expires_at: Option<WallTime>,
    /// What tells it from other writes of its version and origin: that of [`Writes::note`]. Looked at only if it
    /// [`repeats`](Self::repeats), has operations, or is a message.
    pub digest: u64,
    /// An earlier entry of its transaction concerns the same record.
    pub repeats: bool,
    /// The action.
    pub action: Action<P>,
}

/// The action of an entry (`protocol.md` section 5.1), with its value.
#[derive(Clone, Debug)]
pub enum Action<P> {
    /// The record becomes this. A put of nothing is a deletion.
    Put(Option<P>),
    /// Fields of the record change.
    Patch(P),
    /// The record is deleted.
    Delete,
    /// The record is no longer held in full; what is left of it, if anything.
    Invalidate(Option<P>),
    /// A message to the record's id. A publisher sends it with the row's version.
    Message,
    /// The record moved to other nodes.
    Relocate,
}

impl<P> Action<P> {
    /// The value itself, if there is one.
    pub fn into_value(self) -> Option<P> {
        match self {
            Self::Put(value) | Self::Invalidate(value) => value,
            Self::Patch(value) => Some(value),
            Self::Delete | Self::Message | Self::Relocate => None,
        }
    }

    /// The value, if there is one.
    pub const fn value(&self) -> Option<&P> {
        match self {
            Self::Put(value) | Self::Invalidate(value) => value.as_ref(),
            Self::Patch(value) => Some(value),
            Self::Delete | Self::Message | Self::Relocate => None,
        }
    }
}

/// The value of an entry, as far as the rules look into it.
pub trait Payload {
    /// The form of its fields.
    type Field: Field;

    /// The fields in their order, each name once; `None`: it is no object.
    fn fields(&self) -> Option<Vec<(String, Self::Field)>>;

    /// Whether the value of a field may be an operation; asked of patches. One that is said to have some, and has none, costs a
    /// little memory.
    fn may_have_operations(&self) -> bool;
}

/// The content of a row before an entry, as far as the rules look into it: what is shown, or what an invalidation has left.
pub trait Current<F> {
    /// Whether there is any.
    fn is_there(&self) -> bool;

    /// The fields with these names, in this order; none if it is no object.
    fn fields(&self, names: &[&str]) -> Vec<Option<F>>;
}

/// What an entry makes of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<F> {
    /// What becomes of the content.
    pub change: Change<F>,
    /// The row's new expiry, or its new lack of one; `None`: it stays as it is.
    pub expires_at: Option<Option<WallTime>>,
    /// The effect in all.
    pub effect: Effect,
}

/// What becomes of a row's content.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<F> {
    /// It stays as it is, shown or hidden.
    Keep,
    /// It stays as it is and is shown, if there is any.
    Show,
    /// It becomes the value of the entry.
    Replace,
    /// It becomes the value of the entry, or nothing, and is hidden: a later patch builds on it.
    Hide,
    /// These fields get these values and the others stay; of content that is no object nothing stays. It is shown.
    Set(Vec<(String, F)>),
    /// There is none any more.
    Remove,
}

/// The effect of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// It is known already, or something newer has made it meaningless: the row has not changed. Its memory may have.
    pub is_dropped: bool,
    /// The row may not be that of the publisher, for this reason.
    pub doubt: Option<Doubt>,
}

/// A class of entries after which a row may differ from the publisher's, because what it does is not on the wire
/// (`conflicts.md` section 6). To be sure, the row has to be read again from the publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Doubt {
    /// Older than a copied row: it may or may not be in that row already, and is left out.
    AcrossCopy,
    /// As new as the row, of another writer: publishers go by what they stored last.
    EqualVersions,
    /// Not the first write to the record in its transaction: old publishers show only the last one.
    SameTransaction,
    /// A put that came after patches which are newer than it: which other fields stay depends on the order.
    LatePut,
    /// A put that came after an invalidation which is newer than it: publishers bring back fields of older patches, or drop it.
    BelowInvalidation,
}

impl Doubt {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::AcrossCopy,
        Self::EqualVersions,
        Self::SameTransaction,
        Self::LatePut,
        Self::BelowInvalidation,
    ];

    /// A short name, for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AcrossCopy => "across-copy",
            Self::EqualVersions => "equal-versions",
            Self::SameTransaction => "same-transaction",
            Self::LatePut => "late-put",
            Self::BelowInvalidation => "below-invalidation",
        }
    }
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
