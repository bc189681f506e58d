//! What can go wrong with an SQLite file, and what to do about it.

use std::path::PathBuf;

use rusqlite::ErrorCode;
use thiserror::Error;

use super::tables::{NAME_BYTES_MAX, TABLES_MAX};

/// What can go wrong with an SQLite file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SqliteError {
    /// Another follower, of this process or of another, keeps this link in this file.
    #[error(
        "the link to database {database:?} of {source_name:?} is already being followed into {path}: stop the other \
         follower, or use another file",
        path = path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
        /// The link's source, as in [`SqliteOptions`](super::SqliteOptions).
        source_name: String,
        /// The link's database.
        database: String,
    },
    /// This names no file: a database in memory, a URI, a pipe or a device.
    #[error(
        "{path:?} is no file, and one is needed: SQLite's URIs and :memory: keep nothing here (write ./ before a name that \
         begins like one)"
    )]
    NotAFile {
        /// The value given.
        path: PathBuf,
    },
    /// The file cannot be opened or created.
    #[error("{path} cannot be opened: check that the folder exists and can be written to", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: rusqlite::Error,
    },
    /// The file is no SQLite database, is damaged, or something else has changed it.
    #[error(
        "{path} is damaged or is not an SQLite database: restore it from a backup, or move it away to begin with a base \
         copy",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: rusqlite::Error,
    },
    /// Somebody else has kept the file locked for too long.
    #[error(
        "{path} has been locked by another program or another link for too long: end what keeps a transaction open",
        path = path.display()
    )]
    Busy {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: rusqlite::Error,
    },
    /// The disk is full. Nothing is lost: what was not committed comes again.
    #[error("no room is left for {path}: free some disk space", path = path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: rusqlite::Error,
    },
    /// The file or its folder cannot be written to.
    #[error("{path} cannot be written to: check its permissions and those of its folder", path = path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: rusqlite::Error,
    },
    /// The file was removed or replaced while it was open, so that nobody would find what is written to it. The next
    /// [`load`](crate::Sink::load) opens what is there now, or begins a new file.
    #[error("{path} was removed or replaced while it was followed into: what there is now is gone on with", path = path.display())]
    Moved {
        /// The file.
        path: PathBuf,
    },
    /// The file was removed or replaced, and what its log holds cannot be moved into it because somebody still reads it.
    /// Nothing is opened in its place until then; [`load`](crate::Sink::load) tries again.
    #[error(
        "{path} was removed or replaced, and its log {path}-wal still belongs to the old file, which another program reads: \
         end that program. If this one is ended first, remove {path}-wal and {path}-shm before it is started again",
        path = path.display()
    )]
    LeftBehind {
        /// The file.
        path: PathBuf,
    },
    /// The disk, or the system on the way to it, failed.
    #[error("{path} cannot be read or written: check its disk and the limits of this process", path = path.display())]
    Disk {
        /// The file, or one beside it.
        path: PathBuf,
        /// Why: an error of SQLite or of the system.
        #[source]
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file holds as many replicated tables as it can.
    #[error(
        "{path} has {limit} replicated tables, and no file can have more: follow fewer of them (`--tables`), or into a file of \
         their own",
        path = path.display()
    )]
    TooManyTables {
        /// The file.
        path: PathBuf,
        /// The most it can have.
        limit: i64,
    },
    /// Somebody has dropped or renamed a replicated table. What it held would not come again.
    #[error(
        "the table {table:?} is gone from {path}: restore it or give it back its name, or start over with a base copy \
         (`--ignore-cursor`)",
        path = path.display()
    )]
    TableGone {
        /// The file.
        path: PathBuf,
        /// The name of the SQL table.
        table: String,
    },
    /// The publisher and its database are those of another link of the file, met at another address. From the next
    /// [`load`](crate::Sink::load) on this is that link, with its cursor.
    #[error(
        "{path} follows this database of the publisher already, as {source_name:?}: it is gone on with under the new name",
        path = path.display()
    )]
    SameLink {
        /// The file.
        path: PathBuf,
        /// The source of the other link, as in [`SqliteOptions`](super::SqliteOptions).
        source_name: String,
    },
    /// The file has a copy of this database of the publisher already, and it cannot become this link: somebody follows it, or this
    /// link has data of its own.
    #[error(
        "{path} has a copy of this database of the publisher already, as {source_name:?}: end what follows it, follow into another file, or \
         ask for a second copy (`--second-copy`)",
        path = path.display()
    )]
    SecondCopy {
        /// The file.
        path: PathBuf,
        /// The source of the other link, as in [`SqliteOptions`](super::SqliteOptions).
        source_name: String,
    },
    /// A table's name is longer than any that a publisher should have.
    #[error(
        "a table's name has {length} bytes, and {path} takes names of up to {limit}: leave the table out (`--tables`, \
         `--exclude-tables`)",
        path = path.display()
    )]
    LongTableName {
        /// The file.
        path: PathBuf,
        /// The length of the name, in bytes.
        length: usize,
        /// The largest value.
        limit: usize,
    },
    /// Any other error of SQLite.
    #[error("SQLite failed on {path}", path = path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: rusqlite::Error,
    },
    /// The lock file beside the database cannot be used.
    #[error("the lock file {path} cannot be used", path = path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// A newer version of this library wrote the file.
    #[error("{path} has format {format}, which this version cannot read", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format that the file says it has.
        format: i64,
    },
    /// The file is a database, but no sink has written to it.
    #[error("{path} holds no replicated tables", path = path.display())]
    NotAReplica {
        /// The file.
        path: PathBuf,
    },
    /// An earlier call failed and [`rollback`](crate::Sink::rollback) has not been called since, or a call came out of
    /// order.
    #[error("the sink is not in a state for this call: {0}")]
    OutOfOrder(&'static str),
    /// The operating system gave the sink no thread.
    #[error("no thread can be started for the sink")]
    Thread {
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// The sink's thread has ended. Open a new sink.
    #[error("the sink's thread has ended")]
    Stopped,
}

impl SqliteError {
    /// Names the trouble by SQLite's own code for it.
    pub(super) fn new(path: &std::path::Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        if let rusqlite::Error::ToSqlConversionFailure(inner) = &error
            && let Some(refusal) = inner.downcast_ref()
        {
            return match refusal {
                Refusal::TableGone(table) => Self::TableGone {
                    path,
                    table: table.clone(),
                },
                Refusal::SameLink(source) => Self::SameLink {
                    path,
                    source_name: source.clone(),
                },
                Refusal::SecondCopy(source) => Self::SecondCopy {
                    path,
                    source_name: source.clone(),
                },
                Refusal::TooManyTables => Self::TooManyTables {
                    path,
                    limit: TABLES_MAX,
                },
                Refusal::LongName { length } => Self::LongTableName {
                    path,
                    length: *length,
                    limit: NAME_BYTES_MAX,
                },
            };
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Damaged { path, error }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path, error },
            Some(ErrorCode::DiskFull) => Self::Full { path, error },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                Self::ReadOnly { path, error }
            }
            Some(ErrorCode::SystemIoFailure) => Self::Disk {
                path,
                error: error.into(),
            },
            Some(ErrorCode::CannotOpen) => Self::Open { path, error },
            _ if matches!(
                error,
                rusqlite::Error::FromSqlConversionFailure(..)
                    | rusqlite::Error::InvalidColumnType(..)
            ) =>
            {
                Self::Damaged { path, error }
            }
            _ => Self::Sqlite { path, error },
        }
    }
}

/// A refusal of our own, before SQLite is asked, on its way through code that has only SQLite's errors.
#[derive(Clone, Debug, Error)]
pub(super) enum Refusal {
    #[error("the table {0:?} is gone")]
    TableGone(String),
    #[error("the link of {0:?} at another address")]
    SameLink(String),
    #[error("a second copy beside that of {0:?}")]
    SecondCopy(String),
    #[error("too many tables")]
    TooManyTables,
    #[error("a table's name of {length} bytes")]
    LongName { length: usize },
}

impl From<Refusal> for rusqlite::Error {
    fn from(refusal: Refusal) -> Self {
        Self::ToSqlConversionFailure(Box::new(refusal))
    }
}

/// Puts the file's name to errors of SQLite and of the system.
pub(super) trait AtPath<T> {
    fn at(self, path: &std::path::Path) -> Result<T, SqliteError>;
}

impl<T> AtPath<T> for rusqlite::Result<T> {
    fn at(self, path: &std::path::Path) -> Result<T, SqliteError> {
        self.map_err(|error| SqliteError::new(path, error))
    }
}

impl<T> AtPath<T> for std::io::Result<T> {
    fn at(self, path: &std::path::Path) -> Result<T, SqliteError> {
        self.map_err(|error| SqliteError::Disk {
            path: path.to_owned(),
            error: error.into(),
        })
    }
}
