//! How links end.

use std::time::Duration;

use bytes::Bytes;
use replproto_core::{
    BlobId, CloseReason, Command, CommitId, Cursor, Epoch, Input, Instant, LinkError, Misuse,
    PauseReason, Sequence, Start, Work,
};

use crate::driver::{Auto, Driver, config};
use crate::wire::{self, Batch, Chunk, file};

/// A link with everything under way at once.
fn busy() -> Driver {
    let mut driver = Driver::following(config());
    driver.auto = Auto::NONE;
    driver.feed(Batch::new().put_blobs("a", &[file(1), file(2)]).end_at(5.0));
    driver.feed(Chunk::of(1).last(b"whole"));
    driver.feed(Chunk::of(2).body(b"half"));
    driver.feed(Chunk::of(3).body(b"of no record"));
    let mut batch = Batch::new();
    for key in 0..200 {
        batch = batch.put(key);
    }
    driver.feed(batch.end_at(6.0));
    driver.input(Input::NotReady);
    driver
}

#[test]
fn the_close_tells_what_became_of_the_work_in_hand() {
    let mut driver = Driver::following(config());
    driver.auto = Auto::NONE;
    driver.feed(Batch::new().put("a").end_at(5.0));
    driver.feed(Batch::new().put_blobs("b", &[file(1)]).end_at(6.0));
    driver.feed(Batch::new().put("c").put("d").end_at(7.0));
    driver.feed(Chunk::of(1).last(b"whole"));
    let commit = |number| CommitId {
        epoch: Epoch(1),
        number,
    };
    let blob = BlobId {
        epoch: Epoch(1),
        number: 0,
    };
    // What was done before the drain does not count as done by it.
    driver.consume(2);
    driver.commit(commit(0));
    driver.input(Input::Drain {
        deadline: Instant::from_micros(2_000_000),
    });
    driver.consume(2);
    driver.commit(commit(1));
    driver.written(blob, 5);
    driver.save(blob);
    driver.pass(Duration::from_secs(2));
    let close = driver.close.expect("the drain is over");
    assert_eq!(close.reason, CloseReason::DrainTimedOut);
    let work = |events, commits, blobs| Work {
        events,
        commits,
        blobs,
    };
    assert_eq!(close.report.done, work(2, 1, 1));
    // The last transaction, and the cursor that followed from the blob.
    assert_eq!(close.report.abandoned, work(4, 2, 0));
    let cursor = close.report.cursor.expect("one is durable");
    assert_eq!(cursor.sequence, Sequence(5.0));
}

#[test]
fn every_end_releases_everything_and_says_so_once() {
    let ends: [(Input, Option<Option<u16>>, bool); 6] = [
        (Input::Shutdown, Some(Some(1008)), true),
        (Input::TransportLost, None, false),
        (
            Input::PeerClosed {
                code: 1011,
                reason: "restart".into(),
            },
            None,
            false,
        ),
        (Input::TextMessage, Some(Some(1003)), false),
        (
            Input::Drain {
                deadline: Instant::from_micros(2_000_000),
            },
            Some(Some(1008)),
            true,
        ),
        (Input::Tick, None, false),
    ];
    for (end, frame, is_final) in ends {
        let mut driver = busy();
        assert!(
            driver
                .receiver
                .pause_reasons()
                .contains(PauseReason::NotReady)
        );
        let is_silent = matches!(end, Input::Tick);
        driver.input(end);
        driver.pass(Duration::from_secs(61) + config().timeouts.settle);
        let close = driver.close.clone().expect("closed");
        assert_eq!(
            close.frame.map(|frame| frame.code),
            if is_silent { Some(Some(1011)) } else { frame }
        );
        assert_eq!(close.reason.is_final(), is_final, "{}", close.reason);
        assert_eq!(driver.aborts(), 3);
        assert!(driver.receiver.is_closed() && driver.receiver.is_paused());
        assert_eq!(driver.receiver.poll_timeout(), None);
        assert!(driver.receiver.poll_command().is_none());
    }
}

#[test]
fn a_shutdown_after_any_command_releases_everything() {
    for step in 0.. {
        let mut driver = Driver::following(config());
        driver.auto = Auto::NONE;
        let messages = [
            Chunk::of(2).body(b"half"),
            Batch::new()
                .put_blobs("a", &[file(1), file(2)])
                .put("b")
                .end_at(5.0),
            Chunk::of(1).last(b"whole"),
            wire::copy_start(3.0),
            Batch::new().put("c").end(),
        ];
        let mut commands = 0;
        'feeding: for bytes in messages {
            let input = Input::Message { bytes, last: true };
            driver.receiver.handle(driver.now, input).expect("open");
            while commands < step {
                if driver.receiver.poll_command().is_none() {
                    continue 'feeding;
                }
                commands += 1;
            }
            break;
        }
        driver
            .receiver
            .handle(driver.now, Input::Shutdown)
            .expect("open");
        let mut closes = 0;
        let mut aborts = 0;
        while let Some(command) = driver.receiver.poll_command() {
            assert_eq!(closes, 0);
            closes += u32::from(matches!(command, Command::Close(_)));
            aborts += u32::from(matches!(command, Command::AbortBlob { .. }));
        }
        assert_eq!(closes, 1);
        assert_eq!(driver.receiver.stats().blobs_opened, u64::from(aborts));
        assert_eq!(driver.receiver.retained_bytes(), 0);
        assert_eq!(
            driver.receiver.events_out() + driver.receiver.blob_bytes_out(),
            0
        );
        if commands < step {
            break;
        }
    }
}

#[test]
fn acknowledgements_that_come_after_the_end_are_ignored() {
    let mut driver = busy();
    let blob = driver.blob("1");
    let id = *driver.uncommitted.keys().next().expect("a transaction");
    driver.input(Input::Shutdown);
    for input in [
        Input::Consumed { events: 1_000_000 },
        Input::Committed(id),
        Input::BlobWritten { blob, bytes: 5 },
        Input::BlobSaved(blob),
        Input::BlobFailed {
            blob,
            why: String::new(),
        },
        Input::Connected,
        Input::Message {
            bytes: wire::disconnect(),
            last: true,
        },
    ] {
        assert_eq!(driver.receiver.handle(driver.now, input), Ok(()));
        assert!(driver.receiver.poll_command().is_none());
    }
}

#[test]
fn acknowledgements_of_an_earlier_link_are_counted_and_ignored() {
    let mut driver = Driver::following(config());
    let (epoch, number) = (Epoch(0), 77);
    driver.input(Input::Committed(CommitId { epoch, number }));
    driver.input(Input::BlobSaved(BlobId { epoch, number }));
    driver.input(Input::BlobFailed {
        blob: BlobId { epoch, number },
        why: String::new(),
    });
    driver.input(Input::BlobWritten {
        blob: BlobId { epoch, number },
        bytes: 9,
    });
    assert_eq!(driver.receiver.stats().late_acknowledgements, 4);
}

#[test]
fn misuse_is_typed_and_changes_nothing() {
    let mut driver = busy();
    let blob = driver.blob("1");
    let half = driver.blob("2");
    let (epoch, number) = (Epoch(1), 77);
    let unknown = BlobId { epoch, number };
    let later = CommitId {
        epoch: Epoch(2),
        number: 0,
    };
    let out = driver.receiver.events_out();
    let before = format!("{:?}", driver.receiver);
    let cases = [
        (
            Input::Consumed { events: out + 1 },
            Misuse::ConsumedTooMany {
                out,
                consumed: out + 1,
            },
        ),
        (
            Input::Committed(CommitId { epoch, number }),
            Misuse::UnknownCommit(CommitId { epoch, number }),
        ),
        (Input::Committed(later), Misuse::UnknownCommit(later)),
        (Input::BlobSaved(unknown), Misuse::UnknownBlob(unknown)),
        (Input::BlobSaved(half), Misuse::SavedTooSoon(half)),
        (
            Input::BlobWritten { blob, bytes: 6 },
            Misuse::WrittenTooMuch {
                blob,
                out: 5,
                written: 6,
            },
        ),
        (Input::Connected, Misuse::OutOfOrder),
    ];
    for (input, misuse) in cases {
        assert_eq!(driver.receiver.handle(driver.now, input), Err(misuse));
        assert_eq!(format!("{:?}", driver.receiver), before, "{misuse}");
    }
    let earlier = Instant::from_micros(driver.now.as_micros() - 1);
    assert_eq!(
        driver.receiver.handle(earlier, Input::Shutdown),
        Err(Misuse::TimeWentBack)
    );
    assert_eq!(format!("{:?}", driver.receiver), before);
    assert!(driver.receiver.poll_command().is_none());
}

#[test]
fn a_drain_finishes_what_is_in_hand_and_confirms_it() {
    let mut driver = Driver::following(config());
    driver.auto = Auto::NONE;
    driver.feed(Chunk::of(1).last(b"whole"));
    driver.feed(Batch::new().put_blobs("a", &[file(1)]).put("b").end_at(5.0));
    let deadline = driver.now.after(Duration::from_secs(300));
    driver.input(Input::Drain { deadline });
    assert!(driver.receiver.is_paused() && driver.close.is_none());
    // The peer cannot be heard while nothing is read.
    driver.pass(Duration::from_secs(200));
    assert!(driver.close.is_none());
    driver.auto = Auto::ALL;
    driver.run();
    driver.pass(Duration::from_millis(2));
    assert_eq!(driver.confirmed, [5.0]);
    assert_eq!(driver.close.unwrap().reason, CloseReason::Drained);
}

#[test]
fn a_drain_waits_for_a_blob_that_is_being_saved_even_if_no_record_does() {
    let mut driver = Driver::following(config());
    driver.auto.save = false;
    driver.feed(Chunk::of(1).last(b"whole"));
    let deadline = driver.now.after(Duration::from_secs(300));
    driver.input(Input::Drain { deadline });
    assert!(driver.close.is_none());
    let blob = driver.blob("1");
    driver.save(blob);
    driver.run();
    assert_eq!(driver.close.as_ref().unwrap().reason, CloseReason::Drained);
    assert_eq!(driver.aborts(), 0);
}

#[test]
fn a_drain_does_not_wait_for_bytes_that_are_not_read_any_more() {
    let mut driver = Driver::following(config());
    driver.feed(Batch::new().put_blobs("a", &[file(1)]).end_at(5.0));
    driver.feed(Chunk::of(1).body(b"half"));
    let deadline = driver.now.after(Duration::from_secs(30));
    driver.input(Input::Drain { deadline });
    assert_eq!(driver.close.as_ref().unwrap().reason, CloseReason::Drained);
    assert_eq!(driver.aborts(), 1);
}

#[test]
fn a_drain_that_takes_too_long_ends_at_its_deadline() {
    let mut driver = busy();
    let deadline = driver.now.after(Duration::from_secs(30));
    driver.input(Input::Drain { deadline });
    driver.pass(Duration::from_secs(29));
    assert!(driver.close.is_none());
    driver.pass(Duration::from_secs(1));
    assert_eq!(driver.close.unwrap().reason, CloseReason::DrainTimedOut);
}

#[test]
fn disconnect_is_answered_by_an_empty_close_and_tried_again() {
    let mut driver = Driver::following(config());
    driver.feed(wire::disconnect());
    assert!(driver.close.is_none() && !driver.receiver.is_paused());
    driver.pass(Duration::from_secs(1));
    let close = driver.close.unwrap();
    assert_eq!(close.reason, CloseReason::Disconnected(None));
    assert!(!close.reason.is_final());
    assert_eq!(close.frame.unwrap().code, None);
}

#[test]
fn the_close_frame_behind_a_disconnect_says_why() {
    let mut driver = Driver::following(config());
    driver.feed(wire::disconnect());
    // What the peer sends nevertheless is neither looked at nor kept.
    driver.feed(Batch::new().put("late").end_at(5.0));
    assert_eq!(driver.receiver.retained_bytes(), 0);
    let (code, reason) = (1008, String::from("Unauthorized"));
    driver.input(Input::PeerClosed { code, reason });
    let close = driver.close.unwrap();
    assert_eq!(
        close.reason.to_string(),
        "the peer sent DISCONNECT and closed the connection with 1008 \"Unauthorized\""
    );
    assert_eq!(close.frame, None);
    assert_eq!(driver.receiver.stats().records, 0);
}

#[test]
fn nobody_reads_on_behind_a_message_that_is_too_large_to_find_a_close_frame() {
    let mut driver = Driver::following(config());
    driver.feed(wire::disconnect());
    assert!(!driver.receiver.is_paused());
    driver.input(Input::TooLarge { bytes: 1 << 40 });
    assert_eq!(
        driver.close.unwrap().reason,
        CloseReason::Disconnected(None)
    );
}

#[test]
fn nothing_is_said_to_a_peer_that_is_gone() {
    let mut driver = Driver::connected(config(), Start::Resume(Cursor::at(Sequence(5.0))));
    let sent = driver.sent().count();
    for bytes in wire::handshake() {
        let input = Input::Message { bytes, last: true };
        driver.receiver.handle(driver.now, input).expect("open");
    }
    // It has said all of that before it went, and what it asks for is not answered any more.
    driver.input(Input::TransportLost);
    assert!(driver.close.is_some());
    assert_eq!(driver.sent().count(), sent);
    assert_eq!(driver.receiver.stats().confirmations, 0);
}

#[test]
fn a_disconnect_is_told_although_the_close_behind_it_is_known_first() {
    let mut driver = Driver::following(config());
    let bytes = wire::disconnect();
    let input = Input::Message { bytes, last: true };
    driver.receiver.handle(driver.now, input).expect("open");
    let (code, reason) = (1000, String::from("bye"));
    driver.input(Input::PeerClosed { code, reason });
    let close = driver.close.unwrap();
    assert_eq!(
        close.reason.to_string(),
        "the peer sent DISCONNECT and closed the connection with 1000 \"bye\""
    );
}

type End = (&'static str, fn(&mut Driver));

/// Every way in which a connection ends although nobody has asked for it.
fn ends() -> [End; 6] {
    [
        ("lost", |driver| driver.input(Input::TransportLost)),
        ("closed", |driver| {
            let (code, reason) = (1012, String::new());
            driver.input(Input::PeerClosed { code, reason });
        }),
        ("text", |driver| driver.input(Input::TextMessage)),
        ("too large", |driver| {
            driver.input(Input::TooLarge { bytes: 1 << 40 });
        }),
        ("malformed", |driver| {
            let bytes = Bytes::from_static(b"nonsense");
            driver.input(Input::Message { bytes, last: true });
        }),
        ("disconnected", |driver| {
            let bytes = wire::disconnect();
            driver.input(Input::Message { bytes, last: true });
        }),
    ]
}

#[test]
fn what_came_whole_is_durable_before_the_close_is_told() {
    for (name, end) in ends() {
        let mut driver = Driver::following(config());
        driver.auto = Auto::NONE;
        // Read in one go, so that most of it is not even decoded when the connection ends.
        for number in 0..300_u32 {
            let bytes = Batch::new().put(number).end_at(f64::from(number) + 2.0);
            let input = Input::Message { bytes, last: true };
            driver.receiver.handle(driver.now, input).expect("room");
        }
        end(&mut driver);
        assert!(driver.close.is_none(), "{name}");
        driver.auto = Auto::ALL;
        driver.run();
        driver.pass(Duration::from_secs(2));
        let close = driver.close.as_ref().expect(name);
        assert_eq!(driver.records().count(), 300, "{name}");
        assert_eq!(driver.persisted().sequence.0, 301.0, "{name}");
        let report = &close.report;
        assert_eq!(report.abandoned, Work::default(), "{name}");
        assert_eq!(report.cursor.as_ref(), Some(driver.persisted()), "{name}");
        // Only who listens is told.
        let is_gone = matches!(name, "lost" | "closed");
        assert_eq!(driver.confirmed.last().is_none(), is_gone, "{name}");
        assert_eq!(close.frame.is_none(), is_gone, "{name}");
    }
}

#[test]
fn an_application_that_does_not_finish_is_not_waited_for_longer_than_said() {
    // The others are only found when the application takes what came before them.
    let is_seen_at_once = |name: &str| !matches!(name, "malformed" | "disconnected");
    for (name, end) in ends().into_iter().filter(|(name, _)| is_seen_at_once(name)) {
        let mut driver = busy();
        end(&mut driver);
        let settle = config().timeouts.settle;
        driver.pass(settle - Duration::from_micros(1));
        assert!(driver.close.is_none(), "{name}");
        driver.pass(Duration::from_micros(1));
        let close = driver.close.as_ref().expect(name);
        assert!(!close.reason.is_final(), "{name}: {}", close.reason);
        assert!(close.report.abandoned.commits > 0, "{name}");
    }
}

#[test]
fn the_cause_that_says_most_is_told() {
    let malformed = |driver: &mut Driver| {
        let bytes = Bytes::from_static(b"nonsense");
        driver
            .receiver
            .handle(driver.now, Input::Message { bytes, last: true })
    };
    // It was sent before the peer went.
    let mut driver = Driver::following(config());
    malformed(&mut driver).expect("open");
    driver.input(Input::TransportLost);
    assert!(matches!(driver.error(), LinkError::Malformed { .. }));
    assert_eq!(driver.close.as_ref().map(|close| &close.frame), Some(&None));
    // The peer goes because of the end that it was told of.
    let mut driver = busy();
    driver.input(Input::TextMessage);
    driver.input(Input::TransportLost);
    driver.input(Input::Shutdown);
    assert_eq!(driver.error(), &LinkError::TextMessage);
    // The host has asked for the end, and the peer is faster.
    let mut driver = busy();
    let deadline = driver.now.after(Duration::from_secs(1));
    driver.input(Input::Drain { deadline });
    driver.input(Input::TransportLost);
    assert!(driver.close.is_none());
    driver.pass(Duration::from_secs(1));
    assert_eq!(driver.close.unwrap().reason, CloseReason::TransportLost);
}

#[test]
fn a_confirmation_that_is_due_goes_out_before_the_close() {
    let mut driver = Driver::following(config());
    driver.feed(Batch::new().put("a").end_at(5.0));
    driver.input(Input::Shutdown);
    assert_eq!(driver.confirmed, [5.0]);
    let mut driver = Driver::following(config());
    driver.feed(Batch::new().put("a").end_at(5.0));
    driver.input(Input::TransportLost);
    assert!(driver.confirmed.is_empty());
}

#[test]
fn an_unknown_table_or_origin_ends_the_link_and_nothing_of_the_batch() {
    use replproto_core::wire::NewEntry;

    let bad = [
        NewEntry {
            table: 6,
            ..NewEntry::default()
        },
        NewEntry {
            table: wire::TABLE,
            node: 9,
            ..NewEntry::default()
        },
    ];
    for entry in bad {
        let mut driver = Driver::following(config());
        let entry = NewEntry {
            kind: 2,
            key: b"k",
            version: wire::TIME,
            ..entry
        };
        driver.feed(Batch::new().put("a").end_at(5.0));
        driver.feed(Batch::new().put("b").entry(&entry).put("c").end_at(6.0));
        driver.feed(Batch::new().put("d").end_at(7.0));
        assert!(matches!(
            driver.error(),
            LinkError::Missing { message: 5, .. }
        ));
        assert_eq!(driver.close_code(), Some(1011));
        assert_eq!(driver.records().count(), 2);
        assert_eq!(driver.ends().count(), 1);
        assert_eq!(driver.persisted().sequence.0, 5.0);
    }
}
