//! One line of text for each command, to be read by people.

use std::io::Write;

use replproto_core::event::{BlobFailure, Checkpoint};
use replproto_core::key::{Key, decode_text};
use replproto_core::value::JsonStyle;
use replproto_core::{Command, Event, Record};

use super::Visitor;
use super::json::{JsonLinesError, abort_reason};

/// Writes each command as a line of text. The form may change; programs use the JSON lines.
pub(super) struct TextLines<W> {
    out: W,
}

impl<W: Write> TextLines<W> {
    pub(super) const fn new(out: W) -> Self {
        Self { out }
    }

    pub(super) fn into_inner(self) -> W {
        self.out
    }

    fn event(&mut self, event: &Event) -> Result<u64, JsonLinesError> {
        let out = &mut self.out;
        match event {
            Event::Records(records) => {
                let mut all_skipped = 0;
                for record in records {
                    let (line, skipped) = record_line(&record);
                    writeln!(out, "{line}")?;
                    all_skipped += skipped;
                }
                return Ok(all_skipped);
            }
            Event::RecordSkipped(skipped) => writeln!(
                out,
                "skipped   {} {} {} of {}: {}",
                skipped.table,
                id(&skipped.key),
                skipped.kind,
                skipped
                    .version
                    .map_or_else(|| "no time".to_owned(), |version| version.to_string()),
                skipped.error
            )?,
            Event::EndTransaction(end) => match end.sequence {
                Some(sequence) => writeln!(out, "end       of a transaction, at {sequence}")?,
                None => writeln!(out, "end       of a transaction")?,
            },
            Event::Table(table) => {
                let attributes = table.definition().attributes.iter();
                let names: Vec<&str> = attributes
                    .map(|attribute| attribute.name.as_str())
                    .collect();
                writeln!(out, "table     {} ({})", table.name(), names.join(", "))?;
            }
            Event::Schema(schema) => {
                let tables = schema.tables.iter();
                let names: Vec<&str> = tables.map(|table| table.table.as_str()).collect();
                let (peer, database) = (&schema.peer, &schema.database);
                writeln!(
                    out,
                    "schema    of {database} at {peer} ({})",
                    names.join(", ")
                )?;
            }
            Event::Checkpoint(checkpoint) => writeln!(out, "cursor    {}", position(checkpoint))?,
            Event::CopyStarted(_) => writeln!(out, "copy      begins")?,
            Event::CopyCompleted(checkpoint) => {
                writeln!(out, "copy      is complete, {}", position(checkpoint))?;
            }
            Event::BlobHeld(failure) => writeln!(out, "blob held {}", failure_text(failure))?,
            Event::BlobGone(failure) => writeln!(out, "blob gone {}", failure_text(failure))?,
            other => writeln!(out, "{other:?}")?,
        }
        Ok(0)
    }
}

impl<W: Write> Visitor for TextLines<W> {
    type Error = JsonLinesError;

    fn command(&mut self, command: &Command) -> Result<u64, JsonLinesError> {
        let out = &mut self.out;
        match command {
            Command::Event(event) => return self.event(event),
            Command::OpenBlob { blob, file, size } => match size {
                Some(size) => writeln!(out, "blob      {blob} opens: file {file} of {size} bytes")?,
                None => writeln!(out, "blob      {blob} opens: file {file}")?,
            },
            Command::BlobChunk { blob, bytes, last } => {
                let end = if *last { ", the last" } else { "" };
                writeln!(out, "blob      {blob}: {} bytes{end}", bytes.len())?;
            }
            Command::AbortBlob { blob, why } => {
                writeln!(out, "blob      {blob} is aborted: {}", abort_reason(*why))?;
            }
            Command::Pause(reason) => writeln!(out, "pause     {reason}")?,
            Command::Resume(reason) => writeln!(out, "resume    {reason}")?,
            Command::Transmit(bytes) => writeln!(out, "transmit  {} bytes", bytes.len())?,
            Command::Close(close) => writeln!(out, "close     {}", close.reason)?,
            other => writeln!(out, "{other:?}")?,
        }
        Ok(0)
    }
}

/// Gives 1 as the second value for a record that cannot be decoded.
fn record_line(record: &Record<'_>) -> (String, u64) {
    let mut line = format!(
        "{:9} {} {} {} from {}",
        record.kind().as_str(),
        record.table().name(),
        id(record.key_bytes()),
        record.version(),
        record.origin()
    );
    if let Ok(user) = decode_text(record.user_bytes()) {
        line.push_str(" by ");
        line.push_str(&user);
    }
    let Some(value) = record.value() else {
        return (line, 0);
    };
    line.push(' ');
    let written = line.len();
    if let Err(error) = value.write_json(&mut line, JsonStyle::Natural) {
        line.truncate(written);
        line.push_str(&format!("(the value cannot be read: {error})"));
        return (line, 1);
    }
    (line, 0)
}

fn id(key: &[u8]) -> String {
    let key = Key::decode(key).unwrap_or_else(|_| Key::Bytes(key.to_vec()));
    let mut text = String::new();
    key.write_json(&mut text, JsonStyle::Natural);
    text
}

fn position(checkpoint: &Checkpoint) -> String {
    let cursor = &checkpoint.cursor;
    match &cursor.copy {
        None => format!("at {}", cursor.sequence),
        Some(copy) => format!("in a copy, at {} of {}", id(&copy.after_key), copy.table),
    }
}

fn failure_text(failure: &BlobFailure) -> String {
    let owner = failure.record.as_ref();
    let owner = owner.map_or_else(String::new, |owner| {
        format!(" of {} {}", owner.table, id(&owner.key))
    });
    format!("file {}{owner}: {}", failure.file, failure.fault)
}
