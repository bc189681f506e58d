#![no_main]
//! Arbitrary bytes as the messages of a peer.

#[path = "../bodies/receiver_messages.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
