//! The sink's own thread: the only one that touches the file.

use std::path::PathBuf;

use replproto_core::Cursor;
use tokio::sync::{mpsc, oneshot};

use super::SqliteOptions;
use super::batch::Batch;
use super::error::{AtPath, SqliteError};
use super::schema;
use super::store::Store;
use crate::sink::{Applied, Stored};

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, SqliteError>>;

/// Where it comes from.
pub(super) type Answer<T> = oneshot::Receiver<Result<T, SqliteError>>;

/// The calls of [`Sink`](crate::Sink).
pub(super) enum Request {
    Load(Reply<Stored>),
    Begin(Reply<()>),
    Apply(Batch, Reply<Applied>),
    Commit(Option<Cursor>, Reply<()>),
    Rollback(Reply<()>),
}

/// What may be called next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// No transaction is open.
    Idle,
    /// One is.
    Open,
    /// A call failed; only a rollback helps.
    Failed,
}

/// A file, opened again whenever it is not usable any more.
pub(super) struct Worker {
    path: PathBuf,
    options: SqliteOptions,
    store: Option<Store>,
    phase: Phase,
}

impl Worker {
    pub(super) fn open(path: PathBuf, options: SqliteOptions) -> Result<Self, SqliteError> {
        let store = Store::open(&path, &options)?;
        Ok(Self {
            path,
            options,
            store: Some(store),
            phase: Phase::Idle,
        })
    }

    /// Answers requests until nobody is left to ask.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(request) = requests.blocking_recv() {
            // Whoever asked may have gone; the next one learns from `load` what was done.
            match request {
                Request::Load(reply) => drop(reply.send(self.load())),
                Request::Begin(reply) => drop(reply.send(self.begin())),
                Request::Apply(batch, reply) => drop(reply.send(self.apply(&batch))),
                Request::Commit(cursor, reply) => drop(reply.send(self.commit(cursor.as_ref()))),
                Request::Rollback(reply) => drop(reply.send(self.rollback())),
            }
        }
    }

    fn load(&mut self) -> Result<Stored, SqliteError> {
        if self.phase != Phase::Idle {
            return Err(SqliteError::OutOfOrder("load inside a transaction"));
        }
        let store = match &mut self.store {
            Some(store) => store,
            None => self.store.insert(Store::open(&self.path, &self.options)?),
        };
        store.load().at(&self.path)
    }

    fn begin(&mut self) -> Result<(), SqliteError> {
        self.step(Phase::Idle, Phase::Open, "begin", Store::begin)
    }

    fn apply(&mut self, batch: &Batch) -> Result<Applied, SqliteError> {
        self.step(Phase::Open, Phase::Open, "apply", |store| {
            store.apply(batch)
        })
    }

    fn commit(&mut self, cursor: Option<&Cursor>) -> Result<(), SqliteError> {
        if self.has_moved() {
            // What is confirmed must be where it is looked for.
            self.phase = Phase::Failed;
            return Err(SqliteError::Moved {
                path: self.path.clone(),
            });
        }
        self.step(Phase::Open, Phase::Idle, "commit", |store| {
            store.commit(cursor)
        })
    }

    /// Whether the open file is no longer where it was.
    fn has_moved(&self) -> bool {
        let store = self.store.as_ref();
        store.is_some_and(|store| !store.is_at(&self.path))
    }

    fn step<T>(
        &mut self,
        from: Phase,
        to: Phase,
        call: &'static str,
        run: impl FnOnce(&mut Store) -> rusqlite::Result<T>,
    ) -> Result<T, SqliteError> {
        let Some(store) = self.store.as_mut().filter(|_| self.phase == from) else {
            return Err(SqliteError::OutOfOrder(call));
        };
        let result = run(store).at(&self.path);
        self.phase = if result.is_ok() { to } else { Phase::Failed };
        result
    }

    fn rollback(&mut self) -> Result<(), SqliteError> {
        self.phase = Phase::Idle;
        let result = match &mut self.store {
            Some(store) => store.rollback().at(&self.path),
            None => Ok(()),
        };
        let has_moved = self.has_moved();
        if result.is_err() || has_moved {
            // Closing the file forgets the transaction as well. The next `load` opens it again.
            self.store = None;
        }
        if has_moved {
            schema::remove_orphans(&self.path);
        }
        result
    }
}

#[cfg(all(test, unix))]
mod tests {
    use crate::sink::Sink;
    use crate::sqlite::testing::TempFile;
    use crate::sqlite::{SqliteError, SqliteOptions, SqliteSink};
    use crate::testing::at;
    use replproto_core::StoredCursor;

    #[tokio::test]
    async fn nothing_is_kept_in_a_file_that_nobody_would_find() {
        let file = TempFile::new("moved");
        let options = SqliteOptions::new("node-a", "data");
        let mut sink = SqliteSink::open(file.path(), options).await.unwrap();
        let elsewhere = file.path().with_extension("old");
        for is_removed in [true, false] {
            sink.begin().await.unwrap();
            sink.commit(Some(at(1.0))).await.unwrap();
            sink.begin().await.unwrap();
            if is_removed {
                std::fs::remove_file(file.path()).unwrap();
            } else {
                std::fs::rename(file.path(), &elsewhere).unwrap();
            }
            let error = sink.commit(Some(at(2.0))).await.unwrap_err();
            assert!(matches!(error, SqliteError::Moved { .. }), "{error:?}");
            sink.rollback().await.unwrap();
            assert_eq!(sink.load().await.unwrap().cursor, StoredCursor::Absent);
        }
    }
}
