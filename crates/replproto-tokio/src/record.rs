//! A link's inputs as lines of text, so that a report from the field is a test.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use replproto_core::config::{Config, Level, Limits, Marks, Mode, TableFilter, Timeouts};
use replproto_core::{Epoch, Input, Instant, Start};
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
        let start = match start {
            Start::Copy => json!("copy"),
            Start::At(sequence) => json!({ "at": sequence.0 }),
            Start::Resume(cursor) => json!({ "resume": hex(&cursor.to_bytes()) }),
        };
        self.line(&json!({
            "replproto": 1,
            "epoch": epoch.0,
            "start": start,
            "config": describe(config),
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

fn describe(config: &Config) -> Value {
    let Limits {
        message,
        record,
        command,
        context,
        open_blobs,
        blob_references,
        finished_blobs,
        blob_tries,
    } = config.limits;
    let Timeouts {
        ping_interval,
        ping_timeout,
        copy_timeout,
        setup,
        blob,
        blob_gap,
        pause_stall,
        not_ready,
        confirm_delay,
    } = config.timeouts;
    let micros = |duration: std::time::Duration| u64::try_from(duration.as_micros()).ok();
    json!({
        "node_name": config.node_name,
        "peer_name": config.peer_name,
        "database": config.database,
        "mode": match config.mode {
            Mode::A => "A",
            Mode::B => "B",
        },
        "tables": match &config.tables {
            TableFilter::All => json!("all"),
            TableFilter::Only(names) => json!({ "only": names }),
            TableFilter::Except(names) => json!({ "except": names }),
        },
        "excluded_origins": config.excluded_origins,
        "limits": {
            "message": message,
            "record": record,
            "command": command,
            "context": context,
            "open_blobs": open_blobs,
            "blob_references": blob_references,
            "finished_blobs": finished_blobs,
            "blob_tries": blob_tries,
        },
        "flow": {
            "inbound": marks(config.flow.inbound),
            "consumer": marks(config.flow.consumer),
            "commits": marks(config.flow.commits),
            "blobs": marks(config.flow.blobs),
        },
        "timeouts": {
            "ping_interval": micros(ping_interval),
            "ping_timeout": micros(ping_timeout),
            "copy_timeout": micros(copy_timeout),
            "setup": micros(setup),
            "blob": micros(blob),
            "blob_gap": micros(blob_gap),
            "pause_stall": micros(pause_stall),
            "not_ready": micros(not_ready),
            "confirm_delay": micros(confirm_delay),
        },
    })
}

fn marks(marks: Marks) -> Value {
    let level = |level: Level| json!({ "items": level.items, "bytes": level.bytes });
    json!({ "high": level(marks.high), "low": level(marks.low) })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
