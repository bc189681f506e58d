//! A host around a receiver: feeds it, acknowledges what it hands out, and checks the invariants after every step.

mod outcome;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use replproto_core::wire::Message;
use replproto_core::{
    BlobId, Close, Command, CommitId, Config, Cursor, Epoch, Event, Input, Instant, Misuse,
    PauseReason, Receiver, Sequence, Start,
};

use crate::wire;

/// What is charged for a chunk besides its bytes.
const CHUNK_OVERHEAD: u64 = 512;

/// What the host does by itself whenever it can.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Auto {
    pub(crate) consume: bool,
    pub(crate) commit: bool,
    pub(crate) write: bool,
    pub(crate) save: bool,
    /// Answers for what was to be thrown away.
    pub(crate) abort: bool,
}

impl Auto {
    pub(crate) const ALL: Self = Self {
        consume: true,
        commit: true,
        write: true,
        save: true,
        abort: true,
    };
    pub(crate) const NONE: Self = Self {
        consume: false,
        commit: false,
        write: false,
        save: false,
        abort: false,
    };
}

/// A transfer as the host sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blob {
    pub(crate) file: String,
    pub(crate) bytes: Vec<u8>,
    unwritten: u64,
    /// What of each chunk is not written, oldest first.
    chunks: VecDeque<u64>,
    pub(crate) is_whole: bool,
    /// Saved, failed or aborted.
    pub(crate) is_over: bool,
}

pub(crate) struct Driver {
    pub(crate) receiver: Receiver,
    pub(crate) now: Instant,
    pub(crate) auto: Auto,
    /// Everything that came out.
    pub(crate) commands: Vec<Command>,
    pub(crate) blobs: BTreeMap<BlobId, Blob>,
    /// Aborted and not answered for, oldest first.
    pub(crate) aborted: VecDeque<BlobId>,
    /// Handed out and not committed, with their cursors.
    pub(crate) uncommitted: BTreeMap<CommitId, Option<Cursor>>,
    pub(crate) close: Option<Close>,
    pub(crate) confirmed: Vec<f64>,
    pub(crate) most_events_out: u64,
    persisted: Cursor,
    persisted_with: Option<CommitId>,
    /// When what it has of the peer's positions has risen last, if it has on this link.
    risen: Option<Instant>,
    handed: Cursor,
    config: Config,
    wire: VecDeque<(Bytes, bool)>,
    largest_message: u64,
    announced: BTreeSet<PauseReason>,
    events_out: u64,
    is_draining: bool,
    opens: u64,
    saves: u64,
    aborts: u64,
    failures: u64,
    /// How long each reason to pause held, by the definition, up to the last input.
    paused: [Duration; PauseReason::ALL.len()],
    last_input: Instant,
}

pub(crate) fn config() -> Config {
    Config::new("us", "data")
}

impl Driver {
    /// A link that is not connected yet.
    pub(crate) fn unconnected(config: Config, start: Start, epoch: u64) -> Self {
        let cursor = match &start {
            Start::Resume(cursor) => cursor.clone(),
            Start::At(sequence) => Cursor::at(*sequence),
            Start::Copy => Cursor::at(Sequence(0.0)),
        };
        let now = Instant::from_micros(1_000_000);
        let receiver = Receiver::new(config.clone(), start, Epoch(epoch), now).expect("valid");
        Self {
            receiver,
            now,
            auto: Auto::ALL,
            commands: Vec::new(),
            blobs: BTreeMap::new(),
            aborted: VecDeque::new(),
            uncommitted: BTreeMap::new(),
            close: None,
            confirmed: Vec::new(),
            most_events_out: 0,
            persisted: cursor.clone(),
            persisted_with: None,
            risen: None,
            handed: cursor,
            config,
            wire: VecDeque::new(),
            largest_message: 0,
            announced: BTreeSet::new(),
            events_out: 0,
            is_draining: false,
            opens: 0,
            saves: 0,
            aborts: 0,
            failures: 0,
            paused: Default::default(),
            last_input: now,
        }
    }

    /// A link whose socket is open.
    pub(crate) fn connected(config: Config, start: Start) -> Self {
        let mut driver = Self::unconnected(config, start, 1);
        driver.input(Input::Connected);
        driver
    }

    /// A link that has been set up with a newer peer, from the beginning of the log.
    pub(crate) fn following(config: Config) -> Self {
        let mut driver = Self::connected(config, Start::At(Sequence(1.0)));
        driver.feed_all(wire::handshake());
        driver.commands.clear();
        driver
    }

    /// One input, then everything that follows from it.
    #[track_caller]
    pub(crate) fn input(&mut self, input: Input) {
        self.try_input(input).expect("the host keeps the contract");
        self.run();
    }

    pub(crate) fn try_input(&mut self, input: Input) -> Result<(), Misuse> {
        match &input {
            Input::Drain { .. } => self.is_draining = true,
            // On its way already when the pause was announced.
            Input::Message { bytes, .. } => self.largest_message += bytes.len() as u64,
            Input::Consumed { events } => {
                let result = self.handle(input.clone());
                if result.is_ok() && self.close.is_none() {
                    self.events_out -= events;
                }
                self.check();
                return result;
            }
            _ => {}
        }
        let result = self.handle(input);
        self.check();
        result
    }

    fn handle(&mut self, input: Input) -> Result<(), Misuse> {
        let paused = self.paused_now();
        let stats = self.receiver.stats_at(self.now);
        assert_eq!(stats.paused, paused, "looked at before the input");
        let result = self.receiver.handle(self.now, input);
        if result.is_ok() {
            self.paused = paused;
            self.last_input = self.now;
        }
        assert_eq!(self.receiver.stats().paused, self.paused);
        result
    }

    /// How long each reason held until now: since the last input it has been those that there are.
    fn paused_now(&self) -> [Duration; PauseReason::ALL.len()] {
        let mut paused = self.paused;
        for reason in self.receiver.pause_reasons().iter() {
            paused[reason.index()] += self.now.since(self.last_input);
        }
        paused
    }

    /// A whole message, as soon as reading is not paused.
    #[track_caller]
    pub(crate) fn feed(&mut self, message: Bytes) {
        self.largest_message = self.largest_message.max(message.len() as u64);
        self.wire.push_back((message, true));
        self.run();
    }

    #[track_caller]
    pub(crate) fn feed_all(&mut self, messages: impl IntoIterator<Item = Bytes>) {
        for message in messages {
            self.feed(message);
        }
    }

    /// A message in parts of these lengths, repeated.
    #[track_caller]
    pub(crate) fn feed_parts(&mut self, mut message: Bytes, lengths: &[usize]) {
        self.largest_message = self.largest_message.max(message.len() as u64);
        let mut lengths = lengths.iter().copied().cycle();
        loop {
            let length = lengths.next().unwrap_or(1).clamp(1, message.len().max(1));
            let part = message.split_to(length.min(message.len()));
            let is_last = message.is_empty();
            self.wire.push_back((part, is_last));
            if is_last {
                break;
            }
        }
        self.run();
    }

    /// Messages that wait until reading goes on.
    pub(crate) fn waiting(&self) -> usize {
        self.wire.len()
    }

    /// Everything that can be done at this moment.
    #[track_caller]
    pub(crate) fn run(&mut self) {
        for _ in 0..1_000_000 {
            if let Some(command) = self.receiver.poll_command() {
                self.observe(command);
                self.check();
            } else if self
                .receiver
                .poll_timeout()
                .is_some_and(|at| at <= self.now)
            {
                self.handle(Input::Tick).expect("a tick");
            } else if self.acknowledge() {
            } else if self.receiver.is_paused() || self.close.is_some() {
                return self.check_at_rest();
            } else if let Some((bytes, last)) = self.wire.pop_front() {
                self.handle(Input::Message { bytes, last })
                    .expect("not paused");
                self.check();
            } else {
                return self.check_at_rest();
            }
        }
        panic!("the link never comes to rest");
    }

    /// Lets time pass, from deadline to deadline.
    #[track_caller]
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now.after(time);
        while let Some(at) = self.receiver.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.input(Input::Tick);
        }
        self.now = until;
        self.input(Input::Tick);
    }

    /// The same on a link whose peer answers pings, in seconds.
    pub(crate) fn pass_alive(&mut self, seconds: u64) {
        for _ in 0..seconds / 20 {
            self.pass(Duration::from_secs(20));
            if self.close.is_none() {
                self.input(Input::Pong);
            }
        }
    }

    fn acknowledge(&mut self) -> bool {
        if self.close.is_some() {
            return false;
        }
        if self.auto.consume && self.events_out > 0 {
            self.consume(self.events_out);
            return true;
        }
        if self.auto.write
            && let Some((id, bytes)) = self.unwritten().first().copied()
        {
            self.written(id, bytes);
            return true;
        }
        if self.auto.save
            && let Some(id) = self.whole().first().copied()
        {
            self.save(id);
            return true;
        }
        if self.auto.abort
            && let Some(id) = self.aborted.pop_front()
        {
            self.try_input(Input::BlobAborted(id)).expect("aborted");
            return true;
        }
        if self.auto.commit
            && let Some(id) = self.uncommitted.keys().next().copied()
        {
            self.commit(id);
            return true;
        }
        false
    }

    pub(crate) fn consume(&mut self, events: u64) {
        self.try_input(Input::Consumed { events }).expect("events");
    }

    pub(crate) fn commit(&mut self, id: CommitId) {
        let cursor = self.uncommitted.remove(&id).expect("not committed yet");
        // Commits may overtake each other, but an older cursor never replaces a newer one.
        if let Some(cursor) = cursor
            && self.persisted_with.is_none_or(|newest| newest < id)
        {
            if cursor.announced > self.persisted.announced {
                self.risen = Some(self.now);
            }
            self.persisted = cursor;
            self.persisted_with = Some(id);
        }
        self.try_input(Input::Committed(id)).expect("handed out");
    }

    pub(crate) fn written(&mut self, blob: BlobId, bytes: u64) {
        let shadow = self.blobs.get_mut(&blob).expect("opened");
        shadow.unwritten -= bytes;
        let mut left = bytes;
        while let Some(chunk) = shadow.chunks.front_mut() {
            if *chunk > left {
                *chunk -= left;
                break;
            }
            left -= *chunk;
            shadow.chunks.pop_front();
        }
        self.try_input(Input::BlobWritten { blob, bytes })
            .expect("bytes that are out");
    }

    pub(crate) fn save(&mut self, blob: BlobId) {
        self.saves += 1;
        self.blobs.get_mut(&blob).expect("opened").is_over = true;
        self.try_input(Input::BlobSaved(blob)).expect("whole");
    }

    /// The store fails; then everything that follows.
    #[track_caller]
    pub(crate) fn fail(&mut self, blob: BlobId) {
        let shadow = self.blobs.get_mut(&blob).expect("opened");
        assert!(!shadow.is_over);
        shadow.is_over = true;
        self.failures += 1;
        let why = "disk full".into();
        self.input(Input::BlobFailed { blob, why });
    }

    fn observe(&mut self, command: Command) {
        assert!(self.close.is_none(), "after the close: {command:?}");
        match &command {
            Command::Event(event) => self.observe_event(event),
            Command::Pause(reason) => assert!(self.announced.insert(*reason), "{reason} twice"),
            Command::Resume(reason) => assert!(self.announced.remove(reason), "{reason} unraised"),
            Command::OpenBlob { blob, file, .. } => {
                self.opens += 1;
                let shadow = Blob {
                    file: file.to_string(),
                    ..Blob::default()
                };
                assert!(self.blobs.insert(*blob, shadow).is_none());
            }
            Command::BlobChunk { blob, bytes, last } => {
                let shadow = self.blobs.get_mut(blob).expect("opened before its bytes");
                assert!(!shadow.is_over && !shadow.is_whole);
                shadow.bytes.extend_from_slice(bytes);
                shadow.unwritten += bytes.len() as u64;
                shadow.chunks.push_back(bytes.len() as u64);
                shadow.is_whole = *last;
            }
            Command::AbortBlob { blob, .. } => {
                self.aborts += 1;
                let shadow = self.blobs.get_mut(blob).expect("opened before its end");
                assert!(!shadow.is_over, "aborted after its end");
                shadow.is_over = true;
                self.aborted.push_back(*blob);
            }
            Command::Transmit(bytes) => {
                if let Ok(Message::CommittedUpdate(Sequence(sequence))) = Message::decode(bytes) {
                    assert!(sequence <= self.persisted.announced.0, "confirmed too much");
                    let last = self.confirmed.last().copied().unwrap_or_default();
                    assert!(sequence > last, "confirmed backwards");
                    self.confirmed.push(sequence);
                }
            }
            Command::Close(close) => {
                assert!(self.announced.is_empty(), "closed while paused");
                assert_eq!(self.opens, self.saves + self.aborts + self.failures);
                assert_eq!(self.receiver.retained_bytes(), 0);
                assert_eq!(self.receiver.events_out(), 0);
                assert_eq!(self.receiver.blob_bytes_out(), 0);
                self.close = Some((**close).clone());
            }
            _ => {}
        }
        self.commands.push(command);
    }

    fn observe_event(&mut self, event: &Event) {
        self.events_out += event.count();
        self.most_events_out = self.most_events_out.max(self.events_out);
        let (id, cursor) = match event {
            Event::EndTransaction(end) => (end.id, end.cursor.clone()),
            Event::Checkpoint(checkpoint) | Event::CopyCompleted(checkpoint) => {
                (checkpoint.id, Some(checkpoint.cursor.clone()))
            }
            _ => return,
        };
        if let Some(cursor) = &cursor {
            assert!(
                cursor.sequence >= self.handed.sequence && cursor.sequence >= cursor.announced,
                "the cursor went back"
            );
            let ends_copy = matches!(event, Event::CopyCompleted(_));
            assert!(ends_copy || *cursor != self.handed, "a cursor without news");
            self.handed = cursor.clone();
        }
        assert!(self.uncommitted.insert(id, cursor).is_none());
    }

    /// What holds at every moment.
    fn check(&mut self) {
        let receiver = &self.receiver;
        assert_eq!(receiver.poll_timeout().is_none(), receiver.is_closed());
        if receiver.is_closed() {
            return;
        }
        let flow = &self.config.flow;
        assert_eq!(receiver.events_out(), self.events_out);
        assert!(self.events_out <= flow.consumer.high.items.saturating_add(1));
        assert_eq!(receiver.commits_out(), self.uncommitted.len() as u64);
        assert!(receiver.commits_out() <= flow.commits.high.items.saturating_add(1));
        let overhead = 128 * (2 + self.largest_message / 2048);
        let most = flow
            .inbound
            .high
            .bytes
            .saturating_add(self.largest_message + overhead);
        assert!(
            receiver.retained_bytes() <= most,
            "{}",
            receiver.retained_bytes()
        );
    }

    /// What holds when there is nothing left to do.
    fn check_at_rest(&mut self) {
        let stats = self.receiver.stats();
        let came: usize = self.blobs.values().map(|blob| blob.bytes.len()).sum();
        assert_eq!(stats.blob_bytes, came as u64);
        assert_eq!(
            (stats.blobs_opened, stats.blobs_saved, stats.blobs_aborted),
            (self.opens, self.saves, self.aborts)
        );
        if self.close.is_some() {
            return;
        }
        let is_paused = !self.announced.is_empty();
        let is_read = !is_paused && !self.is_draining;
        // A link that ends may still read a close frame.
        if !self.receiver.is_ending() {
            assert_eq!(self.receiver.is_paused(), !is_read);
        }
        // What was to be thrown away counts until it is.
        let is_out = |id: &BlobId, blob: &Blob| !blob.is_over || self.aborted.contains(id);
        let out = self.blobs.iter().filter(|(id, blob)| is_out(id, blob));
        let chunks = out.flat_map(|(_, blob)| &blob.chunks);
        let out: u64 = chunks.map(|bytes| CHUNK_OVERHEAD + bytes).sum();
        assert_eq!(self.receiver.blob_bytes_out(), out);
        // What has become durable is confirmed soon after.
        let delay = self.config.timeouts.confirm_delay;
        if self.risen.is_some_and(|at| self.now.since(at) > delay) {
            assert_eq!(self.confirmed.last(), Some(&self.persisted.announced.0));
        }
    }
}
