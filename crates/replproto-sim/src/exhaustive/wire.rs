//! What the publisher of the small world sends, encoded once.

use bytes::Bytes;
use replproto_core::wire::entry::Flags;
use replproto_core::wire::message::ChunkHeader;
use replproto_core::wire::{BatchBuilder, Message, NewEntry};
use replproto_core::{Sequence, WallTime};

use crate::handshake::handshake;

/// The files of its blobs. The record of transaction `n` refers to the file `n % 2`, and transfer `n` brings that file.
pub(super) const FILES: [&str; 2] = ["a", "b"];

/// Bytes of each chunk's body.
pub(super) const CHUNK_BYTES: usize = 40;

/// Every third transaction does not tell the position in the log.
const SILENT: usize = 3;

const TABLE: u32 = 10;

/// A record with a number and a blob: `n` and `b`.
const STRUCTURES: &[u8] = b"\x91\x92\xa1n\xa1b";

/// A transaction: what the receiver has to hand out.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) message: Bytes,
    pub(super) version: f64,
    pub(super) value: Vec<u8>,
    pub(super) sequence: Option<f64>,
}

/// All messages that sequences of a length can need.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) set_up: Vec<Bytes>,
    pub(super) transactions: Vec<Sent>,
    /// By transfer, by chunk: one that is not the last, and one that is.
    chunks: Vec<Vec<[Bytes; 2]>>,
}

impl Wire {
    pub(super) fn new(length: usize) -> Self {
        let chunks = |transfer| {
            (0..length)
                .map(|number| [false, true].map(|last| chunk(transfer, number, last)))
                .collect()
        };
        Self {
            set_up: handshake("rows", TABLE, STRUCTURES),
            transactions: (0..length).map(transaction).collect(),
            chunks: (0..length).map(chunks).collect(),
        }
    }

    pub(super) fn chunk(&self, transfer: usize, number: usize, last: bool) -> &Bytes {
        &self.chunks[transfer][number][usize::from(last)]
    }
}

fn transaction(number: usize) -> Sent {
    let version = 1e12 + number as f64;
    let sequence = (number % SILENT != SILENT - 1).then_some(version);
    let file = FILES[number % FILES.len()].as_bytes();
    let mut value = vec![0x40, number as u8, 0xc7, 4 + file.len() as u8, 11];
    value.extend_from_slice(&[0x93, 0x80, 0, 0xa0 | file.len() as u8]);
    value.extend_from_slice(file);
    let mut batch = BatchBuilder::new(WallTime(version));
    batch.entry(&NewEntry {
        kind: 1,
        flags: Flags::FULL.with(Flags::BLOBS),
        table: TABLE,
        key: b"key",
        version,
        value: &value,
        ..NewEntry::default()
    });
    Sent {
        message: batch.finish(sequence.map(Sequence)).into(),
        version,
        value,
        sequence,
    }
}

/// The body of a chunk says which it is: the transfer, its number, and whether it is the last.
fn chunk(transfer: usize, number: usize, last: bool) -> Bytes {
    let mut body = [0; CHUNK_BYTES];
    body[..3].copy_from_slice(&[transfer as u8, number as u8, u8::from(last)]);
    let header = ChunkHeader {
        file: FILES[transfer % FILES.len()].into(),
        finished: last,
        ..ChunkHeader::default()
    };
    let body = Bytes::copy_from_slice(&body);
    Message::BlobChunk { header, body }.encode().into()
}
