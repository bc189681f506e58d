//! A link, as its supervisor knows it.

use std::fmt;
use std::sync::Arc;

use replproto_core::Name;
use thiserror::Error;
use tokio::sync::watch;

use crate::link::LinkConfig;
use crate::progress::Snapshot;
use crate::run::{RunEnd, RunOptions};

/// Which link: there is at most one for each database and peer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkKey {
    /// The database.
    pub database: Name,
    /// The application's own name for the peer.
    pub peer: Name,
}

impl LinkKey {
    /// The link for this database to this peer.
    pub fn new(database: &str, peer: &str) -> Self {
        Self {
            database: database.into(),
            peer: peer.into(),
        }
    }
}

impl fmt::Display for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.database, self.peer)
    }
}

/// How a link is to be run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkSetup<S, B> {
    /// Where the peer is, and what the link does.
    pub link: LinkConfig,
    /// Where records go.
    pub sink: S,
    /// Where the bytes of blobs go.
    pub blobs: B,
    /// How to go about it. [`RunOptions::stop`] is replaced: the supervisor ends its links. A run that ends by itself, for
    /// [`RunOptions::until_idle`] or [`RunOptions::deadline`], counts as a failure and is followed by another.
    pub options: RunOptions,
}

impl<S, B> LinkSetup<S, B> {
    /// A setup with default options.
    pub fn new(link: LinkConfig, sink: S, blobs: B) -> Self {
        Self {
            link,
            sink,
            blobs,
            options: RunOptions::default(),
        }
    }
}

/// How a link ended that was to end: `None` if there was no run of it, or its worker died with it.
pub type LinkResult = Result<Option<RunEnd>, LinkFailure>;

/// Why the run of a link failed that was to end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct LinkFailure(pub(super) Arc<str>);

/// What can be seen of a link.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkStatus {
    /// Which one.
    pub key: LinkKey,
    /// The worker that has it; `None` while it waits for one.
    pub worker: Option<usize>,
    /// How often a run of it has ended, or could not be set up, although it was wanted.
    pub failures: u64,
    /// Why that was the last time.
    pub last_failure: Option<Arc<str>>,
    /// What its newest run is doing. Nothing yet if there was none, or none on the worker that has it.
    pub progress: watch::Receiver<Snapshot>,
}
