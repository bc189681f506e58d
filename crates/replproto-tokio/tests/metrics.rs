//! What a run tells of itself while it follows a publisher, and what it does not.
#![cfg(feature = "metrics")]

mod support;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    set_default_local_recorder,
};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use replproto_core::{Sequence, Start};
use replproto_tokio::{
    Authorization, Ended, MemoryBlobStore, MemorySink, RunEnd, RunError, RunOptions, Snapshot, run,
};
use support::{DATABASE, Publisher, soon, until};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing_subscriber::fmt::MakeWriter;

const CANARY: &str = "canary7f3a";

struct Follower {
    options: RunOptions,
    task: JoinHandle<Result<RunEnd, RunError<replproto_tokio::MemorySinkError>>>,
}

impl Follower {
    /// On this thread, where the recorder of the test is installed.
    fn start(publisher: &Publisher) -> Self {
        let mut options = RunOptions::default();
        options.start = Start::At(Sequence(1.0));
        options.first_delay = Duration::from_millis(1);
        let mut config = publisher.config();
        config.core.peer_name = Some(support::NAME.into());
        let authorization = Authorization::new(format!("Basic {CANARY}"));
        config.authorization = Some(authorization.unwrap().into());
        let run_options = options.clone();
        let task = tokio::spawn(async move {
            let mut sink = MemorySink::new();
            run(config, &mut sink, MemoryBlobStore::new(), run_options).await
        });
        Self { options, task }
    }

    fn snapshots(&self) -> watch::Receiver<Snapshot> {
        self.options.progress.subscribe()
    }

    async fn shut_down(self) -> RunEnd {
        self.options.stop.shutdown();
        let end = soon(self.task).await.unwrap().unwrap();
        assert_eq!(end.how, Ended::Shutdown);
        end
    }
}

/// Some of everything: records, a blob, one that is gone, and a link that breaks.
async fn follow(publisher: &Publisher) -> RunEnd {
    let follower = Follower::start(publisher);
    let (mut peer, _) = publisher.link().await;
    peer.put(&["a", CANARY], 2.0).await;
    peer.put(&["c"], 3.0).await;
    peer.confirmed_up_to(3.0).await;
    drop(peer);
    let (mut peer, _) = publisher.link().await;
    peer.put_blob(CANARY, CANARY, 4.0).await;
    peer.chunk(CANARY, CANARY.as_bytes(), true).await;
    peer.put_blob("gone", "1a", 5.0).await;
    peer.send(&support::gone("1a", CANARY)).await;
    peer.confirmed_up_to(5.0).await;
    let snapshots = follower.snapshots();
    until(|| snapshots.borrow().link.stats.blobs_gone == 1).await;
    follower.shut_down().await
}

/// All values by name and labels. Looking takes them.
fn take(snapshotter: &Snapshotter) -> BTreeMap<String, DebugValue> {
    let snapshot = snapshotter.snapshot().into_vec().into_iter();
    snapshot
        .map(|(key, _, _, value)| (key.key().to_string(), value))
        .collect()
}

#[tokio::test]
async fn a_run_tells_the_right_numbers() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let _installed = set_default_local_recorder(&recorder);
    let publisher = Publisher::bind().await;
    let end = follow(&publisher).await;
    let all = take(&seen);
    let find = |name: &str, label: &str| {
        let found = all.iter().find(|(key, _)| {
            key.contains(&format!("{name},")) || key.contains(&format!("{name}("))
        });
        let labelled = all
            .iter()
            .find(|(key, _)| key.contains(name) && key.contains(label));
        let (key, value) = if label.is_empty() { found } else { labelled }
            .unwrap_or_else(|| panic!("{name} {label} is not in {:?}", all.keys()));
        assert!(key.contains(&format!("database = {DATABASE}")), "{key}");
        assert!(key.contains(&format!("peer = {}", support::NAME)), "{key}");
        match value {
            DebugValue::Counter(count) => *count as f64,
            DebugValue::Gauge(level) => level.0,
            DebugValue::Histogram(values) => values.len() as f64,
        }
    };
    let total = end.stats;
    for (name, label, value) in [
        ("replproto_links_total", "", 2.0),
        ("replproto_reconnects_total", "cause = transport_lost", 1.0),
        ("replproto_reconnects_total", "cause = asked", 0.0),
        ("replproto_records_total", "", 5.0),
        ("replproto_transactions_total", "", 4.0),
        ("replproto_received_bytes_total", "", total.bytes as f64),
        ("replproto_events_total", "", total.events as f64),
        ("replproto_commits_total", "", total.commits as f64),
        (
            "replproto_confirmations_total",
            "",
            total.confirmations as f64,
        ),
        (
            "replproto_storage_commits_total",
            "",
            end.snapshot.storage_commits as f64,
        ),
        ("replproto_blobs_saved_total", "", 1.0),
        ("replproto_blob_bytes_total", "", CANARY.len() as f64),
        ("replproto_blobs_failed_total", "class = gone", 1.0),
        ("replproto_blobs_failed_total", "class = held", 0.0),
        ("replproto_blob_faults_total", "reason = source", 1.0),
        ("replproto_replication_latency_seconds", "", 4.0),
        // The run is over.
        ("replproto_up", "", 0.0),
        ("replproto_phase", "phase = following", 0.0),
        ("replproto_queue_high_bytes", "queue = inbound", 0.0),
    ] {
        assert_eq!(find(name, label), value, "{name} {label}");
    }
}

/// Gauges that keep their values, by name.
#[derive(Default)]
struct Gauges(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Gauges {
    fn up(&self) -> f64 {
        let gauges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let up = gauges.get("replproto_up").expect("registered");
        f64::from_bits(up.load(Ordering::Relaxed))
    }
}

impl Recorder for Gauges {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let mut gauges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gauge = gauges.entry(key.name().to_owned()).or_default();
        Gauge::from_arc(gauge.clone())
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test]
async fn gauges_are_zero_when_a_run_is_dropped() {
    let gauges = Gauges::default();
    let _installed = set_default_local_recorder(&gauges);
    let publisher = Publisher::bind().await;
    let follower = Follower::start(&publisher);
    let (mut peer, _) = publisher.link().await;
    peer.put(&["a"], 2.0).await;
    peer.confirmed_up_to(2.0).await;
    until(|| gauges.up() == 1.0).await;
    follower.task.abort();
    until(|| gauges.up() == 0.0).await;
}

/// A log that is kept.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_secret_and_no_content_comes_into_a_metric_or_a_log_line() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let _installed = set_default_local_recorder(&recorder);
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("replproto_core=trace,replproto_tokio=trace")
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    // For all threads: whether a line is of interest is remembered for all of them. So the other tests are heard too.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let publisher = Publisher::bind().await;
    follow(&publisher).await;
    for (name, value) in take(&seen) {
        assert!(!name.contains(CANARY), "{name}");
        assert!(!format!("{value:?}").contains(CANARY), "{name}");
    }
    let log = log.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let log = String::from_utf8_lossy(&log);
    assert!(
        log.contains("committed") && log.contains("the link is over"),
        "{log}"
    );
    assert!(!log.contains(CANARY), "{log}");
}

/// Panics at everything, or only at what comes after registering.
#[derive(Clone, Copy)]
struct Broken {
    at_once: bool,
}

impl Broken {
    fn register(self) -> Arc<Self> {
        assert!(!self.at_once, "an observer fails");
        Arc::new(self)
    }
}

impl Recorder for Broken {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.register())
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.register())
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.register())
    }
}

impl ::metrics::CounterFn for Broken {
    fn increment(&self, _: u64) {
        panic!("an observer fails");
    }

    fn absolute(&self, _: u64) {
        panic!("an observer fails");
    }
}

impl ::metrics::GaugeFn for Broken {
    fn increment(&self, _: f64) {
        panic!("an observer fails");
    }

    fn decrement(&self, _: f64) {
        panic!("an observer fails");
    }

    fn set(&self, _: f64) {
        panic!("an observer fails");
    }
}

impl ::metrics::HistogramFn for Broken {
    fn record(&self, _: f64) {
        panic!("an observer fails");
    }
}

#[tokio::test]
async fn an_observer_that_fails_changes_nothing() {
    for at_once in [true, false] {
        let recorder = Broken { at_once };
        let _installed = set_default_local_recorder(&recorder);
        let publisher = Publisher::bind().await;
        let end = follow(&publisher).await;
        assert_eq!((end.stats.records, end.snapshot.links), (5, 2));
    }
}

#[tokio::test]
async fn rows_in_doubt_are_counted_by_class() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let _installed = set_default_local_recorder(&recorder);
    let publisher = Publisher::bind().await;
    let follower = Follower::start(&publisher);
    let (mut peer, _) = publisher.link().await;
    // Twice in one transaction.
    peer.put(&["a", "a"], 2.0).await;
    peer.confirmed_up_to(2.0).await;
    let end = follower.shut_down().await;
    assert_eq!(end.snapshot.doubts.total(), 1);
    for (key, value) in take(&seen) {
        if key.contains("replproto_ambiguous_total") {
            let is_it = key.contains("class = same-transaction");
            assert_eq!(value, DebugValue::Counter(u64::from(is_it)), "{key}");
        }
    }
}
