//! How a link ends.

use alloc::string::String;

use thiserror::Error;

use crate::error::LinkError;
use crate::wire::close::truncate_reason;

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
    /// Whether the host should not dial again: only if it has asked for the end itself. Everything else is transient
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
            reason: truncate_reason(reason),
        })
    }
}
