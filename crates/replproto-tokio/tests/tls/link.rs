//! Links that last, and those after them.

use std::path::Path;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use replproto_core::config::{Level, Marks};
use replproto_core::{Event, PauseReason, Sequence};
use replproto_tokio::{
    ConnectError, Ended, Link, LinkConfig, MemorySink, NoBlobs, Pem, RunError, RunOptions,
    TlsConfig, TransportError, run,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::certificates::{Authority, Identity};
use crate::publisher::{Side, TlsPeer, TlsPublisher};
use crate::support::{NAME, batch_without_end, keys, padded_batch, soon, until};

async fn sample() -> (TlsPublisher, LinkConfig) {
    let root = Authority::root("root");
    let publisher = TlsPublisher::bind(Side::showing(root.issue(&["127.0.0.1"]))).await;
    let config = publisher.config(&root);
    (publisher, config)
}

/// Counts records until so many transactions have ended, each of which is durable at once.
async fn take(link: &mut Link, transactions: usize) -> usize {
    let (mut records, mut ends) = (0, 0);
    while ends < transactions {
        let delivery = soon(link.next()).await.expect("the link is over");
        match &*delivery {
            Event::Records(run) => records += run.iter().count(),
            Event::EndTransaction(_) => {
                ends += 1;
                delivery.commit();
            }
            _ => {}
        }
    }
    records
}

#[tokio::test]
async fn each_message_goes_out_at_once_and_the_end_is_told() {
    let (publisher, config) = sample().await;
    let (mut link, mut peer) = publisher.linked(&config).await;
    // Nothing of ours follows a confirmation that could push it out.
    for sequence in 2..50 {
        peer.put(&["a"], f64::from(sequence)).await;
        take(&mut link, 1).await;
        peer.confirmed_up_to(f64::from(sequence)).await;
    }
    link.shutdown();
    let (_, frame) = tokio::join!(soon(link.end()), async {
        let frame = peer.closed().await;
        // Over TLS, an end that is not told is an error.
        let stream = peer.socket.get_mut();
        stream.shutdown().await.unwrap();
        assert_eq!(soon(stream.read(&mut [0])).await.unwrap(), 0);
        frame
    });
    assert!(frame.is_some());
}

#[tokio::test]
async fn the_end_is_told_to_a_peer_that_closes_first() {
    let (publisher, config) = sample().await;
    let (link, mut peer) = publisher.linked(&config).await;
    peer.close(1001, "going away").await;
    let (end, ()) = tokio::join!(soon(link.end()), async {
        while let Some(Ok(_)) = soon(peer.socket.next()).await {}
        let stream = peer.socket.get_mut();
        assert_eq!(soon(stream.read(&mut [0])).await.unwrap(), 0);
    });
    assert!(end.transport.is_none(), "{:?}", end.transport);
}

#[tokio::test]
async fn a_large_message_waits_for_a_slow_consumer() {
    const RECORDS: usize = 128;
    const PADDING: usize = 64 << 10;
    let (publisher, mut config) = sample().await;
    let Marks { high, low } = config.core.flow.consumer;
    let few = |level| Level { items: 4, ..level };
    config.core.flow.consumer = Marks::new(few(high), few(low));
    let (mut link, peer) = publisher.linked(&config).await;
    let (mut sink, mut stream) = peer.socket.split();
    let names: Vec<String> = (0..RECORDS).map(|number| format!("k{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let message = padded_batch(&names, PADDING, 2.0);
    assert!(message.len() >= 8 << 20);
    let length = message.len() as u64;
    let writer = tokio::spawn(async move {
        sink.send(Frame::Binary(message.into())).await.unwrap();
        sink
    });
    let progress = link.progress();
    until(|| {
        let pauses = progress.borrow().link.pauses;
        pauses.contains(PauseReason::ConsumerQueue)
    })
    .await;
    let reader = tokio::spawn(async move { while let Some(Ok(_)) = stream.next().await {} });
    assert_eq!(take(&mut link, 1).await, RECORDS);
    drop(soon(writer).await.unwrap());
    link.shutdown();
    let end = soon(link.end()).await;
    soon(reader).await.unwrap();
    let most = config.core.flow.inbound.high.bytes + 2 * PADDING as u64;
    assert!(most < length / 2);
    assert!(end.stats.peak_retained_bytes <= most, "{:?}", end.stats);
}

#[tokio::test]
async fn an_alert_during_a_link_ends_it_and_is_told() {
    let (publisher, config) = sample().await;
    let (link, mut peer) = publisher.linked(&config).await;
    // What is no record of this connection.
    let (stream, _) = peer.socket.get_mut().get_mut();
    stream.write_all(&[23, 3, 3, 0, 32]).await.unwrap();
    stream.write_all(&[0; 32]).await.unwrap();
    let end = soon(link.end()).await;
    assert!(
        matches!(end.transport, Some(TransportError::Tls(_))),
        "{:?}",
        end.transport
    );
}

/// Follows the publisher, which does the rest, into memory.
async fn followed(config: LinkConfig, sink: &mut MemorySink, publisher: impl Future<Output = ()>) {
    let mut options = RunOptions::default();
    options.first_delay = Duration::from_millis(1);
    let stop = options.stop.clone();
    let running = run(config, sink, NoBlobs, options);
    let (end, ()) = tokio::join!(soon(running), async {
        publisher.await;
        stop.shutdown();
    });
    assert_eq!(end.unwrap().how, Ended::Shutdown);
}

#[tokio::test]
async fn a_connection_that_is_cut_is_dialled_again() {
    let (publisher, config) = sample().await;
    let mut sink = MemorySink::new();
    let view = sink.view();
    followed(config, &mut sink, async {
        let (mut peer, _) = publisher.link().await;
        peer.put(&["a"], 2.0).await;
        peer.confirmed_up_to(2.0).await;
        // The head of a frame of 1000 bytes, a few of them, and no word of the end.
        let stream = peer.socket.get_mut();
        stream.write_all(&[0x82, 126, 0x03, 0xe8]).await.unwrap();
        stream
            .write_all(&batch_without_end(&["b"], 3.0))
            .await
            .unwrap();
        stream.flush().await.unwrap();
        drop(peer);
        let (mut peer, request) = publisher.link().await;
        assert_eq!(request.subscriptions[0].start, Sequence(2.0));
        assert_eq!(keys(&view), ["a"]);
        peer.put(&["b"], 3.0).await;
        peer.confirmed_up_to(3.0).await;
    })
    .await;
}

#[tokio::test]
async fn a_name_that_was_learned_is_not_asked_of_the_certificate() {
    let (publisher, config) = sample().await;
    assert_eq!(config.core.peer_name, None);
    followed(config, &mut MemorySink::new(), async {
        for sequence in [2.0, 3.0, 4.0] {
            let (mut peer, _) = publisher.link().await;
            let (_, session) = peer.socket.get_ref().get_ref();
            assert_ne!(session.server_name(), Some(NAME));
            peer.put(&["a"], sequence).await;
            peer.confirmed_up_to(sequence).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_run_waits_for_the_peer_to_be_repaired_and_not_for_us() {
    let root = Authority::root("root");
    let wrong = TlsPublisher::bind(Side::showing(root.issue(&["node-b"]))).await;
    followed(wrong.config(&root), &mut MemorySink::new(), async {
        for _ in 0..3 {
            wrong.accept_tls().await.unwrap_err();
        }
    })
    .await;
    let mut config = wrong.config(&root);
    config.tls = config.tls.trust(Pem::text("nothing"));
    let mut sink = MemorySink::new();
    let running = run(config, &mut sink, NoBlobs, RunOptions::default());
    match soon(running).await.unwrap_err() {
        RunError::NotConnected(ConnectError::TlsConfig(_)) => {}
        other => panic!("{other:?}"),
    }
}

fn write(folder: &Path, identity: &Identity) {
    std::fs::write(folder.join("us.pem"), identity.pem()).unwrap();
    std::fs::write(folder.join("us.key"), identity.key_pem()).unwrap();
}

fn assert_shown(peer: &TlsPeer, identity: &Identity) {
    let (_, session) = peer.socket.get_ref().get_ref();
    assert_eq!(session.peer_certificates(), Some(&identity.chain[..]));
}

#[tokio::test]
async fn a_certificate_that_was_renewed_is_shown_at_the_next_dial() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name| Pem::file(folder.path().join(name));
    let root = Authority::root("root");
    let identities = [root.issue(&["one"]), root.issue(&["two"])];
    std::fs::write(folder.path().join("ca.pem"), root.pem()).unwrap();
    let shown = root.issue(&["127.0.0.1"]);
    let publisher = TlsPublisher::bind(Side::showing(shown).demanding(root)).await;
    let mut config = publisher.config_at("127.0.0.1");
    config.tls = TlsConfig::new()
        .without_system_roots()
        .trust(file("ca.pem"))
        .identity(file("us.pem"), file("us.key"));

    write(folder.path(), &identities[0]);
    let (_, peer) = publisher.linked(&config).await;
    assert_shown(&peer, &identities[0]);
    // Half of the new one: the old one is shown while that lasts.
    std::fs::write(folder.path().join("us.pem"), identities[1].pem()).unwrap();
    let (_, peer) = publisher.linked(&config).await;
    assert_shown(&peer, &identities[0]);
    std::fs::remove_file(folder.path().join("us.key")).unwrap();
    let (_, peer) = publisher.linked(&config).await;
    assert_shown(&peer, &identities[0]);
    write(folder.path(), &identities[1]);
    let (_, peer) = publisher.linked(&config).await;
    assert_shown(&peer, &identities[1]);
}
