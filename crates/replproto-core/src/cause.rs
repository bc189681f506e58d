//! Causes of the end of a link, as a short list.

use core::fmt;

use crate::close::CloseReason;
use crate::error::{LinkError, Watchdog};

/// Why a link, or the attempt at one, came to its end: one of a few words, for counters and metrics. What exactly happened is
/// told by the error itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EndCause {
    /// The host's name has no address.
    Resolve,
    /// No TCP connection.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The host could not find out its own authorization, or the peer refused it.
    Authorization,
    /// The peer did not open a WebSocket of this protocol.
    Upgrade,
    /// The dial took too long.
    DialTimeout,
    /// The peer closed the WebSocket.
    PeerClosed,
    /// The peer sent DISCONNECT.
    Disconnected,
    /// The connection broke.
    TransportLost,
    /// The peer broke the rules of the protocol.
    Protocol,
    /// Something was larger than its limit.
    TooLarge,
    /// Another peer answered than was expected.
    WrongName,
    /// The peer answered for another database than the one asked for.
    WrongDatabase,
    /// The peer no longer has the log from the requested position on.
    Gap,
    /// The peer did not send what a record needs.
    Missing,
    /// Nothing came from the peer for too long.
    Silence,
    /// The subscription was not answered in time.
    Setup,
    /// The application made no progress for too long while reading was paused.
    PauseStall,
    /// The application was not ready for too long.
    NotReady,
    /// The link was renewed for a blob that had failed.
    BlobGap,
    /// The peer did not go on with a message that it had begun.
    Message,
    /// The base copy did not go on.
    CopyProgress,
    /// The base copy did not become durable.
    CopyFinish,
    /// The application's store failed.
    Storage,
    /// Something of the host panicked.
    Panic,
    /// The host's own configuration is wrong.
    Config,
    /// The host asked for it.
    Asked,
}

impl EndCause {
    /// All causes, in the order of their numbers.
    pub const ALL: [Self; 27] = [
        Self::Resolve,
        Self::Connect,
        Self::Tls,
        Self::Authorization,
        Self::Upgrade,
        Self::DialTimeout,
        Self::PeerClosed,
        Self::Disconnected,
        Self::TransportLost,
        Self::Protocol,
        Self::TooLarge,
        Self::WrongName,
        Self::WrongDatabase,
        Self::Gap,
        Self::Missing,
        Self::Silence,
        Self::Setup,
        Self::PauseStall,
        Self::NotReady,
        Self::BlobGap,
        Self::Message,
        Self::CopyProgress,
        Self::CopyFinish,
        Self::Storage,
        Self::Panic,
        Self::Config,
        Self::Asked,
    ];

    /// A stable number, for tables.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name, in the form used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Authorization => "authorization",
            Self::Upgrade => "upgrade",
            Self::DialTimeout => "dial_timeout",
            Self::PeerClosed => "peer_closed",
            Self::Disconnected => "disconnected",
            Self::TransportLost => "transport_lost",
            Self::Protocol => "protocol",
            Self::TooLarge => "too_large",
            Self::WrongName => "wrong_name",
            Self::WrongDatabase => "wrong_database",
            Self::Gap => "gap",
            Self::Missing => "missing",
            Self::Silence => "silence",
            Self::Setup => "setup",
            Self::PauseStall => "pause_stall",
            Self::NotReady => "not_ready",
            Self::BlobGap => "blob_gap",
            Self::Message => "message",
            Self::CopyProgress => "copy_progress",
            Self::CopyFinish => "copy_finish",
            Self::Storage => "storage",
            Self::Panic => "panic",
            Self::Config => "config",
            Self::Asked => "asked",
        }
    }
}

impl fmt::Display for EndCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Watchdog> for EndCause {
    fn from(watchdog: Watchdog) -> Self {
        match watchdog {
            Watchdog::Silence => Self::Silence,
            Watchdog::Setup => Self::Setup,
            Watchdog::PauseStall(_) => Self::PauseStall,
            Watchdog::NotReady => Self::NotReady,
            Watchdog::BlobGap => Self::BlobGap,
            Watchdog::Message => Self::Message,
            Watchdog::CopyProgress => Self::CopyProgress,
            Watchdog::CopyFinish => Self::CopyFinish,
        }
    }
}

impl From<&CloseReason> for EndCause {
    fn from(reason: &CloseReason) -> Self {
        match reason {
            CloseReason::Shutdown | CloseReason::Drained | CloseReason::DrainTimedOut => {
                Self::Asked
            }
            CloseReason::PeerClosed { .. } => Self::PeerClosed,
            CloseReason::Disconnected(_) => Self::Disconnected,
            CloseReason::TransportLost => Self::TransportLost,
            CloseReason::Error(error) => match error {
                LinkError::Malformed { .. }
                | LinkError::TooSoon { .. }
                | LinkError::TextMessage => Self::Protocol,
                LinkError::TooLarge { .. } => Self::TooLarge,
                LinkError::WrongName { .. } => Self::WrongName,
                LinkError::WrongDatabase { .. } => Self::WrongDatabase,
                LinkError::Gap { .. } => Self::Gap,
                LinkError::Missing { .. } => Self::Missing,
                LinkError::TimedOut { watchdog, .. } => (*watchdog).into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use core::time::Duration;

    #[test]
    fn numbers_and_names_are_stable_and_distinct() {
        for (index, cause) in EndCause::ALL.into_iter().enumerate() {
            assert_eq!(cause.index(), index);
        }
        let names: BTreeSet<&str> = EndCause::ALL.into_iter().map(EndCause::as_str).collect();
        assert_eq!(names.len(), EndCause::ALL.len());
    }

    #[test]
    fn a_watchdog_is_named() {
        let reason = CloseReason::Error(LinkError::TimedOut {
            watchdog: Watchdog::BlobGap,
            waited: Duration::from_secs(900),
        });
        assert_eq!(EndCause::from(&reason), EndCause::BlobGap);
    }
}
