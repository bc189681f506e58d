//! A file for a test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use rusqlite::types::FromSql;

/// A database in a folder of its own, which is removed in the end.
pub(crate) struct TempFile {
    folder: PathBuf,
    path: PathBuf,
}

impl TempFile {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = format!("replproto-{}-{name}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("replica.db");
        Self { folder, path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file as any other program sees it.
    pub(crate) fn connection(&self) -> Connection {
        Connection::open(&self.path).unwrap()
    }

    /// The first value that the query gives.
    pub(crate) fn query<T: FromSql>(&self, sql: &str) -> T {
        self.connection()
            .query_row(sql, [], |row| row.get(0))
            .unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
