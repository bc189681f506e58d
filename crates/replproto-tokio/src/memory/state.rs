//! The rules of a store, on maps. Where they need an explanation, `sqlite/tombstones.rs` has it.

use std::collections::{BTreeMap, BTreeSet};

use replproto_core::event::{CopyStarted, Schema};
use replproto_core::{Cursor, Event, Record, RecordKind, WallTime};

use super::MemoryRow;
use crate::decode::{Decoded, MEMORY_ROW_MAX, NO_CHANGES, NO_VALUE};
use crate::patch::{self, MergeError};

/// A table's name and the bytes of a record's id.
type Key = (String, Vec<u8>);

/// Everything that is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) peer: Option<String>,
    pub(super) cursor: Option<Cursor>,
    pub(super) skipped: u64,
    pub(super) tables: BTreeSet<String>,
    pub(super) blobs_gone: BTreeSet<String>,
    copy: Option<Copy>,
    last_mark: u64,
    entries: BTreeMap<Key, Entry>,
    /// The deletions among the entries, with what is known of their place in the log.
    deletions: BTreeMap<Key, Place>,
    /// Entries that are not as they were at the last commit.
    changed: BTreeSet<Key>,
}

/// The newest that is known of a record.
#[derive(Clone, Debug)]
enum Entry {
    Live { row: MemoryRow, mark: u64 },
    Deleted { version: f64 },
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

impl Entry {
    fn version(&self) -> f64 {
        match self {
            Self::Live { row, .. } => row.version,
            Self::Deleted { version } => *version,
        }
    }
}

impl State {
    /// Applies an event; gives the number of records that were passed over and not yet counted by the link.
    pub(super) fn apply(&mut self, event: &Event) -> Result<u64, serde_json::Error> {
        match event {
            Event::Schema(schema) => self.on_schema(schema),
            Event::Table(table) => {
                self.tables.insert(table.name().to_string());
            }
            Event::Records(records) => {
                let mut skipped = 0;
                for record in records {
                    skipped += self.on_record(&record)?;
                }
                return Ok(skipped);
            }
            Event::RecordSkipped(skipped) => {
                self.on_skipped(
                    skipped.kind,
                    (skipped.table.to_string(), skipped.key.clone()),
                );
            }
            Event::EndTransaction(end) => match end.sequence {
                Some(_) if self.copy.is_some() => self.on_new_run(),
                Some(sequence) => self.move_places(Place::Waiting, Place::Before(sequence.0)),
                None => {}
            },
            Event::CopyStarted(copy) => self.on_copy_started(copy),
            Event::CopyCompleted(_) => self.on_copy_completed(),
            Event::BlobGone(failure) => {
                self.blobs_gone.insert(failure.file.to_string());
            }
            _ => {}
        }
        Ok(0)
    }

    /// A run of the log has ended.
    pub(super) fn on_new_run(&mut self) {
        self.move_places(Place::Waiting, Place::EarlierRun);
    }

    pub(super) fn on_cursor(&mut self, cursor: Cursor) {
        let passed: Vec<Key> = self
            .deletions
            .extract_if(.., |_, place| {
                matches!(place, Place::Before(position) if *position <= cursor.sequence.0)
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
            .filter_map(|((_, key), entry)| match entry {
                Entry::Live { row, .. } => Some((key.clone(), row.clone())),
                Entry::Deleted { .. } => None,
            })
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

    fn on_record(&mut self, record: &Record<'_>) -> Result<u64, serde_json::Error> {
        let key = (
            record.table().name().to_string(),
            record.key_bytes().to_vec(),
        );
        let mut decoded = Decoded::default();
        if decoded.read(record).is_err() {
            self.on_skipped(record.kind(), key);
            return Ok(1);
        }
        self.tables.insert(key.0.clone());
        let version = record.version().0;
        let known = self.entries.get(&key);
        let is_stale = known.is_some_and(|known| known.version() > version);
        match record.kind() {
            RecordKind::Put | RecordKind::Patch if is_stale => self.mark(&key),
            RecordKind::Put => {
                self.put(key, record, decoded.id.clone(), decoded.value_or(NO_VALUE))
            }
            RecordKind::Patch => {
                let changes = decoded.value_or(NO_CHANGES);
                let value = match known {
                    Some(Entry::Live { row, .. }) => match patch::merge(&row.record, changes) {
                        Ok(merged) if merged.len() <= MEMORY_ROW_MAX => merged,
                        Err(MergeError::NotJson(error)) => return Err(error),
                        Ok(_) | Err(MergeError::TooManyChanges) => {
                            self.on_skipped(record.kind(), key);
                            return Ok(1);
                        }
                    },
                    _ => changes.to_owned(),
                };
                self.put(key, record, decoded.id.clone(), &value);
            }
            RecordKind::Delete | RecordKind::Invalidate if !is_stale => {
                let is_new = known.is_none_or(|known| known.version() < version);
                self.remove(key, version, is_new);
            }
            _ => {}
        }
        Ok(0)
    }

    fn put(&mut self, key: Key, record: &Record<'_>, id: String, value: &str) {
        self.deletions.remove(&key);
        self.changed.insert(key.clone());
        let row = MemoryRow {
            id,
            record: value.to_owned(),
            version: record.version().0,
            origin: record.origin().to_string(),
        };
        let mark = self.copy.map_or(0, |copy| copy.mark);
        self.entries.insert(key, Entry::Live { row, mark });
    }

    fn remove(&mut self, key: Key, version: f64, is_new: bool) {
        if is_new && self.copy.is_none() {
            self.move_places(Place::EarlierRun, Place::Waiting);
        }
        self.changed.insert(key.clone());
        self.deletions.insert(key.clone(), Place::Waiting);
        self.entries.insert(key, Entry::Deleted { version });
    }

    fn on_skipped(&mut self, kind: RecordKind, key: Key) {
        self.skipped += 1;
        if matches!(kind, RecordKind::Put | RecordKind::Patch) {
            self.mark(&key);
        }
    }

    fn mark(&mut self, key: &Key) {
        if let (Some(copy), Some(Entry::Live { mark, .. })) = (self.copy, self.entries.get_mut(key))
        {
            *mark = copy.mark;
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
                sweeps: !started.resumed,
            });
        }
    }

    fn on_copy_completed(&mut self) {
        let Some(copy) = self.copy.take() else { return };
        if copy.sweeps {
            let is_unseen = |_: &Key, entry: &mut Entry| matches!(entry, Entry::Live { mark, .. } if *mark != copy.mark);
            let unseen = self.entries.extract_if(.., is_unseen);
            self.changed.extend(unseen.map(|(key, _)| key));
        }
    }
}
