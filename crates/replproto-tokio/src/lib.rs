//! Links of Harper's replication protocol on tokio.
//!
//! Where the records go is a [`Sink`]: `SqliteSink` (feature `sqlite`, on by default) keeps them as tables that any SQLite
//! tool can query, [`MemorySink`] is for tests. Where the bytes of blobs go is a [`BlobStore`]: [`FileBlobStore`] keeps each
//! in a file.
#![forbid(unsafe_code)]

mod blobs;
mod decode;
mod memory;
mod patch;
#[cfg(test)]
mod replay_tests;
mod sink;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(test)]
mod testing;

pub use blobs::{
    BlobFileError, BlobInfo, BlobStep, BlobStore, BlobWriter, FileBlobStore, FileBlobWriter,
    InjectedBlobFailure, MemoryBlobStore, MemoryBlobWriter, SavedBlob, SavedBlobs,
};
pub use memory::{MemoryRow, MemorySink, MemorySinkError, MemoryView, SinkStep};
pub use sink::{Applied, Sink, Stored};
#[cfg(feature = "sqlite")]
pub use sqlite::{
    Replica, ReplicaLink, ReplicaRow, ReplicaTable, SkippedRow, SqliteError, SqliteOptions,
    SqliteSink,
};
