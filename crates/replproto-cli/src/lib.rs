//! The `replproto` program: `demo`, `receive` and `inspect`.
//!
//! The program is a library with one door, [`main`], and one part that others use too: [`inspect`], which shows what
//! the core makes of a file of messages.
#![forbid(unsafe_code)]

mod args;
mod duration;
mod exit;
pub mod inspect;

pub use args::main;
