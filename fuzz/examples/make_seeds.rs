//! Makes the inputs that the fuzzer starts from, out of the vectors and the recorded messages of the tests:
//! `cargo run --manifest-path fuzz/Cargo.toml --example make_seeds`.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use replproto_core::wire::Message;
use replproto_core::wire::message::{ChunkHeader, TableStructure};
use replproto_core::{CopyCursor, Cursor, Sequence, TableDefinition, WallTime};
use replproto_tokio::web_socket::frame::{FrameKind, close_payload, write_frame};
use serde_json::Value as Json;

/// How many inputs a target gets from one source.
const INPUTS: usize = 10;
/// Longer messages make slow inputs.
const LONGEST: usize = 2000;

fn main() {
    let vectors = |name: &str| -> Json {
        let text = fs::read(root().join(format!("tests/vectors/{name}.json"))).expect("vectors");
        serde_json::from_slice(&text).expect("JSON")
    };
    let keys = vectors("keys");
    write("key", spread(all_hex(&keys["vectors"])));
    for (target, files, list) in [
        ("value_record", ["records", "msgpack"], "structures"),
        ("value_typed", ["typed", "invalid"], "typedStructs"),
    ] {
        let inputs = files.map(|file| spread_some(values(&vectors(file), list), INPUTS / 2));
        write(target, inputs.concat());
    }
    let structures = ["typed", "records"].map(|file| {
        let vectors = vectors(file);
        let lists = array(&vectors["dictionaries"]).iter().map(|dictionary| {
            let [typed, named] =
                ["typedStructs", "structures"].map(|list| list_of(dictionary, list));
            prefixed(&typed, &named)
        });
        spread_some(lists.collect(), INPUTS / 2)
    });
    write("structures", structures.concat());

    let messages = messages();
    let is_batch = |message: &&Vec<u8>| message[0] == 0x42;
    let batches: Vec<_> = messages
        .iter()
        .filter(is_batch)
        .map(|batch| batch[8..].to_vec())
        .collect();
    let entries = batches
        .iter()
        .filter(|batch| batch[0] < 0x80 && batch[0] != 9);
    let entries = entries.map(|batch| batch[1..][..usize::from(batch[0])].to_vec());
    write("audit_entry", spread(entries.collect()));
    write("batch", spread(batches.clone()));
    let commands: Vec<_> = messages
        .iter()
        .filter(|message| !is_batch(message))
        .cloned()
        .collect();
    let mut codes = Vec::new();
    let distinct = commands.iter().filter(|command| {
        let code = command[1..command.len().min(3)].to_vec();
        let is_new = !codes.contains(&code);
        codes.push(code);
        is_new
    });
    write("wire_command", spread(distinct.cloned().collect()));
    write("split_equivalence", split(&batches, &commands));
    write("receiver_inputs", steps());
    write_as("flood", "receiver_messages", floods());
    write_as("flood", "receiver_inputs", floods_in_steps());
    for target in ["value_record", "value_typed"] {
        write_as("deep", target, nestings());
    }
    write("cursor", cursors());
    write("web_socket", connections());
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn array(json: &Json) -> &[Json] {
    json.as_array().expect("an array")
}

fn hex(json: &Json) -> Vec<u8> {
    let text = json["hex"].as_str().expect("hex");
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn all_hex(vectors: &Json) -> Vec<Vec<u8>> {
    array(vectors).iter().map(hex).collect()
}

fn list_of(dictionary: &Json, list: &str) -> Vec<u8> {
    hex(&dictionary[list])
}

/// The length of the first part in two bytes, and both parts.
fn prefixed(first: &[u8], second: &[u8]) -> Vec<u8> {
    let length = u16::try_from(first.len()).expect("a short list");
    [&length.to_be_bytes()[..], first, second].concat()
}

/// Every value with the list of structures that it refers to.
fn values(vectors: &Json, list: &str) -> Vec<Vec<u8>> {
    let find = |id: &Json| {
        array(&vectors["dictionaries"])
            .iter()
            .find(|other| other["id"] == *id)
    };
    let value = |vector: &Json| {
        let list = match vector.get("dictionary").and_then(find) {
            Some(dictionary) => list_of(dictionary, list),
            None => Vec::new(),
        };
        prefixed(&list, &hex(vector))
    };
    array(&vectors["vectors"]).iter().map(value).collect()
}

fn spread(inputs: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    spread_some(inputs, INPUTS)
}

/// Some of the inputs, from the first to the last.
fn spread_some(inputs: Vec<Vec<u8>>, count: usize) -> Vec<Vec<u8>> {
    let inputs: Vec<_> = inputs
        .into_iter()
        .filter(|input| input.len() <= LONGEST)
        .collect();
    let step = inputs.len().div_ceil(count).max(1);
    inputs.into_iter().step_by(step).collect()
}

/// The messages of all recordings of publishers, and those of the frames.
fn messages() -> Vec<Vec<u8>> {
    let mut files: Vec<_> = ["tests/captures", "tests/frames"]
        .iter()
        .flat_map(|folder| fs::read_dir(root().join(folder)).expect("a folder"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .collect();
    files.sort();
    let mut messages = Vec::new();
    for file in files {
        let bytes = fs::read(&file).expect("messages");
        let mut rest = &bytes[..];
        while let Some((length, after)) = rest.split_first_chunk() {
            let (message, after) = after.split_at(u32::from_le_bytes(*length) as usize);
            messages.push(message.to_vec());
            rest = after;
        }
    }
    messages
}

/// A batch and two commands each, in pieces of 7, 60 and 500 bytes, after a handshake.
fn split(batches: &[Vec<u8>], commands: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    let commands = spread(commands.to_vec());
    for (index, batch) in spread(batches.to_vec()).iter().enumerate() {
        let batch = [&[0x42, 0x79, 0x6d, 0, 0, 0, 0, 0], &batch[..]].concat();
        let at = index % commands.len();
        let mut input = vec![1 | 1 << 5];
        for message in [&commands[at], &batch, &commands[(at + 1) % commands.len()]] {
            let mut chunks = message.chunks([7, 60, 500][index % 3]).peekable();
            while let Some(chunk) = chunks.next() {
                let last = u16::from(chunks.peek().is_none()) << 15;
                let header = last | u16::try_from(chunk.len()).expect("a short piece");
                input.extend_from_slice(&header.to_be_bytes());
                input.extend_from_slice(chunk);
            }
        }
        inputs.push(input);
    }
    inputs
}

/// What makes the handshake of an input in steps.
const HANDSHAKE: [u8; 5] = [0, 12, 0, 0, 0];

/// A handshake; then batches, blobs, copies and acknowledgements.
fn steps() -> Vec<Vec<u8>> {
    let bodies: [&[u8]; 6] = [
        &[1, 5, 1, 12, 4, 9, 5, 0, 10, 20, 12],
        &[
            1, 6, 0x11, 2, 12, 2, 0x26, 2, 0x46, 12, 6, 0, 8, 6, 0, 8, 7, 0, 4, 9, 5, 0, 12,
        ],
        &[2, 1, 1, 3, 1, 1, 2, 2, 12, 5, 0, 5, 0, 4, 9, 12, 10, 30],
        &[
            1, 7, 1, 1, 1, 1, 7, 5, 5, 5, 12, 5, 1, 5, 0, 9, 10, 12, 0x19, 12, 13, 7,
        ],
        &[3, 4, 0x42, 0x79, 0x6d, 0, 0x13, 3, 0, 0, 0, 12, 14, 0x3e],
        &[2, 0x44, 12, 8, 0, 0x4f, 12, 1, 5, 0x12, 12, 10, 35],
    ];
    let step = |(index, body): (usize, &&[u8])| {
        let options = [0x20, 0x04, 0x40, 0x24, 0x28, 0x02][index];
        [&[options], &HANDSHAKE[..], &[12], body].concat()
    };
    bodies.iter().enumerate().map(step).collect()
}

/// A handshake; then floods of long and short messages of each kind within low marks, with what is out consumed between them.
fn floods_in_steps() -> Vec<Vec<u8>> {
    const CONSUMED: [u8; 3] = [4, 255, 12];
    let flood = |kind: u8| {
        let long = [0xcf, kind | 0xf0, 100];
        // For these each event is consumed at once.
        let short = [0xcf, kind | 0x28, 200];
        let consumed = [0xcf, kind | 0xf8, 100];
        [&long[..], &CONSUMED, &short, &CONSUMED, &consumed].concat()
    };
    let input = |kind| [&[0xa0], &HANDSHAKE[..], &[12], &flood(kind)].concat();
    (0..8).map(input).collect()
}

fn cursors() -> Vec<Vec<u8>> {
    let copy = CopyCursor {
        copy_start: WallTime(1_747_252_561_000.0),
        table: "Dog".into(),
        after_key: (&b"k1"[..]).into(),
        order: 1,
    };
    let sequence = Sequence(1_747_252_561_003.0);
    let ahead = Sequence(1_747_252_561_001.5);
    let cursors = [
        (sequence, None),
        (sequence, Some(copy.clone())),
        (ahead, None),
        (ahead, Some(copy)),
    ];
    let cursors = cursors.map(|(announced, copy)| Cursor {
        sequence,
        announced,
        copy: copy.map(Box::new),
    });
    cursors
        .iter()
        .map(Cursor::to_bytes)
        // Without the checksum, which the target adds.
        .flat_map(|bytes| [bytes[..bytes.len() - 8].to_vec(), bytes])
        .collect()
}

/// Whole and fragmented messages, control frames among them, in both directions and within both limits.
fn connections() -> Vec<Vec<u8>> {
    let close = close_payload(Some(1000), "bye");
    let wrong_close = close_payload(Some(1005), "");
    let long: Vec<u8> = (0..200).collect();
    let talks: [&[(FrameKind, bool, &[u8])]; 5] = [
        &[
            (FrameKind::Binary, true, b"hello"),
            (FrameKind::Ping, true, b"p"),
            (FrameKind::Binary, true, b""),
            (FrameKind::Text, true, "h€é".as_bytes()),
            (FrameKind::Close, true, &close),
        ],
        &[
            (FrameKind::Binary, false, b"ab"),
            (FrameKind::Continuation, false, b"cd"),
            (FrameKind::Pong, true, b""),
            (FrameKind::Continuation, true, b"ef"),
        ],
        &[
            (FrameKind::Binary, true, &long),
            (FrameKind::Binary, true, &long[..10]),
        ],
        &[(FrameKind::Text, true, b"\xed\xa0\x80")],
        &[(FrameKind::Close, true, &wrong_close)],
    ];
    let mut inputs = Vec::new();
    for talk in talks {
        for options in 0..4 {
            let mask = (options & 1 == 1).then_some([0x12, 0x34, 0x56, 0x78]);
            let mut bytes = BytesMut::from(&[options, 6, 2][..]);
            for (kind, is_final, payload) in talk {
                write_frame(&mut bytes, *kind, *is_final, payload, mask);
            }
            inputs.push(bytes.to_vec());
        }
    }
    inputs
}

/// Many messages of one kind, after a handshake, to a host that answers late: what is to be found in runs with long inputs.
fn floods() -> Vec<Vec<u8>> {
    let definition = |number: usize| TableDefinition {
        table: format!("table{number}"),
        ..TableDefinition::default()
    };
    let kinds: [fn(usize, TableDefinition) -> Message; 5] = [
        // Blobs that cannot be read, and what is said of it.
        |number, _| Message::BlobChunk {
            header: ChunkHeader {
                file: format!("{number:x}"),
                finished: true,
                error: Some("it cannot be read ".repeat(20)),
                ..ChunkHeader::default()
            },
            body: Bytes::new(),
        },
        |_, definition| Message::Schema {
            tables: vec![definition],
            database: "data".into(),
            request: None,
        },
        // The same id under ever new names.
        |_, definition| {
            Message::TableStructure(TableStructure {
                definition,
                table: 5,
                ..TableStructure::default()
            })
        },
        |number, _| Message::ResidencyList {
            nodes: vec!["node".into(); 10],
            id: number as u32,
        },
        |number, _| Message::NodeMap {
            ids: (0..number)
                .map(|id| (format!("node{id}"), id as u32))
                .collect(),
            subscribed: Vec::new(),
        },
    ];
    let flood = |kind: &fn(usize, TableDefinition) -> Message| {
        let mut input = vec![1 | 1 << 4 | 1 << 5];
        for number in 0..60 {
            let message = kind(number, definition(number)).encode();
            let header = 1 << 15 | u16::try_from(message.len()).expect("a short message");
            input.extend_from_slice(&header.to_be_bytes());
            input.extend_from_slice(&message);
        }
        input
    };
    kinds.iter().map(flood).collect()
}

/// Values inside each other, far deeper than is allowed: in arrays, sets, regular expressions, maps and definitions of records.
fn nestings() -> Vec<Vec<u8>> {
    let openings: [&[u8]; 5] = [
        b"\x91",
        b"\xd4\x73\x00\x91",
        b"\xd4\x78\x00\x92",
        b"\x81\x01",
        b"\xd4\x72\x41\x91\xa1a",
    ];
    let value = |opening: &&[u8]| [opening.repeat(4000), vec![0xc0]].concat();
    openings
        .iter()
        .map(|it| prefixed(&[], &value(it)))
        .collect()
}

/// Writes the inputs of a target in place of earlier ones.
fn write(target: &str, inputs: Vec<Vec<u8>>) {
    write_as("", target, inputs);
}

/// The same for inputs of some kind.
fn write_as(kind: &str, target: &str, inputs: Vec<Vec<u8>>) {
    let folder = root().join("fuzz/corpus").join(target);
    fs::create_dir_all(&folder).expect("the folder");
    for (index, input) in inputs.iter().enumerate() {
        fs::write(folder.join(format!("seed-{kind}{index:02}")), input).expect("the input");
    }
    println!("{target}: {} inputs", inputs.len());
}
