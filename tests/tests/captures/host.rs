//! A host that acknowledges everything at once and keeps what it was given, as a receiver's state file has it.

use std::collections::BTreeMap;

use bytes::Bytes;
use replproto_core::key::Key;
use replproto_core::value::{BlobExtension, Value};
use replproto_core::{
    BlobId, Command, Config, Cursor, Epoch, Event, Input, Instant, Receiver, Record, RecordKind,
    Start,
};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use replproto_tests::tagged;

/// Records by the bytes of their keys.
type Rows = BTreeMap<Vec<u8>, Value>;

pub(crate) struct Host {
    pub(crate) receiver: Receiver,
    pub(crate) now: Instant,
    /// One line for each table, record, and end of a transaction.
    pub(crate) lines: Vec<String>,
    /// What was sent to the peer.
    pub(crate) sent: Vec<Bytes>,
    /// The newest durable cursor.
    pub(crate) cursor: Option<Cursor>,
    pub(crate) copies: (u32, u32),
    pub(crate) held: Vec<String>,
    pub(crate) gone: Vec<String>,
    tables: BTreeMap<String, Rows>,
    /// By the publisher's file id.
    saved: BTreeMap<String, Vec<u8>>,
    open: BTreeMap<BlobId, (String, Vec<u8>)>,
    /// The lines of the event hash.
    events: Vec<String>,
}

impl Host {
    pub(crate) fn connected(config: Config, start: Start) -> Self {
        let now = Instant::from_micros(1);
        let receiver = Receiver::new(config, start, Epoch(1), now).expect("valid");
        let mut host = Self {
            receiver,
            now,
            lines: Vec::new(),
            sent: Vec::new(),
            cursor: None,
            copies: (0, 0),
            held: Vec::new(),
            gone: Vec::new(),
            tables: BTreeMap::new(),
            saved: BTreeMap::new(),
            open: BTreeMap::new(),
            events: Vec::new(),
        };
        host.input(Input::Connected);
        host
    }

    /// Feeds a message in these parts.
    pub(crate) fn feed(&mut self, parts: &[Bytes]) {
        for (index, bytes) in parts.iter().enumerate() {
            let input = Input::Message {
                bytes: bytes.clone(),
                last: index + 1 == parts.len(),
            };
            self.input(input);
            assert!(!self.receiver.is_paused());
        }
    }

    /// One input, and all that follows from it.
    pub(crate) fn input(&mut self, input: Input) {
        self.receiver.handle(self.now, input).expect("no misuse");
        while let Some(command) = self.receiver.poll_command() {
            let mut answers = Vec::new();
            self.obey(command, &mut answers);
            for answer in answers {
                self.receiver.handle(self.now, answer).expect("no misuse");
            }
        }
    }

    fn obey(&mut self, command: Command, answers: &mut Vec<Input>) {
        match command {
            Command::Transmit(bytes) => self.sent.push(bytes),
            Command::Event(event) => {
                let events = event.count();
                answers.push(Input::Consumed { events });
                self.event(event, answers);
            }
            Command::OpenBlob { blob, file, .. } => {
                self.open.insert(blob, (file.to_string(), Vec::new()));
            }
            Command::BlobChunk { blob, bytes, last } => {
                let (_, content) = self.open.get_mut(&blob).expect("opened");
                content.extend_from_slice(&bytes);
                answers.push(Input::BlobWritten {
                    blob,
                    bytes: bytes.len() as u64,
                });
                if last {
                    let (file, content) = self.open.remove(&blob).expect("opened");
                    self.saved.insert(file, content);
                    answers.push(Input::BlobSaved(blob));
                }
            }
            Command::AbortBlob { blob, .. } => {
                assert!(self.open.remove(&blob).is_some());
                answers.push(Input::BlobAborted(blob));
            }
            Command::Close(close) => panic!("closed: {}", close.reason),
            _ => {}
        }
    }

    fn event(&mut self, event: Event, answers: &mut Vec<Input>) {
        match event {
            Event::Table(table) => self.lines.push(format!("table {}", table.name())),
            Event::Records(records) => records.iter().for_each(|record| self.record(&record)),
            Event::EndTransaction(end) => {
                let sequence = end.sequence.map(|sequence| sequence.0);
                self.lines.push(format!("end {sequence:?}"));
                if end.cursor.is_some() {
                    self.cursor = end.cursor;
                }
                answers.push(Input::Committed(end.id));
            }
            Event::Checkpoint(checkpoint) => {
                self.cursor = Some(checkpoint.cursor);
                answers.push(Input::Committed(checkpoint.id));
            }
            Event::CopyStarted(_) => self.copies.0 += 1,
            Event::CopyCompleted(checkpoint) => {
                self.copies.1 += 1;
                self.cursor = Some(checkpoint.cursor);
                answers.push(Input::Committed(checkpoint.id));
            }
            Event::BlobHeld(failure) => self.held.push(failure.file.to_string()),
            Event::BlobGone(failure) => self.gone.push(failure.file.to_string()),
            Event::Schema(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }

    fn record(&mut self, record: &Record<'_>) {
        let table = record.table().name().to_string();
        let key = record.key_bytes().to_vec();
        let version = record.version().0.to_bits();
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let line = format!(
            "{table}\t{hex}\t{}\t{version:016x}\t{}",
            record.kind(),
            record.origin()
        );
        self.lines.push(format!("record {line}"));
        if !self.events.contains(&line) {
            self.events.push(line);
        }
        let value = record
            .value()
            .map(|value| value.decode().expect("decodable"));
        let rows = self.tables.entry(table).or_default();
        match record.kind() {
            RecordKind::Put => {
                rows.insert(key, value.expect("a put has a value"));
            }
            RecordKind::Patch => patch(rows.entry(key).or_insert(Value::Object(Vec::new())), value),
            RecordKind::Delete | RecordKind::Invalidate => {
                rows.remove(&key);
            }
            _ => {}
        }
    }

    /// Compares with the `state` of a recording.
    pub(crate) fn check_state(&self, name: &str, state: &Json) {
        let expected = state["tables"].as_object().expect("tables");
        for (table, rows) in expected {
            let ours = self.tables.get(table).cloned().unwrap_or_default();
            let rows = rows.as_object().expect("rows");
            assert_eq!(ours.len(), rows.len(), "{name} {table}");
            for (key, value) in rows {
                let key: Json = serde_json::from_str(key).expect("a key is JSON");
                let bytes = tagged::key(&key).as_ref().map(Key::encode);
                let bytes = bytes.expect("a key").expect("a key that can be written");
                let ours = ours
                    .get(&bytes)
                    .unwrap_or_else(|| panic!("{name} {table} {key}"));
                let same = tagged::same(&comparable(ours), &comparable(&tagged::value(value)));
                assert!(same, "{name} {table} {key}: {ours:?} is not {value}");
            }
        }
        for (file, blob) in state["blobs"].as_object().expect("blobs") {
            let ours = self
                .saved
                .get(file)
                .unwrap_or_else(|| panic!("{name}: no blob {file}"));
            assert_eq!(blob["size"], ours.len(), "{name} {file}");
            assert_eq!(blob["sha256"], sha256(ours), "{name} {file}");
        }
        let lines: String = self.events.iter().flat_map(|line| [line, "\n"]).collect();
        assert_eq!(state["events"]["count"], self.events.len(), "{name}");
        assert_eq!(state["events"]["hash"], sha256(lines.as_bytes()), "{name}");
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The fields of the patch replace those of the record, one level deep.
fn patch(record: &mut Value, patch: Option<Value>) {
    let (Value::Object(fields), Some(Value::Object(news))) = (record, patch) else {
        panic!("a patch is an object, and so is what it changes");
    };
    for (name, value) in news {
        match fields.iter_mut().find(|(old, _)| *old == name) {
            Some((_, old)) => *old = value,
            None => fields.push((name, value)),
        }
    }
}

/// References to blobs without what is local to the sender or to a transfer.
fn comparable(value: &Value) -> Value {
    let all = |values: &[Value]| values.iter().map(comparable).collect();
    match value {
        Value::Blob(payload) => match BlobExtension::parse(payload) {
            Ok(BlobExtension::Reference(reference)) => Value::Array(vec![
                Value::Text(reference.file_id.into()),
                Value::Number(reference.size.map_or(f64::NAN, |size| size as f64)),
                Value::Text(reference.content_type.unwrap_or_default().into()),
            ]),
            _ => value.clone(),
        },
        Value::Array(values) => Value::Array(all(values)),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| (name.clone(), comparable(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}
