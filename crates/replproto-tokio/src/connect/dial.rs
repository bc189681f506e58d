//! From an address to a connection that bytes can go over.

#[cfg(not(feature = "tls"))]
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

#[cfg(feature = "tls")]
use super::TlsConfig;
#[cfg(feature = "tls")]
use super::tls::{Connector, server_name};
use super::{ConnectError, Endpoint};

/// Anything that a WebSocket can run over.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

impl fmt::Debug for dyn Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

/// Whom to connect to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Destination<'a> {
    pub(crate) endpoint: &'a Endpoint,
    /// The name that the peer is configured to have.
    #[cfg(feature = "tls")]
    pub(crate) peer_name: Option<&'a str>,
    #[cfg(feature = "tls")]
    pub(crate) tls: &'a TlsConfig,
}

/// Connects to the peer, over TLS if its address says so. What TLS needs on this side is there before anything is dialled.
pub(crate) async fn dial(peer: Destination<'_>) -> Result<Box<dyn Transport>, ConnectError> {
    if peer.endpoint.is_tls() {
        dial_tls(peer).await
    } else {
        Ok(Box::new(dial_tcp(peer.endpoint).await?))
    }
}

/// Looks for what would fail each dial.
pub(crate) async fn check(peer: Destination<'_>) -> Result<(), ConnectError> {
    if peer.endpoint.is_tls() {
        prepare_tls(peer).await?;
    }
    Ok(())
}

#[cfg(feature = "tls")]
async fn prepare_tls(peer: Destination<'_>) -> Result<Connector, ConnectError> {
    Ok(peer.tls.connector(server_name(peer)).await?)
}

#[cfg(not(feature = "tls"))]
async fn prepare_tls(_: Destination<'_>) -> Result<Infallible, ConnectError> {
    Err(ConnectError::NoTls)
}

#[cfg(feature = "tls")]
async fn dial_tls(peer: Destination<'_>) -> Result<Box<dyn Transport>, ConnectError> {
    let connector = prepare_tls(peer).await?;
    let stream = dial_tcp(peer.endpoint).await?;
    Ok(Box::new(connector.handshake(stream).await?))
}

#[cfg(not(feature = "tls"))]
async fn dial_tls(peer: Destination<'_>) -> Result<Box<dyn Transport>, ConnectError> {
    match prepare_tls(peer).await? {}
}

/// A TCP connection to the peer, with delays of small packets switched off (`protocol.md` section 1.1). Tries every
/// address of the host in turn.
async fn dial_tcp(endpoint: &Endpoint) -> Result<TcpStream, ConnectError> {
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

    #[tokio::test]
    async fn a_refused_connection_names_the_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let endpoint: Endpoint = format!("ws://{address}").parse().unwrap();
        match dial_tcp(&endpoint).await {
            Err(ConnectError::Connect { address: at, .. }) => assert_eq!(at, address),
            other => panic!("{other:?}"),
        }
    }

    #[cfg(not(feature = "tls"))]
    #[tokio::test]
    async fn without_tls_an_address_that_needs_it_names_the_feature() {
        let endpoint = "wss://127.0.0.1:1".parse().unwrap();
        let peer = Destination {
            endpoint: &endpoint,
        };
        let error = dial(peer).await.unwrap_err();
        assert!(error.is_final() && error.to_string().contains("feature `tls`"));
    }
}
