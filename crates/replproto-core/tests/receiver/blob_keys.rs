//! What a reference to a key means that is known already.

use std::time::Duration;

use replproto_core::event::BlobFault;

use crate::driver::{Driver, config};
use crate::wire::{Batch, Chunk, Reference, file};

fn refer(key: &str, sequence: f64) -> bytes::Bytes {
    Batch::new().put_blobs(key, &[file(1)]).end_at(sequence)
}

fn gone() -> bytes::Bytes {
    Chunk::of(1).error(Some("ENOENT"), None)
}

/// A link on which the blob of a record is gone, so that its cursor is at 5.
fn after_a_blob_that_is_gone() -> Driver {
    let mut driver = Driver::following(config());
    driver.feed(refer("a", 5.0));
    driver.feed(gone());
    assert_eq!(driver.persisted().sequence.0, 5.0);
    driver
}

#[test]
fn i5_a_later_record_waits_for_the_new_transfer_of_a_blob_that_was_gone() {
    for record_first in [true, false] {
        let mut driver = after_a_blob_that_is_gone();
        driver.auto.save = false;
        let mut messages = [refer("b", 6.0), Chunk::of(1).last(b"here again")];
        if !record_first {
            messages.reverse();
        }
        driver.feed_all(messages);
        assert_eq!(driver.persisted().sequence.0, 5.0, "it is not saved yet");
        driver.auto.save = true;
        driver.run();
        assert_eq!(driver.saves(), 1);
        assert_eq!(driver.persisted().sequence.0, 6.0);
    }
}

#[test]
fn a_source_that_says_gone_again_answers_the_later_record() {
    for record_first in [true, false] {
        let mut driver = after_a_blob_that_is_gone();
        let mut messages = [refer("b", 6.0), gone()];
        if !record_first {
            messages.reverse();
        }
        driver.feed_all(messages);
        assert_eq!(driver.persisted().sequence.0, 6.0);
        // Each such answer is for one transaction.
        driver.feed(refer("c", 7.0));
        assert_eq!(driver.persisted().sequence.0, 6.0);
        driver.feed(gone());
        assert_eq!(driver.persisted().sequence.0, 7.0);
    }
}

#[test]
fn a_failure_that_comes_first_answers_all_records_of_the_next_transaction() {
    let mut driver = Driver::following(config());
    driver.feed(gone());
    let batch = Batch::new().put_blobs("a", &[file(1), file(1)]);
    driver.feed(batch.put_blobs("b", &[file(1)]).end_at(5.0));
    assert_eq!(driver.persisted().sequence.0, 5.0);
    driver.feed(refer("c", 6.0));
    assert_eq!(driver.persisted().sequence.0, 5.0);
}

#[test]
fn i5_a_source_that_is_busy_does_not_say_that_a_blob_is_gone() {
    for record_first in [true, false] {
        let mut driver = after_a_blob_that_is_gone();
        let mut messages = [refer("b", 6.0), Chunk::of(1).error(None, Some(503))];
        if !record_first {
            messages.reverse();
        }
        driver.feed_all(messages);
        assert_eq!(driver.persisted().sequence.0, 5.0, "{record_first}");
        driver.feed(Chunk::of(1).last(b"here again"));
        assert_eq!(driver.persisted().sequence.0, 6.0, "{record_first}");
    }
}

#[test]
fn the_end_of_a_transfer_that_had_failed_before_answers_nobody() {
    let mut driver = Driver::following(config());
    driver.feed(refer("a", 5.0));
    // One byte too many: the transfer is dead, and its rest is still to come.
    driver.feed(Chunk::of(1).size(1).body(b"xx"));
    driver.feed(Chunk::of(1).error(Some("ENOENT"), None));
    driver.feed(refer("b", 6.0));
    assert_eq!(driver.persisted().sequence.0, 5.0);
}

#[test]
fn what_was_gone_and_never_comes_again_is_gone_after_the_blob_timeout() {
    let mut config = config();
    config.timeouts.blob = Duration::from_secs(120);
    let mut driver = Driver::following(config);
    driver.feed(refer("a", 5.0));
    driver.feed(gone());
    driver.feed(refer("b", 6.0));
    driver.pass_alive(100);
    assert_eq!(driver.persisted().sequence.0, 5.0);
    driver.pass_alive(40);
    assert_eq!(driver.persisted().sequence.0, 6.0);
    assert_eq!((driver.held().count(), driver.gone().count()), (0, 2));
    let last = driver.gone().last().expect("gone");
    assert!(matches!(last.fault, BlobFault::Idle));
    assert_eq!(last.record.as_ref().expect("its record").key, b"b");
    driver.pass_alive(2000);
    assert!(driver.close.is_none(), "nothing holds the cursor");
}

#[test]
fn a_new_transfer_that_breaks_off_holds_the_cursor_like_any_other() {
    let mut driver = after_a_blob_that_is_gone();
    driver.feed(refer("b", 6.0));
    driver.feed(Chunk::of(1).body(b"half"));
    driver.feed(Chunk::of(1).error(None, Some(503)));
    assert_eq!((driver.held().count(), driver.gone().count()), (1, 1));
    assert_eq!(driver.persisted().sequence.0, 5.0);
}

#[test]
fn i5_a_transfer_id_that_is_used_again_for_another_file_is_another_blob() {
    let transfer = |name: &str| Reference {
        transfer: Some(1),
        ..file(name)
    };
    for record_first in [true, false] {
        let mut driver = Driver::following(config());
        driver.feed(Batch::new().put_blobs("a", &[transfer("x")]).end_at(5.0));
        driver.feed(Chunk::of("x").transfer(1).last(b"of x"));
        assert_eq!(driver.persisted().sequence.0, 5.0);
        let chunk = Chunk::of("y").transfer(1).body(b"of ");
        let record = Batch::new().put_blobs("b", &[transfer("y")]).end_at(6.0);
        let messages = if record_first {
            [record, chunk]
        } else {
            [chunk, record]
        };
        driver.feed_all(messages);
        assert_eq!(driver.persisted().sequence.0, 5.0, "it is not here yet");
        driver.feed(Chunk::of("y").transfer(1).last(b"y"));
        assert_eq!(driver.persisted().sequence.0, 6.0);
        let saved = |file: &str| &driver.blobs[&driver.blob(file)].bytes;
        assert_eq!(
            (&saved("x")[..], &saved("y")[..]),
            (&b"of x"[..], &b"of y"[..])
        );
    }
}

#[test]
fn files_that_share_a_transfer_id_may_come_interleaved() {
    let mut driver = Driver::following(config());
    for (name, body) in [("x", b"1"), ("y", b"2"), ("x", b"3"), ("y", b"4")] {
        driver.feed(Chunk::of(name).transfer(1).body(body));
    }
    for name in ["y", "x"] {
        driver.feed(Chunk::of(name).transfer(1).last(b"."));
    }
    let saved = |file: &str| &driver.blobs[&driver.blob(file)].bytes;
    assert_eq!(
        (&saved("x")[..], &saved("y")[..]),
        (&b"13."[..], &b"24."[..])
    );
}
