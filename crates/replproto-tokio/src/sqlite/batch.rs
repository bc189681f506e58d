//! Events on their way to the sink's thread, with what can be done before they get there.

use std::cell::RefCell;
use std::mem;
use std::sync::Arc;

use replproto_core::key::decode_text;
use replproto_core::replica::{ContentHash, Payload, Write, Writes};
use replproto_core::{Event, Record, RecordKind, Records, Table, WallTime};

use crate::decode::{self, Undecodable};
use crate::json::JsonValue;

/// A batch is sent off when its records have so many bytes: enough to make up for waking the other thread, and little
/// enough that both threads are at work soon. A few batches are in memory at a time.
const BYTES: usize = 64 << 10;

/// The same in records and other events.
const STEPS: usize = 256;

/// A record of more bytes is not decoded here but where it is stored, and neither is one that takes more as JSON: to have a
/// large record in memory twice, and as JSON, takes a multiple of it.
pub(super) const LARGE: usize = 256 << 10;

/// A record that is not decoded. It holds its run, which ends with it or is no longer than a small message.
#[derive(Debug)]
pub(super) struct LargeRecord {
    records: Records,
    index: usize,
    pub(super) write: Write,
}

impl LargeRecord {
    pub(super) fn record(&self) -> Option<Record<'_>> {
        self.records.iter().nth(self.index)
    }
}

/// Some steps of the peer's log, with their records decoded.
///
/// To write to SQLite takes one thread all its time when a link catches up, and decoding would take as much of it as a
/// third; so it is done where the events come from, while the thread is busy with the batch before. Nothing of the
/// message is held.
#[derive(Debug, Default)]
pub(super) struct Batch {
    steps: Vec<Stored>,
    tables: Vec<Arc<Table>>,
    /// The ids of the changes.
    keys: Vec<u8>,
    /// Of each change the origin, the user, the id and the value.
    text: String,
    has_large: bool,
}

#[derive(Debug)]
enum Stored {
    Change(Entry),
    Undecodable(Entry, Undecodable),
    Large(RefCell<Option<Box<LargeRecord>>>),
    Event(Event),
}

/// A change; the lengths are those of its pieces of the batch's keys and text.
#[derive(Debug)]
struct Entry {
    kind: RecordKind,
    table: usize,
    version: f64,
    expires_at: Option<f64>,
    key: usize,
    origin: usize,
    user: Option<usize>,
    id: usize,
    value: usize,
    write: Write,
}

/// One step.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// A change of a record.
    Change(Change<'a>),
    /// One that is to be passed over; its id and its value are empty.
    Undecodable(Change<'a>, &'a Undecodable),
    /// A large record, to be taken out, so that it need not be held until the batch is stored.
    Large(&'a RefCell<Option<Box<LargeRecord>>>),
    /// Anything else.
    Event(&'a Event),
}

/// A change of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub(super) kind: RecordKind,
    pub(super) table: &'a Arc<Table>,
    pub(super) key: &'a [u8],
    /// Milliseconds since 1970, like `expires_at`.
    pub(super) version: f64,
    pub(super) expires_at: Option<f64>,
    pub(super) origin: &'a str,
    pub(super) user: Option<&'a str>,
    /// The id as tagged JSON.
    pub(super) id: &'a str,
    /// The value as JSON; empty if there is none.
    pub(super) value: &'a str,
    pub(super) write: Write,
}

impl Batch {
    /// Adds a record, which is that with this index of `records`. `writes`: those of its transaction before it.
    pub(super) fn add(
        &mut self,
        record: &Record<'_>,
        (records, index): (&Records, usize),
        writes: &mut Writes,
    ) {
        if record.size() > LARGE || !self.record(record, writes) {
            self.has_large = true;
            let large = Box::new(LargeRecord {
                records: records.clone(),
                index,
                // Whether it has operations is not looked at.
                write: writes.note_record(record, || true, || ContentHash::of(record)),
            });
            self.steps.push(Stored::Large(RefCell::new(Some(large))));
        }
    }

    /// Decodes a record. Gives false, and adds nothing, for one that takes too much as JSON.
    pub(super) fn record(&mut self, record: &Record<'_>, writes: &mut Writes) -> bool {
        let start = self.text.len();
        self.text.push_str(record.origin());
        let user = decode_text(record.user_bytes()).ok();
        self.text.push_str(user.as_deref().unwrap_or_default());
        let before = self.text.len();
        let decoded = decode::append(record, &mut self.text, LARGE);
        if matches!(decoded, Err(Undecodable::TooLarge { .. })) {
            self.text.truncate(start);
            return false;
        }
        if !matches!(self.tables.last(), Some(last) if Arc::ptr_eq(last, record.table())) {
            self.tables.push(record.table().clone());
        }
        self.keys.extend_from_slice(record.key_bytes());
        let id = decoded.as_ref().map_or(0, |length| *length);
        let kind = record.kind();
        let value = &self.text[before + id..];
        let write = writes.note_record(
            record,
            || JsonValue(value).may_have_operations(),
            || ContentHash::new(kind as u8).with(value.as_bytes()),
        );
        let entry = Entry {
            kind,
            table: self.tables.len() - 1,
            version: record.version().0,
            expires_at: record.expires_at().map(|WallTime(time)| time),
            key: record.key_bytes().len(),
            origin: record.origin().len(),
            user: user.map(|user| user.len()),
            id,
            value: value.len(),
            write,
        };
        self.steps.push(match decoded {
            Ok(_) => Stored::Change(entry),
            Err(error) => Stored::Undecodable(entry, error),
        });
        true
    }

    /// Adds an event other than records.
    pub(super) fn event(&mut self, event: Event) {
        self.steps.push(Stored::Event(event));
    }

    /// Whether it should be sent off.
    pub(super) const fn is_full(&self) -> bool {
        self.steps.len() >= STEPS || self.keys.len() + self.text.len() >= BYTES || self.has_large
    }

    /// What has been added, if anything has.
    pub(super) fn take(&mut self) -> Option<Self> {
        (!self.steps.is_empty()).then(|| mem::take(self))
    }

    /// The steps in order.
    pub(super) fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let mut keys = self.keys.as_slice();
        let mut text = self.text.as_str();
        let mut change = move |entry: &Entry| {
            let mut next = |length| {
                let (piece, rest) = text.split_at(length);
                text = rest;
                piece
            };
            let (key, rest) = keys.split_at(entry.key);
            keys = rest;
            Change {
                kind: entry.kind,
                table: &self.tables[entry.table],
                key,
                version: entry.version,
                expires_at: entry.expires_at,
                origin: next(entry.origin),
                user: entry.user.map(&mut next),
                id: next(entry.id),
                value: next(entry.value),
                write: entry.write,
            }
        };
        self.steps.iter().map(move |step| match step {
            Stored::Change(entry) => Step::Change(change(entry)),
            Stored::Undecodable(entry, error) => Step::Undecodable(change(entry), error),
            Stored::Large(record) => Step::Large(record),
            Stored::Event(event) => Step::Event(event),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{end, put, records};

    fn add(batch: &mut Batch, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Records(records) => {
                    for record in &records {
                        assert!(batch.record(&record, &mut Writes::default()));
                    }
                }
                event => batch.event(event),
            }
        }
    }

    #[test]
    fn each_record_has_its_pieces_and_one_that_cannot_be_read_leaves_none() {
        let mut batch = Batch::default();
        let changes = [
            put("a", 1.0, &[("n", 1.0)]),
            put("broken", 2.0, &[]).with(1, vec![0x91, 0xc1]),
            put("c", 3.0, &[]).with(1, Vec::new()).of("Cat"),
        ];
        add(&mut batch, records(&changes));
        add(&mut batch, vec![end(None)]);
        add(&mut batch, records(&[put("d", 4.0, &[("n", 4.0)])]));
        let steps: Vec<_> = batch
            .steps()
            .map(|step| match step {
                Step::Change(it) | Step::Undecodable(it, _) => (
                    it.table.name().as_str(),
                    str::from_utf8(it.key).unwrap(),
                    it.origin,
                    it.id,
                    it.value,
                ),
                Step::Large(_) => panic!("all are small"),
                Step::Event(_) => ("", "", "", "", "an event"),
            })
            .collect();
        assert_eq!(
            steps,
            [
                ("Dog", "a", "node-a", "\"a\"", r#"{"n":1}"#),
                ("Dog", "broken", "node-a", "", ""),
                ("Cat", "c", "node-a", "\"c\"", ""),
                ("", "", "", "", "an event"),
                ("Dog", "d", "node-a", "\"d\"", r#"{"n":4}"#),
            ]
        );
    }

    #[test]
    fn a_batch_is_full_by_its_steps_or_by_its_bytes() {
        let mut batch = Batch::default();
        assert!(batch.take().is_none());
        add(&mut batch, vec![end(None); STEPS - 1]);
        assert!(!batch.is_full());
        add(&mut batch, vec![end(None)]);
        assert!(batch.is_full());
        assert_eq!(batch.take().unwrap().steps().count(), STEPS);

        let name = "x".repeat(BYTES / 2);
        let large = || records(&[put("a", 1.0, &[(&name, 1.0)])]);
        add(&mut batch, large());
        assert!(!batch.is_full());
        add(&mut batch, large());
        assert!(batch.is_full());
    }
}
