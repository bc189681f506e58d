//! When each watchdog may fire and when it must, from what the host sees: never early, never late.
//!
//! Where the host cannot see the exact moment at which a watch began, the two are apart.

use std::time::Duration;

use replproto_core::config::Timeouts;
use replproto_core::error::Watchdog;
use replproto_core::{Instant, Receiver};

use crate::oracles::{Result, hold};

/// A copy may be silent, and a peer may ask for its set-up, this many times the usual time (`protocol.md` section 10 and
/// section 15, ruling 19); the end of a copy may take this many times its limit.
const COPY_SILENCE: u32 = 5;
const SETUP_BUDGET: u32 = 4;
const COPY_FINISH: u32 = 4;

#[derive(Clone, Debug)]
pub(super) struct Watchdogs {
    timeouts: Timeouts,
    pub(super) now: Instant,
    is_paused: bool,
    /// Paused time before the present pause.
    paused: Duration,
    paused_since: Instant,
    began: Instant,
    connected: Option<Instant>,
    /// In link time.
    named: Option<Duration>,
    /// How much later than in time is still in time.
    pub(super) slack: Duration,
    /// When draining ends.
    pub(super) drain: Option<Instant>,
    /// How long the peer may take for the set-up once it has said its name.
    pub(super) setup: Duration,
    /// In link time, when anything of a copy came last.
    copy_frame: Duration,
    /// When the peer was heard last, or reading went on.
    heard: Instant,
    /// How long the peer may be silent since then.
    silence: Duration,
    pinged: Instant,
    /// When the application did something last, or reading was paused.
    progress: Instant,
    unready: Option<Instant>,
    is_copying: bool,
    /// Since when a blob is missing that has failed.
    gap: Option<Instant>,
    /// When the last byte came of the message that is under way, in link time.
    message: Option<Duration>,
    /// All rows of a copy are here since.
    pub(super) rows_ended: Option<Instant>,
}

impl Watchdogs {
    pub(super) const fn new(timeouts: Timeouts, now: Instant) -> Self {
        Self {
            timeouts,
            now,
            is_paused: false,
            paused: Duration::ZERO,
            paused_since: now,
            began: now,
            connected: None,
            named: None,
            slack: Duration::ZERO,
            drain: None,
            setup: timeouts.setup.saturating_mul(SETUP_BUDGET),
            copy_frame: Duration::ZERO,
            heard: now,
            silence: timeouts.ping_timeout,
            pinged: now,
            progress: now,
            unready: None,
            is_copying: false,
            gap: None,
            rows_ended: None,
            message: None,
        }
    }

    /// Time during which reading was not paused.
    pub(super) fn link_now(&self) -> Duration {
        let until = if self.is_paused {
            self.paused_since
        } else {
            self.now
        };
        until.since(Instant::ZERO).saturating_sub(self.paused)
    }

    pub(super) const fn connected(&mut self) {
        self.connected = Some(self.now);
        self.pinged = self.now;
        self.heard();
    }

    pub(super) const fn is_connected(&self) -> bool {
        self.connected.is_some()
    }

    /// A part of a message came. While a link drains nobody waits for more of it.
    pub(super) fn part(&mut self, is_empty: bool, is_last: bool) {
        let now = self.link_now();
        self.message = match self.message {
            _ if is_last || self.drain.is_some() => None,
            Some(since) if is_empty => Some(since),
            _ => Some(now),
        };
    }

    /// The link is to drain until then, or until the deadline that it has.
    pub(super) fn drained(&mut self, deadline: Instant) {
        self.drain = Some(self.drain.map_or(deadline, |drain| drain.min(deadline)));
        self.message = None;
    }

    pub(super) const fn heard(&mut self) {
        self.heard = self.now;
        self.silence = self.timeouts.ping_timeout;
    }

    pub(super) const fn pinged(&mut self) {
        self.pinged = self.now;
    }

    pub(super) const fn progress(&mut self) {
        self.progress = self.now;
    }

    /// Something of a copy has come.
    pub(super) fn copy_frame(&mut self) {
        self.copy_frame = self.link_now();
    }

    /// What the receiver says of itself after an input or a command.
    pub(super) fn note(&mut self, receiver: &Receiver, is_unready: bool) {
        let is_paused = !receiver.pause_reasons().is_empty();
        if is_paused != self.is_paused {
            if is_paused {
                self.paused_since = self.now;
                self.progress = self.now;
            } else {
                self.paused += self.now.since(self.paused_since);
                self.heard();
            }
            self.is_paused = is_paused;
        }
        // From the moment a copy begins the peer may be silent for longer.
        let is_copying = receiver.is_copying();
        if is_copying && !self.is_copying {
            self.heard();
        }
        self.is_copying = is_copying;
        if receiver.blobs_missing() == 0 {
            self.gap = None;
        } else {
            self.gap.get_or_insert(self.now);
        }
        if is_copying && self.heard == self.now {
            let usual = self.timeouts.ping_timeout;
            self.silence = usual.max(self.timeouts.copy_timeout.min(usual * COPY_SILENCE));
        }
        if receiver.peer().is_some() && self.named.is_none() {
            self.named = Some(self.link_now());
        }
        if !(is_unready && receiver.is_set_up()) {
            self.unready = None;
        } else if self.unready.is_none() {
            self.unready = Some(self.now);
        }
        if !receiver.is_copying() {
            self.rows_ended = None;
        }
    }

    /// No watchdog has missed its moment. When the connection has ended, only its end is left to wait for.
    pub(super) fn check_none_is_late(&self, receiver: &Receiver) -> Result {
        let Timeouts {
            ping_interval,
            copy_timeout,
            setup,
            pause_stall,
            not_ready,
            blob_gap,
            ..
        } = self.timeouts;
        let late = |what: &'static str, since: Instant, most: Duration| {
            let waited = self.now.since(since);
            hold("watchdogs", waited <= most + self.slack, || {
                format!("{what} for {waited:?}, and the limit is {most:?}")
            })
        };
        if let Some(deadline) = self.drain {
            late("a drain", deadline, Duration::ZERO)?;
        }
        if receiver.is_ending() {
            return Ok(());
        }
        let Some(connected) = self.connected else {
            return late("not connected", self.began, setup);
        };
        late("no ping", self.pinged, ping_interval)?;
        if self.is_paused {
            late("no progress", self.progress, pause_stall)?;
        } else if self.drain.is_none() {
            late("silence", self.heard, self.silence)?;
        }
        if let Some(unready) = self.unready {
            late("not ready", unready, not_ready)?;
        }
        if let Some(gap) = self.gap {
            late("a blob is missing", gap, blob_gap)?;
        }
        if let Some(ended) = self.rows_ended {
            late("the end of a copy", ended, copy_timeout * COPY_FINISH)?;
        }
        if let Some(since) = self.message {
            let waited = self.link_now().saturating_sub(since);
            let most = self.timeouts.message + self.slack;
            hold("watchdogs", waited <= most, || {
                format!("the rest of a message is waited for {waited:?}")
            })?;
        }
        if !receiver.is_set_up() && !self.is_paused {
            let since = self.named.unwrap_or_else(|| connected.since(Instant::ZERO));
            let most = if self.named.is_some() {
                self.setup
            } else {
                setup
            };
            let waited = self.link_now().saturating_sub(since);
            hold("watchdogs", waited <= most + self.slack, || {
                format!("set-up takes {waited:?}, and the limit is {most:?}")
            })?;
        }
        Ok(())
    }

    /// A drain is given up. Was it time?
    pub(super) fn check_drained_late(&self) -> Result {
        let is_late = self.drain.is_some_and(|deadline| self.now >= deadline);
        hold("watchdogs", is_late, || {
            format!("a drain until {:?} is given up", self.drain)
        })
    }

    /// This one has fired. Was it time?
    pub(super) fn check_not_early(&self, watchdog: &Watchdog) -> Result {
        let timeouts = &self.timeouts;
        let (waited, least) = match watchdog {
            Watchdog::Silence => (self.now.since(self.heard), self.silence),
            Watchdog::BlobGap => {
                let waited = self.gap.map(|since| self.now.since(since));
                (waited.unwrap_or_default(), timeouts.blob_gap)
            }
            Watchdog::PauseStall(_) => (self.now.since(self.progress), timeouts.pause_stall),
            Watchdog::NotReady => (
                self.unready
                    .map_or(Duration::ZERO, |since| self.now.since(since)),
                timeouts.not_ready,
            ),
            Watchdog::Setup => {
                let since = self.connected.unwrap_or(self.began).since(Instant::ZERO);
                (self.link_now().saturating_sub(since), timeouts.setup)
            }
            Watchdog::Message => {
                let since = self.message.unwrap_or_else(|| self.link_now());
                (self.link_now().saturating_sub(since), timeouts.message)
            }
            Watchdog::CopyProgress => {
                let waited = self.link_now().saturating_sub(self.copy_frame);
                (waited, timeouts.blob)
            }
            // These begin at moments that only the receiver knows.
            _ => return Ok(()),
        };
        hold("watchdogs", waited >= least, || {
            format!("{watchdog:?} after {waited:?}, and the limit is {least:?}")
        })
    }
}
