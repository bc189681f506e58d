//! Runs worlds of consecutive seeds until one breaks a rule, and runs one of them again.

use std::fs;
use std::io::{IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand};
use replproto_sim::batch::Batch;
use replproto_sim::coverage;
use replproto_sim::exhaustive;
use replproto_sim::options::{Options, TraceFile};
use replproto_sim::recording;
use replproto_sim::shrink::shrink;
use replproto_sim::world::{Report, World};

/// Simulates links and checks the rules of the core at every step.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run the world of a trace again, or a link that `replproto receive --record` has recorded
    Replay {
        /// The trace or the recording
        file: PathBuf,
        /// Print every step of a world; what comes out of a recorded link is always printed
        #[arg(long)]
        print: bool,
    },
    /// Make the world of a trace smaller, as long as it breaks the same rule
    Shrink {
        /// The trace; the smaller one is written beside it, as FILE.shrunk
        file: PathBuf,
    },
    /// Run every sequence of a few inputs through a small world
    Exhaustive(exhaustive::Arguments),
}

#[derive(Args, Debug)]
struct RunArguments {
    /// How many worlds to run [default: 100, or 1 with --seed]
    #[arg(long)]
    seeds: Option<u64>,
    /// Events with faults in each world, before they stop
    #[arg(long, default_value_t = 5000)]
    steps: u64,
    /// The seed of the first world [default: from the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// Threads; what comes out does not depend on it [default: one for each processor]
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    /// Write the trace of a world that breaks a rule as it is, without making it smaller first
    #[arg(long)]
    no_shrink: bool,
    /// Print how often each mark was reached, and why some cannot be
    #[arg(long)]
    coverage: bool,
    /// Where the trace of a world that breaks a rule is written
    #[arg(long, value_name = "DIR", default_value = ".")]
    trace_dir: PathBuf,
    /// Add a rule that does not hold, to prove that a broken rule is noticed
    #[arg(long)]
    canary: bool,
    /// Print every step; of one world at a time
    #[arg(long)]
    print: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic of the core is a violation: it is reported with all that is needed to repeat it.
    std::panic::set_hook(Box::new(|_| {}));
    let done = match arguments.action {
        None => run(&arguments.run),
        Some(Action::Replay { file, print }) => replay(&file, print),
        Some(Action::Shrink { file }) => shrink_file(&file),
        Some(Action::Exhaustive(arguments)) => Ok(arguments.run()),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &RunArguments) -> Result<ExitCode, String> {
    let clock = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    };
    let first = arguments.seed.unwrap_or_else(clock);
    let default = if arguments.seed.is_some() { 1 } else { 100 };
    let seeds = arguments.seeds.unwrap_or(default);
    let steps = arguments.steps;
    println!("{seeds} worlds of {steps} steps from seed {first}");
    let jobs = match arguments.jobs {
        _ if arguments.print => 1,
        Some(jobs) => jobs.get(),
        None => thread::available_parallelism().map_or(1, NonZeroUsize::get),
    };
    let batch = Batch {
        options: Options {
            seed: first,
            steps,
            canary: arguments.canary,
            print: arguments.print,
            ..Options::default()
        },
        seeds,
        jobs,
    };
    let is_terminal = std::io::stderr().is_terminal();
    let began = Instant::now();
    let done = batch.run(|so_far| {
        if is_terminal {
            eprint!(
                "\r{} of {seeds} worlds, {} steps ",
                so_far.worlds, so_far.steps
            );
            let _ = std::io::stderr().flush();
        }
    });
    if is_terminal {
        eprintln!();
    }
    let summary = match done {
        Ok(summary) => summary,
        Err(report) => {
            let file = format!("{}.trace", report.options.seed);
            let file = arguments.trace_dir.join(file);
            write_trace(&report, &file)?;
            let hangs = report.steps == 0;
            if !(arguments.no_shrink || arguments.print || hangs) {
                println!("\nmade smaller:");
                shrink_file(&file)?;
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    println!(
        "{} worlds held: {} steps, {} links, trace {:016x}",
        summary.worlds, summary.steps, summary.links, summary.hash
    );
    if arguments.coverage {
        for (name, count, unreachable) in summary.coverage.marks() {
            let why = unreachable.map_or(String::new(), |why| format!(" ({why})"));
            println!("{count:>12} {name}{why}");
        }
    }
    if summary.worlds >= coverage::WORLDS {
        let missing = summary.coverage.missing();
        if !missing.is_empty() {
            println!("no world has reached: {}", missing.join(", "));
            return Ok(ExitCode::FAILURE);
        }
        println!("every mark was reached that can be");
    }
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("{:.0} steps a second", summary.steps as f64 / seconds);
    Ok(ExitCode::SUCCESS)
}

/// Writes the trace of a broken world, then says how it broke and how to go on.
fn write_trace(report: &Report, file: &Path) -> Result<(), String> {
    let mut text = String::from("# A world of replproto-sim that breaks a rule:\n");
    if let Some(violation) = &report.violation {
        for line in violation.to_string().lines() {
            text += &format!("# {line}\n");
        }
    }
    text += &report.trace_file().to_string();
    write(file, &text)?;
    println!("{report}");
    if let Some(recording) = &report.recording {
        let file = file.with_extension("recording");
        write(&file, recording)?;
        println!("its last link: {}", file.display());
    }
    let file = file.display();
    println!("trace file: {file}");
    println!("cargo run -p replproto-sim --release -- shrink {file}");
    println!("cargo run -p replproto-sim --release -- replay {file}");
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn parse(file: &Path, text: &str) -> Result<TraceFile, String> {
    text.parse()
        .map_err(|error| format!("{}: {error}", file.display()))
}

fn replay(file: &Path, print: bool) -> Result<ExitCode, String> {
    let text = read(file)?;
    if !TraceFile::is_trace(&text) {
        return replay_recording(file, &text);
    }
    let trace = parse(file, &text)?;
    let report = World::run(Options {
        print,
        ..trace.options
    });
    println!("{report}");
    println!("trace {:016x}", report.hash);
    if let Some(oracle) = &trace.breaks {
        let is_same = report
            .violation
            .as_ref()
            .is_some_and(|violation| violation.oracle == oracle);
        let answer = if is_same { "again" } else { "no longer" };
        println!("{oracle} is {answer} broken");
    }
    Ok(match report.violation {
        Some(_) => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    })
}

fn replay_recording(file: &Path, text: &str) -> Result<ExitCode, String> {
    match recording::replay(text, |line| println!("{line}")) {
        Ok(done) => {
            let recording::Replayed {
                links,
                inputs,
                records,
            } = done;
            println!("every rule held: {links} links, {inputs} inputs, {records} records");
            Ok(ExitCode::SUCCESS)
        }
        Err(broken @ recording::Failure::Broken { .. }) => {
            println!("{broken}");
            Ok(ExitCode::FAILURE)
        }
        Err(unreadable) => Err(format!("{}: {unreadable}", file.display())),
    }
}

fn shrink_file(file: &Path) -> Result<ExitCode, String> {
    let trace = parse(file, &read(file)?)?;
    let Some(report) = shrink(trace.options) else {
        println!("every rule holds: there is nothing to shrink");
        return Ok(ExitCode::SUCCESS);
    };
    let mut shrunk = file.as_os_str().to_owned();
    shrunk.push(".shrunk");
    write_trace(&report, Path::new(&shrunk))?;
    Ok(ExitCode::FAILURE)
}
