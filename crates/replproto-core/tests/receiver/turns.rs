//! Whose data it is must be known before any of it is taken: the peer's name, and the answer for our database.

use bytes::Bytes;
use replproto_core::wire::Message;
use replproto_core::wire::message::NodeName;
use replproto_core::{Command, Config, Cursor, EndCause, Event, LinkError, Sequence, Start};

use crate::driver::{Driver, config};
use crate::wire::{self, Batch, Chunk, TABLE};

fn connected(config: Config) -> Driver {
    Driver::connected(config, Start::Resume(Cursor::at(Sequence(7.0))))
}

fn system() -> Config {
    Config::new("us", "system")
}

fn schema(database: &str, request: Option<u32>) -> Bytes {
    let message = Message::Schema {
        tables: vec![wire::definition("Dog")],
        database: database.into(),
        request,
    };
    message.encode().into()
}

fn node_name(name: &str, database: &str) -> Bytes {
    let message = Message::NodeName(NodeName {
        name: Some(name.into()),
        database: database.into(),
        ..NodeName::default()
    });
    message.encode().into()
}

/// Nothing reached the application, and nothing was confirmed.
#[track_caller]
fn assert_nothing_taken(driver: &Driver) {
    let taken = driver.commands.iter().find(|command| {
        matches!(
            command,
            Command::Event(_) | Command::OpenBlob { .. } | Command::BlobChunk { .. }
        )
    });
    assert!(taken.is_none(), "{taken:?}");
    assert!(driver.confirmed.is_empty());
}

#[track_caller]
fn assert_wrong_database(driver: &Driver) {
    let LinkError::WrongDatabase { expected, actual } = driver.error() else {
        panic!("{:?}", driver.error());
    };
    assert_ne!(expected, actual);
    assert_eq!(driver.close_code(), Some(1008));
    let reason = &driver.close.as_ref().unwrap().reason;
    assert_eq!(EndCause::from(reason), EndCause::WrongDatabase);
}

#[test]
fn nothing_is_taken_before_the_name_and_the_answer() {
    let early = [
        Batch::new().end_at(8.0),
        Batch::new().put("k").end_at(8.0),
        Chunk::of(1).body(b"x"),
        wire::node_map(),
        wire::table(TABLE, "Dog"),
        wire::sequence_update(9.0),
        wire::copy_start(9.0),
        wire::copy_complete(),
    ];
    for message in early {
        for name in [None, Some("peer"), Some("")] {
            let mut driver = connected(config());
            if let Some(name) = name {
                driver.feed(wire::node_name(name));
            }
            driver.feed(message.clone());
            assert!(
                matches!(driver.error(), LinkError::TooSoon { message, .. } if *message == u64::from(name.is_some())),
                "{:?}",
                driver.error()
            );
            assert_eq!(driver.close_code(), Some(1002));
            assert_nothing_taken(&driver);
        }
    }
    let mut driver = connected(config());
    driver.feed(wire::schema(Some(1)));
    assert!(matches!(driver.error(), LinkError::TooSoon { .. }));
    assert_nothing_taken(&driver);
}

#[test]
fn an_answer_for_another_database_ends_the_link() {
    for request in [Some(1), None, Some(2)] {
        for name in [wire::node_name("peer"), wire::old_node_name("peer")] {
            let mut driver = connected(config());
            driver.feed(name);
            driver.feed(schema("other", request));
            assert_wrong_database(&driver);
            assert_nothing_taken(&driver);
        }
        let mut driver = Driver::following(config());
        driver.feed(schema("other", request));
        assert_wrong_database(&driver);
    }
    let mut driver = connected(config());
    driver.feed(node_name("peer", "other"));
    assert_wrong_database(&driver);
    assert_eq!(driver.sent().count(), 1, "nothing is asked for");
}

#[test]
fn a_peer_that_names_no_database_is_asked() {
    let mut driver = connected(config());
    driver.feed(node_name("peer", ""));
    assert!(driver.close.is_none());
    assert_eq!(driver.sent().count(), 2);
}

#[test]
fn a_system_connection_passes_over_other_databases_unless_they_answer() {
    let mut driver = connected(system());
    driver.feed(
        Message::NodeName(NodeName {
            name: Some("peer".into()),
            database: "system".into(),
            capabilities: Some(replproto_core::wire::message::Capabilities {
                setup_ack: 1.0,
                setup_budget: None,
            }),
            ..NodeName::default()
        })
        .encode()
        .into(),
    );
    driver.feed(schema("other", None));
    assert!(driver.close.is_none());
    assert!(!driver.receiver.is_set_up());
    assert_nothing_taken(&driver);
    driver.feed(schema("system", Some(1)));
    assert!(driver.receiver.is_set_up());
    driver.feed(schema("other", None));
    let schemas = driver
        .events()
        .filter(|event| matches!(event, Event::Schema(_)));
    assert_eq!(schemas.count(), 1);
    driver.feed(schema("other", Some(1)));
    assert_wrong_database(&driver);
}
