//! A sink in memory, with failures on demand.

mod state;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use replproto_core::replica::Doubt;
use replproto_core::{Cursor, Event, StoredCursor};
use thiserror::Error;

use self::state::State;
use crate::sink::{Applied, Sink, Stored};

/// A [`Sink`] in memory, for tests and for what need not outlive the process. It keeps the same rules as the one on SQLite.
///
/// What is committed is seen through [`MemorySink::view`], and stays when the sink is dropped:
/// [`MemoryView::reopen`] then plays the part of the process that starts again after a crash.
#[derive(Debug)]
pub struct MemorySink {
    view: MemoryView,
    working: State,
    is_open: bool,
}

/// What a [`MemorySink`] has committed. Clones see the same.
#[derive(Clone, Debug)]
pub struct MemoryView {
    shared: Arc<Mutex<Shared>>,
}

/// Decides what becomes of a call: how long it takes, and then why it fails, if it does.
type Plan = dyn FnMut(SinkStep) -> (Duration, Result<(), String>) + Send;

#[derive(Default)]
struct Shared {
    committed: State,
    commits: u64,
    unreadable: Option<String>,
    plan: Option<Box<Plan>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("committed", &self.committed)
            .field("commits", &self.commits)
            .finish_non_exhaustive()
    }
}

/// A call of [`Sink`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SinkStep {
    /// [`Sink::load`].
    Load,
    /// [`Sink::begin`].
    Begin,
    /// [`Sink::apply`]. A failure comes after the events have been applied.
    Apply,
    /// [`Sink::commit`]. A failure keeps nothing.
    Commit,
    /// [`Sink::rollback`].
    Rollback,
}

/// What can go wrong in memory.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MemorySinkError {
    /// A test asked for it.
    #[error("{0}")]
    Injected(String),
    /// A call came out of order.
    #[error("the sink is not in a state for this call: {0:?}")]
    OutOfOrder(SinkStep),
    /// A record is not JSON any more, which cannot happen.
    #[error("a record cannot be patched: {0}")]
    Record(String),
}

/// A record that is kept.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MemoryRow {
    /// The id as tagged JSON.
    pub id: String,
    /// The record as JSON.
    pub record: String,
    /// When it was last changed, milliseconds since 1970.
    pub version: f64,
    /// The node that changed it.
    pub origin: String,
    /// When it expires, milliseconds since 1970. Nothing is removed because of it.
    pub expires_at: Option<f64>,
}

impl Default for MemorySink {
    fn default() -> Self {
        Self::new()
    }
}

impl MemorySink {
    /// An empty sink.
    pub fn new() -> Self {
        MemoryView {
            shared: Arc::default(),
        }
        .reopen()
    }

    /// What is committed.
    pub fn view(&self) -> MemoryView {
        self.view.clone()
    }

    async fn step(&self, step: SinkStep) -> Result<(), MemorySinkError> {
        let planned = {
            let mut shared = self.view.shared();
            shared.plan.as_mut().map(|plan| plan(step))
        };
        let Some((delay, result)) = planned else {
            return Ok(());
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        result.map_err(MemorySinkError::Injected)
    }

    fn expect(&self, is_open: bool, step: SinkStep) -> Result<(), MemorySinkError> {
        if self.is_open == is_open {
            Ok(())
        } else {
            Err(MemorySinkError::OutOfOrder(step))
        }
    }
}

impl MemoryView {
    /// A sink that goes on with what is committed, as after a restart.
    pub fn reopen(&self) -> MemorySink {
        let mut working = self.shared().committed.clone();
        working.on_new_run();
        MemorySink {
            view: self.clone(),
            working,
            is_open: false,
        }
    }

    /// Asks `plan` before each call how long it takes, and then why it fails, if it does.
    pub fn plan(
        &self,
        plan: impl FnMut(SinkStep) -> (Duration, Result<(), String>) + Send + 'static,
    ) {
        self.shared().plan = Some(Box::new(plan));
    }

    /// From now on the cursor cannot be read.
    pub fn make_cursor_unreadable(&self, why: impl Into<String>) {
        self.shared().unreadable = Some(why.into());
    }

    /// The records of a table by the bytes of their ids. Copies all of them.
    pub fn rows(&self, table: &str) -> BTreeMap<Vec<u8>, MemoryRow> {
        self.shared().committed.rows(table)
    }

    /// The names of all tables that have been met.
    pub fn tables(&self) -> Vec<String> {
        let shared = self.shared();
        shared.committed.tables.iter().cloned().collect()
    }

    /// Where the link left off.
    pub fn cursor(&self) -> Option<Cursor> {
        self.shared().committed.cursor.clone()
    }

    /// How many records have been passed over.
    pub fn skipped(&self) -> u64 {
        self.shared().committed.skipped
    }

    /// How many entries of each class have left a row of which it is not known whether it is the publisher's.
    pub fn doubts(&self) -> BTreeMap<Doubt, u64> {
        self.shared().committed.doubts.clone()
    }

    /// The files of blobs that the source has declared gone.
    pub fn blobs_gone(&self) -> Vec<String> {
        let shared = self.shared();
        shared.committed.blobs_gone.iter().cloned().collect()
    }

    /// How many deletions are remembered.
    pub fn tombstones(&self) -> usize {
        self.shared().committed.tombstones()
    }

    /// How often the sink has committed.
    pub fn commits(&self) -> u64 {
        self.shared().commits
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // A panic of a plan leaves the rest as it was.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for MemorySink {
    type Error = MemorySinkError;

    async fn load(&mut self) -> Result<Stored, MemorySinkError> {
        self.expect(false, SinkStep::Load)?;
        self.step(SinkStep::Load).await?;
        self.working.on_new_run();
        let shared = self.view.shared();
        let cursor = match (&shared.unreadable, &shared.committed.cursor) {
            (Some(why), _) => StoredCursor::Unreadable { why: why.clone() },
            (None, Some(cursor)) => StoredCursor::Found(cursor.clone()),
            (None, None) => StoredCursor::Absent,
        };
        Ok(Stored {
            cursor,
            peer: shared.committed.peer.clone(),
        })
    }

    async fn begin(&mut self) -> Result<(), MemorySinkError> {
        self.expect(false, SinkStep::Begin)?;
        self.step(SinkStep::Begin).await?;
        self.is_open = true;
        Ok(())
    }

    async fn apply(&mut self, events: Vec<Event>) -> Result<Applied, MemorySinkError> {
        self.expect(true, SinkStep::Apply)?;
        let mut applied = Applied::default();
        for event in &events {
            applied += self
                .working
                .apply(event)
                .map_err(|error| MemorySinkError::Record(error.to_string()))?;
        }
        self.step(SinkStep::Apply).await?;
        Ok(applied)
    }

    async fn commit(&mut self, cursor: Option<Cursor>) -> Result<(), MemorySinkError> {
        self.expect(true, SinkStep::Commit)?;
        self.step(SinkStep::Commit).await?;
        if let Some(cursor) = cursor {
            self.working.on_cursor(cursor);
        }
        let mut shared = self.view.shared();
        self.working.commit_to(&mut shared.committed);
        shared.commits += 1;
        drop(shared);
        self.is_open = false;
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), MemorySinkError> {
        self.is_open = false;
        self.working = self.view.shared().committed.clone();
        self.working.on_new_run();
        self.step(SinkStep::Rollback).await
    }
}

#[cfg(test)]
mod tests;
