//! Messages as a publisher sends them.

use bytes::Bytes;
use replproto_core::wire::entry::Flags;
use replproto_core::wire::message::{Capabilities, ChunkHeader, NodeName, TableStructure};
use replproto_core::wire::{BatchBuilder, Message, NewEntry};
use replproto_core::{Sequence, TableDefinition, WallTime};

/// The version of every record that does not say another.
pub(crate) const TIME: f64 = 1_747_252_561_000.0;

/// The first byte of a batch.
pub(crate) const BATCH: u8 = replproto_core::wire::BATCH_FIRST_BYTE;

/// The only table that is known after [`handshake`].
pub(crate) const TABLE: u32 = 5;

fn encode(message: &Message) -> Bytes {
    message.encode().into()
}

/// NODE_NAME of a newer peer.
pub(crate) fn node_name(name: &str) -> Bytes {
    node_name_with(name, Some(150_000.0))
}

/// NODE_NAME of a newer peer with this budget for its set-up.
pub(crate) fn node_name_with(name: &str, setup_budget: Option<f64>) -> Bytes {
    encode(&Message::NodeName(NodeName {
        name: Some(name.into()),
        database: "data".into(),
        tables: Vec::new(),
        capabilities: Some(Capabilities {
            setup_ack: 1.0,
            setup_budget,
        }),
    }))
}

/// NODE_NAME of an old peer.
pub(crate) fn old_node_name(name: &str) -> Bytes {
    encode(&Message::NodeName(NodeName {
        name: Some(name.into()),
        database: "data".into(),
        ..NodeName::default()
    }))
}

pub(crate) fn schema(request: Option<u32>) -> Bytes {
    encode(&Message::Schema {
        tables: vec![definition("Dog")],
        database: "data".into(),
        request,
    })
}

pub(crate) fn definition(table: &str) -> TableDefinition {
    TableDefinition {
        table: table.into(),
        ..TableDefinition::default()
    }
}

pub(crate) fn node_map() -> Bytes {
    encode(&Message::NodeMap {
        ids: vec![("peer".into(), 0), ("other".into(), 3)],
        subscribed: vec!["peer".into()],
    })
}

pub(crate) fn table(id: u32, name: &str) -> Bytes {
    encode(&Message::TableStructure(TableStructure {
        definition: definition(name),
        table: id,
        ..TableStructure::default()
    }))
}

/// All that a newer peer sends before its first record.
pub(crate) fn handshake() -> Vec<Bytes> {
    vec![
        node_name("peer"),
        schema(Some(1)),
        node_map(),
        table(TABLE, "Dog"),
    ]
}

pub(crate) fn sequence_update(sequence: f64) -> Bytes {
    encode(&Message::SequenceUpdate(Sequence(sequence)))
}

pub(crate) fn copy_start(start: f64) -> Bytes {
    copy_start_in(start, 1)
}

/// The same in another version of the order.
pub(crate) fn copy_start_in(start: f64, order: u32) -> Bytes {
    encode(&Message::CopyStart {
        start: WallTime(start),
        order,
    })
}

pub(crate) fn copy_complete() -> Bytes {
    encode(&Message::CopyComplete)
}

pub(crate) fn disconnect() -> Bytes {
    encode(&Message::Disconnect)
}

/// A reference to a blob, as a value holds it.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) file: String,
    pub(crate) transfer: Option<u32>,
}

pub(crate) fn file(file: impl ToString) -> Reference {
    Reference {
        file: file.to_string(),
        transfer: None,
    }
}

/// A value with these blobs: an object with one field for each.
pub(crate) fn value(references: &[Reference]) -> Vec<u8> {
    let mut out = vec![0xde];
    out.extend_from_slice(&(references.len() as u16 + 1).to_be_bytes());
    out.extend_from_slice(&[0xa1, b'n', 1]);
    for reference in references {
        out.extend_from_slice(&[0xa1, b'b']);
        let mut payload = vec![0x93];
        match reference.transfer {
            None => payload.push(0x80),
            Some(transfer) => {
                payload.extend_from_slice(b"\x81\xb5replicationTransferId\xce");
                payload.extend_from_slice(&transfer.to_be_bytes());
            }
        }
        payload.extend_from_slice(&[0, 0xd9, reference.file.len() as u8]);
        payload.extend_from_slice(reference.file.as_bytes());
        out.extend_from_slice(&[0xc8]);
        out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        out.push(11);
        out.extend_from_slice(&payload);
    }
    out
}

/// A batch that is being written.
pub(crate) struct Batch(BatchBuilder);

impl Batch {
    pub(crate) fn new() -> Self {
        Self(BatchBuilder::new(WallTime(TIME)))
    }

    pub(crate) fn entry(mut self, entry: &NewEntry<'_>) -> Self {
        self.0.entry(entry);
        self
    }

    /// A put of a value without blobs.
    pub(crate) fn put(self, key: impl ToString) -> Self {
        self.put_blobs(key, &[])
    }

    /// A put of a value with these blobs.
    pub(crate) fn put_blobs(self, key: impl ToString, references: &[Reference]) -> Self {
        let blobs = if references.is_empty() {
            Flags::default()
        } else {
            Flags::BLOBS
        };
        self.entry(&NewEntry {
            kind: 1,
            flags: Flags::FULL.with(blobs),
            table: TABLE,
            key: key.to_string().as_bytes(),
            version: TIME,
            value: &value(references),
            ..NewEntry::default()
        })
    }

    /// A put of a value of this size.
    pub(crate) fn put_sized(self, key: impl ToString, size: usize) -> Self {
        let mut value = vec![0xc6];
        value.extend_from_slice(&(size as u32).to_be_bytes());
        value.resize(5 + size, 7);
        self.entry(&NewEntry {
            kind: 1,
            flags: Flags::FULL,
            table: TABLE,
            key: key.to_string().as_bytes(),
            version: TIME,
            value: &value,
            ..NewEntry::default()
        })
    }

    pub(crate) fn end(self) -> Bytes {
        self.0.finish(None).into()
    }

    pub(crate) fn end_at(self, sequence: f64) -> Bytes {
        self.0.finish(Some(Sequence(sequence))).into()
    }
}

/// A chunk of a blob.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chunk(ChunkHeader);

impl Chunk {
    pub(crate) fn of(file: impl ToString) -> Self {
        Self(ChunkHeader {
            file: file.to_string(),
            ..ChunkHeader::default()
        })
    }

    pub(crate) fn transfer(mut self, transfer: u64) -> Self {
        self.0.transfer = Some(transfer);
        self
    }

    pub(crate) fn size(mut self, size: u64) -> Self {
        self.0.size = Some(size);
        self
    }

    pub(crate) fn body(self, body: &[u8]) -> Bytes {
        encode(&Message::BlobChunk {
            header: self.0,
            body: Bytes::copy_from_slice(body),
        })
    }

    pub(crate) fn last(mut self, body: &[u8]) -> Bytes {
        self.0.finished = true;
        self.body(body)
    }

    /// An error of the source, with a code and a status if they are given.
    pub(crate) fn error(mut self, code: Option<&str>, status: Option<u16>) -> Bytes {
        self.0.error = Some("cannot be read".into());
        self.0.error_code = code.map(Into::into);
        self.0.error_status = status;
        self.last(&[])
    }
}

/// A command that nobody knows, with a body of this many bytes.
pub(crate) fn unknown(body: usize) -> Bytes {
    let mut out = vec![0x92, 0xcc, 0xf0, 0xc6];
    out.extend_from_slice(&(body as u32).to_be_bytes());
    out.resize(out.len() + body, 1);
    out.into()
}
