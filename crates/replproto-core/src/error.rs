//! Everything that can go wrong, by whose fault it is.
//!
//! | fault | type | arrives as | the cursor |
//! |---|---|---|---|
//! | the host's | [`Misuse`] | `Err` of `handle` | unchanged, as everything else |
//! | the peer's, or bytes damaged on the way | [`LinkError`] | [`Command::Close`](crate::Command::Close) | stays |
//! | of one record | [`ValueError`](crate::value::ValueError) | [`Event::RecordSkipped`](crate::Event::RecordSkipped), or where the value is read | passes, counted |
//! | of one blob | [`BlobFault`](crate::event::BlobFault) | [`Event::BlobHeld`](crate::Event::BlobHeld), [`Event::BlobGone`](crate::Event::BlobGone) | held; passes |

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use thiserror::Error;

use crate::command::{CloseFrame, PauseReason};
use crate::id::{BlobId, CommitId};
use crate::value::ValueError;

/// The host broke the contract. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Misuse {
    /// `now` is earlier than it was at the last input.
    #[error("time goes back")]
    TimeWentBack,
    /// More events were consumed than were out.
    #[error("{consumed} events consumed while {out} were out")]
    ConsumedTooMany {
        /// Events that were out.
        out: u64,
        /// Events that the input claims.
        consumed: u64,
    },
    /// This id was never handed out on this link.
    #[error("transaction {0} was never handed out")]
    UnknownCommit(CommitId),
    /// This blob was never handed out on this link.
    #[error("blob {0} was never handed out")]
    UnknownBlob(BlobId),
    /// More bytes were written than were out.
    #[error("{written} bytes of blob {blob} written while {out} were out")]
    WrittenTooMuch {
        /// The blob.
        blob: BlobId,
        /// Bytes of it that were out.
        out: u64,
        /// Bytes that the input claims.
        written: u64,
    },
    /// A blob was saved although its last chunk was never handed out.
    #[error("blob {0} was saved before its last chunk was handed out")]
    SavedTooSoon(BlobId),
    /// Messages keep being fed although the link is paused. Wait for
    /// [`Receiver::is_paused`](crate::Receiver::is_paused) to be false and feed this one again.
    #[error("a message was fed while the link is paused and holds {retained} bytes already")]
    FedWhilePaused {
        /// Bytes of messages that are held.
        retained: u64,
    },
    /// A message before [`Input::Connected`](crate::Input::Connected), or a second one of those.
    #[error("the connection is not in a state for this input")]
    OutOfOrder,
}

/// Why a link ended.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The host asked for it.
    #[error("the host shut the link down")]
    Shutdown,
    /// The host asked for it, and everything in hand is done.
    #[error("the link was drained")]
    Drained,
    /// The host asked for it, and the deadline came first.
    #[error("the link was not drained in time")]
    DrainTimedOut,
    /// The peer closed the WebSocket.
    #[error("the peer closed the connection with {code} {reason:?}")]
    PeerClosed {
        /// The close code; 1005 if there was none.
        code: u16,
        /// Its text.
        reason: String,
    },
    /// The peer sent DISCONNECT (`protocol.md` section 3.13).
    #[error("the peer sent DISCONNECT")]
    Disconnected,
    /// The connection broke.
    #[error("the connection was lost")]
    TransportLost,
    /// We ended it.
    #[error(transparent)]
    Error(#[from] LinkError),
}

impl CloseReason {
    /// Whether the host should dial again. Everything is transient but what the host asked for itself
    /// (`protocol.md` section 1.3, rule of B).
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Shutdown | Self::Drained | Self::DrainTimedOut)
    }

    /// The frame to close with (`protocol.md` section 15, ruling 10).
    pub(crate) fn frame(&self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::TransportLost | Self::PeerClosed { .. } => return None,
            Self::Disconnected => (None, String::new()),
            Self::Shutdown | Self::Drained | Self::DrainTimedOut => {
                (Some(1008), "No longer subscribed".into())
            }
            Self::Error(error) => {
                let code = error.close_code()?;
                (Some(code), error.close_text())
            }
        };
        Some(CloseFrame {
            code,
            reason: crate::wire::close::truncate_reason(reason),
        })
    }
}

/// Why we ended a link. Its cursor stays where it was; dialling again is always right.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A message cannot be read.
    #[error("malformed message {message}, at byte {offset}: {error}")]
    Malformed {
        /// Which message of the link, from 0.
        message: u64,
        /// Where in the message, in bytes: the start of the item that is wrong.
        offset: u64,
        /// What is wrong.
        error: WireError,
    },
    /// A message, record or command is larger than we accept.
    #[error(
        "message {message} is refused: {what} has {actual} bytes or more, the limit is {limit}"
    )]
    TooLarge {
        /// Which message of the link, from 0.
        message: u64,
        /// What is too large.
        what: Oversize,
        /// The limit that was passed, in bytes (or a count for the counted limits).
        limit: u64,
        /// What was met.
        actual: u64,
    },
    /// The peer has another name than was expected.
    #[error("the peer is {actual:?}, expected was {expected:?}")]
    WrongName {
        /// Whom we wanted.
        expected: String,
        /// Who answered.
        actual: String,
    },
    /// A text message, which the protocol does not have.
    #[error("the peer sent a text message")]
    TextMessage,
    /// A record needs something that the peer has not sent. A new link brings it.
    #[error("message {message} needs {what}, which the peer has not sent")]
    Missing {
        /// Which message of the link, from 0.
        message: u64,
        /// What is missing.
        what: MissingContext,
    },
    /// Something that had to happen did not happen in time.
    #[error("{watchdog} after {waited:?}")]
    TimedOut {
        /// What was waited for.
        watchdog: Watchdog,
        /// How long.
        waited: Duration,
    },
}

impl LinkError {
    /// The close code to send; `None` where no close frame can be expected to arrive.
    const fn close_code(&self) -> Option<u16> {
        Some(match self {
            Self::Malformed { .. } => 1002,
            Self::TooLarge { .. } => 1009,
            Self::WrongName { .. } => 1008,
            Self::TextMessage => 1003,
            Self::Missing { .. } => 1011,
            Self::TimedOut { watchdog, .. } => match watchdog {
                Watchdog::Silence => return None,
                _ => 1011,
            },
        })
    }

    fn close_text(&self) -> String {
        match self {
            Self::WrongName { .. } => "Node name mismatch".into(),
            Self::Missing {
                what: MissingContext::Table(_),
                ..
            } => "missing table structure; reconnecting to resync".into(),
            error => alloc::format!("{error}"),
        }
    }
}

/// What is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Oversize {
    /// A message as a whole.
    #[error("the message")]
    Message,
    /// One audit entry.
    #[error("an audit entry")]
    Record,
    /// One command.
    #[error("a command")]
    Command,
    /// Tables, dictionaries, names and blobs that the link has to remember.
    #[error("what the peer makes us remember")]
    Context,
    /// Transfers of blobs that are open at the same time.
    #[error("the set of open blob transfers")]
    OpenBlobs,
    /// References to blobs that have not come.
    #[error("the set of blobs that records wait for")]
    BlobReferences,
}

/// What a record needs and does not find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MissingContext {
    /// TABLE_FIXED_STRUCTURE for this table id of the peer.
    #[error("the structure of table {0}")]
    Table(u32),
    /// The name of this node id of the peer.
    #[error("the name of node {0}")]
    Origin(u32),
}

/// What was waited for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Watchdog {
    /// Any byte from the peer.
    Silence,
    /// The answer to the subscription.
    Setup,
    /// Any progress of the application while reading is paused, for these reasons.
    PauseStall(PauseReasons),
    /// The application to become ready.
    NotReady,
    /// A blob that failed and has to come again: the link is renewed to get it.
    BlobGap,
    /// The next row or blob of a base copy.
    CopyProgress,
    /// The base copy to become durable after its last row.
    CopyFinish,
}

impl fmt::Display for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence => f.write_str("the peer is silent"),
            Self::Setup => f.write_str("the subscription was not answered"),
            Self::PauseStall(reasons) => {
                write!(
                    f,
                    "no progress of the application while paused for {reasons}"
                )
            }
            Self::NotReady => f.write_str("the application is not ready"),
            Self::BlobGap => f.write_str("a blob is missing; reconnecting to get it"),
            Self::CopyProgress => f.write_str("the base copy does not go on"),
            Self::CopyFinish => f.write_str("the base copy does not become durable"),
        }
    }
}

/// A set of reasons to pause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PauseReasons(u8);

impl PauseReasons {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// Whether the reason is in the set.
    pub const fn contains(self, reason: PauseReason) -> bool {
        self.0 & (1 << reason.index()) != 0
    }

    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The reasons, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = PauseReason> {
        PauseReason::ALL
            .into_iter()
            .filter(move |reason| self.contains(*reason))
    }

    pub(crate) const fn set(&mut self, reason: PauseReason, on: bool) {
        let bit = 1 << reason.index();
        if on {
            self.0 |= bit;
        } else {
            self.0 &= !bit;
        }
    }

    /// The set without this reason.
    #[must_use]
    pub(crate) const fn without(mut self, reason: PauseReason) -> Self {
        self.set(reason, false);
        self
    }

    /// The first reason in which the two sets differ.
    pub(crate) fn first_difference(self, other: Self) -> Option<PauseReason> {
        Self(self.0 ^ other.0).iter().next()
    }
}

impl fmt::Display for PauseReasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing");
        }
        for (i, reason) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{reason}")?;
        }
        Ok(())
    }
}

/// What is wrong with bytes from the wire.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum WireError {
    /// The message is empty.
    #[error("the message is empty")]
    EmptyMessage,
    /// The first byte is neither that of a command nor that of a batch (`protocol.md` section 2).
    #[error("first byte {0:#04x} starts neither a command nor a batch")]
    FirstByte(u8),
    /// A batch has nothing after its header.
    #[error("the batch has no entries")]
    EmptyBatch,
    /// The bytes end inside an item.
    #[error("the bytes end inside {0}")]
    Truncated(&'static str),
    /// A length inside an entry reaches past the entry.
    #[error("the length of {0} reaches past its entry")]
    Overrun(&'static str),
    /// The first byte of an entry is impossible (`protocol.md` section 5.4).
    #[error("an entry cannot start with {0:#04x}")]
    EntryStart(u8),
    /// A number that must be finite is not.
    #[error("{0} is not a finite number")]
    NotFinite(&'static str),
    /// A command is not a MessagePack array that starts with a code.
    #[error("a command must be an array that starts with a code")]
    NotACommand,
    /// Bytes are left after the array.
    #[error("bytes are left after the command")]
    TrailingBytes,
    /// A byte or a nesting that MessagePack commands do not have.
    #[error("this is not MessagePack")]
    NotMessagePack,
    /// An element of a command is missing or has the wrong type.
    #[error("{command} has no valid {field}")]
    Field {
        /// Which command.
        command: &'static str,
        /// Which of its elements.
        field: &'static str,
    },
    /// A table's structures cannot be read.
    #[error("the structures cannot be read: {0}")]
    Structures(ValueError),
}
