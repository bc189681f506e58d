//! What the entries of the log, and the rows of base copies, make of rows. The rules are those of [`replproto_core::replica`];
//! here is where rows and their memory lie.
//!
//! | a record that | lies in | its memory in |
//! |---|---|---|
//! | is there | its table | the column `memory` of its row; NULL if it is plain |
//! | is invalidated, and something is left of it | the column `hidden` of `_replproto_tombstone` | `memory` there |
//! | is not there, but was or may have been | | `memory` of `_replproto_tombstone` |
//!
//! `version` and `origin` are those of the newest write. A plain memory does not say whether its last write was a row of a base
//! copy: `copy` does, which is 0 if not, and otherwise the number of the copy, or -1.

use std::cell::RefCell;

use replproto_core::replica::{Action, Change as Outcome, Current, Doubt, Entry, Memory, Stamp};
use replproto_core::{RecordKind, WallTime};
use rusqlite::types::Type;
use rusqlite::{OptionalExtension, params};

use super::batch::{Change, LARGE};
use super::large::{NewRecord, Value};
use super::store::Store;
use super::tables::{DataTable, text};
use super::tombstones::Tombstones;
use crate::decode::Undecodable;
use crate::json::Json;
use crate::patch::Merge;

/// The outcome of an entry: why it has to be passed over, or whether the row is in doubt now.
pub(super) type Done = Result<Option<Doubt>, Undecodable>;

/// What is known of a record.
#[derive(Debug)]
struct Held {
    place: Place,
    memory: Memory<Json>,
    /// The memory as it is stored.
    bytes: Vec<u8>,
    user: Option<String>,
    expires_at: Option<f64>,
}

/// Where the content of a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In its table.
    Live,
    /// In the table of tombstones: it is what an invalidation has left.
    Hidden,
    /// There is none, but a tombstone.
    Dead,
    /// Nothing is known of it.
    Unknown,
}

impl Store {
    /// Does what a record asks for.
    pub(super) fn on_change(
        &mut self,
        change: &Change<'_>,
        value: Value<'_>,
    ) -> rusqlite::Result<Done> {
        self.note_event(change)?;
        let table = self.table_of(change)?;
        if change.kind == RecordKind::Put && self.put(&table, change, &value)? {
            return Ok(Ok(None));
        }
        if change.kind == RecordKind::Patch && value.has_too_many_attributes() {
            return Ok(Err(Undecodable::TooManyChanges));
        }
        let done = if self.link.copy.is_active() && change.kind == RecordKind::Put {
            self.on_copied(&table, change, value)?
        } else {
            self.on_logged(&table, change, value)?
        };
        if matches!(change.kind, RecordKind::Put | RecordKind::Patch) {
            self.mark(&table, change.key)?;
        }
        if let Ok(Some(doubt)) = done {
            self.note_doubt(&table, change.key, doubt)?;
        }
        Ok(done)
    }

    /// Most entries: a put that is newer than all that is known of its record, and the record has a plain memory. Gives false, and
    /// does nothing, for others.
    fn put(
        &self,
        table: &DataTable,
        change: &Change<'_>,
        value: &Value<'_>,
    ) -> rusqlite::Result<bool> {
        let Value::Text(record) = value else {
            return Ok(false);
        };
        if value.is_nothing()
            || value.length() > self.max_row
            || change.write.repeats
            || self
                .tombstones
                .has(&self.connection, table.id, change.key)?
        {
            return Ok(false);
        }
        let stored = self
            .connection
            .prepare_cached(&table.put)?
            .execute(params![
                change.key,
                change.id,
                change.version,
                change.origin,
                change.user,
                change.expires_at,
                self.link.copy.mark_now(),
                record,
            ])?;
        Ok(stored > 0)
    }

    /// A row of a base copy.
    fn on_copied(
        &mut self,
        table: &DataTable,
        change: &Change<'_>,
        value: Value<'_>,
    ) -> rusqlite::Result<Done> {
        let mut held = self.held(table, change.key)?;
        if !held.memory.apply_copied(&stamp(change)) {
            return Ok(Ok(None));
        }
        held.expires_at = change.expires_at;
        if value.is_nothing() {
            self.remove(table, change, &held, None, false)?;
            return Ok(Ok(None));
        }
        self.write(table, change, &held, NewRecord::Value(value))
    }

    /// An entry of the log.
    fn on_logged(
        &mut self,
        table: &DataTable,
        change: &Change<'_>,
        value: Value<'_>,
    ) -> rusqlite::Result<Done> {
        let mut held = self.held(table, change.key)?;
        let before = held.memory.head().map(|head| head.version.0);
        let is_nothing = value.is_nothing();
        let Stamp { version, origin } = stamp(change);
        let entry = Entry {
            version,
            origin,
            expires_at: change.expires_at.map(WallTime),
            digest: change.write.digest,
            repeats: change.write.repeats,
            action: Action::of(change.kind, (!is_nothing).then_some(value)),
        };
        let current = CurrentRow {
            store: self,
            table,
            key: change.key,
            place: held.place,
            failed: RefCell::new(None),
        };
        let outcome = held.memory.apply(&entry, &current);
        if let Some(error) = current.failed.into_inner() {
            return Err(error);
        }
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return Ok(Err(error.into())),
        };
        if let Some(expires_at) = outcome.expires_at {
            held.expires_at = expires_at.map(|WallTime(time)| time);
        }
        let value = entry.action.into_value().unwrap_or_default();
        let done = match outcome.change {
            Outcome::Show if held.place == Place::Hidden => self.set(table, change, &held, &[])?,
            Outcome::Keep | Outcome::Show => {
                self.touch(table, change, &held, outcome.expires_at.is_some())?;
                Ok(None)
            }
            Outcome::Set(fields) => {
                drop(value);
                self.set(table, change, &held, &fields)?
            }
            Outcome::Replace => self.write(table, change, &held, NewRecord::Value(value))?,
            Outcome::Hide if value.length() > self.max_row => Err(self.too_large()),
            Outcome::Hide => {
                let left = value.to_text();
                let left = (!is_nothing).then_some(left.as_ref());
                self.remove(table, change, &held, left, false)?;
                Ok(None)
            }
            Outcome::Remove => {
                let is_new = before.is_none_or(|before| before < change.version);
                self.remove(table, change, &held, None, is_new)?;
                Ok(None)
            }
        };
        Ok(done.map(|_| outcome.effect.doubt))
    }

    /// Reads what is known of a record, besides its content.
    fn held(&self, table: &DataTable, key: &[u8]) -> rusqlite::Result<Held> {
        let live = self
            .connection
            .prepare_cached(&table.read)?
            .query_row([key], |row| {
                let (version, origin): (f64, String) = (row.get(0)?, row.get(1)?);
                let (copy, bytes): (i64, Option<Vec<u8>>) = (row.get(2)?, row.get(3)?);
                let bytes = bytes.unwrap_or_default();
                Ok(Held {
                    place: Place::Live,
                    memory: memory((version, &origin, copy != 0), &bytes)?,
                    bytes,
                    user: row.get(4)?,
                    expires_at: row.get(5)?,
                })
            })
            .optional()?;
        if let Some(live) = live {
            return Ok(live);
        }
        let dead = self.tombstones.read(&self.connection, table.id, key)?;
        let (place, memory, bytes) = match dead {
            Some(dead) if dead.is_hidden => (Place::Hidden, dead.memory()?, dead.bytes),
            Some(dead) => (Place::Dead, dead.memory()?, dead.bytes),
            None => (Place::Unknown, Memory::default(), Vec::new()),
        };
        Ok(Held {
            place,
            memory,
            bytes,
            user: None,
            expires_at: None,
        })
    }

    /// Writes a row. Gives why it cannot be one; nothing has changed then.
    fn write(
        &self,
        table: &DataTable,
        change: &Change<'_>,
        held: &Held,
        record: NewRecord<'_>,
    ) -> rusqlite::Result<Done> {
        let (version, origin) = held.head(change);
        let is_late = version > change.version;
        let bytes = held.memory.to_bytes();
        let row = NewRow {
            key: change.key,
            id: change.id,
            version,
            origin,
            user: if is_late {
                held.user.as_deref()
            } else {
                change.user
            },
            expires_at: held.expires_at,
            copy: self.copy_of(&held.memory),
            memory: (!bytes.is_empty()).then_some(bytes.as_slice()),
        };
        if let Err(error) = self.write_row(table, &row, record)? {
            return Ok(Err(error));
        }
        if matches!(held.place, Place::Hidden | Place::Dead) {
            Tombstones::remove(&self.connection, table.id, change.key)?;
        }
        Ok(Ok(None))
    }

    /// Gives fields of a record new values, and shows it.
    fn set(
        &self,
        table: &DataTable,
        change: &Change<'_>,
        held: &Held,
        fields: &[(String, Json)],
    ) -> rusqlite::Result<Done> {
        let merged = self.with_content(table, change.key, held.place, |content| {
            let merge = Merge::new(content.unwrap_or("{}"), fields).map_err(not_json)?;
            let length = merge.length().map_err(not_json)?;
            if length > self.max_row {
                return Ok(Err(self.too_large()));
            }
            if length > LARGE as u64 {
                let written = self.write(table, change, held, NewRecord::Merge(&merge, length))?;
                return Ok(written.map(|_| None));
            }
            let merged = merge.to_text(length as usize).map_err(not_json)?;
            Ok(Ok(Some(merged)))
        })?;
        match merged {
            Ok(Some(text)) => self.write(table, change, held, NewRecord::Value(Value::Text(&text))),
            Ok(None) => Ok(Ok(None)),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Stores the memory, and the expiry if it has changed. What is known of a record that was never there needs a tombstone.
    fn touch(
        &mut self,
        table: &DataTable,
        change: &Change<'_>,
        held: &Held,
        has_expiry: bool,
    ) -> rusqlite::Result<()> {
        let bytes = held.memory.to_bytes();
        let (version, origin) = held.head(change);
        match held.place {
            Place::Live if has_expiry || bytes != held.bytes => self
                .connection
                .prepare_cached(&table.touch)?
                .execute(params![
                    change.key,
                    version,
                    origin,
                    has_expiry,
                    held.expires_at,
                    self.copy_of(&held.memory),
                    (!bytes.is_empty()).then_some(bytes),
                ])
                .map(drop),
            Place::Hidden | Place::Dead if bytes != held.bytes => Tombstones::touch(
                &self.connection,
                (table.id, change.key),
                (version, origin),
                &bytes,
            ),
            Place::Unknown if bytes != held.bytes => self.remove(table, change, held, None, false),
            _ => Ok(()),
        }
    }

    /// Leaves a tombstone. `is_new`: no earlier run has brought this deletion.
    fn remove(
        &mut self,
        table: &DataTable,
        change: &Change<'_>,
        held: &Held,
        hidden: Option<&str>,
        is_new: bool,
    ) -> rusqlite::Result<()> {
        if held.place == Place::Live {
            self.connection
                .prepare_cached(&table.remove)?
                .execute([change.key])?;
        }
        let (version, origin) = held.head(change);
        let bytes = held.memory.to_bytes();
        // Copied rows do not come in the order of the log, so nothing can be concluded from what is new among them.
        let is_new = is_new && !self.link.copy.is_active();
        self.tombstones.insert(
            &self.connection,
            (table.id, change.key),
            (version, origin),
            (&bytes, hidden),
            is_new,
        )
    }

    /// Shows the content of a record, shown or hidden. It is in memory only as long as that.
    fn with_content<T>(
        &self,
        table: &DataTable,
        key: &[u8],
        place: Place,
        show: impl FnOnce(Option<&str>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        match place {
            Place::Live => {
                let mut read = self.connection.prepare_cached(&table.record)?;
                let mut rows = read.query([key])?;
                let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
                show(Some(text(row, 0)?))
            }
            Place::Hidden => {
                let hidden = Tombstones::hidden(&self.connection, table.id, key)?;
                show(Some(&hidden))
            }
            Place::Dead | Place::Unknown => show(None),
        }
    }

    const fn too_large(&self) -> Undecodable {
        Undecodable::TooLarge {
            limit: self.max_row,
        }
    }

    /// What a row with this memory has in `copy`.
    fn copy_of(&self, memory: &Memory<Json>) -> i64 {
        match self.link.copy.mark_now() {
            0 if memory.is_copied() => -1,
            mark => mark,
        }
    }
}

impl Held {
    /// Version and origin of the newest write. There may be none yet of a record that was only moved.
    fn head<'a>(&'a self, change: &Change<'a>) -> (f64, &'a str) {
        self.memory
            .head()
            .map_or((change.version, change.origin), |head| {
                (head.version.0, head.origin.as_str())
            })
    }
}

/// A row to be written, without its record.
#[derive(Debug)]
pub(super) struct NewRow<'a> {
    pub(super) key: &'a [u8],
    pub(super) id: &'a str,
    pub(super) version: f64,
    pub(super) origin: &'a str,
    pub(super) user: Option<&'a str>,
    pub(super) expires_at: Option<f64>,
    pub(super) copy: i64,
    pub(super) memory: Option<&'a [u8]>,
}

/// The content of a record, read when it is asked for.
struct CurrentRow<'a> {
    store: &'a Store,
    table: &'a DataTable,
    key: &'a [u8],
    place: Place,
    failed: RefCell<Option<rusqlite::Error>>,
}

impl Current<Json> for CurrentRow<'_> {
    fn is_there(&self) -> bool {
        matches!(self.place, Place::Live | Place::Hidden)
    }

    fn fields(&self, names: &[&str]) -> Vec<Option<Json>> {
        self.store
            .with_content(self.table, self.key, self.place, |content| {
                Ok(content.fields(names))
            })
            .unwrap_or_else(|error| {
                self.failed.replace(Some(error));
                vec![None; names.len()]
            })
    }
}

fn stamp(change: &Change<'_>) -> Stamp {
    Stamp {
        version: WallTime(change.version),
        origin: change.origin.into(),
    }
}

/// The memory of a record: version, origin and whether it was copied, of a plain one.
pub(super) fn memory(
    (version, origin, is_copied): (f64, &str, bool),
    bytes: &[u8],
) -> rusqlite::Result<Memory<Json>> {
    let stamp = Stamp {
        version: WallTime(version),
        origin: origin.into(),
    };
    Memory::from_bytes(Some(stamp), is_copied, bytes)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(3, Type::Blob, Box::new(error)))
}

/// Somebody else has written to the file.
fn not_json(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(error))
}
