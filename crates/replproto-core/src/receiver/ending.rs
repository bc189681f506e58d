//! How a link ends: what came whole is finished, what is left is said, and nothing is held afterwards.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use super::Receiver;
use super::blobs::Blobs;
use super::context::Context;
use super::flow::Flow;
use super::inbox::Inbox;
use super::timers::Timer;
use crate::close::{Close, CloseReason, Report, Work};
use crate::command::{AbortReason, Command};
use crate::error::{LinkError, Watchdog};
use crate::pause::PauseReasons;
use crate::time::Instant;
use crate::wire::Message;

/// The wait for the close frame behind a DISCONNECT (`protocol.md` section 15, ruling 33).
const LAST_WORD: Duration = Duration::from_secs(1);

/// Whether the link is open.
#[derive(Debug)]
pub(super) enum Life {
    Open,
    /// What is left to say before the end.
    Closing(Box<Close>),
    Closed,
}

/// An open link on its way to its end: it finishes what came whole, and nothing else comes.
#[derive(Debug)]
pub(super) struct Drain {
    /// `None` as long as only the host has asked for the end.
    cause: Option<CloseReason>,
    /// The work that was done when it began.
    before: Work,
    /// Nothing can be sent any more.
    is_gone: bool,
    /// The peer has sent DISCONNECT, and may still say why.
    awaits_close: bool,
}

impl Drain {
    /// One more cause. The first one counts.
    fn add(&mut self, cause: CloseReason) {
        match &mut self.cause {
            Some(CloseReason::Disconnected(close @ None)) => *close = cause.into_peers_frame(),
            first => {
                first.get_or_insert(cause);
            }
        }
    }
}

impl Receiver {
    /// Something that came is wrong. That tells more than any other cause: it came before.
    pub(super) fn fail(&mut self, error: LinkError) {
        self.ignore_the_rest();
        let drain = self.drain_until(self.settled_by());
        drain.cause = Some(CloseReason::Error(error));
    }

    /// Nothing behind this place is looked at.
    fn ignore_the_rest(&mut self) {
        self.is_drained = true;
        self.inbox.clear(&mut self.flow.inbound);
    }

    pub(super) fn timed_out(&mut self, watchdog: Watchdog, waited: Duration) {
        self.stats.watchdogs[watchdog.index()] += 1;
        self.end(CloseReason::Error(LinkError::TimedOut { watchdog, waited }));
    }

    /// The peer goes. Nothing follows but, perhaps, a close frame that says why.
    pub(super) fn disconnected(&mut self) {
        self.ignore_the_rest();
        let drain = self.drain_until(self.settled_by());
        // The close may be known before the message that came before it is decoded.
        let close = drain.cause.take().and_then(CloseReason::into_peers_frame);
        drain.cause = Some(CloseReason::Disconnected(close));
        if !drain.is_gone {
            drain.awaits_close = true;
            self.timers.set(Timer::LastWord, LAST_WORD);
        }
    }

    /// The connection is gone.
    pub(super) fn gone(&mut self, reason: CloseReason) {
        self.end(reason);
        self.control
            .retain(|command| !matches!(command, Command::Transmit(_) | Command::Ping));
        self.timers.clear(Timer::Ping);
        if let Some(drain) = &mut self.drain {
            drain.is_gone = true;
            drain.awaits_close = false;
        }
    }

    /// The link ends, but not before what came whole is finished (`protocol.md` section 15, ruling 28).
    pub(super) fn end(&mut self, cause: CloseReason) {
        self.drain_until(self.settled_by()).add(cause);
    }

    fn settled_by(&self) -> Instant {
        self.timers.now().after(self.config.timeouts.settle)
    }

    /// Reads no more, finishes what is in hand, and closes; at the deadline with what is done.
    pub(super) fn drain_until(&mut self, deadline: Instant) -> &mut Drain {
        // Nothing of the peer can be heard.
        self.timers.clear(Timer::Silence);
        self.timers.clear(Timer::Message);
        self.timers.set_at_most(Timer::Drain, deadline);
        let before = self.work_done();
        self.drain.get_or_insert(Drain {
            cause: None,
            before,
            is_gone: false,
            awaits_close: false,
        })
    }

    pub(super) const fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Whether the end of the connection has come or is certain, and what came whole before is being finished. Nothing of the peer
    /// counts any more, except for why it goes.
    pub fn is_ending(&self) -> bool {
        let drain = self.drain.as_ref();
        drain.is_some_and(|drain| drain.cause.is_some())
    }

    /// Whether nothing can be sent any more.
    pub(super) fn is_gone(&self) -> bool {
        self.drain.as_ref().is_some_and(|drain| drain.is_gone)
    }

    /// The peer may still say why it goes.
    pub(super) fn awaits_close(&self) -> bool {
        self.drain.as_ref().is_some_and(|drain| drain.awaits_close)
    }

    /// The peer will not say why it goes.
    pub(super) fn had_last_word(&mut self) {
        if let Some(drain) = &mut self.drain {
            drain.awaits_close = false;
        }
    }

    /// Closes now; for `reason`, if nothing but the host is the cause. What is still to be said: resumes, aborts, a
    /// confirmation that was due, and the close.
    pub(super) fn close(&mut self, reason: CloseReason) {
        if !matches!(self.life, Life::Open) {
            return;
        }
        self.confirm();
        let is_gone = self.is_gone();
        let cause = self.drain.as_mut().and_then(|drain| drain.cause.take());
        let reason = cause.unwrap_or(reason);
        if let CloseReason::Error(LinkError::WrongName { .. }) = &reason {
            self.transmit(&Message::Disconnect);
        }
        let before = self.drain.take().map(|drain| drain.before);
        let unfinished: Vec<u64> = self.blobs.unfinished().collect();
        let report = Report {
            done: before.map_or_else(Work::default, |before| self.work_done().since(before)),
            abandoned: Work {
                events: self.events_out(),
                commits: self.ledger.commits_out(),
                blobs: unfinished.len() as u64,
            },
            cursor: self.ledger.durable().cloned(),
        };
        for number in unfinished {
            self.abort(self.blob_id(number), AbortReason::Close);
        }
        self.life = Life::Closing(Box::new(Close {
            frame: reason.frame().filter(|_| !is_gone),
            reason,
            report,
        }));
    }

    /// All that the application has finished on this link.
    pub(super) const fn work_done(&self) -> Work {
        Work {
            events: self.stats.events - self.events_out(),
            commits: self.stats.commits,
            blobs: self.stats.blobs_saved,
        }
    }

    pub(super) fn poll_closing(&mut self) -> Option<Command> {
        if let Some(command) = self.flow.announce(PauseReasons::NONE) {
            return Some(command);
        }
        if let Some(command) = self.control.pop_front() {
            return Some(command);
        }
        let Life::Closing(close) = core::mem::replace(&mut self.life, Life::Closed) else {
            return None;
        };
        self.release_everything();
        Some(Command::Close(close))
    }

    /// Nothing outlives the link.
    fn release_everything(&mut self) {
        self.flow = Flow::new(&self.config.flow);
        self.inbox = Inbox::default();
        self.context = Context::new(self.config.limits.context);
        let tries = self.blobs.tries().clone();
        self.blobs = Blobs::new(self.config.limits, tries);
        self.chunk = None;
        self.events_out = VecDeque::new();
        self.pending = VecDeque::new();
        self.control = VecDeque::new();
    }
}
