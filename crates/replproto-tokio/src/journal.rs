//! The log lines of a link, bounded by kind: enough to follow it, and never a flood, whatever the peer does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many lines of one kind are written within a [`WINDOW`]; the others are counted.
const LINES: u32 = 5;
const WINDOW: Duration = Duration::from_secs(60);

/// Bounds the lines of a series of links, by their kinds. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal(Arc<Mutex<BTreeMap<&'static str, Lines>>>);

/// The lines of one kind.
#[derive(Debug)]
struct Lines {
    since: Instant,
    written: u32,
    /// Left out since then.
    left_out: u64,
}

impl Journal {
    /// Whether another line of this kind may be written; otherwise it is counted. Kinds are few, and known beforehand.
    pub(crate) fn admits(&self, kind: &'static str) -> bool {
        let now = Instant::now();
        self.sum_up_at(now);
        let mut kinds = self.lock();
        let lines = kinds.entry(kind).or_insert(Lines {
            since: now,
            written: 0,
            left_out: 0,
        });
        let admits = lines.written < LINES;
        if admits {
            lines.written += 1;
        } else {
            lines.left_out += 1;
        }
        admits
    }

    /// Tells how many lines were left out within the minutes that are over.
    pub(crate) fn sum_up(&self) {
        self.sum_up_at(Instant::now());
    }

    fn sum_up_at(&self, now: Instant) {
        self.lock().retain(|kind, lines| {
            let is_over = now.saturating_duration_since(lines.since) >= WINDOW;
            if is_over {
                lines.tell(kind);
            }
            !is_over
        });
    }

    /// The same for all, at the end of the series.
    pub(crate) fn close(&self) {
        for (kind, lines) in std::mem::take(&mut *self.lock()) {
            lines.tell(kind);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Lines>> {
        // Nothing panics while it is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn tell(&self, kind: &str) {
        if self.left_out > 0 {
            tracing::warn!(
                kind,
                left_out = self.left_out,
                "{} more lines of this kind were left out within a minute",
                self.left_out
            );
        }
    }
}

/// Writes a line if the journal admits its kind: `line!(journal, "kind", warn, fields…, "message")`.
macro_rules! line {
    ($journal:expr, $kind:expr, $level:ident, $($line:tt)+) => {
        if $journal.admits($kind) {
            tracing::$level!($($line)+);
        }
    };
}
pub(crate) use line;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_few_lines_in_a_minute() {
        let journal = Journal::default();
        for kind in ["a", "b"] {
            let written = (0..1000).filter(|_| journal.admits(kind)).count();
            assert_eq!(written, LINES as usize);
        }
        assert_eq!(journal.lock()["a"].left_out, 995);
        let later = Instant::now() + WINDOW;
        journal.sum_up_at(later);
        assert!(journal.admits("a"), "another minute");
    }
}
