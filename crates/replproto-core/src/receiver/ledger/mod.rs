//! What may be kept: the order of transactions, what each still waits for, and the cursor that follows from it.
//!
//! A transaction is *settled* once it is committed and every blob that it refers to is saved or gone. The cursor covers a
//! prefix of settled transactions only. It moves in three steps: the application gets it (with the end of a transaction, or
//! as a checkpoint), says that it is durable, and only then is it confirmed to the peer.

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;

use crate::cursor::{CopyCursor, Cursor};
use crate::time::{Instant, Sequence};

/// What the end of a transaction does to the cursor once everything up to it is settled.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Advance {
    /// The position in the log, as the peer has sent it.
    pub(super) sequence: Option<Sequence>,
    /// A position that it has not sent: the cursor moves there, and the peer is told nothing of it.
    pub(super) inferred: Option<Sequence>,
    /// The progress of a base copy.
    pub(super) copy: Option<CopyStep>,
}

/// A step of a base copy.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum CopyStep {
    /// All rows up to this one are there.
    At(Box<CopyCursor>),
    /// All rows are there, and the log goes on from here.
    Complete(Sequence),
}

impl Advance {
    /// First this, then `later`.
    fn then(&mut self, later: Self) {
        self.sequence = max(self.sequence, later.sequence);
        self.inferred = max(self.inferred, later.inferred);
        if later.copy.is_some() {
            self.copy = later.copy;
        }
    }
}

fn max(a: Option<Sequence>, b: Option<Sequence>) -> Option<Sequence> {
    match (a, b) {
        (Some(a), Some(b)) if b < a => Some(a),
        (a, None) => a,
        (_, b) => b,
    }
}

/// The longest record id in bytes that a transaction which waits for blobs keeps as the place of a copy.
const WAITING_KEY_MAX: usize = 128;

#[derive(Debug, Default)]
struct Transaction {
    /// When its first record was handed out.
    since: Instant,
    is_ended: bool,
    is_committed: bool,
    /// References to blobs that are neither saved nor gone.
    blobs: u32,
    /// What follows once this and everything before it is settled. Includes that of later transactions which are settled
    /// already: they have no entry of their own any more.
    advance: Advance,
    /// The newest step that `advance` includes.
    step: u64,
}

impl Transaction {
    const fn is_settled(&self) -> bool {
        self.is_ended && self.is_committed && self.blobs == 0
    }

    /// What follows this one follows now with it. There may be many that wait for blobs, so those keep no long place of a
    /// copy: one that is interrupted meanwhile goes on from an earlier row.
    fn then(&mut self, mut later: Advance, step: u64) {
        if let Some(CopyStep::At(copy)) = &later.copy
            && self.blobs > 0
            && copy.after_key.len() > WAITING_KEY_MAX
        {
            later.copy = None;
        }
        self.advance.then(later);
        self.step = step;
    }
}

/// A cursor, and the newest step that it includes. Steps are counted where transactions end and where the cursor moves
/// without one, so that of two cursors it is known which is ahead.
#[derive(Clone, Debug)]
struct Position {
    cursor: Cursor,
    step: u64,
}

impl Position {
    /// Moves. The sequence never goes back (`protocol.md` section 8.1).
    fn apply(&mut self, advance: Advance, step: u64) {
        self.step = step;
        let mut sequence = advance.sequence;
        match advance.copy {
            None => {}
            Some(CopyStep::At(copy)) => self.cursor.copy = Some(copy),
            Some(CopyStep::Complete(end)) => {
                self.cursor.copy = None;
                sequence = max(Some(end), sequence);
            }
        }
        let cursor = &mut self.cursor;
        for position in [sequence, advance.inferred].into_iter().flatten() {
            if cursor.sequence < position {
                cursor.sequence = position;
            }
        }
        if let Some(sequence) = sequence
            && cursor.announced < sequence
        {
            cursor.announced = sequence;
        }
    }

    /// Whether this cursor is worth storing after `other`.
    fn is_ahead_of(&self, other: &Self) -> bool {
        self.step > other.step && self.cursor != other.cursor
    }
}

/// A cursor that was handed out is durable.
#[derive(Debug, PartialEq)]
pub(super) struct Persisted(pub(super) Cursor);

/// An acknowledgement for something that was never handed out.
#[derive(Debug, PartialEq)]
pub(super) struct NeverHandedOut;

#[derive(Debug)]
pub(super) struct Ledger {
    now: Instant,
    /// The number that the next commit gets.
    next: u64,
    /// Transactions that are not settled, and settled ones that are counted with them. At most one for each transaction
    /// that is out and for each reference to a blob that is outstanding.
    transactions: BTreeMap<u64, Transaction>,
    /// What was handed out and is not durable, with the cursor that goes with it.
    out: BTreeMap<u64, Option<Cursor>>,
    /// How many of those go with a cursor.
    cursors_out: usize,
    /// The newest step.
    step: u64,
    /// Where the settled prefix ends.
    reached: Position,
    /// The newest cursor that the application has been given.
    handed: Position,
    /// The transaction that records belong to now.
    open: Option<u64>,
    /// The end of a base copy is settled, and the application has not been told.
    copy_completed: bool,
    /// The newest cursor that is durable, with the number of its commit.
    durable: Option<(Option<u64>, Cursor)>,
}

impl Ledger {
    /// A link that starts from this cursor, which is stored or only asked for.
    pub(super) fn new(start: Cursor, is_durable: bool) -> Self {
        let durable = is_durable.then(|| (None, start.clone()));
        let start = Position {
            cursor: start,
            step: 0,
        };
        Self {
            now: Instant::ZERO,
            next: 0,
            transactions: BTreeMap::new(),
            out: BTreeMap::new(),
            cursors_out: 0,
            step: 0,
            handed: start.clone(),
            reached: start,
            open: None,
            copy_completed: false,
            durable,
        }
    }

    pub(super) const fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Since when the oldest transaction is here that is not settled.
    pub(super) fn unsettled_since(&self) -> Option<Instant> {
        let (_, oldest) = self.transactions.first_key_value()?;
        Some(oldest.since)
    }

    /// The transaction that a record belongs to. Begins one if none is open.
    pub(super) fn transaction(&mut self) -> u64 {
        if let Some(number) = self.open {
            return number;
        }
        let number = self.next;
        self.next += 1;
        self.open = Some(number);
        let transaction = Transaction {
            since: self.now,
            ..Transaction::default()
        };
        self.transactions.insert(number, transaction);
        number
    }

    /// The open transaction ends. Gives its number, and the cursor to store with it if there is a new one.
    pub(super) fn end(&mut self, advance: Advance) -> (u64, Option<Cursor>) {
        let number = self.transaction();
        self.open = None;
        self.step += 1;
        let first = self.transactions.first_key_value();
        let is_first = first.is_none_or(|(first, _)| *first == number);
        let mut position = self.reached.clone();
        let completes = matches!(advance.copy, Some(CopyStep::Complete(_)));
        let Some(transaction) = self.transactions.get_mut(&number) else {
            debug_assert!(false, "the open transaction has an entry");
            return (number, None);
        };
        transaction.is_ended = true;
        if is_first && transaction.blobs == 0 && !completes {
            position.apply(advance.clone(), self.step);
        }
        transaction.then(advance, self.step);
        // The end of a copy is told by an event of its own, which no cursor may overtake.
        let is_new = position.is_ahead_of(&self.handed) && !self.copy_completed;
        let cursor = is_new.then(|| position.cursor.clone());
        if is_new {
            self.handed = position;
            self.cursors_out += 1;
        }
        self.out.insert(number, cursor.clone());
        (number, cursor)
    }

    /// The cursor moves although no transaction ends: once all that is before it is settled.
    pub(super) fn mark(&mut self, advance: Advance) {
        self.step += 1;
        match self.transactions.last_entry() {
            Some(mut last) => last.get_mut().then(advance, self.step),
            None => self.reach(advance, self.step),
        }
    }

    /// A base copy begins anew: nothing that its last pass would have moved counts any more. A store has forgotten what
    /// that pass had seen, so a cursor in it, stored from now on, would lead to a copy that removes what it did not see.
    pub(super) fn discard_copy(&mut self) {
        for transaction in self.transactions.values_mut() {
            transaction.advance = Advance::default();
        }
        if self.reached.is_ahead_of(&self.handed) {
            self.reached.cursor = self.handed.cursor.clone();
        }
    }

    /// The open transaction refers to one more blob that is not saved.
    pub(super) fn wait_for_blob(&mut self, number: u64) {
        if let Some(transaction) = self.transactions.get_mut(&number) {
            transaction.blobs += 1;
        }
    }

    /// A blob that this transaction waited for is saved or gone.
    pub(super) fn blob_settled(&mut self, number: u64) {
        if let Some(transaction) = self.transactions.get_mut(&number) {
            debug_assert!(transaction.blobs > 0);
            transaction.blobs = transaction.blobs.saturating_sub(1);
            self.settle(number);
        }
    }

    /// What has this number is durable. `Ok(None)`: it carried no cursor, or was acknowledged before.
    pub(super) fn committed(&mut self, number: u64) -> Result<Option<Persisted>, NeverHandedOut> {
        if number >= self.next || self.open == Some(number) {
            return Err(NeverHandedOut);
        }
        let Some(cursor) = self.out.remove(&number) else {
            return Ok(None);
        };
        if let Some(transaction) = self.transactions.get_mut(&number) {
            transaction.is_committed = true;
            self.settle(number);
        }
        self.cursors_out -= usize::from(cursor.is_some());
        if let Some(cursor) = &cursor {
            let newest = self.durable.as_ref().and_then(|(number, _)| *number);
            if newest < Some(number) {
                self.durable = Some((Some(number), cursor.clone()));
            }
        }
        Ok(cursor.map(Persisted))
    }

    /// The newest cursor that is durable.
    pub(super) fn durable(&self) -> Option<&Cursor> {
        self.durable.as_ref().map(|(_, cursor)| cursor)
    }

    fn settle(&mut self, number: u64) {
        let Entry::Occupied(transaction) = self.transactions.entry(number) else {
            return;
        };
        if !transaction.get().is_settled() {
            return;
        }
        let settled = transaction.remove();
        // Mostly it was the first one, which is cheap to see.
        let first = self.transactions.first_key_value();
        let before = match first {
            Some((first, _)) if *first < number => {
                self.transactions.range_mut(..number).next_back()
            }
            _ => None,
        };
        match before {
            Some((_, before)) => before.then(settled.advance, settled.step),
            None => self.reach(settled.advance, settled.step),
        }
    }

    fn reach(&mut self, advance: Advance, step: u64) {
        if self.reached.step < self.handed.step && step >= self.handed.step {
            // What was handed out is settled now, also what has been discarded since.
            self.reached = self.handed.clone();
        }
        self.copy_completed |= matches!(advance.copy, Some(CopyStep::Complete(_)));
        self.reached.apply(advance, step);
    }

    /// The cursor that should be stored by itself now: between transactions, when no cursor is under way that
    /// the application could store instead.
    pub(super) fn has_checkpoint(&self) -> bool {
        self.open.is_none()
            && (self.copy_completed
                || (self.cursors_out == 0 && self.reached.is_ahead_of(&self.handed)))
    }

    /// Whether that cursor ends a base copy: then it must not wait for a transaction to carry it, which none may.
    pub(super) const fn has_copy_end(&self) -> bool {
        self.copy_completed
    }

    /// Hands out that cursor. Gives its number, whether it ends a base copy, and the cursor.
    pub(super) fn checkpoint(&mut self) -> (u64, bool, Cursor) {
        let number = self.next;
        self.next += 1;
        self.handed = self.reached.clone();
        self.cursors_out += 1;
        let cursor = self.handed.cursor.clone();
        self.out.insert(number, Some(cursor.clone()));
        (number, core::mem::take(&mut self.copy_completed), cursor)
    }

    /// Commits that were handed out and are not durable.
    pub(super) fn commits_out(&self) -> u64 {
        self.out.len() as u64
    }

    /// Whether everything that was handed out is durable and the application has the newest cursor.
    pub(super) fn is_quiet(&self) -> bool {
        self.out.is_empty() && !self.has_checkpoint()
    }
}
