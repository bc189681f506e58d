//! What the host tells the core.

use alloc::string::String;
use core::fmt;

use bytes::Bytes;

use crate::id::{BlobId, CommitId};
use crate::time::Instant;

/// Something that happened outside, told to [`Receiver::handle`](crate::Receiver::handle).
///
/// This is also the format of a recording: the same inputs at the same times give the same commands.
#[derive(Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Input {
    /// The WebSocket is open, with the right subprotocol.
    Connected,
    /// The peer closed the WebSocket, with this code (1005: none was given) and reason.
    PeerClosed {
        /// WebSocket close code.
        code: u16,
        /// The peer's text, at most 123 bytes on the wire.
        reason: String,
    },
    /// The connection is gone without a close frame, or could not be used any more.
    TransportLost,
    /// Bytes of a binary message. A message comes whole (`last` is true) or in several parts, in order.
    Message {
        /// The bytes. They are kept as they are, not copied.
        #[cfg_attr(feature = "serde", serde(with = "crate::hex"))]
        bytes: Bytes,
        /// The message ends with these bytes.
        last: bool,
    },
    /// The peer sent a text message, which this protocol does not have (`protocol.md` section 15, ruling 11).
    TextMessage,
    /// The peer began a message that is larger than [`Limits::message`](crate::config::Limits::message), and none of it was
    /// fed.
    TooLarge {
        /// How many bytes the peer announced, or sent before they were too many.
        bytes: u64,
    },
    /// Bytes arrived that are not (yet) a message: proof of life for a peer that sends one large message slowly.
    Heard {
        /// How many bytes. A zero is ignored.
        bytes: u64,
    },
    /// The peer answered a ping, or pinged by itself.
    Pong,
    /// The application took this many events off its memory queue, oldest first. It says nothing about durability. A run of
    /// records can be given back in pieces.
    Consumed {
        /// How many events, as [`Event::count`](crate::Event::count) counts them.
        events: u64,
    },
    /// A transaction, a checkpoint or a completed copy is durable, together with its cursor if it had one.
    /// Acknowledgements may come in any order.
    Committed(CommitId),
    /// The blob store wrote bytes of a transfer and no longer holds them in memory.
    BlobWritten {
        /// The transfer.
        blob: BlobId,
        /// How many bytes, in the order in which they were handed out.
        bytes: u64,
    },
    /// All bytes of the transfer are durable under their final name.
    BlobSaved(BlobId),
    /// The blob store could not save this transfer and has thrown away what it had. Always transient: the cursor is held,
    /// and the blob comes again on a later link (`protocol.md` section 15, ruling 17).
    BlobFailed {
        /// The transfer.
        blob: BlobId,
        /// The store's own words, for the report.
        why: String,
    },
    /// Nothing of a transfer that was to be thrown away ([`Command::AbortBlob`](crate::Command::AbortBlob)) is at work or held
    /// any more. Until then it counts as work that is out.
    BlobAborted(BlobId),
    /// The host could not decode the value of this many records, and has passed over them.
    Skipped {
        /// How many records.
        records: u64,
    },
    /// The application can take records.
    Ready,
    /// The application cannot take records for now. Bounded by
    /// [`Timeouts::not_ready`](crate::config::Timeouts::not_ready).
    NotReady,
    /// How many bytes the link may hold ([`Receiver::held_bytes`](crate::Receiver::held_bytes)) before it pauses for
    /// [`PauseReason::SharedBudget`](crate::PauseReason::SharedBudget). Without this input there is no such bound.
    Allowance {
        /// Bytes.
        bytes: u64,
    },
    /// Stop reading, finish what is in hand, confirm it, then close; at the deadline, close with what is done. Of several deadlines,
    /// that of an end of the connection included, the first counts.
    Drain {
        /// When to give up.
        deadline: Instant,
    },
    /// Close now.
    Shutdown,
    /// Time has passed.
    Tick,
}

/// Names what happened, without the contents of messages: it is fit for a log.
impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("Connected"),
            Self::PeerClosed { code, reason } => write!(f, "PeerClosed({code}, {reason:?})"),
            Self::TransportLost => f.write_str("TransportLost"),
            Self::Message { bytes, last } => {
                write!(f, "Message({} bytes, last: {last})", bytes.len())
            }
            Self::TextMessage => f.write_str("TextMessage"),
            Self::TooLarge { bytes } => write!(f, "TooLarge({bytes} bytes)"),
            Self::Heard { bytes } => write!(f, "Heard({bytes} bytes)"),
            Self::Pong => f.write_str("Pong"),
            Self::Consumed { events } => write!(f, "Consumed({events} events)"),
            Self::Committed(id) => write!(f, "Committed({id})"),
            Self::BlobWritten { blob, bytes } => write!(f, "BlobWritten({blob}, {bytes} bytes)"),
            Self::BlobSaved(blob) => write!(f, "BlobSaved({blob})"),
            Self::BlobFailed { blob, why } => write!(f, "BlobFailed({blob}, {why:?})"),
            Self::BlobAborted(blob) => write!(f, "BlobAborted({blob})"),
            Self::Skipped { records } => write!(f, "Skipped({records} records)"),
            Self::Ready => f.write_str("Ready"),
            Self::NotReady => f.write_str("NotReady"),
            Self::Allowance { bytes } => write!(f, "Allowance({bytes} bytes)"),
            Self::Drain { deadline } => write!(f, "Drain({deadline:?})"),
            Self::Shutdown => f.write_str("Shutdown"),
            Self::Tick => f.write_str("Tick"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_log_line_has_no_contents() {
        let bytes = Bytes::from_static(b"secret");
        let input = Input::Message {
            bytes: bytes.clone(),
            last: true,
        };
        assert_eq!(format!("{input:?}"), "Message(6 bytes, last: true)");
        let command = crate::Command::Transmit(bytes);
        assert_eq!(format!("{command:?}"), "Transmit(6 bytes)");
    }
}
