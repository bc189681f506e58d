//! Bytes on the wire, and what they mean: total, stateless functions in both directions.
//!
//! | module | what | `protocol.md` |
//! |---|---|---|
//! | [`message`] | commands | section 3 |
//! | [`batch`] | transaction batches | section 4 |
//! | [`entry`] | audit entries in them | section 5 |
//! | [`varint`] | the lengths and ids inside entries | section 4.1 |
//! | [`close`] | close reasons | section 1.3 |

pub mod batch;
pub mod close;
pub(crate) mod control;
pub mod entry;
mod error;
pub mod message;
pub mod varint;

pub use batch::BatchBuilder;
pub use entry::NewEntry;
pub use error::WireError;
pub use message::Message;

/// The WebSocket subprotocol (`protocol.md` section 1.1).
pub const SUBPROTOCOL: &str = "harperdb-replication-v1";

/// The first byte of a batch: that of any date from 1970 to the year 19,800 (`protocol.md` section 2).
pub const BATCH_FIRST_BYTE: u8 = 0x42;
