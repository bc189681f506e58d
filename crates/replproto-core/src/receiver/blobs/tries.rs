//! How often blobs failed, over many links.

use alloc::collections::BTreeMap;

use crate::id::Name;

/// How often blobs could not be read at the source, over the links to one publisher. Hand it from one link to the next
/// (`protocol.md` section 15, ruling 9).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlobTries(BTreeMap<Name, u32>);

impl BlobTries {
    /// More failing blobs than this are not counted, but simply tried again.
    pub(in crate::receiver) const CAPACITY: usize = 4096;

    /// On how many links the blob has failed.
    pub(super) fn get(&self, file: &Name) -> u32 {
        self.0.get(file).copied().unwrap_or_default()
    }

    /// Counts one more link on which it failed, and gives how many there were.
    pub(super) fn count(&mut self, file: &Name) -> u32 {
        if let Some(tries) = self.0.get_mut(file) {
            *tries = tries.saturating_add(1);
            return *tries;
        }
        if self.0.len() < Self::CAPACITY {
            self.0.insert(file.clone(), 1);
        }
        1
    }

    /// It was saved.
    pub(super) fn forget(&mut self, file: &Name) {
        self.0.remove(file);
    }
}
