//! Why a dial came to nothing.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use replproto_core::EndCause;
use thiserror::Error;

use super::authorization::AuthorizationError;
#[cfg(feature = "tls")]
use super::tls::{TlsConfigError, TlsError};

/// Why there is no link. Dialling again later may help, but see [`ConnectError::advice`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is no authorization to send.
    #[error("there is no authorization")]
    Authorization(#[from] AuthorizationError),
    /// The host's name has no address.
    #[error("the address of {host} cannot be found")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// No TCP connection.
    #[error("cannot connect to {address}")]
    Connect {
        /// The last address that was tried.
        address: SocketAddr,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The address begins with `wss://`, and this build has no TLS.
    #[error(
        "wss:// needs the feature `tls` of replproto-tokio, with which this program was not built"
    )]
    NoTls,
    /// The files or texts for TLS, or the name to verify, make no sense. Nothing was dialled.
    #[cfg(feature = "tls")]
    #[error("TLS cannot be set up")]
    TlsConfig(#[from] TlsConfigError),
    /// TLS failed: during the handshake, or later when the peer looked at our certificate only then.
    #[cfg(feature = "tls")]
    #[error("there is no TLS connection")]
    Tls(#[from] TlsError),
    /// The answer to plain HTTP is TLS.
    #[error("the peer answered in TLS")]
    SpeaksTls,
    /// The connection broke, or was closed, during the upgrade to a WebSocket.
    #[error("the connection broke during the upgrade to a WebSocket")]
    Interrupted(#[source] io::Error),
    /// The whole dial took too long.
    #[error("no WebSocket after {0:?}")]
    TimedOut(Duration),
    /// The answer has another status than 101.
    #[error("the peer answered the upgrade with HTTP status {0}")]
    Status(u16),
    /// The answer is not that of a WebSocket server.
    #[error("the peer does not answer like a WebSocket server: {0}")]
    NotAWebSocket(&'static str),
    /// The peer did not choose our subprotocol.
    #[error("the peer chose the subprotocol {chosen:?}, not {asked:?}")]
    Subprotocol {
        /// What it was asked for, if anything.
        asked: Option<String>,
        /// What it chose, if anything.
        chosen: Option<String>,
    },
    /// The subprotocol to ask for is not a token, so no header can have it.
    #[error("{0:?} cannot be the name of a subprotocol")]
    SubprotocolName(String),
    /// The configuration of the link makes no sense.
    #[error("the configuration is wrong")]
    Config(#[from] replproto_core::config::ConfigError),
}

impl ConnectError {
    /// What the user may do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Authorization(error) => error.advice(),
            Self::Resolve { .. } => "Check the host's name in the address.",
            Self::Connect { .. } => {
                "Check that the peer runs, that it listens on this port (the default is 9933), and that no firewall is in \
                 between."
            }
            Self::NoTls => "Build with the feature `tls`, which is on by default.",
            #[cfg(feature = "tls")]
            Self::TlsConfig(error) => error.advice(),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.advice(),
            Self::SpeaksTls => "Use wss:// in the address: this port expects TLS.",
            Self::Interrupted(_) => {
                "The peer closed the connection; perhaps this port expects TLS (wss://), or with TLS a client certificate, or \
                 another protocol."
            }
            Self::TimedOut(_) => {
                "The peer is too busy, or something in between swallows the connection."
            }
            Self::Status(401 | 403) => "Check the authorization: the peer refused it.",
            Self::Status(_) => {
                "Check the port: something other than the replication service answers there. With ws://, perhaps it expects \
                 TLS (wss://)."
            }
            Self::NotAWebSocket(_) => {
                "Check the port: something other than a WebSocket server answers there."
            }
            Self::Subprotocol { .. } => {
                "Check the port: a WebSocket server answers there, but not the replication service."
            }
            Self::SubprotocolName(_) => {
                "Correct the subprotocol: letters, digits, and signs such as - and . are allowed."
            }
            Self::Config(_) => "Correct the configuration.",
        }
    }

    /// Which of the causes of an end this is.
    pub const fn cause(&self) -> EndCause {
        match self {
            Self::Resolve { .. } => EndCause::Resolve,
            Self::Connect { .. } => EndCause::Connect,
            #[cfg(feature = "tls")]
            Self::Tls(_) => EndCause::Tls,
            #[cfg(feature = "tls")]
            Self::TlsConfig(_) => EndCause::Config,
            Self::SpeaksTls => EndCause::Tls,
            Self::Authorization(_) | Self::Status(401 | 403) => EndCause::Authorization,
            Self::Interrupted(_)
            | Self::Status(_)
            | Self::NotAWebSocket(_)
            | Self::Subprotocol { .. } => EndCause::Upgrade,
            Self::TimedOut(_) => EndCause::DialTimeout,
            Self::SubprotocolName(_) | Self::Config(_) | Self::NoTls => EndCause::Config,
        }
    }

    /// Whether no later dial can succeed unless a mistake on this side is mended.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::SubprotocolName(_) | Self::Config(_) | Self::NoTls => true,
            #[cfg(feature = "tls")]
            Self::TlsConfig(_) => true,
            Self::Authorization(error) => error.is_final(),
            _ => false,
        }
    }

    /// What a stream that broke during the upgrade tells of it.
    pub(super) fn interrupted(error: io::Error) -> Self {
        #[cfg(feature = "tls")]
        let error = match TlsError::of_stream(error) {
            Ok(error) => return Self::Tls(error),
            Err(error) => error,
        };
        Self::Interrupted(error)
    }
}
