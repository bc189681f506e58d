//! A link in a few messages, for what a world does not look at: that a subscription to nothing is one, and that nothing
//! secret gets into a log.

use bytes::Bytes;
use replproto_core::config::TableFilter;
use replproto_core::wire::entry::Flags;
use replproto_core::wire::message::ChunkHeader;
use replproto_core::wire::{BatchBuilder, Message, NewEntry};
use replproto_core::{
    Command, Config, Epoch, Event, Input, Instant, Receiver, Sequence, Start, WallTime,
};

use crate::handshake::handshake;
use crate::oracles::{Result, Violation, hold};
use crate::rng::Rng;

/// The structures of a table that has none.
const NO_STRUCTURES: &[u8] = b"\x90";

/// What must not be found in anything that is printed.
const SECRET: &[u8] = b"canary in a coal mine";

pub(super) fn check(seed: u64) -> Result {
    let mut rng = Rng::named(seed, "link");
    let mut config = Config::new("us", "data");
    let follows_nothing = rng.chance(500);
    if follows_nothing {
        config.tables = TableFilter::Only(Vec::new());
    }
    let now = Instant::from_micros(1);
    let start = Start::At(Sequence(1.0));
    let mut receiver = Receiver::new(config, start, Epoch(1), now)
        .map_err(|error| Violation::new("config", error))?;
    let mut records = 0;
    let mut inputs = vec![Input::Connected];
    inputs.extend(
        messages()
            .into_iter()
            .map(|bytes| Input::Message { bytes, last: true }),
    );
    for input in inputs {
        check_secrecy(&input)?;
        receiver
            .handle(now, input)
            .map_err(|misuse| Violation::new("contract", misuse))?;
        while let Some(command) = receiver.poll_command() {
            check_secrecy(&command)?;
            if let Command::Event(event @ Event::Records(_)) = &command {
                records += event.count();
            }
        }
    }
    hold("order", records == u64::from(!follows_nothing), || {
        format!("{records} records, following nothing: {follows_nothing}")
    })?;
    hold("finality", !receiver.is_closed(), || {
        "a subscription to nothing is no wish to end".into()
    })
}

fn check_secrecy(printed: &impl std::fmt::Debug) -> Result {
    let text = format!("{printed:?}");
    let secret = String::from_utf8_lossy(SECRET);
    let numbers = format!("{SECRET:?}");
    let is_open = text.contains(&*secret) || text.contains(numbers.trim_matches(['[', ']']));
    hold("secrecy", !is_open, || text)
}

/// A conversation with the secret in a record and in a blob.
fn messages() -> Vec<Bytes> {
    let mut batch = BatchBuilder::new(WallTime(1e12));
    let mut value = vec![0xa0 | SECRET.len() as u8];
    value.extend_from_slice(SECRET);
    batch.entry(&NewEntry {
        kind: 1,
        flags: Flags::FULL,
        table: 7,
        key: b"k",
        version: 1e12,
        value: &value,
        ..NewEntry::default()
    });
    let chunk = Message::BlobChunk {
        header: ChunkHeader {
            file: "1".into(),
            finished: true,
            ..ChunkHeader::default()
        },
        body: Bytes::from_static(SECRET),
    };
    let mut messages = handshake("Cat", 7, NO_STRUCTURES);
    messages.push(chunk.encode().into());
    messages.push(batch.finish(Some(Sequence(1e12))).into());
    messages
}
