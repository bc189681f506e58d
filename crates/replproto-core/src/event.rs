//! What the application sees.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::cursor::Cursor;
use crate::error::RecordError;
use crate::id::{BlobId, CommitId, Name};
use crate::record::RecordKind;
use crate::records::Records;
use crate::table::{Table, TableDefinition};
use crate::time::{Sequence, WallTime};

/// One step of the peer's log, in order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The peer has accepted the subscription and described its tables; comes again when a definition changes.
    Schema(Schema),
    /// A table is announced, or its definition has changed. Comes before the first record that needs it; may repeat.
    Table(Arc<Table>),
    /// Changes of records, belonging to the transaction that the next [`Event::EndTransaction`] ends.
    Records(Records),
    /// A record that cannot be used and never will be: passed over. Belongs to the open transaction.
    RecordSkipped(Box<SkippedRecord>),
    /// The transaction is complete: make durable what came since the last one, and the cursor if there is one, in one
    /// step. One message gives one end of transaction.
    EndTransaction(EndTransaction),
    /// The cursor moved without a transaction of its own, for example because a blob has been saved.
    Checkpoint(Checkpoint),
    /// A base copy begins: every record of the source follows.
    CopyStarted(CopyStarted),
    /// The base copy is complete and durable: rows that it did not bring are gone at the source.
    CopyCompleted(Checkpoint),
    /// A blob did not come whole. The cursor stays before the first record that needs it, and the blob comes again on a
    /// later link.
    BlobHeld(Box<BlobFailure>),
    /// A blob is gone at the source, or was tried too often. The cursor passes it.
    BlobGone(Box<BlobFailure>),
}

/// The fixed cost of an event: roughly its place in a queue.
pub(crate) const OVERHEAD: u64 = 192;

impl Event {
    /// The bytes that it counts against [`FlowControl::consumer`](crate::config::FlowControl::consumer) until it is consumed: all
    /// that it holds, for the peer's sake, and a fixed part.
    #[inline]
    pub fn cost(&self) -> u64 {
        let held = match self {
            Self::Records(records) => return OVERHEAD + records.cost(),
            Self::Schema(schema) => TableDefinition::size_of_all(&schema.tables),
            Self::Table(table) => table.size(),
            Self::RecordSkipped(skipped) => size_of::<SkippedRecord>() + skipped.key.capacity(),
            Self::EndTransaction(end) => end.cursor.as_ref().map_or(0, Cursor::heap_bytes),
            Self::Checkpoint(end) | Self::CopyCompleted(end) => end.cursor.heap_bytes(),
            Self::CopyStarted(_) => 0,
            Self::BlobHeld(failure) | Self::BlobGone(failure) => failure.heap_bytes(),
        };
        OVERHEAD + held as u64
    }

    /// How many events it counts as, for [`Input::Consumed`](crate::Input::Consumed) and everywhere else: each record is one,
    /// and anything else is one.
    pub const fn count(&self) -> u64 {
        match self {
            Self::Records(records) => records.len() as u64,
            _ => 1,
        }
    }
}

/// Whom we follow, and the tables it has.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// The publisher's own name. A cursor means nothing to a publisher of another name.
    pub peer: Name,
    /// The database that the peer speaks of.
    pub database: Name,
    /// Its tables, as far as they were asked for.
    pub tables: Arc<[TableDefinition]>,
}

/// The end of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct EndTransaction {
    /// To be named in [`Input::Committed`](crate::Input::Committed).
    pub id: CommitId,
    /// The publisher's position in its log, if this message told it.
    pub sequence: Option<Sequence>,
    /// The cursor to store in the same step as the transaction. `None`: it does not move yet, or moves later with a
    /// [`Event::Checkpoint`].
    pub cursor: Option<Cursor>,
}

/// A cursor to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// To be named in [`Input::Committed`](crate::Input::Committed).
    pub id: CommitId,
    /// The cursor. Everything that it covers is durable already.
    pub cursor: Cursor,
}

/// The beginning of a base copy.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyStarted {
    /// The copy's identity, the same when it is resumed on a later link. `None` from an old peer, whose copies
    /// cannot be resumed.
    pub copy_start: Option<WallTime>,
    /// Not asked for: the publisher no longer has the log from the requested position on. It leaves out what has not changed
    /// since, so nothing may be removed at its end (`protocol.md` section 15, ruling 26; [`OnGap`](crate::config::OnGap)).
    pub forced: bool,
    /// It goes on where an earlier link stopped. Otherwise the store forgets what an earlier copy has marked, and in the
    /// same step the copy in the cursor that it has: going on with that copy would remove rows that are no longer marked.
    pub resumed: bool,
}

/// A record that was passed over.
#[derive(Clone, Debug, PartialEq)]
pub struct SkippedRecord {
    /// The table.
    pub table: Name,
    /// The id's bytes; see [`Key::decode`](crate::key::Key::decode). Empty if it is longer than any can be
    /// ([`KEY_BYTES_MAX`](crate::key::KEY_BYTES_MAX)), or the sender has lost it.
    pub key: Vec<u8>,
    /// The version, if it is a time.
    pub version: Option<WallTime>,
    /// What the entry asked for.
    pub kind: RecordKind,
    /// What is wrong with it.
    pub error: RecordError,
}

/// A blob that did not arrive.
#[derive(Clone, Debug, PartialEq)]
pub struct BlobFailure {
    /// The transfer, if one had begun.
    pub blob: Option<BlobId>,
    /// The publisher's id of the blob's file.
    pub file: Name,
    /// The first record that waits for it, if one came before the failure.
    pub record: Option<BlobOwner>,
    /// What went wrong.
    pub fault: BlobFault,
}

impl BlobFailure {
    /// With itself, since events have it in a box.
    fn heap_bytes(&self) -> usize {
        let owner = self.record.as_ref();
        let owner = owner.map_or(0, |owner| owner.key.capacity());
        size_of::<Self>() + self.file.len() + owner + self.fault.heap_bytes()
    }
}

/// A record that refers to a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobOwner {
    /// The table.
    pub table: Name,
    /// The id's bytes; see [`Key::decode`](crate::key::Key::decode).
    pub key: Vec<u8>,
}

/// What was wrong with a blob.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum BlobFault {
    /// The source could not read it (`protocol.md` section 3.10).
    Source {
        /// The peer's words, at most [`TEXT_MAX`](crate::TEXT_MAX) bytes.
        message: String,
        /// A file-system code such as `ENOENT`, from newer peers.
        code: Option<String>,
        /// 404 gone, 500 corrupt, 503 temporarily unavailable; from newer peers.
        status: Option<u16>,
    },
    /// Nothing of it came for too long.
    Idle,
    /// It has more or fewer bytes than were announced.
    Size {
        /// What the peer announced, in bytes.
        announced: u64,
        /// How many bytes came, at least.
        received: u64,
    },
    /// The blob store could not save it.
    Local {
        /// The store's words, at most [`TEXT_MAX`](crate::TEXT_MAX) bytes.
        why: String,
    },
}

impl BlobFault {
    /// The names of all, in the order of their numbers, in the form used in metrics.
    pub const NAMES: [&'static str; 4] = ["source", "idle", "size", "local"];

    /// A stable number, for tables.
    pub const fn index(&self) -> usize {
        match self {
            Self::Source { .. } => 0,
            Self::Idle => 1,
            Self::Size { .. } => 2,
            Self::Local { .. } => 3,
        }
    }

    /// The source has said that the blob will never come: its file is gone (ENOENT, 404) or corrupt (500)
    /// (`protocol.md` section 10, #405 and #443).
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Source { code, status, .. } => {
                code.as_deref() == Some("ENOENT") || matches!(status, Some(404 | 500))
            }
            Self::Idle | Self::Size { .. } | Self::Local { .. } => false,
        }
    }

    /// Bytes of its texts.
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Source { message, code, .. } => {
                message.capacity() + code.as_ref().map_or(0, String::capacity)
            }
            Self::Local { why } => why.capacity(),
            Self::Idle | Self::Size { .. } => 0,
        }
    }

    /// The name, in the form used in logs and metrics.
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Source { .. } => "source",
            Self::Idle => "idle",
            Self::Size { .. } => "size",
            Self::Local { .. } => "local",
        }
    }
}

impl fmt::Display for BlobFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source {
                message,
                code,
                status,
            } => {
                write!(f, "the source could not read it: {message}")?;
                if let Some(code) = code {
                    write!(f, " ({code})")?;
                }
                if let Some(status) = status {
                    write!(f, " (status {status})")?;
                }
                Ok(())
            }
            Self::Idle => f.write_str("its bytes stopped coming"),
            Self::Size {
                announced,
                received,
            } => write!(f, "{announced} bytes were announced, {received} came"),
            Self::Local { why } => write!(f, "the blob store could not save it: {why}"),
        }
    }
}
