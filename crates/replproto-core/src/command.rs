//! What the core tells the host.

use bytes::Bytes;

use crate::close::Close;
use crate::event::Event;
use crate::id::{BlobId, Name};
use crate::pause::PauseReason;

/// Something the host has to do, in the order in which [`Receiver::poll_command`](crate::Receiver::poll_command) gives it.
#[derive(Clone, Debug)]
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
    /// The first sign of a transfer: make room for a blob. Its bytes follow.
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
    /// Throw away what there is of this blob, with any of its chunks that are still waiting to be written. No answer
    /// is expected.
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
    Close(Close),
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
