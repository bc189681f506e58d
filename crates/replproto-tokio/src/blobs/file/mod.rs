//! Blobs as files.

mod folder;
mod list;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use thiserror::Error;
use tokio::task::{JoinHandle, spawn_blocking};

use self::folder::{Folders, create_folder, flush_folder};
pub use self::list::{SavedBlob, SavedBlobs};
use super::path::blob_path;
use super::{BlobInfo, BlobStore, BlobWriter};

/// A [`BlobStore`] in a folder, with a file for each blob.
///
/// A blob is written to a temporary file in the same file system, flushed to the disk, renamed, and its folder flushed too,
/// so a blob is there whole or not at all. What a crash left of others is removed when the store is opened. Clones share
/// one store, and several processes may use one folder.
#[derive(Clone, Debug)]
pub struct FileBlobStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folders: Folders,
    next: AtomicU64,
}

/// The folder of unfinished files. No escaped name of a node is like it.
const UNFINISHED: &str = "%tmp";

/// Ends the names of our unfinished files.
const UNFINISHED_SUFFIX: &str = ".part";

/// Smaller pieces are collected up to this many bytes before they are written.
const COLLECTED_BYTES: usize = 16 << 10;

/// After so many bytes the disk is told to begin with them, so that it is at work while the rest of the blob still comes, and
/// little is left to wait for at the end.
const FLUSHED_BYTES: usize = 2 << 20;

/// A file operation failed.
#[derive(Debug, Error)]
#[error("cannot {action} {path}{advice}", path = path.display(), advice = advice(error))]
pub struct BlobFileError {
    /// What was to be done, such as "write".
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub error: io::Error,
}

/// What to do about it, where that is known.
fn advice(error: &io::Error) -> &'static str {
    use io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => " (free some disk space)",
        ErrorKind::FileTooLarge => " (raise the limit for the size of files)",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            " (check its permissions and those of its folder)"
        }
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            " (check that the folder of blobs is there and is a folder)"
        }
        _ => "",
    }
}

trait During<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, BlobFileError>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, BlobFileError> {
        self.map_err(|error| BlobFileError {
            action,
            path: path.to_owned(),
            error,
        })
    }
}

impl FileBlobStore {
    /// Opens the store in this folder, creating it if it is not there.
    ///
    /// # Errors
    /// The folder cannot be created or written to.
    pub async fn open_dir(root: impl Into<PathBuf>) -> Result<Self, BlobFileError> {
        let root = root.into();
        off_thread(move || Self::open_now(root)).await
    }

    fn open_now(root: PathBuf) -> Result<Self, BlobFileError> {
        Ok(Self {
            shared: Arc::new(Shared {
                folders: Folders::open(root)?,
                next: AtomicU64::new(0),
            }),
        })
    }

    /// Where a blob is, or would be, kept.
    pub fn path(&self, peer: &str, database: &str, file: &str) -> PathBuf {
        blob_path(&self.shared.folders.root, peer, database, file)
    }

    /// All blobs that are saved, in no particular order. Reading the folders blocks.
    ///
    /// # Errors
    /// The folder cannot be read; later errors come as items.
    pub fn list(&self) -> Result<SavedBlobs, BlobFileError> {
        SavedBlobs::below(&self.shared.folders.root)
    }
}

impl BlobStore for FileBlobStore {
    type Error = BlobFileError;
    type Writer = FileBlobWriter;

    async fn open(&self, blob: BlobInfo) -> Result<FileBlobWriter, BlobFileError> {
        let target = self.path(&blob.peer, &blob.database, &blob.file);
        let shared = Arc::clone(&self.shared);
        let part = off_thread(move || Part::create(shared)).await?;
        Ok(FileBlobWriter {
            part: Some(part),
            collected: Vec::new(),
            target,
            unflushed: 0,
            flush: None,
            has_failed: false,
        })
    }
}

/// Writes one blob to a temporary file.
#[derive(Debug)]
pub struct FileBlobWriter {
    /// `None` while a write is under way, and after one failed or was given up.
    part: Option<Part>,
    collected: Vec<u8>,
    target: PathBuf,
    /// Bytes that were written since the last flush began.
    unflushed: usize,
    /// A flush that was begun before the end.
    flush: Option<JoinHandle<Result<(), BlobFileError>>>,
    /// A flush failed: what was written may be lost, and no later flush would say so.
    has_failed: bool,
}

impl FileBlobWriter {
    fn take_part(&mut self) -> Result<Part, BlobFileError> {
        let part = if self.has_failed {
            None
        } else {
            self.part.take()
        };
        part.ok_or_else(|| BlobFileError {
            action: "go on with",
            path: self.target.clone(),
            error: io::Error::other("an earlier write failed or was given up"),
        })
    }

    /// Lets the disk begin, unless it is still at work on what came before.
    async fn flush(&mut self, part: &Part) -> Result<(), BlobFileError> {
        if self
            .flush
            .as_ref()
            .is_some_and(|flush| !flush.is_finished())
        {
            return Ok(());
        }
        self.end_flush().await?;
        self.unflushed = 0;
        let file = part.file.try_clone().during("flush", &part.path)?;
        let path = part.path.clone();
        self.flush = Some(spawn_blocking(move || {
            file.sync_data().during("flush", &path)
        }));
        Ok(())
    }

    /// Waits for the flush that was begun. The system reports a failure to whoever flushes next, and to nobody after.
    async fn end_flush(&mut self) -> Result<(), BlobFileError> {
        match self.flush.take() {
            Some(flush) => joined(flush).await,
            None => Ok(()),
        }
    }
}

impl BlobWriter for FileBlobWriter {
    type Error = BlobFileError;

    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobFileError> {
        self.write_all(vec![bytes]).await
    }

    async fn write_all(&mut self, pieces: Vec<Bytes>) -> Result<(), BlobFileError> {
        let part = self.take_part()?;
        let length = self.collected.len() + pieces.iter().map(Bytes::len).sum::<usize>();
        if length <= COLLECTED_BYTES {
            for piece in &pieces {
                self.collected.extend_from_slice(piece);
            }
            self.part = Some(part);
            return Ok(());
        }
        let collected = std::mem::take(&mut self.collected);
        self.unflushed += length;
        let written = off_thread(move || {
            let part = part.write(&collected)?;
            pieces
                .iter()
                .try_fold(part, |part, piece| part.write(piece))
        })
        .await?;
        let flushed = if self.unflushed >= FLUSHED_BYTES {
            self.flush(&written).await
        } else {
            Ok(())
        };
        // After an error too, so that whoever gives the writer up removes the file off this thread.
        self.part = Some(written);
        self.has_failed = flushed.is_err();
        flushed
    }

    async fn save(mut self) -> Result<(), BlobFileError> {
        self.end_flush().await?;
        let part = self.take_part()?;
        let collected = std::mem::take(&mut self.collected);
        let target = std::mem::take(&mut self.target);
        off_thread(move || part.write(&collected)?.save(&target)).await
    }

    async fn abort(mut self) {
        // Nothing of it is at work any more when this returns.
        let _ = self.end_flush().await;
        if let Some(part) = self.part.take() {
            off_thread(move || drop(part)).await;
        }
    }
}

impl Drop for FileBlobWriter {
    fn drop(&mut self) {
        if let Some(part) = self.part.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // Removing a large file takes its time.
            runtime.spawn_blocking(move || drop(part));
        }
    }
}

/// An unfinished file, removed when it is dropped.
#[derive(Debug)]
struct Part {
    file: File,
    path: PathBuf,
    /// Keeps the folder in use.
    store: Arc<Shared>,
    is_saved: bool,
}

impl Part {
    fn create(store: Arc<Shared>) -> Result<Self, BlobFileError> {
        loop {
            store.folders.use_unfinished()?;
            let number = store.next.fetch_add(1, Ordering::Relaxed);
            let name = format!("{}-{number}{UNFINISHED_SUFFIX}", std::process::id());
            let path = store.folders.unfinished.join(name);
            match File::create_new(&path) {
                Ok(file) => {
                    return Ok(Self {
                        file,
                        path,
                        store,
                        is_saved: false,
                    });
                }
                // Of another process with the same number, in another container.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // Somebody has emptied the store's folder just now.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        && !store.folders.unfinished.exists() => {}
                Err(error) => return Err(error).during("create", &path),
            }
        }
    }

    fn write(mut self, bytes: &[u8]) -> Result<Self, BlobFileError> {
        self.file.write_all(bytes).during("write", &self.path)?;
        Ok(self)
    }

    fn save(mut self, target: &Path) -> Result<(), BlobFileError> {
        self.file.sync_all().during("flush", &self.path)?;
        self.store.folders.check_root()?;
        let folder = target.parent().unwrap_or(&self.store.folders.root);
        create_folder(folder)?;
        fs::rename(&self.path, target).during("create", target)?;
        self.is_saved = true;
        flush_folder(folder)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_saved
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove an unfinished blob");
        }
    }
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    joined(spawn_blocking(work)).await
}

async fn joined<T>(task: JoinHandle<T>) -> T {
    match task.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and this future with it.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests;
