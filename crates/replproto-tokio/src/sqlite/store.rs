//! The rules of a store, on an SQLite file. Runs on the sink's own thread.

use std::path::Path;
use std::rc::Rc;

use replproto_core::event::{BlobFailure, CopyStarted, Schema};
use replproto_core::replica::Doubt;
use replproto_core::{Cursor, Event, RecordKind, Sequence, StoredCursor, WallTime};
use rusqlite::{Connection, TransactionBehavior, params};

use super::SqliteOptions;
use super::batch::{Batch, Change, Step};
use super::error::{AtPath, Refusal, SqliteError};
use super::large::Value;
use super::link::{self, Copy, CopyState, Link, read_cursor};
use super::place::Place;
use super::report::{ShownKey, Skipped, write_event_line};
use super::schema::{self, Guard};
use super::tables::{self, DataTable, Tables};
use super::tombstones::Tombstones;
use crate::journal::{Journal, line};
use crate::sink::{Applied, Stored};

/// How many of the records that were passed over are kept. All are counted.
const SKIPPED_KEPT: u64 = 1000;

/// An open file, without its name for errors.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) connection: Connection,
    guard: Guard,
    place: Place,
    options: SqliteOptions,
    /// The link that this one is to become.
    twin: Option<i64>,
    /// The most that a record may take as JSON, in bytes.
    pub(super) max_row: u64,
    tables: Tables,
    pub(super) link: Link,
    pub(super) tombstones: Tombstones,
    /// The next entries come from another place of the log than the last ones.
    new_run: bool,
    line: String,
    journal: Journal,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.journal.close();
    }
}

impl Store {
    pub(super) fn open(path: &Path, options: &SqliteOptions) -> Result<Self, SqliteError> {
        let (connection, place, guard) = schema::open(path, options)?;
        tables::check(&connection, guard.link, options.makes_tables_anew).at(path)?;
        let link = Link::load(&connection, guard.link).at(path)?;
        let tombstones = Tombstones::load(&connection, guard.link).at(path)?;
        Ok(Self {
            connection,
            guard,
            place,
            options: options.clone(),
            twin: None,
            max_row: options.max_row.min(SqliteOptions::ROW_MAX),
            tables: Tables::default(),
            link,
            tombstones,
            new_run: true,
            line: String::new(),
            journal: Journal::default(),
        })
    }

    pub(super) fn load(&mut self) -> rusqlite::Result<Stored> {
        self.refresh()?;
        tables::check(&self.connection, self.guard.link, false)?;
        let cursor = read_cursor(&self.connection, self.guard.link)?;
        Ok(Stored {
            cursor,
            peer: self.link.peer.clone(),
        })
    }

    /// Fails if the open file is not where it is looked for, or another follower may be at work on it.
    pub(super) fn check_place(&self, path: &Path) -> Result<(), SqliteError> {
        if !self.place.is_current()? {
            return Err(SqliteError::Moved {
                path: path.to_owned(),
            });
        }
        self.guard.check()
    }

    /// Leaves the file, wherever it is now, complete. No transaction is open.
    pub(super) fn leave(&self) -> Result<(), SqliteError> {
        self.place.leave(&self.connection)
    }

    pub(super) fn begin(&mut self) -> rusqlite::Result<()> {
        // Taking the right to write at once: a transaction that began by reading could not always get it later.
        self.connection
            .prepare_cached("BEGIN IMMEDIATE")?
            .execute([])?;
        if self.new_run {
            self.tombstones.on_new_run(&self.connection)?;
            self.new_run = false;
        }
        Ok(())
    }

    pub(super) fn apply(&mut self, batch: &Batch) -> rusqlite::Result<Applied> {
        let mut applied = Applied::default();
        for step in batch.steps() {
            match step {
                Step::Change(change) => {
                    let done = self.on_change(&change, Value::Text(change.value))?;
                    if let Err(error) = &done {
                        self.on_skipped(&Skipped::by_store(&change, error))?;
                    }
                    applied.add(&done);
                }
                Step::Undecodable(change, error) => {
                    applied.skipped += 1;
                    self.on_skipped(&Skipped::by_store(&change, error))?;
                }
                Step::Large(record) => {
                    let record = record.borrow_mut().take();
                    if let Some(record) = record {
                        applied.add(&self.on_large(record)?);
                    }
                }
                Step::Event(event) => self.on_event(event)?,
            }
        }
        Ok(applied)
    }

    pub(super) fn commit(&mut self, cursor: Option<&Cursor>) -> rusqlite::Result<()> {
        let id = self.guard.link;
        if let Some(cursor) = cursor {
            self.write_cursor(cursor)?;
            self.tombstones
                .on_cursor(&self.connection, cursor.sequence.0)?;
        }
        if std::mem::take(&mut self.link.skipped_changed) {
            self.connection.execute(
                "UPDATE _replproto_link SET skipped = ?2 WHERE id = ?1",
                params![id, self.link.skipped],
            )?;
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.journal.sum_up();
        Ok(())
    }

    /// Whether another follower is at work on another link of the file.
    pub(super) fn has_company(&self) -> rusqlite::Result<bool> {
        self.connection
            .prepare_cached("SELECT id FROM _replproto_link WHERE id <> ?1")?
            .query_map([self.guard.link], |row| row.get(0))?
            .try_fold(false, |has_company, id| {
                Ok(has_company || schema::is_followed(self.place.real(), id?))
            })
    }

    /// Gives whether the file is to be opened again.
    pub(super) fn rollback(&mut self) -> rusqlite::Result<bool> {
        // Some errors, such as a full disk, have rolled back already.
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        if self.become_twin()? {
            return Ok(true);
        }
        self.refresh()?;
        Ok(false)
    }

    /// Reads again what is kept in memory.
    fn refresh(&mut self) -> rusqlite::Result<()> {
        self.tables.forget();
        self.link = Link::load(&self.connection, self.guard.link)?;
        self.tombstones = Tombstones::load(&self.connection, self.guard.link)?;
        self.new_run = true;
        Ok(())
    }

    fn table(&mut self, name: &str) -> rusqlite::Result<Rc<DataTable>> {
        self.tables.open(&self.connection, self.guard.link, name)
    }

    fn on_event(&mut self, event: &Event) -> rusqlite::Result<()> {
        match event {
            Event::Schema(schema) => self.on_schema(schema),
            Event::Table(table) => self.table(table.name()).map(drop),
            Event::RecordSkipped(skipped) => self.on_skipped(&(&**skipped).into()),
            Event::EndTransaction(end) => match end.sequence {
                Some(sequence) => self.on_position(sequence),
                None => Ok(()),
            },
            Event::CopyStarted(copy) => self.on_copy_started(copy),
            Event::CopyCompleted(completed) => self.on_copy_completed(&completed.cursor),
            Event::BlobGone(failure) => self.on_blob_gone(failure),
            // Checkpoints come with the commit; a blob that is held comes again.
            _ => Ok(()),
        }
    }

    fn on_schema(&mut self, schema: &Schema) -> rusqlite::Result<()> {
        // A new subscription may go back in the log.
        self.tombstones.on_new_run(&self.connection)?;
        if self.link.peer.as_deref() != Some(schema.peer.as_str()) {
            if !self.options.second_copy {
                self.check_twin(&schema.peer)?;
            }
            self.connection.execute(
                "UPDATE _replproto_link SET peer = ?2, cursor = NULL WHERE id = ?1",
                params![self.guard.link, schema.peer.as_str()],
            )?;
            self.tombstones.on_new_publisher(&self.connection)?;
            self.link.peer = Some(schema.peer.as_str().to_owned());
        }
        for definition in schema.tables.iter() {
            self.table(&definition.table)?;
        }
        Ok(())
    }

    /// Fails if another link of the file is of the same publisher and database. If nobody follows it, and this link has nothing, this
    /// one becomes that one after the rollback.
    fn check_twin(&mut self, peer: &str) -> rusqlite::Result<()> {
        let link = self.guard.link;
        let Some((twin, source)) = link::twin(&self.connection, link, peer)? else {
            return Ok(());
        };
        let is_free = !schema::is_followed(self.place.real(), twin);
        if is_free && link::is_fresh(&self.connection, link)? {
            self.twin = Some(twin);
            return Err(Refusal::SameLink(source).into());
        }
        Err(Refusal::SecondCopy(source).into())
    }

    /// Gives the link that this one is to become its source. Gives whether there is one: then the file is to be opened again.
    fn become_twin(&mut self) -> rusqlite::Result<bool> {
        let Some(twin) = self.twin.take() else {
            return Ok(false);
        };
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        link::replace(&transaction, self.guard.link, twin)?;
        transaction.commit()?;
        Ok(true)
    }

    fn on_position(&mut self, sequence: Sequence) -> rusqlite::Result<()> {
        if self.link.copy.is_active() {
            // The position is that of the copy, which may lie before what else has come meanwhile.
            self.tombstones.on_new_run(&self.connection)
        } else {
            self.tombstones.on_position(&self.connection, sequence.0)
        }
    }

    /// Keeps a line for the log of events, if there is one.
    pub(super) fn note_event(&mut self, change: &Change<'_>) -> rusqlite::Result<()> {
        if self.options.event_log {
            write_event_line(change, &mut self.line);
            self.connection
                .prepare_cached(
                    "INSERT OR IGNORE INTO _replproto_event (link, line) VALUES (?1, ?2)",
                )?
                .execute(params![self.guard.link, self.line])?;
        }
        Ok(())
    }

    pub(super) fn table_of(&mut self, change: &Change<'_>) -> rusqlite::Result<Rc<DataTable>> {
        self.tables
            .of(&self.connection, self.guard.link, change.table)
    }

    /// The publisher has this record, although its entry changes nothing here. The row itself is left alone: SQLite would
    /// write all of it again.
    pub(super) fn mark(&self, table: &DataTable, key: &[u8]) -> rusqlite::Result<()> {
        if self.link.copy.is_active() {
            self.connection
                .prepare_cached("INSERT OR IGNORE INTO _replproto_seen VALUES (?1, ?2, ?3)")?
                .execute(params![self.guard.link, table.id, key])?;
        }
        Ok(())
    }

    /// The row may not be the publisher's.
    pub(super) fn note_doubt(
        &self,
        table: &DataTable,
        key: &[u8],
        doubt: Doubt,
    ) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO _replproto_doubt VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![self.guard.link, table.id, key, doubt.as_str()])?;
        Ok(())
    }

    pub(super) fn on_skipped(&mut self, skipped: &Skipped<'_>) -> rusqlite::Result<()> {
        let id = self.guard.link;
        self.link.skipped += 1;
        self.link.skipped_changed = true;
        let number = self.link.skipped;
        line!(
            self.journal,
            "record_skipped",
            warn,
            table = skipped.table,
            id = %ShownKey(skipped.key),
            kind = skipped.kind.as_str(),
            error = %skipped.error,
            advice = "The record is not in the replica as it is at the publisher: `_replproto_skipped` lists the last ones.",
            "a record is passed over"
        );
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO _replproto_skipped VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                id,
                number,
                skipped.table,
                skipped.key,
                skipped.version,
                skipped.kind.as_str(),
                skipped.error
            ])?;
        self.connection
            .prepare_cached("DELETE FROM _replproto_skipped WHERE link = ?1 AND number <= ?2")?
            .execute(params![id, number.saturating_sub(SKIPPED_KEPT)])?;
        if matches!(skipped.kind, RecordKind::Put | RecordKind::Patch) {
            let table = self.table(skipped.table)?;
            self.mark(&table, skipped.key)?;
        }
        Ok(())
    }

    fn write_cursor(&mut self, cursor: &Cursor) -> rusqlite::Result<()> {
        let id = self.guard.link;
        self.connection
            .prepare_cached("UPDATE _replproto_link SET cursor = ?2 WHERE id = ?1")?
            .execute(params![id, cursor.to_bytes()])?;
        if self.link.selection != cursor.selection {
            tables::mark_followed(&self.connection, id, cursor)?;
            self.link.selection.clone_from(&cursor.selection);
        }
        Ok(())
    }

    fn on_copy_started(&mut self, started: &CopyStarted) -> rusqlite::Result<()> {
        // A copy is not in the order of the log, and the replay after it begins where the copy began.
        self.tombstones.on_new_run(&self.connection)?;
        let start = started.copy_start.map(|WallTime(time)| time);
        let known = self.link.copy;
        if started.resumed && known.is_active() && known.start == start {
            return Ok(());
        }
        if started.resumed {
            tracing::warn!(
                "the resumed base copy was not begun here: no record will be removed at its end"
            );
        } else if started.forced {
            tracing::warn!(
                "the publisher no longer has its log from the cursor on: records that were deleted there meanwhile stay here; `--on-gap copy` would ask for a complete copy"
            );
        }
        if !started.resumed
            && let StoredCursor::Found(cursor @ Cursor { copy: Some(_), .. }) =
                read_cursor(&self.connection, self.guard.link)?
        {
            // Its marks are about to be forgotten: resumed from here, the earlier copy would remove what it has brought.
            self.write_cursor(&Cursor {
                copy: None,
                ..cursor
            })?;
        }
        self.link.set_copy(
            &self.connection,
            self.guard.link,
            Copy {
                state: if started.resumed || started.forced {
                    CopyState::Keeping
                } else {
                    CopyState::Sweeping
                },
                mark: known.mark + 1,
                start,
            },
        )
    }

    fn on_copy_completed(&mut self, cursor: &Cursor) -> rusqlite::Result<()> {
        let Copy { state, mark, .. } = self.link.copy;
        if state == CopyState::Sweeping {
            let link = self.guard.link;
            for table in self.tables.open_covered(&self.connection, link, cursor)? {
                self.connection
                    .prepare_cached(&table.sweep)?
                    .execute([mark, table.id])?;
                Tombstones::sweep(&self.connection, table.id)?;
                self.connection
                    .prepare_cached("DELETE FROM _replproto_doubt WHERE table_id = ?1")?
                    .execute([table.id])?;
            }
        }
        self.link.set_copy(
            &self.connection,
            self.guard.link,
            Copy {
                state: CopyState::Idle,
                mark,
                start: None,
            },
        )
    }

    fn on_blob_gone(&self, failure: &BlobFailure) -> rusqlite::Result<()> {
        let owner = failure.record.as_ref();
        self.connection
            .prepare_cached(
                "INSERT OR IGNORE INTO _replproto_blob_gone VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                self.guard.link,
                failure.file.as_str(),
                owner.map(|owner| owner.table.as_str()),
                owner.map(|owner| owner.key.as_slice()),
                failure.fault.to_string(),
            ])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::testing::TempFile;
    use crate::testing::{at, put};
    use replproto_core::StoredCursor;
    use replproto_core::replica::Writes;

    #[test]
    fn a_full_disk_loses_nothing_that_was_committed() {
        let file = TempFile::new("full");
        let options = SqliteOptions::new("node-a", "data");
        let mut store = Store::open(file.path(), &options).unwrap();
        let records: Vec<_> = (0..2000)
            .map(|number| put(&format!("k{number}"), 1.0, &[("n", 1.0)]))
            .collect();
        let records = crate::testing::records(&records);
        let batch = |events: &[Event]| {
            let mut batch = Batch::default();
            for event in events {
                let Event::Records(records) = event else {
                    panic!("{event:?}");
                };
                records
                    .iter()
                    .for_each(|record| assert!(batch.record(&record, &mut Writes::default())));
            }
            batch
        };
        store.begin().unwrap();
        store.apply(&batch(&records[..100])).unwrap();
        store.commit(Some(&at(1.0))).unwrap();
        let pages: i64 = file.query("PRAGMA page_count");
        let limit = |store: &Store, pages: i64| {
            store
                .connection
                .execute_batch(&format!("PRAGMA max_page_count = {pages}"))
                .unwrap();
        };
        limit(&store, pages + 2);
        store.begin().unwrap();
        let error = store.apply(&batch(&records)).unwrap_err();
        let error = SqliteError::new(file.path(), error);
        assert!(matches!(error, SqliteError::Full { .. }), "{error:?}");
        store.rollback().unwrap();
        assert_eq!(store.load().unwrap().cursor, StoredCursor::Found(at(1.0)));
        assert_eq!(file.query::<i64>("SELECT count(*) FROM Dog"), 100);

        limit(&store, 1_000_000);
        store.begin().unwrap();
        store.apply(&batch(&records)).unwrap();
        store.commit(None).unwrap();
        assert_eq!(file.query::<i64>("SELECT count(*) FROM Dog"), 2000);
    }
}
