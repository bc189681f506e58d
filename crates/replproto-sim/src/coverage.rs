//! What a batch of worlds has reached. A mark that stays at zero means that a part of the world does nothing.

use replproto_core::{PauseReason, PauseReasons, Stats};

use crate::faults::Fault;

/// A batch of fewer worlds may miss a mark by chance.
pub const WORLDS: u64 = 400;

const SETS: usize = 1 << PauseReason::ALL.len();

/// How often each mark was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    faults: [u64; Fault::ALL.len()],
    pauses: [u64; SETS],
    stats: Stats,
}

impl Coverage {
    pub(crate) const fn strike(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    pub(crate) fn pause(&mut self, reasons: PauseReasons) {
        self.pauses[index(reasons)] += 1;
    }

    pub(crate) fn link(&mut self, stats: &Stats) {
        self.stats.absorb(stats);
    }

    /// Adds what another world has reached.
    pub fn absorb(&mut self, other: &Self) {
        let counts = self.faults.iter_mut().chain(&mut self.pauses);
        for (count, more) in counts.zip(other.faults.iter().chain(&other.pauses)) {
            *count += more;
        }
        self.stats.absorb(&other.stats);
    }

    /// Every mark with its count, and for one that cannot be reached the reason.
    pub fn marks(&self) -> Vec<(String, u64, Option<&'static str>)> {
        let faults = Fault::ALL.into_iter().zip(self.faults);
        let mut marks: Vec<_> = faults
            .map(|(fault, count)| (format!("fault {}", fault.as_str()), count, None))
            .collect();
        for (set, count) in self.pauses.iter().enumerate().skip(1) {
            let has = |reason: PauseReason| set >> reason.index() & 1 == 1;
            let names = PauseReason::ALL.into_iter().filter(|reason| has(*reason));
            let names: Vec<&str> = names.map(PauseReason::as_str).collect();
            let others = has(PauseReason::ConsumerQueue) || has(PauseReason::CommitBacklog);
            let unreachable = (has(PauseReason::BlobStream) && others).then_some(
                "no command is both an event and a chunk, and after either pause none follows",
            );
            marks.push((format!("pause {}", names.join("+")), *count, unreachable));
        }
        marks.extend(self.counters());
        marks
    }

    fn counters(&self) -> impl Iterator<Item = (String, u64, Option<&'static str>)> {
        let stats = &self.stats;
        [
            ("messages", stats.messages),
            ("bytes", stats.bytes),
            ("unknown_commands", stats.unknown_commands),
            ("records", stats.records),
            ("transactions", stats.transactions),
            ("checkpoints", stats.checkpoints),
            ("events", stats.events),
            ("skipped_unknown", stats.skipped_unknown),
            ("skipped_local", stats.skipped_local),
            ("skipped_unwanted", stats.skipped_unwanted),
            ("skipped_undecodable", stats.skipped_undecodable),
            ("skipped_by_host", stats.skipped_by_host),
            ("commits", stats.commits),
            ("confirmations", stats.confirmations),
            ("blobs_opened", stats.blobs_opened),
            ("blobs_saved", stats.blobs_saved),
            ("blobs_aborted", stats.blobs_aborted),
            ("blobs_held", stats.blobs_held),
            ("blobs_gone", stats.blobs_gone),
            ("blob_bytes", stats.blob_bytes),
            ("chunks_dropped", stats.chunks_dropped),
            ("late_acknowledgements", stats.late_acknowledgements),
            ("pings", stats.pings),
        ]
        .into_iter()
        .map(|(name, count)| {
            let unreachable = match name {
                "skipped_by_host" => Some("the application of a world reads every value"),
                _ => None,
            };
            (format!("counter {name}"), count, unreachable)
        })
    }

    /// The marks that were not reached and can be.
    pub fn missing(&self) -> Vec<String> {
        self.marks()
            .into_iter()
            .filter(|(_, count, unreachable)| *count == 0 && unreachable.is_none())
            .map(|(name, ..)| name)
            .collect()
    }
}

fn index(reasons: PauseReasons) -> usize {
    reasons
        .iter()
        .fold(0, |set, reason| set | 1 << reason.index())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_missing_until_it_is_reached() {
        let mut coverage = Coverage::default();
        let missing = coverage.missing().len();
        assert!(coverage.missing().contains(&"fault cut".into()));
        coverage.strike(Fault::Cut);
        coverage.link(&Stats::default());
        assert!(!coverage.missing().contains(&"fault cut".into()));
        assert_eq!(coverage.missing().len(), missing - 1);
        let mut total = Coverage::default();
        total.absorb(&coverage);
        assert_eq!(total, coverage);
    }
}
