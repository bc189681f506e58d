//! A host that acknowledges everything at once, and checks the bounds at every step.

use bytes::Bytes;
use replproto_core::config::Mode;
use replproto_core::wire::Message;
use replproto_core::wire::message::{Capabilities, NodeName, TableStructure};
use replproto_core::{
    Command, Config, Cursor, Epoch, Event, Input, Instant, Receiver, Sequence, Start,
    TableDefinition,
};

use super::alloc::{for_link, live_of_link};

/// What a publisher says before its first batch: node ids 0 and 3, and the table 5.
pub(crate) fn handshake() -> [Message; 4] {
    let definition = |table: &str| TableDefinition {
        table: table.into(),
        ..TableDefinition::default()
    };
    [
        Message::NodeName(NodeName {
            name: Some("node-a".into()),
            database: "data".into(),
            tables: Vec::new(),
            capabilities: Some(Capabilities {
                setup_ack: 1.0,
                setup_budget: None,
            }),
        }),
        Message::Schema {
            tables: vec![definition("Dog")],
            database: "data".into(),
            request: Some(1),
        },
        Message::NodeMap {
            ids: vec![("node-a".into(), 0), ("node-b".into(), 3)],
            subscribed: vec!["node-a".into()],
        },
        Message::TableStructure(TableStructure {
            // [["a", "b"]]
            named: Some(vec![0x91, 0x92, 0xa1, b'a', 0xa1, b'b']),
            // [[[0, 1, "a"], [3, 0, "b"], [1, 2, "c"]]]
            typed: Some(b"\x91\x93\x93\x00\x01\xa1a\x93\x03\x00\xa1b\x93\x01\x02\xa1c".to_vec()),
            definition: definition("Dog"),
            table: 5,
        }),
    ]
}

/// More than any message of it has.
const HANDSHAKE_PART: usize = 256;

/// The options that a byte chooses.
pub(crate) mod option {
    pub(crate) const HANDSHAKE: u8 = 1;
    pub(crate) const MODE_A: u8 = 2;
    pub(crate) const LOW_MARKS: u8 = 4;
    pub(crate) const LOW_LIMITS: u8 = 8;
    pub(crate) const LAZY: u8 = 16;
    /// Two bits: where the link starts.
    pub(crate) const START: u8 = 96;
    /// One value of these: without a handshake the input begins in the middle of a conversation.
    pub(crate) const MIDDLE: u8 = 96;
    /// Marks and limits so low that whatever is kept and not counted shows, but that let long texts through.
    pub(crate) const LOW_BYTES: u8 = 128;
}

/// The configuration that the options choose, and where the link starts.
pub(crate) fn configure(options: u8) -> (Config, Start) {
    let mut config = Config::new("node-follower", "data");
    if options & option::MODE_A != 0 {
        config.mode = Mode::A;
    }
    if options & option::LOW_MARKS != 0 {
        config.flow.inbound.high.bytes = 500;
        config.flow.inbound.low.bytes = 100;
        config.flow.consumer.high.items = 2;
        config.flow.blobs.high.bytes = 700;
        config.flow.blobs.low.bytes = 0;
        config.flow.commits.high.items = 1;
        config.flow.commits.low.items = 0;
    }
    if options & option::LOW_LIMITS != 0 {
        config.limits.message = 1000;
        config.limits.record = 400;
        config.limits.command = 300;
        config.limits.context = 12_000;
        config.limits.open_blobs = 3;
        config.limits.blob_references = 4;
        config.limits.finished_blobs = 2;
    }
    if options & option::LOW_BYTES != 0 {
        config.flow.inbound.high.bytes = 500;
        config.flow.inbound.low.bytes = 100;
        config.flow.consumer.high.bytes = 32_000;
        config.flow.consumer.low.bytes = 0;
        config.flow.commits.high.items = 10;
        config.flow.commits.low.items = 0;
        config.flow.blobs.high.items = 16;
        config.flow.blobs.low.items = 0;
        config.flow.blobs.high.bytes = 700;
        config.flow.blobs.low.bytes = 0;
        config.limits.record = 64 << 10;
        config.limits.command = 64 << 10;
        config.limits.context = 64 << 10;
        config.limits.open_blobs = 3;
        config.limits.blob_references = 4;
        config.limits.finished_blobs = 2;
    }
    let start = match (options & option::START) >> 5 {
        0 => Start::Copy,
        1 => Start::At(Sequence(1.0)),
        _ => Start::Resume(Cursor::at(Sequence(5.0))),
    };
    (config, start)
}

/// What is allocated on behalf of a link is never more than the core's formula.
pub(crate) struct Account {
    /// What there was before.
    before: u64,
    bound: u64,
}

impl Account {
    /// Of a link that is fed with parts of at most so many bytes.
    pub(crate) fn new(config: &Config, part: usize) -> Self {
        Self {
            before: live_of_link(),
            bound: config.memory_bound(part as u64).total(),
        }
    }

    #[track_caller]
    pub(crate) fn check(&self) {
        let live = live_of_link().saturating_sub(self.before);
        assert!(
            live <= self.bound,
            "{live} bytes on behalf of the link, {} at most",
            self.bound
        );
    }
}

pub(crate) struct Host<F> {
    config: Config,
    receiver: Receiver,
    now: Instant,
    is_lazy: bool,
    largest: u64,
    message: u64,
    /// What was handed out and is not answered.
    held: Vec<Command>,
    /// What the host has to say to it.
    answers: Vec<Input>,
    account: Account,
    /// How many commands there were.
    pub(crate) commands: usize,
    is_closed: bool,
    /// Sees each command before it is answered.
    observe: F,
}

impl<F: FnMut(&Command)> Host<F> {
    /// A link that is connected, with the handshake behind it if the options say so, and will be fed with parts of at most
    /// `part` bytes.
    pub(crate) fn new(options: u8, part: usize, observe: F) -> Self {
        let (config, start) = configure(options);
        let now = Instant::from_micros(1);
        let account = Account::new(&config, part.max(HANDSHAKE_PART));
        let receiver = for_link(|| Receiver::new(config.clone(), start, Epoch(1), now));
        let receiver = receiver.expect("valid");
        let mut host = Self {
            config,
            receiver,
            now,
            is_lazy: options & option::LAZY != 0,
            largest: 0,
            message: 0,
            held: Vec::new(),
            answers: Vec::new(),
            account,
            commands: 0,
            is_closed: false,
            observe,
        };
        host.input(Input::Connected);
        host.drive();
        if options & option::HANDSHAKE != 0 {
            for message in handshake() {
                host.feed(message.encode().into(), true);
            }
        } else if options & option::START == option::MIDDLE {
            for_link(|| host.receiver.assume_set_up("node-a"));
            host.drive();
        }
        host
    }

    fn input(&mut self, input: Input) {
        for_link(|| self.receiver.handle(self.now, input)).expect("no misuse");
        self.account.check();
    }

    /// Feeds a part of a message, and does all that follows from it.
    pub(crate) fn feed(&mut self, bytes: Bytes, last: bool) {
        if self.is_closed {
            return;
        }
        self.message += bytes.len() as u64 + 128;
        self.largest = self.largest.max(self.message);
        if last {
            self.message = 0;
        }
        // Memory of its own, as from a socket.
        let bytes = for_link(|| Bytes::copy_from_slice(&bytes));
        self.input(Input::Message { bytes, last });
        self.drive();
    }

    fn drive(&mut self) {
        loop {
            let Some(command) = for_link(|| self.receiver.poll_command()) else {
                // One that is lazy holds everything for as long as the link goes on.
                let has_to = !self.is_lazy || self.receiver.is_paused() || self.is_closed;
                if has_to && !self.answers.is_empty() {
                    self.held.clear();
                    self.answer_all();
                } else if self.receiver.poll_timeout().is_none_or(|at| at > self.now) {
                    break;
                }
                continue;
            };
            assert!(!self.is_closed, "a command after the close");
            self.commands += 1;
            (self.observe)(&command);
            self.answer(&command);
            self.held.push(command);
            self.check();
            if !self.is_lazy {
                self.held.clear();
                self.answer_all();
            }
        }
        assert_eq!(self.receiver.is_closed(), self.is_closed);
        assert!(
            self.is_closed || !self.receiver.is_paused(),
            "paused for ever"
        );
    }

    fn answer_all(&mut self) {
        for answer in std::mem::take(&mut self.answers) {
            self.input(answer);
        }
    }

    fn answer(&mut self, command: &Command) {
        let answers = &mut self.answers;
        match command {
            Command::Event(event) => {
                answers.push(Input::Consumed {
                    events: event.count(),
                });
                match event {
                    Event::EndTransaction(end) => answers.push(Input::Committed(end.id)),
                    Event::Checkpoint(checkpoint) | Event::CopyCompleted(checkpoint) => {
                        answers.push(Input::Committed(checkpoint.id));
                    }
                    Event::Records(records) => {
                        for record in records {
                            // Reading must end, whatever it finds.
                            let _ = record.key();
                            if let Some(Ok(value)) = record.value().map(|value| value.decode()) {
                                drop(value);
                            }
                        }
                    }
                    _ => {}
                }
            }
            Command::BlobChunk { blob, bytes, last } => {
                answers.push(Input::BlobWritten {
                    blob: *blob,
                    bytes: bytes.len() as u64,
                });
                if *last {
                    answers.push(Input::BlobSaved(*blob));
                }
            }
            Command::AbortBlob { blob, .. } => answers.push(Input::BlobAborted(*blob)),
            Command::Close(_) => self.is_closed = true,
            _ => {}
        }
    }

    fn check(&self) {
        self.account.check();
        let (receiver, flow) = (&self.receiver, &self.config.flow);
        assert_eq!(receiver.poll_timeout().is_none(), self.is_closed);
        assert!(receiver.events_out() <= flow.consumer.high.items + 1);
        assert!(receiver.commits_out() <= flow.commits.high.items + 1);
        // An item that spans parts is joined while the part in which it ends is still held.
        let most = flow.inbound.high.bytes + 2 * self.largest + 256;
        assert!(
            receiver.retained_bytes() <= most,
            "{} retained",
            receiver.retained_bytes()
        );
        let chunk = self.largest + 512;
        assert!(receiver.blob_bytes_out() <= flow.blobs.high.bytes + chunk);
    }

    /// Shuts the link down. Nothing is held after it.
    pub(crate) fn end(&mut self) {
        if !self.is_closed {
            self.input(Input::Shutdown);
            self.drive();
        }
        assert!(self.is_closed);
        let receiver = &self.receiver;
        assert_eq!(
            receiver.retained_bytes() + receiver.events_out() + receiver.blob_bytes_out(),
            0
        );
    }
}
