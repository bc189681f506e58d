//! Bytes that a publisher sends, right or wrong. What the library refuses to write is written here by hand.

use bytes::Bytes;
use replproto_core::TableDefinition;
use replproto_core::wire::message::{ChunkHeader, TableStructure};
use replproto_core::wire::{Message, varint};

/// A time of the publisher, in milliseconds since 1970. Versions and sequences of a case count from here.
pub(crate) const TIME: f64 = 1_747_252_561_000.0;

/// The table of most records, under the id 1.
pub(crate) const TABLE: &str = "Dog";

// Opcodes of WebSocket frames.
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Marks the last frame of a message.
pub(crate) const FIN: u8 = 0x80;

/// A frame that ends its message.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    raw_frame(FIN | opcode, payload)
}

/// A frame with any first byte.
pub(crate) fn raw_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = frame_head(first, payload.len() as u64);
    out.extend_from_slice(payload);
    out
}

/// The head of a frame that claims to have so many bytes.
pub(crate) fn frame_head(first: u8, length: u64) -> Vec<u8> {
    let mut out = vec![first];
    match length {
        0..126 => out.push(length as u8),
        126..0x1_0000 => {
            out.push(126);
            out.extend((length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend(length.to_be_bytes());
        }
    }
    out
}

/// MessagePack: a text of so many bytes, whatever they are.
pub(crate) fn text(bytes: &[u8]) -> Vec<u8> {
    counted(0xdb, bytes)
}

/// MessagePack: bytes.
pub(crate) fn binary(bytes: &[u8]) -> Vec<u8> {
    counted(0xc6, bytes)
}

/// MessagePack: an extension of this type.
pub(crate) fn extension(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0xc9];
    out.extend((payload.len() as u32).to_be_bytes());
    out.push(kind);
    out.extend_from_slice(payload);
    out
}

fn counted(first: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
    out
}

/// MessagePack: the head of an array that claims to have so many elements.
pub(crate) fn array_head(count: u32) -> Vec<u8> {
    counted_head(0xdd, count)
}

/// MessagePack: the head of a map that claims to have so many entries.
pub(crate) fn map_head(count: u32) -> Vec<u8> {
    counted_head(0xdf, count)
}

fn counted_head(first: u8, count: u32) -> Vec<u8> {
    let mut out = vec![first];
    out.extend(count.to_be_bytes());
    out
}

/// MessagePack: an array of this, so many times.
pub(crate) fn array_of(element: &[u8], count: u32) -> Vec<u8> {
    let mut out = array_head(count);
    out.extend(element.repeat(count as usize));
    out
}

/// MessagePack: a number.
pub(crate) fn number(number: f64) -> Vec<u8> {
    let mut out = vec![0xcb];
    out.extend(number.to_be_bytes());
    out
}

/// A command with these elements, each of which is MessagePack or claims to be.
pub(crate) fn command(code: u8, elements: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0x91 + elements.len() as u8, 0xcc, code];
    out.extend(elements.concat());
    out
}

/// An audit entry of the table with the id 1.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// The type and the flags.
    pub(crate) action: u32,
    pub(crate) table: u32,
    pub(crate) key: &'a [u8],
    pub(crate) version: f64,
    pub(crate) user: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// Stores a whole record.
pub(crate) const PUT: u32 = 0x11;
/// Changes some fields of a record.
pub(crate) const PATCH: u32 = 0x25;
/// The record has blobs.
pub(crate) const BLOBS: u32 = 0x2000;
/// Only for the publisher itself.
pub(crate) const LOCAL_ONLY: u32 = 0x8000;

impl<'a> Entry<'a> {
    /// Stores a record.
    pub(crate) const fn put(key: &'a [u8], value: &'a [u8]) -> Self {
        Self {
            action: PUT,
            table: 1,
            key,
            version: TIME,
            user: b"",
            value,
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.action < 0x40 {
            out.push(self.action as u8);
        } else {
            out.extend((self.action | 0xc000_0000).to_be_bytes());
        }
        varint::encode(0, &mut out);
        varint::encode(self.table, &mut out);
        varint::encode(self.key.len() as u32, &mut out);
        out.extend_from_slice(self.key);
        out.extend(self.version.to_be_bytes());
        varint::encode(self.user.len() as u32, &mut out);
        out.extend_from_slice(self.user);
        out.extend_from_slice(self.value);
        out
    }
}

/// A transaction of these items, whatever they are, with a sequence if there is one.
pub(crate) fn batch(items: &[Vec<u8>], sequence: Option<f64>) -> Vec<u8> {
    let mut out = TIME.to_be_bytes().to_vec();
    for item in items {
        varint::encode(item.len() as u32, &mut out);
        out.extend_from_slice(item);
    }
    if let Some(sequence) = sequence {
        out.extend([9, 11]);
        out.extend(sequence.to_be_bytes());
    }
    out
}

/// A transaction of one record.
pub(crate) fn put(key: &[u8], value: &[u8], sequence: f64) -> Vec<u8> {
    batch(&[Entry::put(key, value).bytes()], Some(sequence))
}

/// A value of one field that is short, and good: that of the first structure of [`TABLE`].
pub(crate) const GOOD: &[u8] = b"\x40\xa1x";

/// A value of one field `a`, without a structure.
pub(crate) fn field(value: &[u8]) -> Vec<u8> {
    [b"\xde\x00\x01\xa1a", value].concat()
}

/// A table and its dictionary: record structures as lists of names, and the typed ones as MessagePack.
pub(crate) fn structure(
    id: u32,
    table: &str,
    named: &[&[&str]],
    typed: Option<Vec<u8>>,
) -> Vec<u8> {
    let mut list = array_head(named.len() as u32);
    for names in named {
        list.extend(array_head(names.len() as u32));
        list.extend(names.iter().flat_map(|name| text(name.as_bytes())));
    }
    let definition = TableDefinition {
        table: table.into(),
        ..TableDefinition::default()
    };
    let structure = TableStructure {
        typed,
        named: Some(list),
        definition,
        table: id,
    };
    Message::TableStructure(structure).encode()
}

/// The answer to a subscription, or news of tables later.
pub(crate) fn schema<'a>(
    tables: impl IntoIterator<Item = &'a str>,
    request: Option<u32>,
) -> Vec<u8> {
    let definition = |table: &str| TableDefinition {
        table: table.into(),
        ..TableDefinition::default()
    };
    let tables = tables.into_iter().map(definition).collect();
    let database = DATABASE.into();
    Message::Schema {
        tables,
        database,
        request,
    }
    .encode()
}

/// The database that is followed.
pub(crate) const DATABASE: &str = "data";

/// A chunk of a blob.
pub(crate) fn chunk(header: ChunkHeader, body: &[u8]) -> Vec<u8> {
    let body = Bytes::copy_from_slice(body);
    Message::BlobChunk { header, body }.encode()
}

/// A chunk that says that its blob cannot be read, and why.
pub(crate) fn failed_blob(file: &str, why: &str) -> Vec<u8> {
    let header = ChunkHeader {
        file: file.into(),
        finished: true,
        error: Some(why.into()),
        ..ChunkHeader::default()
    };
    chunk(header, b"")
}
