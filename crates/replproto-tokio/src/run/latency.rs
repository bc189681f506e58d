//! From the versions of transactions to how long they took.

use std::time::{Duration, SystemTime};

use replproto_core::{Event, WallTime};

use crate::latency::Latencies;

/// When the transactions were written that are about to become durable.
///
/// Each counts once, by the first of its records. What a base copy brings does not count: its rows are as old as the data.
#[derive(Debug, Default)]
pub(super) struct Versions {
    is_copying: bool,
    /// Of the transaction that has not ended.
    open: Option<WallTime>,
    ended: Vec<WallTime>,
}

impl Versions {
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::Records(records) if self.open.is_none() => {
                self.open = records.iter().next().map(|record| record.version());
            }
            Event::EndTransaction(_) => {
                let version = self.open.take();
                if !self.is_copying {
                    self.ended.extend(version);
                }
            }
            Event::CopyStarted(_) => self.is_copying = true,
            Event::CopyCompleted(_) => self.is_copying = false,
            _ => {}
        }
    }

    /// All that have ended are durable now.
    pub(super) fn are_durable(&mut self, now: WallTime, latencies: &mut Latencies) {
        for version in self.ended.drain(..) {
            // A version may be any number, and not each is a date.
            if version.0 > 0.0 {
                // One from the future, by our clock, took no time.
                let seconds = ((now.0 - version.0) / 1000.0).max(0.0);
                latencies.record(Duration::from_secs_f64(seconds));
            }
        }
    }
}

/// The time of day, as records have it.
pub(super) fn wall_clock() -> WallTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    WallTime(since.unwrap_or_default().as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{copy_completed, copy_started, end, put, records};

    fn note(versions: &mut Versions, version: f64) {
        for event in records(&[put("a", version, &[]), put("b", version + 500.0, &[])]) {
            versions.note(&event);
        }
        versions.note(&end(None));
    }

    fn counted(versions: &mut Versions) -> (u64, f64) {
        let mut latencies = Latencies::default();
        versions.are_durable(WallTime(10_000.0), &mut latencies);
        (latencies.count(), latencies.seconds())
    }

    #[test]
    fn a_transaction_counts_once_and_by_its_first_record() {
        let mut versions = Versions::default();
        note(&mut versions, 7000.0);
        note(&mut versions, 9500.0);
        versions.note(&end(Some(1.0)));
        assert_eq!(counted(&mut versions), (2, 3.5));
        assert_eq!(counted(&mut versions), (0, 0.0));
    }

    #[test]
    fn rows_of_a_copy_do_not_count() {
        let mut versions = Versions::default();
        versions.note(&copy_started(Some(1.0), false));
        note(&mut versions, 1000.0);
        versions.note(&copy_completed());
        note(&mut versions, 9000.0);
        assert_eq!(counted(&mut versions), (1, 1.0));
    }

    #[test]
    fn versions_that_no_clock_shows_are_no_harm() {
        for (version, counts) in [
            (20_000.0, 1),
            (f64::INFINITY, 1),
            (f64::NAN, 0),
            (f64::NEG_INFINITY, 0),
            (-1e300, 0),
            (0.0, 0),
        ] {
            let mut versions = Versions::default();
            versions.ended.push(WallTime(version));
            assert_eq!(counted(&mut versions), (counts, 0.0), "{version}");
        }
    }
}
