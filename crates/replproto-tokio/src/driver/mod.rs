//! The task that owns a link: its socket, its core and its timers.

mod blobs;
mod clock;
mod end;
mod exchange;
mod idle;
mod log;
mod socket;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use replproto_core::config::TableFilter;
use replproto_core::{Close, CloseFrame, Command, Event, Input, Instant, Receiver};
use tokio::task::yield_now;
use tokio::time::{Sleep, sleep_until};

use crate::blobs::{BlobInfo, BlobStore};
use crate::budget::Lease;
use crate::describe::describe;
use crate::journal::{Journal, line};
use crate::progress::{LinkSnapshot, Phase, Progress};
use crate::record::Recorder;
use crate::scope::Scope;

pub(crate) use self::blobs::BlobTasks;
pub(crate) use self::clock::{Clock, later};
pub use self::end::LinkEnd;
use self::exchange::Answers;
pub(crate) use self::exchange::{Exchange, Taken};
pub(crate) use self::idle::IdleClock;
pub use self::socket::TransportError;
pub(crate) use self::socket::{Received, Socket};

/// After so many commands the other tasks of the thread get their turn.
const COMMANDS_PER_TURN: usize = 512;

/// So many events are handed over together. It also bounds the room that an idle link keeps for them.
const EVENTS_PER_PUSH: usize = 64;

/// After so many parts of messages that came together they are decoded. It also bounds the room that an idle link keeps for
/// them.
const PARTS_PER_TURN: usize = 256;

/// Between two updates of what can be seen from outside.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// What a driver starts with.
pub(crate) struct Parts<B> {
    pub(crate) socket: Socket,
    pub(crate) receiver: Receiver,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) store: Arc<B>,
    /// Owns the writers of blobs, and nothing else.
    pub(crate) blob_scope: Scope,
    pub(crate) database: replproto_core::Name,
    /// Those that were asked for.
    pub(crate) tables: TableFilter,
    pub(crate) epoch: replproto_core::Epoch,
    pub(crate) until_idle: Option<Duration>,
    pub(crate) lease: Option<Lease>,
    /// What is told once the link is over.
    pub(crate) last_phase: Phase,
    pub(crate) progress: Progress,
    pub(crate) journal: Journal,
    pub(crate) recorder: Option<Recorder>,
}

/// Drives one link to its end.
///
/// It takes no decision of the protocol: it reads the socket when the core lets it, hands every command to the one that
/// carries it out, and tells the core what happened.
pub(crate) struct Driver<B> {
    parts: Parts<B>,
    blobs: BlobTasks<B>,
    clock: Clock,
    timer: Pin<Box<Sleep>>,
    idle: Option<IdleClock>,
    /// Events of this turn.
    events: Vec<Event>,
    /// Empty between two turns.
    answers: Answers,
    /// When the progress was told last, and whether something has happened since.
    told: Option<Instant>,
    is_news: bool,
    phase: Phase,
    set_up_at: Option<Instant>,
    /// What the core was told last of the memory that links share.
    allowance: Option<u64>,
    is_ended_idle: bool,
    lost: Option<TransportError>,
}

/// Why the driver woke up.
enum Wake {
    Received(Received),
    Answers,
    Timer,
}

/// How a turn ended.
enum Turn {
    /// There is nothing to do.
    Drained,
    /// There may be more to do.
    Cut,
    /// The link is over.
    Closed(Close),
}

impl<B: BlobStore> Driver<B> {
    pub(crate) fn new(parts: Parts<B>) -> Self {
        let clock = parts.exchange.clock;
        Self {
            blobs: BlobTasks::new(
                parts.store.clone(),
                parts.exchange.clone(),
                parts.blob_scope.clone(),
                parts.journal.clone(),
            ),
            clock,
            timer: Box::pin(sleep_until(clock.moment(Instant::ZERO))),
            idle: parts
                .until_idle
                .map(|limit| IdleClock::new(limit, clock.now())),
            events: Vec::new(),
            answers: Answers::default(),
            told: None,
            is_news: true,
            phase: Phase::SettingUp,
            set_up_at: None,
            allowance: None,
            is_ended_idle: false,
            lost: None,
            parts,
        }
    }

    /// Gives the end of the link once no writer of a blob is open any more.
    pub(crate) async fn drive(mut self) -> LinkEnd {
        self.feed(self.clock.now(), Input::Connected);
        let close = loop {
            self.take_answers();
            match self.turn() {
                Turn::Closed(close) => break close,
                Turn::Cut => yield_now().await,
                Turn::Drained if self.share_memory(self.clock.now()) => {}
                Turn::Drained => {
                    let wake = poll_fn(|context| self.poll_wake(context)).await;
                    self.on_wake(wake);
                }
            }
            self.look_around();
        };
        self.finish(close).await
    }

    fn feed(&mut self, now: Instant, input: Input) {
        self.is_news = true;
        if let Some(recorder) = &self.parts.recorder {
            recorder.input(now, &input);
        }
        if let Err(misuse) = self.parts.receiver.handle(now, input) {
            // An id that was made up, or a mistake of ours. Either way nothing has changed.
            line!(self.parts.journal, "misuse", error, %misuse, "the link refused what it was told");
        }
    }

    fn take_answers(&mut self) {
        let mut answers = std::mem::take(&mut self.answers);
        self.parts.exchange.take_answers(&mut answers);
        let now = self.clock.now();
        if answers.consumed > 0 {
            let events = answers.consumed;
            self.feed(now, Input::Consumed { events });
        }
        for input in answers.inputs.drain(..) {
            if let Input::BlobSaved(blob) | Input::BlobFailed { blob, .. } = &input {
                self.blobs.forget(*blob);
            }
            self.feed(now, input);
        }
        self.answers = answers;
    }

    /// Asks for the memory that the link needs, if it has to share it, and tells the core how much it may hold. Gives whether
    /// that has changed.
    fn share_memory(&mut self, now: Instant) -> bool {
        let Some(lease) = &mut self.parts.lease else {
            return false;
        };
        let receiver = &self.parts.receiver;
        let allowance = lease.allowance(receiver.held_bytes(), receiver.is_starved());
        let is_news = self.allowance.replace(allowance) != Some(allowance);
        if is_news {
            self.feed(now, Input::Allowance { bytes: allowance });
        }
        is_news
    }

    /// Carries out commands, but not too many.
    fn turn(&mut self) -> Turn {
        let mut turn = Turn::Cut;
        for _ in 0..COMMANDS_PER_TURN {
            let Some(command) = self.parts.receiver.poll_command() else {
                turn = Turn::Drained;
                break;
            };
            if let Command::Close(close) = command {
                self.events.clear();
                return Turn::Closed(*close);
            }
            self.carry_out(command);
            if self.events.len() == EVENTS_PER_PUSH {
                self.parts.exchange.push(&mut self.events);
            }
        }
        self.parts.exchange.push(&mut self.events);
        turn
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Transmit(bytes) => self.parts.socket.send(&bytes),
            Command::Ping => self.parts.socket.ping(),
            Command::Event(event) => {
                self.log(&event);
                self.events.push(event);
            }
            Command::OpenBlob { blob, file, size } => {
                // No blob comes before the peer has said its name.
                if let Some(peer) = self.parts.receiver.peer() {
                    let info = BlobInfo {
                        peer: peer.clone(),
                        database: self.parts.database.clone(),
                        file,
                        size,
                    };
                    self.blobs.open(blob, info);
                }
            }
            Command::BlobChunk { blob, bytes, last } => self.blobs.write(blob, bytes, last),
            Command::AbortBlob { blob, why } => {
                tracing::debug!(%blob, ?why, "a blob is aborted");
                self.blobs.abort(blob);
            }
            Command::Pause(reason) => tracing::debug!(%reason, "reading pauses"),
            Command::Resume(reason) => tracing::debug!(%reason, "reading may go on"),
            command => tracing::error!(?command, "this command is not known here"),
        }
    }

    /// Waits for something to happen. The socket comes before the timer, so that a message which arrives together with a
    /// late wake-up proves the peer alive.
    fn poll_wake(&mut self, context: &mut Context<'_>) -> Poll<Wake> {
        // A link whose connection is gone still finishes what came before.
        if let Err(error) = self.parts.socket.send_queued(context)
            && self.lost.is_none()
        {
            return Poll::Ready(Wake::Received(Received::Lost(error)));
        }
        if !self.parts.receiver.is_paused()
            && let Poll::Ready(received) = self.parts.socket.poll_receive(context)
        {
            return Poll::Ready(Wake::Received(received));
        }
        let is_answered = self.parts.exchange.poll_answers(context).is_ready();
        let lease = self.parts.lease.as_ref();
        if is_answered
            || self.is_left_behind()
            || lease.is_some_and(|lease| lease.poll_grown(context).is_ready())
        {
            return Poll::Ready(Wake::Answers);
        }
        let Some(deadline) = self.deadline() else {
            return Poll::Ready(Wake::Timer);
        };
        // A timer of tokio may be a millisecond late, which is too long for work that is due now.
        if deadline <= self.clock.now() {
            return Poll::Ready(Wake::Timer);
        }
        let moment = self.clock.moment(deadline);
        if self.timer.deadline() != moment {
            self.timer.as_mut().reset(moment);
        }
        self.timer.as_mut().poll(context).map(|()| Wake::Timer)
    }

    fn deadline(&self) -> Option<Instant> {
        let mut deadline = self.parts.receiver.poll_timeout()?;
        if let Some(idle) = &self.idle {
            deadline = deadline.min(idle.next());
        }
        if let Some(told) = self.told
            && self.is_news
        {
            deadline = deadline.min(told.after(PROGRESS_INTERVAL));
        }
        Some(deadline)
    }

    fn on_wake(&mut self, wake: Wake) {
        match wake {
            Wake::Received(received) => self.on_received(received),
            // Taken at the start of the next turn.
            Wake::Answers => {}
            Wake::Timer => {
                let now = self.clock.now();
                if self
                    .parts
                    .receiver
                    .poll_timeout()
                    .is_none_or(|at| at <= now)
                {
                    self.feed(now, Input::Tick);
                }
            }
        }
    }

    fn on_received(&mut self, received: Received) {
        let now = self.clock.now();
        if let Some(idle) = &mut self.idle
            && !matches!(received, Received::Pong)
        {
            idle.heard(now);
        }
        let input = match received {
            Received::Part { bytes, last } => return self.on_part(now, bytes, last),
            Received::Text => Input::TextMessage,
            Received::Pong => Input::Pong,
            Received::Heard(bytes) => Input::Heard { bytes },
            Received::TooLarge(bytes) => Input::TooLarge { bytes },
            Received::Closed { code, reason } => Input::PeerClosed { code, reason },
            Received::Lost(error) => {
                self.lost = Some(error);
                Input::TransportLost
            }
        };
        self.feed(now, input);
    }

    /// Feeds a part, and those that came together with it: small messages are cheap when they are taken in one go.
    fn on_part(&mut self, now: Instant, bytes: Bytes, last: bool) {
        self.feed(now, Input::Message { bytes, last });
        for _ in 1..PARTS_PER_TURN {
            // Before anyone is told of a pause that is none.
            self.share_memory(now);
            if self.parts.receiver.is_paused() {
                return;
            }
            let Some((bytes, last)) = self.parts.socket.next_part() else {
                return;
            };
            self.feed(now, Input::Message { bytes, last });
        }
        self.share_memory(now);
    }

    /// What is not of the protocol: the end when idle, and those who look on.
    fn look_around(&mut self) {
        let now = self.clock.now();
        let receiver = &self.parts.receiver;
        if self.set_up_at.is_none() && receiver.is_set_up() {
            self.set_up_at = Some(now);
        }
        if let Some(idle) = &mut self.idle
            && now >= idle.next()
            && idle.is_over(now)
            && receiver.is_idle()
        {
            self.idle = None;
            self.is_ended_idle = true;
            self.feed(now, Input::Shutdown);
        }
        if self.is_left_behind() {
            self.feed(now, Input::Shutdown);
        }
        let phase = self.current_phase();
        let is_due = self
            .told
            .is_none_or(|told| now >= told.after(PROGRESS_INTERVAL));
        if (is_due && self.is_news) || phase != self.phase {
            self.phase = phase;
            self.tell_progress(now);
        }
    }

    /// Nobody is left who could finish what came before the end of the connection.
    fn is_left_behind(&self) -> bool {
        self.parts.receiver.is_ending() && self.parts.exchange.is_stuck()
    }

    fn current_phase(&self) -> Phase {
        let receiver = &self.parts.receiver;
        if !receiver.is_set_up() {
            Phase::SettingUp
        } else if receiver.is_copying() {
            Phase::Copying
        } else {
            Phase::Following
        }
    }

    fn tell_progress(&mut self, now: Instant) {
        self.told = Some(now);
        self.is_news = false;
        self.parts.journal.sum_up();
        let receiver = &self.parts.receiver;
        let link = LinkSnapshot {
            epoch: self.parts.epoch,
            at: Some(self.clock.moment(now)),
            peer: receiver.peer().cloned(),
            is_idle: receiver.is_idle(),
            pauses: receiver.pause_reasons(),
            retained_bytes: receiver.retained_bytes(),
            events_out: receiver.events_out(),
            event_bytes_out: receiver.event_bytes_out(),
            unsettled_since: receiver
                .unsettled_since()
                .map(|since| self.clock.moment(since)),
            commits_out: receiver.commits_out(),
            blob_bytes_out: receiver.blob_bytes_out(),
            blobs_missing: receiver.blobs_missing(),
            stats: receiver.stats_at(now),
        };
        let phase = self.phase;
        self.parts.progress.update(|snapshot| {
            snapshot.phase = phase;
            snapshot.link = link;
        });
    }

    async fn finish(mut self, close: Close) -> LinkEnd {
        let now = self.clock.now();
        self.phase = self.parts.last_phase;
        self.tell_progress(now);
        let transport = self.lost.as_ref().map(|error| describe(error));
        let (reason, journal) = (&close.reason, &self.parts.journal);
        let cause = end::cause(reason, self.lost.as_ref()).as_str();
        match end::advice(reason, self.lost.as_ref()) {
            Some(advice) => {
                line!(journal, cause, warn, %reason, transport, cause, advice, "the link is over");
            }
            None => line!(journal, cause, info, %reason, transport, cause, "the link is over"),
        }
        if self.parts.last_phase == Phase::Ended {
            journal.close();
        }
        self.parts.exchange.end();
        // What is left waits for the store, and is no more than the marks of the blobs: it is not for others to wait for.
        self.parts.lease = None;
        let frame = close.frame.clone().or_else(|| self.own_frame());
        let is_gone = frame.is_none() && self.lost.is_some();
        if is_gone {
            drop(self.parts.socket);
        } else {
            self.parts.socket.close(frame).await;
        }
        self.blobs.finish().await;
        if let Some(recorder) = &self.parts.recorder {
            recorder.end();
        }
        LinkEnd {
            stats: *self.parts.receiver.stats(),
            peer: self.parts.receiver.peer().cloned(),
            epoch: self.parts.epoch,
            blob_tries: self.parts.receiver.blob_tries().clone(),
            set_up_for: self.set_up_at.map(|at| now.since(at)),
            is_idle: self.is_ended_idle,
            transport: self.lost,
            close,
        }
    }

    /// The core knows nothing of the rules of WebSocket itself.
    fn own_frame(&self) -> Option<CloseFrame> {
        let Some(TransportError::Protocol(error)) = &self.lost else {
            return None;
        };
        Some(CloseFrame {
            code: Some(error.violation.close_code()),
            reason: error.violation.to_string(),
        })
    }
}
