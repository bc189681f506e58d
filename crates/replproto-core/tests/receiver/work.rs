//! What a peer can make us do, and keep.

use std::time::Duration;

use bytes::Bytes;
use replproto_core::config::LargeRecord;
use replproto_core::error::Oversize;
use replproto_core::wire::{Message, NewEntry, WireError};
use replproto_core::{Command, Event, Input, LinkError};

use crate::driver::{Driver, config};
use crate::wire::{self, Batch, Chunk};

#[test]
fn a_million_skipped_entries_give_back_control() {
    let mut driver = Driver::following(config());
    let mut batch = Batch::new();
    let skipped = NewEntry {
        kind: 9,
        key: b"k",
        ..NewEntry::default()
    };
    for _ in 0..1_000_000 {
        batch = batch.entry(&skipped);
    }
    let bytes = batch.put("wanted").end();
    // No call looks at more than this, and at one entry more.
    let turns_at_least = bytes.len() / (66 << 10);
    let input = Input::Message { bytes, last: true };
    driver.receiver.handle(driver.now, input).expect("open");
    let mut turns = 0;
    loop {
        match driver.receiver.poll_command() {
            Some(Command::Event(event)) => {
                assert!(matches!(event, Event::Records(_)));
                break;
            }
            Some(_) => {}
            None => {
                assert_eq!(
                    driver.receiver.poll_timeout(),
                    Some(driver.now),
                    "to go on at once"
                );
                turns += 1;
            }
        }
    }
    assert!(turns >= turns_at_least.max(1_000_000 / 1025), "{turns}");
    assert_eq!(driver.receiver.stats().skipped_unknown, 1_000_000);
}

#[test]
fn unknown_commands_are_passed_over_without_being_held() {
    let mut driver = Driver::following(config());
    driver.feed_parts(wire::unknown(50 << 20), &[65_536]);
    assert!(driver.receiver.stats().peak_retained_bytes < 100_000);
    for _ in 0..1000 {
        driver.feed(wire::unknown(10_000));
    }
    assert_eq!(driver.receiver.stats().unknown_commands, 1001);
    driver.feed(Batch::new().put("k").end());
    assert_eq!(driver.records().count(), 1);
}

/// A command with this code whose only element claims more bytes than ever come.
fn endless(code: u8) -> Bytes {
    let mut out = vec![0x93, 0xcc, code, 0xc6, 0x7f, 0xff, 0xff, 0xff];
    out.resize(64 << 10, 0);
    out.into()
}

#[test]
fn a_command_that_never_ends_is_refused_at_its_limit() {
    for code in [
        129, 130, 132, 133, 134, 136, 137, 140, 141, 143, 145, 146, 147, 148,
    ] {
        let mut config = config();
        config.limits.command = 1 << 20;
        let mut driver = Driver::following(config);
        let mut fed = 0;
        let mut bytes = endless(code);
        while driver.close.is_none() {
            fed += bytes.len();
            assert!(fed < 4 << 20, "command {code} is held without end");
            driver.input(Input::Message { bytes, last: false });
            bytes = vec![0; 64 << 10].into();
        }
        let refused = matches!(
            driver.error(),
            LinkError::TooLarge {
                what: Oversize::Command,
                ..
            } | LinkError::Malformed { .. }
        );
        assert!(refused, "{code}: {:?}", driver.error());
    }
}

#[test]
fn a_message_byte_by_byte_costs_what_it_has() {
    let mut driver = Driver::following(config());
    driver.feed_parts(
        Batch::new().put_sized("k", 200_000).put("l").end_at(5.0),
        &[1],
    );
    assert_eq!(driver.records().count(), 2);
    assert!(driver.receiver.stats().peak_retained_bytes < 450_000);
}

#[test]
fn a_flood_of_empty_parts_costs_nothing() {
    let mut driver = Driver::following(config());
    for _ in 0..100_000 {
        driver
            .receiver
            .handle(
                driver.now,
                Input::Message {
                    bytes: Bytes::new(),
                    last: false,
                },
            )
            .expect("open");
    }
    assert_eq!(driver.receiver.retained_bytes(), 0);
    driver.feed(Batch::new().put("k").end());
    assert_eq!(driver.records().count(), 1);
}

#[test]
fn limits_say_what_was_too_large() {
    let mut config = config();
    config.limits.message = 10_000;
    config.limits.record = 1000;
    config.limits.command = 500;
    config.limits.context = 50_000;
    let too_large = |driver: &Driver| match driver.error() {
        LinkError::TooLarge { what, .. } => *what,
        other => panic!("{other}"),
    };
    let mut strict = config.clone();
    strict.limits.large_record = LargeRecord::EndLink;
    let mut driver = Driver::following(strict);
    driver.feed(Batch::new().put_sized("k", 1000).end());
    assert_eq!(too_large(&driver), Oversize::Record);
    assert_eq!(driver.close_code(), Some(1009));

    let mut driver = Driver::following(config.clone());
    let mut batch = Batch::new();
    for key in 0..20 {
        batch = batch.put_sized(key, 900);
    }
    driver.feed(batch.end());
    assert_eq!(too_large(&driver), Oversize::Message);
    assert_eq!(driver.ends().count(), 0);

    let mut driver = Driver::following(config.clone());
    driver.feed(Chunk::of(1).body(&[0; 20_000]));
    assert_eq!(too_large(&driver), Oversize::Message);
    assert_eq!(driver.opens(), 0);

    let mut driver = Driver::following(config.clone());
    driver.feed(wire::table(7, &"x".repeat(600)));
    assert_eq!(too_large(&driver), Oversize::Command);

    let mut driver = Driver::following(config);
    for id in 0..1000 {
        if driver.close.is_none() {
            driver.feed(wire::table(id, "T"));
        }
    }
    assert_eq!(too_large(&driver), Oversize::Context);
}

#[test]
fn an_impossible_length_is_an_error_of_form() {
    for length in [&[0xff, 0xff, 0xff, 0xff, 0xff][..], &[0xff, 0x08, 0, 0, 1]] {
        let mut message = Batch::new().put("k").end().to_vec();
        message.extend_from_slice(length);
        message.extend_from_slice(&[0; 50]);
        for parts in [&[1 << 20][..], &[7]] {
            let mut driver = Driver::following(config());
            driver.feed_parts(message.clone().into(), parts);
            assert_eq!(driver.records().count(), 1);
            let error = driver.error();
            assert!(matches!(error, LinkError::Malformed { .. }), "{error}");
        }
    }
}

#[test]
fn ten_thousand_pauses_leave_nothing_behind() {
    let mut config = config();
    config.flow.consumer.high.items = 1;
    let mut driver = Driver::following(config);
    let mut batch = Batch::new();
    for key in 0..20_000 {
        batch = batch.put(key);
    }
    driver.feed(batch.end_at(5.0));
    driver.pass(Duration::from_millis(2));
    assert_eq!(driver.records().count(), 20_000);
    assert_eq!(
        driver.receiver.retained_bytes() + driver.receiver.events_out(),
        0
    );
    assert!(driver.receiver.stats().pauses[1] >= 10_000);
    assert_eq!(driver.confirmed, [5.0]);
}

#[test]
fn a_command_of_short_names_cannot_unfold_beyond_its_limit() {
    // 20,000 attributes without a name: one byte each on the wire, more than a hundred in memory.
    let mut schema = b"\x93\xcc\x91\x91\x82\xa5table\xa1T\xaaattributes".to_vec();
    schema.extend([0xdc, 0x4e, 0x20]);
    schema.extend([0x80; 20_000]);
    schema.extend(b"\xa4data");
    assert!(Message::decode(&schema).is_ok());
    assert_eq!(
        Message::decode_within(&schema, 1 << 20),
        Err(WireError::Unfolds)
    );
    let mut config = config();
    config.limits.context = 1 << 20;
    let mut driver = Driver::following(config);
    driver.feed(schema.into());
    let error = driver.error();
    assert!(
        matches!(
            error,
            LinkError::TooLarge {
                what: Oversize::Context,
                ..
            }
        ),
        "{error}"
    );
}
