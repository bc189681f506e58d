//! The file: how it is opened, what is in it besides the replicated tables, and who may write to it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

use super::SqliteOptions;
use super::error::{AtPath, SqliteError};
use super::place::{Identity, Place};
use super::upgrade::{self, FORMAT_1, FORMAT_2};

/// Names of our own tables begin with this.
pub(super) const PREFIX: &str = "_replproto_";

/// The layout that this version writes, kept in `_replproto_format`.
const FORMAT: i64 = 3;

/// How long to wait for another link that writes to the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long that is nothing to speak of, while the file is opened.
const SILENT_TIMEOUT: Duration = Duration::from_secs(1);

/// The lock of a link may be looked at by another one, which takes it for a moment.
const LOCK_TRIES: u32 = 3;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Each table has its own set of statements, so this is enough for about 50 busy tables.
const STATEMENTS_KEPT: usize = 256;

/// Our own tables. Times and versions are milliseconds since 1970, as REAL, which keeps every bit of them that counts.
///
/// * `_replproto_link`: one row per link. `copy_state` is 0, or 1 while a base copy is under way, or 2 if rows that it does
///   not bring must stay all the same.
/// * `_replproto_table`: which SQL table holds which replicated table, and whether it is still followed.
/// * `_replproto_tombstone`: see `tombstone.rs`.
/// * `_replproto_seen`: records that the base copy under way has brought, while a newer version was there.
/// * `_replproto_doubt`: rows that may not be the publisher's, and why (`replproto_core::replica::Doubt`).
/// * `_replproto_skipped`: the last records that were passed over. `number` counts all of them.
/// * `_replproto_blob_gone`: blobs that the source has declared gone.
/// * `_replproto_event`: the log of events, if it is asked for.
const TABLES: &str = "
CREATE TABLE _replproto_format (version INTEGER NOT NULL);
CREATE TABLE _replproto_link (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    database TEXT NOT NULL,
    peer TEXT,
    cursor BLOB,
    skipped INTEGER NOT NULL DEFAULT 0,
    copy_state INTEGER NOT NULL DEFAULT 0,
    copy_mark INTEGER NOT NULL DEFAULT 0,
    copy_start REAL,
    UNIQUE (source, database)
);
CREATE TABLE _replproto_table (
    id INTEGER PRIMARY KEY,
    link INTEGER NOT NULL REFERENCES _replproto_link (id),
    name TEXT NOT NULL,
    sql_name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    followed INTEGER NOT NULL DEFAULT 1,
    UNIQUE (link, name)
);
CREATE TABLE _replproto_tombstone (
    link INTEGER NOT NULL,
    table_id INTEGER NOT NULL,
    key BLOB NOT NULL,
    version REAL NOT NULL,
    sequence REAL,
    origin TEXT NOT NULL DEFAULT '',
    memory BLOB,
    hidden TEXT,
    PRIMARY KEY (table_id, key)
) WITHOUT ROWID;
CREATE INDEX _replproto_tombstone_sequence ON _replproto_tombstone (link, sequence);
CREATE TABLE _replproto_skipped (
    link INTEGER NOT NULL,
    number INTEGER NOT NULL,
    table_name TEXT NOT NULL,
    key BLOB NOT NULL,
    version REAL NOT NULL,
    kind TEXT NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (link, number)
) WITHOUT ROWID;
CREATE TABLE _replproto_blob_gone (
    link INTEGER NOT NULL,
    file TEXT NOT NULL,
    table_name TEXT,
    key BLOB,
    fault TEXT NOT NULL,
    PRIMARY KEY (link, file)
) WITHOUT ROWID;
CREATE TABLE _replproto_event (
    number INTEGER PRIMARY KEY,
    link INTEGER NOT NULL,
    line TEXT NOT NULL,
    UNIQUE (link, line)
);
";

/// The tables that format 2 has brought.
pub(super) const SINCE_2: &str = "
CREATE TABLE _replproto_doubt (
    link INTEGER NOT NULL,
    table_id INTEGER NOT NULL,
    key BLOB NOT NULL,
    class TEXT NOT NULL,
    PRIMARY KEY (table_id, key)
) WITHOUT ROWID;
CREATE TABLE _replproto_seen (
    link INTEGER NOT NULL,
    table_id INTEGER NOT NULL,
    key BLOB NOT NULL,
    PRIMARY KEY (table_id, key)
) WITHOUT ROWID;
";

/// How the file is written to.
///
/// * The page size is that of files that are new. A record of up to a quarter of it lies in one piece; with the usual 4 KiB
///   a record of 1 KiB would take another page of its own.
/// * `FULL`: in WAL mode only this makes a commit durable when it returns.
/// * The cache, in KiB, is what the sink takes of memory at most. Behind it is that of the operating system, which makes a
///   larger one a little faster only.
/// * The log is moved into the file after this many pages, 16 MiB (8 MiB in a file with pages of 4 KiB), and cut back after a transaction that was larger than
///   its limit.
const PRAGMAS: &str = "
PRAGMA page_size = 8192;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA cache_size = -4096;
PRAGMA wal_autocheckpoint = 2048;
PRAGMA journal_size_limit = 67108864;
";

/// Opens the file for one link, creating what is missing.
pub(super) fn open(
    path: &Path,
    options: &SqliteOptions,
) -> Result<(Connection, Place, Guard), SqliteError> {
    let (mut connection, mut place) = Place::open(path)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.busy_timeout(SILENT_TIMEOUT).at(path)?;
    let link = match set_up(&mut connection, path, options) {
        Err(SqliteError::Busy { .. }) => {
            tracing::warn!(path = %path.display(), "waiting for another program that has the file locked");
            connection.busy_timeout(BUSY_TIMEOUT).at(path)?;
            set_up(&mut connection, path, options)?
        }
        done => done?,
    };
    connection.busy_timeout(BUSY_TIMEOUT).at(path)?;
    place.note_beside()?;
    let guard = Guard::take(path, place.real(), link, options)?;
    Ok((connection, place, guard))
}

/// Gives the link's row. Can be done again after an error.
fn set_up(
    connection: &mut Connection,
    path: &Path,
    options: &SqliteOptions,
) -> Result<i64, SqliteError> {
    connection.execute_batch(PRAGMAS).at(path)?;
    prepare(connection, path)?;
    link_row(connection, options).at(path)
}

/// Opens the file to look at it.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, SqliteError> {
    // A reader of a WAL file writes to the shared index beside it, so the file is opened for writing where that is
    // permitted; `query_only` keeps this from changing anything.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).at(path)?;
    connection.busy_timeout(BUSY_TIMEOUT).at(path)?;
    connection
        .execute_batch("PRAGMA query_only = ON")
        .at(path)?;
    match format(&connection).at(path)? {
        Some(FORMAT | FORMAT_2 | FORMAT_1) => Ok(connection),
        Some(format) => Err(SqliteError::Format {
            path: path.to_owned(),
            format,
        }),
        None => Err(SqliteError::NotAReplica {
            path: path.to_owned(),
        }),
    }
}

/// The layout of the file, if it is a replica.
pub(super) fn format(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let is_ours = connection
        .prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_replproto_format'")?
        .exists([])?;
    if !is_ours {
        return Ok(None);
    }
    connection
        .query_row("SELECT version FROM _replproto_format", [], |row| {
            row.get(0)
        })
        .optional()
}

fn prepare(connection: &mut Connection, path: &Path) -> Result<(), SqliteError> {
    if format(connection).at(path)?.is_none() {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .at(path)?;
        // Another follower may have been faster.
        if format(&transaction).at(path)?.is_none() {
            transaction.execute_batch(TABLES).at(path)?;
            transaction.execute_batch(SINCE_2).at(path)?;
            transaction
                .execute("INSERT INTO _replproto_format VALUES (?1)", [FORMAT])
                .at(path)?;
        }
        transaction.commit().at(path)?;
    }
    if format(connection).at(path)? == Some(FORMAT_1) {
        upgrade::from_format_1(connection).at(path)?;
    }
    if format(connection).at(path)? == Some(FORMAT_2) {
        upgrade::from_format_2(connection).at(path)?;
    }
    match format(connection).at(path)? {
        Some(FORMAT) => Ok(()),
        other => Err(SqliteError::Format {
            path: path.to_owned(),
            format: other.unwrap_or_default(),
        }),
    }
}

fn link_row(connection: &Connection, options: &SqliteOptions) -> rusqlite::Result<i64> {
    let names = params![options.source, options.database];
    let find = "SELECT id FROM _replproto_link WHERE source = ?1 AND database = ?2";
    if let Some(id) = connection
        .query_row(find, names, |row| row.get(0))
        .optional()?
    {
        return Ok(id);
    }
    connection.execute(
        "INSERT OR IGNORE INTO _replproto_link (source, database) VALUES (?1, ?2)",
        names,
    )?;
    connection.query_row(find, names, |row| row.get(0))
}

/// The lock of a link. The same file under another name gives the same one.
fn lock_path(real: &Path, link: i64) -> PathBuf {
    let mut name = real.as_os_str().to_owned();
    name.push(format!("-link{link}.lock"));
    PathBuf::from(name)
}

/// Whether somebody follows this link into the file. It takes the lock for a moment if nobody has it.
pub(super) fn is_followed(real: &Path, link: i64) -> bool {
    let lock = OpenOptions::new().write(true).open(lock_path(real, link));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The right to follow one link into one file. The operating system takes it back when the process ends, however that
/// happens; the empty file that stays behind means nothing.
#[derive(Debug)]
pub(super) struct Guard {
    /// The link's row in `_replproto_link`.
    pub(super) link: i64,
    path: PathBuf,
    /// The lock is on this one, so a file of the same name that somebody puts there is not locked.
    identity: Identity,
    _locked: File,
}

impl Guard {
    fn take(
        path: &Path,
        real: &Path,
        link: i64,
        options: &SqliteOptions,
    ) -> Result<Self, SqliteError> {
        let lock_path = lock_path(real, link);
        let mut tries = LOCK_TRIES;
        let failed = |error| SqliteError::Lock {
            path: lock_path.clone(),
            error,
        };
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&lock_path)
                .map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if tries > 0 => {
                    tries -= 1;
                    std::thread::sleep(LOCK_PAUSE);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(SqliteError::InUse {
                        path: path.to_owned(),
                        source_name: options.source.clone(),
                        database: options.database.clone(),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            let guard = Self {
                link,
                identity: Identity::of(&file.metadata().map_err(failed)?),
                path: lock_path.clone(),
                _locked: file,
            };
            // Whoever removes the lock file lets others in; they lock another one.
            if guard.is_in_place().map_err(failed)? {
                return Ok(guard);
            }
        }
    }

    fn is_in_place(&self) -> io::Result<bool> {
        Ok(Identity::at(&self.path)? == Some(self.identity))
    }

    /// Fails if somebody has removed the lock file, so that another follower may be at work.
    pub(super) fn check(&self) -> Result<(), SqliteError> {
        let error = match self.is_in_place() {
            Ok(true) => return Ok(()),
            Ok(false) => io::Error::other("it was removed while it was held"),
            Err(error) => error,
        };
        Err(SqliteError::Lock {
            path: self.path.clone(),
            error,
        })
    }
}
