//! The rules of a store, on maps. Where they need an explanation, `sqlite/tombstones.rs` has it.

use std::collections::{BTreeMap, BTreeSet};

use replproto_core::event::{CopyStarted, Schema};
use replproto_core::replica::{
    Action, Change, ContentHash, Doubt, Entry, Memory, Payload, RETENTION, Stamp, Writes,
};
use replproto_core::{Cursor, Event, Record, RecordKind, WallTime};

use super::MemoryRow;
use crate::decode::{Decoded, MEMORY_ROW_MAX};
use crate::json::{Json, JsonValue};
use crate::patch;
use crate::sink::Applied;

/// A table's name and the bytes of a record's id.
type Key = (String, Vec<u8>);

/// Everything that is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) peer: Option<String>,
    pub(super) cursor: Option<Cursor>,
    pub(super) skipped: u64,
    pub(super) doubts: BTreeMap<Doubt, u64>,
    pub(super) tables: BTreeSet<String>,
    pub(super) blobs_gone: BTreeSet<String>,
    copy: Option<Copy>,
    last_mark: u64,
    writes: Writes,
    entries: BTreeMap<Key, Held>,
    /// The entries that have no content, with what is known of the place of the last one in the log.
    deletions: BTreeMap<Key, Place>,
    /// Entries that are not as they were at the last commit.
    changed: BTreeSet<Key>,
}

/// What is known of a record.
#[derive(Clone, Debug, Default)]
struct Held {
    /// The id as tagged JSON.
    id: String,
    /// The record as JSON; what is left of it, if it was invalidated.
    content: Option<String>,
    is_shown: bool,
    expires_at: Option<f64>,
    memory: Memory<Json>,
    /// The base copy that last brought it.
    mark: u64,
}

/// A base copy that is under way.
#[derive(Clone, Copy, Debug)]
struct Copy {
    start: Option<WallTime>,
    mark: u64,
    /// What it does not bring is removed at its end.
    sweeps: bool,
}

/// A deletion's place in the log.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// On this run of the log, and no position has been announced since.
    Waiting,
    /// Before this position.
    Before(f64),
    /// On an earlier run, and no position was announced then.
    EarlierRun,
}

impl Held {
    fn row(&self) -> Option<MemoryRow> {
        let head = self.memory.head()?;
        Some(MemoryRow {
            id: self.id.clone(),
            record: self.content.clone().filter(|_| self.is_shown)?,
            version: head.version.0,
            origin: head.origin.to_string(),
            expires_at: self.expires_at,
        })
    }
}

impl State {
    /// Applies an event; what is passed over is told as far as the link has not counted it.
    pub(super) fn apply(&mut self, event: &Event) -> Result<Applied, serde_json::Error> {
        let mut applied = Applied::default();
        match event {
            Event::Schema(schema) => self.on_schema(schema),
            Event::Table(table) => {
                self.tables.insert(table.name().to_string());
            }
            Event::Records(records) => {
                for record in records {
                    self.on_record(&record, &mut applied)?;
                }
            }
            Event::RecordSkipped(skipped) => {
                self.on_skipped(
                    skipped.kind,
                    (skipped.table.to_string(), skipped.key.clone()),
                );
            }
            Event::EndTransaction(end) => {
                self.writes.end_transaction();
                match end.sequence {
                    Some(_) if self.copy.is_some() => self.on_new_run(),
                    Some(sequence) => self.move_places(Place::Waiting, Place::Before(sequence.0)),
                    None => {}
                }
            }
            Event::CopyStarted(copy) => self.on_copy_started(copy),
            Event::CopyCompleted(completed) => self.on_copy_completed(&completed.cursor),
            Event::BlobGone(failure) => {
                self.blobs_gone.insert(failure.file.to_string());
            }
            _ => {}
        }
        Ok(applied)
    }

    /// A run of the log has ended.
    pub(super) fn on_new_run(&mut self) {
        self.writes.end_transaction();
        self.move_places(Place::Waiting, Place::EarlierRun);
    }

    pub(super) fn on_cursor(&mut self, cursor: Cursor) {
        let Cursor { sequence, .. } = cursor;
        let entries = &self.entries;
        // Something older may still come for as long as publishers keep their log.
        let is_old = |key: &Key| {
            let head = entries.get(key).and_then(|held| held.memory.head());
            head.is_none_or(|head| head.version.0 + RETENTION.as_millis() as f64 <= sequence.0)
        };
        let passed: Vec<Key> = self
            .deletions
            .extract_if(.., |key, place| {
                matches!(place, Place::Before(position) if *position <= sequence.0) && is_old(key)
            })
            .map(|(key, _)| key)
            .collect();
        for key in passed {
            self.entries.remove(&key);
            self.changed.insert(key);
        }
        self.cursor = Some(cursor);
    }

    /// Makes `committed` equal to this state.
    pub(super) fn commit_to(&mut self, committed: &mut Self) {
        let mut entries = std::mem::take(&mut committed.entries);
        for key in std::mem::take(&mut self.changed) {
            match self.entries.get(&key) {
                Some(entry) => entries.insert(key, entry.clone()),
                None => entries.remove(&key),
            };
        }
        let own = std::mem::take(&mut self.entries);
        *committed = Self {
            entries,
            ..self.clone()
        };
        self.entries = own;
    }

    pub(super) fn rows(&self, table: &str) -> BTreeMap<Vec<u8>, MemoryRow> {
        self.entries
            .range((table.to_owned(), Vec::new())..)
            .take_while(|((name, _), _)| name == table)
            .filter_map(|((_, key), held)| Some((key.clone(), held.row()?)))
            .collect()
    }

    pub(super) fn tombstones(&self) -> usize {
        self.deletions.len()
    }

    fn move_places(&mut self, from: Place, to: Place) {
        for place in self.deletions.values_mut() {
            if *place == from {
                *place = to;
            }
        }
    }

    fn on_schema(&mut self, schema: &Schema) {
        self.on_new_run();
        if self.peer.as_deref() != Some(schema.peer.as_str()) {
            self.peer = Some(schema.peer.to_string());
            self.cursor = None;
            for place in self.deletions.values_mut() {
                *place = Place::EarlierRun;
            }
        }
        let names = schema.tables.iter().map(|table| table.table.clone());
        self.tables.extend(names);
    }

    fn on_record(
        &mut self,
        record: &Record<'_>,
        applied: &mut Applied,
    ) -> Result<(), serde_json::Error> {
        let key = (
            record.table().name().to_string(),
            record.key_bytes().to_vec(),
        );
        let kind = record.kind();
        let mut decoded = Decoded::default();
        if decoded.read(record).is_err() || patch::has_too_many(&decoded.value) {
            applied.skipped += 1;
            self.on_skipped(kind, key);
            return Ok(());
        }
        self.tables.insert(key.0.clone());
        let has_changed = match self.copy {
            Some(_) if kind == RecordKind::Put => Ok(self.copied(&key, record, &decoded)),
            _ => self.logged(&key, record, &decoded, applied)?,
        };
        match has_changed {
            Ok(true) => {
                if let Some(held) = self.entries.get_mut(&key) {
                    held.id = decoded.id;
                }
                self.changed.insert(key.clone());
            }
            Ok(false) => {}
            Err(Refused) => {
                applied.skipped += 1;
                self.on_skipped(kind, key);
                return Ok(());
            }
        }
        if matches!(kind, RecordKind::Put | RecordKind::Patch) {
            self.mark(&key);
        }
        Ok(())
    }

    /// A row of a base copy. Gives whether anything has changed.
    fn copied(&mut self, key: &Key, record: &Record<'_>, decoded: &Decoded) -> bool {
        let held = self.entries.entry(key.clone()).or_default();
        let is_taken = held.memory.apply_copied(&Stamp::of(record));
        if is_taken {
            held.is_shown = !JsonValue(&decoded.value).is_nothing();
            held.content = held.is_shown.then(|| decoded.value.clone());
            held.expires_at = record.expires_at().map(|WallTime(time)| time);
            self.place(key, false);
        }
        is_taken
    }

    /// An entry of the log. Gives whether anything has changed.
    fn logged(
        &mut self,
        key: &Key,
        record: &Record<'_>,
        decoded: &Decoded,
        applied: &mut Applied,
    ) -> Result<Result<bool, Refused>, serde_json::Error> {
        let kind = record.kind();
        let value = decoded.value.as_str();
        let own = Some(JsonValue(value)).filter(|value| !value.is_nothing());
        let write = self.writes.note_record(
            record,
            || JsonValue(value).may_have_operations(),
            || ContentHash::new(kind as u8).with(value.as_bytes()),
        );
        let Stamp { version, origin } = Stamp::of(record);
        let entry = Entry {
            version,
            origin,
            expires_at: record.expires_at(),
            digest: write.digest,
            repeats: write.repeats,
            action: Action::of(kind, own),
        };
        let known = self.entries.get(key);
        let mut held = known.cloned().unwrap_or_default();
        let Ok(outcome) = held.memory.apply(&entry, &held.content.as_deref()) else {
            return Ok(Err(Refused));
        };
        let own = || entry.action.value().map(|value| value.0.to_owned());
        match &outcome.change {
            Change::Keep => {}
            Change::Show => held.is_shown = held.content.is_some(),
            Change::Replace => (held.content, held.is_shown) = (own(), true),
            Change::Hide => (held.content, held.is_shown) = (own(), false),
            Change::Set(fields) => {
                let content = held.content.as_deref().unwrap_or("{}");
                let merged = patch::merge(content, fields)?;
                if merged.len() > MEMORY_ROW_MAX {
                    return Ok(Err(Refused));
                }
                (held.content, held.is_shown) = (Some(merged), true);
            }
            Change::Remove => (held.content, held.is_shown) = (None, false),
        }
        if let Some(expires_at) = outcome.expires_at {
            held.expires_at = expires_at.map(|WallTime(time)| time);
        }
        if let Some(doubt) = outcome.effect.doubt {
            *self.doubts.entry(doubt).or_default() += 1;
            applied.doubts.add(doubt);
        }
        let was_older = known
            .and_then(|known| known.memory.head())
            .is_none_or(|head| head.version < entry.version);
        let is_gone = matches!(outcome.change, Change::Remove);
        self.entries.insert(key.clone(), held);
        self.place(key, is_gone && was_older);
        Ok(Ok(true))
    }

    /// Notes the place of an entry in the log, if it has no content. `is_new`: no earlier run has brought this deletion.
    fn place(&mut self, key: &Key, is_new: bool) {
        if self
            .entries
            .get(key)
            .is_some_and(|held| held.content.is_some())
        {
            self.deletions.remove(key);
            return;
        }
        // Copied rows do not come in the order of the log, so nothing can be concluded from what is new among them.
        if is_new && self.copy.is_none() {
            self.move_places(Place::EarlierRun, Place::Waiting);
        }
        self.deletions.insert(key.clone(), Place::Waiting);
    }

    fn on_skipped(&mut self, kind: RecordKind, key: Key) {
        self.skipped += 1;
        if matches!(kind, RecordKind::Put | RecordKind::Patch) {
            self.mark(&key);
        }
    }

    fn mark(&mut self, key: &Key) {
        if let (Some(copy), Some(held)) = (self.copy, self.entries.get_mut(key)) {
            held.mark = copy.mark;
            self.changed.insert(key.clone());
        }
    }

    fn on_copy_started(&mut self, started: &CopyStarted) {
        self.on_new_run();
        let goes_on = self
            .copy
            .is_some_and(|copy| copy.start == started.copy_start);
        if !started.resumed
            && let Some(cursor) = &mut self.cursor
        {
            // Its marks are about to be forgotten: resumed from here, the earlier copy would remove what it has brought.
            cursor.copy = None;
        }
        if !(started.resumed && goes_on) {
            self.last_mark += 1;
            self.copy = Some(Copy {
                start: started.copy_start,
                mark: self.last_mark,
                sweeps: !started.resumed && !started.forced,
            });
        }
    }

    fn on_copy_completed(&mut self, cursor: &Cursor) {
        let Some(copy) = self.copy.take() else { return };
        if copy.sweeps {
            let is_unseen = |(table, _): &Key, held: &mut Held| {
                held.content.is_some() && held.mark != copy.mark && cursor.covers(table)
            };
            let unseen = self.entries.extract_if(.., is_unseen);
            self.changed.extend(unseen.map(|(key, _)| key));
        }
    }
}

/// A record that has to be passed over.
#[derive(Debug)]
struct Refused;
