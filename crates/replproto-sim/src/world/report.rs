//! What to run, and how it went.

use std::fmt;

use crate::faults::Faults;
use crate::oracles::Violation;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// Events with faults, before they stop.
    pub steps: u64,
    /// Adds a rule that does not hold, to prove that a broken rule is noticed.
    pub canary: bool,
    /// Prints every step.
    pub print: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            steps: 5000,
            canary: false,
            print: false,
        }
    }
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was run.
    pub options: Options,
    /// The faults that the seed chose.
    pub faults: Faults,
    /// The rule that broke, if any.
    pub violation: Option<Violation>,
    /// Events that happened.
    pub steps: u64,
    /// Links that were dialled.
    pub links: u64,
    /// The hash of everything that happened.
    pub hash: u64,
    /// The last steps, in words.
    pub last: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options {
            seed,
            steps,
            canary,
            ..
        } = self.options;
        if let Some(violation) = &self.violation {
            writeln!(f, "{violation}")?;
        }
        writeln!(f, "seed {seed}, {steps} steps, faults: {}", self.faults)?;
        writeln!(f, "the last steps:")?;
        for line in &self.last {
            writeln!(f, "  {line}")?;
        }
        let canary = if canary { " --canary" } else { "" };
        write!(
            f,
            "cargo run -p replproto-sim --release -- --seed {seed} --steps {steps}{canary}"
        )
    }
}
