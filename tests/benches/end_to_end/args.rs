//! What the program is asked for.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures the core, a link over a loopback WebSocket, and its stores, each beside what limits it.
///
/// Every measurement is taken several times, in turns with the others of its table, so that ratios are those of one run. The
/// publisher, the receiver and Node are processes of their own. Tables go to standard output, progress to standard error.
///
/// Without --frames the messages are generated, once, into the target directory; that needs `../shared/frames`, node and npm.
/// Without these the small files of `tests/frames` are repeated instead. Without node or npm its rows are left out.
#[derive(Debug, Parser)]
#[command(
    name = "end_to_end",
    bin_name = "cargo bench -p replproto-tests --bench end_to_end --"
)]
pub(crate) struct Args {
    /// What to measure. All of it if none is named.
    #[arg(value_enum)]
    pub(crate) groups: Vec<Group>,
    /// About a minute: smaller sets, and fewer of them.
    #[arg(long)]
    pub(crate) quick: bool,
    /// A folder with catchup.bin, catchup-1k.bin, small.bin, big.bin, mixed.bin and blob.bin: for each message its length
    /// (32 bits, little-endian) and its bytes. Those that are missing are left out.
    #[arg(long, value_name = "DIR")]
    pub(crate) frames: Option<PathBuf>,
    /// How often each measurement is taken.
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// How long the consumer stalls in the group `stall`. [default: 5, or 1 with --quick]
    #[arg(long, value_name = "SECONDS")]
    stall: Option<u64>,
    /// Leave out the rows of Node.
    #[arg(long)]
    pub(crate) no_node: bool,
    /// Write everything that was measured, each round apart, with the machine and the commit.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    /// How long the consumer stalls, in seconds.
    pub(crate) fn stall(&self) -> u64 {
        self.stall.unwrap_or(if self.quick { 1 } else { 5 })
    }

    pub(crate) fn wants(&self, group: Group) -> bool {
        self.groups.is_empty() || self.groups.contains(&group)
    }
}

/// Tables that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// The core alone, on messages in memory.
    Core,
    /// A link over a WebSocket on the loopback.
    Link,
    /// A link into SQLite, durably.
    Sqlite,
    /// Blobs into files, durably.
    Blobs,
    /// From 10,000 to 10,000,000 records, and from 1 to 100 links.
    Growth,
    /// Memory of 1 to 1,000 links on which nothing happens.
    IdleLinks,
    /// Messages of 79 MB and of 1 GiB.
    Large,
    /// A consumer that takes nothing for some seconds.
    Stall,
}
