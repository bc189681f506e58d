//! The `replproto` program: `demo`, `receive`, `status` and `inspect`.
//!
//! The program is a library with one door, [`main`], and one part that others use too: [`inspect`], which shows what
//! the core makes of a file of messages.
#![forbid(unsafe_code)]

mod address;
mod args;
mod demo;
mod duration;
mod exit;
pub mod inspect;
mod mask;
mod memory;
mod metrics;
mod output;
mod progress;
mod receive;
mod signals;
mod state;
mod status;
mod summary;

pub use args::main;
