//! What a link may hold when it shares its memory with others.

use std::time::Duration;

use replproto_core::{Input, PauseReason};

use crate::driver::{Auto, Driver, config};
use crate::wire::Batch;

const fn allow(bytes: u64) -> Input {
    Input::Allowance { bytes }
}

#[test]
fn an_allowance_stops_reading_and_not_decoding() {
    let mut driver = Driver::following(config());
    driver.auto = Auto::NONE;
    driver.input(allow(1000));
    let mut batch = Batch::new();
    for key in 0..50 {
        batch = batch.put(key);
    }
    driver.feed(batch.end_at(5.0));
    assert!(driver.receiver.held_bytes() > 1000);
    assert!(driver.is_paused_for(PauseReason::SharedBudget));
    assert_eq!(driver.records().count(), 50, "decoding goes on");
    assert!(
        !driver.receiver.is_starved(),
        "the records can be given back"
    );
    driver.feed(Batch::new().put("next").end_at(6.0));
    assert_eq!(driver.waiting(), 1);
    driver.consume(51);
    driver.run();
    assert_eq!(driver.waiting(), 0);
    assert_eq!(driver.records().count(), 51);
    driver.consume(2);
    driver.run();
    assert_eq!(driver.receiver.held_bytes(), 0);
    assert!(!driver.is_paused_for(PauseReason::SharedBudget));
}

#[test]
fn a_record_that_needs_more_than_the_allowance_waits_for_a_larger_one() {
    let mut driver = Driver::following(config());
    driver.input(allow(2000));
    let text = "x".repeat(10_000);
    let message = Batch::new().put(text.as_str()).end_at(5.0);
    driver.feed_parts(message, &[1500]);
    assert!(driver.is_paused_for(PauseReason::SharedBudget));
    assert!(driver.receiver.is_starved());
    assert_eq!(driver.records().count(), 0);
    driver.input(allow(6000));
    assert!(driver.receiver.is_starved());
    driver.input(allow(20_000));
    assert_eq!(driver.records().count(), 1);
    assert!(!driver.receiver.is_starved());
    driver.input(allow(0));
    assert!(driver.close.is_none());
    driver.feed(Batch::new().put("next").end_at(6.0));
    assert_eq!(driver.records().count(), 2, "one part is always read");
}

#[test]
fn what_is_copied_out_of_a_part_counts_until_it_is_given_back() {
    let mut config = config();
    config.flow.inbound.high.bytes = 1000;
    config.flow.inbound.low.bytes = 500;
    config.flow.consumer.high.items = 2;
    config.flow.consumer.low.items = 0;
    let mut driver = Driver::following(config);
    driver.auto = Auto::NONE;
    let mut batch = Batch::new();
    for key in 0..100 {
        batch = batch.put(key);
    }
    driver.feed(batch.end_at(5.0));
    let copied = |driver: &Driver| driver.receiver.held_bytes() - driver.receiver.retained_bytes();
    let mut most = 0;
    while driver.receiver.events_out() > 0 {
        most = most.max(copied(&driver));
        driver.consume(driver.receiver.events_out());
        assert_eq!(copied(&driver), 0);
        driver.run();
    }
    assert!(most > 0, "few records of a large part are copied");
    assert_eq!(driver.records().count(), 100);
    assert_eq!(driver.receiver.held_bytes(), 0);
}

#[test]
fn a_link_that_would_not_read_is_not_starved() {
    let text = "x".repeat(10_000);
    let beginning = || {
        let mut driver = Driver::following(config());
        driver.input(allow(2000));
        driver.feed_parts(Batch::new().put(text.as_str()).end_at(5.0), &[1500]);
        assert!(driver.receiver.is_starved());
        driver
    };
    let mut driver = beginning();
    driver.input(Input::NotReady);
    assert!(!driver.receiver.is_starved());
    driver.input(Input::Ready);
    assert!(driver.receiver.is_starved());
    let mut driver = beginning();
    let deadline = driver.now.after(Duration::from_secs(60));
    driver.input(Input::Drain { deadline });
    assert!(!driver.receiver.is_starved());
}
