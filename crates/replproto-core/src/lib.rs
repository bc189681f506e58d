//! Harper's replication protocol (`harperdb-replication-v1`) as a pure, sans-IO core.
//!
//! [`Receiver`] is one link's life: bytes of WebSocket messages go in, commands come out. It does no IO, has no clock, no
//! thread, no randomness, and is `no_std`. Adapters wire it to sockets or to a simulator.
//!
//! # The loop
//!
//! ```
//! use replproto_core::wire::Message;
//! use replproto_core::{Command, Config, Epoch, Event, Input, Instant, Receiver, Start};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut now = Instant::ZERO;
//! let mut link = Receiver::new(Config::new("follower", "data"), Start::Copy, Epoch(1), now)?;
//! link.handle(now, Input::Connected)?;
//!
//! // Normally from the socket, as long as `!link.is_paused()`.
//! let from_socket = [
//!     Input::Message { bytes: Message::Disconnect.encode().into(), last: true },
//!     Input::PeerClosed { code: 1000, reason: "bye".into() },
//! ];
//! for input in from_socket {
//!     now = now.after(std::time::Duration::from_millis(1));
//!     link.handle(now, input)?;
//!     while let Some(command) = link.poll_command() {
//!         match command {
//!             Command::Transmit(bytes) => assert!(bytes[0] > 0x7f), // send it as a binary message
//!             Command::Ping => {}                                   // send a ping
//!             Command::Event(event) => {
//!                 // To the application's queue; when it is taken off:
//!                 link.handle(now, Input::Consumed { events: event.count() })?;
//!                 // When it is durable, together with its cursor:
//!                 match event {
//!                     Event::EndTransaction(end) => link.handle(now, Input::Committed(end.id))?,
//!                     Event::Checkpoint(checkpoint) | Event::CopyCompleted(checkpoint) => {
//!                         link.handle(now, Input::Committed(checkpoint.id))?;
//!                     }
//!                     _ => {}
//!                 }
//!             }
//!             Command::Close(close) => println!("{}; final: {}", close.reason, close.reason.is_final()),
//!             _ => {} // blobs to the blob store; pauses and resumes, which `is_paused` also tells
//!         }
//!     }
//!     // Sleep until the next message, but not longer than:
//!     let _ = link.poll_timeout();
//! }
//! # assert!(link.is_closed());
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! The code cites these numbers where it keeps them, and tests are named for them.
//!
//! * **I1** The events handed out are the peer's log from the start, in order, each once.
//! * **I2** What is held and what is out is bounded: events by the consumer marks and one more, bytes of messages by the
//!   inbound marks and one part, bytes of blobs by their marks and one chunk, everything else by
//!   [`Limits`](config::Limits).
//! * **I3** Pauses and resumes of a reason alternate, and none is left at the close.
//! * **I4** No pause waits for bytes that are behind it on the same socket. An open link always has a deadline.
//! * **I5** What is confirmed to the peer is durable: blobs first, then the cursor, then the confirmation. A cursor covers a
//!   prefix of settled transactions and never goes back.
//! * **I6** Each blob that is opened is saved, fails or is aborted, once, and is charged until the host says so. One failure
//!   is one event.
//! * **I7** [`Command::Close`] is the last command and comes once. After it, nothing is held. However the connection ended, what
//!   came whole before is handed out and settled first, for at most [`settle`](config::Timeouts::settle). Behind half a transaction no
//!   checkpoint is handed out.
//! * **I8** Work and memory are linear in the bytes received, however the peer cut them and whatever they claim.
//!
//! # What it is not
//!
//! It does not connect, store, retry or sleep: see the crate `replproto-tokio`. It does not serve changes yet.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod backoff;
mod budget;
mod cause;
mod checksum;
mod close;
mod command;
pub mod config;
mod cursor;
pub mod error;
pub mod event;
#[cfg(feature = "serde")]
mod hex;
mod id;
mod input;
pub mod key;
mod msgpack;
mod pause;
mod reassignment;
mod receiver;
mod reconnect;
mod record;
mod records;
pub mod replica;
mod roster;
mod selection;
mod sources;
mod stats;
mod table;
mod text;
mod time;
pub mod value;
pub mod wire;

pub use backoff::Backoff;
pub use budget::{MemberId, SharedBudget};
pub use cause::EndCause;
pub use close::{Close, CloseFrame, CloseReason, Report, Work};
pub use command::{AbortReason, Command};
pub use config::Config;
pub use cursor::{CopyCursor, Cursor, CursorError, Start, StoredCursor};
pub use error::{LinkError, Misuse, RecordError};
pub use event::Event;
pub use id::{BlobId, CommitId, Epoch, Name};
pub use input::Input;
pub use pause::{PauseReason, PauseReasons};
pub use reassignment::ReassignmentSchedule;
pub use receiver::{BlobTries, MemoryBound, Receiver};
pub use reconnect::Reconnect;
pub use record::{Operation, Record, RecordKind};
pub use records::{Iter as RecordsIter, Records};
pub use roster::{Assignment, Roster, SessionId, WorkerId};
pub use selection::{Part, Selection};
pub use stats::Stats;
pub use table::{Attribute, Table, TableDefinition};
pub use text::TEXT_MAX;
pub use time::{Instant, Sequence, WallTime};
