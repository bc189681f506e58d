//! The reference model: what a receiver must do, in the plainest terms, compared with the real one after every step.
//!
//! It sees what a host sees: the inputs that it has given, the commands that came out, and what the receiver says of
//! itself. From those it keeps its own account of everything that is out, of the reasons to pause, of the bytes that stay
//! in memory, and of every deadline.

mod commands;
mod ending;
mod gauge;
mod pauses;
mod pins;
mod progress;
mod state;
mod watchdogs;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use replproto_core::{
    BlobId, Close, CommitId, Config, Cursor, Input, Instant, PauseReason, Sequence, Start, Stats,
    WallTime, Work,
};

pub(crate) use commands::is_lifted_by_decoding;
use ending::Ending;
use gauge::Gauge;
use pauses::Pauses;
use pins::{Pin, Pins};
use progress::Progress;
use watchdogs::Watchdogs;

/// What the core charges for an event, a chunk, and at most for a part of a message, besides its bytes.
const EVENT_OVERHEAD: u64 = 192;
const CHUNK_OVERHEAD: u64 = 512;
const PART_OVERHEAD: u64 = 128;

/// Whether the peer is taken to keep the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// It does: a link that ends for its fault is our mistake.
    Honest,
    /// It may send anything.
    Unknown,
}

/// A transfer that the store has not finished with.
#[derive(Debug, Default)]
struct Transfer {
    /// Bytes of chunks that are not written, oldest first, and what they point into.
    chunks: VecDeque<(u64, Option<Pin>)>,
    /// Nothing more of it comes: it waits for the store's answer.
    has_ended: bool,
    /// The store was told to throw it away.
    is_aborted: bool,
    /// Link time of its last chunk.
    heard: Duration,
}

/// An event that is out.
#[derive(Debug)]
struct EventOut {
    /// How many of its records, if it has any, have not been given back.
    count: u64,
    bytes: u64,
    pin: Option<Pin>,
}

/// One link as its host sees it.
#[derive(Debug)]
pub(crate) struct Model {
    config: Config,
    pub(crate) trust: Trust,
    announced: BTreeSet<PauseReason>,
    consumer: Gauge,
    commits: Gauge,
    blobs: Gauge,
    watchdogs: Watchdogs,
    pauses: Pauses,
    pins: Pins,
    /// Events that are out, oldest first, and what they point into.
    events: VecDeque<EventOut>,
    /// What is out and not durable, with the sequences of its cursors, and what of them the publisher has sent.
    commits_out: BTreeMap<CommitId, Option<[f64; 2]>>,
    transfers: BTreeMap<BlobId, Transfer>,
    /// Transfers of which a failure was told.
    failed: BTreeSet<BlobId>,
    opens: u64,
    saves: u64,
    failures: u64,
    aborts: u64,
    /// Transfers that were aborted because the link ends.
    cut_off: u64,
    ending: Ending,
    handed: f64,
    persisted: f64,
    /// What the publisher has sent of that, which is to be confirmed.
    sent: f64,
    progress: Progress,
    /// The copy that has begun last on this link, and whether its end has been told.
    copy: Option<WallTime>,
    is_copy_over: bool,
    confirmed: f64,
    /// Where the link was asked to start: that much needs no confirmation.
    asked: f64,
    /// Since when something is durable that is not confirmed.
    unconfirmed: Option<Instant>,
    largest_part: u64,
    /// All messages have come in one part each.
    is_whole: bool,
    message: u64,
    largest_message: u64,
    /// What came while reading was paused.
    overrun: u64,
    seen: Stats,
    is_paused: bool,
    is_unready: bool,
    /// The peer's definition of our database has been handed out.
    has_schema: bool,
    /// How much the link may hold.
    allowance: u64,
    /// A transfer was aborted of which all had been handed out.
    has_cut_blob: bool,
    /// What was passed over until the last call.
    skipped: u64,
    /// In link time.
    none_is_idle_before: Duration,
    close: Option<Close>,
}

impl Model {
    /// A link that begins now.
    pub(crate) fn new(config: Config, start: &Start, trust: Trust, now: Instant) -> Self {
        let flow = &config.flow;
        let nothing = Cursor::at(Sequence(0.0));
        let (durable, asked) = match start {
            Start::Copy => (&nothing, 0.0),
            Start::At(sequence) => (&nothing, sequence.0),
            Start::Resume(cursor) => (cursor, cursor.announced.0),
        };
        Self {
            trust,
            announced: BTreeSet::new(),
            consumer: Gauge::new(flow.consumer),
            commits: Gauge::new(flow.commits),
            blobs: Gauge::new(flow.blobs),
            watchdogs: Watchdogs::new(config.timeouts, now),
            pauses: Pauses::default(),
            pins: Pins::default(),
            events: VecDeque::new(),
            commits_out: BTreeMap::new(),
            transfers: BTreeMap::new(),
            failed: BTreeSet::new(),
            opens: 0,
            saves: 0,
            failures: 0,
            aborts: 0,
            cut_off: 0,
            ending: Ending::default(),
            handed: durable.sequence.0.max(asked),
            persisted: durable.sequence.0,
            sent: durable.announced.0,
            progress: Progress::new(config.clock_margin),
            copy: None,
            is_copy_over: false,
            confirmed: 0.0,
            asked,
            unconfirmed: None,
            largest_part: 0,
            is_whole: true,
            message: 0,
            largest_message: 0,
            overrun: 0,
            seen: Stats::default(),
            is_paused: false,
            is_unready: false,
            has_schema: false,
            allowance: u64::MAX,
            has_cut_blob: false,
            skipped: 0,
            none_is_idle_before: Duration::ZERO,
            close: None,
            config,
        }
    }

    pub(crate) const fn is_closed(&self) -> bool {
        self.close.is_some()
    }

    /// The peer has asked for so long for its set-up.
    pub(crate) fn grant_setup(&mut self, asked: Duration) {
        self.watchdogs.setup = asked
            .max(self.config.timeouts.setup)
            .min(self.watchdogs.setup);
    }

    /// The host comes late for deadlines and commands.
    pub(crate) const fn forgive_lateness(&mut self) {
        self.watchdogs.slack = Duration::from_millis(500);
    }

    /// All rows of a copy have been decoded.
    pub(crate) const fn rows_ended(&mut self) {
        self.watchdogs.rows_ended = Some(self.watchdogs.now);
    }

    /// The receiver has taken an input.
    pub(crate) fn told(&mut self, input: &Input, now: Instant) {
        self.watchdogs.now = now;
        if self.is_closed() {
            return;
        }
        match input {
            Input::Message { .. } | Input::Heard { .. } | Input::Pong if self.has_ended() => {}
            Input::Connected => self.watchdogs.connected(),
            Input::Message { bytes, last } => {
                self.watchdogs.heard();
                self.watchdogs.part(bytes.is_empty(), *last);
                self.pins.arrive(bytes);
                self.part(bytes.len() as u64, *last);
            }
            Input::Heard { bytes: 1.. } | Input::Pong => self.watchdogs.heard(),
            Input::Consumed { events } => {
                for _ in 0..*events {
                    self.consume();
                }
                if *events > 0 {
                    self.watchdogs.progress();
                }
            }
            Input::Committed(id) => {
                if let Some(cursor) = self.commits_out.remove(id) {
                    let [sequence, announced] = cursor.unwrap_or_default();
                    if announced > self.sent.max(self.asked) && !self.ending.is_gone {
                        self.unconfirmed.get_or_insert(now);
                    }
                    self.persisted = sequence.max(self.persisted);
                    self.sent = announced.max(self.sent);
                    self.commits.remove(1, 0);
                    self.seen.commits += 1;
                    self.watchdogs.progress();
                }
            }
            Input::BlobWritten { blob, bytes } => self.written(*blob, *bytes),
            Input::BlobSaved(blob) => {
                let ended = self.end_transfer(*blob);
                self.saves += ended;
                self.store_progress(ended);
            }
            Input::BlobFailed { blob, .. } => {
                let is_aborted = self.is_aborted(*blob);
                let ended = self.end_transfer(*blob);
                self.failures += if is_aborted { 0 } else { ended };
                self.store_progress(ended);
            }
            Input::BlobAborted(blob) => {
                let ended = self.end_transfer(*blob);
                self.store_progress(ended);
            }
            Input::Ready => self.is_unready = false,
            Input::Skipped { records } => self.seen.skipped_by_host += records,
            Input::NotReady => self.is_unready = true,
            Input::Allowance { bytes } => self.allowance = *bytes,
            Input::Drain { deadline } => {
                self.ending.is_asked = true;
                self.drain(*deadline);
            }
            Input::PeerClosed { .. } | Input::TransportLost => self.gone(),
            Input::TextMessage | Input::TooLarge { .. } => self.must_end(),
            Input::Shutdown => self.ending.is_shut_down = true,
            _ => {}
        }
    }

    /// What the application has finished.
    const fn work_done(&self) -> Work {
        Work {
            events: self.seen.events - self.consumer.now.items,
            commits: self.seen.commits,
            blobs: self.saves,
        }
    }

    const fn store_progress(&mut self, ended: u64) {
        if ended > 0 {
            self.watchdogs.progress();
        }
    }

    /// The oldest event, or its oldest record, is given back.
    fn consume(&mut self) {
        self.consumer.remove(1, 0);
        let Some(event) = self.events.front_mut() else {
            return;
        };
        event.count -= 1;
        if event.count == 0
            && let Some(EventOut { bytes, pin, .. }) = self.events.pop_front()
        {
            self.consumer.remove(0, bytes);
            self.pins.unpin(pin);
        }
    }

    fn written(&mut self, blob: BlobId, bytes: u64) {
        let Some(transfer) = self.transfers.get_mut(&blob) else {
            return;
        };
        self.blobs.remove(0, bytes);
        let mut left = bytes;
        let mut released = 0;
        while let Some((unwritten, pin)) = transfer.chunks.front_mut() {
            if *unwritten > left {
                *unwritten -= left;
                break;
            }
            left -= *unwritten;
            self.pins.unpin(*pin);
            self.blobs.remove(1, CHUNK_OVERHEAD);
            transfer.chunks.pop_front();
            released += 1;
        }
        if bytes + released > 0 {
            self.watchdogs.progress();
        }
    }

    fn is_aborted(&self, blob: BlobId) -> bool {
        self.transfers.get(&blob).is_some_and(|it| it.is_aborted)
    }

    /// The store has answered for a transfer: none of its bytes is out any more. Gives how many have ended by that.
    fn end_transfer(&mut self, blob: BlobId) -> u64 {
        let Some(transfer) = self.transfers.remove(&blob) else {
            return 0;
        };
        for (bytes, pin) in transfer.chunks {
            self.pins.unpin(pin);
            self.blobs.remove(1, bytes + CHUNK_OVERHEAD);
        }
        self.blobs.remove(u64::from(transfer.has_ended), 0);
        1
    }

    fn part(&mut self, bytes: u64, last: bool) {
        let charge = bytes + PART_OVERHEAD;
        self.seen.bytes += bytes;
        if self.is_paused {
            self.overrun += charge;
        }
        self.is_whole &= last;
        self.largest_part = self.largest_part.max(bytes);
        self.message += charge;
        self.largest_message = self.largest_message.max(self.message);
        if last {
            self.message = 0;
        }
    }
}
