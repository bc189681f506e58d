//! The ledger against single cases and against a naive model.

use alloc::vec::Vec;

use super::*;
use crate::time::WallTime;
use proptest::prelude::*;

fn ledger() -> Ledger {
    Ledger::new(Cursor::at(Sequence(0.0)), false)
}

fn at(sequence: f64) -> Advance {
    Advance {
        sequence: Some(Sequence(sequence)),
        ..Advance::default()
    }
}

fn inferred(sequence: f64) -> Advance {
    Advance {
        inferred: Some(Sequence(sequence)),
        ..Advance::default()
    }
}

fn row(key: &'static [u8]) -> Advance {
    Advance {
        copy: Some(CopyStep::At(Box::new(CopyCursor {
            copy_start: WallTime(7.0),
            table: "Dog".into(),
            after_key: bytes::Bytes::from_static(key),
            order: 1,
        }))),
        ..Advance::default()
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
        copy: Some(CopyStep::Complete(Sequence(7.0))),
        ..Advance::default()
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
fn the_end_of_a_copy_leaves_none_in_the_cursor_wherever_it_is() {
    for (end, left) in [(3.0, 5.0), (5.0, 5.0), (7.0, 7.0)] {
        let mut ledger = Ledger::new(Cursor::at(Sequence(5.0)), true);
        let (batch, cursor) = ledger.end(row(b"a"));
        assert!(cursor.unwrap().copy.is_some());
        ledger.mark(Advance {
            copy: Some(CopyStep::Complete(Sequence(end))),
            ..Advance::default()
        });
        ledger.committed(batch).unwrap();
        let (_, ends_copy, cursor) = ledger.checkpoint();
        assert!(ends_copy);
        assert_eq!(cursor, Cursor::at(Sequence(left)));
    }
}

#[test]
fn a_new_pass_of_a_copy_forgets_the_end_of_the_last() {
    let mut ledger = ledger();
    let waiting = ledger.transaction();
    ledger.wait_for_blob(waiting);
    ledger.end(row(b"a"));
    ledger.mark(Advance {
        copy: Some(CopyStep::Complete(Sequence(7.0))),
        ..Advance::default()
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
    Infer,
    Commit(prop::sample::Index),
    Settle(prop::sample::Index),
    Checkpoint,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Refer),
        3 => Just(Step::End),
        1 => Just(Step::Mark),
        1 => Just(Step::Infer),
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
    is_inferred: bool,
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
                        model.push(Entry { number: Some(number), sequence: 0.0, is_inferred: false, ended: false, committed: false, blobs: 0 });
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
                    model.push(Entry { number: None, sequence: clock, is_inferred: false, ended: true, committed: true, blobs: 0 });
                }
                Step::Infer if ledger.open.is_none() => {
                    clock += 1.0;
                    ledger.mark(inferred(clock));
                    model.push(Entry { number: None, sequence: clock, is_inferred: true, ended: true, committed: true, blobs: 0 });
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
            let reached = settled.clone().last().map_or(0.0, |e| e.sequence);
            prop_assert_eq!(ledger.reached.cursor.sequence.0, reached);
            let announced = settled.filter(|e| !e.is_inferred).last().map_or(0.0, |e| e.sequence);
            prop_assert_eq!(ledger.reached.cursor.announced.0, announced);
            prop_assert_eq!(ledger.commits_out(), uncommitted.len() as u64);
            let unsettled = model.iter().filter(|e| !(e.ended && e.committed && e.blobs == 0)).count();
            prop_assert!(ledger.transactions.len() <= unsettled);
        }
    }
}
