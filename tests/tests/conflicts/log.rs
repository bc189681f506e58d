//! The entries of vectors as a publisher sends them, and the events that a receiver makes of these messages.

use std::collections::BTreeMap;

use replproto_core::key::Key;
use replproto_core::replica::Stamp;
use replproto_core::value::{Profile, Value};
use replproto_core::wire::entry::Flags;
use replproto_core::wire::message::TableStructure;
use replproto_core::wire::{BatchBuilder, Message, NewEntry};
use replproto_core::{
    Command, Config, Epoch, Event, Input, Instant, Receiver, RecordKind, Sequence, Start, WallTime,
};

use crate::history::{Logged, Vector};

const PEER: &str = "publisher";
pub(crate) const TABLE: &str = "t";
const TIME: f64 = 1_767_225_600_000.0;

/// The action type of an entry (`protocol.md` section 5.1).
const fn code(kind: RecordKind) -> u8 {
    match kind {
        RecordKind::Put => 1,
        RecordKind::Delete => 2,
        RecordKind::Message => 3,
        RecordKind::Invalidate => 4,
        RecordKind::Patch => 5,
        RecordKind::Relocate => 6,
        _ => panic!("no vector has it"),
    }
}

/// A publisher's connection, with the receiver at its end.
pub(crate) struct Link {
    receiver: Receiver,
    /// The publisher's ids of the nodes.
    nodes: BTreeMap<String, u32>,
    position: f64,
}

impl Link {
    /// A connection on which entries of the vectors' writers may come, and the first events.
    pub(crate) fn open(vectors: &[Vector], start: Start) -> (Self, Vec<Event>) {
        let config = Config::new("us", "data");
        let receiver = Receiver::new(config, start, Epoch(1), Instant::ZERO);
        let mut link = Self {
            receiver: receiver.expect("a valid configuration"),
            nodes: BTreeMap::from([(PEER.to_owned(), 0)]),
            position: TIME,
        };
        for stamp in vectors.iter().flat_map(Vector::stamps) {
            let id = link.nodes.len() as u32;
            link.nodes.entry(stamp.origin.to_string()).or_insert(id);
        }
        link.handle(Input::Connected);
        link.receiver.assume_set_up(PEER);
        let ids = link.nodes.iter().map(|(name, id)| (name.clone(), *id));
        let map = Message::NodeMap {
            ids: ids.collect(),
            subscribed: Vec::new(),
        };
        let schema = Message::Schema {
            tables: Vec::new(),
            database: "data".into(),
            request: None,
        };
        let mut structure = TableStructure::default();
        structure.definition.table = TABLE.into();
        let table = Message::TableStructure(structure);
        let mut events = Vec::new();
        for message in [map, schema, table] {
            events.extend(link.feed(message.encode()));
        }
        (link, events)
    }

    /// A base copy of these rows.
    pub(crate) fn copy<'a>(
        &mut self,
        rows: impl Iterator<Item = (&'a str, &'a Vector)>,
    ) -> Vec<Event> {
        let start = Message::CopyStart {
            start: WallTime(self.position),
            order: 1,
        };
        let mut events = self.feed(start.encode());
        let mut batch = BatchBuilder::new(WallTime(TIME));
        for (id, vector) in rows {
            for row in &vector.copies {
                let expires_at = row.expires_at;
                self.entry(
                    &mut batch,
                    id,
                    (RecordKind::Put, row.value.as_ref()),
                    (&row.stamp, expires_at),
                );
            }
        }
        events.extend(self.feed(batch.finish(Some(Sequence(self.position)))));
        events.extend(self.feed(Message::CopyComplete.encode()));
        events
    }

    /// A transaction that writes to the record `id`.
    pub(crate) fn transaction(&mut self, id: &str, entries: &[Logged]) -> Vec<Event> {
        let mut batch = BatchBuilder::new(WallTime(TIME));
        for Logged { kind, value, entry } in entries {
            let stamp = Stamp {
                version: entry.version,
                origin: entry.origin.clone(),
            };
            self.entry(
                &mut batch,
                id,
                (*kind, value.as_ref()),
                (&stamp, entry.expires_at),
            );
        }
        self.position += 1.0;
        self.feed(batch.finish(Some(Sequence(self.position))))
    }

    fn entry(
        &self,
        batch: &mut BatchBuilder,
        id: &str,
        (kind, value): (RecordKind, Option<&Value>),
        (stamp, expires_at): (&Stamp, Option<WallTime>),
    ) {
        let value = value.map(|value| value.encode(Profile::Table).expect("a value"));
        batch.entry(&NewEntry {
            kind: code(kind),
            flags: match (kind, &value) {
                (_, None) => Flags::default(),
                (RecordKind::Patch | RecordKind::Invalidate, _) => Flags::PARTIAL,
                _ => Flags::FULL,
            },
            node: self.nodes[stamp.origin.as_str()],
            key: &Key::Text(id.into()).encode().expect("a short name"),
            version: stamp.version.0,
            expires_at: expires_at.map(|WallTime(time)| time),
            value: value.as_deref().unwrap_or_default(),
            ..NewEntry::default()
        });
    }

    fn feed(&mut self, message: Vec<u8>) -> Vec<Event> {
        self.handle(Input::Message {
            bytes: message.into(),
            last: true,
        })
    }

    /// Everything that is handed out is taken for stored at once.
    fn handle(&mut self, input: Input) -> Vec<Event> {
        let now = Instant::ZERO;
        self.receiver.handle(now, input).expect("a valid input");
        let mut events = Vec::new();
        while let Some(command) = self.receiver.poll_command() {
            let event = match command {
                Command::Event(event) => event,
                Command::Close(close) => panic!("{}", close.reason),
                _ => continue,
            };
            let consumed = Input::Consumed {
                events: event.count(),
            };
            self.receiver
                .handle(now, consumed)
                .expect("it was handed out");
            if let Event::EndTransaction(end) = &event {
                let committed = Input::Committed(end.id);
                self.receiver
                    .handle(now, committed)
                    .expect("it was handed out");
            }
            events.push(event);
        }
        events
    }
}
