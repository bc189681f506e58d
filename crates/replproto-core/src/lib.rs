//! Harper's replication protocol as a pure, sans-IO core.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod key;
mod msgpack;
pub mod value;
