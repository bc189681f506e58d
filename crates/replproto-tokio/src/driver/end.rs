//! What is told of a link that is over.

use std::time::Duration;

use replproto_core::{BlobTries, Close, CloseReason, EndCause, Epoch, Name, Stats};

use super::TransportError;

/// How a link ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct LinkEnd {
    /// Why, and what the peer was told.
    pub close: Close,
    /// More about a connection that was lost.
    pub transport: Option<TransportError>,
    /// The peer's own name, if it came to say it.
    pub peer: Option<Name>,
    /// Which link it was.
    pub epoch: Epoch,
    /// How often blobs have failed at the source.
    pub blob_tries: BlobTries,
    /// How long it was set up; `None` if it never was.
    pub set_up_for: Option<Duration>,
    /// It was ended because nothing came and nothing was under way.
    pub is_idle: bool,
    /// Counters.
    pub stats: Stats,
}

impl LinkEnd {
    /// Why, in a word.
    pub(crate) fn cause(&self) -> EndCause {
        cause(&self.close.reason, self.transport.as_ref())
    }
}

/// Whether the connection was lost because the peer broke the rules of WebSocket.
const fn broke_web_socket(reason: &CloseReason, transport: Option<&TransportError>) -> bool {
    matches!(
        (reason, transport),
        (
            CloseReason::TransportLost,
            Some(TransportError::Protocol(_))
        )
    )
}

/// The core only sees that a connection is lost, also when that is since the peer broke the rules of WebSocket.
pub(super) fn cause(reason: &CloseReason, transport: Option<&TransportError>) -> EndCause {
    if broke_web_socket(reason, transport) {
        EndCause::Protocol
    } else {
        reason.into()
    }
}

/// Advice for the operator about the end of a link.
pub(super) fn advice(
    reason: &CloseReason,
    transport: Option<&TransportError>,
) -> Option<&'static str> {
    if broke_web_socket(reason, transport) {
        Some(
            "Check that a replication service answers there, and that no proxy in between changes the traffic.",
        )
    } else {
        reason.advice()
    }
}
