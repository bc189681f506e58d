//! What a whole link costs, beside what limits it: `cargo bench -p replproto-tests --bench end_to_end -- --help`.
//!
//! This process only compares and reports. It starts itself again for the other roles, so that the processor time and the
//! memory of the one are not those of the other: a *publisher* sends a set of messages as fast as the socket takes them, and
//! a *receiver* takes one measurement. A third kind of process is Node, which decodes the same messages.

mod args;
mod contest;
mod events;
mod frames;
mod groups;
mod link_setup;
mod machine;
mod measurement;
mod node;
mod plan;
mod process;
mod progress;
mod publisher;
mod receiver;
mod report;
mod sets;
mod subjects;
mod usage;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;

/// Whatever ends the program: it is told to a person, not handled.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let result = match (arguments.next().as_deref(), arguments.next()) {
        (Some(publisher::ROLE), Some(job)) => publisher::main(&job),
        (Some(receiver::ROLE), Some(job)) => receiver::main(&job),
        _ => groups::run(&Args::parse()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
