//! How fast the core is: `cargo bench -p replproto-core`; with `--features serde` also the types of a host.
//!
//! The records are those of `tests/frames/backlog.bin`: typed structs of some 195 bytes with nine fields, of which one is an
//! object of three.

mod data;
mod keys;
mod link;
mod values;

use criterion::{criterion_group, criterion_main};

criterion_group!(benches, link::benches, values::benches, keys::benches);
criterion_main!(benches);
