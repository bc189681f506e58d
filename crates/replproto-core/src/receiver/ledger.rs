//! What may be kept: the order of transactions, what each still waits for, and the cursor that follows from it.
//!
//! A transaction is *settled* once it is committed and every blob that it refers to is saved or gone. The cursor covers a
//! prefix of settled transactions only. It moves in three steps: the application gets it (with the end of a transaction, or
//! as a checkpoint), says that it is durable, and only then is it confirmed to the peer.

use alloc::collections::BTreeMap;

use crate::cursor::{CopyCursor, Cursor};
use crate::time::Sequence;

/// What the end of a transaction does to the cursor once everything up to it is settled.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Advance {
    /// The position in the log.
    pub(super) sequence: Option<Sequence>,
    /// The progress of a base copy.
    pub(super) copy: Option<CopyStep>,
}

/// A step of a base copy.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum CopyStep {
    /// All rows up to this one are there.
    At(CopyCursor),
    /// All rows are there, and the log goes on from here.
    Complete(Sequence),
}

impl Advance {
    /// First this, then `later`.
    fn then(&mut self, later: Self) {
        self.sequence = max(self.sequence, later.sequence);
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

#[derive(Debug, Default)]
struct Transaction {
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

    /// What follows this one follows now with it.
    fn then(&mut self, later: Advance, step: u64) {
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
        if let Some(sequence) = max(Some(self.cursor.sequence), sequence) {
            self.cursor.sequence = sequence;
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
}

impl Ledger {
    pub(super) fn new(start: Cursor) -> Self {
        let start = Position {
            cursor: start,
            step: 0,
        };
        Self {
            next: 0,
            transactions: BTreeMap::new(),
            out: BTreeMap::new(),
            cursors_out: 0,
            step: 0,
            handed: start.clone(),
            reached: start,
            open: None,
            copy_completed: false,
        }
    }

    /// The transaction that a record belongs to. Begins one if none is open.
    pub(super) fn transaction(&mut self) -> u64 {
        if let Some(number) = self.open {
            return number;
        }
        let number = self.next;
        self.next += 1;
        self.open = Some(number);
        self.transactions.insert(number, Transaction::default());
        number
    }

    /// The open transaction ends. Gives its number, and the cursor to store with it if there is a new one.
    pub(super) fn end(&mut self, advance: Advance) -> (u64, Option<Cursor>) {
        let number = self.transaction();
        self.open = None;
        self.step += 1;
        let is_first = self.transactions.range(..number).next().is_none();
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
        transaction.advance = advance;
        transaction.step = self.step;
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
        Ok(cursor.map(Persisted))
    }

    fn settle(&mut self, number: u64) {
        if !self
            .transactions
            .get(&number)
            .is_some_and(Transaction::is_settled)
        {
            return;
        }
        let Some(settled) = self.transactions.remove(&number) else {
            return;
        };
        match self.transactions.range_mut(..number).next_back() {
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

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::time::WallTime;
    use proptest::prelude::*;

    fn ledger() -> Ledger {
        Ledger::new(Cursor::at(Sequence(0.0)))
    }

    fn at(sequence: f64) -> Advance {
        Advance {
            sequence: Some(Sequence(sequence)),
            copy: None,
        }
    }

    fn row(key: &'static [u8]) -> Advance {
        Advance {
            sequence: None,
            copy: Some(CopyStep::At(CopyCursor {
                copy_start: WallTime(7.0),
                table: "Dog".into(),
                after_key: bytes::Bytes::from_static(key),
                order: 1,
            })),
        }
    }

    fn sequence(cursor: Option<Cursor>) -> Option<f64> {
        cursor.map(|cursor| cursor.sequence.0)
    }

    #[test]
    fn a_cursor_shares_the_transaction_when_nothing_is_before_it() {
        let mut ledger = ledger();
        let (first, cursor) = ledger.end(at(5.0));
        assert_eq!(sequence(cursor), Some(5.0));
        // The first is not durable, so the second has nothing new to store.
        let (second, cursor) = ledger.end(at(6.0));
        assert_eq!(cursor, None);
        assert!(ledger.committed(first).unwrap().is_some());
        assert_eq!(ledger.committed(second), Ok(None));
        assert!(ledger.has_checkpoint());
        let (number, ends_copy, cursor) = ledger.checkpoint();
        assert_eq!((ends_copy, cursor.sequence.0), (false, 6.0));
        assert!(ledger.committed(number).unwrap().is_some());
        assert!(ledger.is_quiet());
    }

    #[test]
    fn progress_rides_on_the_next_transaction() {
        let mut ledger = ledger();
        let (first, _) = ledger.end(at(5.0));
        let (second, _) = ledger.end(at(6.0));
        let (third, _) = ledger.end(at(7.0));
        ledger.committed(first).unwrap();
        ledger.committed(second).unwrap();
        // The third is not durable, but what is before it is.
        let (_, cursor) = ledger.end(at(8.0));
        assert_eq!(sequence(cursor), Some(6.0));
        assert!(third > second);
    }

    #[test]
    fn i5_the_cursor_never_passes_a_blob_that_is_not_saved() {
        let mut ledger = ledger();
        let waiting = ledger.transaction();
        ledger.wait_for_blob(waiting);
        assert_eq!(ledger.end(at(5.0)), (waiting, None));
        let (after, cursor) = ledger.end(at(6.0));
        assert_eq!(cursor, None);
        ledger.committed(waiting).unwrap();
        ledger.committed(after).unwrap();
        ledger.mark(at(9.0));
        assert!(!ledger.has_checkpoint());
        ledger.blob_settled(waiting);
        assert_eq!(ledger.checkpoint().2.sequence.0, 9.0);
    }

    #[test]
    fn no_cursor_goes_out_within_a_transaction() {
        let mut ledger = ledger();
        ledger.mark(at(3.0));
        assert!(ledger.has_checkpoint());
        ledger.transaction();
        assert!(!ledger.has_checkpoint());
    }

    #[test]
    fn the_end_of_a_copy_is_an_event_of_its_own() {
        let mut ledger = ledger();
        let (batch, cursor) = ledger.end(row(b"a"));
        assert!(cursor.unwrap().copy.is_some());
        ledger.mark(Advance {
            sequence: None,
            copy: Some(CopyStep::Complete(Sequence(7.0))),
        });
        let (live, cursor) = ledger.end(at(8.0));
        assert_eq!(cursor, None);
        ledger.committed(batch).unwrap();
        assert!(ledger.has_checkpoint());
        // A cursor past the copy must not be stored before the copy's end has been told.
        let (_, cursor) = ledger.end(at(9.0));
        assert_eq!(cursor, None);
        let (_, ends_copy, cursor) = ledger.checkpoint();
        assert!(ends_copy);
        assert_eq!(cursor, Cursor::at(Sequence(7.0)));
        ledger.committed(live).unwrap();
    }

    #[test]
    fn a_new_pass_of_a_copy_forgets_the_end_of_the_last() {
        let mut ledger = ledger();
        let waiting = ledger.transaction();
        ledger.wait_for_blob(waiting);
        ledger.end(row(b"a"));
        ledger.mark(Advance {
            sequence: None,
            copy: Some(CopyStep::Complete(Sequence(7.0))),
        });
        ledger.discard_copy();
        ledger.committed(waiting).unwrap();
        ledger.blob_settled(waiting);
        assert!(!ledger.copy_completed);
        assert_eq!(ledger.reached.cursor.sequence.0, 0.0);
    }

    #[test]
    fn what_was_never_handed_out_is_refused() {
        let mut ledger = ledger();
        assert_eq!(ledger.committed(0), Err(NeverHandedOut));
        let open = ledger.transaction();
        assert_eq!(ledger.committed(open), Err(NeverHandedOut));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Refer,
        End,
        Mark,
        Commit(prop::sample::Index),
        Settle(prop::sample::Index),
        Checkpoint,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            2 => Just(Step::Refer),
            3 => Just(Step::End),
            1 => Just(Step::Mark),
            4 => any::<prop::sample::Index>().prop_map(Step::Commit),
            2 => any::<prop::sample::Index>().prop_map(Step::Settle),
            2 => Just(Step::Checkpoint),
        ];
        prop::collection::vec(step, 0..120)
    }

    /// What the model keeps of a transaction or a mark: its commit, if it has one, and what it waits for.
    struct Entry {
        number: Option<u64>,
        sequence: f64,
        ended: bool,
        committed: bool,
        blobs: u32,
    }

    proptest! {
        /// The ledger against a list that is searched from its start each time.
        #[test]
        fn agrees_with_a_naive_model(steps in steps()) {
            let mut ledger = ledger();
            let mut model: Vec<Entry> = Vec::new();
            let mut uncommitted: Vec<u64> = Vec::new();
            let mut waiting: Vec<u64> = Vec::new();
            let mut clock = 0.0;
            let mut handed = 0.0;
            for step in steps {
                match step {
                    Step::Refer | Step::End => {
                        let number = ledger.transaction();
                        if model.last().is_none_or(|last| last.number != Some(number)) {
                            model.push(Entry { number: Some(number), sequence: 0.0, ended: false, committed: false, blobs: 0 });
                        }
                        let entry = model.last_mut().unwrap();
                        if matches!(step, Step::Refer) {
                            ledger.wait_for_blob(number);
                            entry.blobs += 1;
                            waiting.push(number);
                            continue;
                        }
                        clock += 1.0;
                        entry.sequence = clock;
                        entry.ended = true;
                        let (_, cursor) = ledger.end(at(clock));
                        uncommitted.push(number);
                        if let Some(cursor) = cursor {
                            // It may cover this transaction, if all before it is settled and its blobs are there.
                            let blocked = model.iter().find(|e| {
                                let this = e.number == Some(number);
                                !e.ended || e.blobs > 0 || (!this && !e.committed)
                            });
                            prop_assert!(blocked.is_none_or(|e| cursor.sequence.0 < e.sequence));
                            prop_assert!(cursor.sequence.0 > handed);
                            handed = cursor.sequence.0;
                        }
                    }
                    // Marks come between messages only.
                    Step::Mark if ledger.open.is_none() => {
                        clock += 1.0;
                        ledger.mark(at(clock));
                        model.push(Entry { number: None, sequence: clock, ended: true, committed: true, blobs: 0 });
                    }
                    Step::Commit(index) if !uncommitted.is_empty() => {
                        let number = uncommitted.remove(index.index(uncommitted.len()));
                        prop_assert!(ledger.committed(number).is_ok());
                        prop_assert_eq!(ledger.committed(number), Ok(None));
                        if let Some(entry) = model.iter_mut().find(|e| e.number == Some(number)) {
                            entry.committed = true;
                        }
                    }
                    Step::Settle(index) if !waiting.is_empty() => {
                        let number = waiting.remove(index.index(waiting.len()));
                        ledger.blob_settled(number);
                        model.iter_mut().find(|e| e.number == Some(number)).unwrap().blobs -= 1;
                    }
                    Step::Checkpoint if ledger.has_checkpoint() => {
                        let (number, _, cursor) = ledger.checkpoint();
                        uncommitted.push(number);
                        prop_assert!(cursor.sequence.0 > handed);
                        handed = cursor.sequence.0;
                    }
                    _ => {}
                }
                let settled = model.iter().take_while(|e| e.ended && e.committed && e.blobs == 0);
                let reached = settled.last().map_or(0.0, |e| e.sequence);
                prop_assert_eq!(ledger.reached.cursor.sequence.0, reached);
                prop_assert_eq!(ledger.commits_out(), uncommitted.len() as u64);
                let unsettled = model.iter().filter(|e| !(e.ended && e.committed && e.blobs == 0)).count();
                prop_assert!(ledger.transactions.len() <= unsettled);
            }
        }
    }
}
