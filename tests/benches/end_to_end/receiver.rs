//! The receiver: a process that takes one measurement.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::measurement::Measurement;
use crate::plan::Plan;
use crate::subjects::{self, Outcome};
use crate::usage;

/// The first argument of this role; the second is a [`Job`].
pub(crate) const ROLE: &str = "receive";

/// How long the process does nothing before its memory is looked at.
const IDLE: Duration = Duration::from_millis(50);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Subject {
    /// Copies each message into a buffer that is used again.
    Memcpy,
    /// Finds the entries of each message and takes a reference-counted slice for each.
    Slices,
    /// The core alone.
    Core {
        reads_fields: bool,
    },
    /// Receives messages with a WebSocket library, and nothing else.
    TokioTungstenite,
    FastWebSockets,
    /// Links on sockets.
    Link {
        reads_fields: bool,
        links: u64,
        /// The consumer takes nothing for so long.
        stall_seconds: u64,
    },
    /// A run into SQLite.
    Sqlite,
    /// A run with blobs into files; records are counted.
    BlobFiles,
    /// Writes the blobs of a set to files without a link.
    PlainFiles,
    /// Links on which nothing happens.
    IdleLinks {
        links: u64,
    },
}

impl Subject {
    /// What is done before: with one link, so that what several take is seen.
    const fn warm_up(self) -> Self {
        match self {
            Self::Link { .. } | Self::IdleLinks { .. } => Self::Link {
                reads_fields: true,
                links: 1,
                stall_seconds: 0,
            },
            other => other,
        }
    }
}

/// A measurement that is to be taken.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) subject: Subject,
    pub(crate) file: PathBuf,
    /// The publisher's port; it has the same file.
    pub(crate) port: u16,
    pub(crate) plan: Plan,
    /// What is done before, so that the process is as it is after some time.
    pub(crate) warm_up: Plan,
    /// A folder for files.
    pub(crate) scratch: PathBuf,
}

/// Prints the measurement as JSON.
pub(crate) fn main(job: &str) -> Result<()> {
    let job: Job = serde_json::from_str(job)?;
    let subject = subjects::prepare(job.subject, &job)?;
    match job.subject.warm_up() {
        same if same == job.subject => subject(job.warm_up)?,
        other => subjects::prepare(other, &job)?(job.warm_up)?,
    };
    thread::sleep(IDLE);
    let idle = usage::memory().resident;
    usage::forget_peak();
    let cpu = usage::cpu_seconds();
    let Outcome {
        seconds,
        messages,
        records,
        fields,
        memory,
    } = subject(job.plan)?;
    let cpu_seconds = usage::cpu_seconds() - cpu;
    let peak = memory.unwrap_or_else(|| usage::memory().peak);
    let measurement = Measurement {
        seconds,
        cpu_seconds: Some(cpu_seconds),
        messages,
        records,
        fields,
        memory_above_idle: Some(peak.saturating_sub(idle)),
    };
    println!("{}", serde_json::to_string(&measurement)?);
    Ok(())
}
