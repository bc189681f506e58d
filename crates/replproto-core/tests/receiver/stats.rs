//! What is counted besides what comes out: time, watchdogs, and what was wrong with blobs.
//!
//! That the time of every pause is right at every moment, also in the middle of it, the driver checks with each input of
//! every test here, against the definition.

use std::time::Duration;

use replproto_core::error::Watchdog;
use replproto_core::event::BlobFault;
use replproto_core::{Input, PauseReason};

use crate::driver::{Auto, Driver, config};
use crate::wire::{Batch, Chunk, file};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn each_reason_to_pause_counts_its_own_time() {
    let mut driver = Driver::following(config());
    driver.auto = Auto::NONE;
    let mut batch = Batch::new();
    for key in 0..200 {
        batch = batch.put(key);
    }
    driver.feed(batch.end_at(5.0));
    let paused = |driver: &Driver, reason: PauseReason| {
        let stats = driver.receiver.stats_at(driver.now);
        stats.paused[reason.index()]
    };
    driver.pass(3 * SECOND);
    driver.input(Input::NotReady);
    driver.pass(2 * SECOND);
    // Between two inputs the pause that is under way goes on.
    driver.now = driver.now.after(SECOND);
    assert_eq!(paused(&driver, PauseReason::ConsumerQueue), 6 * SECOND);
    assert_eq!(paused(&driver, PauseReason::NotReady), 3 * SECOND);
    let before = driver.receiver.stats().paused[PauseReason::NotReady.index()];
    assert_eq!(before, 2 * SECOND);
    driver.input(Input::Ready);
    driver.pass(SECOND);
    driver.auto = Auto::ALL;
    driver.run();
    driver.pass(5 * SECOND);
    assert_eq!(paused(&driver, PauseReason::ConsumerQueue), 7 * SECOND);
    assert_eq!(paused(&driver, PauseReason::NotReady), 3 * SECOND);
    assert_eq!(paused(&driver, PauseReason::CommitBacklog), Duration::ZERO);
}

#[test]
fn a_pause_ends_with_the_link() {
    let mut driver = Driver::following(config());
    driver.input(Input::NotReady);
    driver.pass(SECOND);
    driver.input(Input::Shutdown);
    driver.now = driver.now.after(SECOND);
    let stats = driver.receiver.stats_at(driver.now);
    assert_eq!(stats.paused[PauseReason::NotReady.index()], SECOND);
    assert_eq!(stats, *driver.receiver.stats());
}

#[test]
fn an_input_that_is_refused_passes_no_time() {
    let mut driver = Driver::following(config());
    driver.input(Input::NotReady);
    let before = *driver.receiver.stats();
    driver.now = driver.now.after(SECOND);
    assert!(driver.try_input(Input::Consumed { events: 1000 }).is_err());
    assert_eq!(*driver.receiver.stats(), before);
}

#[test]
fn the_oldest_transaction_is_unsettled_from_its_first_record_until_its_blobs_are_saved() {
    let mut driver = Driver::following(config());
    driver.auto = Auto::NONE;
    assert_eq!(driver.receiver.unsettled_since(), None);
    let first = driver.now;
    driver.feed(Batch::new().put_blobs("a", &[file(1)]).end_at(5.0));
    driver.pass(SECOND);
    let second = driver.now;
    driver.feed(Batch::new().put("b").end_at(6.0));
    driver.pass(SECOND);
    assert_eq!(driver.receiver.unsettled_since(), Some(first));
    driver.auto.commit = true;
    driver.run();
    assert_eq!(driver.receiver.unsettled_since(), Some(first));
    driver.auto.commit = false;
    driver.feed(Batch::new().put("c").end_at(7.0));
    driver.feed(Chunk::of(1).last(b"bytes"));
    driver.auto.write = true;
    driver.auto.save = true;
    driver.run();
    let third = driver.receiver.unsettled_since();
    assert!(third > Some(second), "{third:?}");
    driver.auto = Auto::ALL;
    driver.run();
    assert_eq!(driver.receiver.unsettled_since(), None);
}

#[test]
fn watchdogs_are_counted_by_name() {
    let mut driver = Driver::following(config());
    driver.input(Input::NotReady);
    driver.pass(Duration::from_secs(3600));
    assert!(driver.close.is_some());
    let fired = driver.receiver.stats().watchdogs;
    let mut expected = [0; Watchdog::NAMES.len()];
    expected[Watchdog::NotReady.index()] = 1;
    assert_eq!(fired, expected);
    assert_eq!(Watchdog::NAMES[Watchdog::NotReady.index()], "not_ready");
}

#[test]
fn what_was_wrong_with_blobs_is_counted_and_which_are_missing() {
    let mut driver = Driver::following(config());
    driver.auto.save = false;
    driver.feed(
        Batch::new()
            .put_blobs("k", &[file(1), file(2), file(3)])
            .end_at(5.0),
    );
    driver.feed(Chunk::of(1).error(Some("ENOENT"), None));
    driver.feed(Chunk::of(2).error(None, Some(503)));
    driver.feed(Chunk::of(3).body(b"bytes"));
    let blob = driver.blob("3");
    driver.fail(blob);
    let stats = driver.receiver.stats();
    let count = |name| {
        let index = BlobFault::NAMES.iter().position(|known| *known == name);
        stats.blob_faults[index.expect("a name")]
    };
    assert_eq!((count("source"), count("local")), (2, 1));
    assert_eq!((count("idle"), count("size")), (0, 0));
    assert_eq!((stats.blobs_gone, stats.blobs_held), (1, 2));
    assert_eq!(driver.receiver.blobs_missing(), 2);
}
