//! Arbitrary bytes as the messages of a peer, in parts, to a receiver whose host acknowledges everything at once.
//!
//! The first byte chooses the options. Then come pieces: two bytes, of which the highest bit says whether the message ends
//! with the piece and the others how many bytes follow.

use bytes::Bytes;

use super::alloc;
use super::host::Host;

/// Some bytes make us do more than others, but none more than this.
const COMMANDS_PER_BYTE: usize = 4;
/// A byte may stand for an empty text or for an event that is out.
const BYTES_PER_BYTE: usize = 512;
/// The receiver and the handshake.
const FREE: usize = 64 * 1024;

/// Runs the input.
///
/// # Panics
/// The receiver breaks one of its rules.
pub fn run(data: &[u8]) {
    let Some((options, rest)) = data.split_first() else {
        return;
    };
    let commands = alloc::within(FREE + BYTES_PER_BYTE * data.len(), || {
        let part = pieces(rest).map(|(piece, _)| piece.len()).max();
        let mut host = Host::new(*options, part.unwrap_or(0), |_| {});
        for (piece, last) in pieces(rest) {
            host.feed(Bytes::copy_from_slice(piece), last);
        }
        host.end();
        host.commands
    });
    assert!(
        commands <= 100 + COMMANDS_PER_BYTE * data.len(),
        "{commands} commands for {} bytes",
        data.len()
    );
}

/// Parts of messages, and whether the message ends with them.
pub(crate) fn pieces(mut rest: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    std::iter::from_fn(move || {
        let (&[high, low], after) = rest.split_first_chunk()?;
        let length = usize::from(high & 0x7f) << 8 | usize::from(low);
        let (piece, after) = after.split_at(length.min(after.len()));
        rest = after;
        Some((piece, high & 0x80 != 0))
    })
}
