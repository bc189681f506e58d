//! Everything that can go wrong, by whose fault it is.
//!
//! | fault | type | arrives as | the cursor |
//! |---|---|---|---|
//! | the host's | [`Misuse`] | `Err` of `handle` | unchanged, as everything else |
//! | the peer's, or bytes damaged on the way | [`LinkError`] | [`Command::Close`](crate::Command::Close) | stays |
//! | of one record | [`RecordError`] | [`Event::RecordSkipped`](crate::Event::RecordSkipped), or where the value is read | passes, counted |
//! | of one blob | [`BlobFault`](crate::event::BlobFault) | [`Event::BlobHeld`](crate::Event::BlobHeld), [`Event::BlobGone`](crate::Event::BlobGone) | held; passes |

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use thiserror::Error;

use crate::id::{BlobId, CommitId};
use crate::key::KEY_BYTES_MAX;
use crate::pause::PauseReasons;
use crate::time::{Sequence, WallTime};
use crate::value::ValueError;
use crate::wire::WireError;

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
    /// A blob was aborted although nobody has asked for it.
    #[error("blob {0} was aborted without Command::AbortBlob")]
    AbortedUnasked(BlobId),
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

/// A record that can never be used. It is passed over, and what follows it is not affected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Its value cannot be read.
    #[error("the value cannot be read: {0}")]
    Value(#[from] ValueError),
    /// Its version is NaN or infinite, so it cannot be put in order with others.
    #[error("the version is not a finite number")]
    Version,
    /// Its id is longer than any can be ([`KEY_BYTES_MAX`]).
    #[error("the record's id has {length} bytes, an id has at most {KEY_BYTES_MAX}")]
    Key {
        /// The length of the id, in bytes.
        length: usize,
    },
    /// It is larger than [`Limits::record`](crate::config::Limits::record) (`protocol.md` section 15, ruling 32).
    #[error("the record has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size, in bytes.
        size: u64,
        /// The limit, in bytes.
        limit: u64,
    },
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
    #[error("the peer is {actual:?}, not {expected:?} as expected")]
    WrongName {
        /// Whom we wanted.
        expected: String,
        /// Who answered.
        actual: String,
    },
    /// The peer speaks of another database than the one we follow (`protocol.md` sections 3.1 and 3.4).
    #[error("the peer speaks of database {actual:?}, not of {expected:?}")]
    WrongDatabase {
        /// The one we follow.
        expected: String,
        /// The one it named.
        actual: String,
    },
    /// The peer no longer has the log from the requested position on, and a copy of a part is not wanted
    /// ([`OnGap`](crate::config::OnGap)).
    #[error("the publisher no longer has its log from {from} on: the link was away for {:.1} hours", hours(.from, .copy_start))]
    Gap {
        /// The position that was asked for.
        from: Sequence,
        /// The time of the copy that it offers instead.
        copy_start: WallTime,
    },
    /// The peer did not wait for its turn: until it has said its name and has answered the subscription, nobody knows whose
    /// data it would be.
    #[error("message {message} brings {what} before {missing}")]
    TooSoon {
        /// Which message of the link, from 0.
        message: u64,
        /// Its content.
        what: &'static str,
        /// The message that should have come first.
        missing: &'static str,
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

/// The time from a position in a log, which is a time there, to another one.
fn hours(from: &Sequence, to: &WallTime) -> f64 {
    (to.0 - from.0) / 3_600_000.0
}

impl LinkError {
    /// The close code to send; `None` where no close frame can be expected to arrive.
    pub(crate) const fn close_code(&self) -> Option<u16> {
        Some(match self {
            Self::Malformed { .. } | Self::TooSoon { .. } => 1002,
            Self::TooLarge { .. } => 1009,
            Self::WrongName { .. } | Self::WrongDatabase { .. } => 1008,
            Self::Gap { .. } => 1000,
            Self::TextMessage => 1003,
            Self::Missing { .. } => 1011,
            Self::TimedOut { watchdog, .. } => match watchdog {
                Watchdog::Silence => return None,
                _ => 1011,
            },
        })
    }

    /// Advice for the operator.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Malformed { .. } | Self::TooSoon { .. } | Self::TextMessage => {
                "The publisher breaks the protocol: record a link and report it, or check the address if \
                 something else answers there."
            }
            Self::TooLarge { .. } => {
                "Raise the limit if the data is legitimate: each new link meets it again."
            }
            Self::WrongName { .. } => {
                "Check the address and the expected name. If the node was replaced on purpose, start over with a new replica."
            }
            Self::WrongDatabase { .. } => {
                "Check the address and the name of the database: the publisher answers for another one."
            }
            Self::Gap { .. } => {
                "A complete copy is needed. The link was away for longer than the publisher keeps its log: keep it longer there, or \
                 dial more often."
            }
            Self::Missing { .. } => {
                "A new link brings it. If it happens again and again, it is a fault of the publisher: report it."
            }
            Self::TimedOut { watchdog, .. } => watchdog.advice(),
        }
    }

    pub(crate) fn close_text(&self) -> String {
        match self {
            Self::WrongName { .. } => "Node name mismatch".into(),
            Self::WrongDatabase { .. } => "Database mismatch".into(),
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
    /// The next byte of a message that has begun.
    Message,
    /// The next row or blob of a base copy.
    CopyProgress,
    /// The base copy to become durable after its last row.
    CopyFinish,
}

impl Watchdog {
    /// The names of all, in the order of their numbers, in the form used in metrics.
    pub const NAMES: [&'static str; 8] = [
        "silence",
        "setup",
        "pause_stall",
        "not_ready",
        "blob_gap",
        "copy_progress",
        "copy_finish",
        "message",
    ];

    /// Advice for the operator, if it fires again and again.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Silence => "Check the network, and that the publisher does not hang.",
            Self::Setup => {
                "The publisher is overloaded, or cannot find out whether we may follow: see its log."
            }
            Self::PauseStall(_) => "The store or its disk hangs: check it.",
            Self::NotReady => "The application is not ready: see what it waits for.",
            Self::BlobGap => {
                "If blobs fail again and again, check our disk and the publisher's storage of blobs."
            }
            Self::Message => {
                "The publisher hangs in the middle of a message, or the network lost the rest of it."
            }
            Self::CopyProgress => "Check the publisher's disk and load.",
            Self::CopyFinish => "Check our disk, and whether the blobs of the copy come.",
        }
    }

    /// A stable number, for tables.
    pub const fn index(self) -> usize {
        match self {
            Self::Silence => 0,
            Self::Setup => 1,
            Self::PauseStall(_) => 2,
            Self::NotReady => 3,
            Self::BlobGap => 4,
            Self::CopyProgress => 5,
            Self::CopyFinish => 6,
            Self::Message => 7,
        }
    }
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
            Self::Message => f.write_str("the peer stopped in the middle of a message"),
            Self::CopyProgress => f.write_str("the base copy does not go on"),
            Self::CopyFinish => f.write_str("the base copy does not become durable"),
        }
    }
}
