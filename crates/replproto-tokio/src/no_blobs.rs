//! Stores of blobs for those who have none.

use std::convert::Infallible;

use bytes::Bytes;
use thiserror::Error;

use crate::blobs::{BlobInfo, BlobStore, BlobWriter};

/// Refuses every blob. The cursor is then held before the first record that refers to one, so that nothing is lost
/// unnoticed: for databases that are known to have no blobs.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoBlobs;

/// A blob came although none was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this link takes no blobs")]
pub struct BlobRefused;

impl BlobStore for NoBlobs {
    type Error = BlobRefused;
    type Writer = RefusedBlob;

    async fn open(&self, _: BlobInfo) -> Result<RefusedBlob, BlobRefused> {
        Err(BlobRefused)
    }
}

/// The writer of [`NoBlobs`]; there is none.
#[derive(Clone, Copy, Debug)]
pub enum RefusedBlob {}

impl BlobWriter for RefusedBlob {
    type Error = BlobRefused;

    async fn write(&mut self, _: Bytes) -> Result<(), BlobRefused> {
        match *self {}
    }

    async fn save(self) -> Result<(), BlobRefused> {
        match self {}
    }

    async fn abort(self) {
        match self {}
    }
}

/// Throws every blob away and calls it saved: for applications that want the records only.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiscardBlobs;

impl BlobStore for DiscardBlobs {
    type Error = Infallible;
    type Writer = DiscardedBlob;

    async fn open(&self, _: BlobInfo) -> Result<DiscardedBlob, Infallible> {
        Ok(DiscardedBlob)
    }
}

/// The writer of [`DiscardBlobs`].
#[derive(Clone, Copy, Debug)]
pub struct DiscardedBlob;

impl BlobWriter for DiscardedBlob {
    type Error = Infallible;

    async fn write(&mut self, _: Bytes) -> Result<(), Infallible> {
        Ok(())
    }

    async fn save(self) -> Result<(), Infallible> {
        Ok(())
    }

    async fn abort(self) {}
}
