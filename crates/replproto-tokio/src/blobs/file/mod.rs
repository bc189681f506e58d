//! Blobs as files.

mod disk;
mod folder;
mod list;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use self::disk::Disk;
use self::folder::Folders;
pub use self::list::{SavedBlob, SavedBlobs};
use super::path::blob_path;
use super::{BlobInfo, BlobStore, BlobWriter};

/// A [`BlobStore`] in a folder, with a file for each blob.
///
/// A blob is written to a temporary file in the same file system, flushed to the disk, renamed, and its folder flushed too,
/// so a blob is there whole or not at all. What a crash left of others is removed when the store is opened. Clones share
/// one store, and several processes may use one folder. At most 64 calls of the system are under way for one store, each on a
/// thread of the runtime's own for such calls.
#[derive(Clone, Debug)]
pub struct FileBlobStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folders: Folders,
    next: AtomicU64,
    turns: Arc<Semaphore>,
}

/// So many calls of the system are under way at most. The runtime has 512 threads for all such calls of a process, and one disk
/// that hangs must not take them all.
const OPERATIONS_IN_FLIGHT: usize = 64;

/// Held by a call of the system while it is under way.
type Turn = OwnedSemaphorePermit;

impl Shared {
    async fn turn(&self) -> Turn {
        match self.turns.clone().acquire_owned().await {
            Ok(turn) => turn,
            // It is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    async fn off_thread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let turn = self.turn().await;
        joined(in_turn(turn, work)).await
    }
}

fn in_turn<T: Send + 'static>(
    turn: Turn,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    spawn_blocking(move || {
        let _turn = turn;
        work()
    })
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
        joined(spawn_blocking(move || Self::open_on(Disk::default(), root))).await
    }

    fn open_on(disk: Disk, root: PathBuf) -> Result<Self, BlobFileError> {
        Ok(Self {
            shared: Arc::new(Shared {
                folders: Folders::open(root, disk)?,
                next: AtomicU64::new(0),
                turns: Arc::new(Semaphore::new(OPERATIONS_IN_FLIGHT)),
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
        let part = self.shared.off_thread(move || Part::create(shared)).await?;
        Ok(FileBlobWriter {
            store: self.shared.clone(),
            part: Some(part),
            write: None,
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
    store: Arc<Shared>,
    /// `None` while a write is under way, and after one failed or was given up.
    part: Option<Part>,
    /// The write that is under way, also when nobody waits for it any more.
    write: Option<JoinHandle<Result<Part, BlobFileError>>>,
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
        // If others keep the disk busy, this would be no help.
        let Ok(turn) = self.store.turns.clone().try_acquire_owned() else {
            return Ok(());
        };
        self.unflushed = 0;
        let file = part.file.try_clone().during("flush", &part.path)?;
        let (path, disk) = (part.path.clone(), part.disk().clone());
        self.flush = Some(in_turn(turn, move || {
            disk.sync_data(&file, &path).during("flush", &path)
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
        let length = self.collected.len() + pieces.iter().map(Bytes::len).sum::<usize>();
        if length <= COLLECTED_BYTES && self.part.is_some() {
            for piece in &pieces {
                self.collected.extend_from_slice(piece);
            }
            return Ok(());
        }
        let turn = self.store.turn().await;
        let part = self.take_part()?;
        let collected = std::mem::take(&mut self.collected);
        self.unflushed += length;
        let write = self.write.insert(in_turn(turn, move || {
            let part = part.write(&collected)?;
            pieces
                .iter()
                .try_fold(part, |part, piece| part.write(piece))
        }));
        let written = joined(write).await;
        self.write = None;
        let written = written?;
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
        self.store
            .off_thread(move || part.write(&collected)?.save(&target))
            .await
    }

    async fn abort(mut self) {
        let _ = self.end_flush().await;
        if let Some(write) = self.write.take() {
            self.part = joined(write).await.ok();
        }
        if let Some(part) = self.part.take() {
            self.store.off_thread(move || drop(part)).await;
        }
    }
}

impl Drop for FileBlobWriter {
    fn drop(&mut self) {
        if let Some(part) = self.part.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // Removing a large file takes its time.
            let store = self.store.clone();
            runtime.spawn(async move { store.off_thread(move || drop(part)).await });
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
            match store.folders.disk.create(&path) {
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

    fn disk(&self) -> &Disk {
        &self.store.folders.disk
    }

    fn write(self, bytes: &[u8]) -> Result<Self, BlobFileError> {
        self.disk()
            .write(&self.file, &self.path, bytes)
            .during("write", &self.path)?;
        Ok(self)
    }

    fn save(mut self, target: &Path) -> Result<(), BlobFileError> {
        let disk = self.disk().clone();
        disk.sync_all(&self.file, &self.path)
            .during("flush", &self.path)?;
        self.store.folders.check_root()?;
        let folder = target.parent().unwrap_or(&self.store.folders.root);
        self.store.folders.create(folder)?;
        disk.rename(&self.path, target).during("create", target)?;
        self.is_saved = true;
        disk.sync_folder(folder).during("flush", folder)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_saved
            && let Err(error) = self.disk().remove(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove an unfinished blob");
        }
    }
}

async fn joined<T>(task: impl Future<Output = Result<T, JoinError>>) -> T {
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
mod power_tests;
#[cfg(test)]
mod tests;
