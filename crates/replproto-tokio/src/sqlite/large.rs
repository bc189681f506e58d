//! Rows that are too large to be made in memory.
//!
//! SQLite puts a row together in memory, from a column that it has there too: twice the row, and the JSON of a record is a
//! multiple of the record. So the row of a large one is made with room for its JSON, a zero blob that costs nothing, and the
//! JSON is then written into it in pieces. What is stored is a BLOB with the text of the JSON, which SQLite's functions
//! for JSON take as they take TEXT.
//!
//! A blob that an index or a trigger has looked at cannot be written like that, and neither can a row without a rowid, which
//! tables of files of format 1 may have. There a row is made in memory after all.

use std::borrow::Cow;

use replproto_core::WallTime;
use replproto_core::key::decode_text;
use replproto_core::replica::Payload;
use replproto_core::value::{JsonStyle, RawValue, ValueError};
use rusqlite::blob::ZeroBlob;
use rusqlite::{MAIN_DB, ToSql, params};

use super::batch::{Change, LARGE, LargeRecord};
use super::report::Skipped;
use super::rows::{Done, NewRow};
use super::store::Store;
use super::tables::{DataTable, RECORD};
use crate::decode::{self, Undecodable};
use crate::json::{Json, JsonValue};
use crate::patch::{self, Attributes, Merge};

/// The value of an entry.
#[derive(Debug)]
pub(super) enum Value<'a> {
    /// As JSON; empty if there is none.
    Text(&'a str),
    /// Of a large record, not decoded, and its length as JSON.
    Large(Box<LargeRecord>, u64),
}

/// The record of a row to be written.
#[derive(Debug)]
pub(super) enum NewRecord<'a> {
    /// The value of an entry.
    Value(Value<'a>),
    /// What becomes of a record whose attributes change, and its length.
    Merge(&'a Merge<'a>, u64),
}

/// Nothing.
impl Default for Value<'_> {
    fn default() -> Self {
        Self::Text("")
    }
}

impl Value<'_> {
    /// Whether there is none.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Text(text) if JsonValue(text).is_nothing())
    }

    /// In bytes, as JSON.
    pub(super) const fn length(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Large(_, length) => *length,
        }
    }

    /// A patch of more is refused.
    pub(super) fn has_too_many_attributes(&self) -> bool {
        match self {
            Self::Text(text) => patch::has_too_many(text),
            Self::Large(..) => {
                let mut count = 0;
                self.each_attribute(|_, _| count += 1) && count > patch::ATTRIBUTES_MAX
            }
        }
    }

    /// Gives the attributes of a large one, and tells whether it is an object.
    fn each_attribute(&self, give: impl FnMut(&str, String)) -> bool {
        let Self::Large(large, _) = self else {
            return false;
        };
        let record = large.record();
        let value = record.as_ref().and_then(|record| record.value());
        // It was read before, for its length.
        value.is_some_and(|value| value.json_fields(JsonStyle::Natural, give) == Ok(true))
    }

    /// The JSON.
    pub(super) fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Large(_, length) => {
                let mut text = String::with_capacity(*length as usize);
                // It was read before, for its length.
                let written = self.write(&mut |piece| text.push_str(piece));
                debug_assert!(written.is_ok(), "{written:?}");
                Cow::Owned(text)
            }
        }
    }

    fn write(&self, give: &mut dyn FnMut(&str)) -> Result<(), ValueError> {
        match self {
            Self::Text(text) => give(text),
            Self::Large(large, _) => {
                let record = large.record();
                if let Some(value) = record.as_ref().and_then(|record| record.value()) {
                    return value.write_json_pieces(JsonStyle::Natural, |piece| {
                        give(piece);
                        Ok(())
                    });
                }
            }
        }
        Ok(())
    }
}

impl Payload for Value<'_> {
    type Field = Json;

    fn fields(&self) -> Option<Vec<(String, Json)>> {
        match self {
            Self::Text(text) => patch::attributes(text),
            Self::Large(..) => {
                let mut attributes = Attributes::default();
                let is_object =
                    self.each_attribute(|name, value| attributes.set(name, value.into()));
                is_object.then(|| attributes.into_list())
            }
        }
    }

    fn may_have_operations(&self) -> bool {
        match self {
            Self::Text(text) => JsonValue(text).may_have_operations(),
            Self::Large(..) => true,
        }
    }
}

impl NewRecord<'_> {
    const fn length(&self) -> u64 {
        match self {
            Self::Value(value) => value.length(),
            Self::Merge(_, length) => *length,
        }
    }

    /// Gives the JSON away in pieces.
    fn write(&self, give: &mut dyn FnMut(&str)) -> Result<(), Undecodable> {
        match self {
            Self::Value(value) => value.write(give).map_err(Undecodable::from),
            Self::Merge(merge, _) => {
                // It was written before, for its length.
                let written = merge.write(give);
                debug_assert!(written.is_ok(), "{written:?}");
                Ok(())
            }
        }
    }
}

impl Store {
    /// Stores a record that has not been decoded.
    pub(super) fn on_large(&mut self, large: Box<LargeRecord>) -> rusqlite::Result<Done> {
        let Some(record) = large.record() else {
            debug_assert!(false, "the record has just been there");
            return Ok(Ok(None));
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
            write: large.write,
        };
        let done = match length {
            Ok(length) => self.on_large_change(&change, large, length)?,
            Err(error) => Err(error),
        };
        if let Err(error) = &done {
            self.on_skipped(&Skipped::by_store(&change, error))?;
        }
        Ok(done)
    }

    fn on_large_change(
        &mut self,
        change: &Change<'_>,
        large: Box<LargeRecord>,
        length: u64,
    ) -> rusqlite::Result<Done> {
        let value = Value::Large(large, length);
        if length > LARGE as u64 {
            return self.on_change(change, value);
        }
        // A large record may have a small value.
        let text = value.to_text().into_owned();
        drop(value);
        self.on_change(change, Value::Text(&text))
    }

    /// Writes a row, in the place of what is there. Gives why that cannot be; the row stays as it was then.
    pub(super) fn write_row(
        &self,
        table: &DataTable,
        row: &NewRow<'_>,
        record: NewRecord<'_>,
    ) -> rusqlite::Result<Result<(), Undecodable>> {
        let (length, limit) = (record.length(), self.max_row);
        if length > limit {
            return Ok(Err(Undecodable::TooLarge { limit }));
        }
        if length <= LARGE as u64 || !self.takes_pieces(table)? {
            let mut text = String::with_capacity(length as usize);
            if let Err(error) = record.write(&mut |piece| text.push_str(piece)) {
                return Ok(Err(error));
            }
            return self.insert(table, row, &text).map(Ok);
        }
        // An error of SQLite ends the transaction, and this with it.
        self.connection.execute_batch("SAVEPOINT large")?;
        // Not updated: that would copy the room for the JSON.
        self.connection
            .prepare_cached(&table.remove)?
            .execute([row.key])?;
        self.insert(table, row, &ZeroBlob(length))?;
        let rowid = self.connection.last_insert_rowid();
        let written = self.write_record(table, rowid, |give| record.write(give))?;
        self.connection.execute_batch(match written {
            Ok(()) => "RELEASE large",
            Err(_) => "ROLLBACK TO large; RELEASE large",
        })?;
        Ok(written)
    }

    fn insert(
        &self,
        table: &DataTable,
        row: &NewRow<'_>,
        record: &dyn ToSql,
    ) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(&table.write)?
            .execute(params![
                row.key,
                row.id,
                row.version,
                row.origin,
                row.user,
                row.expires_at,
                row.copy,
                row.memory,
                record,
            ])
            .map(drop)
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
