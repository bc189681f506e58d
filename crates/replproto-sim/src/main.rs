//! Runs worlds of consecutive seeds until one breaks a rule.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use replproto_sim::world::{Options, World};

/// Simulates links and checks the rules of the core at every step.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How many worlds to run [default: 100, or 1 with --seed]
    #[arg(long)]
    seeds: Option<u64>,
    /// Events with faults in each world, before they stop
    #[arg(long, default_value_t = 5000)]
    steps: u64,
    /// The seed of the first world [default: from the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// Add a rule that does not hold, to prove that a broken rule is noticed
    #[arg(long)]
    canary: bool,
    /// Print every step
    #[arg(long)]
    print: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let clock = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    };
    let first = arguments.seed.unwrap_or_else(clock);
    let default = if arguments.seed.is_some() { 1 } else { 100 };
    let seeds = arguments.seeds.unwrap_or(default);
    println!(
        "{seeds} worlds of {} steps from seed {first}",
        arguments.steps
    );
    // A violation is reported below, with all that is needed to repeat it.
    std::panic::set_hook(Box::new(|_| {}));
    let is_terminal = std::io::stderr().is_terminal();
    let began = Instant::now();
    let (mut steps, mut links, mut hash) = (0, 0, 0_u64);
    for done in 0..seeds {
        let report = World::run(Options {
            seed: first.wrapping_add(done),
            steps: arguments.steps,
            canary: arguments.canary,
            print: arguments.print,
        });
        steps += report.steps;
        links += report.links;
        hash = hash.rotate_left(5) ^ report.hash;
        if report.violation.is_some() {
            println!("\n{report}");
            return ExitCode::FAILURE;
        }
        if is_terminal {
            eprint!("\r{} of {seeds} worlds, {steps} steps ", done + 1);
            let _ = std::io::stderr().flush();
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    if is_terminal {
        eprintln!();
    }
    println!(
        "{seeds} worlds held: {steps} steps, {links} links, trace {hash:016x}, {:.0} steps a second",
        steps as f64 / seconds
    );
    ExitCode::SUCCESS
}
