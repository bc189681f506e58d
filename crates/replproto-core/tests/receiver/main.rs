//! The rules that a [`replproto_core::Receiver`] keeps, seen from outside: only its public surface is used, and the
//! driver checks the invariants of every link after every step.

#[expect(dead_code, reason = "shared with the simulator")]
#[path = "../../../replproto-sim/src/alloc.rs"]
mod alloc;

mod aborts;
mod allowance;
mod blob_keys;
mod blobs;
mod chunks;
mod copy;
mod driver;
mod ends;
mod flow;
mod ledger;
mod malformed;
mod memory;
mod messages;
mod progress;
mod properties;
mod round_trips;
mod runs;
mod session;
mod splits;
mod stats;
mod turns;
mod unusable;
mod wire;
mod work;
