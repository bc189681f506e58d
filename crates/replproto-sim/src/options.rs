//! What to run, also as a file that outlives the run: a trace.
//!
//! A trace is lines of text, each a name and a value; `#` begins a comment. The first line names the format, and unknown
//! names are errors, so that a trace never runs as something else:
//!
//! ```text
//! replproto-sim-trace 1
//! seed 7
//! steps 300
//! calm 120
//! faults cut crash
//! transactions 60
//! blob_bytes 6000
//! disk_micros 30000
//! breaks durability
//! ```
//!
//! Everything in a world follows from these values, so they repeat it byte for byte. `faults` lists the kinds, or is
//! `none`, `drawn` (the seed chooses). `breaks` names the rule that was broken when the trace was written; it is absent in a
//! trace that is kept because it must hold. What is absent otherwise has its default.

use std::fmt;
use std::str::FromStr;

use crate::faults::Faults;

const FORMAT: &str = "replproto-sim-trace 1";

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// Events before the faults stop.
    pub steps: u64,
    /// Events before the faults begin.
    pub calm: u64,
    /// The kinds of faults; `None`: those that the seed draws.
    pub faults: Option<Faults>,
    /// The most transactions that the log has in the beginning; at least 1.
    pub transactions: u64,
    /// The size below which blobs stay, in bytes.
    pub blob_bytes: u64,
    /// The longest time that a transaction takes to become durable, in microseconds; at least 1.
    pub disk_micros: u64,
    /// Adds a rule that does not hold, to prove that a broken rule is noticed.
    pub canary: bool,
    /// Prints every step. Not part of a trace.
    pub print: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            steps: 5000,
            calm: 0,
            faults: None,
            transactions: 60,
            blob_bytes: 6000,
            disk_micros: 30_000,
            canary: false,
            print: false,
        }
    }
}

/// A world to run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceFile {
    /// What to run.
    pub options: Options,
    /// The name of the rule that it breaks; `None`: it must hold.
    pub breaks: Option<String>,
}

impl TraceFile {
    /// Whether this text means to be a trace.
    pub fn is_trace(text: &str) -> bool {
        lines(text)
            .next()
            .is_some_and(|(_, line)| line.starts_with("replproto-sim-trace"))
    }
}

impl fmt::Display for TraceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options {
            seed,
            steps,
            calm,
            faults,
            transactions,
            blob_bytes,
            disk_micros,
            canary,
            print: _,
        } = self.options;
        writeln!(f, "{FORMAT}")?;
        writeln!(f, "seed {seed}")?;
        writeln!(f, "steps {steps}")?;
        writeln!(f, "calm {calm}")?;
        match faults {
            Some(faults) => writeln!(f, "faults {faults}")?,
            None => writeln!(f, "faults drawn")?,
        }
        writeln!(f, "transactions {transactions}")?;
        writeln!(f, "blob_bytes {blob_bytes}")?;
        writeln!(f, "disk_micros {disk_micros}")?;
        if canary {
            writeln!(f, "canary true")?;
        }
        if let Some(oracle) = &self.breaks {
            writeln!(f, "breaks {oracle}")?;
        }
        Ok(())
    }
}

impl FromStr for TraceFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut lines = lines(text);
        let first = lines.next().map(|(_, line)| line);
        if first != Some(FORMAT) {
            return Err(format!("the first line is {first:?}, not {FORMAT:?}"));
        }
        let mut options = Options::default();
        let mut breaks = None;
        for (number, line) in lines {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            let wrong = |why: &dyn fmt::Display| format!("line {number}, {name}: {why}");
            let count = || value.parse::<u64>().map_err(|error| wrong(&error));
            match name {
                "seed" => options.seed = count()?,
                "steps" => options.steps = count()?,
                "calm" => options.calm = count()?,
                "faults" if value == "drawn" => options.faults = None,
                "faults" => {
                    options.faults = Some(value.parse().map_err(|error: String| wrong(&error))?);
                }
                "transactions" => options.transactions = count()?.max(1),
                "blob_bytes" => options.blob_bytes = count()?,
                "disk_micros" => options.disk_micros = count()?.max(1),
                "canary" => options.canary = value.parse().map_err(|error| wrong(&error))?,
                "breaks" => breaks = Some(value.to_owned()),
                _ => return Err(wrong(&"unknown")),
            }
        }
        Ok(Self { options, breaks })
    }
}

/// The lines that are not comments, with their numbers from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Fault;

    #[test]
    fn a_trace_is_read_as_it_is_written() {
        for faults in [
            None,
            Some(Faults::NONE),
            Some(Faults::from_iter([Fault::Cut, Fault::Slow])),
        ] {
            let trace = TraceFile {
                options: Options {
                    seed: u64::MAX,
                    steps: 3,
                    calm: 2,
                    faults,
                    transactions: 1,
                    blob_bytes: 0,
                    disk_micros: 9,
                    canary: true,
                    print: false,
                },
                breaks: Some("silence after close".into()),
            };
            assert_eq!(trace.to_string().parse(), Ok(trace));
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, wrong) in [
            ("seed 1", "first line"),
            ("# why\nreplproto-sim-trace 1\n\nspeed 1", "line 4, speed"),
            ("replproto-sim-trace 1\nseed x", "line 2, seed"),
            ("replproto-sim-trace 1\nfaults cut,slow", "line 2, faults"),
        ] {
            let error = text.parse::<TraceFile>().expect_err(text);
            assert!(error.contains(wrong), "{error}");
        }
    }
}
