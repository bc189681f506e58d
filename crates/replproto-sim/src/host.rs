//! The receiving process while it runs: a link, the queue of the application, and blobs that are being written.

use std::collections::{BTreeMap, VecDeque};

use replproto_core::{BlobId, CommitId, Cursor, Event, Receiver, Record};

use crate::oracles::{Result, Shadow, Violation, hold};
use crate::peer::Expected;
use crate::source::{Row, TABLES};
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
    pub(crate) file: String,
    pub(crate) content: Vec<u8>,
    pub(crate) is_failing: bool,
}

pub(crate) struct Host {
    pub(crate) epoch: u64,
    pub(crate) receiver: Receiver,
    pub(crate) shadow: Shadow,
    pub(crate) queue: VecDeque<Item>,
    pub(crate) staged: Vec<Step>,
    pub(crate) blobs: BTreeMap<BlobId, Blob>,
    /// The copy that rows belong to, as far as it was handed out.
    handed_pass: Option<u64>,
}

impl Host {
    pub(crate) fn new(epoch: u64, receiver: Receiver, shadow: Shadow) -> Self {
        Self {
            epoch,
            receiver,
            shadow,
            queue: VecDeque::new(),
            staged: Vec::new(),
            blobs: BTreeMap::new(),
            handed_pass: None,
        }
    }

    /// Puts an event into the queue, after comparing it with what the publisher has sent.
    pub(crate) fn queue(&mut self, event: Event, expected: &mut VecDeque<Expected>) -> Result {
        let item = match event {
            Event::Record(record) => self.change(&record, expected)?,
            Event::EndTransaction(end) => {
                let sequence = end.sequence.map(|sequence| sequence.0);
                expect(expected, &Expected::End(sequence))?;
                Item::Commit {
                    id: end.id,
                    cursor: end.cursor,
                }
            }
            Event::Checkpoint(checkpoint) => Item::Commit {
                id: checkpoint.id,
                cursor: Some(checkpoint.cursor),
            },
            Event::CopyStarted(started) => {
                let pass = started
                    .copy_start
                    .map_or(self.epoch, |start| start.0.to_bits());
                self.handed_pass = Some(pass);
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
                expect(expected, &Expected::Undecodable)?;
                Item::Other
            }
            _ => Item::Other,
        };
        self.queue.push_back(item);
        Ok(())
    }

    fn change(&self, record: &Record, expected: &mut VecDeque<Expected>) -> Result<Item> {
        let unreadable = |what: &dyn std::fmt::Display| {
            Violation::new("order", format!("unreadable record: {what}"))
        };
        let table = TABLES
            .iter()
            .position(|table| **table == **record.table().name());
        let table = table.ok_or_else(|| unreadable(record.table().name()))?;
        let key = String::from_utf8_lossy(record.key_bytes()).into_owned();
        let version = record.version().0;
        let mut row = None;
        if let Some(value) = record.value() {
            let mark = value.field("n").map_err(|error| unreadable(&error))?;
            let mark = mark
                .and_then(|mark| mark.as_f64())
                .ok_or_else(|| unreadable(&"no mark"))?;
            let mut file = None;
            value
                .blob_references(|reference| file = Some(reference.file_id.to_owned()))
                .map_err(|error| unreadable(&error))?;
            row = Some(Row {
                version,
                mark: mark as u32,
                file,
            });
        }
        let place = (table, key);
        expect(
            expected,
            &Expected::Record {
                place: place.clone(),
                version,
                row: row.clone(),
            },
        )?;
        Ok(Item::Change(Step::Apply {
            place,
            version,
            row,
            pass: self.handed_pass,
        }))
    }
}

/// The next thing in the publisher's log is this one.
fn expect(expected: &mut VecDeque<Expected>, actual: &Expected) -> Result {
    let next = expected.pop_front();
    hold("order", next.as_ref() == Some(actual), || {
        format!("{actual:?} instead of {next:?}")
    })
}
