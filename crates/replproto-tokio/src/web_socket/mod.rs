//! WebSockets (RFC 6455) whose messages are handed over while they arrive.
//!
//! A [`WebSocket`] gives each message in parts, as its bytes come, and holds none of it: however large a message is, and
//! whatever a frame claims, what it costs is one read buffer. There are no extensions, so nothing is compressed.

pub mod frame;
mod outbox;
mod read_buffer;
mod socket;

/// The longest part of a message, in bytes.
pub(crate) const MAX_PART: u64 = read_buffer::LARGEST as u64;

pub use self::frame::{FrameLimits, Role};
pub use self::socket::{Received, WebSocket, WebSocketError};
