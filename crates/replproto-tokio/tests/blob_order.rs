//! What is durable before what: blobs, then rows with the cursor, then the confirmation; and what of blobs crosses from one
//! connection to the next.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use replproto_core::wire::Message;
use replproto_core::wire::message::ChunkHeader;
use replproto_core::{Cursor, Event};
use replproto_tokio::{
    Applied, BlobInfo, BlobStore, BlobWriter, InjectedBlobFailure, MemoryBlobStore,
    MemoryBlobWriter, MemorySink, MemorySinkError, RunOptions, Sink, Stored, run,
};
use support::{DATABASE, NAME, Publisher, options, soon, until};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happened, in order: seen by the store, the sink and the publisher.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A store that saves while its gate is open, and says when it has.
#[derive(Clone)]
struct Store {
    blobs: MemoryBlobStore,
    log: Log,
    is_open: watch::Receiver<bool>,
}

struct Writer {
    writer: MemoryBlobWriter,
    file: String,
    log: Log,
    is_open: watch::Receiver<bool>,
}

impl BlobStore for Store {
    type Error = InjectedBlobFailure;
    type Writer = Writer;

    async fn open(&self, blob: BlobInfo) -> Result<Writer, InjectedBlobFailure> {
        Ok(Writer {
            file: blob.file.to_string(),
            writer: self.blobs.open(blob).await?,
            log: self.log.clone(),
            is_open: self.is_open.clone(),
        })
    }
}

impl BlobWriter for Writer {
    type Error = InjectedBlobFailure;

    async fn write(&mut self, bytes: Bytes) -> Result<(), InjectedBlobFailure> {
        self.writer.write(bytes).await
    }

    async fn save(mut self) -> Result<(), InjectedBlobFailure> {
        self.log.add(format!("saving {}", self.file));
        self.is_open.wait_for(|is_open| *is_open).await.unwrap();
        self.writer.save().await?;
        self.log.add(format!("saved {}", self.file));
        Ok(())
    }

    async fn abort(self) {
        self.writer.abort().await;
    }
}

/// A sink that says what it applies, commits slowly, and says when it has.
struct LoggedSink {
    sink: MemorySink,
    log: Log,
}

impl Sink for LoggedSink {
    type Error = MemorySinkError;

    async fn load(&mut self) -> Result<Stored, MemorySinkError> {
        self.sink.load().await
    }

    async fn begin(&mut self) -> Result<(), MemorySinkError> {
        self.sink.begin().await
    }

    async fn apply(&mut self, events: Vec<Event>) -> Result<Applied, MemorySinkError> {
        for event in &events {
            if let Event::EndTransaction(end) = event
                && let Some(sequence) = end.sequence
            {
                self.log.add(format!("applied up to {}", sequence.0));
            }
        }
        self.sink.apply(events).await
    }

    async fn commit(&mut self, cursor: Option<Cursor>) -> Result<(), MemorySinkError> {
        let what = cursor.as_ref().map(|cursor| cursor.sequence.0);
        self.sink.commit(cursor).await?;
        // Whoever confirms it before this has returned is seen to.
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.log.add(match what {
            Some(sequence) => format!("committed up to {sequence}"),
            None => "committed without a cursor".into(),
        });
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), MemorySinkError> {
        self.sink.rollback().await
    }
}

struct Follower {
    log: Log,
    blobs: MemoryBlobStore,
    gate: watch::Sender<bool>,
    options: RunOptions,
    task: JoinHandle<()>,
}

impl Follower {
    fn start(publisher: &Publisher) -> Self {
        let (gate, is_open) = watch::channel(false);
        let (log, blobs, options) = (Log::default(), MemoryBlobStore::new(), options());
        let store = Store {
            blobs: blobs.clone(),
            log: log.clone(),
            is_open,
        };
        let mut sink = LoggedSink {
            sink: MemorySink::new(),
            log: log.clone(),
        };
        let (config, run_options) = (publisher.config(), options.clone());
        let task = tokio::spawn(async move {
            let end = run(config, &mut sink, store, run_options).await;
            end.expect("it was shut down");
        });
        Self {
            log,
            blobs,
            gate,
            options,
            task,
        }
    }

    async fn logged(&self, what: &str) {
        until(|| self.log.all().iter().any(|said| said == what)).await;
    }

    /// Waits for the first commit after this.
    async fn committed_after(&self, what: &str) {
        until(|| {
            let log = self.log.all();
            let mut after = log.iter().skip_while(|said| *said != what);
            after.any(|said| said.starts_with("committed"))
        })
        .await;
    }

    async fn shut_down(self) {
        self.options.stop.shutdown();
        soon(self.task).await.unwrap();
    }
}

#[tokio::test]
async fn blobs_are_saved_then_the_cursor_is_committed_then_it_is_confirmed() {
    for record_first in [true, false] {
        let publisher = Publisher::bind().await;
        let follower = Follower::start(&publisher);
        let (mut peer, _) = publisher.link().await;
        if record_first {
            peer.put_blob("a", "1a", 2.0).await;
            peer.chunk("1a", b"bytes", true).await;
        } else {
            peer.chunk("1a", b"bytes", true).await;
            peer.put_blob("a", "1a", 2.0).await;
        }
        follower.logged("saving 1a").await;
        // Later records are committed meanwhile, the second after what the first commit has done to the cursor: nothing.
        for (key, sequence) in [("b", 3.0), ("c", 4.0)] {
            peer.put(&[key], sequence).await;
            let applied = format!("applied up to {sequence}");
            follower.committed_after(&applied).await;
        }
        let log = follower.log.all();
        let is_early = |said: &String| said.starts_with("committed up to");
        assert!(!log.iter().any(is_early), "{log:?}");
        follower.gate.send(true).unwrap();
        loop {
            let sequence = peer.confirmed().await;
            follower.log.add(format!("confirmed {sequence}"));
            if sequence >= 4.0 {
                break;
            }
        }
        let log = follower.log.all();
        let at = |what: &str| {
            log.iter()
                .position(|said| said.starts_with(what))
                .expect(what)
        };
        let order = ["saved 1a", "committed up to", "confirmed"].map(at);
        assert!(order.is_sorted(), "{log:?}");
        follower.shut_down().await;
    }
}

#[tokio::test]
async fn the_next_connection_waits_for_a_writer_of_the_last_one() {
    let publisher = Publisher::bind().await;
    let follower = Follower::start(&publisher);
    let (mut peer, _) = publisher.link().await;
    peer.chunk("1a", b"bytes", true).await;
    follower.logged("saving 1a").await;
    peer.close(1001, "going away").await;
    peer.gone().await;
    // Long enough for a dial that does not wait.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(publisher.is_quiet(), "it has dialled beside an open writer");
    assert_eq!(follower.blobs.open_writers(), 1);
    follower.gate.send(true).unwrap();
    let _next = publisher.link().await;
    assert_eq!(follower.blobs.open_writers(), 0);
    assert_eq!(follower.blobs.get(NAME, DATABASE, "1a").unwrap(), b"bytes");
    follower.shut_down().await;
}

/// The news that a blob could not be read now.
fn busy(file: &str) -> Message {
    Message::BlobChunk {
        header: ChunkHeader {
            file: file.into(),
            finished: true,
            error: Some("busy".into()),
            error_status: Some(503),
            ..ChunkHeader::default()
        },
        body: Bytes::new(),
    }
}

#[tokio::test]
async fn a_blob_that_cannot_be_read_on_five_connections_is_given_up() {
    let publisher = Publisher::bind().await;
    let follower = Follower::start(&publisher);
    for connection in 1..=5 {
        let (mut peer, request) = publisher.link().await;
        let start = request.subscriptions[0].start.0;
        assert_eq!(start, 1.0, "connection {connection}: the cursor is held");
        peer.put_blob("a", "1a", 2.0).await;
        peer.send(&busy("1a")).await;
        if connection == 5 {
            peer.confirmed_up_to(2.0).await;
        } else {
            // Before the end comes all that was sent before it.
            peer.close(1001, "going away").await;
            peer.gone().await;
        }
    }
    assert!(follower.log.all().contains(&"committed up to 2".into()));
    follower.shut_down().await;
}
