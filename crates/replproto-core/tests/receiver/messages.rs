//! A message that has begun must go on.

use std::time::Duration;

use bytes::Bytes;
use replproto_core::config::Timeouts;
use replproto_core::error::Watchdog;
use replproto_core::{Input, LinkError, PauseReason};

use crate::driver::{Auto, Driver, config};
use crate::wire::{self, Batch, Chunk};

const SECOND: Duration = Duration::from_secs(1);

fn limit() -> Duration {
    Timeouts::default().message
}

#[track_caller]
fn part(driver: &mut Driver, bytes: Bytes, last: bool) {
    driver.input(Input::Message { bytes, last });
}

#[track_caller]
fn assert_fired(driver: &Driver) {
    let LinkError::TimedOut { watchdog, waited } = driver.error() else {
        panic!("{:?}", driver.error());
    };
    assert_eq!((*watchdog, *waited), (Watchdog::Message, limit()));
    assert_eq!(driver.close_code(), Some(1011));
}

/// Time passes, and all that comes are signs of life.
#[track_caller]
fn only_alive(driver: &mut Driver, time: Duration) {
    for _ in 0..time.as_secs() {
        driver.pass(SECOND);
        driver.input(Input::Pong);
        driver.input(Input::Heard { bytes: 2 });
    }
}

#[test]
fn a_peer_that_stops_within_a_message_is_given_up_however_alive_it_is() {
    let batch = Batch::new().put("a").put("b").end_at(5.0);
    let chunk = Chunk::of(1).body(b"0123456789");
    let command = wire::schema(None);
    for message in [batch, chunk, command] {
        for length in [0, 1, message.len() / 2, message.len() - 1, message.len()] {
            let mut driver = Driver::following(config());
            part(&mut driver, message.slice(..length), false);
            only_alive(&mut driver, limit() - SECOND);
            assert!(driver.close.is_none(), "{length}");
            assert!(!driver.receiver.is_idle(), "{length}");
            only_alive(&mut driver, SECOND);
            assert_fired(&driver);
        }
    }
}

#[test]
fn parts_without_a_byte_do_not_count_and_one_byte_does() {
    let mut driver = Driver::following(config());
    let message = Batch::new().put("a").end_at(5.0);
    part(&mut driver, message.slice(..10), false);
    only_alive(&mut driver, limit() - SECOND);
    part(&mut driver, message.slice(10..11), false);
    for _ in 1..limit().as_secs() {
        only_alive(&mut driver, SECOND);
        part(&mut driver, Bytes::new(), false);
    }
    assert!(driver.close.is_none());
    only_alive(&mut driver, SECOND);
    assert_fired(&driver);
}

#[test]
fn a_message_that_comes_slowly_is_waited_for() {
    let mut driver = Driver::following(config());
    let message = Batch::new().put("a").end_at(5.0);
    for at in 0..message.len() {
        part(&mut driver, message.slice(at..=at), at + 1 == message.len());
        only_alive(&mut driver, limit() - SECOND);
    }
    assert_eq!(driver.records().count(), 1);
    // Between two messages a peer may be quiet for as long as it likes.
    only_alive(&mut driver, limit() * 10);
    assert!(driver.close.is_none());
    assert!(driver.receiver.is_idle());
}

#[test]
fn a_pause_of_ours_does_not_count() {
    let mut config = config();
    config.flow.consumer.high.items = 1;
    let mut driver = Driver::following(config);
    driver.auto = Auto::NONE;
    let message = Batch::new().put("a").put("b").put("c").end_at(5.0);
    part(&mut driver, message.slice(..message.len() - 1), false);
    assert!(driver.is_paused_for(PauseReason::ConsumerQueue));
    only_alive(&mut driver, limit() * 5);
    assert!(driver.close.is_none());
    while driver.receiver.events_out() > 0 {
        driver.consume(driver.receiver.events_out());
        driver.run();
    }
    only_alive(&mut driver, limit() - SECOND);
    assert!(driver.close.is_none());
    only_alive(&mut driver, SECOND);
    assert_fired(&driver);
}

#[test]
fn a_drain_reads_nothing_and_waits_for_no_message() {
    let mut driver = Driver::following(config());
    let message = Batch::new().put("a").end_at(5.0);
    part(&mut driver, message.slice(..10), false);
    let deadline = driver.now.after(limit() * 3);
    driver.input(Input::Drain { deadline });
    // It was on its way.
    part(&mut driver, message.slice(10..20), false);
    driver.pass(limit() * 2);
    assert!(!matches!(
        driver.close.as_ref().map(|close| &close.reason),
        Some(replproto_core::CloseReason::Error(_))
    ));
}
