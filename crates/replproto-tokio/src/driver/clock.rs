//! The core's clock, read from tokio's.

use std::time::Duration;

use replproto_core::Instant;

/// The moment `duration` after another one, or one that is far enough away.
pub(crate) fn later(moment: tokio::time::Instant, duration: Duration) -> tokio::time::Instant {
    const FAR: Duration = Duration::from_secs(86_400 * 365);
    moment + duration.min(FAR)
}

/// A clock whose zero is the beginning of a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    zero: tokio::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            zero: tokio::time::Instant::now(),
        }
    }

    pub(crate) fn now(self) -> Instant {
        self.read(tokio::time::Instant::now())
    }

    pub(crate) fn read(self, moment: tokio::time::Instant) -> Instant {
        Instant::ZERO.after(moment.saturating_duration_since(self.zero))
    }

    /// The moment as tokio has it. Moments too far away for it become one far enough.
    pub(crate) fn moment(self, instant: Instant) -> tokio::time::Instant {
        let now = tokio::time::Instant::now();
        let ahead = instant.since(self.read(now));
        if ahead > Duration::ZERO {
            later(now, ahead)
        } else {
            self.zero + instant.since(Instant::ZERO)
        }
    }
}
