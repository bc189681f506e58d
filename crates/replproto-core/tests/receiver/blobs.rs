//! The life of a blob that does not arrive.

use std::time::Duration;

use replproto_core::error::{Oversize, Watchdog};
use replproto_core::event::BlobFault;
use replproto_core::{
    AbortReason, BlobTries, Command, Epoch, Input, LinkError, Receiver, Sequence, Start,
};

use crate::driver::{Auto, Driver, config};
use crate::wire::{self, Batch, Chunk, file};

#[test]
fn the_source_decides_what_is_gone() {
    let gone: [(Option<&str>, Option<u16>); 4] = [
        (Some("ENOENT"), None),
        (None, Some(404)),
        (None, Some(500)),
        (Some("EACCES"), Some(404)),
    ];
    let held: [(Option<&str>, Option<u16>); 4] = [
        (None, None),
        (Some("EMFILE"), None),
        (None, Some(503)),
        (None, Some(418)),
    ];
    let cases = gone.map(|case| (case, true)).into_iter();
    for ((code, status), is_gone) in cases.chain(held.map(|case| (case, false))) {
        for begun in [false, true] {
            let mut driver = Driver::following(config());
            driver.feed(Batch::new().put_blobs("k", &[file(1)]).end_at(5.0));
            if begun {
                driver.feed(Chunk::of(1).body(b"begun"));
            }
            driver.feed(Chunk::of(1).error(code, status));
            let failure = if is_gone {
                driver.gone().next().expect("gone").clone()
            } else {
                driver.held().next().expect("held").clone()
            };
            assert_eq!(driver.gone().count() + driver.held().count(), 1);
            assert_eq!(failure.blob.is_some(), begun);
            assert_eq!(&*failure.file, "1");
            assert_eq!(failure.record.expect("its record").key, b"k");
            assert_eq!(failure.fault.is_permanent(), is_gone);
            assert_eq!(driver.aborts(), u64::from(begun));
            let expected = if is_gone { 5.0 } else { 1.0 };
            assert_eq!(
                driver.persisted().sequence.0,
                expected,
                "{code:?} {status:?}"
            );
        }
    }
}

#[test]
fn one_failure_is_reported_once() {
    let mut driver = Driver::following(config());
    driver.feed(Batch::new().put_blobs("k", &[file(1)]).end_at(5.0));
    for _ in 0..3 {
        driver.feed(Chunk::of(1).error(None, Some(503)));
    }
    assert_eq!(driver.held().count(), 1);
    driver.feed(Chunk::of(1).error(Some("ENOENT"), None));
    driver.feed(Chunk::of(1).error(Some("ENOENT"), None));
    assert_eq!((driver.held().count(), driver.gone().count()), (1, 1));
    assert_eq!(driver.persisted().sequence.0, 5.0);
}

/// Runs a link on which one blob fails at the source this many times, each time for another record.
fn failing_link(epoch: u64, tries: BlobTries, times: u32) -> (Driver, BlobTries) {
    let mut driver = Driver::unconnected(config(), Start::At(Sequence(1.0)), epoch);
    let receiver = Receiver::new(config(), Start::At(Sequence(1.0)), Epoch(epoch), driver.now);
    driver.receiver = receiver.expect("valid").with_blob_tries(tries);
    driver.input(Input::Connected);
    driver.feed_all(wire::handshake());
    for time in 0..times {
        let mut reference = file("1a");
        reference.transfer = Some(time);
        let record = Batch::new().put_blobs(time, &[reference]);
        driver.feed(record.end_at(f64::from(time) + 5.0));
        let chunk = Chunk::of("1a").transfer(u64::from(time));
        driver.feed(chunk.error(None, Some(503)));
    }
    let tries = driver.receiver.blob_tries().clone();
    driver.input(Input::TransportLost);
    (driver, tries)
}

#[test]
fn a_blob_that_fails_on_five_links_is_gone() {
    let mut tries = BlobTries::default();
    for link in 1..=5 {
        let (driver, after) = failing_link(link, tries, 1);
        assert_eq!(driver.gone().count(), usize::from(link == 5), "link {link}");
        assert_eq!(driver.held().count(), usize::from(link < 5), "link {link}");
        tries = after;
    }
}

#[test]
fn failing_often_on_one_link_counts_once() {
    let (driver, tries) = failing_link(1, BlobTries::default(), 20);
    assert_eq!((driver.held().count(), driver.gone().count()), (20, 0));
    let (driver, _) = failing_link(2, tries, 3);
    assert_eq!((driver.held().count(), driver.gone().count()), (3, 0));
}

#[test]
fn a_blob_that_is_gone_after_its_tries_is_gone_for_every_record_that_shares_it() {
    let mut tries = BlobTries::default();
    for link in 1..5 {
        tries = failing_link(link, tries, 2).1;
    }
    let (driver, _) = failing_link(5, tries, 3);
    assert_eq!((driver.held().count(), driver.gone().count()), (0, 3));
}

#[test]
fn a_local_failure_never_makes_a_blob_gone() {
    let mut driver = Driver::following(config());
    driver.auto.save = false;
    driver.feed(Batch::new().put_blobs("k", &[file(1)]).end_at(5.0));
    for _ in 0..20 {
        driver.feed(Chunk::of(1).last(b"x"));
        let blob = driver.blob("1");
        driver.fail(blob);
    }
    assert_eq!((driver.held().count(), driver.gone().count()), (20, 0));
    assert_eq!(
        driver.opens(),
        20,
        "each transfer after a failure is a new one"
    );
    driver.auto.save = true;
    driver.feed(Chunk::of(1).last(b"x"));
    assert_eq!(
        driver.persisted().sequence.0,
        5.0,
        "the same link may make it good"
    );
}

#[test]
fn late_chunks_of_a_dead_transfer_are_dropped_up_to_its_last() {
    for dead_at in 0..4 {
        let mut driver = Driver::following(config());
        driver.auto.save = false;
        driver.feed(Batch::new().put_blobs("k", &[file(1)]).end_at(5.0));
        for chunk in 0..4 {
            driver.feed(Chunk::of(1).body(&[chunk; 100]));
            if chunk == dead_at {
                let blob = driver.blob("1");
                driver.fail(blob);
            }
        }
        driver.feed(Chunk::of(1).last(b"end"));
        assert_eq!(driver.opens(), 1);
        assert_eq!(
            driver.receiver.stats().chunks_dropped,
            u64::from(4 - dead_at)
        );
        driver.auto.save = true;
        driver.feed(Chunk::of(1).last(b"again"));
        assert_eq!(driver.opens(), 2);
        assert_eq!(driver.persisted().sequence.0, 5.0);
    }
}

#[test]
fn a_dead_key_stays_dead_however_many_blobs_finish_meanwhile() {
    let mut config = config();
    config.limits.finished_blobs = 4;
    let mut driver = Driver::following(config);
    driver.feed(Chunk::of("dead").body(b"first half"));
    let blob = driver.blob("dead");
    driver.fail(blob);
    for other in 0..10 {
        driver.feed(Chunk::of(other).last(b"x"));
    }
    driver.feed(Chunk::of("dead").last(b", second half"));
    driver.feed(Batch::new().put_blobs("k", &[file("dead")]).end_at(5.0));
    assert_eq!(driver.saves(), 10, "half a blob was saved as a whole one");
    assert_eq!(driver.persisted().sequence.0, 1.0);
}

#[test]
fn dead_transfers_are_capped_with_the_open_ones() {
    let mut config = config();
    config.limits.open_blobs = 16;
    config.limits.finished_blobs = 4;
    let mut driver = Driver::following(config);
    for blob in 0..100 {
        if driver.close.is_none() {
            // Its second byte is one too many, and its last chunk never comes.
            driver.feed(Chunk::of(blob).size(1).body(b"xx"));
        }
    }
    assert!(matches!(
        driver.error(),
        LinkError::TooLarge {
            what: Oversize::OpenBlobs,
            ..
        }
    ));
}

#[test]
fn a_blob_that_fails_inside_a_chunk_takes_the_rest_of_it_along() {
    let mut driver = Driver::following(config());
    driver.auto.save = false;
    let message = Chunk::of(1).last(&[7; 10_000]);
    driver.auto.write = false;
    let half = message.slice(..5000);
    driver.input(Input::Message {
        bytes: half,
        last: false,
    });
    let blob = driver.blob("1");
    driver.fail(blob);
    driver.input(Input::Message {
        bytes: message.slice(5000..),
        last: true,
    });
    driver.feed(Chunk::of(1).last(b"again"));
    assert_eq!(driver.opens(), 2);
    assert_eq!(driver.receiver.blob_bytes_out(), 5 + 512);
}

#[test]
fn a_blob_of_another_size_than_announced_is_held() {
    for (announced, chunks) in [(3, 2), (5, 2), (4, 2), (0, 1)] {
        let mut driver = Driver::following(config());
        driver.feed(Batch::new().put_blobs("k", &[file(1)]).end_at(5.0));
        for _ in 1..chunks {
            driver.feed(Chunk::of(1).size(announced).body(b"xx"));
        }
        driver.feed(Chunk::of(1).size(announced).last(b"xx"));
        if announced == 4 {
            assert_eq!(driver.persisted().sequence.0, 5.0);
            continue;
        }
        assert_eq!(driver.persisted().sequence.0, 1.0);
        let failure = driver.held().next().expect("held");
        assert!(matches!(failure.fault, BlobFault::Size { .. }));
        assert!(driver.commands.iter().any(|command| matches!(
            command,
            Command::AbortBlob {
                why: AbortReason::Size,
                ..
            }
        )));
        assert_eq!(driver.saves(), 0);
    }
}

#[test]
fn a_transfer_that_stops_is_aborted_after_the_blob_timeout() {
    let mut config = config();
    config.timeouts.blob = Duration::from_secs(120);
    for has_begun in [false, true] {
        let mut driver = Driver::following(config.clone());
        driver.feed(Batch::new().put_blobs("k", &[file(1)]).end_at(5.0));
        if has_begun {
            driver.feed(Chunk::of(1).body(b"x"));
        }
        driver.pass_alive(100);
        assert_eq!(driver.held().count(), 0);
        driver.pass_alive(40);
        assert_eq!(driver.held().count(), 1);
        assert_eq!(driver.aborts(), u64::from(has_begun));
        assert!(matches!(
            driver.held().next().unwrap().fault,
            BlobFault::Idle
        ));
        driver.pass_alive(1000);
        assert_eq!(driver.held().count(), 1);
        assert!(matches!(
            driver.error(),
            LinkError::TimedOut {
                watchdog: Watchdog::BlobGap,
                ..
            }
        ));
    }
}

#[test]
fn a_chunk_that_comes_slowly_keeps_its_transfer_alive() {
    let mut config = config();
    config.timeouts.blob = Duration::from_secs(120);
    let mut driver = Driver::following(config);
    driver.feed(Batch::new().put_blobs("k", &[file(1)]).end_at(5.0));
    let message = Chunk::of(1).last(&[7; 40]);
    for at in 0..message.len() {
        driver.pass_alive(20);
        driver.input(Input::Message {
            bytes: message.slice(at..=at),
            last: at + 1 == message.len(),
        });
    }
    assert_eq!((driver.aborts(), driver.saves()), (0, 1));
}

#[test]
fn a_blob_whose_record_never_comes_is_aborted_as_well() {
    let mut driver = Driver::following(config());
    driver.feed(Chunk::of(1).body(b"x"));
    driver.pass_alive(880);
    assert_eq!(driver.aborts(), 0);
    driver.pass_alive(60);
    assert_eq!(driver.aborts(), 1);
    driver.pass_alive(2000);
    assert!(driver.close.is_none(), "nothing waits for it");
}

#[test]
fn paused_time_does_not_count_as_idle() {
    let mut config = config();
    config.timeouts.blob = Duration::from_secs(120);
    config.timeouts.not_ready = Duration::from_secs(1000);
    let mut driver = Driver::following(config);
    driver.feed(Batch::new().put_blobs("k", &[file(1)]).end_at(5.0));
    driver.feed(Chunk::of(1).body(b"x"));
    driver.input(Input::NotReady);
    driver.pass(Duration::from_secs(300));
    driver.input(Input::Ready);
    driver.pass_alive(100);
    assert_eq!(driver.held().count(), 0);
    driver.pass_alive(40);
    assert_eq!(driver.held().count(), 1);
}

#[test]
fn pausing_often_does_not_keep_a_dead_transfer_alive() {
    let mut config = config();
    config.timeouts.blob = Duration::from_secs(120);
    let mut driver = Driver::following(config);
    driver.feed(Chunk::of(1).body(b"x"));
    for _ in 0..1100 {
        driver.pass(Duration::from_millis(119));
        driver.input(Input::NotReady);
        driver.pass(Duration::from_millis(10));
        driver.input(Input::Ready);
        driver.input(Input::Pong);
    }
    assert_eq!(driver.aborts(), 1);
}

#[test]
fn open_transfers_are_capped() {
    let mut config = config();
    config.limits.open_blobs = 10;
    let mut driver = Driver::following(config);
    for blob in 0..11 {
        driver.feed(Chunk::of(blob).body(b"x"));
    }
    assert!(matches!(
        driver.error(),
        LinkError::TooLarge {
            what: Oversize::OpenBlobs,
            limit: 10,
            ..
        }
    ));
    assert_eq!(driver.close_code(), Some(1009));
    assert_eq!(driver.opens(), driver.aborts());
}

#[test]
fn references_that_wait_are_capped() {
    let mut config = config();
    config.limits.blob_references = 10;
    let mut driver = Driver::following(config.clone());
    for key in 0..10 {
        driver.feed(Batch::new().put_blobs(key, &[file(key)]).end());
    }
    assert!(driver.close.is_none());
    driver.feed(Batch::new().put_blobs("k", &[file("k")]).end());
    assert!(matches!(
        driver.error(),
        LinkError::TooLarge {
            what: Oversize::BlobReferences,
            ..
        }
    ));

    let mut driver = Driver::following(config);
    let references: Vec<_> = (0..11).map(file).collect();
    driver.feed(Batch::new().put_blobs("k", &references).end());
    assert!(driver.close.is_some());
    assert_eq!(driver.records().count(), 0);
}

#[test]
fn blobs_that_wait_for_a_slow_disk_are_bounded() {
    let mut driver = Driver::following(config());
    driver.auto = Auto {
        save: false,
        ..Auto::ALL
    };
    for blob in 0..5000 {
        driver.feed(Chunk::of(blob).last(b"x"));
    }
    assert!(driver.waiting() > 3000);
    assert!(driver.opens() < 1100);
    driver.auto = Auto::ALL;
    driver.run();
    assert_eq!(driver.saves(), 5000);
}

#[test]
fn an_undecodable_value_refers_to_nothing() {
    use replproto_core::wire::NewEntry;
    use replproto_core::wire::entry::Flags;

    let whole = wire::value(&[file(1), file(2), file(3)]);
    for length in 1..whole.len() {
        let mut driver = Driver::following(config());
        let batch = Batch::new().entry(&NewEntry {
            kind: 1,
            flags: Flags::FULL.with(Flags::BLOBS),
            table: wire::TABLE,
            key: b"k",
            version: wire::TIME,
            value: &whole[..length],
            ..NewEntry::default()
        });
        driver.feed(batch.end_at(5.0));
        assert_eq!(driver.receiver.stats().skipped_undecodable, 1, "{length}");
        assert_eq!(driver.persisted().sequence.0, 5.0);
        driver.input(Input::Shutdown);
    }
}

#[test]
fn a_repeated_transfer_is_never_taken_up_in_its_middle() {
    let mut driver = Driver::following(config());
    driver.auto.save = false;
    driver.feed(Batch::new().put_blobs("k", &[file(1)]).end_at(5.0));
    driver.feed(Chunk::of(1).last(b"whole"));
    // The sender begins it again for another record, while the first is still being saved, and then fails.
    driver.feed(Chunk::of(1).body(b"wh"));
    let blob = driver.blob("1");
    driver.fail(blob);
    driver.feed(Chunk::of(1).body(b"ol"));
    driver.feed(Chunk::of(1).last(b"e"));
    assert_eq!(driver.opens(), 1);
    driver.auto.save = true;
    driver.feed(Chunk::of(1).last(b"whole"));
    assert_eq!(driver.blobs[&driver.blob("1")].bytes, b"whole");
    assert_eq!(driver.persisted().sequence.0, 5.0);
}
