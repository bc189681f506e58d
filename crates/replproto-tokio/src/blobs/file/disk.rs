//! The operations on files that the store is made of, one by one. In tests an observer sees their order, and can let each fail;
//! else they are the system's own.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Something that changes the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    Create(&'a Path),
    Write(&'a Path, &'a [u8]),
    /// The bytes of a file become durable.
    SyncFile(&'a Path),
    Rename(&'a Path, &'a Path),
    CreateFolder(&'a Path),
    /// The names in a folder become durable.
    SyncFolder(&'a Path),
    Remove(&'a Path),
}

/// Sees every step.
#[cfg(test)]
pub(super) trait Observer: std::fmt::Debug + Send + Sync {
    /// It is about to be done, unless this fails.
    fn before(&self, step: Step<'_>) -> io::Result<()>;
    /// It is done.
    fn after(&self, step: Step<'_>);
}

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub(super) observer: Option<std::sync::Arc<dyn Observer>>,
}

impl Disk {
    #[cfg(not(test))]
    #[inline]
    fn step<T>(&self, _: Step<'_>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        work()
    }

    #[cfg(test)]
    fn step<T>(&self, step: Step<'_>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let Some(observer) = &self.observer else {
            return work();
        };
        observer.before(step)?;
        let done = work()?;
        observer.after(step);
        Ok(done)
    }

    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        self.step(Step::Create(path), || File::create_new(path))
    }

    pub(super) fn write(&self, mut file: &File, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step(Step::Write(path, bytes), || file.write_all(bytes))
    }

    /// Metadata that is not needed to read the bytes may be left out.
    pub(super) fn sync_data(&self, file: &File, path: &Path) -> io::Result<()> {
        self.step(Step::SyncFile(path), || file.sync_data())
    }

    pub(super) fn sync_all(&self, file: &File, path: &Path) -> io::Result<()> {
        self.step(Step::SyncFile(path), || file.sync_all())
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Step::Rename(from, to), || fs::rename(from, to))
    }

    pub(super) fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.step(Step::CreateFolder(path), || fs::create_dir(path))
    }

    /// Only Unix can, and only there it is needed.
    pub(super) fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.step(Step::SyncFolder(path), || {
            if cfg!(unix) {
                File::open(path)?.sync_all()?;
            }
            Ok(())
        })
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(Step::Remove(path), || fs::remove_file(path))
    }
}
