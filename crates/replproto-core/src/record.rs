//! One change of one record.

use alloc::sync::Arc;
use core::fmt;

use crate::error::RecordError;
use crate::id::Name;
use crate::key::{KEY_BYTES_MAX, Key, KeyError};
use crate::sources::Sources;
use crate::table::Table;
use crate::time::WallTime;
use crate::value::RawValue;
use crate::wire::entry::{Entry, Flags};

/// A change of a record: one audit entry, not yet decoded beyond its header (`protocol.md` section 5).
///
/// It is a view into its [`Records`](crate::Records), which is what to keep or to send elsewhere.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) entry: Entry,
    pub(crate) kind: RecordKind,
    pub(crate) table: &'a Arc<Table>,
    pub(crate) origin: &'a Name,
    pub(crate) sources: &'a Sources,
}

/// What a change does (`protocol.md` section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RecordKind {
    /// The record becomes the value.
    Put,
    /// The record is removed. There is no value.
    Delete,
    /// A message was published to the record's id; the record does not change.
    Message,
    /// The record is no longer held in full: the value has its indexed attributes only, or is null.
    Invalidate,
    /// The value's attributes replace those of the record.
    Patch,
    /// The record moved to other nodes. There is no value.
    Relocate,
}

impl RecordKind {
    /// The kind of this action type, if it is one that changes a record.
    pub(crate) const fn from_action(action: u8) -> Option<Self> {
        Some(match action {
            1 => Self::Put,
            2 => Self::Delete,
            3 => Self::Message,
            4 => Self::Invalidate,
            5 => Self::Patch,
            6 => Self::Relocate,
            _ => return None,
        })
    }

    /// The name, as the protocol has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Message => "message",
            Self::Invalidate => "invalidate",
            Self::Patch => "patch",
            Self::Relocate => "relocate",
        }
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The operation that led to a change, from newer peers (`protocol.md` section 5, field 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Insert.
    Insert,
    /// Update.
    Update,
    /// Upsert.
    Upsert,
    /// Put.
    Put,
}

impl<'a> Record<'a> {
    /// What the change does.
    pub const fn kind(&self) -> RecordKind {
        self.kind
    }

    /// The table, with the dictionary that was current when the record came.
    pub const fn table(&self) -> &'a Arc<Table> {
        self.table
    }

    /// The node that wrote the change.
    pub const fn origin(&self) -> &'a Name {
        self.origin
    }

    /// The bytes of the record's id. Empty if the sender lost it because it was too long.
    #[inline]
    pub fn key_bytes(&self) -> &'a [u8] {
        &self.bytes[self.entry.key.range()]
    }

    /// The record's id.
    ///
    /// # Errors
    /// The bytes are not those of a key.
    pub fn key(&self) -> Result<Key, KeyError> {
        Key::decode(self.key_bytes())
    }

    /// When the change was made. Two changes of one record are ordered by it.
    pub const fn version(&self) -> WallTime {
        WallTime(self.entry.version)
    }

    /// The value, not decoded. `None` for a change without one.
    #[inline]
    pub fn value(&self) -> Option<RawValue<'a>> {
        let bytes = &self.bytes[self.entry.value.range()];
        (!bytes.is_empty()).then(|| RawValue::new(bytes, &self.table.dictionary))
    }

    /// The name of the user who made the change, as key bytes; see [`crate::key::decode_text`]. Empty if there is none, or if
    /// it is longer than any can be.
    pub fn user_bytes(&self) -> &'a [u8] {
        match &self.bytes[self.entry.user.range()] {
            user if user.len() > KEY_BYTES_MAX => &[],
            user => user,
        }
    }

    /// When the record expires. `None` also for a date that is not finite.
    pub fn expires_at(&self) -> Option<WallTime> {
        self.entry.optional.expires_at.map(WallTime)
    }

    /// The nodes that hold the record in full, if it is not held everywhere.
    pub fn residency(&self) -> Option<&'a [Name]> {
        self.sources.residency(self.entry.optional.residency)
    }

    /// The nodes that held it before.
    pub fn previous_residency(&self) -> Option<&'a [Name]> {
        self.sources
            .residency(self.entry.optional.previous_residency)
    }

    /// The operation that led to the change, if the peer says it.
    pub const fn operation(&self) -> Option<Operation> {
        match self.entry.optional.operation {
            1 => Some(Operation::Insert),
            2 => Some(Operation::Update),
            3 => Some(Operation::Upsert),
            4 => Some(Operation::Put),
            _ => None,
        }
    }

    /// Whether the value may hold blobs, inline or by reference.
    pub const fn has_blobs(&self) -> bool {
        self.entry.flags.contains(Flags::BLOBS)
    }

    /// What is wrong with it, as far as its header tells (`protocol.md` section 15, ruling 31).
    #[inline(always)]
    pub(crate) fn fault(&self) -> Option<RecordError> {
        if !self.entry.version.is_finite() {
            return Some(RecordError::Version);
        }
        let length = self.entry.key.range().len();
        (length > KEY_BYTES_MAX).then_some(RecordError::Key { length })
    }

    /// Whether it has to be looked at by itself: its value is to be searched for blobs, or it can never be used.
    #[inline(always)]
    pub(crate) fn stands_apart(&self) -> bool {
        (self.has_blobs() && !self.entry.value.range().is_empty()) || self.fault().is_some()
    }

    /// The size of the whole entry in bytes.
    pub const fn size(&self) -> usize {
        self.bytes.len()
    }
}

impl fmt::Debug for Record<'_> {
    /// Never shows the record's content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("kind", &self.kind)
            .field("table", &self.table.name)
            .field("origin", self.origin)
            .field("version", &self.entry.version)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}
