//! Links of Harper's replication protocol on tokio.
//!
//! There are two ways to use them. [`run`] follows a publisher into a [`Sink`] and a [`BlobStore`]: it dials again whenever a
//! link ends, and confirms what is durable. A [`Link`] is one link, as a stream of events that the application takes at its
//! own pace and confirms itself. Either way the memory is bounded: when the application is slow, the socket is not read.
//! A [`Supervisor`] runs many of the first kind on a few threads. What an application registers for a link belongs to its
//! [`Scope`].
//!
//! Messages are decoded while they arrive: a [`web_socket`] hands over their parts, so a message of a gigabyte takes no more
//! memory than a small one.
//!
//! A publisher at `wss://` is reached over TLS, and shown a certificate if it demands one: see `TlsConfig` (feature `tls`, on
//! by default). What else proves to it who we are comes from an [`AuthorizationProvider`], which is asked before each dial.
//!
//! Where the records go is a [`Sink`]: `SqliteSink` (feature `sqlite`, on by default) keeps them as tables that any SQLite
//! tool can query, [`MemorySink`] is for tests. Where the bytes of blobs go is a [`BlobStore`]: [`FileBlobStore`] keeps each
//! in a file.
//!
//! With the feature `metrics` each run publishes what can be seen of it to the recorder of the `metrics` facade.
#![forbid(unsafe_code)]

mod blobs;
mod budget;
mod connect;
mod decode;
mod describe;
mod driver;
mod latency;
mod link;
mod memory;
#[cfg(feature = "metrics")]
pub mod metrics;
mod no_blobs;
mod patch;
mod progress;
mod record;
#[cfg(test)]
mod replay_tests;
mod run;
mod scope;
mod sink;
#[cfg(feature = "sqlite")]
mod sqlite;
mod supervisor;
#[cfg(test)]
mod testing;
pub mod web_socket;

pub use blobs::{
    BlobFileError, BlobInfo, BlobStep, BlobStore, BlobWriter, FileBlobStore, FileBlobWriter,
    InjectedBlobFailure, MemoryBlobStore, MemoryBlobWriter, SavedBlob, SavedBlobs,
};
pub use budget::MemoryBudget;
pub use connect::{
    AcceptError, Authorization, AuthorizationError, AuthorizationProvider, ConnectError, Endpoint,
    EndpointError, InvalidAuthorization, UpgradeRequest, accept, upgrade,
};
#[cfg(feature = "tls")]
pub use connect::{CertificateFault, Pem, TlsConfig, TlsConfigError, TlsError};
pub use driver::TransportError;
pub use latency::Latencies;
pub use link::{Delivery, Link, LinkConfig, LinkEnd, Opening};
pub use memory::{MemoryRow, MemorySink, MemorySinkError, MemoryView, SinkStep};
pub use no_blobs::{BlobRefused, DiscardBlobs, DiscardedBlob, NoBlobs, RefusedBlob};
pub use progress::{Interruption, LinkSnapshot, Phase, Snapshot};
pub use record::Recorder;
pub use replproto_core as core;
pub use run::{Ended, Grouping, RunEnd, RunError, RunOptions, Stop, run};
pub use scope::Scope;
pub use sink::{Applied, Sink, Stored};
#[cfg(feature = "sqlite")]
pub use sqlite::{
    Replica, ReplicaLink, ReplicaRow, ReplicaTable, SkippedRow, SqliteError, SqliteOptions,
    SqliteSink,
};
pub use supervisor::{
    LinkKey, LinkSetup, LinkStatus, Supervisor, SupervisorCounters, SupervisorOptions,
};
/// The library behind [`TlsConfig`], for those who make a configuration of their own.
#[cfg(feature = "tls")]
pub use tokio_rustls::rustls;
