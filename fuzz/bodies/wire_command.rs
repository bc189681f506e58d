//! Arbitrary bytes as a command.

use replproto_core::wire::{Message, WireError};

use super::alloc;

/// A byte may stand for a subscription without a name, in a list that grows by doubling.
const BYTES_PER_BYTE: usize = 512;
const FREE: usize = 1024;
/// What a command of a peer that is not trusted may unfold to here, in bytes.
const ROOM: usize = 4096;

/// Runs the input.
///
/// # Panics
/// A rule does not hold.
pub fn run(data: &[u8]) {
    let decoded = alloc::within(FREE + BYTES_PER_BYTE * data.len(), || Message::decode(data));
    // The body of a chunk is copied and not charged; receivers never read chunks this way.
    let within = alloc::within(FREE + 2 * ROOM + 2 * data.len(), || {
        Message::decode_within(data, ROOM)
    });
    assert!(
        matches!(within, Err(WireError::Unfolds)) || same(&within, &decoded),
        "the room decides only whether there is an answer"
    );
    let Ok(message) = decoded else { return };
    let bytes = message.encode();
    let again = Message::decode(&bytes)
        .unwrap_or_else(|error| panic!("what is written can be read: {error}: {message:?}"));
    assert_eq!(again.encode(), bytes, "{message:?}");
}

/// Whether they are the same, where numbers that are none count as equal.
fn same(left: &Result<Message, WireError>, right: &Result<Message, WireError>) -> bool {
    left == right || format!("{left:?}") == format!("{right:?}")
}
