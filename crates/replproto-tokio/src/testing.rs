//! Real events for tests: they come out of a receiver that was fed with messages.

use replproto_core::config::Mode;
use replproto_core::event::{Checkpoint, CopyStarted, EndTransaction, Schema};
use replproto_core::key::Key;
use replproto_core::value::{Profile, Value};
use replproto_core::wire::message::{NodeName, TableStructure};
use replproto_core::wire::{BatchBuilder, Message, NewEntry, entry::Flags};
use replproto_core::{
    Command, CommitId, Config, CopyCursor, Cursor, Epoch, Event, Input, Instant, Receiver,
    Sequence, Start, WallTime,
};

/// The publisher in tests.
pub(crate) const PEER: &str = "node-a";

/// The nodes that write, by the publisher's ids.
pub(crate) const NODES: [&str; 4] = [PEER, "node-b", "node-c", "node-d"];

/// One change of one record.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) table: &'static str,
    pub(crate) action: u8,
    pub(crate) key: Vec<u8>,
    pub(crate) version: f64,
    /// One of [`NODES`].
    pub(crate) origin: &'static str,
    pub(crate) expires_at: Option<f64>,
    pub(crate) value: Vec<u8>,
}

fn change(table: &'static str, action: u8, key: &str, version: f64, value: Vec<u8>) -> Change {
    Change {
        table,
        action,
        key: Key::Text(key.into()).encode().unwrap(),
        version,
        origin: PEER,
        expires_at: None,
        value,
    }
}

/// The bytes of an object.
pub(crate) fn object(fields: &[(&str, f64)]) -> Vec<u8> {
    let fields = fields
        .iter()
        .map(|(name, value)| ((*name).into(), Value::Number(*value)));
    Value::Object(fields.collect())
        .encode(Profile::Table)
        .unwrap()
}

pub(crate) fn put(key: &str, version: f64, fields: &[(&str, f64)]) -> Change {
    change("Dog", 1, key, version, object(fields))
}

pub(crate) fn patch(key: &str, version: f64, fields: &[(&str, f64)]) -> Change {
    change("Dog", 5, key, version, object(fields))
}

pub(crate) fn delete(key: &str, version: f64) -> Change {
    change("Dog", 2, key, version, Vec::new())
}

impl Change {
    /// The same change of another table.
    #[cfg(feature = "sqlite")]
    pub(crate) fn of(mut self, table: &'static str) -> Self {
        self.table = table;
        self
    }

    /// The same with another action and these bytes as its value.
    pub(crate) fn with(mut self, action: u8, value: Vec<u8>) -> Self {
        self.action = action;
        self.value = value;
        self
    }
}

/// The changes as a receiver hands them out.
pub(crate) fn records(changes: &[Change]) -> Vec<Event> {
    let mut link = Link::open();
    let mut tables: Vec<&str> = Vec::new();
    for change in changes {
        if !tables.contains(&change.table) {
            tables.push(change.table);
        }
    }
    for (id, table) in tables.iter().enumerate() {
        let mut structure = TableStructure {
            typed: None,
            named: None,
            definition: Default::default(),
            table: id as u32,
        };
        structure.definition.table = (*table).into();
        link.feed(Message::TableStructure(structure).encode());
    }
    let mut events = Vec::new();
    for change in changes {
        let mut batch = BatchBuilder::new(WallTime(1_747_252_561_000.0));
        let table = tables.iter().position(|table| *table == change.table);
        batch.entry(&NewEntry {
            kind: change.action,
            flags: if change.value.is_empty() {
                Flags::default()
            } else {
                Flags::FULL
            },
            table: table.unwrap() as u32,
            node: NODES.iter().position(|it| *it == change.origin).unwrap() as u32,
            key: &change.key,
            version: change.version,
            expires_at: change.expires_at,
            value: &change.value,
            ..NewEntry::default()
        });
        let came = link.feed(batch.finish(None));
        events.extend(
            came.into_iter()
                .filter(|event| matches!(event, Event::Records(_) | Event::RecordSkipped(_))),
        );
    }
    assert_eq!(events.len(), changes.len());
    events
}

struct Link(Receiver);

impl Link {
    fn open() -> Self {
        let mut config = Config::new("us", "data");
        config.mode = Mode::A;
        let start = Start::At(Sequence(1.0));
        let mut receiver = Receiver::new(config, start, Epoch(1), Instant::ZERO).unwrap();
        receiver.handle(Instant::ZERO, Input::Connected).unwrap();
        let mut link = Self(receiver);
        link.drain();
        link.feed(
            Message::NodeName(NodeName {
                name: Some(PEER.into()),
                database: "data".into(),
                ..NodeName::default()
            })
            .encode(),
        );
        link.feed(
            Message::Schema {
                tables: Vec::new(),
                database: "data".into(),
                request: None,
            }
            .encode(),
        );
        link.feed(
            Message::NodeMap {
                ids: NODES.iter().copied().map(String::from).zip(0..).collect(),
                subscribed: Vec::new(),
            }
            .encode(),
        );
        link
    }

    fn feed(&mut self, bytes: Vec<u8>) -> Vec<Event> {
        let message = Input::Message {
            bytes: bytes.into(),
            last: true,
        };
        self.0.handle(Instant::ZERO, message).unwrap();
        self.drain()
    }

    fn drain(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(command) = self.0.poll_command() {
            match command {
                Command::Event(event) => {
                    self.0
                        .handle(Instant::ZERO, Input::Consumed { events: 1 })
                        .unwrap();
                    if let Event::EndTransaction(end) = &event {
                        self.0
                            .handle(Instant::ZERO, Input::Committed(end.id))
                            .unwrap();
                    }
                    events.push(event);
                }
                Command::Close(close) => panic!("{}", close.reason),
                _ => {}
            }
        }
        events
    }
}

fn id() -> CommitId {
    CommitId {
        epoch: Epoch(1),
        number: 0,
    }
}

pub(crate) fn schema(peer: &str) -> Event {
    Event::Schema(Schema {
        peer: peer.into(),
        database: "data".into(),
        tables: [].into(),
    })
}

pub(crate) fn end(sequence: Option<f64>) -> Event {
    Event::EndTransaction(EndTransaction {
        id: id(),
        sequence: sequence.map(Sequence),
        cursor: None,
    })
}

pub(crate) fn copy_started(start: Option<f64>, resumed: bool) -> Event {
    Event::CopyStarted(CopyStarted {
        copy_start: start.map(WallTime),
        forced: false,
        resumed,
    })
}

pub(crate) fn copy_completed() -> Event {
    Event::CopyCompleted(Checkpoint {
        id: id(),
        cursor: at(0.0),
    })
}

/// The cursor of a copy of which a row is durable.
pub(crate) fn in_copy(sequence: f64, start: f64) -> Cursor {
    Cursor {
        sequence: Sequence(sequence),
        announced: Sequence(sequence),
        copy: Some(Box::new(CopyCursor {
            copy_start: WallTime(start),
            table: "Dog".into(),
            after_key: b"a".as_slice().into(),
            order: 1,
        })),
        selection: None,
    }
}

pub(crate) const fn at(sequence: f64) -> Cursor {
    Cursor::at(Sequence(sequence))
}
