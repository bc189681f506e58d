//! Chunks in every order relative to their records.

use std::time::Duration;

use crate::driver::{Auto, Driver, config};
use crate::wire::{Batch, Chunk, file};

#[test]
fn chunks_may_come_before_between_and_after_their_records() {
    let first = Chunk::of("1a").size(6).body(b"abc");
    let last = Chunk::of("1a").size(6).last(b"def");
    let record = Batch::new().put_blobs("k", &[file("1a")]).end_at(5.0);
    let orders = [
        [&first, &last, &record],
        [&first, &record, &last],
        [&record, &first, &last],
    ];
    for order in orders {
        let mut driver = Driver::following(config());
        driver.feed_all(order.into_iter().cloned());
        driver.pass(Duration::from_millis(3));
        assert_eq!(driver.blobs[&driver.blob("1a")].bytes, b"abcdef");
        assert_eq!(driver.opens(), 1);
        assert_eq!(driver.confirmed, [5.0]);
    }
}

#[test]
fn no_pause_waits_for_a_record_behind_the_blob() {
    let mut driver = Driver::following(config());
    for blob in 0..80 {
        for _ in 0..128 {
            driver.feed(Chunk::of(blob).body(&[blob; 4096]));
        }
        driver.feed(Chunk::of(blob).last(&[]));
        let message = Batch::new().put_blobs(blob, &[file(blob)]);
        driver.feed(message.end_at(f64::from(blob) + 2.0));
    }
    driver.pass(Duration::from_millis(3));
    assert_eq!(driver.saves(), 80);
    assert_eq!(driver.confirmed.last(), Some(&81.0));
}

#[test]
fn a_blob_is_never_passed_before_it_is_saved() {
    let mut driver = Driver::following(config());
    driver.auto = Auto {
        save: false,
        ..Auto::ALL
    };
    driver.feed(Batch::new().put("a").end_at(5.0));
    driver.feed(
        Batch::new()
            .put_blobs("b", &[file("1"), file("2")])
            .end_at(6.0),
    );
    driver.feed(Batch::new().put("c").end_at(7.0));
    driver.feed(Chunk::of(1).last(b"x"));
    driver.feed(Chunk::of(2).last(b"y"));
    driver.pass(Duration::from_millis(3));
    assert_eq!(driver.persisted().sequence.0, 5.0);
    let blob = driver.blob("2");
    driver.save(blob);
    driver.run();
    assert_eq!(driver.persisted().sequence.0, 5.0);
    let blob = driver.blob("1");
    driver.save(blob);
    driver.run();
    assert_eq!(driver.persisted().sequence.0, 7.0);
    driver.pass(Duration::from_millis(3));
    assert_eq!(driver.confirmed, [5.0, 7.0]);
}

#[test]
fn a_record_that_comes_after_its_blob_is_saved_does_not_wait() {
    let mut driver = Driver::following(config());
    driver.feed(Chunk::of(1).last(b"x"));
    assert_eq!(driver.saves(), 1);
    for (key, sequence) in [("a", 5.0), ("b", 6.0)] {
        driver.feed(Batch::new().put_blobs(key, &[file(1)]).end_at(sequence));
        assert_eq!(driver.persisted().sequence.0, sequence);
    }
}

#[test]
fn a_second_transfer_under_a_saved_key_is_dropped_and_unsettles_nothing() {
    let mut driver = Driver::following(config());
    driver.feed(Batch::new().put_blobs("a", &[file(1)]).end_at(5.0));
    driver.feed(Chunk::of(1).last(b"x"));
    driver.feed(Chunk::of(1).body(b"y"));
    driver.feed(Batch::new().put_blobs("b", &[file(1)]).end_at(6.0));
    driver.feed(Chunk::of(1).last(b"z"));
    driver.feed(Chunk::of(1).error(Some("ENOENT"), None));
    assert_eq!(driver.opens(), 1);
    assert_eq!(driver.persisted().sequence.0, 6.0);
    assert_eq!(driver.receiver.stats().chunks_dropped, 3);
    assert_eq!(driver.held().count() + driver.gone().count(), 0);
}

#[test]
fn several_records_share_one_transfer() {
    let mut driver = Driver::following(config());
    driver.feed(Batch::new().put_blobs("a", &[file(1), file(1)]).end_at(5.0));
    driver.feed(Batch::new().put_blobs("b", &[file(1)]).end_at(6.0));
    assert_eq!(driver.persisted().sequence.0, 1.0);
    driver.feed(Chunk::of(1).last(b"x"));
    assert_eq!(driver.persisted().sequence.0, 6.0);
    assert_eq!(driver.opens(), 1);
}

#[test]
fn a_transfer_id_is_the_key_where_there_is_one() {
    let mut driver = Driver::following(config());
    let with = |transfer| {
        let mut reference = file(1);
        reference.transfer = Some(transfer);
        reference
    };
    driver.feed(Batch::new().put_blobs("a", &[with(71)]).end_at(5.0));
    driver.feed(Batch::new().put_blobs("b", &[with(72)]).end_at(6.0));
    driver.feed(Chunk::of(1).transfer(72).last(b"x"));
    assert_eq!(driver.persisted().sequence.0, 1.0);
    driver.feed(Chunk::of(1).last(b"another transfer"));
    assert_eq!(driver.persisted().sequence.0, 1.0);
    driver.feed(Chunk::of(1).transfer(71).last(b"x"));
    assert_eq!(driver.persisted().sequence.0, 6.0);
    assert_eq!(driver.opens(), 3);
}

#[test]
fn an_empty_blob_is_a_blob() {
    let mut driver = Driver::following(config());
    driver.feed(Batch::new().put_blobs("a", &[file(1)]).end_at(5.0));
    driver.feed(Chunk::of(1).size(0).last(&[]));
    assert_eq!(driver.persisted().sequence.0, 5.0);
    assert_eq!(driver.saves(), 1);
}

#[test]
fn every_seventh_failing_save_costs_only_itself() {
    let mut driver = Driver::following(config());
    driver.auto = Auto {
        save: false,
        ..Auto::ALL
    };
    for blob in 1..=400 {
        driver.feed(
            Batch::new()
                .put_blobs(blob, &[file(blob)])
                .end_at(f64::from(blob) + 1.0),
        );
        driver.feed(Chunk::of(blob).body(&[1; 100]));
        driver.feed(Chunk::of(blob).last(&[2; 100]));
        let id = driver.blob(&blob.to_string());
        if blob % 7 == 0 {
            driver.fail(id);
        } else {
            driver.save(id);
            driver.run();
        }
    }
    driver.pass(Duration::from_millis(3));
    let mut held: Vec<String> = driver.held().map(|f| f.file.to_string()).collect();
    assert_eq!(held.len(), 57);
    held.dedup();
    assert_eq!(held.len(), 57);
    assert_eq!(driver.saves(), 343);
    assert_eq!(driver.records().count(), 400);
    assert_eq!(
        driver.receiver.stats().commits,
        400 + driver.receiver.stats().checkpoints
    );
    assert!(driver.close.is_none());
    // Before blob 7, which comes with sequence 8.
    assert_eq!(driver.persisted().sequence.0, 7.0);
    assert_eq!(driver.confirmed.last(), Some(&7.0));

    // The gap renews the link, and the second one brings the rest.
    driver.auto.save = true;
    for _ in 0..40 {
        driver.pass(Duration::from_secs(25));
        if driver.close.is_none() {
            driver.input(replproto_core::Input::Pong);
        }
    }
    assert!(driver.error().to_string().contains("reconnecting"));
    let start = replproto_core::Start::Resume(driver.persisted().clone());
    let mut second = Driver::connected(config(), start);
    second.feed_all(crate::wire::handshake());
    second.pass(Duration::from_millis(3));
    for blob in 7..=400 {
        second.feed(Chunk::of(blob).last(&[3; 200]));
        second.feed(
            Batch::new()
                .put_blobs(blob, &[file(blob)])
                .end_at(f64::from(blob) + 1.0),
        );
    }
    second.pass(Duration::from_millis(3));
    assert_eq!(second.held().count(), 0);
    assert_eq!(
        second.confirmed.first(),
        Some(&7.0),
        "confirmed once at set-up"
    );
    assert_eq!(second.confirmed.last(), Some(&401.0));
}
