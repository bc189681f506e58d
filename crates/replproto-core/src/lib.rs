//! Harper's replication protocol (`harperdb-replication-v1`) as a pure, sans-IO core.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod command;
pub mod config;
mod cursor;
pub mod error;
pub mod event;
mod id;
mod input;
pub mod key;
mod msgpack;
mod receiver;
mod record;
mod stats;
mod table;
mod time;
pub mod value;
pub mod wire;

pub use command::{AbortReason, Close, CloseFrame, Command, PauseReason};
pub use config::Config;
pub use cursor::{CopyCursor, Cursor, CursorError, Start, StoredCursor};
pub use error::{CloseReason, LinkError, Misuse};
pub use event::Event;
pub use id::{BlobId, CommitId, Epoch, Name};
pub use input::Input;
pub use receiver::{BlobTries, Receiver};
pub use record::{Operation, Record, RecordKind};
pub use stats::Stats;
pub use table::{Attribute, Table, TableDefinition};
pub use time::{Instant, Sequence, WallTime};
