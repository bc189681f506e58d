//! The rules that a [`replproto_core::Receiver`] keeps, seen from outside: only its public surface is used, and the
//! driver checks the invariants of every link after every step.

mod allowance;
mod blobs;
mod chunks;
mod copy;
mod driver;
mod ends;
mod flow;
mod ledger;
mod malformed;
mod properties;
mod round_trips;
mod runs;
mod session;
mod splits;
mod stats;
mod wire;
mod work;
