//! Which SQL table holds which replicated table.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use replproto_core::Table;
use rusqlite::{Connection, OptionalExtension, params};

use super::schema::PREFIX;

/// One replicated table and the statements for it. It has the live records and nothing else, so that a plain `SELECT` is
/// right.
#[derive(Debug)]
pub(super) struct DataTable {
    /// The row in `_replproto_table`.
    pub(super) id: i64,
    /// Stores a record unless a newer version is there: key, id, version, origin, user, expires_at, copy, record.
    pub(super) put: String,
    /// Version and text of a record: key.
    pub(super) read: String,
    /// The version of a record: key.
    pub(super) version: String,
    /// Removes a record that is not newer, and tells its version: key, version.
    pub(super) remove: String,
    /// Marks a record as seen by a copy: key, copy.
    pub(super) mark: String,
    /// Removes the records that a copy has not seen: copy.
    pub(super) sweep: String,
}

impl DataTable {
    fn new(id: i64, sql_name: &str) -> Self {
        let table = quote(sql_name);
        Self {
            id,
            put: format!(
                "INSERT INTO {table} (key, id, version, origin, user, expires_at, copy, record) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (key) DO UPDATE SET \
                 version = excluded.version, origin = excluded.origin, user = excluded.user, \
                 expires_at = excluded.expires_at, copy = excluded.copy, record = excluded.record \
                 WHERE version <= excluded.version"
            ),
            read: format!("SELECT version, record FROM {table} WHERE key = ?1"),
            version: format!("SELECT version FROM {table} WHERE key = ?1"),
            remove: format!(
                "DELETE FROM {table} WHERE key = ?1 AND version <= ?2 RETURNING version"
            ),
            mark: format!("UPDATE {table} SET copy = ?2 WHERE key = ?1"),
            sweep: format!("DELETE FROM {table} WHERE copy <> ?1"),
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

    /// Opens every table that the link has ever had.
    pub(super) fn open_all(
        &mut self,
        connection: &Connection,
        link: i64,
    ) -> rusqlite::Result<Vec<Rc<DataTable>>> {
        let names: Vec<String> = connection
            .prepare_cached("SELECT name FROM _replproto_table WHERE link = ?1 ORDER BY id")?
            .query_map([link], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        names
            .iter()
            .map(|name| self.open(connection, link, name))
            .collect()
    }

    /// After a rollback, tables that were new may be gone.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

fn open(connection: &Connection, link: i64, name: &str) -> rusqlite::Result<DataTable> {
    let known = connection
        .prepare_cached("SELECT id, sql_name FROM _replproto_table WHERE link = ?1 AND name = ?2")?
        .query_row(params![link, name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (id, sql_name): (i64, String) = match known {
        Some(known) => known,
        None => register(connection, link, name)?,
    };
    // Columns that a sweep looks at come before the record, which may be long.
    connection.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {table} (
            key BLOB PRIMARY KEY NOT NULL, id TEXT NOT NULL, version REAL NOT NULL, origin TEXT NOT NULL, user TEXT,
            expires_at REAL, copy INTEGER NOT NULL, record TEXT NOT NULL
        ) WITHOUT ROWID",
        table = quote(&sql_name)
    ))?;
    Ok(DataTable::new(id, &sql_name))
}

fn register(connection: &Connection, link: i64, name: &str) -> rusqlite::Result<(i64, String)> {
    let database: String = connection.query_row(
        "SELECT database FROM _replproto_link WHERE id = ?1",
        [link],
        |row| row.get(0),
    )?;
    let mut is_taken = connection.prepare_cached(
        "SELECT 1 FROM sqlite_master WHERE name = ?1 COLLATE NOCASE
         UNION ALL SELECT 1 FROM _replproto_table WHERE sql_name = ?1",
    )?;
    let mut attempt = 0;
    let sql_name = loop {
        let candidate = sql_name(name, &database, attempt);
        if !is_reserved(&candidate) && !is_taken.exists([&candidate])? {
            break candidate;
        }
        attempt += 1;
    };
    connection.execute(
        "INSERT INTO _replproto_table (link, name, sql_name) VALUES (?1, ?2, ?3)",
        params![link, name, sql_name],
    )?;
    Ok((connection.last_insert_rowid(), sql_name))
}

/// A name for an SQL table, the best ones first: its own name, the name with its database, then numbered ones. SQLite does
/// not tell capital letters from small ones and reserves a prefix, and a file can hold the same table of several links.
fn sql_name(name: &str, database: &str, attempt: u64) -> String {
    let name = match attempt {
        0 => name.to_owned(),
        1 => format!("{database}.{name}"),
        number => format!("t{number}.{name}"),
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
        let names = [0, 1, 2].map(|attempt| sql_name("Dog", "data", attempt));
        assert_eq!(names, ["Dog", "data.Dog", "t2.Dog"]);
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
        assert_eq!(sql_name("a\0b", "d", 0), "a\u{fffd}b");
    }
}
