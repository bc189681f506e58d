//! Whole programs that use this crate, from its folder `examples`. Tests run each against a publisher.
//!
//! They are started with `cargo run -p replproto-tokio --example NAME`, which tells the arguments. What they share:
//!
#![doc = "```rust"]
#![doc = include_str!("../examples/common/mod.rs")]
#![doc = "```"]

/// A table followed with a [`Link`](crate::Link) in the hands of the application, its changes printed, its cursor in a file.
///
#[doc = "```rust"]
#[doc = include_str!("../examples/follow.rs")]
#[doc = "```"]
pub mod follow {}

/// A [`Sink`](crate::Sink) of one's own that keeps records and cursor in one step.
///
#[doc = "```rust"]
#[doc = include_str!("../examples/custom_sink.rs")]
#[doc = "```"]
pub mod custom_sink {}

/// Many links on a few threads, with a [`Supervisor`](crate::Supervisor) and one
/// [`MemoryBudget`](crate::MemoryBudget) for all.
///
#[doc = "```rust"]
#[doc = include_str!("../examples/many_links.rs")]
#[doc = "```"]
pub mod many_links {}

/// A [`BlobStore`](crate::BlobStore) of one's own that keeps each content once.
///
#[doc = "```rust"]
#[doc = include_str!("../examples/blob_store.rs")]
#[doc = "```"]
pub mod blob_store {}
