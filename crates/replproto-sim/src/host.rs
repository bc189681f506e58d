//! The receiving process while it runs: a link, the queue of the application, and blobs that are being written.

use std::collections::{BTreeMap, VecDeque};

use replproto_core::{BlobId, CommitId, Cursor, Event, Receiver, Record, Start};

use crate::coverage::LinkState;
use crate::model::{Model, Trust};
use crate::oracles::{Result, Violation, hold};
use crate::peer::Expected;
use crate::source::{File, Key, Place, Row, TABLES};
use crate::store::Step;

/// Something in the application's queue.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Change(Step),
    /// The end of a transaction, or a checkpoint.
    Commit {
        id: CommitId,
        cursor: Option<Cursor>,
    },
    /// The end of the copy of this pass.
    CopyCompleted {
        id: CommitId,
        cursor: Cursor,
        pass: u64,
    },
    Other,
}

/// A blob that is being written.
#[derive(Debug)]
pub(crate) struct Blob {
    /// `None`: no file of this publisher has such an id.
    pub(crate) file: Option<File>,
    pub(crate) content: Vec<u8>,
    pub(crate) is_failing: bool,
    /// Whether it is saved or failed is on its way.
    pub(crate) is_settling: bool,
}

pub(crate) struct Host {
    pub(crate) epoch: u64,
    pub(crate) receiver: Receiver,
    pub(crate) model: Model,
    pub(crate) is_connected: bool,
    /// The publisher has sent what it should not: nothing can be compared.
    pub(crate) is_tainted: bool,
    /// How much of what was expected was handed out.
    pub(crate) handed_out: u64,
    /// The copies of which was known that they have begun and ended.
    pub(crate) copies: [u64; 2],
    /// The link asked for what comes after a position.
    has_start: bool,
    /// The last place of a copy, in its order, that was handed out.
    last_row: Option<Place>,
    pub(crate) queue: VecDeque<Item>,
    /// Events that are not consumed to their end, oldest first, with how much of them is left.
    pub(crate) held: VecDeque<(u64, Event)>,
    pub(crate) staged: Vec<Step>,
    pub(crate) blobs: BTreeMap<BlobId, Blob>,
    /// The copy that rows belong to, as far as it was handed out.
    handed_pass: Option<u64>,
}

impl Host {
    pub(crate) fn new(epoch: u64, receiver: Receiver, model: Model, start: &Start) -> Self {
        let has_start = match start {
            Start::Copy => false,
            Start::At(sequence) => sequence.0 > 1.0,
            Start::Resume(cursor) => cursor.copy.is_none() && cursor.sequence.0 > 1.0,
        };
        Self {
            epoch,
            receiver,
            model,
            is_connected: false,
            is_tainted: false,
            handed_out: 0,
            copies: [0; 2],
            has_start,
            last_row: None,
            queue: VecDeque::new(),
            held: VecDeque::new(),
            staged: Vec::new(),
            blobs: BTreeMap::new(),
            handed_pass: None,
        }
    }

    /// So many events are consumed.
    pub(crate) fn release(&mut self, events: u64) {
        let mut left = events;
        while left > 0
            && let Some((count, _)) = self.held.front_mut()
        {
            let taken = left.min(*count);
            left -= taken;
            *count -= taken;
            if *count == 0 {
                self.held.pop_front();
            }
        }
    }

    /// What the link is at.
    pub(crate) fn state(&self) -> LinkState {
        let receiver = &self.receiver;
        match () {
            () if receiver.is_closed() => LinkState::Closed,
            () if !self.is_connected => LinkState::Dialled,
            () if self.model.is_draining() => LinkState::Draining,
            () if receiver.peer().is_none() => LinkState::Greeting,
            () if !receiver.is_set_up() => LinkState::Subscribing,
            () if receiver.is_copying() => LinkState::Copying,
            () => LinkState::Following,
        }
    }

    /// The link may end for what the publisher does.
    pub(crate) const fn may_blame_peer(&mut self) {
        self.model.trust = Trust::Unknown;
    }

    /// Puts an event into the queue, after comparing it with what the publisher has sent.
    pub(crate) fn queue(&mut self, event: Event, expected: &mut VecDeque<Expected>) -> Result {
        let item = match event {
            Event::Records(records) => {
                for record in &records {
                    let item = match self.change(&record, expected) {
                        Err(_) if self.is_tainted => Item::Other,
                        change => change?,
                    };
                    self.queue.push_back(item);
                }
                return Ok(());
            }
            Event::EndTransaction(end) => {
                let sequence = end.sequence.map(|sequence| sequence.0);
                self.expect(expected, &Expected::End(sequence))?;
                self.check_copy(end.cursor.as_ref())?;
                Item::Commit {
                    id: end.id,
                    cursor: end.cursor,
                }
            }
            Event::Checkpoint(checkpoint) => {
                self.check_copy(Some(&checkpoint.cursor))?;
                Item::Commit {
                    id: checkpoint.id,
                    cursor: Some(checkpoint.cursor),
                }
            }
            Event::CopyStarted(started) => {
                let pass = started
                    .copy_start
                    .map_or(self.epoch, |start| start.0.to_bits());
                self.handed_pass = Some(pass);
                self.last_row = None;
                if started.copy_start.is_some() {
                    let resumed = started.resumed;
                    self.expect(expected, &Expected::Copy { resumed })?;
                }
                hold(
                    "copies",
                    started.forced == self.has_start || self.is_tainted,
                    || format!("{started:?}, and a start was given: {}", self.has_start),
                )?;
                if started.resumed {
                    Item::Other
                } else {
                    Item::Change(Step::Forget)
                }
            }
            Event::CopyCompleted(checkpoint) => {
                let pass = self.handed_pass.take();
                Item::CopyCompleted {
                    id: checkpoint.id,
                    cursor: checkpoint.cursor,
                    pass: pass.ok_or_else(|| {
                        Violation::new("order", "the end of a copy that did not begin")
                    })?,
                }
            }
            Event::RecordSkipped(_) => {
                self.expect(expected, &Expected::Undecodable)?;
                Item::Other
            }
            _ => Item::Other,
        };
        self.queue.push_back(item);
        Ok(())
    }

    /// A cursor inside a copy is at a row that was handed out, or at one of an earlier link.
    fn check_copy(&self, cursor: Option<&Cursor>) -> Result {
        let Some(copy) = cursor.and_then(|cursor| cursor.copy.as_ref()) else {
            return Ok(());
        };
        let table = TABLES.iter().position(|table| **table == *copy.table);
        let place = table.zip(Key::read(&copy.after_key));
        let is_behind = self.last_row.is_none() || place <= self.last_row;
        hold(
            "copies",
            self.is_tainted || (place.is_some() && is_behind),
            || {
                format!(
                    "a cursor at {copy:?}, and the last row is {:?}",
                    self.last_row
                )
            },
        )
    }

    fn change(&mut self, record: &Record<'_>, expected: &mut VecDeque<Expected>) -> Result<Item> {
        let unreadable = |what: &dyn std::fmt::Display| {
            Violation::new("order", format!("unreadable record: {what}"))
        };
        let table = TABLES
            .iter()
            .position(|table| **table == **record.table().name());
        let table = table.ok_or_else(|| unreadable(record.table().name()))?;
        let key = Key::read(record.key_bytes()).ok_or_else(|| unreadable(&"no such key"))?;
        let version = record.version().0;
        let mut row = None;
        if let Some(value) = record.value() {
            let mark = value.field("n").map_err(|error| unreadable(&error))?;
            let mark = mark
                .and_then(|mark| mark.as_f64())
                .ok_or_else(|| unreadable(&"no mark"))?;
            let mut file = None;
            value
                .blob_references(|reference| file = File::read(reference.file_id))
                .map_err(|error| unreadable(&error))?;
            row = Some(Row {
                version,
                mark: mark as u32,
                file,
            });
        }
        let place = (table, key);
        if self.handed_pass.is_some() {
            self.last_row = self.last_row.max(Some(place));
        }
        self.expect(
            expected,
            &Expected::Record {
                place,
                version,
                row,
            },
        )?;
        Ok(Item::Change(Step::Apply {
            place,
            version,
            row,
            pass: self.handed_pass,
        }))
    }

    /// The next thing in the publisher's log is this one.
    fn expect(&mut self, expected: &mut VecDeque<Expected>, actual: &Expected) -> Result {
        if self.is_tainted {
            return Ok(());
        }
        self.handed_out += 1;
        let next = expected.pop_front();
        hold("order", next.as_ref() == Some(actual), || {
            format!("{actual:?} instead of {next:?}")
        })
    }
}
