//! One JSON object a line for each command.

use std::collections::BTreeMap;
use std::io::{self, Write};

use replproto_core::event::{BlobFailure, Checkpoint, EndTransaction, Schema, SkippedRecord};
use replproto_core::key::{Key, decode_text};
use replproto_core::value::JsonStyle;
use replproto_core::{AbortReason, BlobId, Close, Command, Event, Name, Record, Table};
use thiserror::Error;

use super::{InspectError, Visitor};

/// Writes each command, and each record, as a line of JSON. The field `event` tells the kind:
///
/// | `event` | other fields |
/// |---|---|
/// | `record` | `table`, `id`, `type`, `version`, `origin`, `user`, `expiresAt`, `value` |
/// | `record_skipped` | `table`, `id`, `type`, `version`, `error` |
/// | `end_transaction` | `sequence` |
/// | `table` | `table`, `schemaDefined`, `primaryKey`, `attributes` |
/// | `schema` | `peer`, `database`, `tables` |
/// | `checkpoint`, `copy_completed` | `sequence`, `copy` |
/// | `copy_started` | `copyStart` |
/// | `blob_open` | `blob`, `file`, `size` |
/// | `blob_chunk` | `blob`, `file`, `bytes`, `last` |
/// | `blob_abort` | `blob`, `file`, `why` |
/// | `blob_held`, `blob_gone` | `file`, `table`, `id`, `fault`, `error` |
/// | `pause`, `resume` | `reason` |
/// | `transmit`, `ping` | `bytes` |
/// | `close` | `reason`, `code` |
///
/// Only the fields that apply are there. Ids and values are tagged JSON, in which each kind of value has a form of its own
/// ([`JsonStyle::Tagged`]); times and positions are plain numbers. `blob` counts the transfers from 0, `bytes` is a length.
#[derive(Debug)]
pub struct JsonLines<W> {
    out: W,
    line: Line,
    /// The files of the transfers that are open.
    files: BTreeMap<BlobId, Name>,
}

/// A line could not be written, or the file could not be read on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JsonLinesError {
    /// The file is at fault.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The output is at fault.
    #[error("the output cannot be written: {0}")]
    Write(#[from] io::Error),
}

impl<W: Write> JsonLines<W> {
    /// Writes to `out`, which should have a buffer.
    pub const fn new(out: W) -> Self {
        Self {
            out,
            line: Line(String::new()),
            files: BTreeMap::new(),
        }
    }

    /// The output.
    pub fn into_inner(self) -> W {
        self.out
    }
}

impl<W: Write> Visitor for JsonLines<W> {
    type Error = JsonLinesError;

    fn command(&mut self, command: &Command) -> Result<u64, JsonLinesError> {
        let Self { out, line, files } = self;
        line.0.clear();
        let mut skipped = 0;
        match command {
            Command::Event(Event::Records(records)) => {
                for record in records {
                    skipped += line.record(&record);
                    line.end();
                }
                out.write_all(line.0.as_bytes())?;
                return Ok(skipped);
            }
            Command::Event(event) => line.event(event),
            Command::OpenBlob { blob, file, size } => {
                line.blob("blob_open", *blob, Some(file));
                if let Some(size) = size {
                    line.number("size", *size as f64);
                }
                files.insert(*blob, file.clone());
            }
            Command::BlobChunk { blob, bytes, last } => {
                line.blob("blob_chunk", *blob, files.get(blob));
                line.number("bytes", bytes.len() as f64);
                line.raw("last", if *last { "true" } else { "false" });
                if *last {
                    files.remove(blob);
                }
            }
            Command::AbortBlob { blob, why } => {
                line.blob("blob_abort", *blob, files.get(blob));
                line.text("why", abort_reason(*why));
                files.remove(blob);
            }
            Command::Pause(reason) => line.begin("pause").text("reason", reason.as_str()),
            Command::Resume(reason) => line.begin("resume").text("reason", reason.as_str()),
            Command::Transmit(bytes) => line.begin("transmit").number("bytes", bytes.len() as f64),
            Command::Close(close) => line.close(close),
            other => {
                line.begin(plain_name(other));
            }
        }
        line.end();
        out.write_all(line.0.as_bytes())?;
        Ok(skipped)
    }
}

/// The name of a command that has no fields.
fn plain_name(command: &Command) -> &'static str {
    match command {
        Command::Ping => "ping",
        _ => "unknown",
    }
}

/// The name of a reason to throw a blob away.
pub(super) fn abort_reason(why: AbortReason) -> &'static str {
    match why {
        AbortReason::Source => "source",
        AbortReason::Idle => "idle",
        AbortReason::Size => "size",
        AbortReason::Close => "close",
        _ => "unknown",
    }
}

/// Lines under construction: objects, of which the last is not closed yet.
#[derive(Debug)]
struct Line(String);

impl Line {
    fn begin(&mut self, event: &str) -> &mut Self {
        self.0.push_str("{\"event\":\"");
        self.0.push_str(event);
        self.0.push('"');
        self
    }

    fn end(&mut self) {
        self.0.push_str("}\n");
    }

    fn name(&mut self, name: &str) -> &mut String {
        self.0.push_str(",\"");
        self.0.push_str(name);
        self.0.push_str("\":");
        &mut self.0
    }

    fn raw(&mut self, name: &str, json: &str) {
        self.name(name).push_str(json);
    }

    fn text(&mut self, name: &str, text: &str) {
        push_text(self.name(name), text);
    }

    fn texts<'t>(&mut self, name: &str, texts: impl IntoIterator<Item = &'t str>) {
        let out = self.name(name);
        out.push('[');
        for (index, text) in texts.into_iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            push_text(out, text);
        }
        out.push(']');
    }

    fn number(&mut self, name: &str, number: f64) {
        Key::Number(number).write_json(self.name(name), JsonStyle::Natural);
    }

    /// An id; its bytes if they are not those of a key.
    fn id(&mut self, key: &[u8]) {
        let key = Key::decode(key).unwrap_or_else(|_| Key::Bytes(key.to_vec()));
        key.write_json(self.name("id"), JsonStyle::Tagged);
    }

    fn blob(&mut self, event: &str, blob: BlobId, file: Option<&Name>) {
        self.begin(event).number("blob", blob.number as f64);
        if let Some(file) = file {
            self.text("file", file);
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::RecordSkipped(skipped) => self.skipped(skipped),
            Event::EndTransaction(EndTransaction { sequence, .. }) => {
                self.begin("end_transaction");
                if let Some(sequence) = sequence {
                    self.number("sequence", sequence.0);
                }
            }
            Event::Table(table) => self.table(table),
            Event::Schema(Schema {
                peer,
                database,
                tables,
            }) => {
                self.begin("schema").text("peer", peer);
                self.text("database", database);
                self.texts("tables", tables.iter().map(|table| table.table.as_str()));
            }
            Event::Checkpoint(checkpoint) => self.checkpoint("checkpoint", checkpoint),
            Event::CopyCompleted(checkpoint) => self.checkpoint("copy_completed", checkpoint),
            // Whether a copy was asked for, or is resumed, depends on a request that is not in the file.
            Event::CopyStarted(copy) => {
                self.begin("copy_started");
                if let Some(start) = copy.copy_start {
                    self.number("copyStart", start.0);
                }
            }
            Event::BlobHeld(failure) => self.blob_failure("blob_held", failure),
            Event::BlobGone(failure) => self.blob_failure("blob_gone", failure),
            _ => {
                self.begin("unknown");
            }
        }
    }

    /// Gives 1 for a record that cannot be decoded.
    fn record(&mut self, record: &Record<'_>) -> u64 {
        let start = self.0.len();
        self.begin("record").text("table", record.table().name());
        self.id(record.key_bytes());
        self.text("type", record.kind().as_str());
        self.number("version", record.version().0);
        self.text("origin", record.origin());
        if !record.user_bytes().is_empty() {
            match decode_text(record.user_bytes()) {
                Ok(user) => self.text("user", &user),
                Err(_) => Key::Bytes(record.user_bytes().to_vec())
                    .write_json(self.name("user"), JsonStyle::Tagged),
            }
        }
        if let Some(expires_at) = record.expires_at() {
            self.number("expiresAt", expires_at.0);
        }
        let Some(value) = record.value() else {
            return 0;
        };
        match value.write_json(self.name("value"), JsonStyle::Tagged) {
            Ok(()) => 0,
            Err(error) => {
                self.0.truncate(start);
                self.skipped(&SkippedRecord {
                    table: record.table().name().clone(),
                    key: record.key_bytes().to_vec(),
                    version: Some(record.version()),
                    kind: record.kind(),
                    error: error.into(),
                });
                1
            }
        }
    }

    fn skipped(&mut self, skipped: &SkippedRecord) {
        self.begin("record_skipped").text("table", &skipped.table);
        self.id(&skipped.key);
        self.text("type", skipped.kind.as_str());
        if let Some(version) = skipped.version {
            self.number("version", version.0);
        }
        self.text("error", &skipped.error.to_string());
    }

    fn table(&mut self, table: &Table) {
        let definition = table.definition();
        self.begin("table").text("table", table.name());
        let is_defined = if definition.schema_defined {
            "true"
        } else {
            "false"
        };
        self.raw("schemaDefined", is_defined);
        if let Some(key) = definition.primary_key() {
            self.text("primaryKey", key);
        }
        let attributes = definition.attributes.iter();
        self.texts(
            "attributes",
            attributes.map(|attribute| attribute.name.as_str()),
        );
    }

    fn checkpoint(&mut self, event: &str, checkpoint: &Checkpoint) {
        self.begin(event)
            .number("sequence", checkpoint.cursor.sequence.0);
        if let Some(copy) = &checkpoint.cursor.copy {
            let out = self.name("copy");
            out.push_str("{\"table\":");
            push_text(out, &copy.table);
            self.id(&copy.after_key);
            self.0.push('}');
        }
    }

    fn blob_failure(&mut self, event: &str, failure: &BlobFailure) {
        self.begin(event).text("file", &failure.file);
        if let Some(owner) = &failure.record {
            self.text("table", &owner.table);
            self.id(&owner.key);
        }
        self.text("fault", failure.fault.class());
        self.text("error", &failure.fault.to_string());
    }

    fn close(&mut self, close: &Close) {
        self.begin("close")
            .text("reason", &close.reason.to_string());
        if let Some(code) = close.frame.as_ref().and_then(|frame| frame.code) {
            self.number("code", f64::from(code));
        }
    }
}

/// Appends text as a JSON string.
fn push_text(out: &mut String, text: &str) {
    Key::Text(text.to_owned()).write_json(out, JsonStyle::Natural);
}
