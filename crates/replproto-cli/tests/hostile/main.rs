//! Publishers that mean harm, against the program as it is: whatever they send, it does not grow, crash, hang or fill its log,
//! and what is good among it arrives.
//!
//! A case waits for states (a record is confirmed, a link has ended for a cause), never for a time, so it says nothing of
//! speed but that there is an end. Memory is measured where the system tells it (Linux); elsewhere a case says that it is not.

#![cfg(unix)]

mod batches;
mod blobs;
mod case;
mod commands;
mod copies;
mod dictionaries;
mod field;
mod http;
mod names;
mod program;
mod publisher;
#[path = "../program/support.rs"]
#[allow(dead_code)]
mod support;
mod values;
mod web_socket;
mod wire;
