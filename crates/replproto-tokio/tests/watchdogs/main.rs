//! The watchdogs of `protocol.md` section 10, end to end: each fires on what it is for, and not on what only looks like it.

mod fires;
mod look_alikes;
#[path = "../support/mod.rs"]
mod support;
