//! The small world: one link that is set up, its application and its store.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use replproto_core::config::{Level, Marks, Timeouts};
use replproto_core::{
    AbortReason, BlobId, Close, CloseReason, Command, CommitId, Config, Epoch, Event, Input,
    Instant, Misuse, PauseReason, Receiver, Sequence, Start,
};

use super::books::{Books, MARGIN, START};
use super::step::Step;
use super::store::Store;
use super::waits::Waits;
use super::wire::{CHUNK_BYTES, FILES, Wire};
use crate::model::{Model, Trust};
use crate::oracles::{Result, Violation, hold};

const EPOCH: Epoch = Epoch(2);
const EARLIER: Epoch = Epoch(1);

/// Commands that follow from one input. Sequences are short, so this is much more than there can be.
const MOST_COMMANDS: u32 = 1000;

/// Acknowledgements after which a link that has nothing to wait for must be at rest.
const MOST_ROUNDS: u32 = 100;

/// Marks so low that each reason to pause comes within a few inputs, and timeouts so different that each deadline does.
pub(super) fn config() -> Config {
    const ANY: u64 = Level::UNBOUNDED;
    const fn marks(high: (u64, u64), low: (u64, u64)) -> Marks {
        Marks::new(
            Level {
                items: high.0,
                bytes: high.1,
            },
            Level {
                items: low.0,
                bytes: low.1,
            },
        )
    }
    let mut config = Config::new("us", "data");
    config.flow.inbound = marks((ANY, 300), (ANY, 250));
    config.flow.consumer = marks((2, ANY), (1, ANY));
    config.flow.commits = marks((1, ANY), (0, ANY));
    config.flow.blobs = marks((2, 1500), (1, 600));
    // Less than between two versions.
    config.clock_margin = MARGIN;
    config.timeouts = Timeouts {
        confirm_delay: Duration::from_millis(2),
        blob: Duration::from_millis(10),
        blob_gap: Duration::from_millis(15),
        ping_interval: Duration::from_millis(20),
        pause_stall: Duration::from_millis(25),
        ping_timeout: Duration::from_millis(35),
        ..config.timeouts
    };
    config
}

/// Where each step of a sequence and what follows from it is told.
pub(super) type Log<'a> = &'a mut dyn FnMut(fmt::Arguments<'_>);

pub(super) struct Small<'a> {
    config: &'a Config,
    wire: &'a Wire,
    receiver: Receiver,
    model: Model,
    books: Books<'a>,
    waits: Waits,
    /// What was waited for when time passed, for as long as that is being handled.
    ticking: Option<Waits>,
    /// The same, when it has ended the connection.
    ended: Option<Waits>,
    /// Nothing can be sent any more.
    is_lost: bool,
    canary: bool,
    log: Option<Log<'a>>,
    now: Instant,
    is_set_up: bool,
    /// What the publisher has sent: transactions, whole transfers, chunks of the transfer that is not whole.
    transactions: usize,
    transfers: usize,
    chunks: usize,
    /// Messages that were refused, and wait.
    refused: VecDeque<Bytes>,
    /// Transactions that the receiver has taken.
    given: usize,
    events_out: u64,
    store: Store,
    /// How often events were taken.
    takes: u32,
    /// What was acknowledged last, to be acknowledged again.
    last_commit: CommitId,
    last_blob: BlobId,
}

impl<'a> Small<'a> {
    /// A world whose link is set up.
    pub(super) fn new(
        config: &'a Config,
        wire: &'a Wire,
        canary: bool,
        log: Option<Log<'a>>,
    ) -> Result<Self> {
        let now = Instant::from_micros(1);
        let start = Start::At(Sequence(START));
        let model = Model::new(config.clone(), &start, Trust::Honest, now);
        let receiver = Receiver::new(config.clone(), start, EPOCH, now)
            .map_err(|error| Violation::new("contract", error))?;
        let mut world = Self {
            config,
            wire,
            receiver,
            model,
            books: Books::new(wire),
            waits: Waits::new(config.timeouts, now),
            ticking: None,
            ended: None,
            is_lost: false,
            canary,
            log,
            now,
            is_set_up: false,
            transactions: 0,
            transfers: 0,
            chunks: 0,
            refused: VecDeque::new(),
            given: 0,
            events_out: 0,
            store: Store::default(),
            takes: 0,
            last_commit: CommitId {
                epoch: EARLIER,
                number: 0,
            },
            last_blob: BlobId {
                epoch: EARLIER,
                number: 0,
            },
        };
        world.input(Input::Connected)?;
        for message in &wire.set_up {
            world.input(Input::Message {
                bytes: message.clone(),
                last: true,
            })?;
        }
        world.take(world.events_out)?;
        hold("liveness", world.receiver.is_set_up(), || {
            "not set up".into()
        })?;
        world.is_set_up = true;
        Ok(world)
    }

    /// Does one step, the one at this place in its sequence, and all that follows from it.
    pub(super) fn step(&mut self, at: usize, step: Step) -> Result {
        self.say(format_args!("{step}"));
        match step {
            Step::Message => {
                let message = &self.wire.transactions[self.transactions].message;
                self.transactions += 1;
                self.deliver(message)
            }
            Step::Chunk => self.chunk(false),
            Step::FinalChunk => self.chunk(true),
            Step::Consumed => {
                self.takes += 1;
                if self.takes % 2 == 1 {
                    self.take_all()
                } else {
                    self.take(self.events_out.min(1))?;
                    self.write(CHUNK_BYTES as u64).map(|_| ())
                }
            }
            Step::Committed => self.commit(),
            Step::BlobFailed => self.fail_blob(),
            Step::Tick => self.tick(),
            Step::Close if at.is_multiple_of(2) => {
                self.is_lost = true;
                self.input(Input::TransportLost)
            }
            Step::Close => self.input(Input::Shutdown),
        }?;
        let is_over = self.receiver.is_closed() || self.receiver.is_ending();
        hold("liveness", step != Step::Close || is_over, || {
            "the link goes on after its end".into()
        })
    }

    /// The application and the store do all that they can: then nothing may be left in between.
    pub(super) fn finish(&mut self) -> Result {
        for _ in 0..MOST_ROUNDS {
            if self.receiver.is_closed() {
                return Ok(());
            }
            let is_busy =
                self.events_out > 0 || self.books.oldest_commit().is_some() || self.store.is_busy();
            if !is_busy {
                break;
            }
            self.take_all()?;
            self.commit()?;
        }
        hold("liveness", !self.receiver.is_ending(), || {
            "everything is done, and the link is not closed".into()
        })?;
        hold("liveness", !self.receiver.is_paused(), || {
            format!("paused for {} for ever", self.receiver.pause_reasons())
        })?;
        let retained = self.receiver.retained_bytes();
        hold("bounds", retained == 0, || {
            format!("{retained} bytes are held for nothing")
        })?;
        self.books.check_complete(self.transactions)?;
        self.books.check_durable()
    }

    fn say(&mut self, what: fmt::Arguments<'_>) {
        if let Some(log) = &mut self.log {
            log(what);
        }
    }

    /// Brings a chunk of the transfer that is under way, or begins the next.
    fn chunk(&mut self, last: bool) -> Result {
        let message = self.wire.chunk(self.transfers, self.chunks, last);
        if last {
            self.transfers += 1;
            self.chunks = 0;
        } else {
            self.chunks += 1;
        }
        self.deliver(message)
    }

    fn deliver(&mut self, message: &Bytes) -> Result {
        if self.receiver.is_ending() {
            return self.input(Input::Message {
                bytes: message.clone(),
                last: true,
            });
        }
        self.refused.push_back(message.clone());
        self.feed()
    }

    /// Gives messages to the receiver, in order, until it refuses one. It may do that only above twice its mark.
    fn feed(&mut self) -> Result {
        if self.receiver.is_ending() {
            // What waits is lost with the connection.
            self.refused.clear();
        }
        while let Some(bytes) = self.refused.pop_front() {
            let retained = self.receiver.retained_bytes();
            if retained > 2 * self.config.flow.inbound.high.bytes {
                let input = Input::Message {
                    bytes: bytes.clone(),
                    last: true,
                };
                let answer = self.receiver.handle(self.now, input);
                hold(
                    "contract",
                    answer == Err(Misuse::FedWhilePaused { retained }),
                    || format!("{answer:?} with {retained} bytes held"),
                )?;
                self.say(format_args!("  refused"));
                self.refused.push_front(bytes);
                return Ok(());
            }
            // Only batches begin with a byte this low (`protocol.md` section 2).
            self.given += usize::from(bytes[0] < 0x80);
            self.waits.heard(self.now);
            self.input(Input::Message { bytes, last: true })?;
        }
        Ok(())
    }

    /// Time passes until the next deadline.
    fn tick(&mut self) -> Result {
        self.now = self.receiver.poll_timeout().unwrap_or(self.now);
        self.ticking = Some(self.waits);
        let done = self.input(Input::Tick);
        self.ticking = None;
        done
    }

    fn take_all(&mut self) -> Result {
        self.take(self.events_out)?;
        while self.write(u64::MAX)? {}
        while let Some(saved) = self.store.save() {
            self.books.saved(saved.file);
            self.waits.acted(self.now);
            self.last_blob = saved.blob;
            self.input(Input::BlobSaved(saved.blob))?;
        }
        while let Some(aborted) = self.store.thrown_away() {
            self.waits.acted(self.now);
            self.input(Input::BlobAborted(aborted))?;
        }
        Ok(())
    }

    fn take(&mut self, events: u64) -> Result {
        self.events_out -= events;
        if events > 0 {
            self.waits.acted(self.now);
        }
        self.input(Input::Consumed { events })
    }

    /// The store writes at most this many bytes of a blob. Gives whether it had any.
    fn write(&mut self, most: u64) -> Result<bool> {
        let Some((blob, bytes)) = self.store.write(most) else {
            return Ok(false);
        };
        self.waits.acted(self.now);
        self.input(Input::BlobWritten { blob, bytes })?;
        Ok(true)
    }

    fn commit(&mut self) -> Result {
        if let Some(id) = self.books.oldest_commit() {
            self.books.commit();
            self.waits.acted(self.now);
            self.last_commit = id;
        }
        self.input(Input::Committed(self.last_commit))
    }

    fn fail_blob(&mut self) -> Result {
        if let Some(failed) = self.store.fail() {
            // After the close nobody asks for a report.
            if !self.receiver.is_closed() {
                self.books.failed(failed.file);
            }
            self.last_blob = failed.blob;
            self.waits.acted(self.now);
        } else if self.store.has_failed_meanwhile(self.last_blob) {
            self.waits.acted(self.now);
        }
        self.input(Input::BlobFailed {
            blob: self.last_blob,
            why: String::new(),
        })
    }

    /// Gives the receiver an input, does all that it asks for, and then gives it what it has refused before.
    fn input(&mut self, input: Input) -> Result {
        self.tell(input)?;
        self.obey_all()?;
        self.check_at_rest()?;
        self.feed()
    }

    fn tell(&mut self, input: Input) -> Result {
        self.model.told(&input, self.now);
        self.receiver
            .handle(self.now, input)
            .map_err(|misuse| Violation::new("contract", misuse))?;
        self.note();
        self.model.check(&self.receiver)
    }

    fn note(&mut self) {
        if self.receiver.is_ending() {
            self.ended = self.ended.or(self.ticking);
        }
        let is_paused = self.receiver.is_paused();
        self.waits.note(self.now, is_paused, self.books.has_gap());
    }

    fn obey_all(&mut self) -> Result {
        for _ in 0..MOST_COMMANDS {
            if let Some(command) = self.receiver.poll_command() {
                self.say(format_args!("  {command:?}"));
                self.model.observe(&command)?;
                self.model.check(&self.receiver)?;
                self.obey(command)?;
                self.note();
            } else if self
                .receiver
                .poll_timeout()
                .is_some_and(|at| at <= self.now)
            {
                self.tell(Input::Tick)?;
            } else {
                return Ok(());
            }
        }
        Err(Violation::new("liveness", "commands without end"))
    }

    fn obey(&mut self, command: Command) -> Result {
        match command {
            Command::Transmit(bytes) if self.is_set_up => self.books.transmit(&bytes),
            Command::Event(event) => {
                self.events_out += event.count();
                self.event(&event)
            }
            Command::OpenBlob { blob, file, .. } => self.open(blob, &file),
            Command::BlobChunk { blob, bytes, last } => self.store.arrive(blob, &bytes, last),
            Command::AbortBlob { blob, why } => {
                if let Some(aborted) = self.store.abort(blob)?
                    && why != AbortReason::Close
                {
                    self.books.failed(aborted.file);
                }
                self.last_blob = blob;
                hold(
                    "blobs",
                    matches!(why, AbortReason::Idle | AbortReason::Close),
                    || format!("{blob} is aborted: {why:?}"),
                )
            }
            Command::Ping => {
                self.waits.pinged(self.now);
                Ok(())
            }
            Command::Close(close) => self.closed(&close),
            _ => Ok(()),
        }
    }

    fn event(&mut self, event: &Event) -> Result {
        match event {
            Event::Records(records) => records
                .iter()
                .try_for_each(|record| self.books.record(&record)),
            Event::EndTransaction(end) => self.books.end(end),
            Event::Checkpoint(checkpoint) => self.books.checkpoint(checkpoint),
            Event::BlobHeld(failure) => self.books.report(failure),
            Event::Schema(_) | Event::Table(_) if !self.is_set_up => Ok(()),
            _ => Err(Violation::new(
                "order",
                format!("{event:?} out of the blue"),
            )),
        }
    }

    fn open(&mut self, blob: BlobId, file: &str) -> Result {
        let file = FILES
            .iter()
            .position(|known| *known == file)
            .ok_or_else(|| Violation::new("blobs", format!("the file {file:?}")))?;
        let comes_again = self.books.open(file)?;
        self.store.open(blob, file);
        hold("canary", !self.canary || !comes_again, || {
            format!("{} comes again", FILES[file])
        })
    }

    fn closed(&self, close: &Close) -> Result {
        let reason = &close.reason;
        if !matches!(reason, CloseReason::TransportLost | CloseReason::Shutdown) {
            let is_due = self
                .ended
                .or(self.ticking)
                .is_some_and(|waits| waits.has_ended(reason, self.now));
            hold("blame", is_due, || format!("{reason}, without cause"))?;
        }
        let is_confirmed = self.is_lost || !self.books.owes_confirmation();
        hold("durability", is_confirmed, || {
            format!("{reason}, without the last confirmation")
        })?;
        if !self.model.may_give_up() {
            self.books.check_complete(self.given)?;
        }
        hold("blobs", self.store.is_empty(), || {
            format!("{:?} are under way at the close", self.store)
        })
    }

    fn check_at_rest(&mut self) -> Result {
        self.model.check_at_rest(&self.receiver)?;
        if !self.is_set_up || self.receiver.is_closed() {
            return Ok(());
        }
        self.check_reasons()?;
        let reasons = self.receiver.pause_reasons();
        let may_decode = reasons
            .iter()
            .all(|reason| reason == PauseReason::InboundQueue);
        if may_decode {
            self.books.check_complete(self.given)?;
        }
        if self.receiver.is_ending() {
            // The reference model knows its deadline.
            return Ok(());
        }
        let awaits_blob = self.books.awaits_blob() || self.store.awaits_bytes();
        let owes_confirmation = self.books.owes_confirmation();
        let next = self.receiver.poll_timeout();
        self.waits
            .check_next(next, self.now, owes_confirmation, awaits_blob)
    }
    /// A reason is raised above its high mark, and not raised any more at its low one.
    fn check_reasons(&self) -> Result {
        let (flow, receiver) = (&self.config.flow, &self.receiver);
        let (inbound, consumer, commits) = (&flow.inbound, &flow.consumer, &flow.commits);
        for (reason, level, low, high) in [
            (
                PauseReason::InboundQueue,
                receiver.retained_bytes(),
                inbound.low.bytes,
                inbound.high.bytes,
            ),
            (
                PauseReason::ConsumerQueue,
                receiver.events_out(),
                consumer.low.items,
                consumer.high.items,
            ),
            (
                PauseReason::CommitBacklog,
                receiver.commits_out(),
                commits.low.items,
                commits.high.items,
            ),
        ] {
            let is_raised = receiver.pause_reasons().contains(reason);
            let is_right = if is_raised {
                level > low
            } else {
                level <= high
            };
            hold("pauses", is_right, || {
                format!("{reason} is raised: {is_raised}, at {level}")
            })?;
        }
        Ok(())
    }
}
