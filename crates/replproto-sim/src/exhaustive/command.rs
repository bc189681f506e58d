//! The command line of the exhaustive search.

use std::io::{IsTerminal, Write};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use clap::Args;

use super::{MAX_LENGTH, Runner, Search, Step};

/// Which sequences to run.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Inputs in each sequence
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LENGTH)))]
    length: u32,
    /// Threads; what comes out does not depend on it [default: one for each processor]
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    /// Run only this sequence, and print all that happens: message,chunk,...
    #[arg(long, value_name = "INPUTS", value_delimiter = ',', num_args = 1.., conflicts_with_all = ["length", "jobs"])]
    sequence: Vec<Step>,
    /// Add a rule that does not hold, to prove that a broken rule is noticed
    #[arg(long)]
    canary: bool,
}

impl Arguments {
    /// Runs them. It fails if a rule is broken.
    pub fn run(&self) -> ExitCode {
        if self.sequence.is_empty() {
            self.run_all()
        } else {
            self.run_one()
        }
    }

    fn run_one(&self) -> ExitCode {
        if self.sequence.len() > MAX_LENGTH as usize {
            eprintln!("a sequence has at most {MAX_LENGTH} inputs");
            return ExitCode::from(2);
        }
        let runner = Runner::new(self.sequence.len() as u32, self.canary);
        match runner.trace(&self.sequence, &mut |line| println!("{line}")) {
            Ok(()) => {
                println!("every rule held");
                ExitCode::SUCCESS
            }
            Err(failure) => {
                println!("{failure}");
                ExitCode::FAILURE
            }
        }
    }

    fn run_all(&self) -> ExitCode {
        let jobs = self
            .jobs
            .or_else(|| thread::available_parallelism().ok())
            .map_or(1, NonZeroUsize::get);
        let search = Search {
            length: self.length,
            jobs,
            canary: self.canary,
        };
        let count = search.count();
        println!("{count} sequences of {} inputs", self.length);
        let is_terminal = std::io::stderr().is_terminal();
        let began = Instant::now();
        let done = search.run(|held| {
            if is_terminal {
                eprint!("\r{held} of {count} sequences ");
                let _ = std::io::stderr().flush();
            }
        });
        if is_terminal {
            eprintln!();
        }
        match done {
            Ok(held) => {
                println!("{held} sequences held");
                eprintln!("{:.1} seconds", began.elapsed().as_secs_f64());
                ExitCode::SUCCESS
            }
            Err(failure) => {
                println!("{failure}");
                let words: Vec<_> = failure.sequence.iter().map(|step| step.as_str()).collect();
                println!(
                    "cargo run -p replproto-sim --release -- exhaustive --sequence {}",
                    words.join(",")
                );
                ExitCode::FAILURE
            }
        }
    }
}
