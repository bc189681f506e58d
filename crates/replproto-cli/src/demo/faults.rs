//! What goes wrong in the demo: the store stalls once, and writes of blobs fail.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use replproto_core::{Cursor, Event};
use replproto_tokio::{
    Applied, BlobFileError, BlobInfo, BlobStore, BlobWriter, FileBlobStore, FileBlobWriter, Sink,
    Stored,
};
use thiserror::Error;

/// Of so many blobs on the first link, one cannot be written.
pub(super) const FAILING_EVERY: u64 = 7;

/// How long the store stalls.
pub(super) const STALL: Duration = Duration::from_secs(3);

/// What the faults share, and what came of them.
#[derive(Debug)]
pub(super) struct Faults {
    /// After so many records the store stalls.
    stall_after: u64,
    records: AtomicU64,
    is_stalled: AtomicBool,
    links: AtomicU64,
    opened: AtomicU64,
    failed: AtomicU64,
}

impl Faults {
    /// The store stalls after so many records.
    pub(super) fn new(stall_after: u64) -> Arc<Self> {
        Arc::new(Self {
            stall_after,
            records: AtomicU64::new(0),
            is_stalled: AtomicBool::new(false),
            links: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    /// How many writes of blobs failed.
    pub(super) fn failed_blobs(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether the store is stalled now.
    pub(super) fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Relaxed)
    }

    fn next_blob_fails(&self) -> bool {
        if self.links.load(Ordering::Relaxed) > 1 {
            return false;
        }
        let opened = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
        opened.is_multiple_of(FAILING_EVERY)
    }
}

/// A sink that stalls once.
#[derive(Debug)]
pub(super) struct StallingSink<S> {
    inner: S,
    faults: Arc<Faults>,
}

impl<S> StallingSink<S> {
    pub(super) const fn new(inner: S, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }

    pub(super) fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Sink> Sink for StallingSink<S> {
    type Error = S::Error;

    async fn load(&mut self) -> Result<Stored, S::Error> {
        self.faults.links.fetch_add(1, Ordering::Relaxed);
        self.inner.load().await
    }

    async fn begin(&mut self) -> Result<(), S::Error> {
        self.inner.begin().await
    }

    async fn apply(&mut self, events: Vec<Event>) -> Result<Applied, S::Error> {
        let is_run = |event: &&Event| matches!(event, Event::Records(_));
        let records = events.iter().filter(is_run).map(Event::count).sum();
        let before = self.faults.records.fetch_add(records, Ordering::Relaxed);
        let stall_after = self.faults.stall_after;
        if before < stall_after && before + records >= stall_after {
            self.faults.is_stalled.store(true, Ordering::Relaxed);
            tokio::time::sleep(STALL).await;
            self.faults.is_stalled.store(false, Ordering::Relaxed);
        }
        self.inner.apply(events).await
    }

    async fn commit(&mut self, cursor: Option<Cursor>) -> Result<(), S::Error> {
        self.inner.commit(cursor).await
    }

    async fn may_wait(&mut self) -> Result<bool, S::Error> {
        self.inner.may_wait().await
    }

    async fn rollback(&mut self) -> Result<(), S::Error> {
        self.inner.rollback().await
    }
}

/// A blob could not be written.
#[derive(Debug, Error)]
pub(super) enum DemoBlobError {
    #[error(transparent)]
    Store(#[from] BlobFileError),
    /// The demo made it fail.
    #[error("the demo's disk has lost the file: {0}")]
    Injected(io::Error),
}

/// The code for "no such file or directory".
const ENOENT: i32 = 2;

/// A store in which writes fail on the first link.
#[derive(Debug)]
pub(super) struct FailingBlobs {
    inner: FileBlobStore,
    faults: Arc<Faults>,
}

impl FailingBlobs {
    pub(super) const fn new(inner: FileBlobStore, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }
}

impl BlobStore for FailingBlobs {
    type Error = DemoBlobError;
    type Writer = FailingWriter;

    async fn open(&self, blob: BlobInfo) -> Result<FailingWriter, DemoBlobError> {
        Ok(FailingWriter {
            fails: self.faults.next_blob_fails(),
            inner: self.inner.open(blob).await?,
            faults: Arc::clone(&self.faults),
        })
    }
}

/// A writer whose writes may fail.
#[derive(Debug)]
pub(super) struct FailingWriter {
    inner: FileBlobWriter,
    fails: bool,
    faults: Arc<Faults>,
}

impl BlobWriter for FailingWriter {
    type Error = DemoBlobError;

    async fn write(&mut self, bytes: Bytes) -> Result<(), DemoBlobError> {
        if self.fails {
            self.faults.failed.fetch_add(1, Ordering::Relaxed);
            let error = io::Error::from_raw_os_error(ENOENT);
            return Err(DemoBlobError::Injected(error));
        }
        Ok(self.inner.write(bytes).await?)
    }

    async fn save(self) -> Result<(), DemoBlobError> {
        Ok(self.inner.save().await?)
    }

    async fn abort(self) {
        self.inner.abort().await;
    }
}
