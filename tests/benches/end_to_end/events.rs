//! What an application does with the events of a link: all that these benchmarks know of them.

use std::hint::black_box;

use replproto_core::value::ValueError;
use replproto_core::{CommitId, Event, Record};

use crate::link_setup::END;

/// Counts the records of events, and reads them if it should.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reader {
    /// Every field of every record is read, texts as checked UTF-8.
    reads_fields: bool,
    pub(crate) records: u64,
    pub(crate) fields: u64,
}

impl Reader {
    pub(crate) fn new(reads_fields: bool) -> Self {
        Self {
            reads_fields,
            ..Self::default()
        }
    }

    #[inline]
    pub(crate) fn event(&mut self, event: &Event) -> Result<(), ValueError> {
        let Event::Records(records) = event else {
            return Ok(());
        };
        self.records += records.len() as u64;
        if self.reads_fields {
            for record in records {
                self.record(record)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn record(&mut self, record: Record<'_>) -> Result<(), ValueError> {
        if let Some(value) = record.value() {
            // All of it is looked at, so that no part of reading can be left out.
            self.fields += black_box(value.read_all()?).fields;
        }
        Ok(())
    }
}

/// What is to be acknowledged once the event is durable.
pub(crate) fn commit_id(event: &Event) -> Option<CommitId> {
    match event {
        Event::EndTransaction(end) => Some(end.id),
        Event::Checkpoint(checkpoint) | Event::CopyCompleted(checkpoint) => Some(checkpoint.id),
        _ => None,
    }
}

/// Whether nothing comes after it.
pub(crate) fn is_last(event: &Event) -> bool {
    matches!(event, Event::Checkpoint(checkpoint) if checkpoint.cursor.sequence == END)
}
