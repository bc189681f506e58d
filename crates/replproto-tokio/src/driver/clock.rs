//! The core's clock, read from tokio's.

use std::time::Duration;

use replproto_core::Instant;

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
        const FAR: Duration = Duration::from_secs(86_400 * 365);
        self.zero + instant.since(Instant::ZERO).min(FAR)
    }
}
