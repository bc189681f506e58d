//! Bounds and pauses.

use std::time::Duration;

use replproto_core::error::Watchdog;
use replproto_core::{Input, LinkError, Misuse, PauseReason, Sequence, Start};

use crate::driver::{Auto, Driver, config};
use crate::wire::{self, Batch, Chunk, file};

#[test]
fn one_message_with_thousands_of_records_never_floods_a_stalled_consumer() {
    let mut driver = Driver::following(config());
    driver.auto = Auto::NONE;
    let mut batch = Batch::new();
    for key in 0..10_000 {
        batch = batch.put(key);
    }
    driver.feed(batch.end_at(5.0));
    assert_eq!(driver.records().count(), 101);
    assert!(driver.is_paused_for(PauseReason::ConsumerQueue));
    let mut resumes = 0;
    while driver.ends().count() == 0 {
        let out = driver.receiver.events_out();
        assert_eq!(out, 101.min(10_001 - 101 * resumes));
        // The protocol's low mark is an empty queue: all but the last change nothing.
        driver.consume(out - 1);
        driver.run();
        assert_eq!(driver.receiver.events_out(), 1);
        driver.consume(1);
        driver.run();
        resumes += 1;
    }
    assert_eq!(driver.records().count(), 10_000);
    assert_eq!(driver.most_events_out, 101);
    assert!(driver.close.is_none());
}

#[test]
fn a_backlog_of_many_transactions_arrives_whole_and_in_order() {
    let mut driver = Driver::following(config());
    driver.auto = Auto {
        consume: false,
        commit: false,
        ..Auto::ALL
    };
    let mut turn = 0_u64;
    for transaction in 0..40 {
        let mut batch = Batch::new();
        for record in 0..500 {
            batch = batch.put(transaction * 500 + record);
        }
        driver.feed(batch.end_at(f64::from(transaction) + 2.0));
        while driver.receiver.events_out() > 0 {
            turn += 1;
            let out = driver.receiver.events_out();
            // Stalls, trickles and bursts.
            driver.consume([0, 1, out / 2, out][turn as usize % 4].min(out));
            driver.run();
        }
        if transaction % 7 == 6 {
            while let Some(id) = driver.uncommitted.keys().next_back().copied() {
                driver.commit(id);
            }
            driver.run();
        }
    }
    driver.auto = Auto::ALL;
    driver.run();
    driver.pass(Duration::from_millis(10));
    let keys: Vec<String> = driver
        .records()
        .map(|record| String::from_utf8_lossy(record.key_bytes()).into_owned())
        .collect();
    let expected: Vec<String> = (0..20_000).map(|key| key.to_string()).collect();
    assert_eq!(keys, expected);
    assert_eq!(driver.ends().count(), 40);
    assert_eq!(driver.confirmed.last(), Some(&41.0));
}

#[test]
fn messages_that_nobody_takes_stay_within_the_inbound_budget() {
    let mut config = config();
    config.flow.inbound.high.bytes = 65_536;
    config.flow.inbound.low.bytes = 32_768;
    let mut driver = Driver::following(config);
    driver.auto = Auto::NONE;
    for key in 0..1000 {
        driver.feed(Batch::new().put_sized(key, 8000).end());
    }
    assert!(driver.receiver.stats().peak_retained_bytes < 65_536 + 8192);
    assert!(driver.waiting() > 900);
    driver.auto = Auto::ALL;
    driver.run();
    assert_eq!(driver.records().count(), 1000);
    assert_eq!(driver.receiver.retained_bytes(), 0);
}

#[test]
fn a_message_above_the_budget_is_admitted_alone() {
    let mut config = config();
    config.flow.inbound.high.bytes = 10_000;
    config.flow.inbound.low.bytes = 5000;
    for parts in [&[1_000_000][..], &[1000], &[77, 4096, 1]] {
        let mut driver = Driver::following(config.clone());
        let message = Batch::new()
            .put_sized("large", 300_000)
            .put("small")
            .end_at(9.0);
        driver.feed_parts(message, parts);
        assert_eq!(driver.records().count(), 2);
        assert_eq!(driver.receiver.retained_bytes(), 0);
        assert!(driver.close.is_none());
    }
}

#[test]
fn a_small_slice_keeps_its_message_charged_until_it_is_consumed() {
    let mut driver = Driver::following(config());
    driver.auto = Auto::NONE;
    let message = Batch::new().put("small").put_sized("large", 100_000).end();
    let length = message.len() as u64;
    driver.feed(message);
    assert!(driver.receiver.retained_bytes() > length);
    driver.consume(2);
    // The second record is a slice of it, too; the end of the transaction is not.
    assert_eq!(driver.receiver.retained_bytes(), 0);
}

#[test]
fn transactions_that_are_not_committed_stop_decoding() {
    let mut driver = Driver::following(config());
    driver.auto = Auto {
        commit: false,
        ..Auto::ALL
    };
    for key in 0..400 {
        driver.feed(Batch::new().put(key).end());
    }
    assert_eq!(driver.receiver.commits_out(), 151);
    assert!(driver.is_paused_for(PauseReason::CommitBacklog));
    let ids: Vec<_> = driver.uncommitted.keys().copied().collect();
    // In any order, down to the low mark.
    for id in ids.into_iter().rev().take(75) {
        driver.commit(id);
        driver.run();
        assert_eq!(driver.records().count(), 151);
    }
    let id = *driver.uncommitted.keys().next().expect("one is left");
    driver.commit(id);
    driver.run();
    assert_eq!(driver.records().count(), 151 + 76);
    driver.auto = Auto::ALL;
    driver.run();
    assert_eq!(driver.records().count(), 400);
}

#[test]
fn blobs_that_are_not_written_push_back() {
    let mut driver = Driver::following(config());
    driver.auto = Auto {
        write: false,
        ..Auto::ALL
    };
    for _ in 0..100 {
        driver.feed(Chunk::of("1a").body(&[7; 65_536]));
    }
    driver.feed(Chunk::of("1a").last(&[7; 10]));
    let most = (1 << 20) + 65_536 + 512;
    assert!(driver.is_paused_for(PauseReason::BlobStream));
    assert!(driver.receiver.stats().peak_blob_bytes_out <= most);
    driver.auto = Auto::ALL;
    driver.run();
    assert_eq!(driver.blobs[&driver.blob("1a")].bytes.len(), 6_553_610);
    assert!(driver.receiver.stats().peak_blob_bytes_out <= most);
    assert_eq!(driver.receiver.blob_bytes_out(), 0);
}

#[test]
fn a_failing_blob_gives_back_its_pause() {
    let mut driver = Driver::following(config());
    driver.auto = Auto {
        write: false,
        ..Auto::ALL
    };
    for _ in 0..20 {
        driver.feed(Chunk::of("1a").body(&[7; 65_536]));
    }
    assert!(driver.is_paused_for(PauseReason::BlobStream));
    let blob = driver.blob("1a");
    driver.fail(blob);
    assert!(!driver.receiver.is_paused());
    assert_eq!(driver.waiting(), 0);
    assert_eq!(driver.receiver.blob_bytes_out(), 0);
}

#[test]
fn empty_chunks_cannot_strand_a_pause() {
    let mut driver = Driver::following(config());
    for _ in 0..5000 {
        driver.feed(Chunk::of("1a").body(&[]));
    }
    driver.feed(Chunk::of("1a").last(b"x"));
    assert!(driver.close.is_none() && !driver.receiver.is_paused());
    assert_eq!(driver.waiting(), 0);
    assert_eq!(driver.saves(), 1);
}

#[test]
fn a_pause_without_progress_ends_the_link_and_names_the_reason() {
    let mut driver = Driver::following(config());
    driver.auto = Auto {
        commit: false,
        ..Auto::ALL
    };
    for key in 0..151 {
        driver.feed(Batch::new().put(key).end());
    }
    assert!(driver.is_paused_for(PauseReason::CommitBacklog));
    driver.pass(Duration::from_secs(1799));
    assert!(driver.close.is_none());
    driver.pass(Duration::from_secs(2));
    assert!(driver.receiver.is_ending());
    driver.pass(config().timeouts.settle);
    let LinkError::TimedOut {
        watchdog: Watchdog::PauseStall(reasons),
        ..
    } = driver.error()
    else {
        panic!("{:?}", driver.error());
    };
    assert_eq!(reasons.to_string(), "commit_backlog");
    assert_eq!(driver.close_code(), Some(1011));
}

#[test]
fn the_slowest_progress_keeps_a_paused_link_alive() {
    let mut driver = Driver::following(config());
    driver.auto = Auto::NONE;
    let mut batch = Batch::new();
    for key in 0..300 {
        batch = batch.put(key);
    }
    driver.feed(batch.end());
    for _ in 0..100 {
        driver.pass(Duration::from_secs(1799));
        driver.consume(1);
        assert!(driver.close.is_none());
    }
}

#[test]
fn consuming_nothing_is_no_progress() {
    let mut driver = Driver::following(config());
    driver.auto = Auto::NONE;
    let mut batch = Batch::new();
    for key in 0..300 {
        batch = batch.put(key);
    }
    driver.feed(batch.end());
    for _ in 0..3 {
        driver.pass(Duration::from_secs(700));
        if driver.close.is_none() {
            driver.consume(0);
        }
    }
    assert!(driver.close.is_some());
}

#[test]
fn what_comes_too_late_or_says_nothing_is_no_progress() {
    let mut config = config();
    let settle = config.timeouts.settle;
    config.flow.consumer.high.items = 1;
    config.timeouts.blob = Duration::from_secs(100_000);
    let mut driver = Driver::following(config);
    driver.feed(Chunk::of(1).last(b"x"));
    let over = driver.blob("1");
    driver.auto = Auto::NONE;
    driver.feed(Chunk::of(2).body(b"x"));
    let open = driver.blob("2");
    driver.feed(Batch::new().put("a").put("b").end());
    assert!(driver.is_paused_for(PauseReason::ConsumerQueue));
    let why = String::from("late");
    for input in [
        Input::BlobSaved(over),
        Input::BlobFailed { blob: over, why },
        Input::BlobWritten {
            blob: open,
            bytes: 0,
        },
    ] {
        driver.pass(Duration::from_secs(599));
        assert!(driver.close.is_none());
        driver.input(input);
    }
    driver.pass(Duration::from_secs(4) + settle);
    let LinkError::TimedOut { watchdog, .. } = driver.error() else {
        panic!("{:?}", driver.close);
    };
    assert!(matches!(watchdog, Watchdog::PauseStall(_)));
}

#[test]
fn saying_that_it_is_ready_or_not_is_no_progress() {
    for is_set_up in [false, true] {
        let mut config = config();
        config.flow.consumer.high.items = 1;
        let mut driver = Driver::connected(config, Start::At(Sequence(1.0)));
        driver.auto = Auto::NONE;
        driver.feed(wire::node_name("peer"));
        driver.feed(wire::schema(is_set_up.then_some(1)));
        driver.feed(wire::schema(None));
        assert!(driver.is_paused_for(PauseReason::ConsumerQueue));
        for _ in 0..3 {
            driver.pass(Duration::from_secs(700));
            if driver.close.is_none() {
                driver.input(if is_set_up {
                    Input::Ready
                } else {
                    Input::NotReady
                });
            }
        }
        assert!(driver.close.is_some(), "set up: {is_set_up}");
    }
}

#[test]
fn pings_go_out_while_reading_is_paused() {
    let mut driver = Driver::following(config());
    driver.auto = Auto::NONE;
    let mut batch = Batch::new();
    for key in 0..300 {
        batch = batch.put(key);
    }
    driver.feed(batch.end());
    assert!(driver.receiver.is_paused());
    let before = driver.pings();
    driver.pass(Duration::from_secs(600));
    assert_eq!(driver.pings() - before, 20);
    assert!(
        driver.close.is_none(),
        "a paused link does not call its peer silent"
    );
}

#[test]
fn a_silent_peer_ends_the_link_only_while_it_could_be_heard() {
    let mut driver = Driver::following(config());
    driver.pass(Duration::from_secs(59));
    driver.input(Input::Pong);
    driver.pass(Duration::from_secs(59));
    driver.input(Input::Heard { bytes: 1 });
    driver.pass(Duration::from_secs(59));
    driver.input(Input::Heard { bytes: 0 });
    driver.pass(Duration::from_secs(2));
    assert!(matches!(
        driver.error(),
        LinkError::TimedOut {
            watchdog: Watchdog::Silence,
            ..
        }
    ));
    assert_eq!(driver.close.unwrap().frame, None);
}

#[test]
fn a_peer_that_stays_silent_after_a_pause_ends_the_link() {
    let mut driver = Driver::following(config());
    driver.pass(Duration::from_secs(50));
    driver.input(Input::NotReady);
    driver.pass(Duration::from_secs(50));
    driver.input(Input::Ready);
    assert!(!driver.receiver.is_paused());
    // No byte comes any more, and the whole limit counts from the end of the pause.
    driver.pass(Duration::from_secs(59));
    assert!(driver.close.is_none());
    driver.pass(Duration::from_secs(2));
    assert!(matches!(
        driver.error(),
        LinkError::TimedOut {
            watchdog: Watchdog::Silence,
            ..
        }
    ));
}

#[test]
fn a_message_that_comes_with_a_late_wake_up_proves_the_peer_alive() {
    let mut driver = Driver::following(config());
    driver.now = driver.now.after(Duration::from_secs(100));
    driver.input(Input::Message {
        bytes: wire::sequence_update(5.0),
        last: true,
    });
    assert!(driver.close.is_none());
}

#[test]
fn an_application_that_is_not_ready_pauses_reading_and_loses_nothing() {
    let mut driver = Driver::following(config());
    driver.input(Input::NotReady);
    assert!(driver.is_paused_for(PauseReason::NotReady));
    for key in 0..10 {
        driver.feed(Batch::new().put(key).end());
    }
    driver.pass(Duration::from_secs(59));
    assert_eq!(driver.records().count(), 0);
    driver.input(Input::Ready);
    assert_eq!(driver.records().count(), 10);

    driver.input(Input::NotReady);
    driver.pass(Duration::from_secs(61));
    assert!(matches!(
        driver.error(),
        LinkError::TimedOut {
            watchdog: Watchdog::NotReady,
            ..
        }
    ));
}

#[test]
fn saying_again_that_it_is_not_ready_does_not_extend_the_wait() {
    let mut driver = Driver::following(config());
    for _ in 0..7 {
        driver.input(Input::NotReady);
        driver.pass(Duration::from_secs(10));
    }
    assert!(driver.close.is_some());
}

#[test]
fn a_host_that_ignores_the_pause_is_told_and_changes_nothing() {
    let mut driver = Driver::following(config());
    driver.auto = Auto::NONE;
    let message = Batch::new().put_sized("k", 1 << 20).end();
    for _ in 0..20 {
        let input = Input::Message {
            bytes: message.clone(),
            last: true,
        };
        let before = driver.receiver.retained_bytes();
        match driver.receiver.handle(driver.now, input) {
            Ok(()) => assert!(before <= 2 * (4 << 20)),
            Err(error) => {
                assert_eq!(error, Misuse::FedWhilePaused { retained: before });
                assert_eq!(driver.receiver.retained_bytes(), before);
                return;
            }
        }
    }
    panic!("never refused");
}

#[test]
fn every_reason_at_once_is_lifted_one_by_one() {
    let mut config = config();
    config.flow.inbound.high.bytes = 2000;
    config.flow.inbound.low.bytes = 1000;
    config.flow.consumer.high.items = 3;
    config.flow.commits.high.items = 1;
    config.flow.commits.low.items = 0;
    config.flow.blobs.high.bytes = 100;
    config.flow.blobs.low.bytes = 0;
    let mut driver = Driver::following(config);
    driver.auto = Auto::NONE;
    driver.feed(Batch::new().put_blobs("a", &[file("1")]).end());
    driver.feed(Batch::new().put("b").end());
    assert!(driver.is_paused_for(PauseReason::ConsumerQueue));
    assert!(driver.is_paused_for(PauseReason::CommitBacklog));
    driver.input(Input::NotReady);
    // Messages that were on their way when the pause was announced.
    for _ in 0..3 {
        let input = Input::Message {
            bytes: Chunk::of("1").body(&[1; 1000]),
            last: true,
        };
        driver.input(input);
    }
    assert!(driver.is_paused_for(PauseReason::InboundQueue));
    driver.consume(driver.receiver.events_out());
    driver.run();
    assert!(!driver.is_paused_for(PauseReason::ConsumerQueue));
    driver.input(Input::Ready);
    assert!(!driver.is_paused_for(PauseReason::NotReady));
    assert_eq!(driver.chunks(), 0, "the commit backlog still holds");
    driver.auto.commit = true;
    driver.run();
    assert!(driver.is_paused_for(PauseReason::BlobStream));
    driver.auto = Auto::ALL;
    driver.run();
    assert!(!driver.receiver.is_paused());
    assert_eq!(driver.chunks(), 3);
}
