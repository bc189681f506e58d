//! The end of a run.

use std::time::Duration;

use replproto_core::config::ConfigError;
use replproto_core::{CursorError, LinkError, Part, Report, Stats};
use thiserror::Error;

use crate::connect::ConnectError;
use crate::progress::Snapshot;

/// The end of a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunEnd {
    /// The reason.
    pub how: Ended,
    /// The fate of the work in hand, if there was a link. Work that the sink had not finished is not in it.
    pub report: Option<Report>,
    /// The counters of all links together.
    pub stats: Stats,
    /// The last snapshot.
    pub snapshot: Snapshot,
}

/// The reason for which a run ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// Nothing came any more; see [`RunOptions::until_idle`](super::RunOptions::until_idle).
    Idle,
    /// [`Stop::drain`](super::Stop::drain), and everything in hand is durable and confirmed.
    Drained,
    /// [`Stop::drain`](super::Stop::drain), and the time for it was over first. What was not confirmed comes again.
    DrainTimedOut,
    /// [`Stop::drain`](super::Stop::drain), and the link broke first. What was not confirmed comes again.
    DrainInterrupted,
    /// [`Stop::shutdown`](super::Stop::shutdown).
    Shutdown,
}

/// A run that cannot go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError<E: std::error::Error + 'static> {
    /// The sink has a cursor and cannot read it. Starting from nothing could lose or repeat data without notice: repair
    /// the store, or set [`RunOptions::ignore_cursor`](super::RunOptions::ignore_cursor).
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// The sink failed: too often in a row, or when the run was to end.
    #[error("the store failed {tries} times in a row")]
    Sink {
        /// Failures in a row.
        tries: u32,
        /// The last error.
        #[source]
        error: E,
    },
    /// The time is over; see [`RunOptions::deadline`](super::RunOptions::deadline). What was confirmed is durable.
    #[error("not done after {0:?}")]
    Deadline(Duration),
    /// The configuration of the link makes no sense.
    #[error("the configuration is wrong")]
    Config(#[source] ConfigError),
    /// The first dial has shown a mistake on this side, such as a certificate that cannot be read.
    #[error(transparent)]
    NotConnected(ConnectError),
    /// The first link has shown that the peer speaks of another database than was asked for. Once a link has been set up, the
    /// same only ends the link: a publisher may be in the middle of being replaced.
    #[error("{0}")]
    WrongDatabase(LinkError),
    /// The publisher no longer has the log from the cursor on, and [`OnGap::Stop`](super::OnGap::Stop) is set.
    #[error("{0}")]
    Gap(LinkError),
    /// The sink's cursor was made without a part of what is to be followed now, and [`OnWider::Refuse`](super::OnWider::Refuse) is
    /// set.
    #[error("the store's cursor was made without {0}")]
    Wider(Part),
    /// The sink has a cursor of another publisher than the one that is expected. It means nothing to that one: take another
    /// sink, or set [`RunOptions::ignore_cursor`](super::RunOptions::ignore_cursor).
    #[error("the store follows the publisher {stored:?}, not {expected:?}")]
    OtherPublisher {
        /// Whose cursor the sink has.
        stored: String,
        /// The name that the peer is to have.
        expected: String,
    },
}
