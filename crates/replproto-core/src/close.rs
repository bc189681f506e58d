//! How a link ends.

use alloc::format;
use alloc::string::String;
use core::fmt;

use thiserror::Error;

use crate::cursor::Cursor;
use crate::error::LinkError;
use crate::wire::close::truncate_reason;

/// How a link ended, and what to do about the socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Close {
    /// Why.
    pub reason: CloseReason,
    /// The close frame to send, if any. Without one the socket is to be dropped.
    pub frame: Option<CloseFrame>,
    /// What became of the work in hand.
    pub report: Report,
}

/// What became of the work that a link had in hand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The work that was finished since the host asked for a drain or the connection ended; nothing if the link was shut down.
    pub done: Work,
    /// What was in hand at the end. It comes again on the next link.
    pub abandoned: Work,
    /// The newest cursor that is durable: of this link, or else the one that it started from. `None` if it started without.
    pub cursor: Option<Cursor>,
}

/// An amount of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Events, as [`Event::count`](crate::Event::count) counts them: done when the application has taken them.
    pub events: u64,
    /// Transactions and checkpoints: done when they are durable.
    pub commits: u64,
    /// Transfers of blobs: done when they are saved.
    pub blobs: u64,
}

impl Work {
    /// What was done since.
    pub(crate) const fn since(self, earlier: Self) -> Self {
        Self {
            events: self.events - earlier.events,
            commits: self.commits - earlier.commits,
            blobs: self.blobs - earlier.blobs,
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            events,
            commits,
            blobs,
        } = self;
        write!(f, "{events} events, {commits} transactions, {blobs} blobs")
    }
}

/// The content of a WebSocket close frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// `None`: an empty close frame.
    pub code: Option<u16>,
    /// At most 123 bytes, cut at a character boundary (`protocol.md` section 1.3).
    pub reason: String,
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
        /// Its text, at most [`TEXT_MAX`](crate::TEXT_MAX) bytes.
        reason: String,
    },
    /// The peer sent DISCONNECT (`protocol.md` section 3.13), and perhaps said why in the close frame behind it.
    #[error("the peer sent DISCONNECT{}", closed_with(.0.as_ref()))]
    Disconnected(Option<CloseFrame>),
    /// The connection broke.
    #[error("the connection was lost")]
    TransportLost,
    /// We ended it.
    #[error(transparent)]
    Error(#[from] LinkError),
}

/// The words of a close frame that came, if any did.
fn closed_with(frame: Option<&CloseFrame>) -> String {
    match frame {
        Some(CloseFrame {
            code: Some(code),
            reason,
        }) => format!(" and closed the connection with {code} {reason:?}"),
        _ => String::new(),
    }
}

impl CloseReason {
    /// Whether the host should not dial again: only if it has asked for the end itself. Everything else is transient
    /// (`protocol.md` section 1.3, rule of B).
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Shutdown | Self::Drained | Self::DrainTimedOut)
    }

    /// Advice for the operator; `None` if there is nothing to do, because the end was planned or the next link heals it.
    pub const fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::Shutdown | Self::Drained | Self::DrainTimedOut | Self::TransportLost => {
                return None;
            }
            Self::PeerClosed { code, .. } => match code {
                // A normal end, going away, none given, restarting, busy.
                1000 | 1001 | 1005 | 1012 | 1013 => return None,
                1008 => {
                    "The publisher refuses us: check the authorization or the client certificate, our node's entry there, and \
                     that the names of node and database are right."
                }
                _ => "The publisher's own log says why.",
            },
            Self::Disconnected(_) => {
                "The publisher does not want this link; its log says why. Was the database dropped there, or our node removed?"
            }
            Self::Error(error) => error.advice(),
        })
    }

    /// The close frame of the peer, if this is its close.
    pub(crate) fn into_peers_frame(self) -> Option<CloseFrame> {
        match self {
            Self::PeerClosed { code, reason } => Some(CloseFrame {
                code: Some(code),
                reason,
            }),
            _ => None,
        }
    }

    /// The frame to close with, if it can still be sent (`protocol.md` section 15, ruling 10).
    pub(crate) fn frame(&self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::TransportLost | Self::PeerClosed { .. } => return None,
            Self::Disconnected(_) => (None, String::new()),
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
            reason: truncate_reason(reason),
        })
    }
}
