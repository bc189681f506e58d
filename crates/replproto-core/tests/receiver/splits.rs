//! Messages come in parts, and it makes no difference how they were cut.

use bytes::Bytes;
use proptest::prelude::*;
use replproto_core::{Command, Event, PauseReason};

use crate::driver::{Driver, config};
use crate::wire::{self, Batch, Chunk, file};

/// What came out, without what may depend on the cuts: pauses of the inbound queue, where adjacent slices of a blob are cut,
/// and what the application had in hand at the end.
pub(crate) fn trace(commands: &[Command]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut slices: Option<(String, Vec<u8>)> = None;
    for command in commands {
        let line = match command {
            Command::Pause(PauseReason::InboundQueue)
            | Command::Resume(PauseReason::InboundQueue) => continue,
            Command::BlobChunk { blob, bytes, last } => {
                let (_, body) =
                    slices.get_or_insert_with(|| (format!("chunks of {blob}"), Vec::new()));
                body.extend_from_slice(bytes);
                if !last {
                    continue;
                }
                "last".into()
            }
            Command::Event(Event::Records(records)) => {
                for record in records {
                    lines.push(format!(
                        "{record:?} {:02x?} {:?}",
                        record.key_bytes(),
                        record.value().map(|v| v.decode())
                    ));
                }
                continue;
            }
            Command::Close(close) => format!("{:?} {:?}", close.reason, close.frame),
            other => format!("{other:?}"),
        };
        if let Some((blob, body)) = slices.take() {
            lines.push(format!("{blob} {body:02x?}"));
        }
        lines.push(line);
    }
    lines.extend(slices.map(|(blob, body)| format!("{blob} {body:02x?}")));
    lines
}

pub(crate) fn message() -> impl Strategy<Value = Bytes> {
    let record = (0..20_u32, prop::collection::vec(0..4_u32, 0..3));
    let batch = (
        prop::collection::vec(record, 0..6),
        prop::option::of(2..1000_u32),
    );
    prop_oneof![
        4 => batch.prop_map(|(records, sequence)| {
            let mut batch = Batch::new();
            for (key, blobs) in &records {
                let blobs: Vec<_> = blobs.iter().map(file).collect();
                batch = batch.put_blobs(key, &blobs);
            }
            match sequence {
                Some(sequence) => batch.end_at(f64::from(sequence)),
                None if records.is_empty() => batch.put("k").end(),
                None => batch.end(),
            }
        }),
        4 => (0..4_u32, 0..9000_usize, any::<u8>(), any::<bool>()).prop_map(|(file, length, fill, is_last)| {
            let chunk = Chunk::of(file);
            let body = vec![fill; length];
            if is_last { chunk.last(&body) } else { chunk.body(&body) }
        }),
        1 => (0..4_u32, prop::option::of(Just("ENOENT"))).prop_map(|(file, code)| Chunk::of(file).error(code, None)),
        1 => (2..1000_u32).prop_map(|sequence| wire::sequence_update(f64::from(sequence))),
        1 => (0..9000_usize).prop_map(wire::unknown),
        1 => Just(wire::node_map()),
        1 => Just(wire::table(wire::TABLE, "Dog")),
        1 => Just(wire::copy_start(500.0)),
        1 => Just(wire::copy_complete()),
        1 => Just(wire::schema(None)),
    ]
}

proptest! {
    #[test]
    fn any_split_gives_the_same_commands(
        messages in prop::collection::vec(message(), 1..25),
        lengths in prop::collection::vec(1..3000_usize, 1..8),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..8_u8)),
        small_budget: bool,
    ) {
        let mut messages = messages;
        if let Some((message, byte, bit)) = damage {
            let message = message.index(messages.len());
            let message = &mut messages[message];
            let mut bytes = message.to_vec();
            let at = byte.index(bytes.len());
            bytes[at] ^= 1 << bit;
            *message = bytes.into();
        }
        let mut config = config();
        if small_budget {
            config.flow.inbound.high.bytes = 2000;
            config.flow.inbound.low.bytes = 500;
        }
        let mut whole = Driver::following(config.clone());
        let mut parts = Driver::following(config);
        for message in messages {
            whole.feed(message.clone());
            parts.feed_parts(message, &lengths);
        }
        prop_assert_eq!(trace(&parts.commands), trace(&whole.commands));
        prop_assert_eq!(parts.persisted(), whole.persisted());
    }
}
