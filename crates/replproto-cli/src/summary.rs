//! What a run came to, as a table.

use std::fmt;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};
use replproto_core::{Cursor, PauseReason, Stats};
use replproto_tokio::Snapshot;

use crate::memory::Memory;

/// Lines of a name and what there is to say about it.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    lines: Vec<(&'static str, String)>,
}

impl Summary {
    /// The counters of a run that took so long.
    pub(crate) fn of_run(snapshot: &Snapshot, elapsed: Duration) -> Self {
        let total = snapshot.total();
        let seconds = elapsed.as_secs_f64();
        let mut summary = Self::default();
        summary
            .line(
                "records",
                format!(
                    "{} in {seconds:.1} s ({}/s)",
                    HumanCount(total.records),
                    HumanCount((total.records as f64 / seconds.max(1e-3)) as u64)
                ),
            )
            .line(
                "transactions",
                format!(
                    "{}, stored in {} commits",
                    HumanCount(total.transactions),
                    HumanCount(snapshot.storage_commits)
                ),
            )
            .line("received", HumanBytes(total.bytes).to_string())
            .line("blobs", blobs(&total))
            .line("skipped", HumanCount(skipped(&total)).to_string())
            .line("reconnects", snapshot.links.saturating_sub(1).to_string())
            .line("pauses", pauses(&total))
            .line(
                "most held",
                format!(
                    "{} events, {} of messages, {} of blobs",
                    HumanCount(total.peak_events_out),
                    HumanBytes(total.peak_retained_bytes),
                    HumanBytes(total.peak_blob_bytes_out)
                ),
            );
        if let Some(cursor) = &snapshot.cursor {
            summary.line("durable up to", position(cursor));
        }
        if let Some(memory) = Memory::read() {
            summary.line("peak memory", HumanBytes(memory.peak).to_string());
        }
        summary
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, name: &'static str, text: String) -> &mut Self {
        self.lines.push((name, text));
        self
    }
}

impl fmt::Display for Summary {
    /// A table with a line for each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.lines.iter().map(|(name, _)| name.len()).max();
        let width = width.unwrap_or_default();
        for (index, (name, text)) in self.lines.iter().enumerate() {
            let before = if index > 0 { "\n" } else { "" };
            write!(f, "{before}  {name:width$}  {text}")?;
        }
        Ok(())
    }
}

/// Where a link would go on.
fn position(cursor: &Cursor) -> String {
    match &cursor.copy {
        Some(copy) => format!(
            "{}, in a base copy, in table {}",
            cursor.sequence, copy.table
        ),
        None => cursor.sequence.to_string(),
    }
}

fn blobs(total: &Stats) -> String {
    format!(
        "{} saved ({}), {} failed and come again, {} gone at the source",
        HumanCount(total.blobs_saved),
        HumanBytes(total.blob_bytes),
        HumanCount(total.blobs_held),
        HumanCount(total.blobs_gone)
    )
}

fn skipped(total: &Stats) -> u64 {
    total.skipped_undecodable + total.skipped_by_host
}

fn pauses(total: &Stats) -> String {
    let counts: Vec<String> = PauseReason::ALL
        .iter()
        .zip(total.pauses)
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| {
            let seconds = total.paused[reason.index()].as_secs_f64();
            format!("{reason} {} ({seconds:.1} s)", HumanCount(count))
        })
        .collect();
    if counts.is_empty() {
        "none".to_owned()
    } else {
        counts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reasons_that_paused_are_listed() {
        let mut total = Stats::default();
        assert_eq!(pauses(&total), "none");
        total.pauses[PauseReason::ConsumerQueue.index()] = 1200;
        total.paused[PauseReason::ConsumerQueue.index()] = Duration::from_millis(2500);
        total.pauses[PauseReason::BlobStream.index()] = 3;
        let text = "consumer_queue 1,200 (2.5 s), blob_stream 3 (0.0 s)";
        assert_eq!(pauses(&total), text);
    }

    #[test]
    fn the_table_is_aligned() {
        let mut summary = Summary::default();
        summary.line("a", "1".into()).line("bcd", "2".into());
        assert_eq!(summary.to_string(), "  a    1\n  bcd  2");
    }
}
