//! How long nothing has come.

use std::time::Duration;

use replproto_core::Instant;

/// Measures silence in short steps. A step that took longer than it should, because this process was busy or asleep,
/// counts as a short one: what came meanwhile has not been seen yet.
#[derive(Debug)]
pub(crate) struct IdleClock {
    limit: Duration,
    silence: Duration,
    last: Instant,
}

impl IdleClock {
    /// The clock wants to be read again after this long.
    const STEP: Duration = Duration::from_millis(20);
    const LONGEST_STEP: Duration = Duration::from_millis(40);

    pub(crate) const fn new(limit: Duration, now: Instant) -> Self {
        Self {
            limit,
            silence: Duration::ZERO,
            last: now,
        }
    }

    /// Something came.
    pub(crate) const fn heard(&mut self, now: Instant) {
        self.silence = Duration::ZERO;
        self.last = now;
    }

    /// Whether nothing has come for long enough.
    pub(crate) fn is_over(&mut self, now: Instant) -> bool {
        self.silence += now.since(self.last).min(Self::LONGEST_STEP);
        self.last = now;
        self.silence >= self.limit
    }

    /// When to read the clock again.
    pub(crate) fn next(&self) -> Instant {
        self.last.after(Self::STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    #[test]
    fn silence_adds_up_and_a_message_ends_it() {
        let mut clock = IdleClock::new(Duration::from_millis(100), at(0));
        assert!(!(1..5).any(|step| clock.is_over(at(step * 20))));
        clock.heard(at(90));
        assert!(!(1..5).any(|step| clock.is_over(at(90 + step * 20))));
        assert!(clock.is_over(at(190)));
    }

    #[test]
    fn a_long_sleep_counts_as_a_short_step() {
        let mut clock = IdleClock::new(Duration::from_millis(100), at(0));
        assert!(!clock.is_over(at(60_000)));
        assert!(!clock.is_over(at(120_000)));
        assert!(clock.is_over(at(180_000)));
    }
}
