//! Steady work allocates nothing for a record, so its speed does not hang on the allocator.

#[allow(dead_code, reason = "shared with the simulator")]
#[path = "../../replproto-sim/src/alloc.rs"]
mod alloc;
#[allow(dead_code, reason = "shared with the benchmarks")]
#[path = "../benches/core/data.rs"]
mod data;

use bytes::Bytes;
use replproto_core::config::Limits;
use replproto_core::key;
use replproto_core::value::{Event, JsonStyle, ValueError};
use replproto_core::wire::Message;
use replproto_core::wire::message::TableStructure;
use replproto_core::{CloseReason, Command, Input, LinkError, TableDefinition};

use data::{Frames, feed};

#[test]
fn to_read_values_and_keys_allocates_nothing() {
    let records = Frames::read().records();
    let mut json = String::new();
    let mut read = || {
        for record in records.iter().flatten() {
            let value = record.value().unwrap();
            let mut fields = 0;
            value
                .walk(|event| {
                    match event {
                        Event::Name(_) => fields += 1,
                        Event::Text(text) => assert!(text.as_str().is_some()),
                        _ => {}
                    }
                    Ok::<(), ValueError>(())
                })
                .unwrap();
            assert_eq!(fields, 12);
            assert_eq!(value.read_all().unwrap().fields, 12);
            let location = value.field("location").unwrap().unwrap();
            let site = location.field("site").unwrap().unwrap();
            assert!(site.as_str().unwrap().starts_with("site-"));
            for style in [JsonStyle::Natural, JsonStyle::Tagged] {
                json.clear();
                value.write_json(&mut json, style).unwrap();
                key::write_json(record.key_bytes(), &mut json, style).unwrap();
            }
        }
    };
    read();
    alloc::within(0, read);
}

#[cfg(feature = "serde")]
#[test]
fn to_fill_a_type_that_borrows_allocates_nothing() {
    #[derive(serde::Deserialize)]
    struct Reading<'a> {
        name: &'a str,
        count: u32,
        temperature: f64,
    }

    let records = Frames::read().records();
    alloc::within(0, || {
        for record in records.iter().flatten() {
            let reading: Reading<'_> = record.value().unwrap().deserialize().unwrap();
            assert!(reading.name.starts_with("sensor "));
            assert!(reading.count > 0 && reading.temperature < 100.0);
        }
    });
}

#[test]
fn to_hand_out_records_allocates_nothing_for_each() {
    let frames = Frames::read();
    let mut link = frames.link();
    let mut receive = |times, sequence| {
        let message = frames.batch(times, sequence);
        let mut records = 0;
        let ((), usage) = alloc::measure(|| {
            feed(&mut link, message.clone(), |run| {
                records += run.iter().count()
            });
        });
        (records, usage.blocks)
    };
    // The first message makes room for what a link always has.
    receive(1, 2.0);
    let (few, blocks) = receive(1, 3.0);
    let (many, blocks_of_many) = receive(20, 4.0);
    assert_eq!(many, 20 * few);
    assert!(blocks < 20, "{blocks} blocks for one message");
    assert!(
        blocks_of_many <= blocks,
        "{blocks_of_many}, and {blocks} for a small one"
    );
}

#[test]
fn what_does_allocate_is_noticed() {
    let records = Frames::read().records();
    let record = records[0].iter().next().unwrap();
    let (tree, usage) = alloc::measure(|| record.value().unwrap().decode());
    assert!(tree.is_ok());
    assert!(usage.peak > 0);
}

#[test]
fn a_dictionary_that_unfolds_is_given_up_before_it_is_large() {
    // One structure whose names are all the word "null", of one byte each.
    let mut names = vec![0x91, 0xdd];
    names.extend_from_slice(&4_000_000_u32.to_be_bytes());
    names.resize(6 + 4_000_000, 0xc0);
    let structure = TableStructure {
        table: 5,
        named: Some(names),
        definition: TableDefinition {
            table: "Dog".into(),
            ..TableDefinition::default()
        },
        ..TableStructure::default()
    };
    let message = Bytes::from(Message::TableStructure(structure).encode());
    let mut link = Frames::read().link();
    let (close, usage) = alloc::measure(|| {
        let bytes = message.clone();
        link.handle(data::NOW, Input::Message { bytes, last: true })
            .unwrap();
        loop {
            if let Some(Command::Close(close)) = link.poll_command() {
                return close;
            }
        }
    });
    assert!(matches!(
        close.reason,
        CloseReason::Error(LinkError::TooLarge { .. })
    ));
    let most = 5 * Limits::default().context;
    assert!(usage.peak < most, "{} bytes at the most", usage.peak);
}
