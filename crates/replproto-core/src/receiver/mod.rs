//! The receiving end of one link.

mod acknowledge;
mod blobs;
mod bound;
mod context;
mod copying;
mod decoder;
mod ending;
mod flow;
mod inbox;
mod intake;
mod ledger;
mod progress;
mod run;
mod session;
mod timers;
mod view;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;

use bytes::Bytes;

use crate::close::CloseReason;
use crate::command::{AbortReason, Command};
use crate::config::{Config, ConfigError, Level};
use crate::cursor::{Cursor, Start};
use crate::error::{LinkError, Misuse, Oversize};
use crate::event::Event;
use crate::id::{BlobId, CommitId, Epoch};
use crate::input::Input;
use crate::pause::PauseReasons;
use crate::selection::Selection;
use crate::stats::Stats;
use crate::text::{self, TEXT_MAX};
use crate::time::{Instant, Sequence};
use crate::wire::Message;

pub use blobs::BlobTries;
use blobs::{Blobs, Failure, Released, copied};
pub use bound::MemoryBound;
use context::Context;
use copying::Copying;
use decoder::Decoder;
use ending::{Drain, Life};
use flow::Flow;
use inbox::{Inbox, Slot};
use intake::Chunk;
use ledger::Ledger;
use progress::Progress;
use session::Session;
use timers::{Timer, Timers};

/// An event that is out.
#[derive(Debug)]
struct EventOut {
    /// What is left of it in the gauge of the consumer. A run of records is given back record by record; its bytes and its
    /// part are when the last one is.
    level: Level,
    slot: Option<Slot>,
}

/// The receiving end of one link, from an open socket to its [`Command::Close`].
///
/// A pure function of its state, the time and the input: it does no IO and has no clock. Inputs go in by
/// [`handle`](Self::handle), which only stores them; commands come out of [`poll_command`](Self::poll_command), which
/// decodes at most one run of records at a time; [`poll_timeout`](Self::poll_timeout) says when to come back although nothing
/// happened. See the [crate documentation](crate) for the loop that drives it.
#[derive(Debug)]
pub struct Receiver {
    config: Config,
    epoch: Epoch,
    session: Session,
    copying: Copying,
    timers: Timers,
    flow: Flow,
    inbox: Inbox,
    decoder: Decoder,
    context: Context,
    ledger: Ledger,
    progress: Progress,
    blobs: Blobs,
    /// The chunk whose body is being decoded.
    chunk: Option<Chunk>,
    /// Events that are out, oldest first.
    events_out: VecDeque<EventOut>,
    /// Events that were caused but not handed out yet: a few of what was decoded last, since nothing is decoded while there are
    /// any; one for each transfer that the host may say has failed; and so many blobs as may be given up at a time.
    pending: VecDeque<Event>,
    /// Commands that were caused but not handed out yet: they come first, so that there are a few, and one for each transfer.
    control: VecDeque<Command>,
    /// The decoder has found that it needs more bytes.
    is_drained: bool,
    /// The application is not ready.
    is_unready: bool,
    /// To be confirmed to the peer.
    confirm: Option<Sequence>,
    /// The newest sequence that was confirmed or is about to be.
    confirmed: Sequence,
    /// The reasons to pause since the last input.
    held: PauseReasons,
    /// Nothing more is read, and what is in hand is finished.
    drain: Option<Drain>,
    life: Life,
    stats: Stats,
}

impl Receiver {
    /// A link that is about to be connected. `epoch` must be higher than that of any earlier link to the same peer and
    /// database.
    ///
    /// # Errors
    /// A value of the configuration makes no sense.
    pub fn new(
        config: Config,
        start: Start,
        epoch: Epoch,
        now: Instant,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let (mut cursor, is_durable) = match &start {
            Start::Copy => (Cursor::at(Sequence(0.0)), false),
            Start::At(sequence) => (Cursor::asked(*sequence), false),
            Start::Resume(cursor) => (cursor.clone(), true),
        };
        let selection = Selection::of(&config);
        if cursor.copy.is_some() && !selection.beyond(cursor.selection()).is_empty() {
            // It is the copy of less: its rest would pass for a copy of all.
            cursor.copy = None;
        }
        cursor.selection = (!selection.is_everything()).then(|| Arc::new(selection));
        let start = match start {
            Start::Resume(_) => Start::Resume(cursor.clone()),
            start => start,
        };
        let limits = config.limits;
        let session = Session::new(start);
        let (asked, _) = session.request_start(config.mode);
        let mut timers = Timers::new(now);
        timers.set(Timer::Setup, config.timeouts.setup);
        Ok(Self {
            epoch,
            session,
            copying: Copying::default(),
            timers,
            flow: Flow::new(&config.flow),
            inbox: Inbox::default(),
            decoder: Decoder::new(limits),
            context: Context::new(limits.context),
            confirmed: if is_durable {
                cursor.announced
            } else {
                cursor.sequence
            },
            ledger: Ledger::new(cursor, is_durable),
            progress: Progress::new(config.clock_margin, asked),
            blobs: Blobs::new(limits, BlobTries::default()),
            chunk: None,
            events_out: VecDeque::new(),
            pending: VecDeque::new(),
            control: VecDeque::new(),
            is_drained: true,
            is_unready: false,
            confirm: None,
            held: PauseReasons::NONE,
            drain: None,
            life: Life::Open,
            stats: Stats::default(),
            config,
        })
    }

    /// Goes on counting how often blobs failed at the source where an earlier link stopped.
    #[must_use]
    pub fn with_blob_tries(mut self, tries: BlobTries) -> Self {
        self.blobs = Blobs::new(self.config.limits, tries);
        self
    }

    /// What the next link should know of blobs that failed.
    pub const fn blob_tries(&self) -> &BlobTries {
        self.blobs.tries()
    }

    /// Takes an input. `now` never goes back. Nothing is decoded here.
    ///
    /// # Errors
    /// The host broke the contract; nothing has changed.
    pub fn handle(&mut self, now: Instant, input: Input) -> Result<(), Misuse> {
        if now < self.timers.now() {
            return Err(Misuse::TimeWentBack);
        }
        if !matches!(self.life, Life::Open) {
            // Late acknowledgements and bytes that were on their way are normal, and change nothing any more.
            return Ok(());
        }
        let before = self.timers.now();
        self.timers.set_now(now);
        self.ledger.set_now(now);
        if let Err(misuse) = self.take(input) {
            self.timers.set_now(before);
            self.ledger.set_now(before);
            return Err(misuse);
        }
        self.stats.pass(now.since(before), self.held);
        // Input first, then the timers: a message that arrives together with a late wake-up proves the peer alive.
        self.note_pause();
        while matches!(self.life, Life::Open)
            && let Some(timer) = self.timers.pop_due()
        {
            self.fire(timer);
        }
        Ok(())
    }

    fn take(&mut self, input: Input) -> Result<(), Misuse> {
        match input {
            // On its way when the connection ended. Behind a message that nobody reads on no close frame can be found.
            Input::Message { .. } | Input::TextMessage if self.is_ending() => {}
            Input::TooLarge { .. } if self.is_ending() => self.had_last_word(),
            Input::Connected => return self.connected(),
            Input::Message { bytes, last } => return self.message(bytes, last),
            Input::TextMessage => self.end(LinkError::TextMessage.into()),
            Input::TooLarge { bytes } => {
                let error = LinkError::TooLarge {
                    message: self.stats.messages,
                    what: Oversize::Message,
                    limit: self.config.limits.message,
                    actual: bytes,
                };
                self.end(error.into());
            }
            Input::Heard { bytes: 0 } => {}
            Input::Heard { .. } | Input::Pong => self.heard(),
            Input::PeerClosed { code, reason } => {
                let reason = text::cut(reason, TEXT_MAX);
                self.gone(CloseReason::PeerClosed { code, reason });
            }
            Input::TransportLost => self.gone(CloseReason::TransportLost),
            Input::Shutdown => self.close(CloseReason::Shutdown),
            Input::Consumed { events } => return self.consumed(events),
            Input::Committed(id) => return self.committed(id),
            Input::BlobWritten { blob, bytes } => return self.blob_written(blob, bytes),
            Input::BlobSaved(blob) => return self.blob_saved(blob),
            Input::BlobFailed { blob, why } => return self.blob_failed(blob, why),
            Input::BlobAborted(blob) => return self.blob_aborted(blob),
            Input::Skipped { records } => self.stats.skipped_by_host += records,
            Input::Ready => self.set_unready(false),
            Input::NotReady => self.set_unready(true),
            Input::Allowance { bytes } => self.flow.allowance = bytes,
            Input::Drain { deadline } => {
                self.drain_until(deadline);
            }
            Input::Tick => {}
        }
        Ok(())
    }

    fn message(&mut self, bytes: Bytes, is_last: bool) -> Result<(), Misuse> {
        if !self.session.is_connected() {
            return Err(Misuse::OutOfOrder);
        }
        let retained = self.retained_bytes();
        let most = self.flow.inbound.high().bytes.saturating_mul(2);
        if retained > most && !self.flow.is_starved {
            return Err(Misuse::FedWhilePaused { retained });
        }
        self.heard();
        self.watch_message(bytes.is_empty(), is_last);
        self.stats.bytes += bytes.len() as u64;
        self.inbox.push(bytes, is_last, &mut self.flow.inbound);
        self.is_drained = false;
        self.flow.is_starved = false;
        self.stats.peak_retained_bytes = self.stats.peak_retained_bytes.max(self.retained_bytes());
        Ok(())
    }

    /// The next thing to do, or `None` if there is nothing now. Decodes at most one run of records, and looks at a bounded
    /// number of bytes and entries; if that was not enough to find something, [`poll_timeout`](Self::poll_timeout) asks to
    /// be called again at once.
    pub fn poll_command(&mut self) -> Option<Command> {
        match self.life {
            Life::Open => {
                let command = self.poll_open();
                self.note_pause();
                if command.is_none() && !matches!(self.life, Life::Open) {
                    return self.poll_command();
                }
                command
            }
            Life::Closing(_) => self.poll_closing(),
            Life::Closed => None,
        }
    }

    fn poll_open(&mut self) -> Option<Command> {
        if let Some(command) = self.flow.announce(self.flow.reasons()) {
            if let Command::Pause(reason) = &command {
                self.stats.pauses[reason.index()] += 1;
            }
            return Some(command);
        }
        if let Some(command) = self.control.pop_front() {
            return Some(command);
        }
        if self.flow.may_decode() {
            if let Some(event) = self.pending.pop_front() {
                return Some(self.hand_out(event, None));
            }
            if self.is_checkpoint_due() {
                return Some(self.checkpoint());
            }
            if !self.is_drained
                && let Some(command) = self.decode()
            {
                return Some(command);
            }
        }
        if self.is_draining() && self.is_done() {
            self.close(CloseReason::Drained);
        }
        None
    }

    /// Whether nothing is left that the application could finish without more from the peer. A ping asks for no end: one may be
    /// due at every look.
    fn is_done(&self) -> bool {
        let is_ping = |command: &Command| matches!(command, Command::Ping);
        self.is_drained
            && !self.awaits_close()
            && self.events_out.is_empty()
            && self.pending.is_empty()
            && self.control.iter().all(is_ping)
            && self.ledger.is_quiet()
            && !self.blobs.is_saving()
    }

    /// When to call [`handle`](Self::handle) with a [`Input::Tick`] if nothing else happens. `None` only after the close.
    /// While there is something to do it is the time of the last input, so that a host that only sleeps still drains.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.life {
            Life::Closed => None,
            Life::Closing(_) => Some(self.timers.now()),
            Life::Open if self.has_work() => Some(self.timers.now()),
            Life::Open => Some(self.timers.next().unwrap_or_else(|| self.timers.now())),
        }
    }

    fn has_work(&self) -> bool {
        self.flow.has_announcement(self.flow.reasons())
            || !self.control.is_empty()
            || (self.flow.may_decode()
                && (!self.is_drained || !self.pending.is_empty() || self.is_checkpoint_due()))
            || (self.is_draining() && self.is_done())
    }

    /// Whether the host should stop reading the socket.
    pub fn is_paused(&self) -> bool {
        let is_read = matches!(self.life, Life::Open)
            && self.flow.reasons().is_empty()
            && (!self.is_draining() || self.awaits_close());
        !is_read
    }

    /// The reasons for which reading is paused.
    pub fn pause_reasons(&self) -> PauseReasons {
        match self.life {
            Life::Open => self.flow.reasons(),
            _ => PauseReasons::NONE,
        }
    }

    // What the parts of the receiver share.

    const fn commit_id(&self, number: u64) -> CommitId {
        CommitId {
            epoch: self.epoch,
            number,
        }
    }

    const fn blob_id(&self, number: u64) -> BlobId {
        BlobId {
            epoch: self.epoch,
            number,
        }
    }

    /// Says something, if there is still somebody to hear it.
    fn transmit(&mut self, message: &Message) {
        if self.is_gone() {
            return;
        }
        let bytes = Bytes::from(message.encode());
        self.control.push_back(Command::Transmit(bytes));
    }

    fn hand_out(&mut self, event: Event, slot: Option<Slot>) -> Command {
        let level = Level {
            items: event.count(),
            bytes: event.cost(),
        };
        self.flow.consumer.add(level.items, level.bytes);
        self.flow.copied += copied(level.bytes, slot);
        self.events_out.push_back(EventOut { level, slot });
        self.stats.events += level.items;
        self.stats.peak_events_out = self.stats.peak_events_out.max(self.events_out());
        Command::Event(event)
    }

    /// A commit was handed out.
    const fn commit_out(&mut self) {
        self.flow.commits.add(1, 0);
    }

    /// A cursor goes out by itself between two transactions: when the next message has none to carry it.
    fn is_checkpoint_due(&self) -> bool {
        self.ledger.has_checkpoint()
            && (self.is_drained
                || self.ledger.has_copy_end()
                || !self.decoder.is_at_batch(&self.inbox))
    }

    fn checkpoint(&mut self) -> Command {
        let (number, ends_copy, cursor) = self.ledger.checkpoint();
        let checkpoint = crate::event::Checkpoint {
            id: self.commit_id(number),
            cursor,
        };
        self.commit_out();
        self.stats.checkpoints += 1;
        let event = if ends_copy {
            self.copy_finished();
            Event::CopyCompleted(checkpoint)
        } else {
            Event::Checkpoint(checkpoint)
        };
        self.hand_out(event, None)
    }

    fn release(&mut self, released: Released) {
        self.flow.blobs.sub(released.items, released.bytes);
        self.flow.copied -= released.copied;
        for slot in released.slots {
            self.inbox.release(slot, &mut self.flow.inbound);
        }
        self.note_starvation();
    }

    /// The decoder waits for bytes, and nothing that is held outside will be given back: pausing would be for ever.
    fn note_starvation(&mut self) {
        self.flow.is_starved = self.holds_a_beginning();
    }

    /// Keeps link time, and the two watchdogs of which exactly one is armed: that of the peer while reading goes on, that
    /// of the application while it is paused.
    fn note_pause(&mut self) {
        self.held = self.flow.reasons();
        let is_paused = !self.held.is_empty();
        if !matches!(self.life, Life::Open) || !self.timers.set_paused(is_paused) {
            return;
        }
        if is_paused {
            self.timers.clear(Timer::Silence);
            self.active();
        } else {
            self.timers.clear(Timer::PauseStall);
            self.heard();
        }
    }

    /// The application did something.
    fn active(&mut self) {
        if !self.flow.reasons().is_empty() {
            let stall = self.config.timeouts.pause_stall;
            self.timers.set(Timer::PauseStall, stall);
        }
    }

    /// A blob failed.
    fn blob_has_failed(&mut self, failure: Failure) {
        let Failure {
            transfer,
            abort,
            file,
            owner,
            fault,
            is_gone,
            settled,
            released,
        } = failure;
        self.stats.blob_faults[fault.index()] += 1;
        let blob = transfer.map(|number| self.blob_id(number));
        if let (Some(blob), Some(why)) = (blob, abort) {
            self.flow.blobs.add(1, 0);
            self.abort(blob, why);
        }
        self.release(released);
        let failure = Box::new(crate::event::BlobFailure {
            blob,
            file,
            record: owner,
            fault,
        });
        self.pending.push_back(if is_gone {
            self.stats.blobs_gone += 1;
            Event::BlobGone(failure)
        } else {
            self.stats.blobs_held += 1;
            Event::BlobHeld(failure)
        });
        for number in settled {
            self.ledger.blob_settled(number);
        }
        self.watch_gap();
    }

    fn abort(&mut self, blob: BlobId, why: AbortReason) {
        self.stats.blobs_aborted += 1;
        self.control.push_back(Command::AbortBlob { blob, why });
    }

    fn watch_gap(&mut self) {
        if self.blobs.has_gap() {
            self.timers
                .start(Timer::BlobGap, self.config.timeouts.blob_gap);
        } else {
            self.timers.clear(Timer::BlobGap);
        }
    }
}
