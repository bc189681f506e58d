//! From TCP to TLS.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsConnector, rustls};

use super::error::{TlsConfigError, TlsError};

/// All that a handshake needs.
pub(in crate::connect) struct Connector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Connector {
    pub(super) fn new(config: Arc<ClientConfig>, name: &str) -> Result<Self, TlsConfigError> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| TlsConfigError::ServerName(name.to_owned()))?;
        Ok(Self { config, name })
    }

    pub(in crate::connect) async fn handshake(
        self,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, TlsError> {
        let connector = TlsConnector::from(self.config);
        let connected = connector.connect(self.name, stream).await;
        connected.map_err(TlsError::of_handshake)
    }
}
