//! What the log of a link says of its events.

use replproto_core::Event;

use super::Driver;
use crate::journal::line;

impl<B> Driver<B> {
    /// A table that is not there brings nothing; a base copy takes long, and may come without having been asked for; a blob that
    /// is gone is lost. Whoever reads the log wants to know.
    pub(super) fn log(&self, event: &Event) {
        let journal = &self.parts.journal;
        match event {
            Event::Schema(schema) => {
                let missing: Vec<&str> = self.parts.tables.missing(&schema.tables).collect();
                if !missing.is_empty() {
                    line!(
                        journal,
                        "tables_missing",
                        warn,
                        missing = missing.join(", "),
                        publisher_has = self.parts.receiver.tables_offered(),
                        advice = "Check how the names are written. A table that is created later is followed from then on.",
                        "the publisher does not have all tables that were asked for"
                    );
                }
            }
            Event::CopyStarted(started) => {
                let (forced, resumed) = (started.forced, started.resumed);
                line!(journal, "copy", info, forced, resumed, "a base copy begins");
            }
            Event::CopyCompleted(_) => {
                line!(journal, "copy_end", info, "the base copy is complete");
            }
            Event::BlobGone(gone) => {
                let record = gone.record.as_ref().map(|owner| owner.table.as_str());
                line!(
                    journal,
                    "blob_gone",
                    warn,
                    file = gone.file.as_str(),
                    table = record,
                    // Its words are the peer's, who may quote anything: a store keeps them, a log does not.
                    why = gone.fault.class(),
                    advice = "The record is kept without it: the publisher has lost this blob.",
                    "a blob is gone at the source"
                );
            }
            _ => {}
        }
    }
}
