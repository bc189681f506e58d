//! The folders of a store: that they are still those that were opened, and that nobody removes what is unfinished.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::disk::Disk;
use super::{BlobFileError, During, UNFINISHED, UNFINISHED_SUFFIX};

/// The lock file in the folder of unfinished files.
pub(super) const LOCK: &str = "lock";

/// The longest wait for another user that has the folder for itself, and the wait that is not logged.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
const SILENT_TIMEOUT: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A file or folder: its device, and its number there.
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

/// What is open cannot be removed, and all is alike.
#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> Identity {
    (0, 0)
}

/// The store's own folder and that of its unfinished files.
#[derive(Debug)]
pub(super) struct Folders {
    pub(super) root: PathBuf,
    pub(super) unfinished: PathBuf,
    pub(super) disk: Disk,
    /// The file system of the store's own folder.
    pub(super) device: u64,
    /// Locked by every user of the folder, so that none removes the unfinished files of another.
    in_use: Mutex<File>,
    /// Folders below the store's own that we have made durable. Only to spare a flush: some may be missing.
    durable: Mutex<BTreeSet<PathBuf>>,
}

/// So many durable folders are remembered.
const DURABLE_KNOWN: usize = 4096;

impl Folders {
    pub(super) fn open(root: PathBuf, disk: Disk) -> Result<Self, BlobFileError> {
        let unfinished = root.join(UNFINISHED);
        create_folder(&disk, &unfinished)?;
        let (device, _) = identity(&fs::metadata(&root).during("read", &root)?);
        let lock = unfinished.join(LOCK);
        let in_use = open_lock(&lock)?;
        if in_use.try_lock().is_ok() {
            // Nobody else uses the folder, so every unfinished file is left over.
            remove_unfinished(&disk, &unfinished)?;
            in_use.unlock().during("unlock", &lock)?;
        }
        lock_shared(&in_use, &lock)?;
        Ok(Self {
            root,
            unfinished,
            disk,
            device,
            in_use: Mutex::new(in_use),
            durable: Mutex::default(),
        })
    }

    /// Creates a folder below the store's own, and those between, durably. One that is there already need not be durable: it
    /// may just be being made, or its flush may have failed.
    pub(super) fn create(&self, folder: &Path) -> Result<(), BlobFileError> {
        if folder == self.root || (self.durable().contains(folder) && folder.is_dir()) {
            return Ok(());
        }
        let parent = folder.parent().unwrap_or(&self.root);
        self.create(parent)?;
        create_in(&self.disk, parent, folder)?;
        let mut durable = self.durable();
        if durable.len() >= DURABLE_KNOWN {
            durable.clear();
        }
        durable.insert(folder.to_owned());
        Ok(())
    }

    fn durable(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        // Nothing panics while it is locked.
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails unless the store's own folder is there, in the same file system: where a disk is missing, another one would be
    /// filled, and what is on it would not be found later.
    pub(super) fn check_root(&self) -> Result<(), BlobFileError> {
        let metadata = fs::metadata(&self.root).during("use", &self.root)?;
        if identity(&metadata).0 != self.device {
            let error = "it is on another file system than when the store was opened: mount that again, or open the store anew";
            return Err(io::Error::other(error)).during("use", &self.root);
        }
        Ok(())
    }

    /// Makes up for a folder of unfinished files that somebody has emptied or removed. A store whose own folder is gone may
    /// be on a disk that is not there, and is not made up for.
    pub(super) fn use_unfinished(&self) -> Result<(), BlobFileError> {
        self.check_root()?;
        let lock = self.unfinished.join(LOCK);
        // Nothing panics while it is locked.
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let locked = identity(&in_use.metadata().during("read", &lock)?);
        let is_locked = match fs::metadata(&lock) {
            Ok(found) => identity(&found) == locked,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error).during("read", &lock),
        };
        if !is_locked {
            create_folder(&self.disk, &self.unfinished)?;
            let new = open_lock(&lock)?;
            lock_shared(&new, &lock)?;
            *in_use = new;
        }
        Ok(())
    }
}

fn open_lock(lock: &Path) -> Result<File, BlobFileError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(lock)
        .during("open", lock)
}

/// Locks the folder together with its other users. One that begins has it for itself for a moment.
fn lock_shared(file: &File, lock: &Path) -> Result<(), BlobFileError> {
    let start = Instant::now();
    let mut has_told = false;
    loop {
        let error = match file.try_lock_shared() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => error,
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_TIMEOUT => {
                if start.elapsed() > SILENT_TIMEOUT && !std::mem::replace(&mut has_told, true) {
                    tracing::warn!(path = %lock.display(), "waiting for another program that holds an exclusive lock on this file");
                }
                thread::sleep(LOCK_PAUSE);
                continue;
            }
            Err(TryLockError::WouldBlock) => io::Error::new(
                io::ErrorKind::TimedOut,
                "another program holds an exclusive lock on it: end that program (`lslocks` names it)",
            ),
        };
        return Err(error).during("lock", lock);
    }
}

/// Creates a folder and those above it that are missing, durably.
fn create_folder(disk: &Disk, folder: &Path) -> Result<(), BlobFileError> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = match folder.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(io::Error::from(io::ErrorKind::NotFound)).during("create", folder),
    };
    create_folder(disk, parent)?;
    create_in(disk, parent, folder)
}

fn create_in(disk: &Disk, parent: &Path, folder: &Path) -> Result<(), BlobFileError> {
    match disk.create_folder(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).during("create", folder)
        }
        _ => disk.sync_folder(parent).during("flush", parent),
    }
}

fn remove_unfinished(disk: &Disk, folder: &Path) -> Result<(), BlobFileError> {
    for entry in fs::read_dir(folder).during("read", folder)? {
        let path = entry.during("read", folder)?.path();
        let is_ours = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.ends_with(UNFINISHED_SUFFIX));
        if is_ours {
            disk.remove(&path).during("remove", &path)?;
        }
    }
    Ok(())
}
