//! Blobs in memory, with failures on demand.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use replproto_core::Name;
use thiserror::Error;

use super::{BlobInfo, BlobStore, BlobWriter};

/// A [`BlobStore`] in memory, for tests. Clones share one store.
#[derive(Clone, Debug, Default)]
pub struct MemoryBlobStore {
    shared: Arc<Mutex<State>>,
}

/// Decides what becomes of a step: how long it takes, and then why it fails, if it does.
type Plan = dyn FnMut(BlobStep, &BlobInfo) -> (Duration, Result<(), String>) + Send;

#[derive(Default)]
struct State {
    saved: BTreeMap<(Name, Name, Name), Vec<u8>>,
    opened: u64,
    saves: u64,
    aborts: u64,
    plan: Option<Box<Plan>>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("saved", &self.saved.len())
            .field("opened", &self.opened)
            .field("saves", &self.saves)
            .field("aborts", &self.aborts)
            .finish_non_exhaustive()
    }
}

/// What a store is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlobStep {
    /// [`BlobStore::open`].
    Open,
    /// [`BlobWriter::write`].
    Write,
    /// [`BlobWriter::save`].
    Save,
}

/// A failure that a test asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct InjectedBlobFailure(pub String);

impl MemoryBlobStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks `plan` before each step how long it takes, and then why it fails, if it does.
    pub fn plan(
        &self,
        plan: impl FnMut(BlobStep, &BlobInfo) -> (Duration, Result<(), String>) + Send + 'static,
    ) {
        self.state().plan = Some(Box::new(plan));
    }

    /// The bytes of a saved blob.
    pub fn get(&self, peer: &str, database: &str, file: &str) -> Option<Vec<u8>> {
        let key = (peer.into(), database.into(), file.into());
        self.state().saved.get(&key).cloned()
    }

    /// How many blobs are saved.
    pub fn len(&self) -> usize {
        self.state().saved.len()
    }

    /// Whether no blob is saved.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many writers are neither saved nor aborted.
    pub fn open_writers(&self) -> u64 {
        let state = self.state();
        state.opened - state.saves - state.aborts
    }

    /// How many writers were opened, saved and aborted.
    pub fn counts(&self) -> (u64, u64, u64) {
        let state = self.state();
        (state.opened, state.saves, state.aborts)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic of a plan leaves the state as it was.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn step(&self, step: BlobStep, blob: &BlobInfo) -> Result<(), InjectedBlobFailure> {
        let planned = {
            let mut state = self.state();
            state.plan.as_mut().map(|plan| plan(step, blob))
        };
        let Some((delay, result)) = planned else {
            return Ok(());
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        result.map_err(InjectedBlobFailure)
    }
}

impl BlobStore for MemoryBlobStore {
    type Error = InjectedBlobFailure;
    type Writer = MemoryBlobWriter;

    async fn open(&self, blob: BlobInfo) -> Result<MemoryBlobWriter, InjectedBlobFailure> {
        self.step(BlobStep::Open, &blob).await?;
        self.state().opened += 1;
        Ok(MemoryBlobWriter {
            store: self.clone(),
            blob,
            bytes: Vec::new(),
            is_broken: false,
            is_saved: false,
        })
    }
}

/// Takes the bytes of one blob.
#[derive(Debug)]
pub struct MemoryBlobWriter {
    store: MemoryBlobStore,
    blob: BlobInfo,
    bytes: Vec<u8>,
    /// A write is under way, failed, or was given up.
    is_broken: bool,
    is_saved: bool,
}

impl MemoryBlobWriter {
    fn check(&self) -> Result<(), InjectedBlobFailure> {
        if self.is_broken {
            return Err(InjectedBlobFailure(
                "an earlier write failed or was given up".into(),
            ));
        }
        Ok(())
    }
}

impl BlobWriter for MemoryBlobWriter {
    type Error = InjectedBlobFailure;

    async fn write(&mut self, bytes: Bytes) -> Result<(), InjectedBlobFailure> {
        self.check()?;
        self.is_broken = true;
        self.store.step(BlobStep::Write, &self.blob).await?;
        self.bytes.extend_from_slice(&bytes);
        self.is_broken = false;
        Ok(())
    }

    async fn save(mut self) -> Result<(), InjectedBlobFailure> {
        self.check()?;
        self.store.step(BlobStep::Save, &self.blob).await?;
        let BlobInfo {
            peer,
            database,
            file,
            ..
        } = self.blob.clone();
        let bytes = std::mem::take(&mut self.bytes);
        let mut state = self.store.state();
        state.saved.insert((peer, database, file), bytes);
        state.saves += 1;
        drop(state);
        self.is_saved = true;
        Ok(())
    }

    async fn abort(self) {}
}

impl Drop for MemoryBlobWriter {
    fn drop(&mut self) {
        if !self.is_saved {
            self.store.state().aborts += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(file: &str) -> BlobInfo {
        BlobInfo {
            peer: "node-a".into(),
            database: "data".into(),
            file: file.into(),
            size: None,
        }
    }

    #[tokio::test]
    async fn a_blob_is_there_once_it_is_saved() {
        let store = MemoryBlobStore::new();
        let mut writer = store.open(blob("1a")).await.unwrap();
        writer.write(Bytes::from_static(b"ab")).await.unwrap();
        writer.write(Bytes::from_static(b"c")).await.unwrap();
        assert_eq!(store.get("node-a", "data", "1a"), None);
        writer.save().await.unwrap();
        assert_eq!(store.get("node-a", "data", "1a").unwrap(), b"abc");
        assert_eq!(store.counts(), (1, 1, 0));
    }

    #[tokio::test]
    async fn what_is_dropped_or_aborted_is_gone() {
        let store = MemoryBlobStore::new();
        drop(store.open(blob("1")).await.unwrap());
        store.open(blob("2")).await.unwrap().abort().await;
        assert!(store.is_empty());
        assert_eq!(store.counts(), (2, 0, 2));
        assert_eq!(store.open_writers(), 0);
    }

    #[tokio::test]
    async fn a_planned_failure_breaks_the_writer() {
        let store = MemoryBlobStore::new();
        let mut writes = 0;
        store.plan(move |step, _| {
            writes += u32::from(step == BlobStep::Write);
            let result = if step == BlobStep::Write && writes == 2 {
                Err("no".to_owned())
            } else {
                Ok(())
            };
            (Duration::ZERO, result)
        });
        let mut writer = store.open(blob("1")).await.unwrap();
        let bytes = || Bytes::from_static(b"x");
        assert!(writer.write(bytes()).await.is_ok());
        assert_eq!(
            writer.write(bytes()).await,
            Err(InjectedBlobFailure("no".into()))
        );
        assert!(writer.write(bytes()).await.is_err());
        assert!(writer.save().await.is_err());
        assert_eq!(store.counts(), (1, 0, 1));
    }
}
