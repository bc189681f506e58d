//! What a store of files holds.

use std::fs::{self, ReadDir};
use std::path::{Path, PathBuf};

use super::super::path::unescape;
use super::{BlobFileError, During};

/// A saved blob.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct SavedBlob {
    /// The publisher's own name. This name and the next two are given in a short form if they are very long.
    pub peer: String,
    /// The database.
    pub database: String,
    /// The publisher's id of the blob's file.
    pub file: String,
    /// Where the bytes are.
    pub path: PathBuf,
}

/// The saved blobs of a [`FileBlobStore`](super::FileBlobStore). What is not of its making is passed over.
#[derive(Debug)]
pub struct SavedBlobs {
    /// The open folders, from the store's own down to one of files.
    levels: Vec<Level>,
    /// The names of the folders below the store's own.
    names: Vec<String>,
}

#[derive(Debug)]
struct Level {
    path: PathBuf,
    entries: ReadDir,
}

impl Level {
    fn open(path: &Path) -> Result<Self, BlobFileError> {
        Ok(Self {
            path: path.to_owned(),
            entries: fs::read_dir(path).during("read", path)?,
        })
    }
}

/// Levels with folders above that of the files: the store's own, peers, databases.
const FOLDER_LEVELS: usize = 3;

impl SavedBlobs {
    pub(super) fn below(root: &Path) -> Result<Self, BlobFileError> {
        Ok(Self {
            levels: vec![Level::open(root)?],
            names: Vec::new(),
        })
    }
}

impl Iterator for SavedBlobs {
    type Item = Result<SavedBlob, BlobFileError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let depth = self.levels.len();
            let level = self.levels.last_mut()?;
            let path = match level.entries.next() {
                None => {
                    self.levels.pop();
                    self.names.pop();
                    continue;
                }
                Some(entry) => match entry.during("read", &level.path) {
                    Ok(entry) => entry.path(),
                    Err(error) => return Some(Err(error)),
                },
            };
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(name) = name.and_then(unescape) else {
                continue;
            };
            if depth <= FOLDER_LEVELS {
                if path.is_dir() {
                    match Level::open(&path) {
                        Ok(level) => self.levels.push(level),
                        Err(error) => return Some(Err(error)),
                    }
                    self.names.push(name);
                }
            } else if let [peer, database, _] = self.names.as_slice() {
                return Some(Ok(SavedBlob {
                    peer: peer.clone(),
                    database: database.clone(),
                    file: name,
                    path,
                }));
            }
        }
    }
}
