//! The sink's own thread: the only one that touches the file.

use std::path::PathBuf;

use replproto_core::Cursor;
use tokio::sync::{mpsc, oneshot};

use super::SqliteOptions;
use super::batch::Batch;
use super::error::{AtPath, SqliteError};
use super::store::Store;
use crate::describe::describe;
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
    MayWait(Reply<bool>),
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
                Request::MayWait(reply) => drop(reply.send(self.may_wait())),
                Request::Rollback(reply) => drop(reply.send(self.rollback())),
            }
        }
        // A file that is not in its place must not be closed as it is.
        if let Err(error) = self.rollback() {
            tracing::warn!(error = %describe(&error), "the replica is not closed as it should be");
        }
    }

    fn load(&mut self) -> Result<Stored, SqliteError> {
        if self.phase != Phase::Idle {
            return Err(SqliteError::OutOfOrder("load inside a transaction"));
        }
        self.leave_if_moved()?;
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
        // What is confirmed must be where it is looked for, so nothing is confirmed either if the file goes meanwhile.
        self.check_place()?;
        self.step(Phase::Open, Phase::Idle, "commit", |store| {
            store.commit(cursor)
        })?;
        self.check_place()
    }

    fn may_wait(&mut self) -> Result<bool, SqliteError> {
        self.step(Phase::Open, Phase::Open, "may_wait", |store| {
            store.has_company().map(|has_company| !has_company)
        })
    }

    fn check_place(&mut self) -> Result<(), SqliteError> {
        let store = self.store.as_ref();
        let result = store.map_or(Ok(()), |store| store.check_place(&self.path));
        if result.is_err() {
            self.phase = Phase::Failed;
        }
        result
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
        let Some(store) = &mut self.store else {
            return Ok(());
        };
        let rolled_back = store.rollback().at(&self.path);
        self.leave_if_moved()?;
        if !matches!(rolled_back, Ok(false)) {
            // Closing the file forgets the transaction as well.
            self.store = None;
        }
        rolled_back.map(drop)
    }

    /// Closes a file that is not the one to go on with. The next `load` opens that.
    fn leave_if_moved(&mut self) -> Result<(), SqliteError> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        match store.check_place(&self.path) {
            Ok(()) => return Ok(()),
            Err(SqliteError::Moved { path }) => {
                store.leave()?;
                tracing::warn!(path = %path.display(), "the replica was removed or replaced; what is there now is gone on with");
            }
            // Opening it again takes the lock, unless another follower has it now.
            Err(SqliteError::Lock { .. }) => {}
            Err(error) => return Err(error),
        }
        self.store = None;
        Ok(())
    }
}
