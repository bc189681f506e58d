//! `replproto inspect`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::time::Instant;

use super::json::{JsonLines, JsonLinesError};
use super::stats::{Counter, Report};
use super::text::TextLines;
use super::{InspectError, Visitor, inspect};
use crate::exit::Failure;

/// Bytes read and written at a time.
const BUFFER: usize = 256 << 10;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  replproto inspect backlog.bin
  replproto inspect backlog.bin --json | jq -c 'select(.event == \"record\") | .value'
  replproto inspect catchup.bin --stats --json

The file holds the messages of one publisher, each after its length (32 bits, little-endian). `-` reads standard input.

Exit codes: 0 the file was read to its end; 1 it is damaged (the message names the place), or cannot be read; 2 usage.")]
pub(crate) struct InspectArgs {
    /// The file of messages
    file: PathBuf,
    /// One JSON object a line for every command; with --stats, one for all
    #[arg(long)]
    json: bool,
    /// Decode every field of every record and print counts and speed only
    #[arg(long)]
    stats: bool,
}

pub(crate) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let result = if args.stats {
        stats(args)
    } else if args.json {
        let lines = JsonLines::new(output());
        lines_of(args, lines, JsonLines::into_inner)
    } else {
        lines_of(args, TextLines::new(output()), TextLines::into_inner)
    };
    match result {
        // Whoever read our output has had enough.
        Err(JsonLinesError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| Failure::at(&args.file, error)),
    }
}

fn output() -> impl Write {
    BufWriter::with_capacity(BUFFER, io::stdout().lock())
}

fn open(args: &InspectArgs) -> Result<Box<dyn io::Read>, InspectError> {
    Ok(if args.file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::with_capacity(BUFFER, File::open(&args.file)?))
    })
}

fn lines_of<V: Visitor<Error = JsonLinesError>, W: Write>(
    args: &InspectArgs,
    mut visitor: V,
    into_output: impl FnOnce(V) -> W,
) -> Result<(), JsonLinesError> {
    let result = inspect(open(args)?, &mut visitor);
    // What came before an error is shown too.
    into_output(visitor).flush()?;
    result.map(drop)
}

fn stats(args: &InspectArgs) -> Result<(), JsonLinesError> {
    let start = Instant::now();
    let mut counter = Counter::default();
    let stats = inspect(open(args)?, &mut counter)?;
    let report = Report {
        counter,
        stats,
        elapsed: start.elapsed(),
    };
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", report.json())?;
    } else {
        writeln!(out, "{report}")?;
    }
    Ok(())
}
