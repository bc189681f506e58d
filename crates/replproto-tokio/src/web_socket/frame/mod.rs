//! The frames of a WebSocket (RFC 6455 section 5) as a pure machine: bytes in, parts of messages out.
//!
//! [`FrameReader`] looks at bytes where they lie and says which of them are payload. It holds no bytes itself, so its memory
//! does not depend on what the peer sends or claims. [`write_frame`] is the other direction.

mod error;
mod header;
mod mask;
mod reader;
#[cfg(test)]
mod tests;
mod utf8;
mod writer;

pub use self::error::{FrameError, Violation};
pub use self::header::FrameKind;
pub use self::reader::{FrameItem, FrameLimits, FrameReader, FrameStep, MessageKind};
pub use self::writer::{close_payload, write_frame};

/// Which end of the connection this one is. A client masks what it sends, and a server does not (RFC 6455 section 5.1).
/// There is no third one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that dialled.
    Client,
    /// The one that was dialled.
    Server,
}

/// The longest payload of a control frame in bytes (RFC 6455 section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;
