//! Records that can never be used are passed over, counted and told, and those behind them arrive (`protocol.md` section 15,
//! rulings 31 and 32).

use bytes::Bytes;
use replproto_core::config::{LargeRecord, RECORD_MAX, TableFilter};
use replproto_core::error::{MissingContext, Oversize};
use replproto_core::event::SkippedRecord;
use replproto_core::key::KEY_BYTES_MAX;
use replproto_core::wire::entry::{Flags, NewEntry};
use replproto_core::{Command, Event, LinkError, RecordError, RecordKind, WallTime};

use crate::driver::{Driver, config};
use crate::splits::trace;
use crate::wire::{self, Batch};

const NO_TIMES: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

fn plain<'a>() -> NewEntry<'a> {
    NewEntry {
        kind: 1,
        flags: Flags::FULL,
        table: wire::TABLE,
        key: b"odd",
        version: wire::TIME,
        value: b"\x05",
        ..NewEntry::default()
    }
}

fn skipped(driver: &Driver) -> Vec<SkippedRecord> {
    driver
        .commands
        .iter()
        .filter_map(|command| match command {
            Command::Event(Event::RecordSkipped(skipped)) => Some((**skipped).clone()),
            _ => None,
        })
        .collect()
}

/// A batch with a good record on both sides of what is odd.
fn between(entry: &NewEntry<'_>) -> Bytes {
    Batch::new().put("a").entry(entry).put("z").end_at(5.0)
}

/// Feeds a message in several ways and compares what comes out.
fn feed(config: &replproto_core::Config, message: &Bytes) -> Driver {
    let run = |parts: &[usize]| {
        let mut driver = Driver::following(config.clone());
        driver.feed_parts(message.clone(), parts);
        driver
    };
    let whole = run(&[usize::MAX]);
    for parts in [&[997][..], &[1, 40_000, 3], &[16_400, 1]] {
        assert_eq!(trace(&run(parts).commands), trace(&whole.commands));
    }
    whole
}

fn keys(driver: &Driver) -> Vec<&[u8]> {
    driver.records().map(|record| record.key_bytes()).collect()
}

#[test]
fn an_expiry_that_is_no_time_is_absent() {
    for date in NO_TIMES {
        let driver = feed(
            &config(),
            &between(&NewEntry {
                expires_at: Some(date),
                ..plain()
            }),
        );
        assert_eq!(keys(&driver), [&b"a"[..], b"odd", b"z"]);
        assert!(driver.records().all(|it| it.expires_at().is_none()));
        assert_eq!(driver.persisted().sequence.0, 5.0);
    }
    for date in [-1.0, 0.0, 1e300] {
        let driver = feed(
            &config(),
            &between(&NewEntry {
                expires_at: Some(date),
                ..plain()
            }),
        );
        let dates: Vec<_> = driver.records().map(|it| it.expires_at()).collect();
        assert_eq!(dates, [None, Some(WallTime(date)), None]);
    }
}

#[test]
fn a_version_that_is_no_time_makes_the_record_unusable() {
    for version in NO_TIMES {
        for flags in [Flags::FULL, Flags::FULL.with(Flags::BLOBS)] {
            let entry = NewEntry {
                version,
                flags,
                ..plain()
            };
            let driver = feed(&config(), &between(&entry));
            assert_eq!(keys(&driver), [b"a", b"z"]);
            assert_eq!(
                skipped(&driver),
                [SkippedRecord {
                    table: "Dog".into(),
                    key: b"odd".to_vec(),
                    version: None,
                    kind: RecordKind::Put,
                    error: RecordError::Version,
                }]
            );
            assert_eq!(driver.receiver.stats().skipped_undecodable, 1);
            assert_eq!(driver.persisted().sequence.0, 5.0);
        }
    }
    for version in [-1e300, -0.0, 1e300] {
        let driver = feed(&config(), &between(&NewEntry { version, ..plain() }));
        assert_eq!(keys(&driver).len(), 3);
    }
}

#[test]
fn what_framing_does_not_need_may_be_odd() {
    for entry in [
        // Flags that nobody knows, a user that is no text, and an operation and a residency that nobody has told.
        NewEntry {
            flags: Flags::FULL.with(Flags(0x3f0_0000)),
            ..plain()
        },
        NewEntry {
            user: b"\x00\xff",
            operation: Some(99),
            ..plain()
        },
        NewEntry {
            residency: Some(77),
            previous_residency: Some(78),
            ..plain()
        },
        NewEntry {
            flags: Flags::FULL.with(Flags::EXTRA_REFERENCES),
            ..plain()
        },
    ] {
        let driver = feed(&config(), &between(&entry));
        assert_eq!(keys(&driver), [&b"a"[..], b"odd", b"z"]);
    }
}

/// An entry with an id or a user that no sender writes.
fn with_long_field(is_user: bool, length: usize) -> Vec<u8> {
    let mut entry = vec![0x11, 0, wire::TABLE as u8];
    let long = |entry: &mut Vec<u8>| {
        entry.extend((0xc000_0000 | length as u32).to_be_bytes());
        entry.extend(std::iter::repeat_n(b'k', length));
    };
    if is_user {
        entry.extend(b"\x03odd");
    } else {
        long(&mut entry);
    }
    entry.extend(wire::TIME.to_be_bytes());
    if is_user {
        long(&mut entry);
    } else {
        entry.push(0);
    }
    entry.push(5);
    entry
}

fn raw_batch(entry: &[u8]) -> Bytes {
    let mut message = Batch::new().put("a").end().to_vec();
    message.extend((0xc000_0000 | entry.len() as u32).to_be_bytes());
    message.extend(entry);
    // A second batch's bytes without its header: another record, and the end.
    message.extend(&Batch::new().put("z").end_at(5.0)[8..]);
    message.into()
}

#[test]
fn an_id_or_a_user_that_is_too_long_is_told_and_not_kept() {
    let message = raw_batch(&with_long_field(false, KEY_BYTES_MAX + 1));
    let driver = feed(&config(), &message);
    assert_eq!(keys(&driver), [b"a", b"z"]);
    let length = KEY_BYTES_MAX + 1;
    let [skipped] = &*skipped(&driver) else {
        panic!("one is skipped");
    };
    assert_eq!(skipped.error, RecordError::Key { length });
    assert!(skipped.key.is_empty());
    assert_eq!(skipped.version, Some(WallTime(wire::TIME)));

    let driver = feed(&config(), &raw_batch(&with_long_field(true, 20_000)));
    assert_eq!(keys(&driver), [&b"a"[..], b"odd", b"z"]);
    assert!(driver.records().all(|it| it.user_bytes().is_empty()));
}

#[test]
fn a_record_above_the_limit_is_passed_over_as_it_comes() {
    let mut config = config();
    config.limits.record = 1000;
    let value = vec![0xc0; 3_000_000];
    for key in [&b"large"[..], &[b'k'; 2048], &[b'k'; KEY_BYTES_MAX]] {
        let entry = NewEntry {
            key,
            value: &value,
            ..plain()
        };
        let driver = feed(&config, &between(&entry));
        assert_eq!(keys(&driver), [b"a", b"z"]);
        let [skipped] = &*skipped(&driver) else {
            panic!("one is skipped");
        };
        // All of it: the store must not take an earlier version for one that a base copy did not bring.
        assert_eq!(skipped.key, key);
        assert_eq!(skipped.version, Some(WallTime(wire::TIME)));
        let RecordError::TooLarge { size, limit: 1000 } = skipped.error else {
            panic!("{:?}", skipped.error);
        };
        assert!((3_000_000..3_020_000).contains(&size));
        assert_eq!(driver.receiver.stats().skipped_undecodable, 1);
        assert_eq!(driver.persisted().sequence.0, 5.0);

        let mut driver = Driver::following(config.clone());
        driver.feed_parts(between(&entry), &[4096]);
        let peak = driver.receiver.stats().peak_retained_bytes;
        assert!(peak < 50_000, "{peak} bytes were held");
        assert_eq!(keys(&driver), [b"a", b"z"]);
    }
}

#[test]
fn several_of_them_at_the_limit_itself() {
    let mut config = config();
    config.limits.record = 1000;
    let mut batch = Batch::new();
    for size in [975, 990, 1000, 2000] {
        batch = batch.put_sized(size, size);
    }
    let driver = feed(&config, &batch.end_at(5.0));
    let told = skipped(&driver).len();
    assert_eq!(told + keys(&driver).len(), 4);
    for skipped in skipped(&driver) {
        let RecordError::TooLarge { size, .. } = skipped.error else {
            panic!("{:?}", skipped.error);
        };
        assert!(size > 1000);
    }
    assert!(told >= 2);
}

#[test]
fn a_large_record_that_is_not_for_us_is_not_told() {
    let mut config = config();
    config.limits.record = 1000;
    config.tables = TableFilter::Except(vec!["Dog".into()]);
    let value = vec![0xc0; 100_000];
    let large = NewEntry {
        value: &value,
        ..plain()
    };
    let driver = feed(&config, &between(&large));
    assert_eq!(driver.receiver.stats().skipped_unwanted, 3);
    assert!(skipped(&driver).is_empty());

    config.tables = TableFilter::All;
    let flags = Flags::FULL.with(Flags::LOCAL_ONLY);
    let driver = feed(&config, &between(&NewEntry { flags, ..large }));
    assert_eq!(driver.receiver.stats().skipped_local, 1);
    let driver = feed(&config, &between(&NewEntry { kind: 15, ..large }));
    assert_eq!(driver.receiver.stats().skipped_unknown, 1);
    assert_eq!(keys(&driver), [b"a", b"z"]);

    let driver = feed(&config, &between(&NewEntry { table: 99, ..large }));
    assert!(matches!(
        driver.error(),
        LinkError::Missing {
            what: MissingContext::Table(99),
            ..
        }
    ));
}

#[test]
fn a_large_record_that_is_cut_off_ends_the_link_as_any_other() {
    let mut config = config();
    config.limits.record = 1000;
    let value = vec![0xc0; 100_000];
    let entry = NewEntry {
        value: &value,
        ..plain()
    };
    let whole = Batch::new().entry(&entry).end();
    for length in [13, 20, 1000, whole.len() - 1] {
        let driver = feed(&config, &whole.slice(..length));
        assert!(matches!(driver.error(), LinkError::Malformed { .. }));
        assert_eq!(driver.ends().count(), 0);
    }
}

#[test]
fn above_what_the_protocol_allows_the_link_ends() {
    let mut message = Batch::new().put("a").end().to_vec();
    message.push(0xff);
    message.extend((RECORD_MAX as u32 + 1).to_be_bytes());
    message.extend([0; 50]);
    let driver = feed(&config(), &message.into());
    let LinkError::TooLarge {
        what: Oversize::Record,
        limit,
        actual,
        ..
    } = driver.error()
    else {
        panic!("{}", driver.error());
    };
    assert_eq!((*limit, *actual), (RECORD_MAX as u64, *limit + 1));
    assert_eq!(driver.close_code(), Some(1009));
}

#[test]
fn large_records_end_the_link_if_that_is_asked_for() {
    let mut config = config();
    config.limits.record = 1000;
    config.limits.large_record = LargeRecord::EndLink;
    let driver = feed(&config, &Batch::new().put("a").put_sized("k", 2000).end());
    assert!(matches!(
        driver.error(),
        LinkError::TooLarge {
            what: Oversize::Record,
            limit: 1000,
            ..
        }
    ));
    assert_eq!(driver.close_code(), Some(1009));
}
