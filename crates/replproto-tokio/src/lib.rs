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
//! Many links of one process are kept up by a [`Supervisor`], on a few threads; a worker that dies takes none of them with it. A
//! [`MemoryBudget`] bounds what all of them hold together.
//!
//! With the feature `metrics` each run publishes what can be seen of it to the recorder of the `metrics` facade.
//!
//! # Examples
//!
//! The shortest are at [`run`], [`Link`] and [`Supervisor`]. Whole programs are in the folder `examples`:
//!
//! | program | what it shows |
//! |---|---|
//! | [`follow`](examples::follow) | a link as a stream: changes of a table as lines of JSON, with a cursor in a file, at least once |
//! | [`custom_sink`](examples::custom_sink) | a sink that keeps records and cursor in one step, and which rule each of its steps keeps |
//! | [`many_links`](examples::many_links) | a supervisor with a shared budget of memory; links removed and added while it runs |
//! | [`blob_store`](examples::blob_store) | a store of blobs by their contents: temporary file, flush, rename, abort |
//!
//! # Guarantees
//!
//! * On the wire each record comes *at least once*, in the order of the publisher's log. Nothing is confirmed to the publisher
//!   before the application has said that it is durable, with all its blobs.
//! * Its effect is *exactly once* if the cursor is stored in the same step as the records, and an entry is applied only if the
//!   store has nothing newer. [`Sink`] has the rules; `SqliteSink` keeps them.
//! * Between publishers there is no order: each has its own log and its own cursor.
#![forbid(unsafe_code)]

mod blobs;
mod budget;
#[cfg(test)]
mod conflict_tests;
mod connect;
mod decode;
mod describe;
mod driver;
#[cfg(all(doc, not(doctest)))] // To be read: they are built and tested elsewhere.
pub mod examples;
mod journal;
mod json;
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
pub use run::{Ended, Grouping, OnGap, OnWider, RunEnd, RunError, RunOptions, Stop, run};
pub use scope::Scope;
pub use sink::{Applied, Doubts, Sink, Stored};
#[cfg(feature = "sqlite")]
pub use sqlite::{
    Replica, ReplicaLink, ReplicaRow, ReplicaTable, SkippedRow, SqliteError, SqliteOptions,
    SqliteSink,
};
pub use supervisor::{
    LinkFailure, LinkKey, LinkResult, LinkSetup, LinkStatus, Supervisor, SupervisorCounters,
    SupervisorOptions,
};
/// The library behind [`TlsConfig`], for those who make a configuration of their own.
#[cfg(feature = "tls")]
pub use tokio_rustls::rustls;
