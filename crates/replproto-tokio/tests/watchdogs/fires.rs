//! Each watchdog within a run, over real sockets: it ends the link, the run dials once more, and the data is complete.
//!
//! The limits are short and nothing depends on how long anything takes: on a machine that is slow enough a watchdog may fire
//! on a healthy link too, and then the same must hold again.

use std::time::Duration;

use replproto_core::config::Timeouts;
use replproto_core::error::Watchdog;
use replproto_core::wire::Message;
use replproto_core::{CloseReason, LinkError, PauseReason, Sequence, Start, WallTime};
use replproto_tokio::{
    BlobStep, Ended, Interruption, LinkConfig, MemoryBlobStore, MemorySink, MemorySinkError,
    RunEnd, RunError, RunOptions, SinkStep, run,
};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;

use crate::support::{Peer, Publisher, Said, TIME, batch, keys, soon, until};

/// What fires, in these tests.
const SHORT: Duration = Duration::from_millis(200);

/// What does not.
const LONG: Duration = Duration::from_secs(3600);

/// Where the log goes on after what a test did.
const LAST: f64 = TIME + 1e9;

struct Follower {
    publisher: Publisher,
    config: LinkConfig,
    options: RunOptions,
    sink: MemorySink,
    blobs: MemoryBlobStore,
}

impl Follower {
    /// A follower with one short limit.
    async fn new(start: Start, shorten: impl FnOnce(&mut Timeouts)) -> Self {
        let publisher = Publisher::bind().await;
        let mut config = publisher.config();
        config.core.timeouts = Timeouts {
            ping_interval: SHORT / 10,
            ping_timeout: LONG,
            copy_timeout: LONG,
            setup: LONG,
            blob: LONG,
            blob_gap: LONG,
            pause_stall: LONG,
            not_ready: LONG,
            message: LONG,
            ..Timeouts::default()
        };
        shorten(&mut config.core.timeouts);
        let mut options = RunOptions::default();
        options.start = start;
        options.first_delay = Duration::from_millis(1);
        options.longest_delay = Duration::from_millis(1);
        Self {
            publisher,
            config,
            options,
            sink: MemorySink::new(),
            blobs: MemoryBlobStore::new(),
        }
    }

    /// Runs it. The first link is provoked, and must end in this way; the others are served well. In the end it has
    /// what it should have. Gives the blobs that it has.
    async fn survives(
        mut self,
        is_it: impl Fn(&Watchdog) -> bool,
        provoke: impl AsyncFnOnce(&mut Peer),
    ) -> MemoryBlobStore {
        let view = self.sink.view();
        let (config, options) = (self.config, self.options.clone());
        let blobs = self.blobs.clone();
        let task: JoinHandle<Result<RunEnd, RunError<MemorySinkError>>> =
            tokio::spawn(async move { run(config, &mut self.sink, blobs, options).await });
        let progress = self.options.progress.subscribe();

        let mut peer = self.publisher.accept().await;
        provoke(&mut peer).await;
        peer.gone().await;
        until(|| progress.borrow().last_interruption.is_some()).await;
        match progress.borrow().last_interruption.clone() {
            Some(Interruption::Closed(CloseReason::Error(LinkError::TimedOut {
                watchdog,
                ..
            }))) => assert!(is_it(&watchdog), "{watchdog}"),
            other => panic!("{other:?}"),
        }

        let mut links = 1;
        loop {
            let mut peer = self.publisher.accept().await;
            links += 1;
            let is_complete = serve(&mut peer).await;
            if is_complete {
                break;
            }
        }
        assert_eq!(keys(&view), ["a", "last"]);
        self.options.stop.shutdown();
        let end = soon(task).await.unwrap().unwrap();
        assert_eq!((end.how, end.snapshot.links), (Ended::Shutdown, links));
        // Each end was followed by one dial: a second one would still wait to be accepted.
        assert!(self.publisher.is_quiet());
        self.blobs
    }
}

async fn set_up(peer: &mut Peer) {
    if let Some(request) = peer.greet(None).await {
        peer.answer(&request).await;
    }
}

/// A healthy link: gives whether everything was confirmed on it.
async fn serve(peer: &mut Peer) -> bool {
    let Some(request) = peer.greet(None).await else {
        return false;
    };
    peer.answer(&request).await;
    if request.subscriptions[0].start == Sequence(0.0) {
        let start = WallTime(TIME + 100.0);
        peer.send(&Message::CopyStart { start, order: 1 }).await;
        peer.put(&["a"], TIME).await;
        peer.send(&Message::CopyComplete).await;
    } else {
        peer.put_blob("a", "1a", 2.0).await;
        peer.chunk("1a", b"bytes", true).await;
    }
    peer.put(&["last"], LAST).await;
    loop {
        match peer.hear().await {
            Said::Message(Message::CommittedUpdate(Sequence(LAST))) => return true,
            Said::Message(_) | Said::Closed(_) => {}
            Said::Gone => return false,
        }
    }
}

fn from_the_log() -> Start {
    Start::At(Sequence(1.0))
}

#[tokio::test]
async fn a_peer_that_falls_silent() {
    let follower = Follower::new(from_the_log(), |timeouts| timeouts.ping_timeout = SHORT);
    follower
        .await
        .survives(
            |watchdog| *watchdog == Watchdog::Silence,
            // Set up, and then not a word, not even a pong: it reads no pings.
            async |peer| {
                set_up(peer).await;
                let stream = peer.socket.get_mut();
                let _ = tokio::io::copy(stream, &mut tokio::io::sink())
                    .await
                    .unwrap();
            },
        )
        .await;
}

#[tokio::test]
async fn a_subscription_that_is_not_answered() {
    let follower = Follower::new(from_the_log(), |timeouts| timeouts.setup = SHORT);
    follower
        .await
        .survives(
            |watchdog| *watchdog == Watchdog::Setup,
            async |peer| drop(peer.greet(None).await),
        )
        .await;
}

#[tokio::test]
async fn a_message_that_stops_in_the_middle() {
    let batch = batch(&["a", "b"], TIME);
    // From the mere beginning on, and with nothing but pongs after it.
    for length in [0, 1, 8, batch.len() - 1] {
        let follower = Follower::new(from_the_log(), |timeouts| timeouts.message = SHORT);
        follower
            .await
            .survives(
                |watchdog| *watchdog == Watchdog::Message,
                async |peer| {
                    set_up(peer).await;
                    let stream = peer.socket.get_mut();
                    let mut frame = vec![0x02, length as u8];
                    frame.extend(&batch[..length]);
                    stream.write_all(&frame).await.unwrap();
                    // An empty frame is no byte of it.
                    stream.write_all(&[0x00, 0]).await.unwrap();
                },
            )
            .await;
    }
}

#[tokio::test]
async fn a_copy_that_stops_in_the_middle() {
    let follower = Follower::new(Start::Copy, |timeouts| timeouts.blob = SHORT);
    follower
        .await
        .survives(
            |watchdog| *watchdog == Watchdog::CopyProgress,
            async |peer| {
                set_up(peer).await;
                let start = WallTime(TIME + 100.0);
                peer.send(&Message::CopyStart { start, order: 1 }).await;
                peer.put(&["a"], TIME).await;
            },
        )
        .await;
}

#[tokio::test]
async fn a_copy_that_never_becomes_whole() {
    let follower = Follower::new(Start::Copy, |timeouts| timeouts.copy_timeout = SHORT);
    follower
        .await
        .survives(
            |watchdog| *watchdog == Watchdog::CopyFinish,
            async |peer| {
                set_up(peer).await;
                let start = WallTime(TIME + 100.0);
                peer.send(&Message::CopyStart { start, order: 1 }).await;
                // Its blob never comes.
                peer.put_blob("a", "1a", TIME).await;
                peer.send(&Message::CopyComplete).await;
            },
        )
        .await;
}

#[tokio::test]
async fn a_store_that_hangs() {
    let mut follower = Follower::new(from_the_log(), |timeouts| timeouts.pause_stall = SHORT).await;
    follower.config.core.flow.consumer.high.items = 2;
    follower.config.core.flow.consumer.low.items = 0;
    let mut applied = 0;
    follower.sink.view().plan(move |step| {
        applied += u32::from(step == SinkStep::Apply);
        // The third batch of records, for twice the limit: the link is over by then, and its end waits for the store.
        let hangs = step == SinkStep::Apply && applied == 3;
        (if hangs { 2 * SHORT } else { Duration::ZERO }, Ok(()))
    });
    follower
        .survives(
            |watchdog| {
                matches!(watchdog, Watchdog::PauseStall(reasons) if reasons.contains(PauseReason::ConsumerQueue))
            },
            async |peer| {
                set_up(peer).await;
                for number in 0..20 {
                    peer.put(&["a"], 1.1 + f64::from(number) / 100.0).await;
                }
            },
        )
        .await;
}

#[tokio::test]
async fn a_blob_store_that_hangs() {
    let mut follower = Follower::new(from_the_log(), |timeouts| timeouts.pause_stall = SHORT).await;
    follower.config.core.flow.blobs.high.bytes = 1000;
    follower.config.core.flow.blobs.low.bytes = 0;
    let mut hangs = true;
    follower.blobs.plan(move |step, _| {
        let delay = if step == BlobStep::Write && std::mem::take(&mut hangs) {
            LONG
        } else {
            Duration::ZERO
        };
        (delay, Ok(()))
    });
    let blobs = follower
        .survives(
            |watchdog| {
                matches!(watchdog, Watchdog::PauseStall(reasons) if reasons.contains(PauseReason::BlobStream))
            },
            async |peer| {
                set_up(peer).await;
                peer.put_blob("a", "1a", 2.0).await;
                peer.chunk("1a", &[7; 2000], false).await;
            },
        )
        .await;
    assert_eq!(blobs.len(), 1);
    assert_eq!(blobs.open_writers(), 0);
}

#[tokio::test]
async fn a_blob_that_falls_silent_and_leaves_a_gap() {
    let follower = Follower::new(from_the_log(), |timeouts| {
        timeouts.blob = SHORT;
        timeouts.blob_gap = SHORT;
    });
    let blobs = follower
        .await
        .survives(
            |watchdog| *watchdog == Watchdog::BlobGap,
            async |peer| {
                set_up(peer).await;
                peer.put_blob("a", "1a", 2.0).await;
                peer.chunk("1a", b"some", false).await;
            },
        )
        .await;
    assert_eq!(blobs.len(), 1);
    assert!(blobs.counts().2 >= 1, "the silent one is aborted");
}

#[tokio::test]
async fn a_blob_that_cannot_be_saved_leaves_a_gap() {
    let follower = Follower::new(from_the_log(), |timeouts| timeouts.blob_gap = SHORT).await;
    let mut fails = true;
    follower.blobs.plan(move |step, _| {
        let result = if step == BlobStep::Save && std::mem::take(&mut fails) {
            Err("no space left on device".to_owned())
        } else {
            Ok(())
        };
        (Duration::ZERO, result)
    });
    let blobs = follower
        .survives(
            |watchdog| *watchdog == Watchdog::BlobGap,
            async |peer| {
                set_up(peer).await;
                peer.put_blob("a", "1a", 2.0).await;
                peer.chunk("1a", b"bytes", true).await;
            },
        )
        .await;
    assert_eq!(blobs.len(), 1);
}
