//! The row of a link: whom it follows, how far it has come, which base copy is under way.

use std::sync::Arc;

use replproto_core::{Cursor, Selection, StoredCursor};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

/// The link's own row, as far as the rules need it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: Option<String>,
    pub(super) skipped: u64,
    pub(super) skipped_changed: bool,
    pub(super) copy: Copy,
    /// That of the stored cursor.
    pub(super) selection: Option<Arc<Selection>>,
}

/// A base copy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Copy {
    pub(super) state: CopyState,
    /// What the copy's records are marked with; each copy has its own number, so marks are never taken away.
    pub(super) mark: i64,
    /// The copy's identity, if it can be resumed.
    pub(super) start: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum CopyState {
    /// None is under way.
    Idle = 0,
    /// One is under way; what it does not bring is removed at its end.
    Sweeping = 1,
    /// One is under way that is the rest of a copy which this file knows nothing of.
    Keeping = 2,
}

impl Copy {
    pub(super) fn is_active(self) -> bool {
        self.state != CopyState::Idle
    }

    /// What a record that is written now is marked with.
    pub(super) fn mark_now(self) -> i64 {
        if self.is_active() { self.mark } else { 0 }
    }
}

impl Link {
    pub(super) fn load(connection: &Connection, id: i64) -> rusqlite::Result<Self> {
        let selection = match read_cursor(connection, id)? {
            StoredCursor::Found(cursor) => cursor.selection,
            _ => None,
        };
        connection
            .prepare_cached(
                "SELECT peer, skipped, copy_state, copy_mark, copy_start FROM _replproto_link WHERE id = ?1",
            )?
            .query_row([id], |row| {
                let state = match row.get(2)? {
                    0 => CopyState::Idle,
                    1 => CopyState::Sweeping,
                    // Of a value that nobody wrote, the harmless meaning.
                    _ => CopyState::Keeping,
                };
                Ok(Self {
                    peer: row.get(0)?,
                    skipped: row.get(1)?,
                    skipped_changed: false,
                    copy: Copy {
                        state,
                        mark: row.get(3)?,
                        start: row.get(4)?,
                    },
                    selection,
                })
            })
    }

    /// A base copy begins, ends or becomes another one. What an earlier one has seen means nothing then.
    pub(super) fn set_copy(
        &mut self,
        connection: &Connection,
        id: i64,
        copy: Copy,
    ) -> rusqlite::Result<()> {
        connection.execute(
            "UPDATE _replproto_link SET copy_state = ?2, copy_mark = ?3, copy_start = ?4 WHERE id = ?1",
            params![id, copy.state as i64, copy.mark, copy.start],
        )?;
        connection.execute("DELETE FROM _replproto_seen WHERE link = ?1", [id])?;
        self.copy = copy;
        Ok(())
    }
}

/// The stored cursor of a link.
pub(super) fn read_cursor(connection: &Connection, link: i64) -> rusqlite::Result<StoredCursor> {
    connection
        .prepare_cached("SELECT cursor FROM _replproto_link WHERE id = ?1")?
        .query_row([link], |row| {
            Ok(match row.get_ref(0)? {
                ValueRef::Null => StoredCursor::Absent,
                ValueRef::Blob(bytes) => match Cursor::from_bytes(bytes) {
                    Ok(cursor) => StoredCursor::Found(cursor),
                    Err(error) => StoredCursor::Unreadable {
                        why: error.to_string(),
                    },
                },
                other => StoredCursor::Unreadable {
                    why: format!("it is of type {}, not a blob", other.data_type()),
                },
            })
        })
}

/// Another link of the same publisher and database, with its source.
pub(super) fn twin(
    connection: &Connection,
    link: i64,
    peer: &str,
) -> rusqlite::Result<Option<(i64, String)>> {
    connection
        .prepare_cached(
            "SELECT id, source FROM _replproto_link WHERE id <> ?1 AND peer = ?2
             AND database = (SELECT database FROM _replproto_link WHERE id = ?1) ORDER BY cursor IS NULL, id LIMIT 1",
        )?
        .query_row(params![link, peer], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// Whether the link has neither a cursor nor a table.
pub(super) fn is_fresh(connection: &Connection, link: i64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT cursor IS NULL AND id NOT IN (SELECT link FROM _replproto_table)
             FROM _replproto_link WHERE id = ?1",
        )?
        .query_row([link], |row| row.get(0))
}

/// Puts another link, with all that it has, in the place of a fresh one.
pub(super) fn replace(connection: &Connection, link: i64, by: i64) -> rusqlite::Result<()> {
    let source: String = connection.query_row(
        "DELETE FROM _replproto_link WHERE id = ?1 RETURNING source",
        [link],
        |row| row.get(0),
    )?;
    connection.execute(
        "UPDATE _replproto_link SET source = ?2 WHERE id = ?1",
        params![by, source],
    )?;
    Ok(())
}
