//! A seeded world around the replication core.
//!
//! A world is a seed: it owns the clock, the network, the publisher, the consumer and the disk, and every fault of theirs
//! is drawn from generators that follow from the seed. After every step the receiver is compared with a reference model
//! of it. At the end the faults stop, and the world must converge: the store equals the source. The same seed gives the
//! same trace, byte for byte.
//!
//! ```
//! use replproto_sim::world::{Options, World};
//!
//! let report = World::run(Options { seed: 7, steps: 200, ..Options::default() });
//! assert!(report.violation.is_none());
//! ```

#[allow(dead_code, reason = "shared with the fuzz targets")]
mod alloc;
pub mod batch;
pub mod coverage;
pub mod exhaustive;
pub mod faults;
mod handshake;
mod host;
mod hostile;
mod model;
mod network;
pub mod options;
pub mod oracles;
mod peer;
pub mod recording;
pub mod rng;
mod rules;
pub mod shrink;
mod source;
mod store;
pub mod trace;
pub mod world;
