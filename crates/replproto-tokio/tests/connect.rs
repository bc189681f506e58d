//! Dials that come to nothing, and what is told of them.

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use replproto_core::Start;
use replproto_tokio::{
    Authorization, AuthorizationError, AuthorizationProvider, ConnectError, Link, LinkConfig,
    NoBlobs,
};
use support::{Publisher, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Answers the upgrade with this text.
async fn answered(text: &'static str) -> ConnectError {
    let publisher = Publisher::bind().await;
    let config = publisher.config();
    let peer = async {
        let mut stream = publisher.accept_raw().await;
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    };
    let (link, _stream) = tokio::join!(Link::connect(&config, Start::Copy, NoBlobs), peer);
    link.unwrap_err()
}

#[tokio::test]
async fn a_refused_authorization() {
    let error = answered("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await;
    assert!(matches!(error, ConnectError::Status(401)), "{error:?}");
    assert!(error.advice().contains("authorization"));
}

#[tokio::test]
async fn something_that_is_not_http() {
    let error = answered("SSH-2.0-OpenSSH_9.6\r\n\r\n").await;
    assert!(matches!(error, ConnectError::NotAWebSocket(_)), "{error:?}");
}

#[tokio::test]
async fn a_web_server() {
    let error = answered("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert!(matches!(error, ConnectError::Status(200)), "{error:?}");
}

#[tokio::test]
async fn a_websocket_server_of_another_kind() {
    let publisher = Publisher::bind().await;
    let config = publisher.config();
    let peer = async {
        let stream = publisher.accept_raw().await;
        tokio_tungstenite::accept_async(stream).await
    };
    let (link, _socket) = tokio::join!(Link::connect(&config, Start::Copy, NoBlobs), peer);
    match link.unwrap_err() {
        ConnectError::Subprotocol { chosen: None, .. } => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_peer_that_closes_at_once() {
    let publisher = Publisher::bind().await;
    let config = publisher.config();
    let peer = async { drop(publisher.accept_raw().await) };
    let (link, ()) = tokio::join!(Link::connect(&config, Start::Copy, NoBlobs), peer);
    assert!(matches!(link.unwrap_err(), ConnectError::Interrupted(_)));
}

#[tokio::test]
async fn a_peer_that_says_nothing() {
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    config.connect_timeout = Duration::from_millis(20);
    let link = soon(Link::connect(&config, Start::Copy, NoBlobs)).await;
    assert!(matches!(link.unwrap_err(), ConnectError::TimedOut(_)));
}

#[tokio::test]
async fn a_name_that_is_none() {
    let endpoint = "ws://no-such-host.invalid".parse().unwrap();
    let config = LinkConfig::new(endpoint, "us", "data");
    let error = soon(Link::connect(&config, Start::Copy, NoBlobs))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Resolve { .. }), "{error:?}");
}

#[tokio::test]
async fn a_configuration_that_makes_no_sense() {
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    config.core.database = String::new();
    let error = Link::connect(&config, Start::Copy, NoBlobs)
        .await
        .unwrap_err();
    assert!(error.is_final(), "{error:?}");
}

#[tokio::test]
async fn the_authorization_is_sent_as_it_is() {
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    config.authorization = Some(Authorization::new("Basic dXM6cGFzcw==").unwrap().into());
    assert!(!format!("{config:?}").contains("dXM6cGFzcw"));
    let connect = Link::connect(&config, Start::Copy, NoBlobs);
    let (link, peer) = tokio::join!(connect, publisher.accept());
    link.unwrap();
    assert_eq!(peer.authorization.as_deref(), Some("Basic dXM6cGFzcw=="));
}

#[tokio::test]
async fn the_authorization_is_asked_for_before_each_dial() {
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    let dials = AtomicU32::new(0);
    let provider = AuthorizationProvider::new(move || {
        let dial = dials.fetch_add(1, Ordering::Relaxed);
        async move {
            assert!(dial != 1, "the second one panics");
            match dial {
                2 => Err("no token for the third"),
                _ => Ok(Authorization::new(format!("Bearer {dial}")).unwrap()),
            }
        }
    });
    config.authorization = Some(provider);
    for dial in 0..4 {
        let link = Link::connect(&config, Start::Copy, NoBlobs);
        match dial {
            1 => {
                let error = link.await.unwrap_err();
                let panicked = ConnectError::Authorization(AuthorizationError::Panicked);
                assert_eq!(format!("{error:?}"), format!("{panicked:?}"));
                assert!(!error.is_final());
            }
            2 => match link.await.unwrap_err() {
                ConnectError::Authorization(AuthorizationError::Failed(error)) => {
                    assert_eq!(error.to_string(), "no token for the third");
                }
                other => panic!("{other:?}"),
            },
            _ => {
                let (link, peer) = tokio::join!(link, publisher.accept());
                link.unwrap();
                let sent = peer.authorization.unwrap();
                assert_eq!(sent, format!("Bearer {dial}"));
            }
        }
    }
}

#[tokio::test]
async fn waiting_for_an_authorization_counts_as_part_of_the_dial() {
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    config.connect_timeout = Duration::from_millis(20);
    let provider = AuthorizationProvider::new(|| {
        std::future::pending::<Result<Authorization, std::convert::Infallible>>()
    });
    config.authorization = Some(provider);
    let error = soon(Link::connect(&config, Start::Copy, NoBlobs)).await;
    let error = error.unwrap_err();
    let ConnectError::Authorization(AuthorizationError::TimedOut(limit)) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*limit, config.connect_timeout);
    assert!(error.advice().contains("provider"));
}

#[tokio::test]
async fn a_port_that_expects_tls() {
    // A fatal alert.
    let error = answered("\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{32}").await;
    assert!(matches!(error, ConnectError::SpeaksTls), "{error:?}");
    assert!(error.advice().contains("wss://"));
}
