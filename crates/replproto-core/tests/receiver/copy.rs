//! Base copies.

use std::time::Duration;

use replproto_core::config::{Mode, OnGap};
use replproto_core::error::Watchdog;
use replproto_core::event::CopyStarted;
use replproto_core::wire::Message;
use replproto_core::{
    Command, Config, CopyCursor, Cursor, Event, Input, LinkError, Sequence, Start, WallTime,
};

use crate::driver::{Auto, Driver, config};
use crate::wire::{self, Batch, Chunk, file};

/// A link that has asked for a copy and been told that it begins.
fn copying() -> Driver {
    let mut driver = Driver::connected(config(), Start::Copy);
    driver.feed_all(wire::handshake());
    driver.feed(wire::copy_start(100.0));
    driver
}

fn completed(driver: &Driver) -> Vec<Cursor> {
    driver
        .events()
        .filter_map(|event| match event {
            Event::CopyCompleted(checkpoint) => Some(checkpoint.cursor.clone()),
            _ => None,
        })
        .collect()
}

fn started(driver: &Driver) -> Vec<CopyStarted> {
    driver
        .events()
        .filter_map(|event| match event {
            Event::CopyStarted(started) => Some(started.clone()),
            _ => None,
        })
        .collect()
}

fn copy_key(driver: &Driver) -> Option<String> {
    let copy = driver.persisted().copy.as_ref()?;
    assert_eq!((copy.copy_start, copy.order), (WallTime(100.0), 1));
    assert_eq!(&*copy.table, "Dog");
    Some(String::from_utf8_lossy(&copy.after_key).into_owned())
}

#[test]
fn a_copy_stores_its_progress_and_ends_once_all_is_durable() {
    let mut driver = copying();
    let [start] = &started(&driver)[..] else {
        panic!("no start");
    };
    assert_eq!((start.forced, start.resumed), (false, false));
    assert_eq!(start.copy_start, Some(WallTime(100.0)));
    driver.feed(Batch::new().put("a").put("b").end());
    assert_eq!(copy_key(&driver).as_deref(), Some("b"));
    driver.feed(Batch::new().put("c").end());
    assert_eq!(copy_key(&driver).as_deref(), Some("c"));
    driver.feed(Batch::new().end_at(100.0));
    assert!(driver.receiver.is_copying());
    driver.feed(wire::copy_complete());
    assert!(!driver.receiver.is_copying());
    assert_eq!(completed(&driver), [Cursor::at(Sequence(100.0))]);
    driver.pass(Duration::from_millis(2));
    assert_eq!(
        driver.confirmed,
        [100.0],
        "nothing is confirmed during a copy"
    );
    driver.feed(Batch::new().put("d").end_at(101.0));
    assert_eq!(*driver.persisted(), Cursor::at(Sequence(101.0)));
}

#[test]
fn only_rows_move_the_cursor_during_a_copy() {
    let mut driver = copying();
    for expected in [None, Some("a")] {
        driver.feed(Batch::new().end_at(100.0));
        driver.feed(wire::sequence_update(150.0));
        driver.pass(Duration::from_millis(2));
        assert_eq!(copy_key(&driver).as_deref(), expected);
        assert_eq!(driver.persisted().sequence, Sequence(0.0));
        driver.feed(Batch::new().put("a").end());
    }
    assert!(driver.close.is_none() && driver.confirmed.is_empty());
}

#[test]
fn a_copy_waits_for_its_blobs_and_only_for_them() {
    let mut driver = copying();
    driver.feed(Batch::new().put_blobs("a", &[file(1)]).end());
    driver.feed(Batch::new().put("b").end_at(100.0));
    driver.feed(wire::copy_complete());
    driver.feed(Batch::new().put_blobs("live", &[file(2)]).end_at(101.0));
    assert!(completed(&driver).is_empty());
    assert_eq!(copy_key(&driver), None);
    driver.feed(Chunk::of(1).last(b"x"));
    assert_eq!(completed(&driver), [Cursor::at(Sequence(100.0))]);
    assert_eq!(*driver.persisted(), Cursor::at(Sequence(100.0)));
    driver.feed(Chunk::of(2).last(b"x"));
    assert_eq!(*driver.persisted(), Cursor::at(Sequence(101.0)));
}

#[test]
fn the_last_commit_of_a_copy_may_belong_to_the_live_tail() {
    let mut driver = copying();
    driver.auto = Auto {
        commit: false,
        ..Auto::ALL
    };
    driver.feed(Batch::new().put("a").end_at(100.0));
    driver.feed(wire::copy_complete());
    for live in 0..10 {
        driver.feed(Batch::new().put(live).end_at(101.0 + f64::from(live)));
    }
    // The last first.
    while completed(&driver).is_empty() {
        let id = *driver.uncommitted.keys().next_back().expect("not complete");
        driver.commit(id);
        driver.run();
    }
    driver.auto = Auto::ALL;
    driver.run();
    assert_eq!(*driver.persisted(), Cursor::at(Sequence(110.0)));
}

#[test]
fn the_rows_that_are_paused_before_the_end_of_a_copy_belong_to_it() {
    let mut driver = copying();
    driver.auto = Auto::NONE;
    driver.consume(driver.receiver.events_out());
    driver.run();
    let mut batch = Batch::new();
    for key in 0..500 {
        batch = batch.put(format!("{key:03}"));
    }
    driver.feed(batch.end_at(100.0));
    driver.feed(wire::copy_complete());
    assert!(driver.receiver.is_copying());
    driver.auto = Auto {
        commit: false,
        ..Auto::ALL
    };
    driver.run();
    assert_eq!(driver.records().count(), 500);
    assert!(completed(&driver).is_empty());
    let id = *driver.uncommitted.keys().next().expect("one transaction");
    assert_eq!(driver.uncommitted.len(), 1);
    driver.commit(id);
    driver.run();
    assert_eq!(copy_key(&driver).as_deref(), Some("499"));
    assert_eq!(completed(&driver).len(), 1);
}

#[test]
fn a_second_start_begins_a_new_pass() {
    for outstanding in [false, true] {
        let mut driver = copying();
        let blobs = if outstanding { vec![file(1)] } else { vec![] };
        driver.feed(Batch::new().put_blobs("a", &blobs).end_at(100.0));
        if outstanding {
            driver.feed(wire::copy_complete());
        }
        driver.feed(wire::copy_start(200.0));
        driver.feed(Chunk::of(1).last(b"x"));
        assert!(completed(&driver).is_empty());
        driver.feed(Batch::new().put("a").end_at(200.0));
        assert!(driver.receiver.is_copying());
        driver.feed(wire::copy_complete());
        assert_eq!(completed(&driver), [Cursor::at(Sequence(200.0))]);
        assert_eq!(started(&driver).len(), 2);
    }
}

#[test]
fn a_new_pass_forgets_the_progress_of_the_last() {
    for is_complete in [false, true] {
        let mut driver = copying();
        driver.feed(Batch::new().put("a").end());
        driver.feed(Batch::new().put_blobs("b", &[file(1)]).end());
        driver.feed(Batch::new().put("c").end());
        if is_complete {
            driver.feed(Batch::new().end_at(100.0));
            driver.feed(wire::copy_complete());
            driver.feed(Batch::new().put("live").end_at(101.0));
        }
        driver.feed(wire::copy_start(200.0));
        let before = driver.persisted().clone();
        driver.feed(Chunk::of(1).last(b"x"));
        driver.pass(Duration::from_millis(2));
        assert_eq!(*driver.persisted(), before, "a cursor of the last pass");
        assert!(driver.confirmed.is_empty());
        driver.feed(Batch::new().put("a").end());
        let cursor = driver.persisted().copy.as_ref().expect("a copy");
        assert_eq!(
            (cursor.copy_start, &cursor.after_key[..]),
            (WallTime(200.0), &b"a"[..])
        );
    }
}

#[test]
fn a_cursor_that_is_out_when_a_new_pass_begins_is_not_forgotten() {
    let mut driver = Driver::following(config());
    driver.auto.commit = false;
    driver.feed(Batch::new().put("a").end_at(501.0));
    driver.feed(wire::copy_start(500.0));
    driver.feed(wire::copy_start(500.0));
    driver.feed(wire::copy_complete());
    driver.auto.commit = true;
    driver.run();
    assert_eq!(completed(&driver), [Cursor::at(Sequence(501.0))]);
}

#[test]
fn a_copy_that_was_not_asked_for_is_forced() {
    let mut driver = Driver::connected(config(), Start::Resume(Cursor::at(Sequence(50.0))));
    driver.feed_all(wire::handshake());
    driver.pass(Duration::from_millis(2));
    driver.feed(wire::copy_start(100.0));
    assert!(started(&driver)[0].forced);
    driver.feed(Batch::new().put("a").end());
    let cursor = driver.persisted();
    assert_eq!(cursor.sequence, Sequence(50.0));
    assert!(cursor.copy.is_some());
    driver.feed(Batch::new().end_at(100.0));
    driver.feed(wire::copy_complete());
    driver.pass(Duration::from_millis(2));
    assert_eq!(driver.confirmed, [50.0, 100.0]);
}

#[test]
fn a_copy_that_was_not_asked_for_ends_the_link_if_only_a_complete_one_will_do() {
    let config = Config {
        on_gap: OnGap::Close,
        ..config()
    };
    let at = |position| Start::Resume(Cursor::at(Sequence(position)));
    let mut driver = Driver::connected(config.clone(), at(50.0));
    driver.feed_all(wire::handshake());
    driver.feed(wire::copy_start(3_600_050.0));
    assert!(started(&driver).is_empty());
    assert_eq!(
        driver.error().to_string(),
        "the publisher no longer has its log from 50 on: the link was away for 1.0 hours"
    );
    // The one that it asks for is as any other, and so is one in place of the whole log.
    for start in [Start::Copy, at(1.0)] {
        let mut driver = Driver::connected(config.clone(), start);
        driver.feed_all(wire::handshake());
        driver.feed(wire::copy_start(100.0));
        assert!(!started(&driver)[0].forced);
    }
}

fn interrupted() -> Cursor {
    Cursor {
        sequence: Sequence(0.0),
        announced: Sequence(0.0),
        copy: Some(Box::new(CopyCursor {
            copy_start: WallTime(100.0),
            table: "Dog".into(),
            after_key: bytes::Bytes::from_static(b"b"),
            order: 1,
        })),
        selection: None,
    }
}

#[test]
fn the_rest_of_a_copy_of_less_is_no_copy_of_more() {
    use replproto_core::Selection;
    use replproto_core::config::TableFilter;

    let only = |names: &[&str]| TableFilter::Only(names.iter().map(ToString::to_string).collect());
    let dogs = Selection::new(only(&["Dog"]), Vec::new());
    for (tables, resumes) in [
        (only(&["Dog"]), true),
        (only(&["Cat", "Dog"]), false),
        (TableFilter::All, false),
    ] {
        let cursor = Cursor {
            selection: Some(std::sync::Arc::new(dogs.clone())),
            ..interrupted()
        };
        let mut config = config();
        config.tables = tables;
        let mut driver = Driver::connected(config, Start::Resume(cursor));
        driver.feed(wire::node_name("peer"));
        let request = driver.sent().find_map(|message| match message {
            Message::SubscriptionRequest(request) => Some(request),
            _ => None,
        });
        let subscription = &request.expect("a request").subscriptions[0];
        assert_eq!(subscription.copy_resume.is_some(), resumes);
        assert_eq!(subscription.start, Sequence(0.0));
    }
}

#[test]
fn an_interrupted_copy_goes_on() {
    let mut driver = Driver::connected(config(), Start::Resume(interrupted()));
    driver.feed_all(wire::handshake());
    let request = driver.sent().find_map(|message| match message {
        Message::SubscriptionRequest(request) => Some(request),
        _ => None,
    });
    let subscription = request.expect("a request").subscriptions.remove(0);
    assert_eq!(subscription.start, Sequence(0.0));
    let resume = subscription.copy_resume.expect("copyResume");
    assert_eq!((resume.start, &*resume.table), (WallTime(100.0), "Dog"));
    assert_eq!(resume.after_key, b"\xa1b");
    driver.feed(wire::copy_start(100.0));
    assert_eq!(
        started(&driver),
        [CopyStarted {
            copy_start: Some(WallTime(100.0)),
            forced: false,
            resumed: true
        }]
    );
    driver.feed(Batch::new().put("c").end());
    assert_eq!(copy_key(&driver).as_deref(), Some("c"));
}

#[test]
fn a_copy_with_another_identity_begins_anew() {
    // The version of its order is a part of the identity: after another order the place in it means nothing.
    for (start, order) in [(200.0, 1), (100.0, 2), (100.0, 0)] {
        let mut driver = Driver::connected(config(), Start::Resume(interrupted()));
        driver.feed_all(wire::handshake());
        driver.feed(wire::copy_start_in(start, order));
        assert!(!started(&driver)[0].resumed, "{start} {order}");
        driver.feed(Batch::new().put("a").end());
        let copy = driver.persisted().copy.clone().expect("a copy");
        assert_eq!((copy.copy_start, copy.order), (WallTime(start), order));
        assert_eq!(&copy.after_key[..], b"a");
    }
}

#[test]
fn a_copy_is_gone_on_with_once() {
    let mut driver = Driver::connected(config(), Start::Resume(interrupted()));
    driver.feed_all(wire::handshake());
    driver.feed(wire::copy_start(100.0));
    driver.feed(Batch::new().put("c").end_at(100.0));
    driver.feed(wire::copy_complete());
    // The same once more, from its beginning: nothing has been written at the source meanwhile.
    driver.feed(wire::copy_start(100.0));
    let resumed: Vec<bool> = started(&driver).iter().map(|it| it.resumed).collect();
    assert_eq!(resumed, [true, false]);
}

#[test]
fn a_new_pass_in_another_order_is_another_copy() {
    let mut driver = copying();
    driver.feed(Batch::new().put("a").put("b").end());
    driver.feed(wire::copy_start_in(100.0, 2));
    let passes = started(&driver);
    assert_eq!(passes.len(), 2);
    assert!(!passes[1].resumed);
    driver.feed(Batch::new().put("z").end());
    let copy = driver.persisted().copy.clone().expect("a copy");
    assert_eq!((copy.order, &copy.after_key[..]), (2, &b"z"[..]));
}

#[test]
fn a_finished_copy_leaves_nothing_in_the_cursor() {
    // Also when it ends where the cursor is, or before: that stays, and the copy is over all the same.
    for (end, left) in [(40.0, 50.0), (50.0, 50.0), (60.0, 60.0)] {
        let mut driver = Driver::connected(config(), Start::Resume(Cursor::at(Sequence(50.0))));
        driver.feed_all(wire::handshake());
        driver.feed(wire::copy_start(end));
        driver.feed(Batch::new().put("a").end());
        assert!(driver.persisted().copy.is_some());
        driver.feed(Batch::new().end_at(end));
        driver.feed(wire::copy_complete());
        assert_eq!(completed(&driver), [Cursor::at(Sequence(left))]);
        assert_eq!(*driver.persisted(), Cursor::at(Sequence(left)));
        assert!(!driver.receiver.is_copying());
        driver.feed(Batch::new().put("live").end_at(70.0));
        assert_eq!(*driver.persisted(), Cursor::at(Sequence(70.0)));
    }
}

/// After how long a peer is given up that says nothing any more.
fn silence(driver: &mut Driver) -> Duration {
    let before = driver.now;
    while driver.close.is_none() {
        driver.pass(Duration::from_secs(1));
    }
    let LinkError::TimedOut { watchdog, waited } = driver.error() else {
        panic!("{}", driver.error());
    };
    assert_eq!(*watchdog, Watchdog::Silence);
    let passed = driver.now.since(before);
    assert!(passed >= *waited && passed <= *waited + Duration::from_secs(1));
    *waited
}

#[test]
fn a_peer_may_be_silent_for_longer_from_the_moment_a_copy_begins() {
    const LONG: Duration = Duration::from_secs(300);
    // The announcement is the last that is heard.
    assert_eq!(silence(&mut copying()), LONG);
    let mut forced = Driver::following(config());
    forced.feed(wire::copy_start(100.0));
    assert_eq!(silence(&mut forced), LONG);
    // Or the first row, of a peer that announces nothing.
    let mut old = Driver::connected(config(), Start::Copy);
    old.feed(wire::old_node_name("peer"));
    old.feed(wire::schema(None));
    old.feed_all([wire::node_map(), wire::table(wire::TABLE, "Dog")]);
    old.feed(Batch::new().put("a").end());
    assert_eq!(silence(&mut old), LONG);
    let mut copied = copying();
    copied.feed(wire::copy_complete());
    copied.input(Input::Pong);
    assert_eq!(silence(&mut copied), Duration::from_secs(60));
}

#[test]
fn an_old_peer_announces_neither_the_start_nor_the_end() {
    for mode in [Mode::A, Mode::B] {
        let config = Config { mode, ..config() };
        let mut driver = Driver::connected(config, Start::Copy);
        driver.feed(wire::old_node_name("peer"));
        driver.feed(wire::schema(None));
        driver.feed_all([wire::node_map(), wire::table(wire::TABLE, "Dog")]);
        assert_eq!(started(&driver).len(), 1);
        assert_eq!(started(&driver)[0].copy_start, None);
        driver.feed(Batch::new().put("a").end());
        assert!(driver.receiver.is_copying());
        assert_eq!(*driver.persisted(), Cursor::at(Sequence(0.0)));
        driver.feed(Batch::new().put("b").end_at(100.0));
        assert_eq!(completed(&driver), [Cursor::at(Sequence(100.0))]);
        assert_eq!(*driver.persisted(), Cursor::at(Sequence(100.0)));
    }
}

#[test]
fn an_old_peer_with_an_empty_source_is_not_thought_stuck() {
    let config = Config {
        mode: Mode::A,
        ..config()
    };
    let mut driver = Driver::connected(config, Start::Copy);
    driver.feed(wire::old_node_name("peer"));
    driver.feed(wire::schema(None));
    for _ in 0..400 {
        driver.pass(Duration::from_secs(20));
        driver.input(Input::Pong);
    }
    assert!(driver.close.is_none());
    // There is nothing to wait for, as far as anyone can know.
    assert!(driver.receiver.is_idle());
    driver.feed_all([wire::node_map(), wire::table(wire::TABLE, "Dog")]);
    driver.feed(Batch::new().put("k").end());
    assert!(driver.receiver.is_copying() && !driver.receiver.is_idle());
}

#[test]
fn a_copy_that_does_not_go_on_ends_the_link() {
    let mut driver = copying();
    for _ in 0..50 {
        driver.pass(Duration::from_secs(20));
        if driver.close.is_none() {
            driver.input(Input::Pong);
        }
    }
    assert!(matches!(
        driver.error(),
        LinkError::TimedOut {
            watchdog: Watchdog::CopyProgress,
            ..
        }
    ));
}

#[test]
fn a_copy_need_not_go_on_while_reading_is_paused() {
    let mut config = config();
    config.timeouts.not_ready = Duration::from_secs(2000);
    let mut driver = Driver::connected(config, Start::Copy);
    driver.feed_all(wire::handshake());
    driver.feed(wire::copy_start(100.0));
    driver.input(Input::NotReady);
    driver.pass(Duration::from_secs(1000));
    driver.input(Input::Ready);
    assert!(driver.close.is_none(), "{:?}", driver.close);
}

#[test]
fn a_copy_that_never_becomes_durable_ends_the_link_whatever_else_commits() {
    let mut driver = copying();
    driver.auto.save = false;
    driver.feed(Chunk::of(1).last(b"x"));
    driver.feed(Batch::new().put_blobs("a", &[file(1)]).end_at(100.0));
    driver.feed(wire::copy_complete());
    let before = driver.now;
    let mut live = 0;
    while driver.close.is_none() {
        driver.pass(Duration::from_secs(10));
        if driver.close.is_none() {
            live += 1;
            driver.feed(Batch::new().put(live).end_at(100.0 + f64::from(live)));
        }
    }
    assert!(matches!(
        driver.error(),
        LinkError::TimedOut {
            watchdog: Watchdog::CopyFinish,
            ..
        }
    ));
    let waited = driver.now.since(before);
    assert!(waited >= Duration::from_secs(1200) && waited <= Duration::from_secs(1210));
}

#[test]
fn every_row_of_a_copy_may_be_the_last_before_a_crash() {
    for crash_at in 0..30 {
        let mut driver = copying();
        for key in 0..crash_at {
            driver.feed(Batch::new().put(format!("{key:03}")).end());
        }
        driver.input(Input::TransportLost);
        let expected = (crash_at > 0).then(|| format!("{:03}", crash_at - 1));
        assert_eq!(copy_key(&driver), expected);
        assert!(matches!(driver.commands.last(), Some(Command::Close(_))));
    }
}
