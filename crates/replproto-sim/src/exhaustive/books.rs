//! What must come out of the receiver, computed as simply as possible: which transactions are settled, and so where the
//! cursor is. Nothing is counted ahead; every question is answered by looking at all transactions again.

use std::collections::VecDeque;
use std::time::Duration;

use replproto_core::event::{BlobFailure, BlobFault, Checkpoint, EndTransaction};
use replproto_core::wire::Message;
use replproto_core::{CommitId, Cursor, Record};

use super::wire::{FILES, Wire};
use crate::oracles::{Result, Violation, hold};

/// How far below a version the cursor may be that follows from it.
pub(super) const MARGIN: Duration = Duration::from_micros(500);

/// Where the link starts.
pub(super) const START: f64 = 1.0;

/// A blob's file, as far as the receiver has told or was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    Unseen,
    /// Handed to the store, which has not finished with it.
    Arriving,
    Failed,
    /// For ever: nothing that comes later can unsettle it.
    Saved,
}

/// A commit that is out.
#[derive(Debug)]
struct Commit {
    id: CommitId,
    cursor: Option<f64>,
    /// What of it the publisher has sent.
    announced: f64,
    /// The transaction; `None` for a checkpoint.
    transaction: Option<usize>,
}

#[derive(Debug)]
pub(super) struct Books<'a> {
    wire: &'a Wire,
    /// For each transaction whose record is out: whether it is durable.
    committed: Vec<bool>,
    /// The last of them has not ended.
    is_open: bool,
    files: [File; FILES.len()],
    commits: VecDeque<Commit>,
    /// The newest cursor that was handed out, is durable, is confirmed.
    handed: f64,
    persisted: f64,
    /// What of that the publisher has sent.
    announced: f64,
    confirmed: f64,
    /// Failed transfers that have not been reported.
    unreported: u32,
}

impl<'a> Books<'a> {
    pub(super) const fn new(wire: &'a Wire) -> Self {
        Self {
            wire,
            committed: Vec::new(),
            is_open: false,
            files: [File::Unseen; FILES.len()],
            commits: VecDeque::new(),
            handed: START,
            persisted: START,
            announced: START,
            confirmed: START,
            unreported: 0,
        }
    }

    /// The oldest commit that is out.
    pub(super) fn oldest_commit(&self) -> Option<CommitId> {
        self.commits.front().map(|commit| commit.id)
    }

    /// Whether something durable is not confirmed.
    pub(super) const fn owes_confirmation(&self) -> bool {
        self.announced > self.confirmed
    }

    /// Whether a transaction waits for a blob of which nothing has come.
    pub(super) fn awaits_blob(&self) -> bool {
        (0..self.committed.len()).any(|number| self.file(number) == File::Unseen)
    }

    fn file(&self, transaction: usize) -> File {
        self.files[transaction % FILES.len()]
    }

    /// The position up to which these first transactions are settled, and whether all of them are.
    fn settled(&self, transactions: usize) -> (f64, bool) {
        let mut reached = START;
        for number in 0..transactions {
            let has_ended = !self.is_open || number + 1 < self.committed.len();
            if !has_ended || !self.committed[number] || self.file(number) != File::Saved {
                return (reached, false);
            }
            reached = self.position(number).max(reached);
        }
        (reached, true)
    }

    /// The position that a transaction tells, or the one that follows from its version once the next has begun, if any.
    fn position(&self, transaction: usize) -> f64 {
        let sent = &self.wire.transactions[transaction];
        let has_next = self.committed.len() > transaction + 1;
        let inferred = has_next.then(|| sent.version - MARGIN.as_secs_f64() * 1000.0);
        sent.sequence.or(inferred).unwrap_or(START)
    }

    /// The newest position up to this one that the publisher has sent.
    fn sent_until(&self, position: f64) -> f64 {
        let sent = self.wire.transactions.iter().filter_map(|it| it.sequence);
        sent.filter(|sequence| *sequence <= position)
            .fold(START, f64::max)
    }

    pub(super) fn record(&mut self, record: &Record<'_>) -> Result {
        let number = self.committed.len();
        hold("order", !self.is_open, || {
            format!("record {number} before the end of the last transaction")
        })?;
        let sent = self.wire.transactions.get(number);
        let is_next = sent.is_some_and(|sent| {
            record.version().0 == sent.version
                && record.value().map(|value| value.bytes()) == Some(&sent.value)
        });
        hold("order", is_next, || {
            format!("{record:?} instead of that of transaction {number}")
        })?;
        self.committed.push(false);
        self.is_open = true;
        Ok(())
    }

    pub(super) fn end(&mut self, end: &EndTransaction) -> Result {
        hold("order", self.is_open, || {
            format!("{end:?} without a record")
        })?;
        let number = self.committed.len() - 1;
        let sequence = end.sequence.map(|sequence| sequence.0);
        let sent = self.wire.transactions[number].sequence;
        hold("order", sequence == sent, || {
            format!("transaction {number} ends at {sequence:?}, not {sent:?}")
        })?;
        let (mut cursor, is_prefix) = self.settled(number);
        if is_prefix && self.file(number) == File::Saved {
            cursor = self.position(number).max(cursor);
        }
        let cursor = (cursor > self.handed).then_some(cursor);
        self.is_open = false;
        self.hand_out(end.id, end.cursor.as_ref(), cursor, Some(number))
    }

    pub(super) fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result {
        let due = self.checkpoint_due();
        hold("durability", due.is_some(), || {
            format!("{checkpoint:?} is not due")
        })?;
        self.hand_out(checkpoint.id, Some(&checkpoint.cursor), due, None)
    }

    /// A commit goes out, with exactly the cursor that it has to have.
    fn hand_out(
        &mut self,
        id: CommitId,
        actual: Option<&Cursor>,
        expected: Option<f64>,
        transaction: Option<usize>,
    ) -> Result {
        let sequence = actual.map(|cursor| cursor.sequence.0);
        hold("durability", sequence == expected, || {
            format!("{id} has the cursor {sequence:?}, not {expected:?}")
        })?;
        let announced = self.sent_until(expected.unwrap_or(START));
        let is_right = actual.is_none_or(|cursor| cursor.announced.0.max(START) == announced);
        hold("durability", is_right, || {
            format!("{id} has {actual:?}, of which {announced} was sent")
        })?;
        let has_copy = actual.is_some_and(|cursor| cursor.copy.is_some());
        hold("copies", !has_copy, || format!("{id} belongs to a copy"))?;
        self.handed = expected.unwrap_or(self.handed);
        self.commits.push_back(Commit {
            id,
            cursor: expected,
            announced,
            transaction,
        });
        Ok(())
    }

    /// The cursor that has to go out by itself.
    fn checkpoint_due(&self) -> Option<f64> {
        let is_free = !self.is_open && self.commits.iter().all(|commit| commit.cursor.is_none());
        let (reached, _) = self.settled(self.committed.len());
        (is_free && reached > self.handed).then_some(reached)
    }

    /// The oldest commit is durable.
    pub(super) fn commit(&mut self) {
        if let Some(commit) = self.commits.pop_front() {
            if let Some(number) = commit.transaction {
                self.committed[number] = true;
            }
            self.persisted = commit.cursor.unwrap_or(START).max(self.persisted);
            self.announced = commit.announced.max(self.announced);
        }
    }

    /// Something is sent to the peer: after the set-up, only confirmations.
    pub(super) fn transmit(&mut self, bytes: &[u8]) -> Result {
        let message = Message::decode(bytes)
            .map_err(|error| Violation::new("protocol", format!("{error} in {bytes:02x?}")))?;
        let Message::CommittedUpdate(sequence) = message else {
            return Err(Violation::new("protocol", format!("{message:?} is sent")));
        };
        let durable = self.announced;
        hold("durability", sequence.0 == durable, || {
            format!("{sequence} confirmed, {durable} was sent and is durable")
        })?;
        hold("durability", self.owes_confirmation(), || {
            format!("{sequence} confirmed twice")
        })?;
        self.confirmed = sequence.0;
        Ok(())
    }

    /// A transfer begins. Gives whether the file failed before.
    pub(super) fn open(&mut self, file: usize) -> Result<bool> {
        let before = self.files[file];
        hold(
            "blobs",
            matches!(before, File::Unseen | File::Failed),
            || format!("{} begins while it is {before:?}", FILES[file]),
        )?;
        self.files[file] = File::Arriving;
        Ok(before == File::Failed)
    }

    pub(super) const fn saved(&mut self, file: usize) {
        self.files[file] = File::Saved;
    }

    /// A transfer fails, which is to be reported.
    pub(super) const fn failed(&mut self, file: usize) {
        self.files[file] = File::Failed;
        self.unreported += 1;
    }

    /// A failure is reported: once, and never as final, since the publisher has not failed.
    pub(super) fn report(&mut self, failure: &BlobFailure) -> Result {
        if failure.blob.is_some() {
            hold("blobs", self.unreported > 0, || {
                format!("{failure:?} is reported and has not happened")
            })?;
            self.unreported -= 1;
            return Ok(());
        }
        let file = FILES.iter().position(|file| *file == &*failure.file);
        let file = file.filter(|file| {
            self.files[*file] == File::Unseen
                && self.committed.len() > *file
                && failure.fault == BlobFault::Idle
        });
        let Some(file) = file else {
            return Err(Violation::new("blobs", format!("{failure:?}")));
        };
        self.files[file] = File::Failed;
        Ok(())
    }

    /// Whether the cursor is held by a blob that failed.
    pub(super) fn has_gap(&self) -> bool {
        (0..self.committed.len()).any(|number| self.file(number) == File::Failed)
    }

    /// Nothing holds the receiver back and it has nothing to do: then all that was given to it is out.
    pub(super) fn check_complete(&self, given: usize) -> Result {
        let ended = self.committed.len() - usize::from(self.is_open);
        hold("completeness", ended == given, || {
            format!("{ended} transactions are out, not {given}")
        })?;
        let due = self.checkpoint_due();
        hold("completeness", due.is_none(), || {
            format!("the cursor {due:?} is not out")
        })?;
        hold("completeness", self.unreported == 0, || {
            format!("{} failures are not reported", self.unreported)
        })
    }

    /// All was taken and made durable: then the cursor is where the first unsettled transaction begins.
    pub(super) fn check_durable(&self) -> Result {
        let (reached, persisted) = (self.settled(self.committed.len()).0, self.persisted);
        hold("completeness", reached == persisted, || {
            format!("{persisted} is durable, not {reached}")
        })
    }
}
