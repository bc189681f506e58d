//! Many links on worker threads that die, against one publisher on the loopback.

mod fleet;
mod sessions;
#[cfg(feature = "sqlite")]
mod sqlite;
mod stores;
#[path = "../support/mod.rs"]
mod support;
mod workers;
