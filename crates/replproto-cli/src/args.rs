//! The command line.

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::exit::Failure;
use crate::inspect::{self, InspectArgs};

/// Follow, inspect and demonstrate links of Harper's replication protocol
#[derive(Debug, Parser)]
#[command(
    name = "replproto",
    version,
    propagate_version = true,
    after_help = "\
Logs go to standard error; RUST_LOG sets what is shown, for example RUST_LOG=replproto_tokio=debug.

Exit codes: 0 ended well; 1 something went wrong; 2 the options are wrong; 3 a deadline passed."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what is in a file of messages
    Inspect(InspectArgs),
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("replproto: {failure}");
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Inspect(args) => inspect::run(&args),
    }
}

fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .init();
}
