//! What looks like trouble and is none, beside what is: each script is played with waits that are shorter than the limit, and
//! again with waits that are longer. The limits are the defaults; the clock is tokio's and stands still while anything is
//! at work, so the hours of a script take no time and end alike on every machine.

use std::time::Duration;

use futures_util::StreamExt;
use replproto_core::config::Config;
use replproto_core::error::Watchdog;
use replproto_core::wire::Message;
use replproto_core::wire::message::ChunkHeader;
use replproto_core::{CloseReason, Event, LinkError, PauseReason, Sequence, Start, WallTime};
use replproto_tokio::{Link, LinkConfig, LinkEnd, MemoryBlobStore};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{sleep, timeout};

use crate::support::{DATABASE, Peer, Said, TIME, batch, padded_batch};

/// How long a healthy link may take for what has a limit, as a share of it.
const HEALTHY: f64 = 0.9;

/// And what is too long.
const TOO_LONG: f64 = 1.1;

/// The default limits (`protocol.md` section 11).
const SILENCE: Duration = Duration::from_secs(60);
const MESSAGE: Duration = Duration::from_secs(60);
const NOT_READY: Duration = Duration::from_secs(60);
const SETUP: Duration = Duration::from_secs(150);
/// For the last step of a copy.
const COPY: Duration = Duration::from_secs(300);
const BLOB: Duration = Duration::from_secs(900);
const PAUSE: Duration = Duration::from_secs(1800);

/// Longer than any script.
const FOREVER: Duration = Duration::from_secs(86_400 * 365);

const DAY: Duration = Duration::from_secs(86_400);

/// The sequence of what every script ends with.
const LAST: f64 = TIME + 1e9;

type Remote = Peer<DuplexStream>;

/// A link in memory, not set up yet.
async fn connect(
    start: Start,
    change: impl FnOnce(&mut Config),
) -> (Link, Remote, MemoryBlobStore) {
    let (ours, theirs) = duplex(1 << 16);
    let mut config = LinkConfig::new("ws://node-a".parse().unwrap(), "us", DATABASE);
    change(&mut config.core);
    let store = MemoryBlobStore::new();
    let (link, peer) = tokio::join!(
        Link::over(ours, &config, start, store.clone()),
        Peer::accept(theirs, FOREVER)
    );
    (link.unwrap(), peer, store)
}

async fn set_up(start: Start) -> (Link, Remote, MemoryBlobStore) {
    let (link, mut peer, store) = connect(start, |_| ()).await;
    peer.set_up().await;
    (link, peer, store)
}

fn follow() -> Start {
    Start::At(Sequence(1.0))
}

/// Answers pings for so long, and does nothing else.
async fn stay(peer: &mut Remote, time: Duration) {
    let _ = timeout(time, hear_until(peer, |_| false)).await;
}

/// Listens until something such is said.
async fn hear_until(peer: &mut Remote, is_it: impl Fn(&Said) -> bool) {
    loop {
        let said = peer.hear().await;
        if is_it(&said) {
            return;
        }
        if matches!(said, Said::Gone) {
            // The link is over; whoever waits for its end decides what that means.
            std::future::pending().await
        }
    }
}

/// Takes what comes, and keeps it at once.
async fn keep_all(link: &mut Link) {
    while let Some(delivery) = link.next().await {
        delivery.commit();
    }
}

/// The script is played to its end, after which the link still works: `None`. Or the link ends in the middle of it.
async fn play(
    mut link: Link,
    application: impl AsyncFnOnce(&mut Link),
    script: impl AsyncFnOnce() -> Remote,
) -> Option<LinkEnd> {
    let application = async move {
        application(&mut link).await;
        link.end().await
    };
    let script = async {
        let mut peer = script().await;
        peer.put(&["last"], LAST).await;
        let last = Message::CommittedUpdate(Sequence(LAST));
        hear_until(
            &mut peer,
            |said| matches!(said, Said::Message(message) if *message == last),
        )
        .await;
    };
    tokio::select! {
        biased;
        end = application => Some(end),
        () = script => None,
    }
}

/// `None`, or the watchdog that fired and what it waited for.
fn fired(end: Option<LinkEnd>) -> Option<(Watchdog, Duration)> {
    match end?.close.reason {
        CloseReason::Error(LinkError::TimedOut { watchdog, waited }) => Some((watchdog, waited)),
        other => panic!("{other}"),
    }
}

/// Begins a base copy of one row.
async fn begin_copy(peer: &mut Remote) {
    let start = WallTime(TIME + 100.0);
    peer.send(&Message::CopyStart { start, order: 1 }).await;
    peer.put(&["first"], TIME).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_only_answers_pings_is_alive() {
    let (link, mut peer, _) = set_up(follow()).await;
    let end = play(link, keep_all, async move || {
        stay(&mut peer, DAY).await;
        assert!(peer.pings > 2000, "{}", peer.pings);
        peer
    });
    assert_eq!(fired(end.await), None);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_speaks_and_answers_no_ping_is_alive() {
    for (share, watchdog) in [
        (HEALTHY, None),
        (TOO_LONG, Some((Watchdog::Silence, SILENCE))),
    ] {
        let (link, mut peer, _) = set_up(follow()).await;
        let end = play(link, keep_all, async move || {
            for round in 2..20 {
                sleep(SILENCE.mul_f64(share)).await;
                let sequence = Sequence(f64::from(round));
                peer.send(&Message::SequenceUpdate(sequence)).await;
            }
            peer
        });
        assert_eq!(fired(end.await), watchdog);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_takes_hours_is_a_sign_of_life() {
    for (share, watchdog) in [
        (HEALTHY, None),
        (TOO_LONG, Some((Watchdog::Silence, SILENCE))),
    ] {
        let (link, mut peer, _) = set_up(follow()).await;
        let end = play(link, keep_all, async move || {
            let message = padded_batch(&["large"], 1 << 20, 2.0);
            let mut frame = vec![0x82, 127];
            frame.extend((message.len() as u64).to_be_bytes());
            frame.extend(message);
            // No pong has a place inside a frame.
            for piece in frame.chunks(8 << 10) {
                sleep(SILENCE.mul_f64(share)).await;
                peer.socket.get_mut().write_all(piece).await.unwrap();
            }
            peer
        });
        assert_eq!(fired(end.await), watchdog);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_in_frames_that_come_slowly_goes_on() {
    for (share, watchdog) in [
        (HEALTHY, None),
        (TOO_LONG, Some((Watchdog::Message, MESSAGE))),
    ] {
        let (link, mut peer, _) = set_up(follow()).await;
        let end = play(link, keep_all, async move || {
            let message = padded_batch(&["large"], 1000, 2.0);
            let count = message.chunks(100).count();
            for (index, piece) in message.chunks(100).enumerate() {
                let last = if index + 1 == count { 0x80 } else { 0 };
                let first = if index == 0 { 0x02 } else { 0 };
                let mut frame = vec![last | first, piece.len() as u8];
                frame.extend(piece);
                peer.socket.get_mut().write_all(&frame).await.unwrap();
                stay(&mut peer, MESSAGE.mul_f64(share)).await;
            }
            peer
        });
        assert_eq!(fired(end.await), watchdog);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_within_the_time_that_the_peer_asked_for_is_not_late() {
    let budget = 4 * SETUP;
    for (asked, share, watchdog) in [
        (Some(budget), HEALTHY, None),
        (Some(budget), TOO_LONG, Some((Watchdog::Setup, SETUP))),
        // More than we are willing to wait.
        (Some(100 * budget), TOO_LONG, Some((Watchdog::Setup, SETUP))),
        (None, HEALTHY, Some((Watchdog::Setup, SETUP))),
    ] {
        let (link, mut peer, _) = connect(follow(), |_| ()).await;
        let end = play(link, keep_all, async move || {
            let request = peer.greet(asked).await.unwrap();
            stay(&mut peer, budget.mul_f64(share)).await;
            peer.answer(&request).await;
            peer
        });
        assert_eq!(fired(end.await), watchdog, "{asked:?} {share}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_few_rows_a_day_goes_on() {
    for (share, watchdog) in [
        (HEALTHY, None),
        (TOO_LONG, Some((Watchdog::CopyProgress, BLOB))),
    ] {
        let (link, mut peer, _) = set_up(Start::Copy).await;
        let end = play(link, keep_all, async move || {
            begin_copy(&mut peer).await;
            for round in 0..100 {
                stay(&mut peer, BLOB.mul_f64(share)).await;
                peer.put(&[&format!("row {round}")], TIME).await;
            }
            peer.send(&Message::CopyComplete).await;
            // There is nothing to copy any more.
            stay(&mut peer, DAY).await;
            peer
        });
        assert_eq!(fired(end.await), watchdog);
    }
}

#[tokio::test(start_paused = true)]
async fn an_application_that_is_slow_goes_on() {
    for (share, is_over) in [(HEALTHY, false), (TOO_LONG, true)] {
        let (link, mut peer, _) = connect(follow(), |config| {
            config.flow.consumer.high.items = 16;
            config.flow.consumer.low.items = 0;
        })
        .await;
        peer.set_up().await;
        let application = async |link: &mut Link| {
            while let Some(delivery) = link.next().await {
                // The queue is full all the time, and then empty for a moment.
                sleep(PAUSE.mul_f64(share)).await;
                delivery.commit();
            }
        };
        let end = play(link, application, async move || {
            for number in 2..100 {
                peer.put(&["record"], f64::from(number)).await;
            }
            peer
        });
        match fired(end.await) {
            Some((Watchdog::PauseStall(reasons), PAUSE)) => {
                assert!(
                    is_over && reasons.contains(PauseReason::ConsumerQueue),
                    "{reasons}"
                );
            }
            other => assert_eq!((other, is_over), (None, false)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_application_may_be_not_ready_for_a_while() {
    for (share, watchdog) in [
        (HEALTHY, None),
        (TOO_LONG, Some((Watchdog::NotReady, NOT_READY))),
    ] {
        let (link, mut peer, _) = set_up(follow()).await;
        let application = async |link: &mut Link| {
            for _ in 0..10 {
                link.set_ready(false);
                sleep(NOT_READY.mul_f64(share)).await;
                link.set_ready(true);
                sleep(Duration::from_secs(1)).await;
            }
            keep_all(link).await;
        };
        let end = play(link, application, async move || {
            peer.send_bytes(batch(&["a"], 2.0)).await;
            peer
        });
        assert_eq!(fired(end.await), watchdog);
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_copy_may_take_long_while_it_comes_nearer() {
    for (share, watchdog) in [
        (HEALTHY, None),
        (TOO_LONG, Some((Watchdog::CopyFinish, COPY))),
    ] {
        let (link, mut peer, _) = set_up(Start::Copy).await;
        let application = async |link: &mut Link| {
            while let Some(delivery) = link.next().await {
                if matches!(&*delivery, Event::EndTransaction(_)) {
                    sleep(COPY.mul_f64(share)).await;
                }
                delivery.commit();
            }
        };
        let end = play(link, application, async move || {
            begin_copy(&mut peer).await;
            peer.put(&["second"], TIME).await;
            peer.put(&["third"], TIME).await;
            peer.send(&Message::CopyComplete).await;
            stay(&mut peer, DAY).await;
            peer
        });
        assert_eq!(fired(end.await), watchdog);
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_copy_may_not_take_for_ever() {
    let (link, mut peer, _) = set_up(Start::Copy).await;
    let application = async |link: &mut Link| {
        while let Some(delivery) = link.next().await {
            if matches!(&*delivery, Event::EndTransaction(_)) {
                sleep(COPY.mul_f64(HEALTHY)).await;
            }
            delivery.commit();
        }
    };
    let end = play(link, application, async move || {
        begin_copy(&mut peer).await;
        for _ in 0..20 {
            peer.put(&["another"], TIME).await;
        }
        peer.send(&Message::CopyComplete).await;
        stay(&mut peer, DAY).await;
        peer
    });
    assert_eq!(fired(end.await), Some((Watchdog::CopyFinish, COPY)));
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_trickles_is_not_idle() {
    for (share, watchdog) in [(HEALTHY, None), (TOO_LONG, Some((Watchdog::BlobGap, BLOB)))] {
        let (link, mut peer, store) = set_up(follow()).await;
        let end = play(link, keep_all, async move || {
            peer.put_blob("a", "1a", 2.0).await;
            for round in 0..20 {
                peer.chunk("1a", b"x", round == 19).await;
                stay(&mut peer, BLOB.mul_f64(share)).await;
            }
            peer
        })
        .await;
        // Idle, it is given up, and the link is renewed for it in the end.
        let aborted = u64::from(watchdog.is_some());
        assert_eq!(store.counts(), (1, 1 - aborted, aborted));
        assert_eq!(fired(end), watchdog);
    }
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_comes_again_in_time_leaves_no_gap() {
    for (share, watchdog) in [(HEALTHY, None), (TOO_LONG, Some((Watchdog::BlobGap, BLOB)))] {
        let (link, mut peer, store) = set_up(follow()).await;
        let end = play(link, keep_all, async move || {
            peer.put_blob("a", "1a", 2.0).await;
            let header = ChunkHeader {
                file: "1a".into(),
                finished: true,
                error: Some("busy".into()),
                error_status: Some(503),
                ..ChunkHeader::default()
            };
            let body = Default::default();
            peer.send(&Message::BlobChunk { header, body }).await;
            stay(&mut peer, BLOB.mul_f64(share)).await;
            peer.chunk("1a", b"bytes", true).await;
            stay(&mut peer, DAY).await;
            peer
        });
        assert_eq!(fired(end.await), watchdog);
        assert_eq!(store.len(), usize::from(watchdog.is_none()));
    }
}

#[tokio::test(start_paused = true)]
async fn time_in_which_reading_is_paused_does_not_count() {
    let (link, mut peer, store) = connect(Start::Copy, |config| {
        config.flow.consumer.high.items = 2;
        config.flow.consumer.low.items = 0;
    })
    .await;
    peer.set_up().await;
    let application = async |link: &mut Link| {
        let mut held = 0;
        while let Some(delivery) = link.next().await {
            // With a row that waits here for ten times the limits of a copy and of a blob, nothing more can be heard.
            if matches!(&*delivery, Event::Records(_)) && held < 10 {
                held += 1;
                sleep(PAUSE.mul_f64(HEALTHY)).await;
            }
            delivery.commit();
        }
    };
    let end = play(link, application, async move || {
        begin_copy(&mut peer).await;
        peer.put_blob("photo", "1a", TIME).await;
        peer.chunk("1a", b"some", false).await;
        for _ in 0..20 {
            peer.put(&["a", "b", "c"], TIME).await;
        }
        peer.chunk("1a", b"bytes", true).await;
        peer.send(&Message::CopyComplete).await;
        peer
    });
    assert_eq!(fired(end.await), None);
    assert_eq!(store.len(), 1);
}
