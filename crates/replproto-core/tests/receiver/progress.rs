//! The cursor between two terminators: it follows the versions of what the publisher itself wrote.

mod generations;

use std::time::Duration;

use bytes::Bytes;
use replproto_core::wire::entry::Flags;
use replproto_core::wire::{Message, NewEntry};
use replproto_core::{Cursor, Input, Sequence, Start};

use crate::driver::{Auto, Driver, config};
use crate::wire::{self, BATCH, Batch, Chunk, TABLE, TIME, file};

/// The default, in milliseconds.
const MARGIN: f64 = 60_000.0;

/// The number of another node.
const OTHER: u32 = 3;

fn put(batch: Batch, node: u32, version: f64) -> Batch {
    batch.entry(&NewEntry {
        kind: 1,
        flags: Flags::FULL,
        node,
        table: TABLE,
        key: b"key",
        version,
        value: b"\xc0",
        ..NewEntry::default()
    })
}

/// A batch of one record without a terminator, so many milliseconds after [`TIME`].
fn batch(node: u32, after: f64) -> Bytes {
    put(Batch::new(), node, TIME + after).end()
}

fn own(after: f64) -> Bytes {
    batch(0, after)
}

#[track_caller]
fn assert_at(driver: &Driver, after: f64) {
    assert_eq!(driver.persisted().sequence.0, TIME + after - MARGIN);
}

/// A link that starts at [`TIME`] less the margin.
fn following() -> Driver {
    let start = Start::At(Sequence(TIME - MARGIN));
    let mut driver = Driver::connected(config(), start);
    driver.feed_all(wire::handshake());
    driver
}

#[test]
fn a_whole_batch_moves_the_cursor_once_the_next_has_begun() {
    let mut driver = following();
    driver.feed(own(1.0));
    assert_at(&driver, 0.0);
    let next = own(2.0);
    let begun = next.len() - 3;
    driver.input(Input::Message {
        bytes: next.slice(..begun),
        last: false,
    });
    assert_at(&driver, 0.0);
    driver.input(Input::Message {
        bytes: next.slice(begun..),
        last: true,
    });
    assert_at(&driver, 1.0);
    for after in 3..100 {
        driver.feed(own(f64::from(after)));
    }
    assert_at(&driver, 98.0);
    driver.pass(Duration::from_secs(1));
    assert_eq!(driver.persisted().announced, Sequence(0.0));
    assert_eq!(driver.confirmed.len(), 0, "nothing was sent as a position");
}

#[test]
fn of_a_batch_that_is_cut_off_nothing_counts() {
    let mut driver = following();
    let large = (0..1000).fold(Batch::new(), |batch, _| put(batch, 0, TIME + 5.0));
    driver.feed_parts(large.end(), &[700]);
    driver.feed(own(6.0));
    assert_at(&driver, 5.0);
    driver.input(Input::Message {
        bytes: own(7.0).slice(..20),
        last: false,
    });
    driver.input(Input::TransportLost);
    assert_at(&driver, 5.0);
}

#[test]
fn a_batch_of_the_same_version_may_share_the_position() {
    let mut driver = following();
    driver.feed_all([own(1.0), own(1.0), own(1.0)]);
    assert_at(&driver, 0.0);
    driver.feed(own(2.0));
    assert_at(&driver, 1.0);
}

#[test]
fn versions_of_other_nodes_lead_nowhere() {
    let mut driver = following();
    driver.feed_all((1..9).map(|after| batch(OTHER, f64::from(after))));
    let mixed = put(put(Batch::new(), 0, TIME + 9.0), OTHER, TIME + 9.0);
    driver.feed(mixed.end());
    let mixed = put(put(Batch::new(), OTHER, TIME + 10.0), 0, TIME + 10.0);
    driver.feed(mixed.end());
    driver.feed(own(11.0));
    assert_at(&driver, 0.0);
    // That of another one has begun, which is all that is needed of it.
    driver.feed(batch(OTHER, 12.0));
    assert_at(&driver, 11.0);
}

#[test]
fn a_clock_that_was_set_back_does_not_hold_the_cursor_for_ever() {
    let mut driver = following();
    driver.feed_all([own(1e9), own(1.0), own(2.0), own(3.0)]);
    assert_at(&driver, 2.0);
}

#[test]
fn the_cursor_never_goes_back() {
    let mut driver = following();
    driver.feed(put(Batch::new(), 0, TIME + 1.0).end_at(TIME + 1.0));
    driver.pass(Duration::from_secs(1));
    driver.feed_all([own(2.0), own(3.0), own(4.0)]);
    assert_eq!(*driver.persisted(), Cursor::at(Sequence(TIME + 1.0)));
    driver.feed_all([own(100.0 + MARGIN), own(101.0 + MARGIN)]);
    let ahead = Cursor {
        sequence: Sequence(TIME + 100.0),
        ..Cursor::at(Sequence(TIME + 1.0))
    };
    assert_eq!(*driver.persisted(), ahead);
    // What was sent is confirmed, although the cursor is ahead of it.
    driver.feed(wire::sequence_update(TIME + 50.0));
    driver.pass(Duration::from_secs(1));
    assert_eq!(driver.persisted().sequence, ahead.sequence);
    assert_eq!(driver.confirmed, [TIME + 1.0, TIME + 50.0]);
}

#[test]
fn a_blob_that_is_missing_holds_the_cursor() {
    let mut driver = following();
    driver.feed(own(1.0));
    driver.feed(Batch::new().put_blobs("k", &[file("a")]).end());
    driver.feed_all([own(2.0), own(3.0)]);
    // Its record has the version of the start.
    assert_at(&driver, 0.0);
    driver.feed(Chunk::of("a").last(b"all"));
    assert_at(&driver, 2.0);
}

#[test]
fn a_batch_with_a_blob_counts_like_any_other() {
    let mut driver = following();
    driver.feed(own(-1.0));
    driver.feed(Batch::new().put_blobs("k", &[file("a")]).end());
    driver.feed(Chunk::of("a").last(b"all"));
    driver.feed(own(1.0));
    driver.feed(own(2.0));
    assert_at(&driver, 1.0);
}

#[test]
fn commits_that_are_late_hold_the_cursor() {
    let mut driver = following();
    driver.auto = Auto {
        commit: false,
        ..Auto::ALL
    };
    driver.feed_all((1..5).map(|after| own(f64::from(after))));
    assert_at(&driver, 0.0);
    let ids: Vec<_> = driver.uncommitted.keys().copied().collect();
    driver.commit(ids[2]);
    driver.commit(ids[0]);
    driver.run();
    driver.auto = Auto::ALL;
    driver.run();
    assert_at(&driver, 3.0);
}

#[test]
fn while_reading_is_paused_nothing_moves_and_then_it_goes_on() {
    let mut config = config();
    config.flow.consumer.high.items = 1;
    let mut driver = Driver::connected(config, Start::At(Sequence(TIME - MARGIN)));
    driver.feed_all(wire::handshake());
    driver.auto = Auto::NONE;
    driver.feed_all((1..9).map(|after| own(f64::from(after))));
    assert!(driver.receiver.is_paused());
    assert_at(&driver, 0.0);
    driver.auto = Auto::ALL;
    driver.run();
    assert_at(&driver, 7.0);
}

#[test]
fn what_cannot_be_used_is_nobodys() {
    let mut driver = following();
    driver.feed_all([own(1.0), own(2.0)]);
    let broken = put(put(Batch::new(), 0, TIME + 3.0), 0, f64::NAN);
    driver.feed(broken.end());
    driver.feed(own(4.0));
    assert_at(&driver, 2.0);
    driver.feed(own(5.0));
    assert_at(&driver, 4.0);
}

#[test]
fn rows_of_a_base_copy_lead_nowhere() {
    let mut driver = following();
    driver.feed(own(1.0));
    driver.feed(wire::copy_start(TIME));
    driver.feed_all((2..9).map(|after| own(f64::from(after))));
    assert_eq!(driver.persisted().sequence.0, TIME - MARGIN);
    driver.feed(Batch::new().end_at(TIME));
    driver.feed(wire::copy_complete());
    driver.feed(own(1.0 + MARGIN));
    assert_eq!(*driver.persisted(), Cursor::at(Sequence(TIME)));
    driver.feed(own(2.0 + MARGIN));
    assert_at(&driver, 1.0 + MARGIN);
    // A copy of an older peer begins without a word.
    let mut driver = Driver::connected(config(), Start::Copy);
    driver.feed_all([
        wire::old_node_name("peer"),
        wire::schema(None),
        wire::node_map(),
        wire::table(TABLE, "Dog"),
    ]);
    driver.feed_all((2..9).map(|after| own(f64::from(after))));
    assert_eq!(driver.persisted().sequence.0, 0.0);
}

#[test]
fn the_next_link_goes_on_there_and_confirms_only_what_was_sent() {
    let mut driver = following();
    driver.feed(Batch::new().end_at(TIME - 1.0));
    driver.feed_all([own(1.0 + MARGIN), own(2.0 + MARGIN)]);
    assert_at(&driver, 1.0 + MARGIN);
    let stored = Cursor::from_bytes(&driver.persisted().to_bytes()).unwrap();
    let mut driver = Driver::connected(config(), Start::Resume(stored));
    driver.feed_all(wire::handshake());
    let start = driver.sent().find_map(|message| match message {
        Message::SubscriptionRequest(request) => Some(request.subscriptions[0].start),
        _ => None,
    });
    assert_eq!(start, Some(Sequence(TIME + 1.0)));
    driver.pass(Duration::from_secs(1));
    assert_eq!(driver.confirmed, [TIME - 1.0]);
    // A start that was only asked for is not confirmed either, once it is stored.
    let mut driver = following();
    driver.feed_all([own(1.0), own(2.0)]);
    let stored = driver.persisted().clone();
    let mut driver = Driver::connected(config(), Start::Resume(stored));
    driver.feed_all(wire::handshake());
    driver.pass(Duration::from_secs(1));
    assert_eq!(driver.confirmed.len(), 0);
}

#[test]
fn a_batch_is_one_whatever_its_header_says() {
    // The header has no version that counts (`protocol.md` section 15, ruling 3).
    let mut driver = following();
    let mut late = own(1.0).to_vec();
    late[1..8].fill(0xff);
    assert_eq!(late[0], BATCH);
    driver.feed(late.into());
    driver.feed(own(2.0));
    assert_at(&driver, 1.0);
}

#[test]
fn it_makes_no_difference_how_a_batch_is_cut_into_runs() {
    for parts in [&[1][..], &[40], &[100_000]] {
        let mut driver = following();
        driver.feed(own(2.0));
        // More than one version is nothing that senders send: it begins with its first record.
        let falling = put(put(Batch::new(), 0, TIME + 3.0), 0, TIME + 1.0);
        driver.feed_parts(falling.end(), parts);
        assert_at(&driver, 2.0);
        let rising = put(put(Batch::new(), 0, TIME + 1.0), 0, TIME + 9.0);
        driver.feed_parts(rising.end(), parts);
        driver.feed(own(10.0));
        assert_at(&driver, 9.0);
    }
}

#[test]
fn nothing_leads_anywhere_before_the_copy_that_was_asked_for_has_begun() {
    for start in [Start::Copy, Start::Resume(Cursor::at(Sequence(0.0)))] {
        let mut driver = Driver::connected(config(), start);
        driver.feed_all(wire::handshake());
        for after in [1000.0, 2000.0, 3000.0] {
            driver.feed(own(after));
        }
        driver.pass(Duration::from_secs(1));
        assert_eq!(driver.persisted().sequence, Sequence(0.0));
    }
}
