//! A sink that keeps records as tables of an SQLite file.

mod batch;
mod error;
mod large;
mod link;
mod place;
mod replica;
mod report;
mod rows;
mod schema;
mod store;
mod tables;
mod tombstones;
mod upgrade;
mod worker;

use std::path::PathBuf;

use replproto_core::replica::Writes;
use replproto_core::{Cursor, Event};
use tokio::sync::{mpsc, oneshot};

use self::batch::Batch;
pub use self::error::SqliteError;
pub use self::replica::{Replica, ReplicaLink, ReplicaRow, ReplicaTable, SkippedRow};
use self::worker::{Answer, Reply, Request, Worker};
use crate::sink::{Applied, Sink, Stored};

/// What a [`SqliteSink`] keeps, besides the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// A name for where the records come from, such as the publisher's host and port. Together with the database it names
    /// the link; use the same one each time.
    pub source: String,
    /// The database that is followed.
    pub database: String,
    /// Also keep a line for each event, in the order in which they came first. It grows for ever and costs as much as
    /// the records; it is there to compare one follower with another.
    pub event_log: bool,
    /// The most that a record may take as JSON, in bytes; at most [`ROW_MAX`](Self::ROW_MAX). One that takes more, or would after
    /// a patch, is passed over, counted and listed, and the row stays as it was. 64 MiB by default. A large record is written in
    /// pieces, whatever it takes as JSON; to patch a large row takes up to twice this in memory.
    pub max_row: u64,
    /// Make replicated tables anew that somebody has dropped or renamed. They are empty then, so it goes together with
    /// [`RunOptions::ignore_cursor`](crate::RunOptions::ignore_cursor) and a base copy. Otherwise it is an error
    /// ([`SqliteError::TableGone`]).
    pub makes_tables_anew: bool,
    /// Keep a copy of a publisher's database although the file has one already, of a link with another source. Otherwise the same
    /// publisher and database are one link, whatever the source: it goes on from where the other one left off.
    pub second_copy: bool,
}

impl SqliteOptions {
    /// The largest row: SQLite takes no more than 1,000,000,000 bytes with all of the row's columns.
    pub const ROW_MAX: u64 = 900_000_000;

    /// Options without a log of events.
    pub fn new(source: impl Into<String>, database: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            database: database.into(),
            event_log: false,
            max_row: 64 << 20,
            makes_tables_anew: false,
            second_copy: false,
        }
    }
}

/// A [`Sink`] in an SQLite file that any SQLite tool can query while it is written:
///
/// ```sql
/// SELECT record->>'name' FROM "Dog" WHERE record->>'age' > 3;
/// ```
///
/// Each replicated table is a table of the same name with the live records and nothing else:
///
/// | column | |
/// |---|---|
/// | `key` | the bytes of the record's id; the primary key, in the publisher's order |
/// | `id` | the record's id as JSON |
/// | `version` | when the record was last changed, milliseconds since 1970 |
/// | `origin` | the node that changed it |
/// | `user` | the user who changed it, or NULL |
/// | `expires_at` | when it expires, milliseconds since 1970, or NULL. Nothing is removed because of it |
/// | `copy` | the base copy that last brought it; for the sink only |
/// | `memory` | what must be remembered of the writes to it; for the sink only |
/// | `record` | the record as JSON: TEXT, or beyond 256 KiB a BLOB that holds the text |
///
/// SQLite's functions for JSON take such a BLOB as they take TEXT; where a tool wants text, `CAST(record AS TEXT)` gives it.
///
/// Indexes may be added to these tables, on expressions such as `record->>'name'` too; large rows of such a table are put
/// together in memory, which takes some four times the row. Where the name is taken, because
/// SQLite does not tell capital letters from small ones, reserves names, or because the file holds the same table of
/// another link, another name is made up; `_replproto_table` lists all of them. Other tables that begin with `_replproto_`
/// are the sink's own: links with their cursors, tombstones, the last records that were skipped, blobs that are gone.
///
/// One file may hold several links. They write in turns, so links that are busy do better with a file each. A link whose
/// publisher stops in the middle of a transaction holds the others up for
/// [`RunOptions::transaction_wait`](crate::RunOptions::transaction_wait) at most. The file is in
/// WAL mode, and each commit is on the disk when it returns.
///
/// ```no_run
/// # async fn follow() -> Result<(), replproto_tokio::SqliteError> {
/// use replproto_tokio::{Sink, SqliteOptions, SqliteSink};
///
/// let options = SqliteOptions::new("node-a.example.com:9933", "data");
/// let mut sink = SqliteSink::open("replica.db", options).await?;
/// let stored = sink.load().await?;
/// # Ok(())
/// # }
/// ```
///
/// SQLite is used on a thread of the sink's own; the futures decode the records for it, a few at a time, and wait for it.
/// Dropping a sink ends the thread, which forgets an open transaction; [`close`](Sink::close) also waits for that.
#[derive(Debug)]
pub struct SqliteSink {
    requests: mpsc::Sender<Request>,
    /// Those of the transaction that is being applied.
    writes: Writes,
    /// Fails when the thread has ended and the file is closed.
    ended: oneshot::Receiver<()>,
}

impl SqliteSink {
    /// Opens a file for one link, creating what is missing.
    ///
    /// # Errors
    /// [`SqliteError::InUse`] if the link is being followed into this file already; otherwise what is wrong with the file.
    pub async fn open(
        path: impl Into<PathBuf>,
        options: SqliteOptions,
    ) -> Result<Self, SqliteError> {
        let path = path.into();
        let (requests, inbox) = mpsc::channel(1);
        let (opened, opening) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("replproto-sqlite".into())
            .spawn(move || {
                // Dropped last, when the file is closed.
                let _end: oneshot::Sender<()> = end;
                match Worker::open(path, options) {
                    Ok(worker) => {
                        if opened.send(Ok(())).is_ok() {
                            worker.run(inbox);
                        }
                    }
                    Err(error) => drop(opened.send(Err(error))),
                }
            })
            .map_err(|error| SqliteError::Thread { error })?;
        opening.await.map_err(|_| SqliteError::Stopped)??;
        Ok(Self {
            requests,
            writes: Writes::default(),
            ended,
        })
    }

    /// Asks for something, and tells where the answer will come.
    async fn request<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<Answer<T>, SqliteError> {
        let (reply, answer) = oneshot::channel();
        match self.requests.send(request(reply)).await {
            Ok(()) => Ok(answer),
            Err(_) => Err(SqliteError::Stopped),
        }
    }

    /// Sends what the batch holds. A batch is stored, one may wait, and the next one is filled meanwhile.
    async fn send(&self, batch: &mut Batch) -> Result<Option<Answer<Applied>>, SqliteError> {
        match batch.take() {
            Some(batch) => self
                .request(|reply| Request::Apply(batch, reply))
                .await
                .map(Some),
            None => Ok(None),
        }
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, SqliteError> {
        self.request(request)
            .await?
            .await
            .map_err(|_| SqliteError::Stopped)?
    }
}

impl Sink for SqliteSink {
    type Error = SqliteError;

    async fn load(&mut self) -> Result<Stored, SqliteError> {
        self.writes.end_transaction();
        self.ask(Request::Load).await
    }

    async fn begin(&mut self) -> Result<(), SqliteError> {
        self.ask(Request::Begin).await
    }

    async fn apply(&mut self, events: Vec<Event>) -> Result<Applied, SqliteError> {
        let mut batch = Batch::default();
        let mut answers = Vec::new();
        for event in events {
            match event {
                Event::Records(records) => {
                    for (index, record) in records.iter().enumerate() {
                        batch.add(&record, (&records, index), &mut self.writes);
                        if batch.is_full() {
                            answers.extend(self.send(&mut batch).await?);
                        }
                    }
                }
                event => {
                    if matches!(event, Event::EndTransaction(_)) {
                        self.writes.end_transaction();
                    }
                    batch.event(event);
                }
            }
            if batch.is_full() {
                answers.extend(self.send(&mut batch).await?);
            }
        }
        answers.extend(self.send(&mut batch).await?);
        let mut applied = Applied::default();
        for answer in answers {
            applied += answer.await.map_err(|_| SqliteError::Stopped)??;
        }
        Ok(applied)
    }

    async fn commit(&mut self, cursor: Option<Cursor>) -> Result<(), SqliteError> {
        self.ask(|reply| Request::Commit(cursor, reply)).await
    }

    /// Not while another link writes to the same file: it cannot until this one's transaction ends.
    async fn may_wait(&mut self) -> Result<bool, SqliteError> {
        self.ask(Request::MayWait).await
    }

    async fn rollback(&mut self) -> Result<(), SqliteError> {
        self.writes.end_transaction();
        self.ask(Request::Rollback).await
    }

    async fn close(self) {
        let Self {
            requests, ended, ..
        } = self;
        drop(requests);
        // An error is what we wait for.
        let _ = ended.await;
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
