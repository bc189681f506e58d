//! Arbitrary bytes as the items of a batch, to a receiver that knows the table 5 and the nodes 0 and 3.

use bytes::Bytes;
use replproto_core::wire::batch::{HEADER_LENGTH, terminator};
use replproto_core::wire::{BATCH_FIRST_BYTE, varint};
use replproto_core::{Command, Event};

use super::alloc;
use super::host::{Host, option};

/// An entry takes at least a dozen bytes, and an event that is out some hundreds.
const BYTES_PER_BYTE: usize = 256;
/// The receiver and the handshake.
const FREE: usize = 64 * 1024;

/// Runs the input.
///
/// # Panics
/// A rule does not hold.
pub fn run(data: &[u8]) {
    let mut batch = vec![0; HEADER_LENGTH];
    batch[0] = BATCH_FIRST_BYTE;
    batch.extend_from_slice(data);
    let batch = Bytes::from(batch);
    let (mut records, mut ends, mut sequence) = (0, 0, None);
    let mut observe = |command: &Command| match command {
        Command::Event(Event::Records(run)) => {
            assert!(run.size() <= data.len());
            assert_eq!(run.iter().count(), run.len());
            records += run.len();
        }
        Command::Event(Event::RecordSkipped(_)) => records += 1,
        Command::Event(Event::EndTransaction(end)) => {
            ends += 1;
            sequence = end.sequence;
        }
        _ => {}
    };
    alloc::within(FREE + BYTES_PER_BYTE * data.len(), || {
        // A start in the log: everything in the batch is wanted.
        let mut host = Host::new(option::HANDSHAKE | 1 << 5, batch.len(), &mut observe);
        host.feed(batch, true);
        host.end();
    });
    let items = Items::read(data);
    assert!(records <= items.entries, "each entry is one event at most");
    assert!(ends <= 1, "a batch is one transaction at most");
    if ends == 1 {
        assert!(
            items.is_whole,
            "a batch that is cut off ends no transaction"
        );
        assert_eq!(
            sequence.map(|sequence| sequence.0.to_bits()),
            items.sequence.map(f64::to_bits)
        );
    }
}

/// What the lengths alone say of a batch.
#[derive(Default)]
struct Items {
    entries: usize,
    /// Of the terminator, if there is one.
    sequence: Option<f64>,
    is_whole: bool,
}

impl Items {
    fn read(mut rest: &[u8]) -> Self {
        let mut items = Self::default();
        while let Some((length, width)) = varint::decode(rest) {
            let Some(item) = rest[width..].get(..length as usize) else {
                return items;
            };
            rest = &rest[width + item.len()..];
            if let Some(sequence) = terminator(item) {
                // What follows it is ignored (`protocol.md` section 4).
                items.sequence = Some(sequence.0);
                items.is_whole = true;
                return items;
            }
            items.entries += 1;
        }
        items.is_whole = rest.is_empty();
        items
    }
}
