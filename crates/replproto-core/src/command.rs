//! What the core tells the host.

use alloc::string::String;
use core::fmt;

use bytes::Bytes;

use crate::error::CloseReason;
use crate::event::Event;
use crate::id::{BlobId, Name};

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

/// How a link ended, and what to do about the socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Close {
    /// Why.
    pub reason: CloseReason,
    /// The close frame to send, if any. Without one the socket is to be dropped.
    pub frame: Option<CloseFrame>,
}

/// The content of a WebSocket close frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// `None`: an empty close frame.
    pub code: Option<u16>,
    /// At most 123 bytes, cut at a character boundary (`protocol.md` section 1.3).
    pub reason: String,
}

/// Why the socket is not read. Any of them stops reading; any but [`PauseReason::InboundQueue`] also stops decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PauseReason {
    /// Too many bytes of messages are held: not decoded yet, or pinned by events and chunks that are still out.
    InboundQueue,
    /// Too many events are out that the application has not taken.
    ConsumerQueue,
    /// Too many transactions are out that are not durable.
    CommitBacklog,
    /// Too many bytes of blobs are out that are not written.
    BlobStream,
    /// The application said that it is not ready.
    NotReady,
}

impl PauseReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::InboundQueue,
        Self::ConsumerQueue,
        Self::CommitBacklog,
        Self::BlobStream,
        Self::NotReady,
    ];

    /// A stable number, for tables.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name, in the form used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InboundQueue => "inbound_queue",
            Self::ConsumerQueue => "consumer_queue",
            Self::CommitBacklog => "commit_backlog",
            Self::BlobStream => "blob_stream",
            Self::NotReady => "not_ready",
        }
    }
}

impl fmt::Display for PauseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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
