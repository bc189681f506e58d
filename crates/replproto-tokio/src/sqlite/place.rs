//! Where the open file is, and what is done when another one, or none, is there instead.
//!
//! SQLite keeps what was written last in a log beside the file and finds it by the file's name alone. A file that is moved
//! away leaves its log behind, and whatever takes its place would be read together with that log. So a file that is no
//! longer in its place is made complete by itself, from the still open log, and the log is removed before anything else is
//! opened there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::error::{AtPath, SqliteError};

/// How often a file is opened that is replaced meanwhile.
const OPEN_TRIES: u32 = 3;

/// How long to wait for those who still read a file that was moved away. The run tries again later.
const READERS_TIMEOUT: Duration = Duration::from_secs(2);

/// The device of a file and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Identity {
    #[cfg(unix)]
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(metadata.dev(), metadata.ino())
    }

    /// Where an open file cannot be removed or replaced, all are alike.
    #[cfg(not(unix))]
    pub(super) fn of(_: &fs::Metadata) -> Self {
        Self(0, 0)
    }

    /// Of the file that a path leads to, if there is one.
    pub(super) fn at(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Self::of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// SQLite itself takes these for something else: a database in memory, a temporary one, a URI with parameters. Nothing would be
/// kept there, or not where it is looked for.
fn check_name(path: &Path) -> Result<(), SqliteError> {
    let name = path.as_os_str().as_encoded_bytes();
    let is_special = name.is_empty() || name == b":memory:" || name.starts_with(b"file:");
    // A pipe or a device.
    let is_strange = fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
    if is_special || is_strange {
        return Err(SqliteError::NotAFile {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// The place of an open file.
#[derive(Debug)]
pub(super) struct Place {
    /// As it was named.
    path: PathBuf,
    /// The same without symbolic links; the log is beside this one.
    real: PathBuf,
    identity: Identity,
    /// What SQLite keeps beside the file.
    beside: Vec<(PathBuf, Identity)>,
}

impl Place {
    /// Opens the file at a path, or creates it.
    pub(super) fn open(path: &Path) -> Result<(Connection, Self), SqliteError> {
        check_name(path)?;
        for _ in 0..OPEN_TRIES {
            let before = Identity::at(path);
            let connection = Connection::open(path).at(path)?;
            // Somebody may have put another file there meanwhile. A file that is new is opened twice, to be sure of it too.
            let (Some(identity), Some(after)) = (before.at(path)?, Identity::at(path).at(path)?)
            else {
                continue;
            };
            if identity == after {
                let place = Self {
                    path: path.to_owned(),
                    real: path.canonicalize().at(path)?,
                    identity,
                    beside: Vec::new(),
                };
                return Ok((connection, place));
            }
        }
        Err(SqliteError::Moved {
            path: path.to_owned(),
        })
    }

    /// The path without symbolic links.
    pub(super) fn real(&self) -> &Path {
        &self.real
    }

    /// Takes note of what SQLite keeps beside the file, when all of it is there.
    pub(super) fn note_beside(&mut self) -> Result<(), SqliteError> {
        let mut beside = Vec::new();
        for suffix in ["-wal", "-shm"] {
            let mut path = self.real.as_os_str().to_owned();
            path.push(suffix);
            let path = PathBuf::from(path);
            if let Some(identity) = Identity::at(&path).at(&path)? {
                beside.push((path, identity));
            }
        }
        // Otherwise it may be of another file.
        if self.is_current()? {
            self.beside = beside;
        }
        Ok(())
    }

    /// Whether the path leads to the open file.
    pub(super) fn is_current(&self) -> Result<bool, SqliteError> {
        let found = Identity::at(&self.path).at(&self.path)?;
        Ok(found == Some(self.identity))
    }

    /// Makes the file complete where it is now, and removes the log that it has left behind. The file is to be closed then.
    /// After an error nothing is removed, and this can be tried again.
    pub(super) fn leave(&self, connection: &Connection) -> Result<(), SqliteError> {
        if Identity::at(&self.real).at(&self.real)? == Some(self.identity) {
            // Only a symbolic link leads elsewhere now, and the log is still beside its file.
            return Ok(());
        }
        let path = &self.path;
        connection.busy_timeout(READERS_TIMEOUT).at(path)?;
        let is_busy: bool = connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .at(path)?;
        if is_busy {
            return Err(SqliteError::LeftBehind { path: path.clone() });
        }
        // SQLite itself looks at less before it removes a log.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .at(path)?;
        for (path, identity) in &self.beside {
            // Another link may have been here already, and what is there now be of the new file.
            if Identity::at(path).at(path)? == Some(*identity) {
                remove(path).at(path)?;
            }
        }
        Ok(())
    }
}

/// Removes a file that another link may remove at the same time.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(all(test, unix))]
mod tests;
