//! Counts and speed.

use std::fmt;
use std::time::Duration;

use replproto_core::value::{Totals, ValueError};
use replproto_core::{Command, Event, Record, RecordKind, Stats};
use serde_json::{Map, Value, json};

use super::{InspectError, Visitor};

/// Reads every field of every record, and counts.
#[derive(Debug, Default)]
pub(super) struct Counter {
    kinds: [u64; KINDS.len()],
    undecodable: u64,
    totals: Totals,
}

/// The kinds of records that are counted apart.
const KINDS: [RecordKind; 6] = [
    RecordKind::Put,
    RecordKind::Delete,
    RecordKind::Message,
    RecordKind::Invalidate,
    RecordKind::Patch,
    RecordKind::Relocate,
];

impl Counter {
    fn record(&mut self, record: &Record<'_>) -> Result<(), ValueError> {
        self.kinds[record.kind() as usize] += 1;
        if let Some(value) = record.value() {
            let Totals {
                fields,
                values,
                text_bytes,
                invalid_texts,
                ..
            } = value.read_all()?;
            self.totals.fields += fields;
            self.totals.values += values;
            self.totals.text_bytes += text_bytes;
            self.totals.invalid_texts += invalid_texts;
        }
        Ok(())
    }
}

impl Visitor for Counter {
    type Error = InspectError;

    #[inline]
    fn command(&mut self, command: &Command) -> Result<u64, InspectError> {
        let Command::Event(Event::Records(records)) = command else {
            return Ok(0);
        };
        let mut undecodable = 0;
        for record in records {
            undecodable += u64::from(self.record(&record).is_err());
        }
        self.undecodable += undecodable;
        Ok(undecodable)
    }
}

/// The counts of a whole file.
pub(super) struct Report {
    pub(super) counter: Counter,
    pub(super) stats: Stats,
    /// From opening the file to its end, reading included.
    pub(super) elapsed: Duration,
}

impl Report {
    fn undecodable(&self) -> u64 {
        self.counter.undecodable + self.stats.skipped_undecodable
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    pub(super) fn json(&self) -> Value {
        let Stats {
            messages,
            bytes,
            records,
            transactions,
            blobs_saved,
            blob_bytes,
            peak_retained_bytes,
            ..
        } = self.stats;
        let totals = self.counter.totals;
        let kinds: Map<String, Value> = KINDS
            .iter()
            .map(|kind| {
                (
                    kind.as_str().to_owned(),
                    self.counter.kinds[*kind as usize].into(),
                )
            })
            .collect();
        json!({
            "messages": messages,
            "bytes": bytes,
            "transactions": transactions,
            "records": records,
            "kinds": kinds,
            "undecodable": self.undecodable(),
            "fields": totals.fields,
            "values": totals.values,
            "text_bytes": totals.text_bytes,
            "blobs": blobs_saved,
            "blob_bytes": blob_bytes,
            "seconds": self.elapsed.as_secs_f64(),
            "records_per_second": self.per_second(records),
            "megabytes_per_second": self.per_second(bytes) / 1e6,
            "peak_retained_bytes": peak_retained_bytes,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stats, totals) = (&self.stats, &self.counter.totals);
        writeln!(f, "messages          {:>14}", stats.messages)?;
        writeln!(f, "bytes             {:>14}", stats.bytes)?;
        writeln!(f, "transactions      {:>14}", stats.transactions)?;
        writeln!(f, "records           {:>14}", stats.records)?;
        for kind in KINDS {
            let count = self.counter.kinds[kind as usize];
            if count > 0 {
                writeln!(f, "  {:<15} {count:>14}", kind.as_str())?;
            }
        }
        writeln!(f, "undecodable       {:>14}", self.undecodable())?;
        writeln!(f, "fields            {:>14}", totals.fields)?;
        writeln!(f, "blobs             {:>14}", stats.blobs_saved)?;
        writeln!(f, "blob bytes        {:>14}", stats.blob_bytes)?;
        writeln!(f, "seconds           {:>14.3}", self.elapsed.as_secs_f64())?;
        writeln!(
            f,
            "records/s         {:>14.0}",
            self.per_second(stats.records)
        )?;
        writeln!(
            f,
            "MB/s              {:>14.1}",
            self.per_second(stats.bytes) / 1e6
        )?;
        write!(
            f,
            "bytes retained    {:>14} at most",
            stats.peak_retained_bytes
        )
    }
}
