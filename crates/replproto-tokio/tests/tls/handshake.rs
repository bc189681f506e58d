//! Dials that end before there are certificates to look at.

use std::sync::Arc;
use std::time::Duration;

use replproto_core::Start;
use replproto_tokio::rustls::ServerConfig;
use replproto_tokio::rustls::crypto::ring::default_provider;
use replproto_tokio::rustls::server::ResolvesServerCertUsingSni;
use replproto_tokio::rustls::version::{TLS12, TLS13};
use replproto_tokio::rustls::{ClientConfig, RootCertStore};
use replproto_tokio::web_socket::FrameLimits;
use replproto_tokio::{ConnectError, Link, NoBlobs, TlsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::certificates::Authority;
use crate::publisher::{Side, TlsPublisher};
use crate::support::soon;

async fn sample() -> (Authority, TlsPublisher) {
    let root = Authority::root("root");
    let side = Side::showing(root.issue(&["127.0.0.1"]));
    (root, TlsPublisher::bind(side).await)
}

/// A dial over TLS that is answered with this text.
async fn answered(text: &[u8]) -> TlsError {
    let (root, publisher) = sample().await;
    let config = publisher.config(&root);
    let peer = async {
        let mut stream = publisher.publisher.accept_raw().await;
        let mut hello = [0; 4096];
        let _ = stream.read(&mut hello).await;
        stream.write_all(text).await.unwrap();
    };
    let connect = soon(Link::connect(&config, Start::Copy, NoBlobs));
    let (link, ()) = tokio::join!(connect, peer);
    match link.unwrap_err() {
        ConnectError::Tls(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_port_that_does_not_speak_tls() {
    for text in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ] {
        let error = answered(text).await;
        assert!(matches!(error, TlsError::NotTls), "{error:?}");
        assert!(error.advice().contains("ws://"));
    }
}

#[tokio::test]
async fn our_own_side_that_accepts_without_tls() {
    let (root, publisher) = sample().await;
    let config = publisher.config(&root);
    let peer = async {
        let stream = publisher.publisher.accept_raw().await;
        replproto_tokio::accept(stream, FrameLimits::message(1 << 20), |_| Ok(None)).await
    };
    let connect = soon(Link::connect(&config, Start::Copy, NoBlobs));
    let (link, accepted) = tokio::join!(connect, soon(peer));
    assert!(matches!(
        link.unwrap_err(),
        ConnectError::Tls(TlsError::NotTls)
    ));
    let told = accepted.unwrap_err().to_string();
    assert!(told.contains("TLS"), "{told}");
}

#[tokio::test]
async fn a_port_that_expects_tls() {
    let (_, publisher) = sample().await;
    let config = publisher.publisher.config();
    let error = publisher.refused(&config).await;
    assert!(matches!(error, ConnectError::SpeaksTls), "{error:?}");
    assert!(error.advice().contains("wss://"));
}

#[tokio::test]
async fn a_peer_that_closes_during_the_handshake() {
    let error = answered(b"").await;
    assert!(matches!(error, TlsError::Interrupted(_)), "{error:?}");
    // A record that is cut.
    let error = answered(&[22, 3, 3, 1, 0, 2]).await;
    assert!(matches!(error, TlsError::Interrupted(_)), "{error:?}");
}

#[tokio::test]
async fn a_peer_that_says_nothing() {
    let (root, publisher) = sample().await;
    let mut config = publisher.config(&root);
    config.connect_timeout = Duration::from_millis(20);
    let link = soon(Link::connect(&config, Start::Copy, NoBlobs)).await;
    assert!(matches!(link.unwrap_err(), ConnectError::TimedOut(_)));
}

#[tokio::test]
async fn no_version_in_common() {
    let root = Authority::root("root");
    let mut side = Side::showing(root.issue(&["127.0.0.1"]));
    side.versions = vec![&TLS12];
    let publisher = TlsPublisher::bind(side).await;
    let made = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut config = publisher.config(&root);
    config.tls = Arc::new(made).into();
    let error = publisher.refused_by_tls(&config).await;
    assert!(matches!(error, TlsError::Incompatible(_)), "{error:?}");
}

#[tokio::test]
async fn a_peer_that_does_not_know_the_name() {
    let root = Authority::root("root");
    let mut known = ResolvesServerCertUsingSni::new();
    let identity = root.issue(&["node-b"]);
    known.add("node-b", identity.certified()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(known));
    let publisher = TlsPublisher::bind_with(config).await;
    let mut config = publisher.config(&root);
    config.core.peer_name = Some("node-a".into());
    let error = publisher.refused_by_tls(&config).await;
    assert!(matches!(error, TlsError::Denied), "{error:?}");
    // The alert that is meant for it.
    let error = answered(&[21, 3, 3, 0, 2, 2, 112]).await;
    assert!(matches!(error, TlsError::UnknownName), "{error:?}");
}
