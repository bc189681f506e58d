//! Records come in runs, of which nothing can be seen but that there are fewer events.

use proptest::prelude::*;
use replproto_core::config::TableFilter;
use replproto_core::error::MissingContext;
use replproto_core::wire::Message;
use replproto_core::wire::entry::{Flags, NewEntry};
use replproto_core::{Event, Input, LinkError};

use crate::driver::{Driver, config};
use crate::wire::{self, Batch};

/// More than a run can refer to.
const MANY: u32 = 40;

#[derive(Clone, Copy, Debug)]
struct Change {
    kind: u8,
    table: u32,
    node: u32,
    residency: Option<u32>,
    is_local: bool,
}

fn change() -> impl Strategy<Value = Change> {
    let kind = prop_oneof![9 => Just(1_u8), 1 => 1..16_u8];
    let some_id = || prop_oneof![3 => 0..2_u32, 1 => 0..MANY];
    (
        kind,
        some_id(),
        some_id(),
        prop::option::weighted(0.3, some_id()),
        prop::bool::weighted(0.05),
    )
        .prop_map(|(kind, table, node, residency, is_local)| Change {
            kind,
            table,
            node,
            residency,
            is_local,
        })
}

/// A peer of many nodes, tables and residency lists; the lists with odd numbers are not told.
fn follow(driver: &mut Driver) {
    let ids = (0..MANY).map(|id| (format!("node-{id}"), id)).collect();
    let subscribed = vec!["peer".into()];
    driver.feed(Message::NodeMap { ids, subscribed }.encode().into());
    for id in 0..MANY {
        driver.feed(wire::table(id, &format!("table-{id}")));
        if id % 2 == 0 {
            let nodes = vec![format!("home-{id}")];
            driver.feed(Message::ResidencyList { nodes, id }.encode().into());
        }
    }
}

proptest! {
    #[test]
    fn every_record_comes_once_in_order_with_what_it_refers_to(
        changes in prop::collection::vec(change(), 1..400),
        consumer in 1..300_u64,
        lengths in prop::option::of(prop::collection::vec(1..3000_usize, 1..5)),
    ) {
        let mut config = config();
        config.tables = TableFilter::Except(vec!["table-1".into(), "table-30".into()]);
        config.flow.consumer.high.items = consumer;
        config.flow.consumer.low.items = consumer / 2;
        let mut driver = Driver::following(config);
        follow(&mut driver);
        let mut batch = Batch::new();
        let mut expected = Vec::new();
        let [mut unknown, mut own, mut unwanted] = [0; 3];
        for (index, change) in changes.iter().enumerate() {
            let local = if change.is_local { Flags::LOCAL_ONLY } else { Flags::default() };
            let key = index.to_string();
            batch = batch.entry(&NewEntry {
                kind: change.kind,
                flags: local,
                table: change.table,
                node: change.node,
                residency: change.residency,
                key: key.as_bytes(),
                version: 1e12,
                ..NewEntry::default()
            });
            let is_known = (1..=6).contains(&change.kind);
            if !is_known {
                unknown += 1;
            } else if change.is_local {
                own += 1;
            } else if [1, 30].contains(&change.table) {
                unwanted += 1;
            } else {
                let list = change.residency.filter(|id| id % 2 == 0);
                expected.push((
                    key,
                    format!("table-{}", change.table),
                    format!("node-{}", change.node),
                    list.map(|id| vec![format!("home-{id}")]),
                ));
            }
        }
        let bytes = batch.end_at(1e12);
        match &lengths {
            None => driver.feed(bytes),
            Some(lengths) => driver.feed_parts(bytes, lengths),
        }
        let actual: Vec<_> = driver
            .records()
            .map(|record| {
                let list = record.residency();
                (
                    String::from_utf8(record.key_bytes().to_vec()).expect("our own"),
                    record.table().name().to_string(),
                    record.origin().to_string(),
                    list.map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>()),
                )
            })
            .collect();
        let stats = driver.receiver.stats();
        prop_assert_eq!(stats.records, expected.len() as u64);
        prop_assert_eq!(
            [stats.skipped_unknown, stats.skipped_local, stats.skipped_unwanted],
            [unknown, own, unwanted]
        );
        prop_assert_eq!(actual, expected);
        prop_assert_eq!(driver.receiver.retained_bytes(), 0);
        for event in driver.events() {
            if let Event::Records(records) = event {
                prop_assert_eq!(records.iter().count(), records.len());
            }
        }
    }
}

#[test]
fn what_lies_together_is_one_event() {
    let mut driver = Driver::following(config());
    let batch = (0..90).fold(Batch::new(), |batch, key| batch.put(key));
    driver.feed(batch.end());
    let runs = driver
        .events()
        .filter(|event| matches!(event, Event::Records(_)));
    assert_eq!(runs.count(), 1);
    assert_eq!(driver.records().count(), 90);
}

#[test]
fn what_is_printed_of_records_is_the_same_whatever_they_hold() {
    let printed = |key: &str| {
        let mut driver = Driver::following(config());
        driver.feed(Batch::new().put(key).end());
        let records: Vec<_> = driver.records().collect();
        assert_eq!(records.len(), 1);
        format!("{records:?} {:?}", driver.events().collect::<Vec<_>>())
    };
    assert_eq!(printed("a"), printed("b"));
}

#[test]
fn a_run_keeps_the_tables_that_it_came_with() {
    let mut driver = Driver::following(config());
    driver.feed(Batch::new().put("a").end());
    driver.feed(wire::table(wire::TABLE, "renamed"));
    driver.feed(Batch::new().put("b").end());
    let names: Vec<_> = driver
        .records()
        .map(|record| record.table().name().to_string())
        .collect();
    assert_eq!(names, ["Dog", "renamed"]);
}

#[test]
fn a_run_can_be_given_back_record_by_record() {
    let mut driver = Driver::following(config());
    driver.auto.consume = false;
    let batch = (0..10).fold(Batch::new(), |batch, key| batch.put(key));
    let bytes = batch.end();
    let length = bytes.len() as u64;
    driver.feed(bytes);
    // The records and the end of their transaction.
    for left in (1..=10).rev() {
        assert_eq!(driver.receiver.events_out(), left + 1);
        assert!(driver.receiver.retained_bytes() >= length);
        driver.input(Input::Consumed { events: 1 });
    }
    assert_eq!(driver.receiver.retained_bytes(), 0);
    driver.input(Input::Consumed { events: 1 });
    assert_eq!(driver.receiver.events_out(), 0);
}

#[test]
fn an_error_comes_after_the_records_before_it() {
    let unknown = NewEntry {
        kind: 1,
        table: 999,
        version: 1e12,
        ..NewEntry::default()
    };
    let mut driver = Driver::following(config());
    driver.feed(Batch::new().put("a").put("b").entry(&unknown).end());
    assert_eq!(driver.records().count(), 2);
    assert!(driver.close.is_some());
    assert_eq!(driver.ends().count(), 0);
}

#[test]
fn what_is_passed_over_is_counted_once_wherever_a_run_ends() {
    let skipped = |kind, flags| NewEntry {
        kind,
        flags,
        table: wire::TABLE,
        version: 1e12,
        ..NewEntry::default()
    };
    let odd = |batch: Batch| {
        batch
            .entry(&skipped(15, Flags::default()))
            .entry(&skipped(1, Flags::LOCAL_ONLY))
    };
    // Before the end of a run that is long enough, of one before a record that has to be apart, and of the batch.
    for (records, has_blob) in [
        (1, false),
        (255, false),
        (256, false),
        (257, true),
        (3, true),
    ] {
        let mut driver = Driver::following(config());
        driver.auto.save = false;
        let mut batch = (0..records).fold(odd(Batch::new()), |batch, key| odd(batch.put(key)));
        if has_blob {
            batch = odd(batch.put_blobs("blob", &[wire::file(1)]));
        }
        driver.feed(batch.end_at(5.0));
        let count = 1 + records + u64::from(has_blob);
        let stats = driver.receiver.stats();
        assert_eq!(
            (stats.skipped_unknown, stats.skipped_local, stats.records),
            (count, count, count - 1)
        );
    }
}

#[test]
fn a_new_map_of_nodes_takes_the_place_of_the_old_one() {
    let record = |node| {
        let entry = NewEntry {
            kind: 1,
            table: wire::TABLE,
            node,
            version: 1e12,
            ..NewEntry::default()
        };
        Batch::new().entry(&entry).end()
    };
    let map = |ids: &[(&str, u32)]| -> bytes::Bytes {
        let ids = ids.iter().map(|(name, id)| ((*name).into(), *id)).collect();
        let subscribed = Vec::new();
        Message::NodeMap { ids, subscribed }.encode().into()
    };
    let mut driver = Driver::following(config());
    driver.feed(map(&[("one", 1), ("other", 2)]));
    driver.feed_all([record(1), record(2)]);
    driver.feed(map(&[("other", 1)]));
    driver.feed(record(1));
    let origins: Vec<_> = driver.records().map(|it| it.origin().to_string()).collect();
    assert_eq!(origins, ["one", "other", "other"]);
    assert!(driver.close.is_none());
    // What the new map does not have is not known any more, the id of the peer itself included.
    driver.feed(record(2));
    assert!(matches!(
        driver.error(),
        LinkError::Missing {
            what: MissingContext::Origin(2),
            ..
        }
    ));
}

#[test]
fn names_that_runs_keep_alive_are_counted() {
    let mut driver = Driver::following(config());
    driver.auto.consume = false;
    for turn in 0..50_u8 {
        let name = format!("{turn}").repeat(500_000);
        let ids = vec![(name, 0)];
        let subscribed = Vec::new();
        driver.feed(Message::NodeMap { ids, subscribed }.encode().into());
        driver.feed(Batch::new().put("k").end());
    }
    // Four megabytes of names, and not fifty.
    assert!(driver.receiver.is_paused());
    assert!(
        driver.records().count() < 10,
        "{}",
        driver.records().count()
    );
    driver.auto.consume = true;
    driver.run();
    assert_eq!(driver.records().count(), 50);
}
