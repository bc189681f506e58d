//! Two followers of one SQLite file: neither holds the other up for long.
#![cfg(feature = "sqlite")]

mod support;

use std::path::Path;
use std::time::Duration;

use replproto_core::{Backoff, Sequence, Start};
use replproto_tokio::{
    Interruption, NoBlobs, Phase, Replica, RunOptions, Sink, Snapshot, SqliteOptions, SqliteSink,
    Stop, run,
};
use support::{Peer, Publisher, TIME, padded_batch, soon, until};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;
use tokio::time::{advance, pause, resume, sleep};

/// How long a transaction may wait for its peer, in these tests.
const WAIT: Duration = Duration::from_millis(100);

struct Follower {
    publisher: Publisher,
    options: RunOptions,
    task: JoinHandle<()>,
}

impl Follower {
    async fn start(file: &Path, source: &str) -> Self {
        Self::start_with(file, source, |_| {}).await
    }

    async fn start_with(file: &Path, source: &str, set: impl FnOnce(&mut RunOptions)) -> Self {
        let publisher = Publisher::bind().await;
        let mut options = RunOptions::default();
        options.start = Start::At(Sequence(1.0));
        options.stop = Stop::new();
        options.first_delay = Duration::from_millis(1);
        options.longest_delay = Duration::from_millis(1);
        options.transaction_wait = WAIT;
        set(&mut options);
        let config = publisher.config();
        // All publishers of these tests have one name.
        let sqlite = SqliteOptions {
            second_copy: true,
            ..SqliteOptions::new(source, "data")
        };
        let mut sink = SqliteSink::open(file, sqlite).await.unwrap();
        let given = options.clone();
        let task = tokio::spawn(async move {
            run(config, &mut sink, NoBlobs, given).await.unwrap();
            sink.close().await;
        });
        Self {
            publisher,
            options,
            task,
        }
    }

    fn links(&self) -> u64 {
        self.options.progress.borrow().links
    }

    async fn end(self) {
        self.options.stop.shutdown();
        soon(self.task).await.unwrap();
    }
}

/// A message of two records, and how many of its bytes come before the publisher stops in the second one.
fn message() -> (Vec<u8>, usize) {
    let message = padded_batch(&["a", "b"], 300, TIME);
    let stop = message.len() - 200;
    (message, stop)
}

/// A frame of a message.
async fn send_frame(peer: &mut Peer, first: u8, payload: &[u8]) {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(length as u8),
        length => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
    }
    frame.extend(payload);
    // The link may be over.
    let _ = peer.socket.get_mut().write_all(&frame).await;
}

/// How many rows a link has.
fn rows(file: &Path, source: &str) -> usize {
    let replica = Replica::open(file).unwrap();
    let link = replica.link(source, "data").unwrap().unwrap();
    let tables = replica.tables(&link).unwrap();
    tables
        .iter()
        .map(|table| replica.count(table).unwrap() as usize)
        .sum()
}

#[tokio::test]
async fn a_publisher_that_stops_in_a_transaction_does_not_hold_the_other_up() {
    for drips in [false, true] {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("replica.sqlite");
        let one = Follower::start(&file, "one").await;
        let other = Follower::start(&file, "other").await;
        let (mut peer, _) = one.publisher.link().await;
        let (mut healthy, _) = other.publisher.link().await;
        let (bytes, stop) = message();
        let message = bytes.clone();
        let stopped = tokio::spawn(async move {
            send_frame(&mut peer, 0x02, &bytes[..stop]).await;
            // Now and then there is another byte.
            let drops = if drips { &bytes[stop..stop + 100] } else { &[] };
            for byte in drops {
                send_frame(&mut peer, 0x00, &[*byte]).await;
                sleep(WAIT / 10).await;
            }
            peer.gone().await;
        });
        let progress = one.options.progress.subscribe();
        until(|| progress.borrow().link.stats.records > 0 || progress.borrow().links > 1).await;
        healthy.put(&["x"], TIME).await;
        healthy.confirmed_up_to(TIME).await;
        assert_eq!(other.links(), 1);
        // What came of it is not there, and comes again.
        let (mut peer, request) = one.publisher.link().await;
        assert_eq!(request.subscriptions[0].start, Sequence(1.0));
        let told = progress.borrow().last_interruption.clone();
        assert!(matches!(told, Some(Interruption::HeldUp)), "{told:?}");
        assert_eq!(rows(&file, "one"), 0);
        peer.send_bytes(message.clone()).await;
        peer.confirmed_up_to(TIME).await;
        assert_eq!((rows(&file, "one"), rows(&file, "other")), (2, 1));
        stopped.abort();
        one.end().await;
        other.end().await;
    }
}

#[tokio::test]
async fn to_hold_others_up_for_long_is_no_health() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("replica.sqlite");
    let first = Duration::from_millis(200);
    let one = Follower::start_with(&file, "one", |options| {
        options.first_delay = first;
        options.longest_delay = 8 * first;
    })
    .await;
    let other = Follower::start(&file, "other").await;
    let (mut healthy, _) = other.publisher.link().await;
    let mut progress = one.options.progress.subscribe();
    let (message, stop) = message();
    for (round, delay) in [(1, first), (2, 2 * first)] {
        let (mut peer, _) = one.publisher.link().await;
        send_frame(&mut peer, 0x02, &message[..stop]).await;
        let has_begun = |told: &Snapshot| told.links == round && told.link.stats.records > 0;
        until(|| has_begun(&progress.borrow())).await;
        // As long as a link has to be healthy for the delay to begin anew.
        pause();
        advance(Backoff::HEALTHY_AFTER).await;
        resume();
        let time = TIME + round as f64;
        healthy.put(&["x"], time).await;
        let waiting = progress.wait_for(|told| matches!(told.phase, Phase::Waiting(_)));
        let waiting = soon(waiting).await.unwrap().phase;
        assert!(
            matches!(waiting, Phase::Waiting(it) if it == delay),
            "{waiting:?}"
        );
        healthy.confirmed_up_to(time).await;
    }
    one.end().await;
    other.end().await;
}

#[tokio::test]
async fn a_transaction_that_nobody_waits_for_may_take_its_time() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("replica.sqlite");
    // Somebody who was there once.
    Follower::start(&file, "other").await.end().await;
    let one = Follower::start(&file, "one").await;
    let (mut peer, _) = one.publisher.link().await;
    let (message, stop) = message();
    send_frame(&mut peer, 0x02, &message[..stop]).await;
    sleep(3 * WAIT).await;
    send_frame(&mut peer, 0x80, &message[stop..]).await;
    peer.confirmed_up_to(TIME).await;
    assert_eq!((one.links(), rows(&file, "one")), (1, 2));
    one.end().await;
}
