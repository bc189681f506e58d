//! How a link ends: what is still said, and that nothing is held afterwards.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use super::Receiver;
use super::blobs::Blobs;
use super::context::Context;
use super::flow::Flow;
use super::inbox::Inbox;
use crate::close::{Close, CloseReason, Report, Work};
use crate::command::{AbortReason, Command};
use crate::error::{LinkError, Watchdog};
use crate::pause::PauseReasons;
use crate::wire::Message;

/// Whether the link is open.
#[derive(Debug)]
pub(super) enum Life {
    Open,
    /// What is left to say before the end.
    Closing(Box<Close>),
    Closed,
}

impl Receiver {
    pub(super) fn fail(&mut self, error: LinkError) {
        self.close(CloseReason::Error(error));
    }

    pub(super) fn timed_out(&mut self, watchdog: Watchdog, waited: Duration) {
        self.stats.watchdogs[watchdog.index()] += 1;
        self.fail(LinkError::TimedOut { watchdog, waited });
    }

    /// The link ends. What is still to be said: resumes, aborts, a confirmation that was due, and the close.
    pub(super) fn close(&mut self, reason: CloseReason) {
        if !matches!(self.life, Life::Open) {
            return;
        }
        let is_gone = matches!(
            reason,
            CloseReason::TransportLost | CloseReason::PeerClosed { .. }
        );
        if is_gone {
            self.control
                .retain(|command| !matches!(command, Command::Transmit(_) | Command::Ping));
        } else {
            self.confirm();
        }
        if let CloseReason::Error(LinkError::WrongName { .. }) = &reason {
            self.transmit(&Message::Disconnect);
        }
        let unfinished: Vec<u64> = self.blobs.unfinished().collect();
        let report = Report {
            done: self
                .drained_from
                .map_or_else(Work::default, |before| self.work_done().since(before)),
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
            frame: reason.frame(),
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
