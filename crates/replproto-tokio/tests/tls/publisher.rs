//! The publisher of the other tests, over TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use replproto_core::Start;
use replproto_core::wire::message::SubscriptionRequest;
use replproto_tokio::rustls::crypto::ring::default_provider;
use replproto_tokio::rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use replproto_tokio::rustls::sign::CertifiedKey;
use replproto_tokio::rustls::{ServerConfig, SupportedProtocolVersion, version};
use replproto_tokio::{ConnectError, Link, LinkConfig, NoBlobs, TlsConfig, TlsError};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificates::{Authority, Identity};
use crate::support::{Peer, Publisher, soon};

pub(crate) type TlsPeer = Peer<TlsStream<TcpStream>>;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// What a publisher shows, and what it demands.
pub(crate) struct Side {
    pub(crate) identity: Identity,
    /// Who has to have issued the certificate of a client, if it needs one, and which it does not take.
    pub(crate) clients: Option<(Authority, Vec<u64>)>,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
}

impl Side {
    pub(crate) fn showing(identity: Identity) -> Self {
        Self {
            identity,
            clients: None,
            versions: BOTH.to_vec(),
        }
    }

    pub(crate) fn demanding(mut self, issuer: Authority) -> Self {
        self.clients = Some((issuer, vec![666]));
        self
    }

    fn config(self) -> ServerConfig {
        let provider = Arc::new(default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&self.versions)
            .unwrap();
        let config = match self.clients {
            None => config.with_no_client_auth(),
            Some((issuer, revoked)) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(issuer.roots(), provider)
                        .with_crls([issuer.revoke(&revoked)])
                        .allow_unknown_revocation_status()
                        .build();
                config.with_client_cert_verifier(verifier.unwrap())
            }
        };
        config.with_cert_resolver(Arc::new(Always(Arc::new(self.identity.certified()))))
    }
}

/// Shows a certificate without a look at it.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

pub(crate) struct TlsPublisher {
    pub(crate) publisher: Publisher,
    acceptor: TlsAcceptor,
}

impl TlsPublisher {
    pub(crate) async fn bind(side: Side) -> Self {
        Self::bind_with(side.config()).await
    }

    pub(crate) async fn bind_with(config: ServerConfig) -> Self {
        Self {
            publisher: Publisher::bind().await,
            acceptor: Arc::new(config).into(),
        }
    }

    /// A link to it that trusts nobody else.
    pub(crate) fn config(&self, trusted: &Authority) -> LinkConfig {
        let mut config = self.config_at("127.0.0.1");
        config.tls = TlsConfig::new()
            .without_system_roots()
            .trust(trusted.as_pem());
        config
    }

    pub(crate) fn config_at(&self, host: &str) -> LinkConfig {
        let port = self.publisher.endpoint().port();
        let endpoint = format!("wss://{host}:{port}").parse().unwrap();
        let mut config = self.publisher.config();
        config.endpoint = endpoint;
        config
    }

    pub(crate) async fn accept_tls(&self) -> io::Result<TlsStream<TcpStream>> {
        let stream = self.publisher.accept_raw().await;
        soon(self.acceptor.accept(stream)).await
    }

    pub(crate) async fn accept(&self) -> TlsPeer {
        Peer::accept(self.accept_tls().await.unwrap(), PATIENCE).await
    }

    pub(crate) async fn link(&self) -> (TlsPeer, SubscriptionRequest) {
        let mut peer = self.accept().await;
        let request = peer.set_up().await;
        (peer, request)
    }

    /// Opens a link.
    pub(crate) async fn linked(&self, config: &LinkConfig) -> (Link, TlsPeer) {
        let connect = Link::connect(config, Start::Copy, NoBlobs);
        let (link, (peer, _)) = tokio::join!(connect, self.link());
        (link.unwrap(), peer)
    }

    /// A dial that comes to nothing.
    pub(crate) async fn refused(&self, config: &LinkConfig) -> ConnectError {
        let connect = soon(Link::connect(config, Start::Copy, NoBlobs));
        let (link, _accepted) = tokio::join!(connect, self.accept_tls());
        link.expect_err("there is a link")
    }

    /// One that comes to nothing because of TLS, but may be tried again.
    pub(crate) async fn refused_by_tls(&self, config: &LinkConfig) -> TlsError {
        let error = self.refused(config).await;
        assert!(!error.is_final());
        assert!(!error.advice().is_empty());
        match error {
            ConnectError::Tls(error) => error,
            other => panic!("{other:?}"),
        }
    }
}
