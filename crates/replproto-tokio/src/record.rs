//! A link's inputs as lines of text, so that a report from the field is a test.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use replproto_core::{Config, Epoch, Input, Instant, Start};
use serde_json::{Value, json};

/// Writes what a link is told, and when, so that it can be replayed without a network or a clock: one JSON value in a
/// line.
///
/// Each link begins with a line like `{"replproto": 1, "epoch": 3, "start": {..}, "config": {..}}`; the lines after it are
/// `{"at": 1234, "input": ..}` with microseconds since the link began and an [`Input`] in its serde form. Of the
/// configuration, `limits`, `flow` and `timeouts` (in microseconds) have the names that they have in [`Config`]; a cursor is
/// the hexadecimal text of [`Cursor::to_bytes`](replproto_core::Cursor::to_bytes).
///
/// A recording holds everything that the peer sent, so treat it like the data itself. An error of the writer ends the
/// recording, not the link. Writing blocks; give it a file through a [`BufWriter`](io::BufWriter). Clones write to the
/// same place.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Mutex<Option<Box<dyn Write + Send>>>>,
}

impl Recorder {
    /// A recorder that writes to this.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Self {
            shared: Arc::new(Mutex::new(Some(Box::new(writer)))),
        }
    }

    /// A link begins.
    pub(crate) fn begin(&self, config: &Config, start: &Start, epoch: Epoch) {
        self.line(&json!({
            "replproto": 1,
            "epoch": epoch.0,
            "start": start,
            "config": config,
        }));
    }

    /// The link is told something.
    pub(crate) fn input(&self, at: Instant, input: &Input) {
        match serde_json::to_value(input) {
            Ok(input) => self.line(&json!({ "at": at.as_micros(), "input": input })),
            Err(error) => tracing::error!(%error, "an input cannot be recorded"),
        }
    }

    /// A link has ended: what was written is flushed.
    pub(crate) fn end(&self) {
        self.write(|writer| writer.flush());
    }

    fn line(&self, line: &Value) {
        self.write(|writer| writeln!(writer, "{line}"));
    }

    fn write(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        // A writer that panicked is used again: it is its own matter what it does then.
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = &mut *shared
            && let Err(error) = write(writer)
        {
            tracing::error!(%error, "the recording ends: it cannot be written");
            *shared = None;
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}
