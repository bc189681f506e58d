//! The blobs of one link on their way to the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use replproto_core::{BlobId, Input};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::time::timeout;

use super::exchange::Exchange;
use crate::blobs::{BlobInfo, BlobStore, BlobWriter};
use crate::describe::describe;
use crate::journal::{Journal, line};
use crate::scope::Scope;

/// As many chunks are given to a writer together at most.
const CHUNKS_PER_WRITE: usize = 64;

/// So many transfers of one link are at work in the store at the same time; the others wait for their turn. A store that
/// answers slowly must not make the link begin ever more work.
const OPERATIONS_IN_FLIGHT: usize = 16;

/// Between two log lines about a link that is over and waits for its store.
const WAIT_TOLD_EVERY: Duration = Duration::from_secs(60);

/// One task for each transfer, so that a slow blob holds up neither the link nor the others. What waits is bounded by the core:
/// a transfer stays charged, with its chunks that are not written, until its task has told how it ended.
#[derive(Debug)]
pub(crate) struct BlobTasks<B> {
    store: Arc<B>,
    exchange: Arc<Exchange>,
    operations: Arc<Semaphore>,
    transfers: BTreeMap<BlobId, Transfer>,
    /// Owns the tasks, and nothing else.
    scope: Scope,
    journal: Journal,
}

#[derive(Debug)]
struct Transfer {
    chunks: mpsc::UnboundedSender<Chunk>,
    abort: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    is_last: bool,
}

impl<B: BlobStore> BlobTasks<B> {
    pub(crate) fn new(
        store: Arc<B>,
        exchange: Arc<Exchange>,
        scope: Scope,
        journal: Journal,
    ) -> Self {
        Self {
            store,
            exchange,
            operations: Arc::new(Semaphore::new(OPERATIONS_IN_FLIGHT)),
            transfers: BTreeMap::new(),
            scope,
            journal,
        }
    }

    pub(crate) fn open(&mut self, blob: BlobId, info: BlobInfo) {
        let (chunks, chunk_receiver) = mpsc::unbounded_channel();
        let (abort, aborted) = oneshot::channel();
        self.transfers.insert(blob, Transfer { chunks, abort });
        let store = self.store.clone();
        let operations = self.operations.clone();
        let journal = self.journal.clone();
        let mut report = Report {
            blob,
            exchange: self.exchange.clone(),
            is_made: false,
        };
        self.scope.spawn(async move {
            match transfer(&*store, info, chunk_receiver, aborted, &operations, &report).await {
                Ok(Outcome::Saved) => report.make(Input::BlobSaved(blob)),
                Ok(Outcome::Aborted) => report.make(Input::BlobAborted(blob)),
                Err(error) => {
                    let why = describe(&error);
                    line!(
                        journal,
                        "blob_failed",
                        warn,
                        error = %why,
                        "a blob cannot be kept; a later link asks for it again"
                    );
                    report.make(Input::BlobFailed { blob, why });
                }
            }
        });
    }

    /// Passes a chunk on. That of a transfer which has failed is dropped: the core learns of the failure.
    pub(crate) fn write(&self, blob: BlobId, bytes: Bytes, is_last: bool) {
        if let Some(transfer) = self.transfers.get(&blob) {
            let _ = transfer.chunks.send(Chunk { bytes, is_last });
        }
    }

    pub(crate) fn abort(&mut self, blob: BlobId) {
        if let Some(transfer) = self.transfers.remove(&blob) {
            let _ = transfer.abort.send(());
        }
    }

    /// The transfer is over.
    pub(crate) fn forget(&mut self, blob: BlobId) {
        self.transfers.remove(&blob);
    }

    /// Aborts what is left, and waits until no writer is open: a later link may write the same blob.
    pub(crate) async fn finish(mut self) {
        for (_, transfer) in std::mem::take(&mut self.transfers) {
            let _ = transfer.abort.send(());
        }
        while timeout(WAIT_TOLD_EVERY, self.scope.settled())
            .await
            .is_err()
        {
            tracing::warn!(
                blobs = self.scope.live(),
                "the link is over, and its blob store is still at work; if its disk hangs, restart when the disk is back"
            );
        }
    }
}

enum Outcome {
    Saved,
    Aborted,
}

/// Tells the core how a transfer ended: once, also if the store panicked or the task was aborted.
struct Report {
    blob: BlobId,
    exchange: Arc<Exchange>,
    is_made: bool,
}

impl Report {
    fn make(&mut self, input: Input) {
        self.is_made = true;
        self.exchange.answer(input);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.is_made {
            let why = if std::thread::panicking() {
                "the blob store panicked"
            } else {
                "it was given up with its link"
            };
            self.exchange.answer(Input::BlobFailed {
                blob: self.blob,
                why: why.into(),
            });
        }
    }
}

/// Carries a transfer to its end. When it returns, nothing of it is at work any more.
async fn transfer<B: BlobStore>(
    store: &B,
    info: BlobInfo,
    mut chunks: mpsc::UnboundedReceiver<Chunk>,
    mut aborted: oneshot::Receiver<()>,
    operations: &Semaphore,
    report: &Report,
) -> Result<Outcome, B::Error> {
    let mut writer = tokio::select! {
        biased;
        _ = &mut aborted => return Ok(Outcome::Aborted),
        turn = turn(operations) => {
            // Not given up halfway, like a save: then nobody would know what is still at work.
            let writer = store.open(info).await?;
            drop(turn);
            writer
        }
    };
    let mut waiting = Vec::new();
    loop {
        let received = tokio::select! {
            biased;
            _ = &mut aborted => 0,
            received = chunks.recv_many(&mut waiting, CHUNKS_PER_WRITE) => received,
        };
        let _turn = turn(operations).await;
        if received == 0 {
            writer.abort().await;
            return Ok(Outcome::Aborted);
        }
        let is_last = waiting.last().is_some_and(|chunk| chunk.is_last);
        let pieces: Vec<Bytes> = waiting.drain(..).map(|chunk| chunk.bytes).collect();
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        let written = tokio::select! {
            biased;
            _ = &mut aborted => None,
            written = writer.write_all(pieces) => Some(written),
        };
        match written {
            Some(Ok(())) => {
                let blob = report.blob;
                report.exchange.answer(Input::BlobWritten { blob, bytes });
                if is_last {
                    writer.save().await?;
                    return Ok(Outcome::Saved);
                }
            }
            Some(Err(error)) => {
                writer.abort().await;
                return Err(error);
            }
            None => {
                writer.abort().await;
                return Ok(Outcome::Aborted);
            }
        }
    }
}

/// Waits until this transfer may use the store.
async fn turn(operations: &Semaphore) -> SemaphorePermit<'_> {
    match operations.acquire().await {
        Ok(turn) => turn,
        // It is never closed.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
