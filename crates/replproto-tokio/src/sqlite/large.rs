//! Rows that are too large to be made in memory.
//!
//! SQLite puts a row together in memory, from a column that it has there too: twice the row, and the JSON of a record is a
//! multiple of the record. So the row of a large one is made with room for its JSON, a zero blob that costs nothing, and the
//! JSON is then written into it in pieces. What is stored is a BLOB with the text of the JSON, which SQLite's functions
//! for JSON take as they take TEXT.
//!
//! A blob that an index or a trigger has looked at cannot be written like that, and neither can a row without a rowid, which
//! tables of files of format 1 may have. There a row is made in memory after all.

use replproto_core::key::decode_text;
use replproto_core::value::{JsonStyle, RawValue, ValueError};
use replproto_core::{RecordKind, WallTime};
use rusqlite::blob::ZeroBlob;
use rusqlite::types::Type;
use rusqlite::{MAIN_DB, OptionalExtension};

use super::batch::{Change, LARGE, LargeRecord};
use super::report::Skipped;
use super::store::Store;
use super::tables::{DataTable, RECORD, text};
use crate::decode::{self, NO_CHANGES, Undecodable};
use crate::patch::{Merge, MergeError};

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
        if change.kind == RecordKind::Patch && has_row {
            let mut changes = String::with_capacity(length as usize);
            let written = value.write_json(&mut changes, JsonStyle::Natural);
            drop(large);
            match written {
                Ok(()) => self.put_merged(&table, change, &changes),
                Err(error) => Ok(Some(error.into())),
            }
        } else {
            let written = self.put_large(&table, change, length, move |give| {
                let record = large.record();
                let value = record.as_ref().and_then(|record| record.value());
                value.map_or(Ok(()), |value| {
                    value.write_json_pieces(JsonStyle::Natural, |piece| {
                        give(piece);
                        Ok::<_, ValueError>(())
                    })
                })
            })?;
            Ok(written.err().map(Undecodable::from))
        }
    }

    /// Patches a row where the row, the patch or both are large. There is a row, and the patch is not too old for it.
    pub(super) fn patch_large(
        &self,
        table: &DataTable,
        change: &Change<'_>,
    ) -> rusqlite::Result<Option<Undecodable>> {
        self.put_merged(table, change, change.value_or(NO_CHANGES))
    }

    /// Stores what a row becomes by a patch. Gives why the patch has to be passed over, if it has to be.
    fn put_merged(
        &self,
        table: &DataTable,
        change: &Change<'_>,
        changes: &str,
    ) -> rusqlite::Result<Option<Undecodable>> {
        let limit = self.max_row;
        let too_large = Ok(Some(Undecodable::TooLarge { limit }));
        let mut length = self.connection.prepare_cached(&table.length)?;
        let length: u64 = length.query_row([change.key], |row| row.get(0))?;
        if length > limit {
            return too_large;
        }
        let mut read = self.connection.prepare_cached(&table.record)?;
        let mut rows = read.query([change.key])?;
        let Some(row) = rows.next()? else {
            return Err(rusqlite::Error::QueryReturnedNoRows);
        };
        let merge = Merge::new(text(row, 0)?, changes);
        let (length, merge) = match merge.and_then(|merge| Ok((merge.length()?, merge))) {
            Ok(merge) => merge,
            Err(error) => return not_merged(error).map(Some),
        };
        if length > limit {
            return too_large;
        }
        match self.put_large(table, change, length, |give| merge.write(give))? {
            Ok(()) => Ok(None),
            Err(error) => not_merged(error).map(Some),
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

    /// Makes a row, in the place of one that is not newer, of the JSON of just this length that `write` gives in pieces. If
    /// `write` fails, the row stays as it was.
    fn put_large<E>(
        &self,
        table: &DataTable,
        change: &Change<'_>,
        length: u64,
        write: impl FnOnce(&mut dyn FnMut(&str)) -> Result<(), E>,
    ) -> rusqlite::Result<Result<(), E>> {
        if !self.takes_pieces(table)? {
            let mut text = String::with_capacity(length as usize);
            return match write(&mut |piece| text.push_str(piece)) {
                Ok(()) => self.put(table, change, &text).map(Ok),
                Err(error) => Ok(Err(error)),
            };
        }
        // An error of SQLite ends the transaction, and this with it.
        self.connection.execute_batch("SAVEPOINT large")?;
        // Not updated: that would copy the room for the JSON.
        self.connection
            .prepare_cached(&table.remove)?
            .execute([change.key])?;
        self.insert(table, change, &ZeroBlob(length))?;
        let row = self.connection.last_insert_rowid();
        let written = self.write_record(table, row, write)?;
        self.connection.execute_batch(match written {
            Ok(()) => "RELEASE large",
            Err(_) => "ROLLBACK TO large; RELEASE large",
        })?;
        Ok(written)
    }

    /// Whether rows of the table can be written in pieces.
    fn takes_pieces(&self, table: &DataTable) -> rusqlite::Result<bool> {
        let is_whole = self
            .connection
            .prepare_cached(
                "SELECT 1 FROM sqlite_schema
                 WHERE tbl_name = ?1 AND type IN ('index', 'trigger') AND sql IS NOT NULL
                 UNION ALL SELECT 1 FROM pragma_table_list(?1) WHERE schema = 'main' AND wr",
            )?
            .exists([&table.name])?;
        Ok(!is_whole)
    }

    fn write_record<E>(
        &self,
        table: &DataTable,
        row: i64,
        write: impl FnOnce(&mut dyn FnMut(&str)) -> Result<(), E>,
    ) -> rusqlite::Result<Result<(), E>> {
        let mut blob =
            self.connection
                .blob_open(MAIN_DB, table.name.as_str(), RECORD, row, false)?;
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
            None => Ok(written),
        }
    }
}

/// The length of a value as JSON, in bytes; 0 if there is none.
fn json_length(value: Option<RawValue<'_>>, limit: u64) -> Result<u64, Undecodable> {
    let Some(value) = value else {
        return Ok(0);
    };
    let length = value.json_length(JsonStyle::Natural, limit)?;
    length.ok_or(Undecodable::TooLarge { limit })
}

/// The outcome of a patch that cannot be merged: a record is passed over, or somebody else has written to the file.
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
