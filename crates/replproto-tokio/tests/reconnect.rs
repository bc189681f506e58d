//! Every way in which a link can end leads to one other dial, for as long as the link is wanted.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use replproto_core::wire::Message;
use replproto_core::{EndCause, Sequence};
use replproto_tokio::{
    BlobInfo, BlobStore, Ended, Endpoint, LinkConfig, MemoryBlobStore, MemorySink, MemorySinkError,
    NoBlobs, Phase, RunEnd, RunError, RunOptions, SinkStep, Snapshot, run,
};
use support::{Publisher, options, soon, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

type Ending = Result<RunEnd, RunError<MemorySinkError>>;

struct Follower {
    options: RunOptions,
    progress: watch::Receiver<Snapshot>,
    task: JoinHandle<Ending>,
}

impl Follower {
    fn start(config: LinkConfig, options: RunOptions) -> Self {
        Self::start_with(config, MemorySink::new(), NoBlobs, options)
    }

    fn start_with(
        config: LinkConfig,
        mut sink: MemorySink,
        blobs: impl BlobStore,
        options: RunOptions,
    ) -> Self {
        let run_options = options.clone();
        Self {
            progress: options.progress.subscribe(),
            options,
            task: tokio::spawn(async move { run(config, &mut sink, blobs, run_options).await }),
        }
    }

    /// Waits until so many links, or attempts, have ended for this cause.
    async fn ended(&self, cause: EndCause, times: u64) {
        until(|| self.progress.borrow().ends[cause.index()] >= times).await;
    }

    fn ends(&self) -> BTreeMap<&'static str, u64> {
        let ends = self.progress.borrow().ends;
        EndCause::ALL
            .into_iter()
            .zip(ends)
            .filter(|(_, count)| *count > 0)
            .map(|(cause, count)| (cause.as_str(), count))
            .collect()
    }

    async fn shut_down(self) {
        self.options.stop.shutdown();
        let end = soon(self.task).await.unwrap().unwrap();
        assert_eq!(end.how, Ended::Shutdown);
    }
}

/// Reads the request for a WebSocket, and answers it with this.
async fn answer(publisher: &Publisher, answer: &str) {
    let mut stream = publisher.accept_raw().await;
    let mut request = [0; 4096];
    assert!(soon(stream.read(&mut request)).await.unwrap() > 0);
    stream.write_all(answer.as_bytes()).await.unwrap();
    let _ = stream.shutdown().await;
}

#[tokio::test]
async fn a_dial_that_comes_to_nothing_is_followed_by_one_other() {
    let publisher = Publisher::bind().await;
    let follower = Follower::start(publisher.config(), options());
    let status = |line: &str| format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n");
    answer(&publisher, &status("401 Unauthorized")).await;
    answer(&publisher, &status("403 Forbidden")).await;
    answer(&publisher, &status("500 Internal Server Error")).await;
    answer(&publisher, "SSH-2.0-OpenSSH_9.6\r\n\r\n").await;
    // Closed without a word, and in the middle of one.
    drop(publisher.accept_raw().await);
    answer(&publisher, "HTTP/1.1 101 Switching").await;
    // A WebSocket, and not one of this protocol.
    let stream = publisher.accept_raw().await;
    let _ = tokio_tungstenite::accept_async(stream).await;
    follower.ended(EndCause::Upgrade, 5).await;
    assert_eq!(
        follower.ends(),
        BTreeMap::from([("authorization", 2), ("upgrade", 5)])
    );
    publisher.link().await;
    follower.shut_down().await;
}

#[tokio::test]
async fn what_cannot_be_reached_is_dialled_again() {
    for (address, cause) in [
        ("ws://no-such-host.invalid", EndCause::Resolve),
        ("ws://127.0.0.1:1", EndCause::Connect),
    ] {
        let endpoint: Endpoint = address.parse().unwrap();
        let follower = Follower::start(LinkConfig::new(endpoint, "us", "data"), options());
        follower.ended(cause, 3).await;
        let ends = follower.ends();
        assert_eq!(ends.keys().copied().collect::<Vec<_>>(), [cause.as_str()]);
        follower.shut_down().await;
    }
    // It accepts and says nothing.
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    config.connect_timeout = Duration::from_millis(20);
    let follower = Follower::start(config, options());
    follower.ended(EndCause::DialTimeout, 2).await;
    follower.shut_down().await;
}

#[tokio::test]
async fn every_end_of_a_link_is_followed_by_one_dial() {
    let publisher = Publisher::bind().await;
    let follower = Follower::start(publisher.config(), options());
    let codes = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 4000, 4999,
    ];
    for code in codes {
        // Before the greeting, before the answer to the subscription, and after it.
        let mut peer = publisher.accept().await;
        peer.close(code, "bye").await;
        let mut peer = publisher.accept().await;
        peer.hear().await;
        peer.close(code, "No longer subscribed").await;
        let (mut peer, _) = publisher.link().await;
        peer.close(code, "").await;
    }
    let (mut peer, _) = publisher.link().await;
    peer.send(&Message::Disconnect).await;
    let (peer, _) = publisher.link().await;
    drop(peer);
    let (peer, _) = publisher.link().await;
    reset(peer.socket.into_inner());
    let (mut peer, _) = publisher.link().await;
    peer.send_bytes(vec![0x42; 9]).await;
    peer.closed().await;
    let (mut last, _) = publisher.link().await;
    assert_eq!(
        follower.ends(),
        BTreeMap::from([
            ("peer_closed", 3 * codes.len() as u64),
            ("disconnected", 1),
            ("transport_lost", 2),
            ("protocol", 1),
        ])
    );
    assert_eq!(follower.progress.borrow().links, 3 * 14 + 5);
    last.put(&["a"], 2.0).await;
    last.confirmed_up_to(2.0).await;
    follower.shut_down().await;
}

/// Breaks the connection without ending it in order.
fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
}

#[tokio::test]
async fn a_silent_peer_is_dialled_again() {
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    config.core.timeouts.ping_interval = Duration::from_millis(50);
    config.core.timeouts.ping_timeout = Duration::from_millis(100);
    let follower = Follower::start(config, options());
    // Half-open: nothing is read, so nothing is answered, and the end of the connection is not told. On a busy machine a link
    // may be given up before it is set up.
    let mut silent = Vec::new();
    let ends = || follower.ends().get("silence").copied().unwrap_or_default();
    while ends() < 3 {
        let mut peer = publisher.accept().await;
        if let Some(request) = peer.greet(None).await {
            peer.answer(&request).await;
        }
        silent.push(peer);
    }
    assert_eq!(follower.ends(), BTreeMap::from([("silence", ends())]));
    assert!(silent.len() as u64 >= ends());
    follower.shut_down().await;
}

/// Panics when it is to open its first blob.
struct Panicking(Arc<AtomicBool>, MemoryBlobStore);

impl BlobStore for Panicking {
    type Writer = <MemoryBlobStore as BlobStore>::Writer;
    type Error = <MemoryBlobStore as BlobStore>::Error;

    async fn open(&self, blob: BlobInfo) -> Result<Self::Writer, Self::Error> {
        assert!(self.0.swap(true, Ordering::Relaxed), "a blob store panics");
        self.1.open(blob).await
    }
}

#[tokio::test]
async fn the_panic_of_a_blob_store_is_the_failure_of_one_blob() {
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    config.core.timeouts.blob_gap = Duration::from_millis(20);
    let store = Panicking(Arc::default(), MemoryBlobStore::new());
    let follower = Follower::start_with(config, MemorySink::new(), store, options());
    let (mut peer, _) = publisher.link().await;
    peer.put_blob("a", "1f", 2.0).await;
    peer.chunk("1f", b"bytes", true).await;
    // The link is renewed to get the blob.
    let (mut peer, request) = publisher.link().await;
    assert_eq!(request.subscriptions[0].start, Sequence(1.0));
    peer.put_blob("a", "1f", 2.0).await;
    peer.chunk("1f", b"bytes", true).await;
    peer.confirmed_up_to(2.0).await;
    assert_eq!(follower.ends(), BTreeMap::from([("blob_gap", 1)]));
    follower.shut_down().await;
}

/// The delays before the dials of a run whose peer answers like this, as the run tells them.
async fn delays(options: RunOptions, count: usize) -> Vec<Duration> {
    let publisher = Publisher::bind().await;
    let follower = Follower::start(publisher.config(), options);
    let mut progress = follower.progress.clone();
    let mut delays = Vec::new();
    while delays.len() < count {
        drop(publisher.accept_raw().await);
        let told = soon(progress.wait_for(|snapshot| {
            snapshot.failed_dials > delays.len() as u64
                && matches!(snapshot.phase, Phase::Waiting(_))
        }));
        if let Phase::Waiting(delay) = told.await.unwrap().phase {
            delays.push(delay);
        }
    }
    follower.shut_down().await;
    delays
}

#[tokio::test]
async fn delays_double_and_a_seed_spreads_them() {
    let millis = Duration::from_millis;
    let mut options = options();
    options.first_delay = millis(1);
    options.longest_delay = millis(8);
    let plain = delays(options.clone(), 6).await;
    assert_eq!(plain, [1, 2, 4, 8, 8, 8].map(millis));
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let mut options = options.clone();
        // A new run has progress and a stop of its own.
        options.progress = watch::Sender::default();
        options.stop = replproto_tokio::Stop::new();
        options.jitter = Some(seed);
        runs.push(delays(options, 6).await);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    assert!(
        runs[0]
            .iter()
            .zip(&plain)
            .all(|(delay, most)| delay <= most)
    );
}

#[tokio::test]
async fn a_store_that_never_answers_does_not_hold_up_the_end() {
    for step in [SinkStep::Load, SinkStep::Apply, SinkStep::Commit] {
        let publisher = Publisher::bind().await;
        let mut options = options();
        options.patience = Duration::from_millis(10);
        let sink = MemorySink::new();
        let (stuck, mut is_stuck) = watch::channel(false);
        sink.view().plan(move |at| {
            if at != step {
                return (Duration::ZERO, Ok(()));
            }
            stuck.send_replace(true);
            (Duration::from_secs(86_400), Ok(()))
        });
        let follower = Follower::start_with(publisher.config(), sink, NoBlobs, options);
        if step != SinkStep::Load {
            let (mut peer, _) = publisher.link().await;
            peer.put(&["a"], 2.0).await;
        }
        soon(is_stuck.wait_for(|stuck| *stuck)).await.unwrap();
        // Whoever looks sees what is waited for, also when the link has long been over.
        until(|| follower.progress.borrow().phase == Phase::Storing).await;
        follower.options.stop.drain(Duration::from_millis(10));
        let end = soon(follower.task).await.unwrap().unwrap();
        // Before the dial nothing was in hand.
        let expected = match step {
            SinkStep::Load => Ended::Drained,
            _ => Ended::DrainTimedOut,
        };
        assert_eq!(end.how, expected, "{step:?}");
    }
}

#[tokio::test]
async fn a_drain_tells_what_was_done_and_what_is_left() {
    let publisher = Publisher::bind().await;
    let sink = MemorySink::new();
    let follower =
        Follower::start_with(publisher.config(), sink, MemoryBlobStore::new(), options());
    let (mut peer, _) = publisher.link().await;
    peer.put(&["a"], 2.0).await;
    peer.confirmed_up_to(2.0).await;
    // Half of a blob: it cannot be finished without the peer.
    peer.put_blob("b", "1f", 3.0).await;
    peer.chunk("1f", b"half", false).await;
    until(|| {
        let stats = follower.progress.borrow().link.stats;
        (stats.commits, stats.blob_bytes) == (2, 4)
    })
    .await;
    follower.options.stop.drain(Duration::from_secs(60));
    peer.closed().await;
    let end = soon(follower.task).await.unwrap().unwrap();
    assert_eq!(end.how, Ended::Drained);
    let report = end.report.unwrap();
    assert_eq!(report.abandoned.blobs, 1);
    assert_eq!((report.abandoned.events, report.abandoned.commits), (0, 0));
    assert_eq!(report.cursor.unwrap().sequence, Sequence(2.0));
}

/// Each commit takes a while, and then ends like this. Gives what tells that one has begun.
fn slow_commit(
    sink: &MemorySink,
    end: impl Fn() -> Result<(), String> + Send + 'static,
) -> watch::Receiver<bool> {
    let (begun, has_begun) = watch::channel(false);
    sink.view().plan(move |step| {
        if step != SinkStep::Commit {
            return (Duration::ZERO, Ok(()));
        }
        begun.send_replace(true);
        (Duration::from_millis(50), end())
    });
    has_begun
}

#[tokio::test]
async fn a_drain_whose_store_fails_is_no_success() {
    let publisher = Publisher::bind().await;
    let sink = MemorySink::new();
    let mut has_begun = slow_commit(&sink, || Err("disk full".to_owned()));
    let follower = Follower::start_with(publisher.config(), sink, NoBlobs, options());
    let (mut peer, _) = publisher.link().await;
    peer.put(&["a"], 2.0).await;
    soon(has_begun.wait_for(|begun| *begun)).await.unwrap();
    follower.options.stop.drain(Duration::from_secs(60));
    let error = soon(follower.task).await.unwrap().unwrap_err();
    assert!(
        matches!(error, RunError::Sink { tries: 1, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_drain_whose_link_breaks_is_told_as_that() {
    let publisher = Publisher::bind().await;
    let sink = MemorySink::new();
    let mut has_begun = slow_commit(&sink, || Ok(()));
    let mut config = publisher.config();
    config.core.timeouts.settle = Duration::from_millis(10);
    let follower = Follower::start_with(config, sink, NoBlobs, options());
    let (mut peer, _) = publisher.link().await;
    peer.put(&["a"], 2.0).await;
    soon(has_begun.wait_for(|begun| *begun)).await.unwrap();
    peer.close(1011, "").await;
    until(|| follower.progress.borrow().phase == Phase::Storing).await;
    follower.options.stop.drain(Duration::from_secs(60));
    let end = soon(follower.task).await.unwrap().unwrap();
    assert_eq!(end.how, Ended::DrainInterrupted);
}

#[test]
fn a_drain_may_take_for_ever() {
    replproto_tokio::Stop::new().drain(Duration::MAX);
}
