//! Which SQL table holds which replicated table.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use replproto_core::{Cursor, Table};
use rusqlite::types::FromSqlError;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::error::Refusal;
use super::schema::PREFIX;

/// One replicated table and the statements for it. It has the live records and nothing else, so that a plain `SELECT` is
/// right.
#[derive(Debug)]
pub(super) struct DataTable {
    /// The row in `_replproto_table`.
    pub(super) id: i64,
    /// Its name in SQL, not quoted.
    pub(super) name: String,
    /// Stores a record that is newer than all that is known of it, in the place of one that only ever had writes in order: key,
    /// id, version, origin, user, expires_at, copy, record.
    pub(super) put: String,
    /// Stores a record, whatever there is: key, id, version, origin, user, expires_at, copy, memory, record.
    pub(super) write: String,
    /// Version, origin, copy, memory, user and expires_at of a record: key.
    pub(super) read: String,
    /// The JSON of a record: key.
    pub(super) record: String,
    /// Changes all but the record: key, version, origin, whether there is an expiry to store, expires_at, copy, memory.
    pub(super) touch: String,
    /// Removes a record: key.
    pub(super) remove: String,
    /// Removes the records that a copy has not brought: copy, the table's id.
    pub(super) sweep: String,
}

impl DataTable {
    fn new(id: i64, sql_name: &str) -> Self {
        let table = quote(sql_name);
        Self {
            id,
            name: sql_name.to_owned(),
            // The text of a statement is looked up for each record, so it is short.
            put: format!(
                "INSERT INTO {table}(key,id,version,origin,user,expires_at,copy,record) \
                 VALUES(?1,?2,?3,?4,?5,?6,?7,?8)ON CONFLICT(key)DO UPDATE SET \
                 version=?3,origin=?4,user=?5,expires_at=?6,copy=?7,memory=NULL,record=?8 \
                 WHERE memory IS NULL AND(version<?3 OR version=?3 AND origin=?4 \
                 AND(copy=0 OR ?7<>0))"
            ),
            write: format!(
                "INSERT INTO {table}(key,id,version,origin,user,expires_at,copy,memory,record) \
                 VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)ON CONFLICT(key)DO UPDATE SET \
                 version=?3,origin=?4,user=?5,expires_at=?6,copy=?7,memory=?8,record=?9"
            ),
            read: format!(
                "SELECT version, origin, copy, memory, user, expires_at FROM {table} WHERE key = ?1"
            ),
            record: format!("SELECT record FROM {table} WHERE key = ?1"),
            touch: format!(
                "UPDATE {table} SET version = ?2, origin = ?3, \
                 expires_at = CASE WHEN ?4 THEN ?5 ELSE expires_at END, copy = ?6, memory = ?7 \
                 WHERE key = ?1"
            ),
            remove: format!("DELETE FROM {table} WHERE key = ?1"),
            sweep: format!(
                "DELETE FROM {table} WHERE copy <> ?1 \
                 AND key NOT IN (SELECT key FROM _replproto_seen WHERE table_id = ?2)"
            ),
        }
    }
}

/// The tables of one link that have been met since the sink was opened or rolled back.
#[derive(Debug, Default)]
pub(super) struct Tables {
    by_name: HashMap<Box<str>, Rc<DataTable>>,
    /// That of the last change, which the next one is likely to be of too.
    last: Option<(Arc<Table>, Rc<DataTable>)>,
}

impl Tables {
    /// Finds the table that a change is of, creating it if it is new.
    pub(super) fn of(
        &mut self,
        connection: &Connection,
        link: i64,
        table: &Arc<Table>,
    ) -> rusqlite::Result<Rc<DataTable>> {
        if let Some((last, found)) = &self.last
            && Arc::ptr_eq(last, table)
        {
            return Ok(Rc::clone(found));
        }
        let found = self.open(connection, link, table.name())?;
        self.last = Some((Arc::clone(table), Rc::clone(&found)));
        Ok(found)
    }

    /// Finds a table, creating it if it is new.
    pub(super) fn open(
        &mut self,
        connection: &Connection,
        link: i64,
        name: &str,
    ) -> rusqlite::Result<Rc<DataTable>> {
        if let Some(table) = self.by_name.get(name) {
            return Ok(Rc::clone(table));
        }
        let table = Rc::new(open(connection, link, name)?);
        self.by_name.insert(name.into(), Rc::clone(&table));
        Ok(table)
    }

    /// Opens every table that the link has ever had and that the cursor covers.
    pub(super) fn open_covered(
        &mut self,
        connection: &Connection,
        link: i64,
        cursor: &Cursor,
    ) -> rusqlite::Result<Vec<Rc<DataTable>>> {
        names(connection, link)?
            .iter()
            .filter(|name| cursor.covers(name))
            .map(|name| self.open(connection, link, name))
            .collect()
    }

    /// After a rollback, tables that were new may be gone.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Every table that the link has ever had.
fn names(connection: &Connection, link: i64) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached("SELECT name FROM _replproto_table WHERE link = ?1 ORDER BY id")?
        .query_map([link], |row| row.get(0))?
        .collect()
}

/// Notes which of the link's tables are followed from this cursor on: the others stay as they are.
pub(super) fn mark_followed(
    connection: &Connection,
    link: i64,
    cursor: &Cursor,
) -> rusqlite::Result<()> {
    let mut mark = connection.prepare_cached(
        "UPDATE _replproto_table SET followed = ?3 WHERE link = ?1 AND name = ?2",
    )?;
    for name in names(connection, link)? {
        mark.execute(params![link, name, cursor.covers(&name)])?;
    }
    Ok(())
}

fn open(connection: &Connection, link: i64, name: &str) -> rusqlite::Result<DataTable> {
    let known = connection
        .prepare_cached("SELECT id, sql_name FROM _replproto_table WHERE link = ?1 AND name = ?2")?
        .query_row(params![link, name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (id, sql_name): (i64, String) = match known {
        Some(known) => known,
        None => {
            let (id, sql_name) = register(connection, link, name)?;
            create(connection, &sql_name)?;
            (id, sql_name)
        }
    };
    Ok(DataTable::new(id, &sql_name))
}

/// Fails if somebody has dropped or renamed a table of the link, or makes such tables anew.
pub(super) fn check(connection: &Connection, link: i64, makes_anew: bool) -> rusqlite::Result<()> {
    let gone: Vec<String> = connection
        .prepare_cached(
            "SELECT sql_name FROM _replproto_table WHERE link = ?1
             AND sql_name NOT IN (SELECT name FROM sqlite_schema WHERE type = 'table') ORDER BY id",
        )?
        .query_map([link], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for table in gone {
        if !makes_anew {
            return Err(Refusal::TableGone(table).into());
        }
        tracing::warn!(
            table,
            "somebody dropped or renamed this replicated table; it is made anew, empty, and a base copy fills it"
        );
        create(connection, &table)?;
    }
    Ok(())
}

/// The column with the JSON, as TEXT, or as a BLOB if it is large.
pub(super) const RECORD: &str = "record";

/// Creates the table. Columns that a sweep looks at come before the record, which may be long and whose
/// room is only free of cost at the end of the row. A row without a rowid could not be written in pieces.
pub(super) fn create(connection: &Connection, sql_name: &str) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "CREATE TABLE {table} (
            key BLOB PRIMARY KEY NOT NULL, id TEXT NOT NULL, version REAL NOT NULL, origin TEXT NOT NULL, user TEXT,
            expires_at REAL, copy INTEGER NOT NULL, memory BLOB, {RECORD} TEXT NOT NULL
        )",
        table = quote(sql_name)
    ))
}

/// A column that has text, as TEXT or as a BLOB.
pub(super) fn text<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a str> {
    let value = row.get_ref(column)?;
    let bytes = value.as_bytes()?;
    str::from_utf8(bytes).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            value.data_type(),
            FromSqlError::Other(Box::new(error)).into(),
        )
    })
}

fn register(connection: &Connection, link: i64, name: &str) -> rusqlite::Result<(i64, String)> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Refusal::LongName { length: name.len() }.into());
    }
    let last: i64 = connection
        .prepare_cached("SELECT coalesce(max(id), 0) FROM _replproto_table")?
        .query_row([], |row| row.get(0))?;
    if last >= TABLES_MAX {
        return Err(Refusal::TooManyTables.into());
    }
    let id = last + 1;
    let database: String = connection.query_row(
        "SELECT database FROM _replproto_link WHERE id = ?1",
        [link],
        |row| row.get(0),
    )?;
    // Both of SQLite's own look a name up, where a query of its schema would go through all of it.
    let mut is_taken = connection.prepare_cached(
        "SELECT 1 FROM pragma_table_xinfo(?1) UNION ALL SELECT 1 FROM pragma_index_xinfo(?1)
         UNION ALL SELECT 1 FROM _replproto_table WHERE sql_name = ?1",
    )?;
    let mut attempt = 0;
    let sql_name = loop {
        let candidate = sql_name(name, &database, id, attempt);
        if !is_reserved(&candidate) && !is_taken.exists([&candidate])? {
            break candidate;
        }
        attempt += 1;
    };
    connection.execute(
        "INSERT INTO _replproto_table (id, link, name, sql_name) VALUES (?1, ?2, ?3, ?4)",
        params![id, link, name, sql_name],
    )?;
    Ok((id, sql_name))
}

/// The most replicated tables of one file: SQLite keeps its schema in memory, 5 KiB or so for a table of ours, and goes
/// through all of it for each new one.
pub(super) const TABLES_MAX: i64 = 4096;

/// Longest name of a replicated table, in bytes. Those of publishers are far shorter.
pub(super) const NAME_BYTES_MAX: usize = 1024;

/// The part of a name that goes into the SQL name, in bytes: it is in each statement.
const SQL_NAME_BYTES_MAX: usize = 128;

/// A name for an SQL table, the best ones first: its own name, the name with its database, then numbered ones. SQLite does
/// not tell capital letters from small ones and reserves a prefix, and a file can hold the same table of several links.
///
/// `id` is that of the new table alone, so one of the first numbered names is free unless tables have been given just these
/// names: the search does not grow with the number of tables.
fn sql_name(name: &str, database: &str, id: i64, attempt: u64) -> String {
    let short = &name[..name.floor_char_boundary(SQL_NAME_BYTES_MAX)];
    let name = match attempt {
        0 => short.to_owned(),
        1 => {
            let database = &database[..database.floor_char_boundary(SQL_NAME_BYTES_MAX)];
            format!("{database}.{short}")
        }
        2 => format!("t2.{short}"),
        3 => format!("t{id}.{short}"),
        number => format!("t{id}-{number}.{short}"),
    };
    // SQLite's parser stops at a NUL.
    name.replace('\0', "\u{fffd}")
}

fn is_reserved(name: &str) -> bool {
    ["sqlite_", PREFIX].iter().any(|prefix| {
        name.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    })
}

/// The name as SQL wants it.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_name_comes_first() {
        let names = [0, 1, 2, 3, 4].map(|attempt| sql_name("Dog", "data", 7, attempt));
        assert_eq!(names, ["Dog", "data.Dog", "t2.Dog", "t7.Dog", "t7-4.Dog"]);
        let long = sql_name(&"\u{e9}".repeat(200), "data", 7, 0);
        assert_eq!(long, "\u{e9}".repeat(64));
    }

    #[test]
    fn reserved_names_are_told_whatever_their_case() {
        assert!(is_reserved("SQLite_master"));
        assert!(is_reserved("_Replproto_link"));
        assert!(!is_reserved("sqlit\u{e9}_"));
        assert!(!is_reserved("t2.sqlite_master"));
    }

    #[test]
    fn any_name_can_be_quoted() {
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(sql_name("a\0b", "d", 1, 0), "a\u{fffd}b");
    }
}
