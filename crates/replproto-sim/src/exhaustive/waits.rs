//! What the link waits for, and until when, as its host can tell.

use replproto_core::config::Timeouts;
use replproto_core::error::Watchdog;
use replproto_core::{CloseReason, Instant, LinkError};

use crate::oracles::{Result, hold};

#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    timeouts: Timeouts,
    is_paused: bool,
    /// When the peer was heard last, or reading went on.
    heard: Instant,
    /// When the application did something last, or reading was paused.
    active: Instant,
    pinged: Instant,
    /// Since when the cursor is held by a blob that has failed.
    gap_since: Option<Instant>,
}

impl Waits {
    pub(super) const fn new(timeouts: Timeouts, now: Instant) -> Self {
        Self {
            timeouts,
            is_paused: false,
            heard: now,
            active: now,
            pinged: now,
            gap_since: None,
        }
    }

    pub(super) const fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    pub(super) const fn acted(&mut self, now: Instant) {
        self.active = now;
    }

    pub(super) const fn pinged(&mut self, now: Instant) {
        self.pinged = now;
    }

    /// Looks at what has changed, after each input and each command.
    pub(super) fn note(&mut self, now: Instant, is_paused: bool, has_gap: bool) {
        if is_paused != self.is_paused {
            self.is_paused = is_paused;
            self.heard = now;
            self.active = now;
        }
        self.gap_since = has_gap.then(|| self.gap_since.unwrap_or(now));
    }

    /// When the link has to be ended if nothing happens.
    fn end(&self) -> Instant {
        let end = if self.is_paused {
            self.active.after(self.timeouts.pause_stall)
        } else {
            self.heard.after(self.timeouts.ping_timeout)
        };
        self.gap_end().map_or(end, |gap| end.min(gap))
    }

    fn gap_end(&self) -> Option<Instant> {
        Some(self.gap_since?.after(self.timeouts.blob_gap))
    }

    /// The next deadline is in the future, and not later than anything that is waited for.
    pub(super) fn check_next(
        &self,
        next: Option<Instant>,
        now: Instant,
        owes_confirmation: bool,
        awaits_blob: bool,
    ) -> Result {
        let mut latest = self
            .end()
            .min(self.pinged.after(self.timeouts.ping_interval));
        if owes_confirmation {
            latest = latest.min(now.after(self.timeouts.confirm_delay));
        }
        if awaits_blob && !self.is_paused {
            latest = latest.min(now.after(self.timeouts.blob));
        }
        let is_right = next.is_some_and(|next| now < next && next <= latest);
        hold("liveness", is_right, || {
            format!("the next deadline is {next:?}, not until {latest:?}")
        })
    }

    /// Whether it is time to end the link for this reason.
    pub(super) fn has_ended(&self, reason: &CloseReason, now: Instant) -> bool {
        let CloseReason::Error(LinkError::TimedOut { watchdog, .. }) = reason else {
            return false;
        };
        let due = match watchdog {
            Watchdog::Silence if !self.is_paused => {
                Some(self.heard.after(self.timeouts.ping_timeout))
            }
            Watchdog::PauseStall(_) if self.is_paused => {
                Some(self.active.after(self.timeouts.pause_stall))
            }
            Watchdog::BlobGap => self.gap_end(),
            _ => None,
        };
        due.is_some_and(|due| due <= now)
    }
}
