//! What the benchmarks read.

use bytes::Bytes;
use replproto_core::wire::BatchBuilder;
use replproto_core::wire::batch::{self, HEADER_LENGTH, TERMINATOR_LENGTH};
use replproto_core::{
    Command, Config, Epoch, Event, Input, Instant, Receiver, Records, Sequence, Start, WallTime,
};

/// A terminator, and its length before it.
const TERMINATOR_ITEM: usize = 1 + TERMINATOR_LENGTH;

/// Never moves: no benchmark waits for anything.
pub(crate) const NOW: Instant = Instant::ZERO;

/// The messages of one publisher.
pub(crate) struct Frames {
    /// The commands, in their order.
    pub(crate) commands: Vec<Bytes>,
    /// The items of all batches, one after the other, without the terminators.
    items: Vec<u8>,
}

impl Frames {
    pub(crate) fn read() -> Self {
        let mut rest: &[u8] = include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/frames/backlog.bin"
        ));
        let mut frames = Self {
            commands: Vec::new(),
            items: Vec::new(),
        };
        while let Some((length, behind)) = rest.split_first_chunk() {
            let (message, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
            rest = behind;
            if message[0] > 0x7f {
                frames.commands.push(Bytes::from_static(message));
            } else {
                let items = &message[HEADER_LENGTH..];
                // Only the last batch has a terminator.
                let (entries, end) = items.split_at(items.len() - TERMINATOR_ITEM);
                let is_terminator = batch::terminator(&end[1..]).is_some();
                frames
                    .items
                    .extend(if is_terminator { entries } else { items });
            }
        }
        frames
    }

    /// One transaction with all records, `times` over.
    pub(crate) fn batch(&self, times: usize, sequence: f64) -> Bytes {
        build(&self.items.repeat(times), sequence)
    }

    /// One transaction with the first record only.
    pub(crate) fn batch_of_one(&self, sequence: f64) -> Bytes {
        let (length, width) = replproto_core::wire::varint::decode(&self.items).unwrap();
        build(&self.items[..width + length as usize], sequence)
    }

    /// A link that has been told all commands.
    pub(crate) fn link(&self) -> Receiver {
        let mut config = Config::new("follower", "data");
        config.flow.consumer.high.items = 4096;
        config.flow.consumer.low.items = 2048;
        let mut link = Receiver::new(config, Start::At(Sequence(1.0)), Epoch(1), NOW).unwrap();
        link.handle(NOW, Input::Connected).unwrap();
        link.assume_set_up("node-a");
        for command in &self.commands {
            feed(&mut link, command.clone(), |_| {});
        }
        link
    }

    /// All records, as an application gets them.
    pub(crate) fn records(&self) -> Vec<Records> {
        let mut all = Vec::new();
        feed(&mut self.link(), self.batch(1, 2.0), |records| {
            all.push(records.clone());
        });
        all
    }
}

fn build(items: &[u8], sequence: f64) -> Bytes {
    let empty = BatchBuilder::new(WallTime(1_747_252_561_000.0)).finish(Some(Sequence(sequence)));
    let (header, terminator) = empty.split_at(HEADER_LENGTH);
    [header, items, terminator].concat().into()
}

/// Hands in a message and acknowledges at once whatever comes of it.
pub(crate) fn feed(link: &mut Receiver, bytes: Bytes, mut read: impl FnMut(&Records)) {
    link.handle(NOW, Input::Message { bytes, last: true })
        .unwrap();
    while let Some(command) = link.poll_command() {
        match command {
            Command::Event(event) => {
                let events = event.count();
                if let Event::Records(records) = &event {
                    read(records);
                }
                link.handle(NOW, Input::Consumed { events }).unwrap();
                if let Event::EndTransaction(end) = event {
                    link.handle(NOW, Input::Committed(end.id)).unwrap();
                }
            }
            Command::Close(close) => panic!("{}", close.reason),
            _ => {}
        }
    }
}
