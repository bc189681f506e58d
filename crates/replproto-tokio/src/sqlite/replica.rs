//! Looking at a file from the outside.

use std::path::{Path, PathBuf};

use replproto_core::StoredCursor;
use rusqlite::{Connection, Row};

use super::error::{AtPath, SqliteError};
use super::link::read_cursor;
use super::schema;
use super::tables::{quote, text};

/// A file of a [`SqliteSink`](super::SqliteSink), opened to be read. A sink may be writing to it; each call sees what is
/// committed when it begins.
#[derive(Debug)]
pub struct Replica {
    path: PathBuf,
    connection: Connection,
}

/// A link that is kept in a file.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ReplicaLink {
    id: i64,
    /// Where the records come from, as in [`SqliteOptions`](super::SqliteOptions).
    pub source: String,
    /// The database that is followed.
    pub database: String,
    /// The publisher's own name, if it has been met.
    pub peer: Option<String>,
    /// Where the link left off.
    pub cursor: StoredCursor,
    /// How many records have been passed over since the beginning, because they could not be decoded.
    pub skipped: u64,
}

/// A replicated table of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaTable {
    /// The name at the publisher.
    pub name: String,
    /// The name of the SQL table.
    pub sql_name: String,
}

/// A record of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ReplicaRow<'a> {
    /// The id's bytes.
    pub key: &'a [u8],
    /// The id as tagged JSON.
    pub id: &'a str,
    /// The record as JSON.
    pub record: &'a str,
    /// When it was last changed, milliseconds since 1970.
    pub version: f64,
    /// The node that changed it.
    pub origin: &'a str,
    /// When it expires, milliseconds since 1970. Nothing is removed because of it.
    pub expires_at: Option<f64>,
}

/// A record that was passed over because it could not be decoded.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SkippedRow {
    /// Counts from 1.
    pub number: u64,
    /// The table.
    pub table: String,
    /// The id's bytes.
    pub key: Vec<u8>,
    /// The version, milliseconds since 1970; 0 if it was none.
    pub version: f64,
    /// What the entry asked for.
    pub kind: String,
    /// What is wrong with it.
    pub error: String,
}

impl Replica {
    /// Opens a file, which must exist.
    ///
    /// # Errors
    /// The file cannot be read, or no sink has written to it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, SqliteError> {
        let path = path.into();
        let connection = schema::open_for_reading(&path)?;
        Ok(Self { path, connection })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The links that are kept in the file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn links(&self) -> Result<Vec<ReplicaLink>, SqliteError> {
        let rows = self.list(
            "SELECT id, source, database, peer, skipped FROM _replproto_link ORDER BY id",
            None,
            |row| {
                let id = row.get(0)?;
                Ok(ReplicaLink {
                    id,
                    source: row.get(1)?,
                    database: row.get(2)?,
                    peer: row.get(3)?,
                    cursor: read_cursor(&self.connection, id)?,
                    skipped: row.get(4)?,
                })
            },
        );
        rows.at(&self.path)
    }

    /// The link with these names.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn link(&self, source: &str, database: &str) -> Result<Option<ReplicaLink>, SqliteError> {
        let mut links = self.links()?.into_iter();
        Ok(links.find(|link| link.source == source && link.database == database))
    }

    /// The replicated tables of a link, in the order of their names.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn tables(&self, link: &ReplicaLink) -> Result<Vec<ReplicaTable>, SqliteError> {
        let rows = self.list(
            "SELECT name, sql_name FROM _replproto_table WHERE link = ?1 ORDER BY name",
            Some(link.id),
            |row| {
                Ok(ReplicaTable {
                    name: row.get(0)?,
                    sql_name: row.get(1)?,
                })
            },
        );
        rows.at(&self.path)
    }

    /// How many records a table has.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn count(&self, table: &ReplicaTable) -> Result<u64, SqliteError> {
        let sql = format!("SELECT count(*) FROM {}", quote(&table.sql_name));
        self.connection
            .query_row(&sql, [], |row| row.get(0))
            .at(&self.path)
    }

    /// Calls `each` with every record of a table, in the order of their keys. One record at a time is in memory.
    ///
    /// # Errors
    /// The file cannot be read, or the first error of `each`.
    pub fn rows<E: From<SqliteError>>(
        &self,
        table: &ReplicaTable,
        mut each: impl FnMut(ReplicaRow<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let sql = format!(
            "SELECT key, id, record, version, origin, expires_at FROM {} ORDER BY key",
            quote(&table.sql_name)
        );
        self.visit(&sql, None, |row| {
            let read = || -> rusqlite::Result<_> {
                Ok(ReplicaRow {
                    key: row.get_ref(0)?.as_blob()?,
                    id: row.get_ref(1)?.as_str()?,
                    record: text(row, 2)?,
                    version: row.get(3)?,
                    origin: row.get_ref(4)?.as_str()?,
                    expires_at: row.get(5)?,
                })
            };
            each(read().at(&self.path)?)
        })
    }

    /// Calls `each` with every line of the log of events, without a line feed, in order.
    ///
    /// # Errors
    /// The file cannot be read, or the first error of `each`.
    pub fn event_lines<E: From<SqliteError>>(
        &self,
        link: &ReplicaLink,
        mut each: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let sql = "SELECT line FROM _replproto_event WHERE link = ?1 ORDER BY number";
        self.visit(sql, Some(link.id), |row| {
            let line = row.get_ref(0).at(&self.path)?;
            let line = line.as_str().map_err(rusqlite::Error::from);
            each(line.at(&self.path)?)
        })
    }

    /// The files of blobs that the source has declared gone, in the order of their names.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn blobs_gone(&self, link: &ReplicaLink) -> Result<Vec<String>, SqliteError> {
        let sql = "SELECT file FROM _replproto_blob_gone WHERE link = ?1 ORDER BY file";
        self.list(sql, Some(link.id), |row| row.get(0))
            .at(&self.path)
    }

    /// The last records that were passed over, at most 1,000.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn skipped(&self, link: &ReplicaLink) -> Result<Vec<SkippedRow>, SqliteError> {
        let rows = self.list(
            "SELECT number, table_name, key, version, kind, error FROM _replproto_skipped \
             WHERE link = ?1 ORDER BY number",
            Some(link.id),
            |row| {
                Ok(SkippedRow {
                    number: row.get(0)?,
                    table: row.get(1)?,
                    key: row.get(2)?,
                    version: row.get(3)?,
                    kind: row.get(4)?,
                    error: row.get(5)?,
                })
            },
        );
        rows.at(&self.path)
    }

    fn list<T>(
        &self,
        sql: &str,
        link: Option<i64>,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.connection
            .prepare(sql)?
            .query_map(rusqlite::params_from_iter(link), read)?
            .collect()
    }

    fn visit<E: From<SqliteError>>(
        &self,
        sql: &str,
        link: Option<i64>,
        mut each: impl FnMut(&Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut statement = self.connection.prepare(sql).at(&self.path)?;
        let mut rows = statement
            .query(rusqlite::params_from_iter(link))
            .at(&self.path)?;
        while let Some(row) = rows.next().at(&self.path)? {
            each(row)?;
        }
        Ok(())
    }
}
