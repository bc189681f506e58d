//! What is allocated on behalf of a link, whatever the peer sends: never more than the formula says, until there is a pause or
//! the link ends.

use std::time::Duration;

use bytes::Bytes;
use replproto_core::config::Level;
use replproto_core::error::Oversize;
use replproto_core::event::BlobFault;
use replproto_core::wire::Message;
use replproto_core::wire::message::{NodeName, TableStructure};
use replproto_core::{
    Attribute, BlobId, CloseReason, Command, Config, Epoch, Event, Input, Instant, LinkError,
    PauseReason, Receiver, Sequence, Start, TEXT_MAX, TableDefinition,
};

use crate::alloc::{for_link, live_of_link};
use crate::driver::config;
use crate::wire::{self, Batch, Chunk, file};

/// The largest part that is fed.
const PART: usize = 64 << 10;

/// A host that never gives anything back unless it is told to, and looks at the memory after each step.
struct Hoarder {
    receiver: Receiver,
    now: Instant,
    bound: u64,
    /// Everything that is out.
    held: Vec<Command>,
    close: Option<CloseReason>,
    /// Bytes that were there before the link.
    before: u64,
    most: u64,
}

impl Hoarder {
    fn new(config: Config) -> Self {
        Self::from(config, Start::At(Sequence(1.0)))
    }

    fn from(config: Config, start: Start) -> Self {
        let before = live_of_link();
        let now = Instant::from_micros(1_000_000);
        let bound = config.memory_bound(PART as u64).total();
        let receiver = for_link(|| Receiver::new(config, start, Epoch(1), now).expect("valid"));
        let mut host = Self {
            receiver,
            now,
            bound,
            held: Vec::new(),
            close: None,
            before,
            most: 0,
        };
        host.input(Input::Connected);
        for message in wire::handshake() {
            host.feed(&message);
        }
        host.take();
        host
    }

    fn live(&self) -> u64 {
        live_of_link() - self.before
    }

    #[track_caller]
    fn check(&mut self) {
        let live = self.live();
        self.most = self.most.max(live);
        assert!(
            live <= self.bound,
            "{live} bytes, and {} at most",
            self.bound
        );
    }

    #[track_caller]
    fn input(&mut self, input: Input) {
        let now = self.now;
        for_link(|| self.receiver.handle(now, input)).expect("the contract is kept");
        self.run();
    }

    #[track_caller]
    fn run(&mut self) {
        loop {
            self.check();
            let Some(command) = for_link(|| self.receiver.poll_command()) else {
                let due = self.receiver.poll_timeout();
                if self.close.is_none() && due.is_some_and(|due| due <= self.now) {
                    for_link(|| self.receiver.handle(self.now, Input::Tick)).expect("a tick");
                    continue;
                }
                return;
            };
            match command {
                Command::Close(close) => self.close = Some(close.reason),
                Command::Event(_) | Command::BlobChunk { .. } => self.held.push(command),
                _ => {}
            }
        }
    }

    fn is_paused_for(&self, reason: PauseReason) -> bool {
        self.receiver.pause_reasons().contains(reason)
    }

    fn is_over(&self) -> bool {
        self.close.is_some() || self.receiver.is_paused()
    }

    /// Feeds a message as it comes from a socket. Gives false once nothing is read any more.
    #[track_caller]
    fn feed(&mut self, message: &[u8]) -> bool {
        let mut parts = message.chunks(PART).peekable();
        while let Some(part) = parts.next() {
            if self.is_over() {
                return false;
            }
            let bytes = for_link(|| Bytes::copy_from_slice(part));
            let last = parts.peek().is_none();
            self.input(Input::Message { bytes, last });
        }
        !self.is_over()
    }

    /// Feeds until nothing is read any more.
    #[track_caller]
    fn flood(&mut self, messages: impl IntoIterator<Item = Bytes>) {
        for message in messages {
            if !self.feed(&message) {
                return;
            }
        }
        panic!("read to the end, with {} bytes", self.live());
    }

    /// Gives back all events, commits included.
    fn take(&mut self) {
        for command in std::mem::take(&mut self.held) {
            let Command::Event(event) = command else {
                self.held.push(command);
                continue;
            };
            let events = event.count();
            let id = match &event {
                Event::EndTransaction(end) => Some(end.id),
                Event::Checkpoint(end) | Event::CopyCompleted(end) => Some(end.id),
                _ => None,
            };
            drop(event);
            self.input(Input::Consumed { events });
            if let Some(id) = id {
                self.input(Input::Committed(id));
            }
        }
    }

    #[track_caller]
    fn is_too_large(&self, expected: Oversize) {
        let Some(CloseReason::Error(LinkError::TooLarge { what, .. })) = &self.close else {
            panic!("{:?}, and {} bytes", self.close, self.live());
        };
        assert_eq!(*what, expected);
    }

    fn events(&self) -> impl Iterator<Item = &Event> {
        self.held.iter().filter_map(|command| match command {
            Command::Event(event) => Some(event),
            _ => None,
        })
    }
}

fn encode(message: &Message) -> Bytes {
    message.encode().into()
}

fn small() -> Config {
    let mut config = config();
    config.limits.context = 1 << 20;
    config.limits.record = 1 << 20;
    config.limits.command = 1 << 20;
    config.flow.consumer.high = Level {
        items: 1_000_000,
        bytes: 512 << 10,
    };
    config.flow.consumer.low.bytes = 0;
    config
}

fn error(file: u32, text: usize) -> Bytes {
    let text = "\u{e4}".repeat(text / 2);
    let Ok(Message::BlobChunk { mut header, body }) =
        Message::decode(&Chunk::of(file).error(Some("EIO"), None))
    else {
        panic!("a chunk");
    };
    // Written by hand, since what is read is cut.
    header.error = Some(text.clone());
    header.error_code = Some(text);
    encode(&Message::BlobChunk { header, body })
}

fn schema(tables: Vec<TableDefinition>) -> Bytes {
    encode(&Message::Schema {
        tables,
        database: "data".into(),
        request: None,
    })
}

/// A definition with so many attributes.
fn wide(table: &str, attributes: usize) -> TableDefinition {
    let attribute = |number| Attribute {
        name: format!("a{number}"),
        ..Attribute::default()
    };
    TableDefinition {
        attributes: (0..attributes).map(attribute).collect(),
        ..wire::definition(table)
    }
}

#[test]
fn the_words_of_errors_are_cut_and_their_events_pause_reading() {
    for text in [0, 4000, 400_000] {
        let mut host = Hoarder::new(small());
        host.flood((0..1_000_000).map(|file| error(file, text)));
        assert!(host.is_paused_for(PauseReason::ConsumerQueue));
        let Some(Event::BlobHeld(failure)) = host.events().next() else {
            panic!("{:?}", host.events().next());
        };
        let BlobFault::Source { message, code, .. } = &failure.fault else {
            panic!("{failure:?}");
        };
        assert!(message.len() <= TEXT_MAX && (text == 0 || message.len() > TEXT_MAX - 4));
        assert!(code.as_ref().unwrap().len() <= TEXT_MAX);
    }
}

#[test]
fn blobs_that_fail_without_end_are_forgotten() {
    let mut config = small();
    config.limits.finished_blobs = 500;
    let mut host = Hoarder::new(config);
    let mut settled = 0;
    for file in 0..12_000 {
        assert!(host.feed(&error(file, 100)));
        host.take();
        if file == 6000 {
            settled = host.live();
        }
    }
    // How full the nodes of a tree are depends on what came.
    assert!(
        host.live() < settled * 3 / 2,
        "{settled}, then {}",
        host.live()
    );
}

#[test]
fn names_of_tables_are_context() {
    let mut host = Hoarder::new(small());
    let mut number = 0;
    let mut few = |count| {
        number += count;
        schema(
            (number - count..number)
                .map(|n| wire::definition(&format!("t{n}")))
                .collect(),
        )
    };
    while host.feed(&few(50)) {
        host.take();
    }
    host.is_too_large(Oversize::Context);
    // Each is some KiB, since a store makes a table of it.
    assert!(number < 400, "{number} tables");

    let mut host = Hoarder::new(small());
    let mut number = 0;
    while host.feed(&schema(vec![wire::definition(&format!(
        "{number}{}",
        "y".repeat(100_000)
    ))])) {
        host.take();
        number += 1;
    }
    host.is_too_large(Oversize::Context);
    assert!(number < 20, "{number} names");
}

#[test]
fn a_table_that_is_renamed_without_end_ends_the_link() {
    let mut host = Hoarder::new(small());
    let mut number = 0;
    while host.feed(&wire::table(wire::TABLE, &format!("Dog{number}"))) {
        host.take();
        number += 1;
    }
    host.is_too_large(Oversize::Context);
    assert!(number < 400, "{number} names");
}

#[test]
fn a_table_that_is_described_again_and_again_costs_one() {
    let mut host = Hoarder::new(small());
    for _ in 0..10_000 {
        assert!(host.feed(&wire::table(wire::TABLE, "Dog")));
        assert!(host.feed(&schema(vec![wide("Dog", 10)])));
        host.take();
    }
    assert!(host.live() < 200_000, "{}", host.live());
}

#[test]
fn definitions_are_events_with_a_cost() {
    let mut host = Hoarder::new(small());
    host.flood((0..1000).map(|_| schema(vec![wide("Dog", 4000)])));
    assert!(host.is_paused_for(PauseReason::ConsumerQueue));

    let structure = |_| {
        encode(&Message::TableStructure(TableStructure {
            definition: wide("Dog", 4000),
            table: wire::TABLE,
            ..TableStructure::default()
        }))
    };
    let mut host = Hoarder::new(small());
    host.flood((0..1000).map(structure));
    assert!(host.is_paused_for(PauseReason::ConsumerQueue));
}

#[test]
fn maps_of_nodes_and_residency_lists_are_context() {
    let mut host = Hoarder::new(small());
    let map = |count: u32| {
        encode(&Message::NodeMap {
            ids: (0..count).map(|id| (format!("n{id}"), id)).collect(),
            subscribed: Vec::new(),
        })
    };
    for _ in 0..100 {
        assert!(host.feed(&map(5000)));
        host.take();
    }
    host.flood([map(40_000)]);
    host.is_too_large(Oversize::Context);

    let mut host = Hoarder::new(small());
    let list = |id| {
        encode(&Message::ResidencyList {
            nodes: vec!["node".into(); 100],
            id,
        })
    };
    host.flood((0..1_000_000).map(list));
    host.is_too_large(Oversize::Context);
}

#[test]
fn commands_without_end_pause_or_stay_constant() {
    let repeated: [(Bytes, bool); 7] = [
        (wire::node_name("peer"), false),
        (wire::unknown(1000), false),
        (wire::node_map(), false),
        (wire::sequence_update(5.0), false),
        (wire::copy_start(7.0), true),
        (wire::schema(None), true),
        (wire::table(wire::TABLE, "Dog"), true),
    ];
    for (message, pauses) in repeated {
        let mut host = Hoarder::new(small());
        let mut is_read = true;
        for _ in 0..5000 {
            is_read = host.feed(&message);
            if !is_read {
                break;
            }
        }
        assert!(host.close.is_none());
        assert_eq!(is_read, !pauses, "{message:?}");
        assert!(pauses || host.live() < 200_000, "{}", host.live());
    }
}

#[test]
fn references_and_their_records_are_capped() {
    for key in [10, 100, 250, 2000] {
        let mut config = small();
        config.limits.blob_references = 4000;
        let bound = config.memory_bound(PART as u64);
        let mut host = Hoarder::from(config, Start::Copy);
        host.feed(&wire::copy_start(7.0));
        for number in 0.. {
            let name = format!("{number:0>key$}");
            let blob = file(format!("{number:0>128}"));
            if !host.feed(&Batch::new().put_blobs(name, &[blob]).end_at(9.0)) {
                break;
            }
            host.take();
        }
        host.is_too_large(Oversize::BlobReferences);
        assert!(
            host.most < bound.blob_keys + 200_000,
            "{} of {bound:?}",
            host.most
        );
    }
}

#[test]
fn silent_blobs_are_given_up_a_few_at_a_time() {
    let mut config = small();
    config.timeouts.ping_timeout = Duration::from_secs(100_000);
    config.timeouts.blob_gap = Duration::from_secs(100_000);
    let timeout = config.timeouts.blob;
    let mut host = Hoarder::new(config);
    for number in 0..5000 {
        assert!(host.feed(&Batch::new().put_blobs(number, &[file(number)]).end()));
        host.take();
    }
    host.now = host.now.after(timeout);
    let (mut held, mut turns) = (0, 0);
    while held < 5000 {
        host.now = host.now.after(timeout / 100);
        host.input(Input::Tick);
        let events = host.events().count();
        assert!(events <= 1024, "{events} at a time");
        held += events;
        host.take();
        turns += 1;
        assert!(turns < 10, "{held} were given up");
    }
}

#[test]
fn transfers_that_are_open_or_not_saved_are_capped() {
    let mut host = Hoarder::new(small());
    host.flood((0..5000).map(|number| Chunk::of(format!("{number:0>128}")).body(b"x")));
    assert!(host.receiver.is_paused());

    let mut host = Hoarder::new(small());
    host.flood((0..5000).map(|number| Chunk::of(format!("{number:0>128}")).last(b"x")));
    let blobs: Vec<BlobId> = host
        .held
        .iter()
        .filter_map(|command| match command {
            Command::BlobChunk { blob, .. } => Some(*blob),
            _ => None,
        })
        .collect();
    host.held
        .retain(|command| !matches!(command, Command::BlobChunk { .. }));
    for blob in blobs {
        let why = "no room ".repeat(1000);
        host.input(Input::BlobFailed { blob, why });
    }
    let longest = host.events().map(Event::cost).max().unwrap();
    assert!(longest < 1024, "{longest}");
}

#[test]
fn small_parts_cost_no_more_than_three_times_what_they_count() {
    // Messages of a few bytes, which nobody takes; and a record that comes in bytes, or in pieces that are just not joined.
    let mut config = small();
    config.flow.commits.high.items = 1;
    config.flow.commits.low.items = 0;
    let bound = config.memory_bound(PART as u64);
    let mut host = Hoarder::new(config.clone());
    for _ in 0..3 {
        host.feed(&Batch::new().put("k").end());
    }
    assert!(host.receiver.is_paused());
    let message = wire::sequence_update(5.0);
    while host.receiver.retained_bytes() <= config.flow.inbound.high.bytes {
        let bytes = for_link(|| Bytes::copy_from_slice(&message));
        host.input(Input::Message { bytes, last: true });
    }
    assert!(host.most < bound.inbound, "{} of {bound:?}", host.most);

    for pieces in [&[1][..], &[2000, 2097], &[2049, 2048, 1, 4095]] {
        let mut host = Hoarder::new(config.clone());
        let message = Batch::new().put_sized("k", 1_000_000).end();
        let mut rest = &message[..];
        for size in pieces.iter().cycle() {
            let (piece, left) = rest.split_at((*size).min(rest.len()));
            rest = left;
            let bytes = for_link(|| Bytes::copy_from_slice(piece));
            let last = rest.is_empty();
            host.input(Input::Message { bytes, last });
            if last {
                break;
            }
        }
        assert_eq!(host.events().count(), 1);
        assert!(
            host.most < bound.item + 200_000,
            "{} of {bound:?}",
            host.most
        );
    }
}

#[test]
fn what_only_informs_is_cut_where_it_enters() {
    let mut host = Hoarder::new(config());
    let reason = "\u{e4}".repeat(1000);
    host.input(Input::PeerClosed { code: 1011, reason });
    let Some(CloseReason::PeerClosed { reason, .. }) = &host.close else {
        panic!("{:?}", host.close);
    };
    assert_eq!(reason.len(), TEXT_MAX);

    let mut host = Hoarder::new(config());
    host.flood([wire::node_name(&"n".repeat(100_000))]);
    let Some(CloseReason::Error(LinkError::WrongName { actual, .. })) = &host.close else {
        panic!("{:?}", host.close);
    };
    assert_eq!(actual.len(), TEXT_MAX);
}

#[test]
fn a_name_of_a_node_is_no_novel() {
    let now = Instant::ZERO;
    let mut receiver = Receiver::new(config(), Start::Copy, Epoch(1), now).unwrap();
    receiver.handle(now, Input::Connected).unwrap();
    let bytes = encode(&Message::NodeName(NodeName {
        name: Some("n".repeat(TEXT_MAX + 1)),
        ..NodeName::default()
    }));
    receiver
        .handle(now, Input::Message { bytes, last: true })
        .unwrap();
    while let Some(command) = receiver.poll_command() {
        if let Command::Close(close) = command {
            let reason = close.reason;
            assert!(matches!(
                reason,
                CloseReason::Error(LinkError::Malformed { .. })
            ));
            return;
        }
    }
    panic!("not closed");
}

#[test]
fn the_formula_is_not_absurd() {
    let bound = Config::new("us", "data").memory_bound(PART as u64);
    assert!(bound.total() < 150 << 20, "{bound:?}");
}
