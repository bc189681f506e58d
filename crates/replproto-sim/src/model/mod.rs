//! The reference model: what a receiver must do, in the plainest terms, compared with the real one after every step.
//!
//! It sees what a host sees: the inputs that it has given, the commands that came out, and what the receiver says of
//! itself. From those it keeps its own account of everything that is out, of the reasons to pause, of the bytes that stay
//! in memory, and of every deadline.

mod gauge;
mod pins;
mod watchdogs;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use replproto_core::wire::Message;
use replproto_core::{
    AbortReason, BlobId, Close, CloseReason, Command, CommitId, Config, Event, Input, Instant,
    LinkError, PauseReason, Receiver, Stats, WallTime,
};

use crate::oracles::{Result, Violation, hold};
use gauge::Gauge;
use pins::{Pin, Pins};
use watchdogs::Watchdogs;

/// What the core charges for a chunk, and at most for a part of a message, besides its bytes.
const CHUNK_OVERHEAD: u64 = 512;
const PART_OVERHEAD: u64 = 128;

/// Parts that wait are joined to pieces of up to this many bytes.
const JOINED: u64 = 4096;

/// The most that one call looks at if it finds nothing to hand out.
const ITEMS_PER_CALL: u64 = 1024;

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
    has_ended: bool,
    /// Link time of its last chunk.
    heard: Duration,
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
    pins: Pins,
    /// Events that are out, oldest first, and what they point into.
    events: VecDeque<Option<Pin>>,
    /// What is out and not durable, with the sequences of its cursors.
    commits_out: BTreeMap<CommitId, Option<f64>>,
    transfers: BTreeMap<BlobId, Transfer>,
    /// Transfers of which a failure was told.
    failed: BTreeSet<BlobId>,
    opens: u64,
    saves: u64,
    failures: u64,
    aborts: u64,
    handed: f64,
    persisted: f64,
    /// The copy that has begun last on this link.
    copy: Option<WallTime>,
    confirmed: f64,
    largest_part: u64,
    message: u64,
    largest_message: u64,
    /// What came while reading was paused.
    overrun: u64,
    seen: Stats,
    is_paused: bool,
    is_unready: bool,
    /// After what it was told the link must end.
    must_close: bool,
    is_shut_down: bool,
    /// A transfer was aborted of which all had been handed out.
    has_cut_blob: bool,
    /// What was passed over until the last call.
    skipped: u64,
    /// In link time.
    none_is_idle_before: Duration,
    close: Option<Close>,
}

impl Model {
    /// A link that begins now, from this durable sequence on.
    pub(crate) fn new(config: Config, start: f64, trust: Trust, now: Instant) -> Self {
        let flow = &config.flow;
        Self {
            trust,
            announced: BTreeSet::new(),
            consumer: Gauge::new(flow.consumer),
            commits: Gauge::new(flow.commits),
            blobs: Gauge::new(flow.blobs),
            watchdogs: Watchdogs::new(config.timeouts, now),
            pins: Pins::default(),
            events: VecDeque::new(),
            commits_out: BTreeMap::new(),
            transfers: BTreeMap::new(),
            failed: BTreeSet::new(),
            opens: 0,
            saves: 0,
            failures: 0,
            aborts: 0,
            handed: start,
            persisted: start,
            copy: None,
            confirmed: 0.0,
            largest_part: 0,
            message: 0,
            largest_message: 0,
            overrun: 0,
            seen: Stats::default(),
            is_paused: false,
            is_unready: false,
            must_close: false,
            is_shut_down: false,
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

    /// The peer has said that it goes.
    pub(crate) const fn must_close(&mut self) {
        self.must_close = true;
    }

    pub(crate) const fn is_draining(&self) -> bool {
        self.watchdogs.drain.is_some()
    }

    /// All rows of a copy have been decoded.
    pub(crate) const fn rows_ended(&mut self) {
        self.watchdogs.rows_ended = Some(self.watchdogs.now);
    }

    /// The receiver has taken an input.
    pub(crate) fn told(&mut self, input: &Input, now: Instant) {
        self.watchdogs.now = now;
        match input {
            Input::Connected => self.watchdogs.connected(),
            Input::Message { bytes, last } => {
                self.watchdogs.heard();
                self.pins.arrive(bytes);
                self.part(bytes.len() as u64, *last);
            }
            Input::Heard { bytes: 1.. } | Input::Pong => self.watchdogs.heard(),
            Input::Consumed { events } => {
                for pin in self.events.drain(..*events as usize) {
                    self.pins.unpin(pin);
                    self.consumer.remove(1, 0);
                }
                if *events > 0 {
                    self.watchdogs.progress();
                }
            }
            Input::Committed(id) => {
                if let Some(sequence) = self.commits_out.remove(id) {
                    self.persisted = sequence.unwrap_or_default().max(self.persisted);
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
                let ended = self.end_transfer(*blob);
                self.failures += ended;
                self.store_progress(ended);
            }
            Input::Ready if self.is_unready => {
                self.is_unready = false;
                self.watchdogs.progress();
            }
            Input::NotReady => self.is_unready = true,
            Input::Drain { deadline } => self.watchdogs.drain = Some(*deadline),
            Input::TextMessage | Input::TooLarge { .. } | Input::PeerClosed { .. } => {
                self.must_close = true;
            }
            Input::TransportLost => self.must_close = true,
            Input::Shutdown => {
                self.must_close = true;
                self.is_shut_down = true;
            }
            _ => {}
        }
    }

    const fn store_progress(&mut self, ended: u64) {
        if ended > 0 {
            self.watchdogs.progress();
        }
    }

    fn written(&mut self, blob: BlobId, bytes: u64) {
        let Some(transfer) = self.transfers.get_mut(&blob) else {
            return;
        };
        self.watchdogs.progress();
        self.blobs.remove(0, bytes);
        let mut left = bytes;
        while let Some((unwritten, pin)) = transfer.chunks.front_mut() {
            if *unwritten > left {
                *unwritten -= left;
                return;
            }
            left -= *unwritten;
            self.pins.unpin(*pin);
            self.blobs.remove(1, CHUNK_OVERHEAD);
            transfer.chunks.pop_front();
        }
    }

    /// A transfer is over: none of its bytes is out any more. Gives how many have ended by that.
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
        self.largest_part = self.largest_part.max(bytes);
        self.message += charge;
        self.largest_message = self.largest_message.max(self.message);
        if last {
            self.message = 0;
        }
    }

    /// Looks at a command.
    pub(crate) fn observe(&mut self, command: &Command) -> Result {
        hold("silence after close", self.close.is_none(), || {
            format!("{command:?}")
        })?;
        match command {
            Command::Pause(reason) => hold("pauses", self.announced.insert(*reason), || {
                format!("{reason} twice")
            }),
            Command::Resume(reason) => hold("pauses", self.announced.remove(reason), || {
                format!("{reason} was not raised")
            }),
            Command::Event(event) => self.event(event),
            Command::OpenBlob { blob, .. } => {
                self.opens += 1;
                let transfer = Transfer {
                    heard: self.watchdogs.link_now(),
                    ..Transfer::default()
                };
                let is_new = self.transfers.insert(*blob, transfer).is_none();
                hold("blobs", is_new, || format!("{blob} is opened twice"))
            }
            Command::BlobChunk { blob, bytes, last } => self.chunk(*blob, bytes, *last),
            Command::AbortBlob { blob, why } => {
                if *why == AbortReason::Idle {
                    self.check_idle(*blob)?;
                }
                self.has_cut_blob |= self.transfers.get(blob).is_some_and(|it| it.has_ended);
                let ended = self.end_transfer(*blob);
                self.aborts += ended;
                hold("blobs", ended == 1, || {
                    format!("{blob} is aborted after its end")
                })
            }
            Command::Transmit(bytes) => {
                self.check_connected()?;
                self.transmit(bytes)
            }
            Command::Ping => {
                self.watchdogs.pinged();
                self.check_connected()
            }
            Command::Close(close) => self.closed(close),
            _ => Ok(()),
        }
    }

    fn check_connected(&self) -> Result {
        hold("protocol", self.watchdogs.is_connected(), || {
            "something is sent before the socket is open".into()
        })
    }

    fn chunk(&mut self, blob: BlobId, bytes: &[u8], last: bool) -> Result {
        let Some(transfer) = self.transfers.get_mut(&blob) else {
            return Err(Violation::new("blobs", format!("a chunk of {blob}")));
        };
        hold("blobs", !transfer.has_ended, || {
            format!("a chunk of {blob} after its last")
        })?;
        transfer.has_ended = last;
        self.watchdogs.copy_frame();
        transfer.heard = self.watchdogs.link_now();
        let pin = self.pins.pin(bytes);
        transfer.chunks.push_back((bytes.len() as u64, pin));
        let items = 1 + u64::from(last);
        self.seen.blob_bytes += bytes.len() as u64;
        self.blobs.add(items, bytes.len() as u64 + CHUNK_OVERHEAD);
        Ok(())
    }

    fn event(&mut self, event: &Event) -> Result {
        let others = self
            .announced
            .iter()
            .find(|reason| **reason != PauseReason::InboundQueue);
        hold("pauses", others.is_none(), || {
            format!("an event while paused for {others:?}")
        })?;
        if let Event::Record(_) | Event::EndTransaction(_) | Event::CopyStarted(_) = event {
            self.watchdogs.copy_frame();
        }
        let pin = match event {
            Event::Record(record) => self.pins.pin(record.key_bytes()),
            _ => None,
        };
        self.events.push_back(pin);
        self.seen.events += 1;
        self.seen.records += u64::from(matches!(event, Event::Record(_)));
        self.seen.transactions += u64::from(matches!(event, Event::EndTransaction(_)));
        self.consumer.add(1, 0);
        let (id, cursor) = match event {
            Event::EndTransaction(end) => (end.id, end.cursor.as_ref()),
            Event::Checkpoint(checkpoint) | Event::CopyCompleted(checkpoint) => {
                (checkpoint.id, Some(&checkpoint.cursor))
            }
            Event::CopyStarted(started) => {
                self.copy = started.copy_start;
                return Ok(());
            }
            Event::BlobHeld(failure) | Event::BlobGone(failure) => {
                let is_new = failure.blob.is_none_or(|blob| self.failed.insert(blob));
                return hold("blobs", is_new, || format!("{event:?} again"));
            }
            _ => return Ok(()),
        };
        self.commits_out
            .insert(id, cursor.map(|cursor| cursor.sequence.0));
        self.commits.add(1, 0);
        self.seen.checkpoints += u64::from(!matches!(event, Event::EndTransaction(_)));
        if let Some(cursor) = cursor {
            let copy = cursor.copy.as_ref().map(|copy| copy.copy_start);
            let is_stray = self.copy.is_some() && copy.is_some() && copy != self.copy;
            hold("copies", !is_stray, || {
                format!("a cursor of {copy:?} in {:?}", self.copy)
            })?;
            let (sequence, before) = (cursor.sequence.0, self.handed);
            hold("durability", sequence >= before, || {
                format!("the cursor goes from {before} to {sequence}")
            })?;
            self.handed = sequence;
        }
        Ok(())
    }

    /// This transfer is given up because nothing of it came for too long. Paused time does not count.
    fn check_idle(&self, blob: BlobId) -> Result {
        let heard = self
            .transfers
            .get(&blob)
            .map_or(Duration::ZERO, |it| it.heard);
        let waited = self.watchdogs.link_now().saturating_sub(heard);
        hold("watchdogs", waited >= self.config.timeouts.blob, || {
            format!("{blob} is given up after {waited:?}")
        })
    }

    fn transmit(&mut self, bytes: &[u8]) -> Result {
        if let Ok(Message::CommittedUpdate(sequence)) = Message::decode(bytes) {
            let (sequence, before, persisted) = (sequence.0, self.confirmed, self.persisted);
            hold("durability", sequence <= persisted, || {
                format!("{sequence} confirmed, {persisted} durable")
            })?;
            hold("durability", sequence > before, || {
                format!("{sequence} confirmed after {before}")
            })?;
            self.confirmed = sequence;
        }
        Ok(())
    }

    fn closed(&mut self, close: &Close) -> Result {
        hold("pauses", self.announced.is_empty(), || {
            format!("{:?} at the close", self.announced)
        })?;
        let ended = self.saves + self.failures + self.aborts;
        hold("blobs", self.opens == ended, || {
            format!("{} opened, {ended} ended", self.opens)
        })?;
        let reason = close.frame.as_ref().map_or(0, |frame| frame.reason.len());
        hold("protocol", reason <= 123, || {
            format!("a close reason of {reason} bytes")
        })?;
        let is_asked = self.is_shut_down || self.is_draining();
        hold("finality", is_asked || !close.reason.is_final(), || {
            format!("nobody has asked for it: {}", close.reason)
        })?;
        let is_cut = close.reason == CloseReason::Drained && self.has_cut_blob;
        hold("blobs", !is_cut, || {
            "a blob that had come whole was drained away".into()
        })?;
        self.close = Some(close.clone());
        match &close.reason {
            CloseReason::Error(LinkError::TimedOut { watchdog, .. }) => {
                self.watchdogs.check_not_early(watchdog)
            }
            CloseReason::Error(error) => {
                hold("blame", self.trust == Trust::Unknown, || error.to_string())
            }
            _ => Ok(()),
        }
    }

    /// What holds after every command and every input.
    pub(crate) fn check(&mut self, receiver: &Receiver) -> Result {
        let timeout = receiver.poll_timeout();
        hold(
            "liveness",
            timeout.is_some() != receiver.is_closed(),
            || format!("deadline {timeout:?}"),
        )?;
        if self.is_closed() {
            let left =
                receiver.retained_bytes() + receiver.events_out() + receiver.blob_bytes_out();
            hold("bounds", left == 0, || {
                format!("{left} left after the close")
            })?;
            return self.check_stats(receiver.stats());
        }
        hold("silence after close", !receiver.is_closed(), || {
            "closed without a word".into()
        })?;
        self.watchdogs.note(receiver, self.is_unready);
        self.is_paused = receiver.is_paused();
        let flow = &self.config.flow;
        let (events, counted) = (receiver.events_out(), self.events.len() as u64);
        hold("bounds", events == counted, || {
            format!("{events} events out, not {counted}")
        })?;
        hold("bounds", events <= flow.consumer.high.items + 1, || {
            format!("{events} events out")
        })?;
        let (commits, counted) = (receiver.commits_out(), self.commits_out.len() as u64);
        hold("bounds", commits == counted, || {
            format!("{commits} commits out, not {counted}")
        })?;
        hold("bounds", commits <= flow.commits.high.items + 1, || {
            format!("{commits} commits out")
        })?;
        let blobs = receiver.blob_bytes_out();
        let largest_piece = self.largest_part.max(JOINED);
        let most = flow.blobs.high.bytes + largest_piece + CHUNK_OVERHEAD;
        hold("bounds", blobs <= most, || {
            format!("{blobs} bytes of blobs out")
        })?;
        // An item that spans parts is joined while the part in which it ends is still held.
        let most = flow.inbound.high.bytes + 2 * self.largest_message + 2 * PART_OVERHEAD;
        let retained = receiver.retained_bytes();
        hold(
            "bounds",
            retained <= most.saturating_add(self.overrun),
            || format!("{retained} bytes retained"),
        )?;
        self.check_work(receiver.stats())
    }

    /// The counters of a link that is over are those of what was seen of it.
    fn check_stats(&self, stats: &Stats) -> Result {
        let counts = [
            ("blobs_opened", stats.blobs_opened, self.opens),
            ("blobs_saved", stats.blobs_saved, self.saves),
            ("blobs_aborted", stats.blobs_aborted, self.aborts),
            ("events", stats.events, self.seen.events),
            ("records", stats.records, self.seen.records),
            ("transactions", stats.transactions, self.seen.transactions),
            ("checkpoints", stats.checkpoints, self.seen.checkpoints),
            ("commits", stats.commits, self.seen.commits),
            ("blob_bytes", stats.blob_bytes, self.seen.blob_bytes),
            ("bytes", stats.bytes, self.seen.bytes),
        ];
        for (name, count, seen) in counts {
            hold("counters", count == seen, || {
                format!("{name} is {count}, and {seen} were seen")
            })?;
        }
        Ok(())
    }

    /// One call passes over a bounded number of entries.
    fn check_work(&mut self, stats: &Stats) -> Result {
        let skipped = stats.skipped_unknown + stats.skipped_local + stats.skipped_unwanted;
        let at_once = skipped - self.skipped;
        self.skipped = skipped;
        hold("work", at_once <= ITEMS_PER_CALL, || {
            format!("{at_once} entries passed over by one call")
        })
    }

    /// What holds when the receiver has nothing more to do.
    pub(crate) fn check_at_rest(&mut self, receiver: &Receiver) -> Result {
        if self.is_closed() {
            return Ok(());
        }
        hold("liveness", !self.must_close, || {
            "the link is open after its end".into()
        })?;
        let reasons = receiver.pause_reasons();
        let is_announced = PauseReason::ALL
            .into_iter()
            .all(|reason| reasons.contains(reason) == self.announced.contains(&reason));
        let is_paused = receiver.is_paused();
        let is_right = is_paused == (!reasons.is_empty() || self.is_draining());
        hold("pauses", is_right && is_announced, || {
            format!(
                "paused {is_paused} for {reasons}, announced {:?}",
                self.announced
            )
        })?;
        let raised = [
            (PauseReason::ConsumerQueue, self.consumer.is_raised),
            (PauseReason::CommitBacklog, self.commits.is_raised),
            (PauseReason::BlobStream, self.blobs.is_raised),
            (
                PauseReason::NotReady,
                self.is_unready && receiver.is_set_up(),
            ),
        ];
        for (reason, is_raised) in raised {
            hold("pauses", reasons.contains(reason) == is_raised, || {
                format!("{reason} should be {is_raised}, and the reasons are {reasons}")
            })?;
        }
        let (blobs, counted) = (receiver.blob_bytes_out(), self.blobs.now.bytes);
        hold("bounds", blobs == counted, || {
            format!("{blobs} bytes of blobs out, not {counted}")
        })?;
        let (retained, pinned) = (receiver.retained_bytes(), self.pins.bytes);
        hold("bounds", retained >= pinned, || {
            format!("{retained} bytes retained, and {pinned} are pinned")
        })?;
        let has_releaser = !self.events.is_empty()
            || !self.commits_out.is_empty()
            || !self.transfers.is_empty()
            || self.is_unready
            || self.is_draining();
        hold("liveness", !is_paused || has_releaser, || {
            format!("nothing lifts {reasons}")
        })?;
        self.watchdogs.check_none_is_late(receiver)?;
        self.check_idle_transfers(reasons.is_empty())?;
        if reasons.is_empty() {
            self.overrun = 0;
            self.pins.forget_decoded();
        }
        Ok(())
    }

    /// A transfer of which nothing comes any more has failed, soon after its time.
    fn check_idle_transfers(&mut self, is_reading: bool) -> Result {
        let now = self.watchdogs.link_now();
        if !is_reading || self.trust == Trust::Unknown || now < self.none_is_idle_before {
            return Ok(());
        }
        // The receiver looks for them at most 128 times within the limit.
        let most = self.config.timeouts.blob + self.config.timeouts.blob / 100;
        self.none_is_idle_before = now + most;
        for (blob, transfer) in self.transfers.iter().filter(|(_, it)| !it.has_ended) {
            let latest = transfer.heard + most;
            hold("watchdogs", now <= latest, || {
                format!("{blob} is silent since {:?}, now {now:?}", transfer.heard)
            })?;
            self.none_is_idle_before = self.none_is_idle_before.min(latest);
        }
        Ok(())
    }
}
