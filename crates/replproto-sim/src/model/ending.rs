//! The end of a link: what came whole before it is finished first, within a bounded time.

use std::time::Duration;

use replproto_core::{Instant, PauseReasons, Receiver, Work};

use super::Model;
use super::watchdogs::Watchdogs;
use crate::oracles::{Result, hold};

/// How long the close frame behind a DISCONNECT may be waited for (`protocol.md` section 15, ruling 33).
const LAST_WORD: Duration = Duration::from_secs(1);

/// What is known of the end of a link that is still open.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// What was done when the host asked for a drain, or when the connection ended.
    pub(super) before: Option<Work>,
    /// The watchdogs when the connection ended: what happens later makes none of them right.
    pub(super) watchdogs: Option<Box<Watchdogs>>,
    /// Since when the socket is read all the same: for a close frame behind a DISCONNECT, which may be found later.
    listens_since: Option<Instant>,
    /// Nothing can be sent any more.
    pub(super) is_gone: bool,
    /// The host has asked for a drain.
    pub(super) is_asked: bool,
    /// The host has asked for the end at once.
    pub(super) is_shut_down: bool,
}

impl Model {
    pub(crate) const fn is_draining(&self) -> bool {
        self.watchdogs.drain.is_some()
    }

    /// Whether the connection has ended.
    pub(crate) const fn has_ended(&self) -> bool {
        self.ending.watchdogs.is_some()
    }

    pub(super) fn drain(&mut self, deadline: Instant) {
        self.watchdogs.drained(deadline);
        let done = self.work_done();
        self.ending.before.get_or_insert(done);
    }

    pub(super) fn gone(&mut self) {
        self.ending.is_gone = true;
        self.unconfirmed = None;
        self.must_end();
    }

    /// What the receiver says of the end of the connection.
    pub(super) fn note(&mut self, receiver: &Receiver) {
        if receiver.is_ending() {
            self.must_end();
            if !receiver.is_paused() {
                let now = self.watchdogs.now;
                self.ending.listens_since.get_or_insert(now);
            }
        }
    }

    /// The connection must have ended.
    pub(crate) fn must_end(&mut self) {
        if !self.has_ended() {
            self.ending.watchdogs = Some(Box::new(self.watchdogs.clone()));
            self.drain(self.watchdogs.now.after(self.config.timeouts.settle));
        }
    }

    /// Whether the link may close although something is in hand.
    pub(crate) fn may_give_up(&self) -> bool {
        let is_late = |deadline| self.watchdogs.now >= deadline;
        self.ending.is_shut_down || self.watchdogs.drain.is_some_and(is_late)
    }

    /// What holds of an open link that has nothing more to do.
    pub(super) fn check_end(&self, receiver: &Receiver, reasons: PauseReasons) -> Result {
        let is_ending = receiver.is_ending();
        hold("liveness", is_ending == self.has_ended(), || {
            format!("the connection has ended: {}, not {is_ending}", !is_ending)
        })?;
        hold("liveness", !self.ending.is_shut_down, || {
            "the link is open after its end".into()
        })?;
        let is_saving = |transfer: &super::Transfer| transfer.has_ended && !transfer.is_aborted;
        let is_busy = !reasons.is_empty()
            || !self.events.is_empty()
            || !self.commits_out.is_empty()
            || self.transfers.values().any(is_saving);
        let now = self.watchdogs.now;
        let listens_since = self.ending.listens_since.filter(|_| !self.ending.is_gone);
        let is_listening = listens_since.is_some_and(|since| now.since(since) < LAST_WORD);
        hold(
            "liveness",
            !self.is_draining() || is_busy || is_listening,
            || "the link is open although everything is done".into(),
        )
    }
}
