//! A publisher that sends anything: what it would have sent, but damaged, repeated, cut off or replaced.

use bytes::{Bytes, BytesMut};
use replproto_core::wire::message::{ChunkHeader, NodeName, TableStructure};
use replproto_core::wire::{BatchBuilder, Message};
use replproto_core::{Attribute, Sequence, TableDefinition, WallTime};

use crate::peer::Outgoing;
use crate::rng::Rng;

/// The message with what is sent instead of it, or after it. Empty: it is swallowed.
pub(crate) fn corrupt(message: Outgoing, rng: &mut Rng) -> Vec<Outgoing> {
    let Outgoing { bytes, reached } = message;
    let with = |bytes: Bytes| Outgoing { bytes, reached };
    match rng.below(11) {
        0 => vec![with(flip(&bytes, rng))],
        1 => {
            let length = rng.below(bytes.len() as u64 + 1) as usize;
            vec![with(bytes.slice(..length))]
        }
        // Other memory, as from a socket.
        2 => vec![with(Bytes::copy_from_slice(&bytes)), with(bytes)],
        3 => Vec::new(),
        4 => {
            let noise = (0..rng.below(200)).map(|_| rng.next() as u8);
            vec![with(noise.collect::<Vec<u8>>().into())]
        }
        5 => {
            let mut longer = BytesMut::from(&bytes[..]);
            longer.extend_from_slice(&rng.next().to_be_bytes());
            vec![with(longer.freeze())]
        }
        6 | 7 => flood(rng).into_iter().map(with).collect(),
        _ => vec![with(bytes), with(invented(rng))],
    }
}

/// Many messages of one kind, or few large ones, that leave as much as they can behind.
fn flood(rng: &mut Rng) -> Vec<Bytes> {
    let kind = rng.below(8);
    let count = if rng.chance(500) { 250 } else { 20 };
    (0..count)
        .map(|_| {
            let word = format!("{:x}", rng.next());
            let message = match kind {
                // Blobs that cannot be read, which is told at length; or that begin and then fail, or end.
                0..=2 => Message::BlobChunk {
                    header: ChunkHeader {
                        error: (kind == 0).then(|| word.repeat(2000)),
                        error_code: (kind == 0).then(|| word.repeat(500)),
                        finished: kind < 2,
                        file: word,
                        ..ChunkHeader::default()
                    },
                    body: Bytes::from_static(b"x"),
                },
                // Ever new tables, by their own names or by new names of one id; and definitions that are large.
                3 => Message::Schema {
                    tables: (0..20)
                        .map(|n| definition(format!("{word}{n}"), 0))
                        .collect(),
                    database: "data".into(),
                    request: None,
                },
                4 => Message::TableStructure(TableStructure {
                    definition: definition(word, 10),
                    table: 7,
                    ..TableStructure::default()
                }),
                5 => Message::Schema {
                    tables: vec![definition("Dog".into(), 1500)],
                    database: "data".into(),
                    request: None,
                },
                6 => Message::NodeMap {
                    ids: (0..1500).map(|id| (format!("{word}{id}"), id)).collect(),
                    subscribed: Vec::new(),
                },
                _ => Message::ResidencyList {
                    nodes: vec![word; 100],
                    id: rng.next() as u32,
                },
            };
            message.encode().into()
        })
        .collect()
}

fn definition(table: String, attributes: u32) -> TableDefinition {
    let attribute = |number| Attribute {
        name: format!("a{number}"),
        ..Attribute::default()
    };
    TableDefinition {
        table,
        attributes: (0..attributes).map(attribute).collect(),
        ..TableDefinition::default()
    }
}

fn flip(bytes: &[u8], rng: &mut Rng) -> Bytes {
    let mut flipped = BytesMut::from(bytes);
    for _ in 0..rng.range(1, 3) {
        let at = rng.below(flipped.len() as u64) as usize;
        if let Some(byte) = flipped.get_mut(at) {
            *byte ^= 1 << rng.below(8);
        }
    }
    flipped.freeze()
}

/// A well-formed message that nobody has asked for, with values at the edge of what they can be.
fn invented(rng: &mut Rng) -> Bytes {
    let number = [0.0, -1.0, 1e300, f64::INFINITY, f64::NAN, 1.8e12][rng.below(6) as usize];
    let message = match rng.below(11) {
        0 => Message::SequenceUpdate(Sequence(number)),
        1 => Message::CopyStart {
            start: WallTime(number),
            order: rng.next() as u32,
        },
        2 => Message::CopyComplete,
        3 => Message::Disconnect,
        4 => Message::NodeName(NodeName {
            name: Some(["peer", "us", "", &"ä".repeat(200)][rng.below(4) as usize].into()),
            database: "data".into(),
            tables: Vec::new(),
            capabilities: None,
        }),
        5 => Message::BlobChunk {
            header: ChunkHeader {
                file: format!("{:x}", rng.below(20)),
                transfer: rng.chance(500).then(|| rng.below(20)),
                size: rng.chance(500).then(|| rng.next() >> rng.below(64)),
                finished: rng.chance(300),
                ..ChunkHeader::default()
            },
            body: Bytes::copy_from_slice(&rng.next().to_be_bytes()),
        },
        6 => Message::ResidencyList {
            nodes: vec!["peer".into(); rng.below(20) as usize],
            id: rng.below(1000) as u32,
        },
        7 => {
            return BatchBuilder::new(WallTime(number))
                .finish(Some(Sequence(number)))
                .into();
        }
        8 => Message::NodeMap {
            ids: vec![("x".into(), 0)],
            subscribed: Vec::new(),
        },
        9 => Message::Schema {
            tables: Vec::new(),
            database: ["data", "other", ""][rng.below(3) as usize].into(),
            request: [None, Some(1), Some(2)][rng.below(3) as usize],
        },
        _ => Message::CommittedUpdate(Sequence(number)),
    };
    message.encode().into()
}
