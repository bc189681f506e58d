//! From an address to an open WebSocket.

mod accept;
mod endpoint;
mod head;
mod upgrade;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

pub use self::accept::{AcceptError, UpgradeRequest, accept};
pub use self::endpoint::{Endpoint, EndpointError};
pub use self::upgrade::upgrade;

/// The value of the `Authorization` header, such as `Basic dXNlcjpwYXNz`. It is never shown: neither in logs nor by
/// [`Debug`].
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization(String);

impl Authorization {
    /// This value, to be sent as it is.
    ///
    /// # Errors
    /// It has characters that a header cannot have, such as the end of a line.
    pub fn new(value: impl Into<String>) -> Result<Self, InvalidAuthorization> {
        let value = value.into();
        let is_valid = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        if !value.is_empty() && value.bytes().all(is_valid) {
            Ok(Self(value))
        } else {
            Err(InvalidAuthorization)
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization(***)")
    }
}

/// A value that the `Authorization` header cannot have. The value is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the authorization is empty or has characters other than printable ASCII")]
pub struct InvalidAuthorization;

/// Why there is no link. Dialling again later may help, but see [`ConnectError::advice`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
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
            Self::Resolve { .. } => "Check the host's name in the address.",
            Self::Connect { .. } => {
                "Check that the peer runs, that it listens on this port (the default is 9933), and that no firewall is in \
                 between."
            }
            Self::Interrupted(_) => {
                "The peer closed the connection; perhaps this port expects TLS (wss://) or another protocol."
            }
            Self::TimedOut(_) => {
                "The peer is too busy, or something in between swallows the connection."
            }
            Self::Status(401 | 403) => "Check the authorization: the peer refused it.",
            Self::Status(_) => {
                "Check the port: something other than the replication service answers there."
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

    /// Whether no later dial can succeed, since the mistake is on this side.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::SubprotocolName(_) | Self::Config(_))
    }
}

/// A TCP connection to the peer, with delays of small packets switched off (`protocol.md` section 1.1). Tries every
/// address of the host in turn.
pub(crate) async fn dial(endpoint: &Endpoint) -> Result<TcpStream, ConnectError> {
    let unresolved = |error| ConnectError::Resolve {
        host: endpoint.host().to_owned(),
        error,
    };
    let addresses = lookup_host((endpoint.host(), endpoint.port()))
        .await
        .map_err(unresolved)?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream
                    .set_nodelay(true)
                    .map_err(|error| ConnectError::Connect { address, error })?;
                return Ok(stream);
            }
            Err(error) => last = Some(ConnectError::Connect { address, error }),
        }
    }
    Err(last.unwrap_or_else(|| unresolved(io::Error::from(io::ErrorKind::NotFound))))
}

/// Gives up after this long.
pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::TimedOut(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authorization_is_one_line_and_never_shown() {
        let token = Authorization::new("Basic canary").unwrap();
        assert_eq!(format!("{token:?}"), "Authorization(***)");
        assert_eq!(token.as_str(), "Basic canary");
        for wrong in ["", "a\r\nX: y", "ü", "a\tb"] {
            assert_eq!(Authorization::new(wrong), Err(InvalidAuthorization));
        }
    }

    #[tokio::test]
    async fn a_refused_connection_names_the_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let endpoint: Endpoint = format!("ws://{address}").parse().unwrap();
        match dial(&endpoint).await {
            Err(ConnectError::Connect { address: at, .. }) => assert_eq!(at, address),
            other => panic!("{other:?}"),
        }
    }
}
