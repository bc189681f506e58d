//! How long each reason to pause held, from the moments at which it came and went.

use std::time::Duration;

use replproto_core::{Instant, PauseReason, PauseReasons, Stats};

use crate::oracles::{Result, hold};

const REASONS: usize = PauseReason::ALL.len();

#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// Pauses that are over.
    held: [Duration; REASONS],
    since: [Option<Instant>; REASONS],
}

impl Pauses {
    /// These reasons hold now.
    pub(super) fn note(&mut self, reasons: PauseReasons, now: Instant) {
        for reason in PauseReason::ALL {
            let (held, since) = (
                &mut self.held[reason.index()],
                &mut self.since[reason.index()],
            );
            if reasons.contains(reason) {
                since.get_or_insert(now);
            } else if let Some(since) = since.take() {
                *held += now.since(since);
            }
        }
    }

    /// The receiver counts the same, with the pauses that are under way.
    pub(super) fn check(&self, stats: &Stats, now: Instant) -> Result {
        for reason in PauseReason::ALL {
            let (held, since) = (self.held[reason.index()], self.since[reason.index()]);
            let expected = held + since.map_or(Duration::ZERO, |since| now.since(since));
            let counted = stats.paused[reason.index()];
            hold("counters", counted == expected, || {
                format!("{reason} held for {expected:?}, counted were {counted:?}")
            })?;
        }
        Ok(())
    }
}
