//! The stagger after a crash.

use core::time::Duration;

use crate::time::Instant;

/// When the links of a worker that died may start again elsewhere: one after the other, so that those who take them over
/// are not slammed at once (`protocol.md` section 12.1).
///
/// ```
/// use replproto_core::{Instant, ReassignmentSchedule};
///
/// let mut schedule = ReassignmentSchedule::default();
/// let now = Instant::from_micros(0);
/// assert_eq!(schedule.next_at(now), Instant::from_micros(100_000));
/// assert_eq!(schedule.next_at(now), Instant::from_micros(200_000));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReassignmentSchedule {
    interval: Duration,
    last: Instant,
}

impl ReassignmentSchedule {
    /// A schedule with at least this much time between two links. One schedule serves all links of a process.
    pub const fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: Instant::ZERO,
        }
    }

    /// The time between two links.
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// When the next link may start. The first one waits for an interval too, and an idle time is not made up for.
    pub fn next_at(&mut self, now: Instant) -> Instant {
        self.last = now.max(self.last).after(self.interval);
        self.last
    }
}

impl Default for ReassignmentSchedule {
    /// With an interval of 100 ms.
    fn default() -> Self {
        Self::new(Duration::from_millis(100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocols_worked_example() {
        let mut schedule = ReassignmentSchedule::default();
        for (now, start) in [
            (0, 100),
            (0, 200),
            (0, 300),
            (50, 400),
            (120, 500),
            (1000, 1100),
            (1000, 1200),
        ] {
            let at = schedule.next_at(Instant::from_micros(now * 1000));
            assert_eq!(at, Instant::from_micros(start * 1000), "exit at {now} ms");
        }
    }

    #[test]
    fn starts_are_an_interval_apart_even_if_the_clock_is_read_out_of_order() {
        let mut schedule = ReassignmentSchedule::new(Duration::from_millis(7));
        let mut last = Instant::ZERO;
        for now in [5_000_000, 0, 4_999_999, 5_000_001, 9_000_000, 8_000_000] {
            let at = schedule.next_at(Instant::from_micros(now));
            assert!(at >= last.after(Duration::from_millis(7)));
            assert!(at >= Instant::from_micros(now).after(Duration::from_millis(7)));
            last = at;
        }
    }
}
