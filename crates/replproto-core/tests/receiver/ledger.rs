//! Commits in any order, and the cursor that follows from them.

use std::time::Duration;

use replproto_core::{Event, Input};

use crate::driver::{Auto, Driver, config};
use crate::wire::{self, Batch};

fn uncommitted(transactions: u32) -> Driver {
    let mut driver = Driver::following(config());
    driver.auto = Auto {
        commit: false,
        ..Auto::ALL
    };
    for number in 0..transactions {
        driver.feed(Batch::new().put(number).end_at(f64::from(number) + 2.0));
    }
    driver
}

/// All orders of `0..count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for order in orders(count - 1) {
        for at in 0..count {
            let mut order = order.clone();
            order.insert(at, count - 1);
            all.push(order);
        }
    }
    all
}

#[test]
fn any_order_of_commits_ends_at_the_same_cursor() {
    for order in orders(5) {
        let mut driver = uncommitted(5);
        let ids: Vec<_> = driver.uncommitted.keys().copied().collect();
        let mut done = [false; 5];
        for at in order {
            done[at] = true;
            driver.commit(ids[at]);
            driver.run();
            let settled = done.iter().take_while(|done| **done).count();
            let most = driver.persisted().sequence.0;
            assert!(most <= settled as f64 + 1.0);
        }
        driver.auto = Auto::ALL;
        driver.run();
        driver.pass(Duration::from_millis(2));
        assert_eq!(driver.persisted().sequence.0, 6.0);
        assert_eq!(driver.confirmed.last(), Some(&6.0));
    }
}

#[test]
fn the_same_acknowledgement_twice_counts_once() {
    let mut driver = uncommitted(3);
    let ids: Vec<_> = driver.uncommitted.keys().copied().collect();
    driver.commit(ids[1]);
    for _ in 0..3 {
        driver.input(Input::Committed(ids[1]));
    }
    assert_eq!(driver.receiver.commits_out(), 2);
    assert_eq!(driver.receiver.stats().late_acknowledgements, 3);
    assert_eq!(driver.persisted().sequence.0, 1.0);
}

#[test]
fn a_cursor_shares_the_transaction_where_it_can() {
    let mut driver = Driver::following(config());
    for number in 0..20 {
        driver.feed(Batch::new().put(number).end_at(f64::from(number) + 2.0));
    }
    let checkpoints = driver
        .events()
        .filter(|event| matches!(event, Event::Checkpoint(_)));
    assert_eq!(checkpoints.count(), 0);
    assert!(driver.ends().all(|end| end.cursor.is_some()));
}

#[test]
fn a_batch_without_a_terminator_moves_no_cursor() {
    let mut driver = Driver::following(config());
    for number in 0..20 {
        driver.feed(Batch::new().put(number).end());
    }
    driver.pass(Duration::from_secs(1));
    assert!(
        driver
            .ends()
            .all(|end| end.cursor.is_none() && end.sequence.is_none())
    );
    assert_eq!(driver.confirmed.len(), 0);
    driver.feed(Batch::new().end_at(9.0));
    driver.pass(Duration::from_secs(1));
    assert_eq!(driver.confirmed, [9.0]);
}

#[test]
fn a_position_waits_for_the_transactions_before_it() {
    let mut driver = uncommitted(2);
    driver.feed(wire::sequence_update(50.0));
    assert_eq!(driver.persisted().sequence.0, 1.0);
    driver.auto = Auto::ALL;
    driver.run();
    assert_eq!(driver.persisted().sequence.0, 50.0);
}

#[test]
fn one_message_is_one_transaction() {
    let mut driver = Driver::following(config());
    driver.feed(Batch::new().put("a").put("b").end_at(5.0));
    let mut with_trailing = Batch::new().put("c").end_at(6.0).to_vec();
    with_trailing.extend_from_slice(b"ignored after the terminator");
    driver.feed(with_trailing.into());
    driver.feed(Batch::new().end_at(7.0));
    let sequences: Vec<_> = driver.ends().map(|end| end.sequence.unwrap().0).collect();
    assert_eq!(sequences, [5.0, 6.0, 7.0]);
    assert_eq!(driver.records().count(), 3);
}
