//! What is measured, and what is measured beside it.

mod core;
mod files;
mod idle;
mod link;
mod memory;
mod sockets;
mod stores;

use std::time::Instant;

use tokio::runtime::{Builder, Runtime};

use crate::Result;
use crate::events::Reader;
use crate::frames::Frames;
use crate::plan::Plan;
use crate::receiver::{Job, Subject};

/// What came of one pass.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) seconds: f64,
    pub(crate) messages: Option<u64>,
    pub(crate) records: Option<u64>,
    pub(crate) fields: Option<u64>,
    /// The memory that counts, where it is not the peak of the pass.
    pub(crate) memory: Option<u64>,
}

impl Outcome {
    /// Ends now.
    fn since(start: Instant) -> Self {
        Self {
            seconds: start.elapsed().as_secs_f64(),
            ..Self::default()
        }
    }

    const fn messages(self, messages: u64) -> Self {
        Self {
            messages: Some(messages),
            ..self
        }
    }

    const fn records(self, records: u64) -> Self {
        Self {
            records: Some(records),
            ..self
        }
    }

    fn read(self, reader: &Reader) -> Self {
        Self {
            records: Some(reader.records),
            fields: (reader.fields > 0).then_some(reader.fields),
            ..self
        }
    }
}

/// Gets everything ready that is not to be measured. The result takes one measurement.
pub(crate) fn prepare(subject: Subject, job: &Job) -> Result<Box<dyn Fn(Plan) -> Result<Outcome>>> {
    let job = job.clone();
    let runtime = runtime()?;
    let frames = || Frames::read(&job.file);
    Ok(match subject {
        Subject::Memcpy => {
            let frames = frames()?;
            Box::new(move |plan| Ok(memory::copy(&frames, plan)))
        }
        Subject::Slices => {
            let frames = frames()?;
            Box::new(move |plan| Ok(memory::slice(&frames, plan)))
        }
        Subject::Core { reads_fields } => {
            let frames = frames()?;
            Box::new(move |plan| core::feed(&frames, plan, reads_fields))
        }
        Subject::PlainFiles => {
            let frames = frames()?;
            Box::new(move |plan| files::write(&frames, plan, &job.scratch))
        }
        Subject::TokioTungstenite => Box::new(move |plan| {
            runtime.block_on(sockets::receive_with_tungstenite(job.port, plan))
        }),
        Subject::FastWebSockets => Box::new(move |plan| {
            runtime.block_on(sockets::receive_with_fastwebsockets(job.port, plan))
        }),
        Subject::Link {
            reads_fields,
            links,
            stall_seconds,
        } => Box::new(move |plan| {
            runtime.block_on(link::receive(
                job.port,
                plan,
                reads_fields,
                links,
                stall_seconds,
            ))
        }),
        Subject::Sqlite => Box::new(move |plan| {
            runtime.block_on(stores::run_into_sqlite(job.port, plan, &job.scratch))
        }),
        Subject::BlobFiles => Box::new(move |plan| {
            runtime.block_on(stores::run_with_blobs(job.port, plan, &job.scratch))
        }),
        Subject::IdleLinks { links } => {
            Box::new(move |plan| runtime.block_on(idle::hold(job.port, plan, links)))
        }
    })
}

/// One thread, whatever is measured: the publisher has the other core.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
