//! What the core tells the host.

use alloc::boxed::Box;
use core::fmt;

use bytes::Bytes;

use crate::close::Close;
use crate::event::Event;
use crate::id::{BlobId, Name};
use crate::pause::PauseReason;

/// Something the host has to do, in the order in which [`Receiver::poll_command`](crate::Receiver::poll_command) gives it.
#[derive(Clone)]
#[non_exhaustive]
#[must_use = "a command that is dropped stalls the link or loses data"]
pub enum Command {
    /// Send this binary message to the peer.
    Transmit(Bytes),
    /// Send a WebSocket ping.
    Ping,
    /// Hand this to the application, which answers with [`Input::Consumed`](crate::Input::Consumed) and, where the event
    /// has an id, with [`Input::Committed`](crate::Input::Committed).
    Event(Event),
    /// The first sign of a transfer: make room for a blob. Its bytes follow. While the link is open each transfer is ended by
    /// exactly one answer: [`Input::BlobSaved`](crate::Input::BlobSaved), [`Input::BlobFailed`](crate::Input::BlobFailed), or
    /// after an [`AbortBlob`](Self::AbortBlob) [`Input::BlobAborted`](crate::Input::BlobAborted).
    OpenBlob {
        /// The transfer.
        blob: BlobId,
        /// The publisher's id of the blob's file: what records refer to.
        file: Name,
        /// The full size in bytes, if the peer said it. Only a claim until the last byte is here.
        size: Option<u64>,
    },
    /// Bytes of a blob, in order. Answered with [`Input::BlobWritten`](crate::Input::BlobWritten); after the last, when all
    /// is durable, with [`Input::BlobSaved`](crate::Input::BlobSaved); or at any time with
    /// [`Input::BlobFailed`](crate::Input::BlobFailed).
    BlobChunk {
        /// The transfer.
        blob: BlobId,
        /// The bytes, a slice of a message; may be empty.
        bytes: Bytes,
        /// The blob ends here.
        last: bool,
    },
    /// Throw away what there is of this blob, with any of its chunks that are still waiting to be written. Answered with
    /// [`Input::BlobAborted`](crate::Input::BlobAborted) once nothing of it is at work any more; a
    /// [`Input::BlobFailed`](crate::Input::BlobFailed) that was given before this command was seen is an answer too.
    /// For [`AbortReason::Close`] the link waits for no answer.
    AbortBlob {
        /// The transfer.
        blob: BlobId,
        /// Why.
        why: AbortReason,
    },
    /// Stop reading from the socket. Each reason pauses and resumes in turn; reading goes on when none is left, which is
    /// what [`Receiver::is_paused`](crate::Receiver::is_paused) tells.
    Pause(PauseReason),
    /// This reason no longer holds.
    Resume(PauseReason),
    /// The link is over. Always the last command, and given exactly once.
    Close(Box<Close>),
}

/// Names what there is to do, without the contents of messages, records and blobs: it is fit for a log.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transmit(bytes) => write!(f, "Transmit({} bytes)", bytes.len()),
            Self::Ping => f.write_str("Ping"),
            Self::Event(event) => f.debug_tuple("Event").field(event).finish(),
            Self::OpenBlob { blob, file, size } => f
                .debug_struct("OpenBlob")
                .field("blob", blob)
                .field("file", file)
                .field("size", size)
                .finish(),
            Self::BlobChunk { blob, bytes, last } => f
                .debug_struct("BlobChunk")
                .field("blob", blob)
                .field("bytes", &bytes.len())
                .field("last", last)
                .finish(),
            Self::AbortBlob { blob, why } => f
                .debug_struct("AbortBlob")
                .field("blob", blob)
                .field("why", why)
                .finish(),
            Self::Pause(reason) => f.debug_tuple("Pause").field(reason).finish(),
            Self::Resume(reason) => f.debug_tuple("Resume").field(reason).finish(),
            Self::Close(close) => f.debug_tuple("Close").field(close).finish(),
        }
    }
}

/// Why a blob is thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AbortReason {
    /// The source could not read it.
    Source,
    /// Nothing of it came for too long.
    Idle,
    /// The bytes are not as many as were announced.
    Size,
    /// The link ends.
    Close,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_small() {
        // One is moved several times for each message, so what is large and rare is boxed.
        assert!(size_of::<Command>() <= 72, "{}", size_of::<Command>());
    }
}
