//! Where the bytes of blobs go.

mod file;
mod memory;
mod path;

use bytes::Bytes;
use replproto_core::Name;

pub use self::file::{BlobFileError, FileBlobStore, FileBlobWriter, SavedBlob, SavedBlobs};
pub use self::memory::{BlobStep, InjectedBlobFailure, MemoryBlobStore, MemoryBlobWriter};

/// A store of blobs, shared by all links.
///
/// A blob is known by the publisher, the database and the publisher's id of its file. The same blob may come again, also
/// while it is being written already; the bytes are the same then, so that the last one to be saved may replace the others.
pub trait BlobStore: Send + Sync + 'static {
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;
    /// What takes the bytes of one blob.
    type Writer: BlobWriter<Error = Self::Error>;

    /// Makes room for a blob.
    ///
    /// # Errors
    /// The store cannot take it now. The link asks for the blob again later.
    fn open(
        &self,
        blob: BlobInfo,
    ) -> impl Future<Output = Result<Self::Writer, Self::Error>> + Send;
}

/// Takes the bytes of one blob.
///
/// Nothing of it can be seen in the store before [`save`](Self::save). Dropping the writer aborts it. The future of a write may
/// be dropped before it is ready; after that, as after an error, only [`abort`](Self::abort) is left.
///
/// A link has at most 16 calls under way at a time, of all its writers and of [`BlobStore::open`] together. It counts a blob
/// against its memory until `save` or `abort` has returned, and ends only then.
pub trait BlobWriter: Send + 'static {
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Takes the next bytes. When it returns they are no longer held in memory, apart from a small fixed amount.
    ///
    /// # Errors
    /// They cannot be written.
    fn write(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Takes several pieces, in order: those that came while the one before was written. A store for which each call is dear
    /// takes them together; others need not care.
    ///
    /// # Errors
    /// They cannot be written.
    fn write_all(
        &mut self,
        pieces: Vec<Bytes>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        async move {
            for piece in pieces {
                self.write(piece).await?;
            }
            Ok(())
        }
    }

    /// Puts the blob in its place, durably when it returns.
    ///
    /// # Errors
    /// It cannot be saved; what there was of it is thrown away.
    fn save(self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Throws away what there is of the blob. When it returns, nothing of it is at work or in memory any more, also of a write
    /// whose future was dropped.
    fn abort(self) -> impl Future<Output = ()> + Send;
}

/// A blob that is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobInfo {
    /// The publisher's own name.
    pub peer: Name,
    /// The database.
    pub database: Name,
    /// The publisher's id of the blob's file.
    pub file: Name,
    /// The full size in bytes, if the publisher said it. Only a claim: nothing should be reserved because of it.
    pub size: Option<u64>,
}
