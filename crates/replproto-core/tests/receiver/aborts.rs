//! The work of a blob store is charged until it has ended, not until nobody needs it any more.

use std::time::Duration;

use replproto_core::{Command, Input, Misuse, PauseReason};

use crate::driver::{Auto, Driver, config};
use crate::wire::{Batch, Chunk, file};

/// A link to a store that writes and saves, and never says that it has thrown anything away.
fn with_a_store_that_hangs() -> Driver {
    let mut driver = Driver::following(config());
    driver.auto = Auto {
        write: false,
        save: false,
        abort: false,
        ..Auto::ALL
    };
    driver
}

#[test]
fn i4_blobs_that_fail_at_the_source_pause_until_the_store_has_thrown_them_away() {
    let mut driver = with_a_store_that_hangs();
    for blob in 0..3000 {
        driver.feed(Chunk::of(blob).body(b"x"));
        driver.feed(Chunk::of(blob).error(Some("ENOENT"), None));
    }
    assert!(driver.is_paused_for(PauseReason::BlobStream));
    assert!(driver.opens() <= 520, "{} are in the store", driver.opens());
    let waiting = driver.waiting();
    // Nothing of the peer is needed: the store's answers alone lift it.
    driver.auto.abort = true;
    driver.run();
    assert!(driver.waiting() < waiting);
    assert_eq!((driver.opens(), driver.aborts()), (3000, 3000));
    assert_eq!(driver.receiver.blob_bytes_out(), 0);
    assert_eq!(driver.receiver.held_bytes(), 0);
}

#[test]
fn unwritten_bytes_stay_charged_until_the_store_has_thrown_them_away() {
    let mut driver = with_a_store_that_hangs();
    for blob in 0..100 {
        driver.feed(Chunk::of(blob).body(&[7; 100_000]));
        driver.feed(Chunk::of(blob).error(None, Some(503)));
    }
    assert!(driver.is_paused_for(PauseReason::BlobStream));
    assert!(driver.receiver.blob_bytes_out() > 1 << 20);
    assert!(driver.opens() < 15);
    // Written after all, while it was told to throw them away.
    let aborted = driver.aborted.clone();
    for blob in aborted.iter().copied() {
        driver.written(blob, 100_000);
        driver.run();
    }
    assert!(driver.opens() > aborted.len() as u64, "there is room");
}

#[test]
fn blobs_that_fall_silent_are_charged_as_well() {
    let mut config = config();
    config.timeouts.blob = Duration::from_secs(120);
    config.flow.blobs.high.items = 10;
    config.flow.blobs.low.items = 5;
    let mut driver = Driver::following(config);
    driver.auto.abort = false;
    for blob in 0..100 {
        driver.feed(Chunk::of(blob).body(b"x"));
    }
    assert!(!driver.receiver.is_paused(), "no pause waits for the peer");
    for _ in 0..7 {
        driver.pass(Duration::from_secs(20));
        driver.input(Input::Pong);
    }
    assert_eq!(driver.aborts(), 100);
    assert!(driver.is_paused_for(PauseReason::BlobStream));
    driver.auto.abort = true;
    driver.run();
    assert!(!driver.receiver.is_paused());
}

#[test]
fn a_failure_that_crosses_an_abort_is_the_answer_to_it() {
    let mut driver = with_a_store_that_hangs();
    driver.feed(Chunk::of(1).body(b"x"));
    driver.feed(Chunk::of(1).error(Some("ENOENT"), None));
    let blob = driver.aborted.pop_front().expect("aborted");
    let why = String::from("disk full");
    driver.input(Input::BlobFailed { blob, why });
    assert_eq!(driver.receiver.blob_bytes_out(), 0);
    assert_eq!((driver.gone().count(), driver.held().count()), (1, 0));
    assert!(driver.receiver.is_idle());
    assert_eq!(driver.receiver.stats().late_acknowledgements, 0);
    driver.input(Input::BlobAborted(blob));
    assert_eq!(driver.receiver.stats().late_acknowledgements, 1);
}

#[test]
fn a_link_is_not_idle_while_its_store_is_at_work() {
    let mut driver = with_a_store_that_hangs();
    driver.feed(Chunk::of(1).body(b"x"));
    driver.feed(Chunk::of(1).error(Some("ENOENT"), None));
    assert!(!driver.receiver.is_idle());
    driver.auto.abort = true;
    driver.run();
    assert!(driver.receiver.is_idle());
}

#[test]
fn only_what_was_to_be_aborted_can_be() {
    let mut driver = with_a_store_that_hangs();
    driver.feed(Chunk::of("open").body(b"x"));
    driver.feed(Chunk::of("whole").last(b"x"));
    driver.feed(Chunk::of("aborted").body(b"x"));
    driver.feed(Chunk::of("aborted").error(Some("ENOENT"), None));
    let [open, whole, aborted] = ["open", "whole", "aborted"].map(|file| driver.blob(file));
    for (input, misuse) in [
        (Input::BlobAborted(open), Misuse::AbortedUnasked(open)),
        (Input::BlobAborted(whole), Misuse::AbortedUnasked(whole)),
        (Input::BlobSaved(aborted), Misuse::SavedTooSoon(aborted)),
    ] {
        let before = format!("{:?}", driver.receiver);
        assert_eq!(driver.receiver.handle(driver.now, input), Err(misuse));
        assert_eq!(format!("{:?}", driver.receiver), before, "{misuse}");
    }
}

#[test]
fn nobody_waits_for_answers_after_the_close() {
    let mut driver = with_a_store_that_hangs();
    driver.feed(Batch::new().put_blobs("k", &[file(1)]).end());
    driver.feed(Chunk::of(1).body(b"x"));
    driver.feed(Chunk::of(2).body(b"x"));
    driver.feed(Chunk::of(2).error(None, None));
    driver.input(Input::Shutdown);
    assert!(matches!(driver.commands.last(), Some(Command::Close(_))));
    let [open, aborted] = ["1", "2"].map(|file| driver.blob(file));
    for blob in [open, aborted] {
        let late = driver.receiver.handle(driver.now, Input::BlobAborted(blob));
        assert_eq!(late, Ok(()));
    }
    assert_eq!(driver.aborts(), 2, "each once");
}
