use std::sync::atomic::{AtomicUsize, Ordering};

use replproto_core::Epoch;
use tokio::sync::watch;

use super::*;
use crate::blobs::{InjectedBlobFailure, MemoryBlobStore};
use crate::driver::clock::Clock;
use crate::driver::exchange::Answers;

const fn blob(number: u64) -> BlobId {
    BlobId {
        epoch: Epoch(1),
        number,
    }
}

const BLOB: BlobId = blob(0);

fn info() -> BlobInfo {
    BlobInfo {
        peer: "node-a".into(),
        database: "data".into(),
        file: "x".into(),
        size: None,
    }
}

fn exchange() -> Arc<Exchange> {
    Arc::new(Exchange::new(Clock::start()))
}

fn answers(exchange: &Exchange) -> Vec<Input> {
    let mut answers = Answers::default();
    exchange.take_answers(&mut answers);
    answers.inputs
}

/// Lets the tasks do all that they can.
async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

/// A store whose calls are ready once their gate is open.
#[derive(Debug)]
struct Gated {
    opens: watch::Receiver<bool>,
    writes: watch::Receiver<bool>,
    aborts: watch::Receiver<bool>,
    at_work: Arc<AtomicUsize>,
}

/// The gates of a store, closed.
struct Gates {
    opens: watch::Sender<bool>,
    writes: watch::Sender<bool>,
    aborts: watch::Sender<bool>,
    /// Calls that are under way.
    at_work: Arc<AtomicUsize>,
}

impl Gated {
    fn new() -> (Self, Gates) {
        let (opens, writes, aborts) = (
            watch::channel(false),
            watch::channel(false),
            watch::channel(false),
        );
        let at_work = Arc::<AtomicUsize>::default();
        let store = Self {
            opens: opens.1,
            writes: writes.1,
            aborts: aborts.1,
            at_work: at_work.clone(),
        };
        let gates = Gates {
            opens: opens.0,
            writes: writes.0,
            aborts: aborts.0,
            at_work,
        };
        (store, gates)
    }

    async fn pass(&self, gate: &watch::Receiver<bool>) {
        self.at_work.fetch_add(1, Ordering::Relaxed);
        let _ = gate.clone().wait_for(|is_open| *is_open).await;
        self.at_work.fetch_sub(1, Ordering::Relaxed);
    }

    fn clone(&self) -> Self {
        Self {
            opens: self.opens.clone(),
            writes: self.writes.clone(),
            aborts: self.aborts.clone(),
            at_work: self.at_work.clone(),
        }
    }
}

impl BlobStore for Gated {
    type Error = InjectedBlobFailure;
    type Writer = Self;

    async fn open(&self, _: BlobInfo) -> Result<Self, InjectedBlobFailure> {
        self.pass(&self.opens).await;
        Ok(self.clone())
    }
}

impl BlobWriter for Gated {
    type Error = InjectedBlobFailure;

    async fn write(&mut self, _: Bytes) -> Result<(), InjectedBlobFailure> {
        self.pass(&self.writes).await;
        Ok(())
    }

    async fn save(self) -> Result<(), InjectedBlobFailure> {
        Ok(())
    }

    async fn abort(self) {
        self.pass(&self.aborts).await;
    }
}

fn tasks(store: Gated) -> (BlobTasks<Gated>, Arc<Exchange>) {
    let exchange = exchange();
    let tasks = BlobTasks::new(
        Arc::new(store),
        exchange.clone(),
        Scope::new(),
        Journal::default(),
    );
    (tasks, exchange)
}

#[tokio::test]
async fn an_aborted_blob_is_answered_for_once_the_store_has_ended_with_it() {
    let (store, gates) = Gated::new();
    let (mut tasks, exchange) = tasks(store);
    tasks.open(BLOB, info());
    settle().await;
    tasks.abort(BLOB);
    settle().await;
    assert_eq!(answers(&exchange), [], "it is still being opened");
    gates.opens.send_replace(true);
    settle().await;
    assert_eq!(answers(&exchange), [], "and now it is being thrown away");
    gates.aborts.send_replace(true);
    settle().await;
    assert_eq!(answers(&exchange), [Input::BlobAborted(BLOB)]);
}

#[tokio::test]
async fn a_write_under_way_is_given_up_and_its_writer_awaited() {
    let (store, gates) = Gated::new();
    gates.opens.send_replace(true);
    let (mut tasks, exchange) = tasks(store);
    tasks.open(BLOB, info());
    tasks.write(BLOB, Bytes::from_static(b"x"), false);
    settle().await;
    tasks.abort(BLOB);
    settle().await;
    assert_eq!(answers(&exchange), []);
    gates.aborts.send_replace(true);
    settle().await;
    assert_eq!(answers(&exchange), [Input::BlobAborted(BLOB)]);
}

#[tokio::test]
async fn a_link_has_a_bounded_number_of_calls_under_way() {
    let (store, gates) = Gated::new();
    let (mut tasks, exchange) = tasks(store);
    for number in 0..100 {
        tasks.open(blob(number), info());
        tasks.write(blob(number), Bytes::from_static(b"x"), true);
    }
    settle().await;
    assert_eq!(gates.at_work.load(Ordering::Relaxed), OPERATIONS_IN_FLIGHT);
    // Those whose turn has not come are not at work.
    for number in 0..100 {
        tasks.abort(blob(number));
    }
    settle().await;
    let answered = answers(&exchange);
    assert_eq!(answered.len(), 100 - OPERATIONS_IN_FLIGHT);
    let is_abort = |answer: &Input| matches!(answer, Input::BlobAborted(_));
    assert!(answered.iter().all(is_abort), "{answered:?}");
    gates.opens.send_replace(true);
    gates.aborts.send_replace(true);
    settle().await;
    assert_eq!(answers(&exchange).len(), OPERATIONS_IN_FLIGHT);
}

#[tokio::test]
async fn calls_take_turns_and_none_is_left_out() {
    let (store, gates) = Gated::new();
    let (mut tasks, exchange) = tasks(store);
    for number in 0..100 {
        tasks.open(blob(number), info());
        tasks.write(blob(number), Bytes::from_static(b"x"), true);
    }
    gates.opens.send_replace(true);
    settle().await;
    assert_eq!(gates.at_work.load(Ordering::Relaxed), OPERATIONS_IN_FLIGHT);
    gates.writes.send_replace(true);
    settle().await;
    let is_saved = |answer: &&Input| matches!(answer, Input::BlobSaved(_));
    assert_eq!(answers(&exchange).iter().filter(is_saved).count(), 100);
}

#[tokio::test]
async fn only_a_store_that_panics_is_said_to() {
    let exchange = exchange();
    let why = |exchange: &Exchange| match answers(exchange).as_slice() {
        [Input::BlobFailed { why, .. }] => why.to_string(),
        other => panic!("{other:?}"),
    };
    let scope = Scope::new();
    let store = Arc::new(MemoryBlobStore::new());
    let mut tasks = BlobTasks::new(store, exchange.clone(), scope.clone(), Journal::default());
    tasks.open(BLOB, info());
    scope.close().await;
    assert_eq!(why(&exchange), "it was given up with its link");

    let report = Report {
        blob: BLOB,
        exchange: exchange.clone(),
        is_made: false,
    };
    let panicking = tokio::spawn(async move {
        let _report = report;
        panic!("on purpose");
    });
    assert!(panicking.await.unwrap_err().is_panic());
    assert_eq!(why(&exchange), "the blob store panicked");
}
