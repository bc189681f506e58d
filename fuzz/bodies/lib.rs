//! What each fuzz target does with its bytes.
//!
//! The fuzzer runs these bodies on the nightly toolchain; the tests of the workspace include this very file and run them
//! on the stable one with every input that is kept.

#[path = "../../crates/replproto-sim/src/alloc.rs"]
pub mod alloc;
pub mod audit_entry;
pub mod batch;
pub mod cursor;
mod host;
pub mod key;
pub mod receiver_inputs;
pub mod receiver_messages;
pub mod split_equivalence;
pub mod structures;
pub mod value_record;
pub mod value_typed;
mod values;
pub mod web_socket;
pub mod wire_command;

/// A target: its name and what runs an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 12] = [
    ("audit_entry", audit_entry::run),
    ("batch", batch::run),
    ("cursor", cursor::run),
    ("key", key::run),
    ("receiver_inputs", receiver_inputs::run),
    ("receiver_messages", receiver_messages::run),
    ("split_equivalence", split_equivalence::run),
    ("structures", structures::run),
    ("value_record", value_record::run),
    ("value_typed", value_typed::run),
    ("web_socket", web_socket::run),
    ("wire_command", wire_command::run),
];
