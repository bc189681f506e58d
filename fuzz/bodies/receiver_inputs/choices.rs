//! What the bytes of an input stand for.

use bytes::Bytes;
use replproto_core::wire::entry::Flags;
use replproto_core::wire::message::{ChunkHeader, TableStructure};
use replproto_core::wire::{BatchBuilder, Message, NewEntry};
use replproto_core::{Sequence, TableDefinition, WallTime};

use super::super::host::handshake;

/// A date that makes a valid batch.
const TIME: f64 = 1_747_252_561_000.0;

/// Takes choices from the bytes of an input, and builds what a publisher might send.
pub(super) struct Choices<'a> {
    rest: &'a [u8],
    /// Messages of the handshake that were built.
    greeted: usize,
    /// Grows with every entry and every end of a batch, as a publisher's log does.
    position: f64,
    /// Grows with every message of a flood.
    number: u32,
}

impl<'a> Choices<'a> {
    pub(super) const fn new(rest: &'a [u8]) -> Self {
        Self {
            rest,
            greeted: 0,
            position: 10.0,
            number: 0,
        }
    }

    pub(super) fn next(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    /// Bytes as they are: a length and as many.
    pub(super) fn bytes(&mut self) -> Vec<u8> {
        let length = usize::from(self.next().unwrap_or(0)).min(self.rest.len());
        let (bytes, rest) = self.rest.split_at(length);
        self.rest = rest;
        bytes.to_vec()
    }

    fn advance(&mut self) -> f64 {
        self.position += 1.0;
        self.position
    }

    /// The next message of the handshake, and the last one over and over.
    pub(super) fn handshake(&mut self) -> Vec<u8> {
        let messages = handshake();
        let index = self.greeted.min(messages.len() - 1);
        self.greeted += 1;
        messages[index].encode()
    }

    /// A batch of up to four entries of versions that grow.
    pub(super) fn batch(&mut self) -> Vec<u8> {
        let shape = self.next().unwrap_or(0);
        let mut batch = BatchBuilder::new(WallTime(TIME));
        for _ in 0..shape & 3 {
            let kind = self.next().unwrap_or(1);
            let version = match shape >> 4 & 3 {
                0..=2 => self.advance(),
                // That is no time, and no reason to end the link (`protocol.md` section 15, ruling 31).
                _ => [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][usize::from(kind) % 3],
            };
            // A put of 1, a record that refers to the file "a", or no value.
            let (flags, value): (_, &[u8]) = match kind >> 4 & 3 {
                0 => (Flags::FULL, b"\x01"),
                1 => (Flags::FULL.with(Flags::BLOBS), BLOB),
                2 => (Flags::FULL, b"\xc1"),
                _ => (Flags::default(), b""),
            };
            batch.entry(&NewEntry {
                // None is no kind.
                kind: (kind & 0x0f).max(1),
                flags,
                node: if kind & 0x40 == 0 { 0 } else { 3 },
                table: if kind & 0x80 == 0 { 5 } else { 6 },
                key: b"k1",
                version,
                value,
                ..NewEntry::default()
            });
        }
        let sequence = (shape & 3 == 0 || shape & 4 != 0).then(|| Sequence(self.advance()));
        batch.finish(sequence)
    }

    /// The next of many messages, or pairs of them, that differ in a number and have a text of a length that the kind says.
    pub(super) fn numbered(&mut self, kind: u8) -> Vec<Vec<u8>> {
        self.number += 1;
        let number = self.number;
        let text = || format!("{number}{}", "x".repeat(1 << (kind >> 4)));
        let definition = || TableDefinition {
            table: text(),
            ..TableDefinition::default()
        };
        let chunk = |error: Option<String>| Message::BlobChunk {
            header: ChunkHeader {
                file: number.to_string(),
                finished: error.is_some(),
                error,
                ..ChunkHeader::default()
            },
            body: Bytes::new(),
        };
        let messages = match kind & 7 {
            // The same id under ever new names.
            0 => vec![Message::TableStructure(TableStructure {
                definition: definition(),
                table: 5,
                ..TableStructure::default()
            })],
            1 => vec![chunk(Some(text()))],
            // A transfer that begins and fails.
            2 => vec![chunk(None), chunk(Some(text()))],
            3 => vec![Message::Schema {
                tables: vec![definition()],
                database: "data".into(),
                request: None,
            }],
            4 => vec![Message::ResidencyList {
                nodes: vec![text()],
                id: number,
            }],
            5 => vec![Message::NodeMap {
                ids: vec![(text(), number)],
                subscribed: Vec::new(),
            }],
            6 => vec![chunk(None)],
            _ => vec![Message::SequenceUpdate(Sequence(self.advance()))],
        };
        messages.iter().map(Message::encode).collect()
    }

    /// A command that may come at any time.
    pub(super) fn command(&mut self) -> Vec<u8> {
        let shape = self.next().unwrap_or(0);
        let message = match shape & 7 {
            0 => Message::SequenceUpdate(Sequence(self.advance())),
            1 => Message::CopyStart {
                start: WallTime(TIME + f64::from(shape >> 3)),
                order: 1,
            },
            2 => Message::CopyComplete,
            3 => Message::ResidencyList {
                nodes: vec!["node-a".into()],
                id: u32::from(shape >> 3),
            },
            4..=6 => Message::BlobChunk {
                header: ChunkHeader {
                    file: ["a", "b", "c", "d"][usize::from(shape >> 3 & 3)].into(),
                    transfer: None,
                    size: (shape & 0x20 != 0).then_some(8),
                    finished: shape & 0x40 != 0,
                    error: (shape & 0xc0 == 0xc0).then(|| "gone".into()),
                    error_code: None,
                    error_status: None,
                },
                body: Bytes::from_static(&[0x5a; 8][..usize::from(shape & 3) * 4]),
            },
            _ if shape & 0xf0 == 0xf0 => Message::Disconnect,
            _ => Message::SequenceUpdate(Sequence(self.position)),
        };
        message.encode()
    }
}

/// A blob of 8 bytes in the file "a": `[{"size": 8}, 1, "a"]` in its extension.
const BLOB: &[u8] = b"\xc7\x0b\x0b\x93\x81\xa4size\x08\x01\xa1a";
