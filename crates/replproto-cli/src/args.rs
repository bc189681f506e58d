//! The command line.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::demo::{self, DemoArgs, PublisherArgs};
use crate::exit::Failure;
use crate::inspect::{self, InspectArgs};
use crate::mask;
use crate::output::tell;
use crate::progress::LogWriter;
use crate::receive::{self, ReceiveArgs};
use crate::status::{self, StatusArgs};

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
    /// Catch up a backlog on this machine while things go wrong, and check the result
    Demo(DemoArgs),
    /// Follow a publisher into an SQLite file
    Receive(Box<ReceiveArgs>),
    /// Show a running receiver live in the terminal
    Status(StatusArgs),
    /// Show what is in a file of messages
    Inspect(InspectArgs),
    /// The publisher of the demo
    #[command(hide = true)]
    DemoPublisher(PublisherArgs),
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    start_logging();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(mask::addresses(&format!("replproto: {failure}")));
            failure.exit_code()
        }
    }
}

/// Help, or a complaint about the arguments. It quotes them, and an address may have a password.
fn refuse(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    let masked = mask::arguments(&text);
    if error.use_stderr() && masked != text {
        tell(masked.trim_end());
    } else {
        // In colours. Nobody being there to read it is no reason to fail.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => block_on(demo::run(args)),
        Command::Receive(args) => block_on(receive::run(*args)),
        Command::Status(args) => block_on(status::run(args)),
        Command::Inspect(args) => inspect::run(&args),
        Command::DemoPublisher(args) => block_on(demo::publish(args)),
    }
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::of)?;
    let result = runtime.block_on(work);
    // A thread may still wait for standard input.
    runtime.shutdown_background();
    result
}

fn start_logging() {
    let mut filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Below this level the WebSocket library logs what is in messages.
    for library in ["tungstenite=info", "tokio_tungstenite=info"] {
        if let Ok(directive) = library.parse() {
            filter = filter.add_directive(directive);
        }
    }
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(|| LogWriter)
        .init();
}
