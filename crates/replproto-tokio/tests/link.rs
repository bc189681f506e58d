//! A link as a stream of deliveries.

mod support;

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use replproto_core::config::{Level, Marks};
use replproto_core::key::Key;
use replproto_core::{CloseReason, Cursor, Event, LinkError, PauseReason, Sequence, Start};
use replproto_tokio::{Delivery, Link, LinkConfig, NoBlobs, Opening, TransportError};
use support::{Peer, Publisher, padded_batch, soon, until};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message as Frame;

async fn open(publisher: &Publisher, config: &LinkConfig) -> (Link, Peer) {
    let start = Start::At(Sequence(1.0));
    let connect = Link::connect(config, start, NoBlobs);
    let (link, (peer, _)) = tokio::join!(connect, publisher.link());
    (link.unwrap(), peer)
}

async fn linked() -> (Link, Peer) {
    let publisher = Publisher::bind().await;
    open(&publisher, &publisher.config()).await
}

async fn next(link: &mut Link) -> Delivery {
    soon(link.next()).await.expect("the link is over")
}

/// Waits for the next event that is of this kind.
async fn next_such(link: &mut Link, is_it: impl Fn(&Event) -> bool) -> Delivery {
    loop {
        let delivery = next(link).await;
        if is_it(&delivery) {
            return delivery;
        }
    }
}

const fn is_end(event: &Event) -> bool {
    matches!(event, Event::EndTransaction(_))
}

const fn is_record(event: &Event) -> bool {
    matches!(event, Event::Records(_))
}

/// A consumer's queue of this many events.
fn small_queue(config: &mut LinkConfig, events: u64) {
    let Marks { high, low } = config.core.flow.consumer;
    config.core.flow.consumer = Marks::new(
        Level {
            items: events,
            ..high
        },
        Level {
            items: events,
            ..low
        },
    );
}

#[tokio::test]
async fn events_come_in_order_and_only_what_is_durable_is_confirmed() {
    let (mut link, mut peer) = linked().await;
    peer.put(&["a", "b"], 2.0).await;
    peer.put(&["c"], 3.0).await;
    assert!(matches!(*next(&mut link).await, Event::Schema(_)));
    let mut keys = Vec::new();
    let mut ends = Vec::new();
    while ends.len() < 2 {
        let delivery = next(&mut link).await;
        match &*delivery {
            Event::Records(records) => {
                keys.extend(records.iter().map(|record| record.key().unwrap()));
            }
            Event::EndTransaction(end) => ends.push(end.clone()),
            _ => {}
        }
    }
    assert_eq!(keys, ["a", "b", "c"].map(|key| Key::Text(key.into())));
    // The cursor cannot pass the first one before that is durable, so it follows.
    assert_eq!(ends[0].cursor, Some(Cursor::at(Sequence(2.0))));
    assert_eq!(ends[1].cursor, None);
    link.commit(ends[0].id);
    assert_eq!(peer.confirmed().await, 2.0);
    link.commit(ends[1].id);
    let checkpoint = next_such(&mut link, |event| matches!(event, Event::Checkpoint(_))).await;
    checkpoint.commit();
    assert_eq!(peer.confirmed().await, 3.0);
}

#[tokio::test]
async fn a_delivery_can_be_committed_itself() {
    let (mut link, mut peer) = linked().await;
    peer.put(&["a"], 2.0).await;
    next_such(&mut link, is_end).await.commit();
    assert_eq!(peer.confirmed().await, 2.0);
    // An id of a link that is over is nothing.
    link.shutdown();
    let end = link.end().await;
    assert_eq!(end.stats.commits, 1);
    assert_eq!(end.stats.confirmations, 1);
}

#[tokio::test]
async fn a_delivery_that_is_kept_holds_up_those_after_it() {
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    small_queue(&mut config, 3);
    let (mut link, mut peer) = open(&publisher, &config).await;
    for number in 0..5 {
        peer.put(&["a"], f64::from(number) + 2.0).await;
    }
    let first = next_such(&mut link, is_record).await;
    // The queue is empty up to here, so three more come, one above the mark.
    for _ in 0..3 {
        drop(next(&mut link).await);
    }
    let progress = link.progress();
    until(|| {
        progress
            .borrow()
            .link
            .pauses
            .contains(PauseReason::ConsumerQueue)
    })
    .await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert!(link.next().now_or_never().is_none());
    }
    drop(first);
    next_such(&mut link, is_end).await;
}

#[tokio::test]
async fn what_happened_last_is_told_although_nothing_follows() {
    const RECORDS: u64 = 3;
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    // Nothing else wakes the link for as long as the test waits.
    config.core.timeouts.ping_interval = Duration::from_secs(600);
    config.core.timeouts.ping_timeout = Duration::from_secs(1200);
    let (link, mut peer) = open(&publisher, &config).await;
    for number in 0..RECORDS {
        peer.put(&["a"], number as f64 + 2.0).await;
    }
    let progress = link.progress();
    until(|| progress.borrow().link.stats.records == RECORDS).await;
}

#[tokio::test]
async fn a_stalled_consumer_stops_the_reading_and_not_the_pings() {
    const MESSAGES: usize = 300;
    const PADDING: usize = 64 << 10;
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    small_queue(&mut config, 10);
    config.core.timeouts.ping_interval = Duration::from_millis(5);
    let (mut link, peer) = open(&publisher, &config).await;
    let (mut sink, mut stream) = peer.socket.split();
    let writer = tokio::spawn(async move {
        use futures_util::SinkExt;
        for number in 0..MESSAGES {
            let bytes = padded_batch(&["a"], PADDING, (number + 2) as f64);
            sink.send(Frame::Binary(bytes.into())).await.unwrap();
        }
        sink
    });
    let progress = link.progress();
    until(|| {
        progress
            .borrow()
            .link
            .pauses
            .contains(PauseReason::ConsumerQueue)
    })
    .await;
    let mut pings = 0;
    while pings < 20 {
        let frame = soon(stream.next()).await.unwrap().unwrap();
        pings += u32::from(matches!(frame, Frame::Ping(_)));
    }
    let stalled = progress.borrow().link.clone();
    assert!(stalled.events_out <= 11, "{stalled:?}");
    assert!(stalled.stats.messages < MESSAGES as u64, "{stalled:?}");
    let reader = tokio::spawn(async move { while let Some(Ok(_)) = stream.next().await {} });
    for _ in 0..MESSAGES {
        next_such(&mut link, is_end).await.commit();
    }
    drop(writer.await.unwrap());
    link.shutdown();
    let end = soon(link.end()).await;
    let most = config.core.flow.inbound.high.bytes + 2 * PADDING as u64;
    assert!(end.stats.peak_retained_bytes <= most, "{:?}", end.stats);
    assert_eq!(end.stats.records, MESSAGES as u64);
    reader.await.unwrap();
}

#[tokio::test]
async fn a_close_by_the_peer_ends_the_stream() {
    let (mut link, mut peer) = linked().await;
    drop(next(&mut link).await);
    peer.close(1001, "going away").await;
    while soon(link.next()).await.is_some() {}
    let end = soon(link.end()).await;
    assert_eq!(
        end.close.reason,
        CloseReason::PeerClosed {
            code: 1001,
            reason: "going away".into()
        }
    );
    assert_eq!(end.peer.as_deref(), Some(support::NAME));
    assert!(end.set_up_for.is_some());
    // The peer gets its answer.
    assert!(matches!(peer.hear().await, support::Said::Closed(_)));
}

#[tokio::test]
async fn a_shutdown_is_told_to_the_peer() {
    let (link, mut peer) = linked().await;
    link.shutdown();
    let (end, frame) = tokio::join!(soon(link.end()), peer.closed());
    assert_eq!(end.close.reason, CloseReason::Shutdown);
    assert_eq!(frame, Some((1008, "No longer subscribed".into())));
}

#[tokio::test]
async fn a_peer_that_does_not_answer_the_close_is_left() {
    let (link, peer) = linked().await;
    link.shutdown();
    let end = soon(link.end()).await;
    assert_eq!(end.close.reason, CloseReason::Shutdown);
    drop(peer);
}

#[tokio::test]
async fn a_drained_link_confirms_what_is_in_hand() {
    let (mut link, mut peer) = linked().await;
    peer.put(&["a"], 2.0).await;
    let end = next_such(&mut link, is_end).await;
    link.drain(Duration::from_secs(30));
    end.commit();
    drop(end);
    assert_eq!(peer.confirmed().await, 2.0);
    let (end, frame) = tokio::join!(soon(link.end()), peer.closed());
    assert_eq!(end.close.reason, CloseReason::Drained);
    assert_eq!(frame.unwrap().0, 1008);
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_link_with_1009() {
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    config.core.limits.message = 10_000;
    let (link, mut peer) = open(&publisher, &config).await;
    peer.send_bytes(padded_batch(&["a"], 20_000, 2.0)).await;
    let (end, frame) = tokio::join!(soon(link.end()), peer.closed());
    assert_eq!(frame.unwrap().0, 1009);
    let CloseReason::Error(LinkError::TooLarge { limit, actual, .. }) = end.close.reason else {
        panic!("{:?}", end.close);
    };
    assert_eq!(limit, 10_000);
    assert!(actual > 20_000);
}

#[tokio::test]
async fn a_text_message_ends_the_link_with_1003() {
    let (link, mut peer) = linked().await;
    futures_util::SinkExt::send(&mut peer.socket, Frame::text("hello"))
        .await
        .unwrap();
    let (end, frame) = tokio::join!(soon(link.end()), peer.closed());
    assert_eq!(frame.unwrap().0, 1003);
    assert_eq!(end.close.reason, CloseReason::Error(LinkError::TextMessage));
}

#[tokio::test]
async fn records_come_while_their_message_is_on_its_way() {
    let (mut link, mut peer) = linked().await;
    let batch = padded_batch(&["a", "b", "c", "d"], 10_000, 2.0);
    let stream = peer.socket.get_mut();
    let mut frame = vec![0x82, 126];
    frame.extend_from_slice(&(batch.len() as u16).to_be_bytes());
    frame.extend_from_slice(&batch);
    let (first, second) = frame.split_at(frame.len() / 2);
    stream.write_all(first).await.unwrap();
    next_such(&mut link, is_record).await;
    stream.write_all(second).await.unwrap();
    next_such(&mut link, is_end).await;
    link.shutdown();
    let end = soon(link.end()).await;
    assert_eq!(end.stats.records, 4);
}

#[tokio::test]
async fn a_peer_that_breaks_websocket_itself_is_told_how() {
    // A reserved bit; a text that is not UTF-8.
    for (bytes, code) in [(&[0xff; 16][..], 1002), (&[0x81, 1, 0xff], 1007)] {
        let (link, mut peer) = linked().await;
        peer.socket.get_mut().write_all(bytes).await.unwrap();
        let (end, frame) = tokio::join!(soon(link.end()), peer.closed());
        assert_eq!(frame.unwrap().0, code);
        assert_eq!(end.close.reason, CloseReason::TransportLost);
        let Some(TransportError::Protocol(error)) = end.transport else {
            panic!("{:?}", end.transport);
        };
        assert_eq!(error.violation.close_code(), code);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_ends_the_link() {
    let (link, peer) = linked().await;
    drop(peer);
    let end = soon(link.end()).await;
    assert_eq!(end.close.reason, CloseReason::TransportLost);
    assert!(end.transport.is_some());
}

#[tokio::test]
async fn dropping_a_link_breaks_its_connection() {
    let (link, mut peer) = linked().await;
    drop(link);
    assert!(matches!(peer.hear().await, support::Said::Gone));
}

#[tokio::test]
async fn a_link_over_any_stream() {
    let publisher = Publisher::bind().await;
    let config = publisher.config();
    let first = open(&publisher, &config).await.0;
    first.shutdown();
    let first = first.end().await;
    let address = (config.endpoint.host(), config.endpoint.port());
    let (ours, mut theirs) = tokio::io::duplex(1 << 12);
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    tokio::spawn(async move { tokio::io::copy_bidirectional(&mut theirs, &mut stream).await });
    let opening = Opening::after(&first, Start::At(Sequence(1.0)));
    let connect = Link::over(ours, &config, opening, NoBlobs);
    let (link, (mut peer, _)) = tokio::join!(connect, publisher.link());
    let mut link = link.unwrap();
    peer.put(&["a"], 2.0).await;
    let delivery = next_such(&mut link, is_end).await;
    let Event::EndTransaction(end) = &*delivery else {
        panic!("{delivery:?}");
    };
    assert_eq!(end.id.epoch.0, 2);
}
