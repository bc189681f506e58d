//! Runs into stores, until everything is durable.

use std::path::Path;
use std::time::Instant;

use replproto_core::{Cursor, Event, Start, StoredCursor};
use replproto_tokio::{
    Applied, BlobStore, DiscardBlobs, FileBlobStore, RunOptions, Sink, SqliteOptions, SqliteSink,
    Stop, Stored, run,
};

use super::{Outcome, link};
use crate::Result;
use crate::link_setup::{DATABASE, END, PUBLISHER, START};
use crate::plan::Plan;

pub(super) async fn run_into_sqlite(port: u16, plan: Plan, scratch: &Path) -> Result<Outcome> {
    let folder = tempfile::tempdir_in(scratch)?;
    let options = SqliteOptions::new(PUBLISHER, DATABASE);
    let sink = SqliteSink::open(folder.path().join("replica.db"), options).await?;
    run_to_end(port, plan, sink, DiscardBlobs).await
}

pub(super) async fn run_with_blobs(port: u16, plan: Plan, scratch: &Path) -> Result<Outcome> {
    let folder = tempfile::tempdir_in(scratch)?;
    let blobs = FileBlobStore::open_dir(folder.path()).await?;
    run_to_end(port, plan, Forgetful, blobs).await
}

async fn run_to_end<S: Sink, B: BlobStore>(
    port: u16,
    plan: Plan,
    sink: S,
    blobs: B,
) -> Result<Outcome> {
    let mut options = RunOptions::default();
    options.start = Start::At(START);
    let mut sink = UntilEnd {
        sink,
        stop: options.stop.clone(),
        finished: None,
    };
    let start = Instant::now();
    let end = run(link::config(port, plan)?, &mut sink, blobs, options).await?;
    let finished = sink.finished.ok_or("the run ended before its end")?;
    let outcome = Outcome {
        seconds: finished.duration_since(start).as_secs_f64(),
        ..Outcome::default()
    };
    Ok(outcome.records(end.stats.records))
}

/// Ends the run when everything is durable.
struct UntilEnd<S> {
    sink: S,
    stop: Stop,
    /// When that was.
    finished: Option<Instant>,
}

impl<S: Sink> Sink for UntilEnd<S> {
    type Error = S::Error;

    async fn load(&mut self) -> std::result::Result<Stored, S::Error> {
        self.sink.load().await
    }

    async fn begin(&mut self) -> std::result::Result<(), S::Error> {
        self.sink.begin().await
    }

    async fn apply(&mut self, events: Vec<Event>) -> std::result::Result<Applied, S::Error> {
        self.sink.apply(events).await
    }

    async fn commit(&mut self, cursor: Option<Cursor>) -> std::result::Result<(), S::Error> {
        let is_last = cursor.as_ref().is_some_and(|cursor| cursor.sequence == END);
        self.sink.commit(cursor).await?;
        if is_last {
            self.finished = Some(Instant::now());
            self.stop.shutdown();
        }
        Ok(())
    }

    async fn rollback(&mut self) -> std::result::Result<(), S::Error> {
        self.sink.rollback().await
    }
}

/// A sink that keeps nothing, so that only the blobs are measured.
struct Forgetful;

impl Sink for Forgetful {
    type Error = std::convert::Infallible;

    async fn load(&mut self) -> std::result::Result<Stored, Self::Error> {
        Ok(Stored {
            cursor: StoredCursor::Absent,
            peer: None,
        })
    }

    async fn begin(&mut self) -> std::result::Result<(), Self::Error> {
        Ok(())
    }

    async fn apply(&mut self, _: Vec<Event>) -> std::result::Result<Applied, Self::Error> {
        Ok(Applied::default())
    }

    async fn commit(&mut self, _: Option<Cursor>) -> std::result::Result<(), Self::Error> {
        Ok(())
    }

    async fn rollback(&mut self) -> std::result::Result<(), Self::Error> {
        Ok(())
    }
}
