//! Rows that are too large to be made in memory.
//!
//! SQLite puts a row together in memory, from a column that it has there too: twice the row. So that nothing else of it is
//! there at that time, the JSON is first staged in pieces, in a table of our own, and what it was made from is let go.

use replproto_core::key::decode_text;
use replproto_core::value::{JsonStyle, RawValue, ValueError};
use replproto_core::{RecordKind, WallTime};
use rusqlite::types::Type;
use rusqlite::{MAIN_DB, OptionalExtension, params};

use super::batch::{Change, LARGE, LargeRecord};
use super::report::Skipped;
use super::store::Store;
use super::tables::DataTable;
use crate::decode::{self, NO_CHANGES, Undecodable};
use crate::patch::{Merge, MergeError};

/// Where rows are staged. It is made when one is, and empty at each commit.
pub(super) const STAGE: &str = "_replproto_stage";

/// A row of the stage.
#[derive(Clone, Copy, Debug)]
struct Staged(i64);

impl Store {
    /// Stores a record that has not been decoded. Gives false if it has to be passed over.
    pub(super) fn on_large(&mut self, large: Box<LargeRecord>) -> rusqlite::Result<bool> {
        let Some(record) = large.record() else {
            debug_assert!(false, "the record has just been there");
            return Ok(true);
        };
        let (table, key) = (record.table().clone(), record.key_bytes().to_vec());
        let origin = record.origin().clone();
        let user = decode_text(record.user_bytes()).ok().map(String::from);
        let mut id = String::new();
        let length = decode::append_id(&record, &mut id)
            .and_then(|_| json_length(record.value(), self.max_row));
        let change = Change {
            kind: record.kind(),
            table: &table,
            key: &key,
            version: record.version().0,
            expires_at: record.expires_at().map(|WallTime(time)| time),
            origin: &origin,
            user: user.as_deref(),
            id: &id,
            value: "",
        };
        let passed_over = match length {
            Ok(length) => self.change_by_large(&change, large, length)?,
            Err(error) => Some(error),
        };
        if let Some(error) = &passed_over {
            self.on_skipped(&Skipped::by_store(&change, error))?;
        }
        Ok(passed_over.is_none())
    }

    /// Does what a record asks for whose value takes `length` bytes as JSON. Gives why it has to be passed over, if it has to
    /// be.
    fn change_by_large(
        &mut self,
        change: &Change<'_>,
        large: Box<LargeRecord>,
        length: u64,
    ) -> rusqlite::Result<Option<Undecodable>> {
        let value = large.record().and_then(|record| record.value());
        let is_row = matches!(change.kind, RecordKind::Put | RecordKind::Patch);
        let Some(value) = value.filter(|_| is_row && length > LARGE as u64) else {
            let mut text = String::new();
            if let Some(value) = value.filter(|_| is_row) {
                text.reserve_exact(length as usize);
                match value.write_json(&mut text, JsonStyle::Natural) {
                    Ok(()) => {}
                    Err(error) => return Ok(Some(error.into())),
                }
            }
            let value = text.as_str();
            return self.on_change(&Change { value, ..*change });
        };
        self.note_event(change)?;
        let table = self.table_of(change)?;
        if !self.is_newest(&table, change)? {
            return Ok(None);
        }
        let has_row = self
            .connection
            .prepare_cached(&table.version)?
            .exists([change.key])?;
        let staged = if change.kind == RecordKind::Patch && has_row {
            let mut changes = String::with_capacity(length as usize);
            let written = value.write_json(&mut changes, JsonStyle::Natural);
            drop(large);
            match written {
                Ok(()) => self.stage_merged(&table, change.key, &changes)?,
                Err(error) => Err(error.into()),
            }
        } else {
            let staged = self.stage(length, |give| {
                value.write_json_pieces(JsonStyle::Natural, |piece| {
                    give(piece);
                    Ok::<_, ValueError>(())
                })
            })?;
            drop(large);
            staged.map_err(Undecodable::from)
        };
        match staged {
            Ok(staged) => self.put_staged(&table, change, staged).map(|()| None),
            Err(error) => Ok(Some(error)),
        }
    }

    /// Patches a row where the row, the patch or both are large. There is a row, and the patch is not too old for it.
    pub(super) fn patch_large(
        &self,
        table: &DataTable,
        change: &Change<'_>,
    ) -> rusqlite::Result<Option<Undecodable>> {
        match self.stage_merged(table, change.key, change.value_or(NO_CHANGES))? {
            Ok(staged) => self.put_staged(table, change, staged).map(|()| None),
            Err(error) => Ok(Some(error)),
        }
    }

    /// Stages what a row becomes by a patch.
    fn stage_merged(
        &self,
        table: &DataTable,
        key: &[u8],
        changes: &str,
    ) -> rusqlite::Result<Result<Staged, Undecodable>> {
        let limit = self.max_row;
        let too_large = Ok(Err(Undecodable::TooLarge { limit }));
        let mut length = self.connection.prepare_cached(&table.length)?;
        let length: u64 = length.query_row([key], |row| row.get(0))?;
        if length > limit {
            return too_large;
        }
        let mut read = self.connection.prepare_cached(&table.text)?;
        let mut rows = read.query([key])?;
        let Some(row) = rows.next()? else {
            return Err(rusqlite::Error::QueryReturnedNoRows);
        };
        let merge = Merge::new(row.get_ref(0)?.as_str()?, changes);
        let (length, merge) = match merge.and_then(|merge| Ok((merge.length()?, merge))) {
            Ok(merge) => merge,
            Err(error) => return not_merged(error).map(Err),
        };
        if length > limit {
            return too_large;
        }
        match self.stage(length, |give| merge.write(give))? {
            Ok(staged) => Ok(Ok(staged)),
            Err(error) => not_merged(error).map(Err),
        }
    }

    /// Whether the change is not older than what there is. If it is, the row is marked.
    fn is_newest(&self, table: &DataTable, change: &Change<'_>) -> rusqlite::Result<bool> {
        let version: Option<f64> = self
            .connection
            .prepare_cached(&table.version)?
            .query_row([change.key], |row| row.get(0))
            .optional()?;
        if version.is_some_and(|version| version > change.version) {
            return self.mark(table, change.key).map(|()| false);
        }
        self.revive(table, change)
    }

    /// Writes JSON of just this length, as `write` gives it, beside the tables.
    fn stage<E>(
        &self,
        length: u64,
        write: impl FnOnce(&mut dyn FnMut(&str)) -> Result<(), E>,
    ) -> rusqlite::Result<Result<Staged, E>> {
        self.connection.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS {STAGE} (id INTEGER PRIMARY KEY, json BLOB NOT NULL)"
        ))?;
        self.connection
            .prepare_cached(&format!("INSERT INTO {STAGE} (json) VALUES (zeroblob(?1))"))?
            .execute([length])?;
        let id = self.connection.last_insert_rowid();
        let mut blob = self
            .connection
            .blob_open(MAIN_DB, STAGE, "json", id, false)?;
        let (mut at, mut failed) = (0, None);
        let written = write(&mut |piece| {
            if failed.is_none() {
                failed = blob.write_all_at(piece.as_bytes(), at).err();
                at += piece.len();
            }
        });
        blob.close()?;
        match failed {
            Some(error) => Err(error),
            None => Ok(written.map(|()| Staged(id))),
        }
    }

    /// Makes a row of what was staged, in the place of one that is not newer. To update that one would take several times as
    /// much memory.
    fn put_staged(
        &self,
        table: &DataTable,
        change: &Change<'_>,
        Staged(id): Staged,
    ) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(&table.remove)?
            .query_row(params![change.key, change.version], |_| Ok(()))
            .optional()?;
        self.connection
            .prepare_cached(&table.put_staged)?
            .execute(params![
                change.key,
                change.id,
                change.version,
                change.origin,
                change.user,
                change.expires_at,
                self.link.copy.mark_now(),
                id,
            ])?;
        self.connection
            .prepare_cached(&format!("DELETE FROM {STAGE}"))?
            .execute([])?;
        Ok(())
    }
}

/// How many bytes a value takes as JSON; none if it is not there.
fn json_length(value: Option<RawValue<'_>>, limit: u64) -> Result<u64, Undecodable> {
    let Some(value) = value else {
        return Ok(0);
    };
    let length = value.json_length(JsonStyle::Natural, limit)?;
    length.ok_or(Undecodable::TooLarge { limit })
}

/// What comes of a patch that cannot be merged: a record is passed over, or somebody else has written to the file.
pub(super) fn not_merged(error: MergeError) -> rusqlite::Result<Undecodable> {
    match error {
        MergeError::TooManyChanges => Ok(Undecodable::TooManyChanges),
        MergeError::NotJson(error) => Err(rusqlite::Error::FromSqlConversionFailure(
            1,
            Type::Text,
            Box::new(error),
        )),
    }
}
